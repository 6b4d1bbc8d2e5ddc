"""A host that has the reader's key only: it mounts, sees everything, changes nothing."""
import errno
import filecmp
import os
import random
import shutil
import subprocess

from conftest import BIN, SLOW, wait_for
from test_cluster import cluster, served  # noqa: F401  (fixtures)


def reader_of(pool):
    """The files of a host that may only look; its environment."""
    done = pool.aceso("pool", "key", pool.name, "--read-only")
    assert done.returncode == 0, done.stderr
    os.mkdir(pool.path("reader"))
    shutil.copy(pool.conf(), pool.path("reader"))
    key = pool.path("reader", pool.name + ".key")
    with open(key, "w", encoding="utf-8") as f:
        f.write(done.stdout)
    os.chmod(key, 0o600)
    return {"ACESO_CONF_DIR": pool.path("reader"), "ACESO_RUNTIME_DIR": pool.path("reader", "run")}


def refused(*argv):
    done = subprocess.run(argv, text=True, capture_output=True, timeout=60 * SLOW,
                          env={**os.environ, "LC_ALL": "C"})
    assert done.returncode != 0 and "Read-only file system" in done.stderr, done


def test_a_reader_s_mount(served):  # noqa: F811
    where, done = served.mount()
    assert done.returncode == 0, done.stderr
    shutil.copytree("/usr/include/linux", os.path.join(where, "linux"), symlinks=True)
    env = reader_of(served)
    ro, done = served.mount(env=env)
    assert done.returncode == 0, done.stderr
    assert os.statvfs(ro).f_flag & os.ST_RDONLY
    diff = ["diff", "-r", "/usr/include/linux", os.path.join(ro, "linux")]
    subprocess.run(diff, check=True, timeout=120 * SLOW)
    refused("touch", os.path.join(ro, "new"))
    # root of that host makes it writable for its kernel: it does not help
    done = subprocess.run([os.path.join(BIN, "mount.aceso"), served.name, ro, "-o", "remount,rw"],
                          text=True, capture_output=True, timeout=60 * SLOW)
    assert done.returncode == 0, done.stderr
    assert not os.statvfs(ro).f_flag & os.ST_RDONLY
    name = os.path.join(ro, "linux", "fs.h")
    for argv in (["touch", os.path.join(ro, "new")], ["rm", name], ["chmod", "600", name],
                 ["mv", name, name + "2"], ["dd", "if=/dev/zero", "of=" + name, "conv=notrunc"]):
        refused(*argv)
    # what a writer does is seen, and nothing was changed
    with open(os.path.join(where, "later"), "w", encoding="utf-8") as f:
        f.write("seen")
    with open(os.path.join(ro, "later"), encoding="utf-8") as f:
        assert f.read() == "seen"
    subprocess.run(diff, check=True, timeout=120 * SLOW)
    assert filecmp.cmp("/usr/include/linux/fs.h", os.path.join(where, "linux", "fs.h"), False)


def test_a_reader_who_comes_first_is_told(served):  # noqa: F811
    """A pool that no writer has mounted yet holds no file system."""
    ro, done = served.mount(env=reader_of(served))
    assert done.returncode == 32 and not os.path.ismount(ro)
    assert "holds no file system yet" in done.stderr, done.stderr


def test_what_a_reader_has_open_may_go(served):  # noqa: F811
    """It is on no board of mounts: its file goes with the name. It never reads other bytes."""
    where, done = served.mount()
    assert done.returncode == 0, done.stderr
    ro, done = served.mount(env=reader_of(served))
    assert done.returncode == 0, done.stderr
    data = random.Random(7).randbytes(1 << 20)
    with open(os.path.join(where, "f"), "wb") as f:
        f.write(data)
    with open(os.path.join(ro, "f"), "rb", buffering=0) as held:
        assert held.read(4096) == data[:4096]
        os.unlink(os.path.join(where, "f"))

        def gone():
            with open(os.path.join(where, "g"), "wb") as f:  # its room is used again
                f.write(b"another" * 149797)
            os.unlink(os.path.join(where, "g"))
            os.posix_fadvise(held.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            held.seek(4096)
            try:
                got = held.read(len(data))
            except OSError as e:
                assert e.errno == errno.ESTALE, e
                return True
            assert got == data[4096:4096 + len(got)]
            return False

        assert wait_for(gone, 60)


def test_a_reader_s_tools(served):  # noqa: F811
    env = reader_of(served)
    assert served.aceso("-p", served.name, "put", "a", "kept").returncode == 0
    assert served.aceso("-p", served.name, "get", "a", env=env).stdout.strip() == "kept"
    assert served.aceso("-p", served.name, "status", env=env).returncode == 0
    for words in (["put", "a", "b"], ["rm", "a"], ["scrub", "start", "--wait"]):
        done = served.aceso("-p", served.name, *words, env=env)
        assert done.returncode != 0 and done.stderr, done
    assert served.aceso("-p", served.name, "fsck", env=env).returncode == 0
    assert served.aceso("-p", served.name, "get", "a").stdout.strip() == "kept"


def test_a_reader_serves_nothing_and_gives_no_keys(served):  # noqa: F811
    env = reader_of(served)
    done = served.aceso("pool", "key", served.name, "--read-only", env=env)
    assert done.returncode != 0 and "reader's key itself" in done.stderr
    found = served.aceso("doctor", "--pool", served.name, env=env).stdout
    assert "a coordinator lets this host in" in found
