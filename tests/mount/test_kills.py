"""kill -9 of memory nodes while things go on: no error, every byte right."""
import filecmp
import itertools
import os
import random
import subprocess
import threading
import time

import pytest
from conftest import (Pool, aceso, checksum, fill, need_fuse, pattern, same,
                      says_lost, sh, wait_for)

PAIRS = list(itertools.combinations(range(5), 2))


def forget_cached():
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("3")


@pytest.mark.parametrize("pair", PAIRS, ids=lambda p: f"{p[0]}{p[1]}")
def test_any_two_nodes(pool, pair, seed):
    rng = random.Random(seed)
    made = fill(pool.dir, rng, 120)
    for node in pair:
        pool.shoot(node)
    forget_cached()
    same(made)
    made.update(fill(os.path.join(pool.dir, "after"), rng, 40))
    for path in list(made)[::5]:
        os.unlink(path)
        del made[path]
    forget_cached()
    same(made)
    assert wait_for(lambda: [n["state"] for n in pool.status()["nodes"]].count("down") == 2)
    assert pool.status()["redundancy"] == "degraded"


@says_lost
def test_a_third_death_is_told_and_hangs_nothing(pool):
    with open(os.path.join(pool.dir, "f"), "wb") as f:
        f.write(b"x" * (8 << 20))
    for node in (0, 1, 2):
        pool.shoot(node)
    assert wait_for(lambda: pool.status()["redundancy"] == "lost")
    forget_cached()
    begin = time.monotonic()
    with pytest.raises(OSError):
        with open(os.path.join(pool.dir, "f"), "rb") as f:
            while f.read(1 << 20):
                pass
    assert time.monotonic() - begin < 60
    assert aceso("-p", pool.name, "status", check=False).returncode == 2


def in_the_middle(pool, command, kills, first=0.3, between=0.5):
    """Run @command in the mount and kill nodes while it runs."""
    job = subprocess.Popen(["bash", "-e", "-o", "pipefail", "-c", command], cwd=pool.dir,
                           text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    time.sleep(first)
    for node in kills:
        if job.poll() is not None:
            break
        pool.shoot(node)
        time.sleep(between)
    out = job.communicate(timeout=300)[0]
    assert job.returncode == 0, out[-4000:]


@pytest.mark.parametrize("rw,direct", [("write", 0), ("randwrite", 0), ("randwrite", 1)])
def test_during_fio(pool, rw, direct):
    in_the_middle(pool, f"fio --name=v --size=64m --rw={rw} --bs=4k --direct={direct} --loops=3 "
                  "--ioengine=psync --verify=crc32c --verify_fatal=1 --verify_state_save=0 --randrepeat=0", (4, 1))


def test_during_cp(pool):
    in_the_middle(pool, "for i in 1 2 3; do cp -r /usr/include/linux t$i; done", (0, 2))
    forget_cached()
    for i in (1, 2, 3):
        sh(f"diff -r /usr/include/linux {pool.dir}/t{i}")


def test_during_git(pool):
    git = "git -c user.name=a -c user.email=a@b -c gc.auto=0"
    in_the_middle(pool, f"git init -q r && cp -r /usr/include/linux r/ && cd r && git add -A && "
                  f"{git} commit -qm one && git repack -adq && git fsck --full", (3, 0))
    forget_cached()
    sh(f"cd {pool.dir}/r && git fsck --full && test -z \"$(git status --porcelain)\"")


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_during_sqlite(pool, mode):
    sql = "".join(f"INSERT INTO t VALUES({i}, hex(randomblob(300)));" for i in range(1500))
    with open(os.path.join(pool.base, "sql"), "w") as f:
        f.write(f"PRAGMA journal_mode={mode}; CREATE TABLE t(a, b);" + sql)
    in_the_middle(pool, f"sqlite3 -bail db < {pool.base}/sql", (2, 4), first=0.1, between=0.3)
    assert sh(f"sqlite3 {pool.dir}/db 'PRAGMA integrity_check; SELECT count(*) FROM t;'"
              ).split() == ["ok", "1500"]


def test_every_acknowledged_write_is_there(pool, seed):
    """Threads write and remember what was acknowledged; two nodes die in turn."""
    rng = random.Random(seed)
    stop = threading.Event()
    acked, errors = {}, []

    def work(me):
        mine, n = random.Random(rng.random()), 0
        try:
            while not stop.is_set() and n < 600:
                path = os.path.join(pool.dir, f"w{me}-{mine.randrange(50)}")
                data = pattern(mine, mine.choice((20, 2000, 5000, 90000)))
                with open(path + ".tmp", "wb") as f:
                    f.write(data)
                    if n % 4 == 0:
                        os.fsync(f.fileno())
                os.rename(path + ".tmp", path)
                acked[path] = data
                n += 1
        except BaseException as e:
            errors.append(f"{path}: {e!r}")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    for node in rng.sample(range(5), 2):
        time.sleep(0.5)
        pool.shoot(node)
    time.sleep(2)
    stop.set()
    for t in threads:
        t.join()
    assert not errors
    forget_cached()
    same(acked)
