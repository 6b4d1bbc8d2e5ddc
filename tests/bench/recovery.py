#!/usr/bin/python3
"""recovery.py - how long until ...? On a pool of 1 GiB with --files small files
and --mib of bulk: kill -9 of a node, then the time to the first read of a file
(none cached), to an index that serves whole, and (where nodes are started again,
-o respawn=yes) to full redundancy; and what a stream of small writes gets done
meanwhile, as a share of what it did before. Prints a table. Every round has a
pool of its own and another node die.
"""
import argparse
import os
import signal
import statistics
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "mount"))
from conftest import Pool  # noqa: E402

WINDOW = 2.0  # seconds before the death; and at least after it


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


def index_is_back(pool, dead):
    """The pool knows of the death, and every shard serves."""
    now = pool.status()
    return (all(n["pid"] != dead or n["state"] != "up" for n in now["nodes"])
            and all(s["state"] == "serving" for s in now["shards"]))


def is_full(pool, dead):
    """The new process has all that the dead one held."""
    now = pool.status()
    return now["redundancy"] == "full" and all(n["state"] == "up" and n["pid"] != dead
                                               for n in now["nodes"])


def until(what, begin, limit):
    while time.monotonic() - begin < limit:
        if what():
            return time.monotonic() - begin
        time.sleep(0.01)
    return float("nan")


def one(opts, node):
    pool = Pool(size="1g", options="respawn=yes" if opts.respawn else "")
    try:
        fill(pool.dir, opts.files, opts.mib)
        stream = Stream(f"{pool.dir}/stream")
        try:
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
            index = until(lambda: index_is_back(pool, pid), begin, 60)
            full = until(lambda: is_full(pool, pid), begin, 120) \
                if opts.respawn else float("nan")
            time.sleep(max(0.0, begin + WINDOW - time.monotonic()))
            during = (stream.done - done) / (time.monotonic() - begin)
        finally:
            stream.end()
        return {"first read, s": first, "index serves, s": index, "full redundancy, s": full,
                "longest wait of a write, s": stream.longest, "share of writes": during / before}
    finally:
        pool.close()


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--files", type=int, default=5000)
    ap.add_argument("--mib", type=int, default=256)
    ap.add_argument("--respawn", action="store_true")
    opts = ap.parse_args()
    rows = [one(opts, n % 5) for n in range(opts.rounds)]
    print(f"{opts.files} files of 512 bytes and {opts.mib} MiB in a pool of 1 GiB, "
          f"{opts.rounds} deaths; median, worst")
    for name in rows[0]:
        values = sorted(r[name] for r in rows)
        worst = values[0] if name.startswith("share") else values[-1]
        print(f"  {name:28} {statistics.median(values):8.3f} {worst:8.3f}")


if __name__ == "__main__":
    main()
