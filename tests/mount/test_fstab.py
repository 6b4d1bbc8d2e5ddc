"""aceso mount and umount, mount.aceso, and the one line of fstab."""
import os
import random
import subprocess

import pytest
from conftest import BIN, SLOW, need_fuse, of_pool, wait_for

ACESO = os.path.join(BIN, "aceso")
HELPER = os.path.join(BIN, "mount.aceso")


def do(*argv, **kw):
    return subprocess.run(argv, text=True, capture_output=True, timeout=60 * SLOW, **kw)


def note(fstab, spec, where, *more):
    """Only the line, no mount."""
    return do(ACESO, "mount", "--no-mount", "--fstab", str(fstab), *more, spec, str(where))


@pytest.fixture
def fstab(tmp_path):
    return tmp_path / "fstab"


@pytest.fixture
def where(tmp_path):
    made = tmp_path / "mnt"
    made.mkdir()
    yield made
    while os.path.ismount(made):
        subprocess.run(["umount", "-l", made], check=True)


OTHERS = b"""# /etc/fstab: static\tfile
UUID=1-2   /      ext4\terrors=remount-ro 0 1

tmpfs /tmp/x\\040y tmpfs size=1g,nofail 0 0
\xff\xfe nonsense
"""


def test_a_line_is_added_once_and_the_rest_kept(fstab, where):
    fstab.write_bytes(OTHERS)
    os.chmod(fstab, 0o640)
    done = note(fstab, "work", where)
    assert done.returncode == 0, done.stderr
    line = f"work {where} aceso defaults,nofail 0 0\n".encode()
    assert fstab.read_bytes() == OTHERS + line
    assert fstab.stat().st_mode & 0o777 == 0o640
    ino = fstab.stat().st_ino
    done = note(fstab, "work", where)
    assert done.returncode == 0 and "already" in done.stderr
    assert fstab.stat().st_ino == ino  # not even written


def test_a_line_is_replaced_where_it_stands(fstab, where):
    line = f"old   {where}\taceso size=1g 0 0\n".encode()
    fstab.write_bytes(OTHERS + line + b"# after\n" + OTHERS)
    assert note(fstab, "work", where, "-o", "ro,cache=none").returncode == 0
    new = f"work {where} aceso ro,cache=none,nofail 0 0\n".encode()
    assert fstab.read_bytes() == OTHERS + new + b"# after\n" + OTHERS
    done = do(ACESO, "umount", "--fstab", str(fstab), str(where))
    assert done.returncode == 0, done.stderr
    assert fstab.read_bytes() == OTHERS + b"# after\n" + OTHERS
    done = do(ACESO, "umount", "--fstab", str(fstab), str(where))
    assert done.returncode == 0 and "no line" in done.stderr


def test_a_last_line_without_its_end(fstab, where):
    fstab.write_bytes(b"proc /proc proc defaults 0 0")
    assert note(fstab, "work", where).returncode == 0
    assert fstab.read_bytes() == (b"proc /proc proc defaults 0 0\n"
                                  + f"work {where} aceso defaults,nofail 0 0\n".encode())


def test_there_need_not_be_a_file(fstab, where):
    assert note(fstab, "work", where).returncode == 0
    assert fstab.read_text() == f"work {where} aceso defaults,nofail 0 0\n"


def test_what_stands_behind_a_link_is_changed(fstab, where, tmp_path):
    real = tmp_path / "real"
    real.write_bytes(OTHERS)
    fstab.symlink_to(real)
    assert note(fstab, "work", where).returncode == 0
    assert fstab.is_symlink() and real.read_bytes().startswith(OTHERS)
    assert sorted(os.listdir(tmp_path)) == ["fstab", "mnt", "real"]


def test_what_is_not_clear_is_refused(fstab, where):
    for text, words in ((f"x {where} ext4 defaults 0 0\n", "another file system"),
                        (f"a {where} aceso ro 0 0\nb {where} aceso ro 0 0\n", ":2: a second")):
        fstab.write_text(text)
        done = note(fstab, "work", where)
        assert done.returncode == 1 and words in done.stderr, done.stderr
        assert fstab.read_text() == text
    fstab.write_text("")
    for args, words in (((fstab, "work", where, "-o", "sise=1g"), "did you mean 'size'"),
                        ((fstab, "a/b", where), "no name"),
                        ((fstab, "work", "not/there"), "mkdir -p")):
        done = note(*args)
        assert done.returncode != 0 and words in done.stderr, done.stderr
        assert fstab.read_text() == ""
    done = do(ACESO, "mount", "--no-mount", "--fstab", str(where), "work", str(where))
    assert done.returncode == 1 and "cannot be read" in done.stderr


def test_blanks_in_names_are_escaped_as_fstab_wants(fstab, tmp_path):
    where = tmp_path / "two words#"
    where.mkdir()
    assert note(fstab, "work", where).returncode == 0
    assert f"{tmp_path}/two\\040words# aceso" in fstab.read_text()
    assert note(fstab, "other", where).returncode == 0  # it is found again
    assert fstab.read_text().count("\n") == 1
    found = do("findmnt", "--tab-file", str(fstab), "--noheadings", "--output", "SOURCE,TARGET")
    assert found.stdout.split(None, 1) == ["other", f"{where}\n"], found


def test_pools_over_several_hosts_wait_for_the_network(fstab, where, tmp_path):
    (tmp_path / "far.conf").write_text("[pool]\nname = far\n")
    env = {**os.environ, "ACESO_CONF_DIR": str(tmp_path)}
    done = do(ACESO, "mount", "--no-mount", "--fstab", str(fstab), "far", str(where), env=env)
    assert done.returncode == 0, done.stderr
    assert fstab.read_text().split()[3] == "defaults,_netdev,nofail"


def test_who_waits_for_the_network_gets_no_pool_of_his_own(where, tmp_path):
    """Of a pool over several hosts, whose file was not copied to this one."""
    need_fuse()
    name = f"far{os.getpid()}"
    env = {**os.environ, "ACESO_CONF_DIR": str(tmp_path)}
    done = do(HELPER, name, str(where), "-o", "_netdev,nofail", env=env)
    assert done.returncode == 32 and f"{tmp_path}/{name}.conf" in done.stderr, done.stderr
    assert not os.path.ismount(where) and not of_pool(name)
    # one that is there is joined, whatever the line says; who makes it by mistake is told
    done = do(HELPER, name, str(where), env=env)
    assert done.returncode == 0, done.stderr
    assert "is made on this host" in done.stderr and f"{tmp_path}/{name}.conf" in done.stderr
    other = tmp_path / "other"
    other.mkdir()
    done = do(HELPER, name, str(other), "-o", "_netdev", env=env)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    for at in (where, other):
        assert do("umount", str(at)).returncode == 0
    assert wait_for(lambda: not of_pool(name), 10)


def test_many_at_once_lose_no_line(fstab, tmp_path):
    fstab.write_bytes(OTHERS)
    dirs = [tmp_path / f"m{i}" for i in range(12)]
    for d in dirs:
        d.mkdir()
    running = [subprocess.Popen([ACESO, "mount", "--no-mount", "--fstab", str(fstab), "p", str(d)],
                                stderr=subprocess.DEVNULL) for d in dirs]
    for p in running:
        assert p.wait(60 * SLOW) == 0
    text = fstab.read_bytes()
    assert text.startswith(OTHERS)
    assert sorted(l.split()[1] for l in text[len(OTHERS):].splitlines()) == \
        sorted(str(d).encode() for d in dirs)


def test_files_of_any_bytes_are_kept(fstab, where, seed):
    rng = random.Random(seed)
    for _ in range(20):
        words = [b"/x", b" ", b"\t", b"\n", b"#", b"aceso", b"\\040", b"\0", b"\xc3", b"none"]
        before = b"".join(rng.choices(words, k=rng.randrange(60)))
        fstab.write_bytes(before)
        assert note(fstab, "work", where).returncode == 0
        joint = b"\n" if before and not before.endswith(b"\n") else b""
        line = f"work {where} aceso defaults,nofail 0 0\n".encode()
        assert fstab.read_bytes() == before + joint + line
        assert do(ACESO, "umount", "--fstab", str(fstab), str(where)).returncode == 0
        assert fstab.read_bytes() == before + joint


def test_a_mount_and_its_line(fstab, where):
    need_fuse()
    name = f"fstab{os.getpid()}"
    options = "size=64m,respawn=no"
    for _ in range(2):  # the second time it is mounted already
        done = do(ACESO, "mount", "--fstab", str(fstab), "-o", options, name, str(where))
        assert done.returncode == 0, done.stderr
        assert os.path.ismount(where)
        assert fstab.read_text() == f"{name} {where} aceso {options},nofail 0 0\n"
    with open("/proc/mounts", encoding="utf-8") as f:
        assert f"{name} {where} fuse.aceso " in f.read()
    done = do(ACESO, "umount", "--fstab", str(fstab), str(where))
    assert done.returncode == 0, done.stderr
    assert not os.path.ismount(where) and fstab.read_text() == ""
    assert wait_for(lambda: not of_pool(name), 10)
    # what cannot be mounted gets no line
    done = do(ACESO, "mount", "--fstab", str(fstab), "-o", "size=900t", name, str(where))
    assert done.returncode == 2 and fstab.read_text() == ""


def test_all_that_fstab_lines_hold(where):
    """As mount(8) calls it, with what it adds and what systemd reads."""
    need_fuse()
    options = ("size=64m,rw,_netdev,nofail,noauto,user=joe,users,x-systemd.automount,"
               "x-systemd.device-timeout=5s,X-mount.mkdir,comment=a,noexec,nosuid,nodev,noatime")
    done = do(HELPER, "none", str(where), "-n", "-v", "-s", "-o", options + ",unheard_of=1")
    assert done.returncode == 0, done.stderr
    assert "aceso-fuse -o" in done.stdout
    flags = os.statvfs(where).f_flag
    for flag in (os.ST_NOEXEC, os.ST_NOSUID, os.ST_NODEV, os.ST_NOATIME):
        assert flags & flag
    (where / "f").write_text("in")
    # again: busy, with mount's own number; it answers before it returns
    done = do(HELPER, "none", str(where), "-o", "size=64m")
    assert done.returncode == 32 and "busy" in done.stderr
    # remount changes what the kernel keeps, and nothing else
    done = do(HELPER, "none", str(where), "-o", "remount,ro,size=64m,exec")
    assert done.returncode == 0, done.stderr
    with pytest.raises(OSError):
        (where / "f").write_text("out")
    assert not os.statvfs(where).f_flag & os.ST_NOEXEC
    assert os.statvfs(where).f_flag & os.ST_NOSUID
    done = do(HELPER, "none", str(where), "-o", "remount,rw")
    assert done.returncode == 0 and (where / "f").write_text("more") == 4
    subprocess.run(["umount", where], check=True)
    assert do(HELPER, "none", str(where), "-o", "remount,rw").returncode == 32
    # read-only from the beginning
    assert do(HELPER, "none", str(where), "-o", "ro,size=64m").returncode == 0
    assert os.statvfs(where).f_flag & os.ST_RDONLY
    subprocess.run(["umount", where], check=True)


@pytest.mark.parametrize("argv, code, words", [
    (["none"], 1, "usage"),
    (["none", "/nowhere/at/all", "-o", "size=64m"], 32, "no such directory"),
    (["none", "{dir}", "-o", "sise=1"], 1, "size"),
    (["none", "{dir}", "-f", "-o", "sise=1"], 1, "size"),
    (["none", "{dir}", "-f", "-o", "size=1g"], 0, ""),
    (["a b", "{dir}", "-o", "size=1g"], 1, "no name"),
    (["none", "{dir}", "-N", "7"], 1, "nsenter"),
    (["none", "{dir}", "-o", "size=900t"], 2, "too little memory"),
])
def test_exit_codes_are_those_of_mount_8(where, argv, code, words):
    need_fuse()
    done = do(HELPER, *[a.format(dir=where) for a in argv])
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert not os.path.ismount(where)


BY_A_USER = """
set -eu
mount -t tmpfs tmpfs /mnt
chmod 755 /mnt
mkdir -p /mnt/bin /mnt/etc/aceso /mnt/run /mnt/his /mnt/far
cp "$0"/aceso* "$0"/mount.aceso /mnt/bin
echo none /mnt/his aceso size=64m,respawn=no,noauto,user 0 0 >/mnt/etc/fstab
echo far /mnt/far aceso _netdev,noauto,user 0 0 >>/mnt/etc/fstab
cp "$1" /mnt/etc/aceso/far.conf
(umask 077 && printf '%064d\\n' 7 >/mnt/etc/aceso/far.key)
chown 65534:65534 /mnt/run /mnt/his /mnt/far
over() {
	mount -t overlay -o "lowerdir=$1:$2" overlay "$2" || { echo no overlay here; exit 77; }
}
over /mnt/bin "$(readlink -f /sbin)"
over /mnt/etc /etc
as() {
	setpriv --reuid 65534 --regid 65534 --clear-groups env ACESO_RUNTIME_DIR=/mnt/run "$@"
}
as test -w /dev/fuse || { echo /dev/fuse is for root only; exit 77; }
as test -u "$(command -v mount)" -a -u "$(command -v fusermount3)" ||
	{ echo mount or fusermount3 is not set-uid; exit 77; }
! as mount /mnt/far || exit 3
trap 'umount /mnt/his 2>/dev/null || :' EXIT # who goes before the end leaves nothing
as mount /mnt/his
as sh -c 'echo his >/mnt/his/f'
as cat /mnt/his/f
! cat /mnt/his/f 2>/dev/null || exit 4 # not even root
findmnt --noheadings --output FSTYPE,OPTIONS /mnt/his
as umount /mnt/his
! mountpoint -q /mnt/his
for i in $(seq 100); do
	[ -n "$(ls /mnt/run)" ] || exit 0
	sleep 0.1
done
ls -R /mnt/run
exit 5
"""


def test_a_user_mounts_what_fstab_lets_him(tmp_path):
    """By mount(8), which is set-uid root; in a name space with an /etc/fstab of its own. Not a
    pool over several hosts, whose key is root's."""
    need_fuse()
    if os.geteuid() != 0:
        pytest.skip("not root: no name space of its own can be made")
    far = tmp_path / "far.conf"
    far.write_text(f"[pool]\nname = far\nuuid = {'12' * 16}\ncode = 2+1\nnode-size = 64m\n"
                   "key = far.key\n[nodes]\n0 = 127.0.0.1:7601\n1 = 127.0.0.1:7602\n"
                   "2 = 127.0.0.1:7603\n[coordinators]\n0 = 127.0.0.1:7600\n")
    done = do("unshare", "--mount", "--propagation", "private",
              "sh", "-c", BY_A_USER, BIN, str(far))
    if done.returncode == 77:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done
    assert "far.key cannot be read by you" in done.stderr, done
    words = done.stdout.split()
    assert words[:2] == ["his", "fuse.aceso"], done
    assert {"nosuid", "nodev", "noexec", "user_id=65534"} <= set(words[2].split(",")), done
