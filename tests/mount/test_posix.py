"""What tmpfs does, one behaviour a test. All pass on tmpfs itself."""
import ctypes
import errno
import mmap
import os
import stat
import subprocess
import time

import pytest
from conftest import FOREIGN, SHORT, sh

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100
NOREPLACE, EXCHANGE = 1, 2


def renameat2(a, b, flags):
    if libc.renameat2(AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b), flags) != 0:
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e))


def put(path, data=b"x"):
    with open(path, "wb") as f:
        f.write(data)
    return path


def get(path):
    with open(path, "rb") as f:
        return f.read()


def fails(code, call, *args, **kw):
    with pytest.raises(OSError) as e:
        call(*args, **kw)
    assert e.value.errno == code, errno.errorcode[e.value.errno]


# --- names ---------------------------------------------------------------------


def test_names_of_255_bytes_and_not_of_256(mnt):
    put(f"{mnt}/{'a' * 255}")
    fails(errno.ENAMETOOLONG, put, f"{mnt}/{'a' * 256}")
    assert os.listdir(mnt) == ["a" * 255]


def test_names_that_are_no_utf8(mnt):
    name = bytes(b for b in range(1, 256) if b != 0x2f)[:250]
    put(os.fsencode(mnt) + b"/" + name)
    assert os.listdir(os.fsencode(mnt)) == [name]


def test_deep_trees_up_to_path_max(mnt):
    fd = os.open(mnt, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("d" * 40, dir_fd=fd)
        inner = os.open("d" * 40, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    f = os.open("leaf", os.O_CREAT | os.O_WRONLY, dir_fd=fd)
    os.write(f, b"deep")
    os.close(f)
    os.close(fd)
    path = mnt + ("/" + "d" * 40) * ((4094 - len(mnt)) // 41)
    assert os.path.isdir(path) and len(path) < 4096
    sh(f"rm -rf {mnt}/{'d' * 40}")


def test_many_entries_listed_once_each(mnt):
    n = 2000 if SHORT else 20000
    for i in range(n):
        os.close(os.open(f"{mnt}/entry-{i:06d}", os.O_CREAT | os.O_WRONLY))
    assert sorted(os.listdir(mnt)) == [f"entry-{i:06d}" for i in range(n)]
    for i in range(0, n, 2):
        os.unlink(f"{mnt}/entry-{i:06d}")
    assert sorted(os.listdir(mnt)) == [f"entry-{i:06d}" for i in range(1, n, 2)]
    sh(f"find {mnt} -name 'entry-*' -delete")


def test_listing_while_others_change(mnt):
    """Entries that stay are met exactly once, whatever else comes and goes."""
    stay = {f"stay{i}" for i in range(1500)}
    for name in stay:
        put(f"{mnt}/{name}", b"")
    seen = []
    with os.scandir(mnt) as it:
        for i, e in enumerate(it):
            seen.append(e.name)
            put(f"{mnt}/come{i}", b"")
            if i % 2 and os.path.exists(f"{mnt}/come{i - 1}"):
                os.unlink(f"{mnt}/come{i - 1}")
    kept = [n for n in seen if n in stay]
    assert len(kept) == len(set(kept)) == len(stay)


def test_errors_of_names(mnt):
    put(f"{mnt}/f")
    os.mkdir(f"{mnt}/d")
    put(f"{mnt}/d/x")
    fails(errno.EEXIST, os.mkdir, f"{mnt}/d")
    fails(errno.EEXIST, os.mkdir, f"{mnt}/f")
    fails(errno.ENOTDIR, put, f"{mnt}/f/x")
    fails(errno.ENOENT, put, f"{mnt}/no/x")
    fails(errno.ENOTEMPTY, os.rmdir, f"{mnt}/d")
    fails(errno.ENOTDIR, os.rmdir, f"{mnt}/f")
    fails(errno.EISDIR, os.unlink, f"{mnt}/d")
    fails(errno.EISDIR, os.open, f"{mnt}/d", os.O_WRONLY)
    fails(errno.EEXIST, os.open, f"{mnt}/f", os.O_CREAT | os.O_EXCL)


# --- rename ----------------------------------------------------------------------


def test_rename_replaces(mnt):
    put(f"{mnt}/a", b"A")
    put(f"{mnt}/b", b"B")
    ino = os.stat(f"{mnt}/a").st_ino
    os.rename(f"{mnt}/a", f"{mnt}/b")
    assert get(f"{mnt}/b") == b"A" and os.listdir(mnt) == ["b"]
    assert os.stat(f"{mnt}/b").st_ino == ino


def test_rename_between_directories(mnt):
    os.makedirs(f"{mnt}/a/sub/x")
    os.mkdir(f"{mnt}/b")
    before = os.stat(f"{mnt}/a").st_nlink, os.stat(f"{mnt}/b").st_nlink
    os.rename(f"{mnt}/a/sub", f"{mnt}/b/sub2")
    assert os.stat(f"{mnt}/a").st_nlink == before[0] - 1
    assert os.stat(f"{mnt}/b").st_nlink == before[1] + 1
    up = os.stat(f"{mnt}/b/sub2/..")
    assert up.st_ino == os.stat(f"{mnt}/b").st_ino
    assert os.listdir(f"{mnt}/b/sub2") == ["x"]


def test_rename_rules(mnt):
    os.makedirs(f"{mnt}/a/b/c")
    os.mkdir(f"{mnt}/e")
    put(f"{mnt}/f")
    fails(errno.EINVAL, os.rename, f"{mnt}/a", f"{mnt}/a/b/c/d")
    fails(errno.ENOTEMPTY, os.rename, f"{mnt}/e", f"{mnt}/a")
    fails(errno.ENOTDIR, os.rename, f"{mnt}/e", f"{mnt}/f")
    fails(errno.EISDIR, os.rename, f"{mnt}/f", f"{mnt}/e")
    fails(errno.ENOENT, os.rename, f"{mnt}/no", f"{mnt}/f")
    os.rename(f"{mnt}/a", f"{mnt}/e")  # onto an empty directory
    assert os.path.isdir(f"{mnt}/e/b/c") and not os.path.exists(f"{mnt}/a")
    os.link(f"{mnt}/f", f"{mnt}/g")
    os.rename(f"{mnt}/f", f"{mnt}/g")  # same inode: nothing happens
    assert os.path.exists(f"{mnt}/f") and os.path.exists(f"{mnt}/g")


def test_rename_noreplace_and_exchange(mnt):
    put(f"{mnt}/a", b"A")
    put(f"{mnt}/b", b"B")
    fails(errno.EEXIST, renameat2, f"{mnt}/a", f"{mnt}/b", NOREPLACE)
    os.mkdir(f"{mnt}/d")
    put(f"{mnt}/d/in")
    os.mkdir(f"{mnt}/other")
    os.rename(f"{mnt}/b", f"{mnt}/other/b")
    renameat2(f"{mnt}/a", f"{mnt}/other/b", EXCHANGE)
    assert get(f"{mnt}/a") == b"B" and get(f"{mnt}/other/b") == b"A"
    renameat2(f"{mnt}/a", f"{mnt}/d", EXCHANGE)
    assert get(f"{mnt}/d") == b"B" and os.listdir(f"{mnt}/a") == ["in"]
    renameat2(f"{mnt}/d", f"{mnt}/new", NOREPLACE)
    assert get(f"{mnt}/new") == b"B"
    fails(errno.ENOENT, renameat2, f"{mnt}/new", f"{mnt}/nothing", EXCHANGE)


# --- links, special files -------------------------------------------------------------


def test_hard_links(mnt):
    put(f"{mnt}/a", b"one")
    os.link(f"{mnt}/a", f"{mnt}/b")
    assert os.stat(f"{mnt}/a").st_nlink == 2
    put(f"{mnt}/b", b"two!")
    assert get(f"{mnt}/a") == b"two!"
    os.unlink(f"{mnt}/a")
    assert os.stat(f"{mnt}/b").st_nlink == 1 and get(f"{mnt}/b") == b"two!"
    os.mkdir(f"{mnt}/d")
    fails(errno.EPERM, os.link, f"{mnt}/d", f"{mnt}/e")
    fails(errno.EEXIST, os.link, f"{mnt}/b", f"{mnt}/b")


def test_symlinks(mnt):
    long = "t" * 4000
    os.symlink(long, f"{mnt}/l")
    assert os.readlink(f"{mnt}/l") == long and os.lstat(f"{mnt}/l").st_size == 4000
    os.symlink("f", f"{mnt}/s")
    put(f"{mnt}/s", b"through")
    assert get(f"{mnt}/f") == b"through"
    os.symlink("loop", f"{mnt}/loop")
    fails(errno.ELOOP, get, f"{mnt}/loop")


def test_special_files(mnt):
    os.mkfifo(f"{mnt}/p")
    assert stat.S_ISFIFO(os.stat(f"{mnt}/p").st_mode)
    reader = subprocess.Popen(["cat", f"{mnt}/p"], stdout=subprocess.PIPE)
    put(f"{mnt}/p", b"through a pipe")
    assert reader.communicate(timeout=20)[0] == b"through a pipe"
    os.mknod(f"{mnt}/dev", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    st = os.stat(f"{mnt}/dev")
    assert stat.S_ISCHR(st.st_mode) and st.st_rdev == os.makedev(1, 3)
    import socket
    s = socket.socket(socket.AF_UNIX)
    s.bind(f"{mnt}/s") if len(mnt) < 90 else None
    s.close()


# --- open files ---------------------------------------------------------------------------


def test_open_unlinked_files_live_on(mnt):
    fd = os.open(f"{mnt}/f", os.O_CREAT | os.O_RDWR)
    os.write(fd, b"z" * 200000)
    os.unlink(f"{mnt}/f")
    assert os.fstat(fd).st_nlink == 0
    os.pwrite(fd, b"tail", 200000)
    assert os.pread(fd, 10, 199998) == b"zztail"
    os.ftruncate(fd, 5)
    assert os.fstat(fd).st_size == 5
    os.close(fd)
    assert os.listdir(mnt) == []


def test_removed_directory_as_cwd(mnt):
    os.mkdir(f"{mnt}/d")
    fd = os.open(f"{mnt}/d", os.O_RDONLY)
    os.rmdir(f"{mnt}/d")
    assert stat.S_ISDIR(os.fstat(fd).st_mode)
    assert os.listdir(fd) == []
    fails(errno.ENOENT, os.open, "x", os.O_CREAT | os.O_WRONLY, dir_fd=fd)
    os.close(fd)


def test_rename_over_an_open_file(mnt):
    put(f"{mnt}/old", b"old")
    fd = os.open(f"{mnt}/old", os.O_RDONLY)
    put(f"{mnt}/new", b"new")
    os.rename(f"{mnt}/new", f"{mnt}/old")
    assert os.read(fd, 9) == b"old" and get(f"{mnt}/old") == b"new"
    os.close(fd)


def test_append(mnt):
    a = os.open(f"{mnt}/f", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    b = os.open(f"{mnt}/f", os.O_WRONLY | os.O_APPEND)
    for i in range(100):
        os.write(a, b"a%03d" % i)
        os.write(b, b"b%03d" % i)
    os.lseek(a, 0, os.SEEK_SET)
    os.write(a, b"end")
    assert get(f"{mnt}/f") == b"".join(b"a%03db%03d" % (i, i) for i in range(100)) + b"end"
    os.close(a)
    os.close(b)


def test_truncate_on_open(mnt):
    put(f"{mnt}/f", b"x" * 100000)
    os.close(os.open(f"{mnt}/f", os.O_WRONLY | os.O_TRUNC))
    assert os.stat(f"{mnt}/f").st_size == 0 and os.stat(f"{mnt}/f").st_blocks == 0


def test_truncate_grows_with_zeros(mnt):
    put(f"{mnt}/f", b"abc")
    for size in (10, 5000, 70000, 200001):
        os.truncate(f"{mnt}/f", size)
        assert get(f"{mnt}/f") == b"abc" + bytes(size - 3)
    put(f"{mnt}/g", b"y" * 70000)
    os.truncate(f"{mnt}/g", 4100)
    os.truncate(f"{mnt}/g", 9000)
    assert get(f"{mnt}/g") == b"y" * 4100 + bytes(4900)


def test_vectors(mnt):
    fd = os.open(f"{mnt}/f", os.O_CREAT | os.O_RDWR)
    parts = [b"a" * 10, b"b" * 5000, b"c" * 66000, b"d"]
    assert os.pwritev(fd, parts, 3) == sum(map(len, parts))
    got = [bytearray(3), bytearray(10), bytearray(5000), bytearray(66001)]
    assert os.preadv(fd, got, 0) == 3 + sum(map(len, parts))
    assert bytes(got[0]) == bytes(3) and bytes(got[3]) == b"c" * 66000 + b"d"
    os.close(fd)


def test_direct_io(mnt):
    fd = os.open(f"{mnt}/f", os.O_CREAT | os.O_RDWR | os.O_DIRECT)
    buf = mmap.mmap(-1, 1 << 20)
    buf.write(os.urandom(1 << 20))
    assert os.pwrite(fd, buf, 8192) == 1 << 20
    back = mmap.mmap(-1, 1 << 20)
    assert os.preadv(fd, [back], 8192) == 1 << 20
    assert back[:] == buf[:]
    os.close(fd)
    assert get(f"{mnt}/f") == bytes(8192) + buf[:]


def test_shared_mapping(mnt):
    with open(f"{mnt}/f", "w+b") as f:
        f.truncate(300000)
        m = mmap.mmap(f.fileno(), 300000)
        m[0:5] = b"first"
        m[150000:150004] = b"midl"
        m[299996:300000] = b"last"
        m.flush()
        f.seek(150000)
        assert f.read(4) == b"midl"
        f.seek(10)
        f.write(b"by write")
        f.flush()
        assert m[10:18] == b"by write"
        m.close()
    data = get(f"{mnt}/f")
    assert data[:5] == b"first" and data[-4:] == b"last" and len(data) == 300000


def test_private_mapping_runs_a_program(mnt):
    sh(f"cp /bin/true {mnt}/t && {mnt}/t")


# --- space -------------------------------------------------------------------------------------


def test_sparse_past_a_tib(mnt):
    fd = os.open(f"{mnt}/f", os.O_CREAT | os.O_RDWR)
    at = (1 << 40) + 12345
    os.pwrite(fd, b"far", at)
    st = os.fstat(fd)
    assert st.st_size == at + 3 and st.st_blocks * 512 <= 1 << 16
    assert os.pread(fd, 8, at - 5) == bytes(5) + b"far"
    assert os.pread(fd, 4, 1 << 39) == bytes(4)
    assert os.lseek(fd, 0, os.SEEK_DATA) <= at and os.lseek(fd, 0, os.SEEK_DATA) >= at - 65536
    os.ftruncate(fd, 100)
    assert os.fstat(fd).st_blocks == 0
    os.close(fd)


def test_holes_and_data(mnt):
    fd = os.open(f"{mnt}/f", os.O_CREAT | os.O_RDWR)
    page = 4096
    os.pwrite(fd, b"d" * page, 10 * page)
    os.pwrite(fd, b"d" * page, 40 * page)
    os.ftruncate(fd, 60 * page)
    assert os.lseek(fd, 0, os.SEEK_DATA) == 10 * page
    assert os.lseek(fd, 10 * page, os.SEEK_HOLE) == 11 * page
    assert os.lseek(fd, 11 * page, os.SEEK_DATA) == 40 * page
    assert os.lseek(fd, 40 * page, os.SEEK_HOLE) == 41 * page
    fails(errno.ENXIO, os.lseek, fd, 41 * page, os.SEEK_DATA)
    assert os.lseek(fd, 50 * page, os.SEEK_HOLE) == 50 * page
    fails(errno.ENXIO, os.lseek, fd, 60 * page, os.SEEK_HOLE)
    os.close(fd)
    sh(f"cp --sparse=always {mnt}/f {mnt}/g && cmp {mnt}/f {mnt}/g")


def test_fallocate(mnt):
    put(f"{mnt}/f", b"x" * 100000)
    sh(f"fallocate -l 200000 {mnt}/f")
    assert os.stat(f"{mnt}/f").st_size == 200000
    sh(f"fallocate -p -o 8192 -l 65536 {mnt}/f")
    assert get(f"{mnt}/f") == b"x" * 8192 + bytes(65536) + b"x" * (100000 - 73728) + bytes(100000)
    sh(f"fallocate -n -l 900000 {mnt}/f")
    assert os.stat(f"{mnt}/f").st_size == 200000
    sh(f"fallocate -p -o 100 -l 50 {mnt}/f")
    assert get(f"{mnt}/f")[90:160] == b"x" * 10 + bytes(50) + b"x" * 10


def test_copy_file_range(mnt):
    data = os.urandom(500000)
    put(f"{mnt}/a", data)
    a, b = os.open(f"{mnt}/a", os.O_RDONLY), os.open(f"{mnt}/b", os.O_CREAT | os.O_RDWR)
    done = 0
    while done < 400000:
        n = os.copy_file_range(a, b, 400000 - done, 77 + done, 1001 + done)
        assert n > 0
        done += n
    assert get(f"{mnt}/b") == bytes(1001) + data[77:400077]
    assert os.copy_file_range(a, b, 10, 500000, 0) == 0
    os.close(a)
    os.close(b)


def test_blocks_and_statfs(mnt):
    put(f"{mnt}/f", b"x" * (1 << 20))
    assert os.stat(f"{mnt}/f").st_blocks == 2048
    st = os.statvfs(mnt)
    assert st.f_blocks > 0 and st.f_bavail <= st.f_blocks and st.f_namemax == 255
    assert st.f_files > 0 and st.f_ffree > 0


# --- attributes -----------------------------------------------------------------------------------


def test_modes_owners_times(mnt):
    put(f"{mnt}/f")
    os.chmod(f"{mnt}/f", 0o4751)
    assert os.stat(f"{mnt}/f").st_mode == stat.S_IFREG | 0o4751
    os.chown(f"{mnt}/f", 1234, 4321)
    st = os.stat(f"{mnt}/f")
    assert (st.st_uid, st.st_gid) == (1234, 4321)
    os.utime(f"{mnt}/f", ns=(123456789012345678, 1600000000987654321))
    st = os.stat(f"{mnt}/f")
    assert (st.st_atime_ns, st.st_mtime_ns) == (123456789012345678, 1600000000987654321)


def test_times_move(mnt):
    put(f"{mnt}/f", b"1")
    os.utime(f"{mnt}/f", ns=(0, 0))
    os.utime(mnt, ns=(0, 0))
    before = time.time_ns() - 50_000_000
    with open(f"{mnt}/f", "r+b") as f:
        f.write(b"2")
    st = os.stat(f"{mnt}/f")
    assert st.st_mtime_ns >= before and st.st_ctime_ns >= before
    assert os.stat(mnt).st_mtime_ns == 0
    put(f"{mnt}/g")
    assert os.stat(mnt).st_mtime_ns >= before
    os.utime(mnt, ns=(0, 0))
    os.unlink(f"{mnt}/g")
    assert os.stat(mnt).st_mtime_ns >= before
    os.utime(f"{mnt}/f", ns=(0, 0))
    os.truncate(f"{mnt}/f", 0)
    assert os.stat(f"{mnt}/f").st_mtime_ns >= before


def test_link_counts_of_directories(mnt):
    assert os.stat(mnt).st_nlink == 2
    os.mkdir(f"{mnt}/a")
    os.mkdir(f"{mnt}/b")
    assert os.stat(mnt).st_nlink == 4
    os.rmdir(f"{mnt}/a")
    assert os.stat(mnt).st_nlink == 3


def test_setgid_directories_hand_on_the_group(mnt):
    os.mkdir(f"{mnt}/d")
    os.chown(f"{mnt}/d", 0, 777)
    os.chmod(f"{mnt}/d", 0o2775)
    put(f"{mnt}/d/f")
    os.mkdir(f"{mnt}/d/e")
    assert os.stat(f"{mnt}/d/f").st_gid == 777
    assert os.stat(f"{mnt}/d/e").st_gid == 777 and os.stat(f"{mnt}/d/e").st_mode & stat.S_ISGID


@pytest.mark.skipif(os.geteuid() != 0, reason="not root: cannot become someone else")
def test_permissions_are_checked(mnt):
    os.chmod(mnt, 0o755)
    put(f"{mnt}/secret", b"s")
    os.chmod(f"{mnt}/secret", 0o600)
    put(f"{mnt}/suid", b"s")
    os.chmod(f"{mnt}/suid", 0o6777)
    script = (f"import os,errno\n"
              f"os.setgid(65534); os.setuid(65534)\n"
              f"for call in (lambda: open('{mnt}/secret'), lambda: open('{mnt}/new', 'w'),"
              f" lambda: os.unlink('{mnt}/secret'), lambda: os.chmod('{mnt}/suid', 0)):\n"
              f"    try: call()\n"
              f"    except PermissionError: continue\n"
              f"    raise SystemExit('allowed')\n"
              f"open('{mnt}/suid', 'a').write('x')\n")
    sh(f"/usr/bin/python3 - <<'X'\n{script}\nX")
    assert os.stat(f"{mnt}/suid").st_mode & 0o6000 == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="not root: cannot become someone else")
def test_sticky_directories(mnt):
    os.chmod(mnt, 0o1777)
    put(f"{mnt}/roots", b"r")
    os.chmod(f"{mnt}/roots", 0o666)
    sh(f"/usr/bin/python3 - <<'X'\n"
       f"import os\nos.setgid(65534); os.setuid(65534)\n"
       f"try: os.unlink('{mnt}/roots')\nexcept PermissionError: pass\n"
       f"else: raise SystemExit('removed')\n"
       f"open('{mnt}/mine', 'w').close(); os.unlink('{mnt}/mine')\nX")


def test_xattrs(mnt):
    put(f"{mnt}/f")
    if FOREIGN:
        pytest.skip("tmpfs of old kernels has no user xattrs")
    os.setxattr(f"{mnt}/f", "user.a", b"1")
    os.setxattr(f"{mnt}/f", "user.big", b"B" * 60000)
    os.setxattr(f"{mnt}/f", "user.empty", b"")
    assert os.getxattr(f"{mnt}/f", "user.a") == b"1"
    assert os.getxattr(f"{mnt}/f", "user.big") == b"B" * 60000
    assert os.getxattr(f"{mnt}/f", "user.empty") == b""
    assert sorted(os.listxattr(f"{mnt}/f")) == ["user.a", "user.big", "user.empty"]
    fails(errno.EEXIST, os.setxattr, f"{mnt}/f", "user.a", b"2", os.XATTR_CREATE)
    fails(errno.ENODATA, os.setxattr, f"{mnt}/f", "user.no", b"2", os.XATTR_REPLACE)
    os.removexattr(f"{mnt}/f", "user.big")
    fails(errno.ENODATA, os.getxattr, f"{mnt}/f", "user.big")
    for i in range(120):
        os.setxattr(f"{mnt}/f", f"user.n{i}", b"v" * i)
    assert len(os.listxattr(f"{mnt}/f")) == 122
    assert os.getxattr(f"{mnt}/f", "user.n119") == b"v" * 119
    assert get(f"{mnt}/f") == b"x"


def test_files_of_every_small_size(mnt):
    """Around the places where inline turns into pages and pages into chunks."""
    for size in [*range(0, 9), 3071, 3072, 3073, 4095, 4096, 4097, 65535, 65536, 65537, 1 << 20]:
        data = os.urandom(size)
        put(f"{mnt}/f", data)
        assert get(f"{mnt}/f") == data
        with open(f"{mnt}/f", "ab") as f:
            f.write(b"more")
        assert get(f"{mnt}/f") == data + b"more"
        os.unlink(f"{mnt}/f")
