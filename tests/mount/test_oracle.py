"""Random operations on the mount and on tmpfs side by side: the same answers,
the same errors, the same tree, at every step. ACESO_SEED=n repeats a run;
ACESO_STEPS=n makes it longer."""
import errno
import os
import random
import shutil
import stat
import tempfile

import pytest
from conftest import SHORT, SLOW

STEPS = int(os.environ.get("ACESO_STEPS", (2000 if SHORT else 6000) // SLOW))
NAMES = ["a", "b", "c", "d", "é", "x" * 200]


class Side:
    """One of the two trees: an operation returns what can be compared."""

    def __init__(self, root):
        self.root = root
        self.fds = {}

    def path(self, p):
        return os.path.join(self.root, *p)

    def do(self, op, *args):
        try:
            return ("ok", getattr(self, op)(*args))
        except OSError as e:
            return ("error", errno.errorcode[e.errno])

    def create(self, p):
        os.close(os.open(self.path(p), os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o644))

    def mkdir(self, p):
        os.mkdir(self.path(p))

    def rmdir(self, p):
        os.rmdir(self.path(p))

    def unlink(self, p):
        os.unlink(self.path(p))

    def rename(self, p, q):
        os.rename(self.path(p), self.path(q))

    def link(self, p, q):
        os.link(self.path(p), self.path(q), follow_symlinks=False)

    def symlink(self, p, target):
        os.symlink(target, self.path(p))

    def readlink(self, p):
        return os.readlink(self.path(p))

    def write(self, p, at, data):
        fd = os.open(self.path(p), os.O_WRONLY | os.O_NOFOLLOW)
        try:
            return os.pwrite(fd, data, at)
        finally:
            os.close(fd)

    def append(self, p, data):
        fd = os.open(self.path(p), os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)
        try:
            return os.write(fd, data)
        finally:
            os.close(fd)

    def read(self, p, at, size):
        fd = os.open(self.path(p), os.O_RDONLY | os.O_NOFOLLOW)
        try:
            return os.pread(fd, size, at)
        finally:
            os.close(fd)

    def truncate(self, p, size):
        os.truncate(self.path(p), size)

    def allocate(self, p, at, size):
        fd = os.open(self.path(p), os.O_WRONLY | os.O_NOFOLLOW)
        try:
            os.posix_fallocate(fd, at, size)
        finally:
            os.close(fd)

    def chmod(self, p, mode):
        os.chmod(self.path(p), mode)

    def chown(self, p, uid):
        os.chown(self.path(p), uid, uid, follow_symlinks=False)

    def utime(self, p, ns):
        os.utime(self.path(p), ns=(ns, ns + 1), follow_symlinks=False)
        return os.lstat(self.path(p)).st_mtime_ns

    def list(self, p):
        return sorted(os.listdir(self.path(p)))

    def stat(self, p):
        st = os.lstat(self.path(p))
        size = 0 if stat.S_ISDIR(st.st_mode) else st.st_size
        return st.st_mode, st.st_nlink, st.st_uid, st.st_gid, size

    def hold(self, p, slot):
        if slot in self.fds:
            os.close(self.fds.pop(slot))
        self.fds[slot] = os.open(self.path(p), os.O_RDWR | os.O_NOFOLLOW)

    def held_write(self, slot, at, data):
        return os.pwrite(self.fds[slot], data, at) if slot in self.fds else None

    def held_read(self, slot, at, size):
        return os.pread(self.fds[slot], size, at) if slot in self.fds else None

    def held_stat(self, slot):
        if slot not in self.fds:
            return None
        st = os.fstat(self.fds[slot])
        return st.st_mode, st.st_nlink, st.st_size

    def whole(self):
        seen = {}
        for base, dirs, files in os.walk(self.root):
            for name in dirs + files:
                full = os.path.join(base, name)
                rel = os.path.relpath(full, self.root)
                seen[rel] = self.stat([rel])
                if stat.S_ISREG(seen[rel][0]):
                    with open(full, "rb") as f:
                        seen[rel] += (f.read(),)
        return seen

    def close(self):
        for fd in self.fds.values():
            os.close(fd)


def some_path(rng):
    return [rng.choice(NAMES) for _ in range(rng.choice((1, 1, 1, 2, 2, 3)))]


def some_place(rng):
    return rng.choice((0, 1, 4095, 4096, 65536, rng.randrange(5000), rng.randrange(300000)))


def some_data(rng):
    return rng.randbytes(rng.choice((0, 1, 100, 3000, 4096, 8192, rng.randrange(150000))))


def one_step(rng):
    op = rng.choice(("create", "create", "mkdir", "rmdir", "unlink", "unlink", "rename", "rename",
                     "link", "symlink", "readlink", "write", "write", "write", "append", "read",
                     "read", "truncate", "allocate", "chmod", "chown", "utime", "list", "stat",
                     "hold", "held_write", "held_read", "held_stat"))
    p, q = some_path(rng), some_path(rng)
    rest = {
        "rename": (q,), "link": (q,), "symlink": (rng.choice(NAMES),),
        "write": (some_place(rng), some_data(rng)), "append": (some_data(rng)[:9000],),
        "read": (some_place(rng), rng.randrange(200000)), "truncate": (some_place(rng),),
        "allocate": (some_place(rng), 1 + rng.randrange(100000)),
        "chmod": (rng.choice((0o600, 0o644, 0o755, 0o4755, 0o1777)),),
        "chown": (rng.choice((0, 1, 1000)),), "utime": (rng.randrange(1 << 60),),
        "hold": (rng.randrange(3),),
    }.get(op, ())
    if op.startswith("held"):
        slot = rng.randrange(3)
        return op, (slot,) + {"held_write": (some_place(rng), some_data(rng)),
                              "held_read": (some_place(rng), 50000)}.get(op, ())
    return op, (p,) + rest


def brief(value):
    text = repr(value)
    return text if len(text) < 300 else text[:300] + "..."


@pytest.mark.parametrize("round", range(2))
def test_same_as_tmpfs(mnt, seed, round):
    rng = random.Random(seed + round)
    ref = tempfile.mkdtemp(prefix="aceso-oracle-", dir="/dev/shm")
    ours, theirs = Side(mnt), Side(ref)
    try:
        for step in range(STEPS):
            op, args = one_step(rng)
            want, got = theirs.do(op, *args), ours.do(op, *args)
            assert got == want, f"seed {seed} round {round} step {step}: {op}{brief(args)}: " \
                                f"{brief(got)}, tmpfs says {brief(want)}"
            if step % 1000 == 999:
                assert ours.whole() == theirs.whole(), f"seed {seed} step {step}: trees differ"
        assert ours.whole() == theirs.whole()
    finally:
        ours.close()
        theirs.close()
        shutil.rmtree(ref)
