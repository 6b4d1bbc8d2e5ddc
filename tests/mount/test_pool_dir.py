"""Pools with a directory: unmount, kill everything, mount again."""
import os
import random
import signal
import sqlite3
import subprocess
import threading
import time

import pytest
from conftest import (BIN, SLOW, Pool, aceso, fill, need_fuse, of_pool, pattern, same, server_of,
                      sh, wait_for)


class DirPool(Pool):
    """A pool that can be ended and mounted again."""

    def __init__(self, size="128m", options="durable_ms=300"):
        super().__init__(size=size, options=f"pool-dir={self.place()},{options}")

    def place(self):
        import tempfile
        self.keep = tempfile.mkdtemp(prefix="aceso-dir-")
        return self.keep

    def durable(self):
        return self.status()["durable"]

    def all_durable(self):
        """What was written before is in the directory. What changed last the
        pool may hear of a moment later, so it is asked twice."""
        before = self.durable()["version"]
        fd = os.open(os.path.join(self.dir, ".stir"), os.O_CREAT | os.O_WRONLY)
        os.write(fd, b"x")
        os.close(fd)

        def is_done():
            now = self.durable()
            return now["version"] >= before + 2 or (now["current"] and now["version"] > before)

        def is_still_done():
            if not is_done():
                return False
            time.sleep(0.2)
            return is_done()

        assert wait_for(is_still_done)

    def gone(self):
        return wait_for(lambda: not of_pool(self.name), 30)

    def unmount(self):
        done = subprocess.run(["umount", self.dir], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert self.gone()

    def kill_all(self):
        """Every process of the pool, at once, without a word."""
        for pid in of_pool(self.name):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        assert self.gone()
        subprocess.run(["umount", "-l", self.dir], capture_output=True)

    def again(self, options=""):
        self.mount(self.dir, f"pool-dir={self.keep}" + ("," + options if options else ""))

    def try_mount(self, options):
        return subprocess.run([os.path.join(BIN, "aceso-fuse"), "-o", options, self.dir],
                              text=True, capture_output=True, timeout=60 * SLOW)

    def close(self):
        import shutil
        super().close()
        assert self.gone()
        shutil.rmtree(self.keep)


@pytest.fixture
def kept():
    need_fuse()
    made = DirPool()
    yield made
    made.close()
    assert wait_for(lambda: not of_pool(made.name), 10), "processes left behind"


def test_unmount_and_mount_again(kept, seed):
    rng = random.Random(seed)
    made = fill(kept.dir, rng)
    os.symlink("d1/f1", os.path.join(kept.dir, "link"))
    os.setxattr(os.path.join(kept.dir, "d1"), "user.colour", b"blue")
    os.chmod(os.path.join(kept.dir, "d2"), 0o711)
    for turn in range(3):
        kept.unmount()
        kept.again()
        same(made)
        assert os.readlink(os.path.join(kept.dir, "link")) == "d1/f1"
        assert os.getxattr(os.path.join(kept.dir, "d1"), "user.colour") == b"blue"
        assert os.stat(os.path.join(kept.dir, "d2")).st_mode & 0o777 == 0o711
        for path in list(made)[::9]:
            os.unlink(path)
            del made[path]
        made.update(fill(os.path.join(kept.dir, f"turn{turn}"), rng, 12))
    same(made)


def mount_as_another(kept, other):
    """Its directory, at @other, as a pool of another name."""
    return subprocess.run([os.path.join(BIN, "aceso-fuse"), "-o",
                           f"pool={kept.name}-b,pool-dir={kept.keep}", other], text=True,
                          capture_output=True, timeout=60 * SLOW)


def holds(kept, done, other, made):
    assert done.returncode == 0, done.stderr
    try:
        same({path.replace(kept.dir, other): data for path, data in made.items()})
    finally:
        subprocess.run(["umount", other], check=True)
        assert wait_for(lambda: not of_pool(kept.name), 30)


def test_mount_elsewhere_at_once(kept, seed):
    """umount returns before the pool has ended: who wants the directory for a pool of
    another name waits for that, and is not told that it is in use."""
    other = os.path.join(kept.base, "other")
    os.mkdir(other)
    made = fill(kept.dir, random.Random(seed))
    subprocess.run(["umount", kept.dir], check=True)
    holds(kept, mount_as_another(kept, other), other, made)


def test_kill_everything(kept, seed):
    rng = random.Random(seed)
    made = fill(kept.dir, rng)
    kept.all_durable()
    stop = threading.Event()

    def go_on():
        n = 0
        while not stop.is_set():
            n += 1
            try:
                with open(os.path.join(kept.dir, f"later{n}"), "wb") as f:
                    f.write(pattern(random.Random(n), n * 997 % 200000))
            except OSError:
                return

    other = threading.Thread(target=go_on)
    other.start()
    time.sleep(0.7)
    kept.kill_all()
    stop.set()
    other.join()
    kept.again()
    same(made)
    for name in os.listdir(kept.dir):
        if name.startswith("later"):
            n = int(name[5:])
            with open(os.path.join(kept.dir, name), "rb") as f:
                got = f.read()
            # What was cut off in its middle is a beginning of it.
            assert pattern(random.Random(n), n * 997 % 200000).startswith(got), name
    made.update(fill(os.path.join(kept.dir, "after"), rng, 20))
    kept.unmount()
    kept.again()
    same(made)


def test_what_was_in_flight_comes_back(kept, seed):
    """Pages that were written after the last checkpoint are in nobody's use after a restart: the
    first mount returns them, and fsck finds nothing left to do."""
    rng = random.Random(seed)
    kept.unmount()
    kept.again("sync=persist,durable_ms=60000")
    with open(os.path.join(kept.dir, "f"), "wb") as f:
        for n in range(64):
            f.write(pattern(rng, 4096 * rng.randint(1, 3)))
            f.flush()
        os.fsync(f.fileno())  # a checkpoint: blocks of pages are open in it
        for n in range(64):
            f.write(pattern(rng, 4096 * rng.randint(1, 3)))
            f.flush()
    kept.kill_all()
    kept.again()
    # (a walk that comes while parts of the index are still on the move is followed by another)
    assert wait_for(lambda: kept.status()["returned"]["bytes"] >= 64 * 4096, 60)
    done = aceso("-p", kept.name, "fsck", check=False)
    assert done.returncode == 0, done.stdout


def test_fsync_waits_under_sync_persist(kept):
    """Each file, once fsynced, is there after everything was killed."""
    kept.unmount()
    kept.again("sync=persist,durable_ms=60000")
    done = []
    end = time.monotonic() + 2
    while time.monotonic() < end:
        name = f"f{len(done)}"
        fd = os.open(os.path.join(kept.dir, name), os.O_CREAT | os.O_WRONLY)
        os.write(fd, name.encode() * 1000)
        os.fsync(fd)
        os.close(fd)
        done.append(name)
    kept.kill_all()
    assert len(done) >= 3
    kept.again()
    for name in done:
        with open(os.path.join(kept.dir, name), "rb") as f:
            assert f.read() == name.encode() * 1000


def test_without_sync_persist_fsync_does_not_wait(kept):
    kept.unmount()
    kept.again("durable_ms=60000")
    before = kept.durable()["done"]
    with open(os.path.join(kept.dir, "f"), "wb") as f:
        f.write(b"x" * 100000)
        os.fsync(f.fileno())
    assert kept.durable()["done"] <= before + 1  # of the first change; no more


def test_git_and_sqlite_after_everything_was_killed(kept):
    repo, base = os.path.join(kept.dir, "repo"), os.path.join(kept.dir, "base.db")
    kept.unmount()
    kept.again("sync=persist,durable_ms=200")
    sh(f"git init -q {repo} && cd {repo} && git config user.email a@b && git config user.name n")
    stop = threading.Event()
    rows = []

    def write_rows():
        db = sqlite3.connect(base)
        db.execute("pragma synchronous=extra")
        db.execute("create table t (n integer primary key, s text)")
        db.commit()
        n = 0
        while not stop.is_set():
            try:
                db.execute("insert into t values (?, ?)", (n, "x" * (n % 3000)))
                db.commit()
            except sqlite3.Error:
                return
            rows.append(n)
            n += 1

    other = threading.Thread(target=write_rows)
    other.start()
    for i in range(6):
        with open(os.path.join(repo, f"f{i}"), "wb") as f:
            f.write(os.urandom(20000))
        sh(f"cd {repo} && git add -A && git -c core.fsync=all commit -qm c{i}")
    assert wait_for(lambda: len(rows) >= 3)
    fd = os.open(repo, os.O_RDONLY)  # git's last step is a rename
    os.fsync(fd)
    os.close(fd)
    kept.kill_all()
    stop.set()
    other.join()
    kept.again()
    assert "c5" in sh(f"cd {repo} && git log --oneline")
    sh(f"cd {repo} && git fsck --strict && git status --short")
    db = sqlite3.connect(base)
    assert db.execute("pragma integrity_check").fetchone() == ("ok",)
    have = {n for n, in db.execute("select n from t")}
    assert set(rows) <= have
    db.close()


def test_overwriting_at_random_reuses_space(kept, seed):
    """Far more is written than there is room for: freed space comes back, each
    time not before it is durable that it is free."""
    rng = random.Random(seed)
    size = 24 << 20
    path = os.path.join(kept.dir, "big")
    for turn in range(12):
        blob = pattern(rng, size)
        with open(path + ".new", "wb") as f:
            f.write(blob)
        os.rename(path + ".new", path)
    kept.all_durable()
    kept.kill_all()
    kept.again()
    with open(path, "rb") as f:
        assert f.read() == blob


def test_a_node_that_is_replaced(seed):
    """Its new memory is a new file; the old one counts until a checkpoint has it."""
    need_fuse()
    kept = DirPool(options="durable_ms=300,respawn=yes")
    rng = random.Random(seed)
    made = fill(kept.dir, rng, 30)
    kept.all_durable()
    node = kept.status()["nodes"][1]
    os.kill(node["pid"], signal.SIGKILL)
    assert wait_for(lambda: kept.status()["nodes"][1]["pid"] != node["pid"]
                    and kept.status()["nodes"][1]["state"] == "up")
    made.update(fill(os.path.join(kept.dir, "x"), rng, 20))
    kept.all_durable()
    here = os.path.join(kept.keep, "node-1")
    # one more checkpoint may be being written, as meta-N.new
    assert wait_for(lambda: sorted(os.listdir(here)) == ["meta-0", "meta-1", "region.1"])
    kept.kill_all()
    # as if that had been before the old one was removed
    with open(os.path.join(here, "region.0"), "wb") as f:
        f.truncate(os.path.getsize(os.path.join(here, "region.1")))
    kept.again("respawn=yes")
    assert "region.0" not in os.listdir(here)
    same(made)
    os.kill(kept.status()["nodes"][2]["pid"], signal.SIGKILL)
    time.sleep(rng.random() / 5)  # replaced, or not yet
    kept.kill_all()
    kept.again("respawn=yes")
    same(made)
    kept.close()


def kill_nodes(pool, nodes):
    pids = [pool.status()["nodes"][n]["pid"] for n in nodes]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("nodes", (1, 2))
@pytest.mark.parametrize("respawn", ("yes", "no"))
def test_unmount_when_nodes_have_just_died(seed, respawn, nodes):
    """Nothing that was written is lost, and nothing stays behind: the pool ends
    when its nodes were replaced and all is in the directory. Even if dead nodes
    are to stay away: there is no checkpoint without them."""
    need_fuse()
    kept = DirPool(options=f"durable_ms=60000,respawn={respawn}")
    rng = random.Random(seed)
    made = fill(kept.dir, rng, 30)
    for turn in range(2):
        kill_nodes(kept, rng.sample(range(5), nodes))
        time.sleep(rng.choice((0, 0, 0.05, 0.4)))
        kept.unmount()
        kept.again(f"durable_ms=60000,respawn={respawn}")
        same(made)
        assert all(n["state"] == "up" for n in kept.status()["nodes"])
        made.update(fill(os.path.join(kept.dir, f"turn{turn}"), rng, 10))
    kept.close()


def test_unmount_when_a_node_hangs(kept, seed):
    """It is alive, but answers nothing: it is ended and replaced."""
    made = fill(kept.dir, random.Random(seed), 20)
    os.kill(kept.status()["nodes"][4]["pid"], signal.SIGSTOP)
    kept.unmount()
    kept.again()
    same(made)


def test_unmount_with_much_to_write(seed):
    """However long the disk takes for it: one checkpoint is enough."""
    need_fuse()
    kept = DirPool(size="512m", options="durable_ms=60000")
    rng = random.Random(seed)
    made = {os.path.join(kept.dir, f"f{i}"): pattern(rng, 40 << 20) for i in range(8)}
    for path, data in made.items():
        with open(path, "wb") as f:
            f.write(data)
    kept.unmount()
    kept.again()
    same(made)
    kept.close()


def test_unmount_when_too_many_nodes_have_died(kept, seed):
    """What is lost is lost, and waiting brings nothing back: the directory is as
    it was at the last checkpoint."""
    made = fill(kept.dir, random.Random(seed), 30)
    kept.all_durable()
    kill_nodes(kept, (0, 2, 3))
    begin = time.monotonic()
    kept.unmount()
    assert time.monotonic() - begin < 15 * SLOW
    kept.again()
    same(made)


def test_mount_while_the_pool_ends(kept, seed):
    """A node died, the last mount left, the next one comes meanwhile."""
    rng = random.Random(seed)
    made = fill(kept.dir, rng, 30)
    for turn in range(4):
        kill_nodes(kept, (turn,))
        done = subprocess.run(["umount", kept.dir], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        time.sleep(rng.random() * 0.6)
        kept.again("durable_ms=60000")
        same(made)
        made.update(fill(os.path.join(kept.dir, f"turn{turn}"), rng, 4))
        kept.unmount()
        kept.again("durable_ms=60000")
    same(made)


def test_mount_elsewhere_when_the_mount_has_died(kept, seed):
    """It is in the table of mounts still, and yet its pool ends: that is waited for."""
    other = os.path.join(kept.base, "other")
    os.mkdir(other)
    made = fill(kept.dir, random.Random(seed))
    kept.all_durable()
    os.kill(server_of(kept.dir), signal.SIGKILL)
    done = mount_as_another(kept, other)
    subprocess.run(["umount", "-l", kept.dir], check=True)
    holds(kept, done, other, made)


def test_messages(kept):
    # Somebody else wants it: that is told soon.
    other = os.path.join(kept.base, "other")
    os.mkdir(other)
    begun = time.monotonic()
    done = subprocess.run([os.path.join(BIN, "aceso-fuse"), "-o",
                           f"pool-dir={kept.keep}", other], text=True, capture_output=True,
                          timeout=60 * SLOW)
    assert done.returncode != 0 and kept.name in done.stderr and "in use" in done.stderr
    assert time.monotonic() - begun < 2 * SLOW
    assert len(done.stderr.strip().splitlines()) == 1
    kept.unmount()
    # Of another shape.
    done = kept.try_mount(f"pool={kept.name},pool-dir={kept.keep},size=256m")
    assert done.returncode != 0 and "another shape" in done.stderr
    done = kept.try_mount(f"pool={kept.name},pool-dir={kept.keep},code=2+2")
    assert done.returncode != 0 and "another shape" in done.stderr
    # Damaged, not a pool's, of another version.
    pool = os.path.join(kept.keep, "pool")
    with open(pool, "rb") as f:
        good = f.read()
    for at, word in ((200, "damaged"), (0, "no pool's"), (8, "format")):
        with open(pool, "wb") as f:
            f.write(good[:at] + bytes([good[at] ^ 0x40]) + good[at + 1:])
        done = kept.try_mount(f"pool={kept.name},pool-dir={kept.keep}")
        assert done.returncode != 0 and word in done.stderr, done.stderr
    with open(pool, "wb") as f:
        f.write(good)
    # A node's file is gone.
    metas = [os.path.join(kept.keep, "node-2", m) for m in ("meta-0", "meta-1")
             if os.path.exists(os.path.join(kept.keep, "node-2", m))]
    for meta in metas:
        os.rename(meta, meta + ".away")
    done = kept.try_mount(f"pool={kept.name},pool-dir={kept.keep}")
    assert done.returncode != 0 and "memory node 2" in done.stderr
    assert "put them back from a copy" in done.stderr
    # It is damaged: nobody tries to live without.
    for meta in metas:
        with open(meta + ".away", "rb") as f:
            bad = bytearray(f.read())
        bad[len(bad) // 2] ^= 0x40
        with open(meta, "wb") as f:
            f.write(bad)
    done = kept.try_mount(f"pool={kept.name},pool-dir={kept.keep}")
    assert done.returncode != 0 and "it is damaged" in done.stderr, done.stderr
    for meta in metas:
        os.rename(meta + ".away", meta)
    kept.again("size=128m")
    # sync=persist needs a directory.
    bare = Pool(size="64m")
    done = subprocess.run([os.path.join(BIN, "aceso-fuse"), "-o",
                           f"pool={bare.name},sync=persist", other], text=True,
                          capture_output=True, timeout=60 * SLOW)
    assert done.returncode != 0 and "no directory" in done.stderr
    bare.close()


def test_status_tells_the_age(kept):
    with open(os.path.join(kept.dir, "f"), "wb") as f:
        f.write(b"x")
    assert wait_for(lambda: kept.durable()["version"] > 0)
    d = kept.durable()
    assert d["dir"] == kept.keep and d["age_ms"] < 60000 * SLOW and d["failed"] == 0
    assert d["frozen_us"] < 700000
    assert "durable" in aceso("-p", kept.name, "status").stdout
