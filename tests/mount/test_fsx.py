"""Random operations on one file, in all the ways there are to reach its bytes,
against a model of it: what fsx(8) does. ACESO_SEED=n repeats a run;
ACESO_FSX=n makes it longer."""
import ctypes
import errno
import mmap
import os
import random
import threading

import pytest
from conftest import FOREIGN, SHORT, SLOW, pattern

STEPS = int(os.environ.get("ACESO_FSX", (1000 if SHORT else 2500) // SLOW))
SIZE_MAX = 172 * 4096  # many chunks, and some of every kind of write
PAGE = 4096
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16

libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def fallocate(fd, mode, at, length):
    if libc.fallocate(fd, mode, at, length) != 0:
        raise OSError(ctypes.get_errno(), "fallocate")


class Fsx:
    """The file @path, and what must be in it."""

    def __init__(self, path, rng, others=()):
        self.paths = [path, *others]  # the same file, on other mounts too
        self.rng = rng
        self.want = bytearray()
        self.log = []
        self.fds = [os.open(p, os.O_RDWR | os.O_CREAT, 0o644) for p in self.paths]

    def close(self):
        for fd in self.fds:
            os.close(fd)

    def fd(self):
        return self.fds[0]

    def reopen(self):
        """Also the turn of the next mount: close-to-open is what holds there."""
        os.close(self.fds[0])
        self.paths.append(self.paths.pop(0))
        self.fds.append(self.fds.pop(0))
        if len(self.fds) > 1:
            os.close(self.fds[0])
        self.fds[0] = os.open(self.paths[0], os.O_RDWR)
        if len(self.fds) > 1:
            self.fds[-1] = os.open(self.paths[-1], os.O_RDONLY)
        self.check()

    def span(self, limit=None):
        """(at, length >= 1) below @limit: small or large, aligned or not."""
        limit = SIZE_MAX if limit is None else limit
        length = 1 + int((limit - 1) * self.rng.random() ** 5)
        at = self.rng.randrange(limit - length + 1)
        if self.rng.random() < 0.4:
            at -= at % PAGE
        if self.rng.random() < 0.3 and length > PAGE:
            length -= length % PAGE
        return at, length

    def put(self, at, data):
        if len(self.want) < at:
            self.want.extend(bytes(at - len(self.want)))
        self.want[at:at + len(data)] = data

    # each does one thing to the file and to the model

    def write(self):
        at, length = self.span()
        data = pattern(self.rng, length)
        self.log.append(("write", at, length))
        assert os.pwrite(self.fd(), data, at) == length
        self.put(at, data)

    def write_direct(self):
        at, length = self.span()
        at, length = at - at % PAGE, max(PAGE, length - length % PAGE)
        buf = mmap.mmap(-1, length)  # aligned
        buf.write(pattern(self.rng, length))
        self.log.append(("direct", at, length))
        fd = os.open(self.paths[0], os.O_RDWR | os.O_DIRECT)
        try:
            assert os.pwritev(fd, [buf], at) == length
            self.put(at, buf[:])
            back = mmap.mmap(-1, length)
            assert os.preadv(fd, [back], at) == length and back[:] == buf[:]
        finally:
            os.close(fd)

    def append(self):
        length = self.rng.randrange(1, 20000)
        if len(self.want) + length > SIZE_MAX:
            return
        self.log.append(("append", len(self.want), length))
        data = pattern(self.rng, length)
        fd = os.open(self.paths[0], os.O_WRONLY | os.O_APPEND)
        try:
            assert os.write(fd, data) == length
        finally:
            os.close(fd)
        self.want += data

    def read(self):
        at, length = self.span()
        self.log.append(("read", at, length))
        assert os.pread(self.fd(), length, at) == self.want[at:at + length]

    def mapped_write(self):
        if not self.want:
            return
        at, length = self.span(len(self.want))
        data = pattern(self.rng, length)
        self.log.append(("mapwrite", at, length))
        with mmap.mmap(self.fd(), len(self.want)) as m:
            m[at:at + length] = data
            if self.rng.random() < 0.3:
                m.flush()
        self.want[at:at + length] = data

    def mapped_read(self):
        if not self.want:
            return
        at, length = self.span(len(self.want))
        self.log.append(("mapread", at, length))
        with mmap.mmap(self.fd(), len(self.want), prot=mmap.PROT_READ) as m:
            assert m[at:at + length] == self.want[at:at + length]

    def truncate(self):
        size = self.rng.randrange(SIZE_MAX)
        if self.rng.random() < 0.2:
            size = self.rng.choice((0, 1, 3000, PAGE, 65536, 65537))
        self.log.append(("truncate", size))
        os.ftruncate(self.fd(), size)
        del self.want[size:]
        self.put(size, b"")

    def punch(self):
        at, length = self.span()
        self.log.append(("punch", at, length))
        fallocate(self.fd(), PUNCH_HOLE | KEEP_SIZE, at, length)
        end = min(at + length, len(self.want))
        if end > at:
            self.want[at:end] = bytes(end - at)

    def zero(self):
        at, length = self.span()
        keep = self.rng.random() < 0.5
        self.log.append(("zero", at, length, keep))
        try:
            fallocate(self.fd(), ZERO_RANGE | (KEEP_SIZE if keep else 0), at, length)
        except OSError as e:
            if FOREIGN and e.errno == errno.EOPNOTSUPP:  # tmpfs
                return
            raise
        end = min(at + length, len(self.want)) if keep else at + length
        if end > at:
            self.put(at, bytes(end - at))

    def allocate(self):
        at, length = self.span()
        self.log.append(("allocate", at, length))
        fallocate(self.fd(), 0, at, length)
        if at + length > len(self.want):
            self.put(at + length, b"")

    def copy_range(self):
        if not self.want:
            return
        at, length = self.span(len(self.want))
        to = self.rng.randrange(SIZE_MAX - length + 1)
        if to < at + length and at < to + length:
            return  # EINVAL: tried elsewhere
        self.log.append(("copy", at, length, to))
        data, done = bytes(self.want[at:at + length]), 0
        while done < length:
            n = os.copy_file_range(self.fd(), self.fd(), length - done, at + done, to + done)
            assert n > 0
            done += n
        self.put(to, data)

    def seek(self):
        """No byte that is not zero lies in a hole."""
        if not self.want:
            return
        at = self.rng.randrange(len(self.want))
        self.log.append(("seek", at))
        try:
            data = os.lseek(self.fd(), at, os.SEEK_DATA)
        except OSError as e:
            assert e.errno == errno.ENXIO
            data = len(self.want)
        assert data >= at and not any(self.want[at:data])
        hole = os.lseek(self.fd(), at, os.SEEK_HOLE)
        assert at <= hole <= len(self.want)

    def sync(self):
        self.log.append(("fsync",))
        os.fsync(self.fd())

    def check(self):
        assert os.fstat(self.fd()).st_size == len(self.want)
        assert os.pread(self.fd(), SIZE_MAX + 1, 0) == self.want

    CHOICES = ["write"] * 6 + ["write_direct", "append", "sync", "reopen", "punch", "zero", "seek",
                               "allocate", "copy_range", "truncate", "check"] + \
        ["read", "mapped_write", "mapped_read"] * 3

    def step(self):
        name = self.rng.choice(self.CHOICES)
        if name in ("reopen", "check"):
            self.log.append((name,))
        try:
            getattr(self, name)()
        except (AssertionError, OSError):
            got = os.pread(self.fd(), SIZE_MAX + 1, 0)
            bad = [i for i in range(min(len(got), len(self.want))) if got[i] != self.want[i]]
            print("size", len(got), "want", len(self.want), "differ at", bad[:1], bad[-1:],
                  "last operations:", *self.log[-25:], sep="\n")
            raise


def run(fsx, steps):
    try:
        for _ in range(steps):
            fsx.step()
        fsx.check()
    finally:
        fsx.close()


@pytest.mark.parametrize("round", range(2))
def test_one_file(mnt, seed, round):
    run(Fsx(f"{mnt}/f", random.Random(seed + round)), STEPS)


def test_many_files_at_once(mnt, seed):
    failed = []

    def one(i):
        try:
            run(Fsx(f"{mnt}/f{i}", random.Random(seed + i)), STEPS // 4)
        except BaseException as e:  # noqa: BLE001  told by the main thread
            failed.append((i, e))

    threads = [threading.Thread(target=one, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed


def test_one_file_by_turns_on_two_mounts(pool, seed):
    second = pool.second()
    with open(f"{pool.dir}/f", "w"):
        pass
    run(Fsx(f"{pool.dir}/f", random.Random(seed), [f"{second}/f"]), STEPS // 2)


def test_while_nodes_die(pool, seed):
    rng = random.Random(seed)
    fsx = Fsx(f"{pool.dir}/f", rng)
    victims = rng.sample(range(5), 2)
    try:
        for turn in range(3):
            for _ in range(STEPS // 6):
                fsx.step()
            if turn < 2:
                pool.shoot(victims[turn])
        with open("/proc/sys/vm/drop_caches", "w") as f:
            f.write("3")
        fsx.check()
    finally:
        fsx.close()
