#!/usr/bin/python3
"""recovery.py - how long until ...? On a pool of 1 GiB with --files small files
and --mib of bulk: kill -9 of a node, then the time to the first read of a file
(none cached), to an index that serves whole, and (where nodes are started again,
-o respawn=yes) to full redundancy; and what a stream of small writes gets done
meanwhile, as a share of what it did before and does afterwards. Then the same
with nobody writing: how many MB/s are brought back. And how much memory the
nodes have in the end. Every round has a pool of its own and another node die.

And --full: random overwrites of 4 KiB, O_DIRECT, in a pool that is 10, 50, 80
and 95 % full, each after as many as use up what is free. And --checkpoints: what
rounds of the index cost, against its size and how much of it changes. Prints
tables.
"""
import argparse
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "mount"))
from conftest import BIN, Pool  # noqa: E402

FSBENCH = os.path.join(ROOT, "build", "release", "tests", "bench", "fsbench")

WINDOW = 2.0  # seconds before the death; and at least after it


LOOK = 0.01  # seconds between two looks at the pool
SPENT = 10.0  # seconds in which it is seen what checkpoints cost


class Watch:
    """What the pool says of itself, by one process that asks again and again:
    to start one for each look would take half a processor from what is measured."""

    def __init__(self, pool):
        self.seen = []  # (time, status), oldest first
        self.process = subprocess.Popen([os.path.join(BIN, "aceso"), "-p", pool.name, "status", "--json",
                                         f"--watch={LOOK}"], stdout=subprocess.PIPE, text=True)
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        for line in self.process.stdout:
            self.seen.append((time.monotonic(), json.loads(line)))

    def until(self, what, begin, limit=120):
        """Seconds from @begin to the first status since for which what() holds; nan: none within @limit."""
        at = 0
        while time.monotonic() < begin + limit:
            for when, status in self.seen[at:]:
                at += 1
                if when > begin and what(status):
                    return when - begin
            time.sleep(LOOK)
        return math.nan

    def end(self):
        self.process.terminate()
        self.process.wait()
        self.thread.join()


class Stream:
    """Writes 16 KiB files over and over, counts, knows the longest wait."""

    def __init__(self, where):
        self.where, self.done, self.longest, self.stop = where, 0, 0.0, False
        os.mkdir(where)
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        data = os.urandom(16384)
        while not self.stop:
            begin = time.monotonic()
            with open(f"{self.where}/{self.done % 200}", "wb") as f:
                f.write(data)
            self.longest = max(self.longest, time.monotonic() - begin)
            self.done += 1

    def rate(self, seconds):
        before = self.done
        time.sleep(seconds)
        return (self.done - before) / seconds

    def end(self):
        self.stop = True
        self.thread.join()


def fill(where, files, mib):
    for i in range(files):
        if i % 500 == 0:
            os.makedirs(f"{where}/d{i // 500}")
        with open(f"{where}/d{i // 500}/f{i}", "wb") as f:
            f.write(b"%8d" % i * 64)
    with open(f"{where}/bulk", "wb") as f:
        for _ in range(mib):
            f.write(os.urandom(1 << 20))


def index_is_back(now, dead):
    """The pool knows of the death, and every shard serves."""
    return (all(n["pid"] != dead or n["state"] != "up" for n in now["nodes"])
            and all(s["state"] == "serving" for s in now["shards"]))


def is_full(now, dead):
    """The new process has all that the dead one held."""
    return now["redundancy"] == "full" and all(n["state"] == "up" and n["pid"] != dead
                                               for n in now["nodes"])


def during(pool, watch, stream, node, respawn):
    """Kill @node below the stream."""
    stream.rate(WINDOW)  # memory is touched for the first time
    before = stream.rate(WINDOW)
    stream.longest = 0.0
    pid = pool.status()["nodes"][node]["pid"]
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("3")
    os.kill(pid, signal.SIGKILL)
    begin, done = time.monotonic(), stream.done
    with open(f"{pool.dir}/bulk", "rb") as f:
        f.read(1 << 20)
    first = time.monotonic() - begin
    index = watch.until(lambda s: index_is_back(s, pid), begin)
    full = watch.until(lambda s: is_full(s, pid), begin) if respawn else math.nan
    if not respawn:
        time.sleep(max(0.0, begin + WINDOW - time.monotonic()))
    rate = (stream.done - done) / (time.monotonic() - begin)
    after = stream.rate(WINDOW) if respawn else before
    return {"first read, s": first, "index serves, s": index, "full redundancy, s": full,
            "longest wait of a write, s": stream.longest, "share of writes": rate / ((before + after) / 2)}


def idle(pool, watch, node):
    """Kill @node of a pool at rest: MB of blocks a second, from when they are brought back (the new process has come
    and the index serves) until it is up; and a second of the process's CPU time, its start included."""
    time.sleep(1.5)  # what was written before is settled
    was = pool.status()["nodes"][node]
    os.kill(was["pid"], signal.SIGKILL)
    begin = time.monotonic()
    blocks = watch.until(lambda s: s["recovery"]["tier"] == "blocks", begin)
    full = watch.until(lambda s: is_full(s, was["pid"]), begin)
    with open(f"/proc/{pool.status()['nodes'][node]['pid']}/stat") as f:
        ticks = sum(map(int, f.read().rpartition(")")[2].split()[11:13]))
    mb = was["used"] / 1e6
    return {"rebuilt when idle, MB/s": mb / (full - blocks),
            "rebuilt, MB per CPU s": mb / max(ticks, 1) * os.sysconf("SC_CLK_TCK")}


def memory(pool):
    """What the nodes hold in the end, all five: blocks in use for each byte of the users', and beyond blocks."""
    now = pool.status()
    written = sum(os.lstat(os.path.join(at, name)).st_size for at, _, names in os.walk(pool.dir) for name in names)
    return {"blocks in use, of files' bytes": now["raw_used"] / written,
            "nodes beyond them, MiB": sum(n["rss_beyond"] for n in now["nodes"]) / (1 << 20)}


def one(opts, node):
    pool = Pool(size="1g", options="respawn=yes" if opts.respawn else "")
    watch = Watch(pool)
    try:
        fill(pool.dir, opts.files, opts.mib)
        stream = Stream(f"{pool.dir}/stream")
        try:
            told = during(pool, watch, stream, node, opts.respawn)
        finally:
            stream.end()
        if opts.respawn:
            told.update(idle(pool, watch, (node + 1) % 5))
        told.update(memory(pool))
        return told
    finally:
        watch.end()
        pool.close()


def fsbench(workload, where, count):
    out = subprocess.run([FSBENCH, workload, where, str(count)], check=True, capture_output=True, text=True)
    return float(out.stdout.split()[0])


def grow(path, percent):
    """Until so much is in use, as df says."""
    piece = os.urandom(1 << 20)
    with open(path, "ab", buffering=0) as f:
        while True:
            space = os.statvfs(path)
            if space.f_bavail * 100 <= space.f_blocks * (100 - percent):
                return space.f_bavail * space.f_frsize
            f.write(piece)


def overwrites(percents):
    """IOPS of overwrites at each share of the pool in use."""
    pool = Pool(size="512m")
    try:
        for percent in percents:
            free = grow(f"{pool.dir}/big0", percent)
            fsbench("direct_write", pool.dir, free // 4096 + 5000)
            yield percent, fsbench("direct_write", pool.dir, 20000)
    finally:
        pool.close()


def show_overwrites():
    print("random overwrites of 4 KiB, O_DIRECT, depth 1, in a pool of 512 MiB, after as many as fill it")
    empty = None
    for percent, iops in overwrites((10, 50, 80, 95)):
        empty = empty or iops
        print(f"  {percent:3} % full {iops:8,.0f} IOPS {iops / empty:8.2f} of those at 10 %")


def spent(pool):
    """What checkpoints have cost up to now, all nodes together; and the nodes' own CPU seconds, for all they do."""
    now = pool.status()
    ticks = 0
    for node in now["nodes"]:
        with open(f"/proc/{node['pid']}/stat") as f:
            ticks += sum(map(int, f.read().rpartition(")")[2].split()[11:13]))
    return dict(now["checkpoint"], slots_used=now["slots_used"], nodes_us=ticks * 1000000 // os.sysconf("SC_CLK_TCK"))


def cost(pool, load, done):
    """A row: @done() counts changes."""
    before, changes, begin = spent(pool), done(), time.monotonic()
    time.sleep(SPENT)
    after, seconds = spent(pool), time.monotonic() - begin
    rate = {name: (after[name] - before[name]) / seconds
            for name in ("cpu_us", "nodes_us", "bytes", "scanned", "rounds", "unchanged")}
    print(f"  {after['slots_used']:8,} {load:8} {(done() - changes) / seconds:8,.0f} {rate['cpu_us'] / 1e4:8.2f}"
          f" {rate['nodes_us'] / 1e4:8.2f} {rate['bytes'] / 1e3:9,.0f} {rate['scanned'] / 1e6:9.2f}"
          f" {rate['rounds'] - rate['unchanged']:6.1f} of {rate['rounds']:.1f}")


def show_checkpoints(sizes):
    print("rounds of the index, five nodes together, ckpt_ms=500\n"
          "      keys load      files/s   % core  % nodes    kB/s out scanned MB/s rounds/s with changes")
    for files in sizes:
        pool = Pool(size="1g")
        try:
            fill(pool.dir, files, 0)
            time.sleep(SPENT)  # what was written before is shipped
            cost(pool, "idle", lambda: 0)
            for load, threads in (("a writer", 1), ("full", 4)):
                streams = [Stream(f"{pool.dir}/{load}{i}") for i in range(threads)]
                try:
                    time.sleep(WINDOW)
                    cost(pool, load, lambda: sum(s.done for s in streams))
                finally:
                    for s in streams:
                        s.end()
        finally:
            pool.close()


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--files", type=int, default=5000)
    ap.add_argument("--mib", type=int, default=256)
    ap.add_argument("--respawn", action="store_true")
    ap.add_argument("--full", action="store_true")
    ap.add_argument("--checkpoints", action="store_true")
    opts = ap.parse_args()
    if opts.checkpoints:
        show_checkpoints((1000, 20000))
        return
    if opts.full:
        show_overwrites()
        return
    rows = [one(opts, n % 5) for n in range(opts.rounds)]
    print(f"{opts.files} files of 512 bytes and {opts.mib} MiB in a pool of 1 GiB, "
          f"{opts.rounds} deaths; median, worst")
    for name in rows[0]:
        values = sorted(r[name] for r in rows)
        worst = values[0] if name.startswith(("share", "rebuilt")) else values[-1]
        print(f"  {name:28} {statistics.median(values):8.3f} {worst:8.3f}")


if __name__ == "__main__":
    main()
