"""Command lines of the programs: what is refused, with which words and which
exit code, and that nothing is left behind."""
import fcntl
import os
import re
import signal
import socket
import struct
import subprocess
import tempfile

import pytest
from conftest import BIN, SLOW, need_fuse, wait_for

FUSE = os.path.join(BIN, "aceso-fuse")
NODE = os.path.join(BIN, "aceso-node")
ACESO = os.path.join(BIN, "aceso")
MOUNT = os.path.join(BIN, "mount.aceso")


@pytest.fixture
def env():
    """An environment of its own: pools have their directories in it."""
    run = tempfile.mkdtemp(prefix="ad-")  # short: sockets lie in it
    env = {k: v for k, v in os.environ.items() if not k.startswith("ACESO_")}
    env["ACESO_RUNTIME_DIR"] = run
    yield env
    assert wait_for(lambda: os.listdir(run) == [], 10), "a pool was left behind"
    os.rmdir(run)


def do(env, *argv, **kw):
    return subprocess.run(argv, env=env, text=True, capture_output=True,
                          timeout=60 * SLOW, **kw)


def users_of(env):
    """Processes that live in this environment."""
    mark = f"ACESO_RUNTIME_DIR={env['ACESO_RUNTIME_DIR']}".encode()
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as f:
                if mark in f.read().split(b"\0"):
                    found.append(int(pid))
        except OSError:
            pass
    return found


@pytest.fixture
def mnt(tmp_path, env):
    where = tmp_path / "mnt"
    where.mkdir()
    yield str(where)
    while os.path.ismount(where):
        subprocess.run(["umount", "-l", where], check=True)
    assert wait_for(lambda: not users_of(env), 10), "processes left behind"


def one_line(done, *words):
    """One line on standard error, with all of the words; nothing on standard
    output."""
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


@pytest.mark.parametrize("args, code, words", [
    ([], 1, ["no mount point"]),
    (["-x", "{mnt}"], 1, ["'-x'", "--help"]),
    (["-o", "sise=1g", "{mnt}"], 1, ["'sise'", "did you mean 'size'"]),
    (["-o", "qqq", "{mnt}"], 1, ["'qqq'"]),
    (["-o", "size=lots", "{mnt}"], 1, ["size=lots", "size=512m"]),
    (["-o", "size=1k", "{mnt}"], 1, ["too small", "size=8m"]),
    (["-o", "size=900t", "{mnt}"], 2, ["too little memory", "free", "-o size="]),
    (["-o", "code=3+2,nodes=4", "{mnt}"], 1, ["3+2", "needs 5 nodes"]),
    (["-o", "code=31+4", "{mnt}"], 1, ["31+4", "at most"]),
    (["-o", "pool=../x", "{mnt}"], 1, ["../x", "letters"]),
    (["-o", "remount", "{mnt}"], 1, ["remount", "unmount"]),
    (["a", "b", "{mnt}"], 1, ["one mount point"]),
    (["{mnt}/missing"], 32, ["no such directory", "mkdir -p"]),
    (["/etc/passwd"], 32, ["not a directory"]),
    (["/"], 32, ["busy"]),
])
def test_a_bad_mount_says_why_in_one_line(env, mnt, args, code, words):
    done = do(env, FUSE, *[a.format(mnt=mnt) for a in args])
    assert done.returncode == code, done.stderr
    one_line(done, *words)
    assert not os.path.ismount(mnt)


def test_the_environment_may_hold_options_and_mistakes(env, mnt):
    env["ACESO_OPTIONS"] = "cache=sometimes"
    done = do(env, FUSE, mnt)
    assert done.returncode == 1
    one_line(done, "cache=sometimes")


def test_versions_and_helps(env):
    for program in (FUSE, NODE, ACESO, MOUNT):
        for flag in ("-h", "--help"):
            help_text = do(env, program, flag)
            assert help_text.returncode == 0 and "usage: " in help_text.stdout
        for flag in ("-V", "--version"):
            version = do(env, program, flag)
            assert version.returncode == 0
            assert re.match(r"\S+ \d+\.\d+", version.stdout)
    assert "libfuse 3." in do(env, FUSE, "-V").stdout
    # every option that the help names is one
    for name in re.findall(r"\b([a-z_-]+)=[A-Z]", do(env, FUSE, "--help").stdout):
        bad = do(env, FUSE, "-o", f"{name}=", "/")
        assert "needs a value" in bad.stderr, name


@pytest.mark.parametrize("args, words", [
    (["/nothing"], "status"),
    (["statsu"], "did you mean"),
    (["get"], "usage: aceso get"),
    (["status", "--colour"], "usage: aceso status"),
    (["ls", "nokey"], "--keys"),
    ([], "usage: aceso"),
])
def test_aceso_explains_itself(env, args, words):
    done = do(env, ACESO, *args)
    assert done.returncode == 64
    assert words in done.stderr or args == ["/nothing"]


def test_every_command_tells_how_it_is_called(env):
    commands = re.findall(r"^  ([a-z]+) ", do(env, ACESO, "--help").stdout, re.M)
    assert len(commands) > 15
    for words in [[c] for c in commands] + [["pool", "create"], ["pool", "serve"],
                                            ["pool", "key"], ["scrub", "start"]]:
        done = do(env, ACESO, *words, "--help")
        assert done.returncode == 0 and not done.stderr, done
        assert done.stdout.startswith(f"usage: aceso {words[0]}")
    assert "--code" in do(env, ACESO, "pool", "create", "-h").stdout
    # behind a key it is a value
    assert "no pool is running" in do(env, ACESO, "put", "key", "--help").stderr


def test_only_what_is_near_is_proposed(env):
    for args in ([FUSE, "-o", "foo", "/"], [ACESO, "foo"]):
        assert "did you mean" not in do(env, *args).stderr


def test_without_a_pool_aceso_says_how_to_get_one(env):
    for args in (["status"], ["df"], ["get", "k"], ["ls"], ["explain", "/"], ["stop"]):
        done = do(env, ACESO, *args)
        assert done.returncode == 69
        one_line(done, "no pool is running", "aceso-fuse DIR")
    done = do(env, ACESO, "-p", "nope", "status")
    assert done.returncode == 69
    one_line(done, "nope")
    done = do(env, ACESO, "umount", "/")
    assert done.returncode == 1
    one_line(done, "no aceso file system")


def test_a_supervisor_by_hand_is_refused(env):
    done = do(env, NODE, "--supervise", "--pool", "p", "--size", "64m", "--code", "3+2",
              "--nodes", "5")
    assert done.returncode == 1
    one_line(done, "aceso-fuse")


def test_a_node_by_hand_is_of_a_pool_with_a_file(env):
    done = do(env, NODE, "--pool", "nope", "--id", "0", "--foreground")
    assert done.returncode == 2
    one_line(done, "nope.conf", "aceso pool create")


@pytest.fixture
def small_cgroup():
    """A control group of 200 MiB, of whichever version this host has."""
    for root, limit in (("/sys/fs/cgroup", "memory.max"),
                        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")):
        inner = tempfile.mktemp(prefix="aceso-test-", dir=root)
        try:
            os.mkdir(inner)
        except OSError:
            continue
        if os.path.exists(os.path.join(inner, limit)):
            with open(os.path.join(inner, limit), "w") as f:
                f.write("200M")
            yield inner
            os.rmdir(inner)
            return
        os.rmdir(inner)
    pytest.skip("no control group of memory can be made here")


def test_memory_that_the_control_group_does_not_give(env, mnt, small_cgroup):
    enter = 'echo $$ >"$0/cgroup.procs" && exec "$@"'
    done = do(env, "sh", "-c", enter, small_cgroup, FUSE, "-o", "size=400m", mnt)
    assert done.returncode == 2, done.stderr
    one_line(done, "too little memory", "free", "-o size=")
    assert not os.path.ismount(mnt)


def private(env, script, mnt):
    """Run a script in a mount name space of its own, with a /dev of its own."""
    script = ("mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && "
              "mknod /dev/fuse c 10 229 && " + script)
    done = do(env, "unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh",
              FUSE, mnt)
    if "unshare" in done.stderr:
        pytest.skip(done.stderr)
    return done


def test_no_dev_fuse(env, mnt):
    need_fuse()
    done = private(env, 'rm /dev/fuse && exec "$1" -o size=64m "$2"', mnt)
    assert done.returncode == 2, done.stderr
    one_line(done, "no /dev/fuse", "modprobe fuse")


def test_dev_fuse_not_permitted(env, mnt):
    need_fuse()
    done = private(env, 'chmod 600 /dev/fuse && cd / && exec setpriv --reuid 65534 '
                   '--clear-groups "$1" -o size=64m /mnt', mnt)
    if done.returncode in (126, 127):
        pytest.skip("nobody may not run the programs of this folder")
    assert done.returncode == 1, done.stderr
    one_line(done, "/dev/fuse", "not permitted")


def test_a_user_may_mount_too(env, mnt):
    need_fuse()
    done = private(env, 'mkdir /dev/m && chown 65534 /dev/m && chmod 666 /dev/fuse && '
                   'export XDG_RUNTIME_DIR=/dev/m && unset ACESO_RUNTIME_DIR && '
                   'mkdir /dev/m/mnt && chown 65534 /dev/m/mnt && cd / && '
                   'exec setpriv --reuid 65534 --regid 65534 --clear-groups sh -c \''
                   '"$1" -o allow_other /dev/m/mnt; '
                   '"$1" -o size=64m,pool=mine /dev/m/mnt && echo hello >/dev/m/mnt/x && '
                   'stat -c "%u %s" /dev/m/mnt/x && ls /dev/m/aceso/ && '
                   '"${1%-fuse}" -p mine stop && ls -A /dev/m/aceso /dev/m/mnt\' sh "$1"',
                   mnt)
    if done.returncode in (126, 127):
        pytest.skip("nobody may not run the programs of this folder")
    assert done.returncode == 0, done.stderr
    with open("/etc/fuse.conf") as f:
        if "user_allow_other\n" not in f.read().replace("#user_allow_other", ""):
            assert "allow_other: not permitted" in done.stderr
            assert done.stderr.count("\n") == 1, done.stderr
    assert done.stdout == "65534 6\nmine\n/dev/m/aceso:\n\n/dev/m/mnt:\n"


class OtherVersion:
    """Something at a pool's place that speaks another version of the wire."""
    MAGIC = 0x4f435841

    def __init__(self, env, name):
        self.dir = os.path.join(env["ACESO_RUNTIME_DIR"], name)
        os.makedirs(self.dir, 0o700)
        self.lock = open(os.path.join(self.dir, "lock"), "w")
        self.lock.write(f"{os.getpid()}\n")
        self.lock.flush()
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.bind(os.path.join(self.dir, "pool.sock"))
        self.sock.listen(8)
        key = os.open(os.path.join(self.dir, "pool.key"), os.O_CREAT | os.O_WRONLY, 0o600)
        os.write(key, b"5a" * 32 + b"\n")
        os.close(key)
        self.pid = os.fork()
        if self.pid == 0:
            self.serve()

    def serve(self):
        while True:
            peer, _ = self.sock.accept()
            peer.recv(65536)
            # struct shm_frame: magic, version 99, WELCOME, ...
            peer.send(struct.pack("<IHHHHiQ16s", self.MAGIC, 99, 3, 0, 0, 0, 0, b""))

    def close(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.sock.close()
        self.lock.close()
        for name in os.listdir(self.dir):
            os.unlink(os.path.join(self.dir, name))
        os.rmdir(self.dir)


def test_a_pool_of_another_version_is_refused(env, mnt):
    need_fuse()
    other = OtherVersion(env, "old")
    try:
        done = do(env, FUSE, "-o", "pool=old", mnt)
        assert done.returncode != 0
        one_line(done, "version")
        done = do(env, ACESO, "-p", "old", "status")
        assert done.returncode == 69
        one_line(done, "version")
    finally:
        other.close()


@pytest.mark.parametrize("args, code, words", [
    (["none"], 1, "usage: mount.aceso"),
    (["none", "{mnt}", "-o", "sise=1g"], 1, "did you mean 'size'"),
    (["a/b", "{mnt}"], 1, "a/b"),
    (["none", "{mnt}/missing"], 32, "no such directory"),
    (["none", "{mnt}", "-f", "-o", "sise=1g"], 1, "did you mean 'size'"),
    (["none", "{mnt}", "-f", "-s", "-o", "sise=1g"], 0, ""),
    (["none", "{mnt}", "-fnv", "-o", "size=1g", "-o", "code=2+1"], 0, ""),
])
def test_mount_aceso_has_the_codes_of_mount(env, mnt, args, code, words):
    done = do(env, MOUNT, *[a.format(mnt=mnt) for a in args])
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert not os.path.ismount(mnt)
