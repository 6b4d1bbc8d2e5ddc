"""A real mount for each test module, and what is needed to look at it and to
harm it. ACESO_BIN names the programs' folder (default build/bin);
ACESO_TEST_DIR=some/dir runs the tests that need no pool on that folder instead
(for instance on tmpfs: the tests themselves must pass there).
ACESO_TRANSPORT=tcp or verbs: pools are over several hosts (hosts.py), not
embedded; which tests then make sense says over.py."""
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
import zlib

import pytest

from hosts import Hosts

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("ACESO_BIN", os.path.join(ROOT, "build", "bin"))
FOREIGN = os.environ.get("ACESO_TEST_DIR")
MODE = os.environ.get("ACESO_TEST_MODE", "release")
os.environ.setdefault("ACESO_CONF", "/dev/null")  # not this machine's own
# a sanitizer build is that much slower, as is a guest without a processor of its own
SLOW = int(os.environ.get("ACESO_TEST_SLOW", 1 if MODE == "release" else 8))
TRANSPORT = os.environ.get("ACESO_TRANSPORT", "shm")
SHORT = os.environ.get("ACESO_TEST_SHORT") == "1"  # a quarter of the bytes


def aceso(*args, check=True, **kw):
    return subprocess.run([os.path.join(BIN, "aceso"), *args], check=check, text=True,
                          capture_output=True, timeout=60 * SLOW, **kw)


def wait_for(what, seconds=20, step=0.05):
    """Wait until what() is true; says whether it came true in time."""
    end = time.monotonic() + seconds * SLOW
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(step)
    return bool(what())


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def short(mib):
    """A size in MiB, or a quarter of it where the form is the short one; for fio, dd."""
    return f"{max(mib // 4, 1) if SHORT else mib}m"


# Over several hosts more than m that are silent are taken for out of reach, not for lost.
says_lost = pytest.mark.skipif(TRANSPORT != "shm", reason="hosts that are silent are not lost")


def node_bytes(size):
    """What each of five nodes must have for a pool of @size ("512m"), code 3+2."""
    unit = {"m": 1 << 20, "g": 1 << 30}[size[-1]]
    return int(size[:-1]) * unit * 2 // 5 + (32 << 20)


class Pool:
    """A mounted pool, embedded unless TRANSPORT says that it is over several hosts. Dead
    nodes stay dead, unless @options has respawn=yes."""

    def __init__(self, size="512m", options="", name=None):
        self.respawn = "respawn=yes" in options
        self.base = tempfile.mkdtemp(prefix="aceso-test-")
        self.dir = os.path.join(self.base, "mnt")
        os.chmod(self.base, 0o755)
        os.mkdir(self.dir)
        self.name = name or f"t{os.getpid()}-{random.getrandbits(32):08x}"
        self.extra = []
        self.hosts = None
        if TRANSPORT == "shm":
            respawn = "" if "respawn=" in options else "respawn=no"
            self.mount(self.dir, ",".join(filter(None, (f"size={size}", options, respawn))))
        else:
            self.serve(size)
            self.mount(self.dir)

    def serve(self, size):
        self.hosts = Hosts(os.path.join(BIN, "aceso"), TRANSPORT, self.name, node_bytes(size),
                           self.respawn)
        assert wait_for(lambda: '"redundancy":"full"' in aceso(
            "-p", self.name, "status", "--json", check=False).stdout.replace(" ", ""),
            120), self.hosts.log()

    def mount(self, where, options=""):
        opts = f"pool={self.name}" + ("," + options if options else "")
        done = subprocess.run([os.path.join(BIN, "aceso-fuse"), "-o", opts, where], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60 * SLOW)
        assert done.returncode == 0, done.stderr
        assert os.path.ismount(where)

    def second(self, options=""):
        where = tempfile.mkdtemp(prefix="mnt", dir=self.base)
        self.mount(where, options)
        self.extra.append(where)
        return where

    def status(self):
        done = aceso("-p", self.name, "status", "--json", check=False)
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def node_pids(self):
        return [n["pid"] for n in self.status()["nodes"] if n["state"] == "up"]

    def shoot(self, which):
        """kill -9 node @which (with its host, if it shall stay away); its pid."""
        pid = self.status()["nodes"][which]["pid"]
        if self.hosts is not None:
            self.hosts.shoot(which, pid)
        else:
            os.kill(pid, signal.SIGKILL)
        return pid

    def kill_node(self, which):
        """kill -9 node @which, wait until the pool knows and serves all again."""
        pid = self.shoot(which)
        assert wait_for(lambda: self.status()["nodes"][which]["state"] == "down")
        return pid

    def replaced(self, node, pid):
        """Node @node is another process than @pid, and whole."""
        now = self.status()["nodes"][node]
        return now["pid"] != pid and now["state"] == "up"

    def full(self):
        """Nothing is missing any more."""
        return wait_for(lambda: self.status()["redundancy"] == "full", 60)

    def settled(self):
        """Nothing is being rebuilt."""
        return wait_for(lambda: all(s["state"] == "serving" for s in self.status()["shards"]), 60)

    def space(self):
        st = os.statvfs(self.dir)
        return st.f_bavail * st.f_frsize

    def close(self):
        with open("/proc/self/mounts", encoding="utf-8") as f:  # a stat may be EIO
            mounted = {line.split()[1] for line in f}
        for where in [*self.extra, self.dir]:
            if where in mounted:
                done = subprocess.run(["umount", where], capture_output=True, text=True)
                assert done.returncode == 0, done.stderr
        if self.hosts is not None:
            # each mount leaves the pool in its own time, for which it must be there
            assert wait_for(lambda: not of_pool("pool=" + self.name), 60), "mounts left behind"
            self.hosts.end(60 * SLOW)
        shutil.rmtree(self.base)


def of_pool(name):
    """pids of processes whose command line names the pool."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                if name.encode() in f.read() and int(pid) != os.getpid():
                    found.append(int(pid))
        except OSError:
            pass
    return found


def open_files(pid):
    """What the process has open: {fd: where it leads}."""
    found = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # it has just been closed
            found[int(fd)] = os.readlink(f"/proc/{pid}/fd/{fd}")
    return found


def server_of(where):
    """pid of the process that serves the mount at @where."""
    found = []
    for pid in of_pool(where):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as f:
            words = f.read().split(b"\0")
            if words[0].endswith(b"aceso-fuse") and where.encode() in words:
                found.append(pid)
    assert len(found) == 1, f"{found} serve {where}"
    return found[0]


def need_fuse():
    if not os.path.exists("/dev/fuse"):
        pytest.skip("no /dev/fuse on this machine")
    if os.geteuid() != 0:
        pytest.skip("not root: mounting with allow_other needs it")


@pytest.fixture
def pool():
    """A pool of the test's own, which it may harm."""
    need_fuse()
    if FOREIGN:
        pytest.skip("ACESO_TEST_DIR: no pool to harm")
    made = Pool()
    yield made
    made.close()
    assert wait_for(lambda: not of_pool(made.name), 10), "processes left behind"


@pytest.fixture
def alive_pool():
    """One that replaces its dead."""
    need_fuse()
    made = Pool(options="respawn=yes")
    yield made
    made.close()
    assert wait_for(lambda: not of_pool(made.name), 10), "processes left behind"


@pytest.fixture(scope="module")
def shared():
    """One pool for a whole module."""
    if FOREIGN:
        yield None
        return
    need_fuse()
    made = Pool(size="1g")
    yield made
    made.close()
    assert wait_for(lambda: not of_pool(made.name), 10), "processes left behind"


@pytest.fixture
def mnt(shared):
    """A fresh folder on the module's mount."""
    base = FOREIGN or shared.dir
    where = tempfile.mkdtemp(dir=base)
    os.chmod(where, 0o755)
    yield where
    shutil.rmtree(where)
    assert not os.path.exists(where)


@pytest.fixture
def seed(request):
    """Printed, and settable by ACESO_SEED: a failing run can be had again."""
    value = int(os.environ.get("ACESO_SEED", random.getrandbits(32)))
    print(f"ACESO_SEED={value}")
    return value


def sh(cmd, cwd=None, timeout=300, env=None):
    """Run a shell command, fail with its output."""
    full = dict(os.environ, LC_ALL="C", GIT_CONFIG_NOSYSTEM="1", **(env or {}))
    done = subprocess.run(["bash", "-e", "-o", "pipefail", "-c", cmd], cwd=cwd, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=full,
                          timeout=timeout * SLOW)
    assert done.returncode == 0, f"{cmd}\n{done.stdout[-4000:]}"
    return done.stdout


def pattern(rng, size):
    """Bytes that are cheap to make and differ everywhere."""
    block = rng.randbytes(min(size, 1 << 16) or 1)
    return (block * (size // len(block) + 1))[:size]


def fill(base, rng, files=60):
    """Files of all sorts; returns path -> content."""
    made = {}
    for i in range(files):
        path = os.path.join(base, f"d{i % 7}", f"f{i}")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        made[path] = pattern(rng, rng.choice((0, 50, 2900, 4096, 20000, 300000, 1500000)))
        with open(path, "wb") as f:
            f.write(made[path])
    return made


def same(made):
    for path, data in made.items():
        with open(path, "rb") as f:
            assert f.read() == data, path


def checksum(path):
    crc = 0
    with open(path, "rb") as f:
        while piece := f.read(1 << 20):
            crc = zlib.crc32(piece, crc)
    return crc
