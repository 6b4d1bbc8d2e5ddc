"""kill -9 of memory nodes that are replaced: no error, every byte right, and
after a while nothing is missing any more, so that others may die."""
import os
import random
import re
import signal
import subprocess
import threading
import time

import pytest

from conftest import BIN, MODE, SLOW, TRANSPORT, Pool, aceso, need_fuse, wait_for
from test_kills import fill, forget_cached, same


def test_a_dead_node_is_replaced_then_two_more(alive_pool, seed):
    pool, rng = alive_pool, random.Random(seed)
    made = fill(pool.dir, rng)
    begin = time.monotonic()
    pid = pool.shoot(2)
    assert wait_for(lambda: pool.status()["nodes"][2]["pid"] != pid, 1, 0.02), pool.status()
    print(f"replaced after {time.monotonic() - begin:.2f} s")
    made.update(fill(os.path.join(pool.dir, "meanwhile"), rng, 40))
    assert pool.full(), pool.status()
    print(f"full after {time.monotonic() - begin:.2f} s")
    assert all(s["host"] == s["id"] for s in pool.status()["shards"])
    forget_cached()
    same(made)
    first, second = pool.shoot(0), pool.shoot(3)
    forget_cached()
    same(made)
    assert wait_for(lambda: pool.replaced(0, first) and pool.replaced(3, second), 60)
    assert pool.full(), pool.status()
    assert aceso("-p", pool.name, "status").returncode == 0
    forget_cached()
    same(made)
    # what was brought back is all there: without any help
    for node in (1, 4):
        pool.shoot(node)
    forget_cached()
    same(made)


def test_status_tells_of_it(alive_pool):
    pool = alive_pool
    with open(os.path.join(pool.dir, "f"), "wb") as f:
        f.write(os.urandom(100 << 20))
    assert pool.status()["recovery"] == {"tier": "none", "done": 0, "total": 0, "rate": 0,
                                         "seconds_left": -1, "lost": 0, "unknown": 0}
    pool.shoot(1)
    seen, texts = {}, []
    end = time.monotonic() + 60 * SLOW
    while time.monotonic() < end:
        now = pool.status()
        node = now["nodes"][1]
        seen.setdefault(node["state"], []).append(now)
        if node["state"] == "coming" and len(texts) < 3:
            texts.append(aceso("-p", pool.name, "status", check=False).stdout)
        if node["state"] == "up" and "coming" in seen:
            break
    assert "coming" in seen, [n["redundancy"] for s in seen.values() for n in s]
    assert all(n["redundancy"] == "degraded" for n in seen["coming"])
    done = [n["nodes"][1]["recovery"]["done"] for n in seen["coming"]]
    assert done == sorted(done)
    assert any(n["recovery"]["tier"] == "blocks" for n in seen["coming"]), seen["coming"][-1]
    if any("coming" in t for t in texts):
        assert any("% " in t for t in texts), texts
    # in the first quarter of a second nobody knows how fast it is
    assert not any(" 0 B/s" in t or "- left" in t for t in texts), texts
    assert pool.full()
    now = pool.status()["nodes"]
    assert "recovery" not in now[1] and "restored" not in now[0]
    assert now[1]["restored"]["kept"] == 0 < now[1]["restored"]["fetched"]


BAR = re.compile(r"^ +\[(#*)(\.*)\] +(\d+)%  (\S+ \S+) of (\S+ \S+)  (?:(\S+ \S+/s) +(\d+) (s|min) left|\.\.\.)$",
                 re.M)


@pytest.mark.skipif(TRANSPORT != "shm", reason="there the pool's file says it")
def test_a_bar_shows_how_far_it_is():
    """Percent, bytes, rate and time left, for as long as it takes, and none after that."""
    need_fuse()
    pool, watch = Pool(options="respawn=yes,rebuild_rate=20m"), None
    try:
        with open(os.path.join(pool.dir, "f"), "wb") as f:
            f.write(os.urandom(100 << 20))
        assert wait_for(lambda: pool.status()["fold_backlog"] == 0, 10)
        log = os.path.join(pool.base, "watch")
        with open(log, "w", encoding="utf-8") as out:
            watch = subprocess.Popen([f"{BIN}/aceso", "-p", pool.name, "status", "--watch", "0.2"],
                                     stdout=out)
        pid = pool.shoot(1)
        assert wait_for(lambda: pool.replaced(1, pid) and pool.full(), 60), pool.status()
        time.sleep(1)
        watch.kill()
        watch.wait()
        text = open(log, encoding="utf-8").read()
        bars = list(BAR.finditer(text))
        assert len(bars) > 3, text[-3000:]
        percents = [int(b[3]) for b in bars]
        assert percents == sorted(percents) and percents[-1] > percents[0], percents
        assert all(len(b[1]) + len(b[2]) == len(bars[0][1]) + len(bars[0][2]) and
                   abs(len(b[1]) / (len(b[1]) + len(b[2])) - int(b[3]) / 100) < 0.06 for b in bars)
        assert any(b[6] and not b[6].startswith("0 ") for b in bars), text[-3000:]
        lefts = [int(b[7]) for b in bars if b[7] and b[8] == "s"]
        assert lefts and lefts[-1] <= max(lefts) < 60, lefts
        assert not BAR.search(text[text.rindex("redundancy"):]), text[-3000:]
    finally:
        if watch is not None and watch.poll() is None:
            watch.kill()
            watch.wait()
        pool.close()


@pytest.mark.skipif(TRANSPORT != "shm", reason="there the pool's file says it")
def test_no_faster_than_was_said():
    """For each byte it reads one at least, and up to k: so its part of 60 MiB takes a second."""
    need_fuse()
    rate = 20 << 20
    pool = Pool(options=f"respawn=yes,rebuild_rate={rate}")
    try:
        with open(os.path.join(pool.dir, "f"), "wb") as f:
            f.write(os.urandom(60 << 20))
        assert wait_for(lambda: pool.status()["fold_backlog"] == 0, 10)
        begin = time.monotonic()
        pid = pool.shoot(1)
        assert wait_for(lambda: pool.replaced(1, pid) and pool.full(), 60), pool.status()
        took = time.monotonic() - begin
        least = pool.status()["nodes"][1]["restored"]["fetched"] / rate
        print(f"full after {took:.2f} s, {least:.2f} s at that rate")
        assert took > least > 0.8
    finally:
        pool.close()


def test_two_at_once(alive_pool, seed):
    pool, rng = alive_pool, random.Random(seed)
    made = fill(pool.dir, rng)
    for pair in ((1, 2), (0, 4)):
        pids = [pool.shoot(node) for node in pair]
        made.update(fill(os.path.join(pool.dir, f"during{pair[0]}"), rng, 20))
        assert wait_for(lambda: all(pool.replaced(n, p) for n, p in zip(pair, pids)), 60)
        assert pool.full(), pool.status()
        forget_cached()
        same(made)


def test_death_while_it_comes(alive_pool, seed):
    """The new one dies, too, while it is being filled; and then one beside it."""
    pool, rng = alive_pool, random.Random(seed)
    made = fill(pool.dir, rng)
    with open(os.path.join(pool.dir, "big"), "wb") as f:
        f.write(os.urandom(60 << 20))
    for other in (2, 3):
        pid = pool.shoot(2)
        assert wait_for(lambda: pool.status()["nodes"][2]["pid"] != pid, 10, 0.01)
        pid = pool.shoot(2)
        assert wait_for(lambda: pool.status()["nodes"][2]["pid"] != pid, 10, 0.01)
        if other != 2:
            pool.shoot(other)
        assert pool.full(), pool.status()
        forget_cached()
        same(made)


def test_again_and_again_under_fio(alive_pool):
    """Each node in turn, as soon as the last one is back; the pool is never idle."""
    pool = alive_pool
    job = subprocess.Popen(
        "fio --name=v --size=48m --rw=randwrite --bs=4k --ioengine=psync --time_based=0 --loops=40 "
        "--verify=crc32c --verify_fatal=1 --verify_state_save=0 --randrepeat=0 --runtime=25",
        shell=True, cwd=pool.dir, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True)
    try:
        time.sleep(0.5)
        for node in (0, 1, 2, 3, 4, 2)[:6 if MODE == "release" else 2]:
            if job.poll() is not None:
                break
            pid = pool.shoot(node)
            assert wait_for(lambda: pool.replaced(node, pid), 60), pool.status()
            assert pool.full(), pool.status()
        job.send_signal(0)
        out = job.communicate(timeout=300 * SLOW)[0]
    finally:
        if job.poll() is None:
            os.killpg(job.pid, signal.SIGKILL)
            job.wait()
    assert job.returncode == 0, out[-4000:]


def test_every_acknowledged_write_is_there(alive_pool, seed):
    """Threads write and remember what was acknowledged; nodes die in turn and
    are replaced."""
    pool, rng = alive_pool, random.Random(seed)
    stop, acked, errors = threading.Event(), {}, []

    def work(me):
        mine = random.Random(rng.random())
        path = None
        try:
            while not stop.is_set():
                path = os.path.join(pool.dir, f"w{me}-{mine.randrange(50)}")
                data = mine.randbytes(mine.choice((20, 2000, 5000, 90000)))
                with open(path + ".tmp", "wb") as f:
                    f.write(data)
                os.rename(path + ".tmp", path)
                acked[path] = data
        except BaseException as e:
            errors.append(f"{path}: {e!r}")

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for t in threads:
        t.start()
    try:
        for _ in range(5 if MODE == "release" else 2):
            node = rng.randrange(5)
            pid = pool.shoot(node)
            assert wait_for(lambda: pool.replaced(node, pid), 60), pool.status()
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert not errors, errors
    forget_cached()
    same(acked)
    assert pool.full()
    for node in rng.sample(range(5), 2):
        pool.shoot(node)
    forget_cached()
    same(acked)


def test_without_respawn_it_stays_away(pool):
    pool.kill_node(3)
    time.sleep(1.5)
    assert pool.status()["nodes"][3]["state"] == "down"
    assert pool.status()["redundancy"] == "degraded"
