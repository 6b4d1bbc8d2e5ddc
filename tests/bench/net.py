#!/usr/bin/python3
"""net.py - the fabric beside the raw speed of its transports, in one run: a
plain socket loop for TCP, a plain OpenSSL loop for TLS, memcpy for shared
memory (netbench), perftest for RDMA; then the store over each, with round trips
counted (netkv). "words" is a READ that keeps words whole, which the file
system's of 1 MiB is not ("read"). Prints tables, writes build/bench-net.json.

Ends with 1 if a counted round trip is not what it should be. Rates are read as
ratios of one run: medians of rounds that alternate between both.

    net.py [--rounds N] [--ms MS]      over shared memory, TCP, TCP inside TLS
    net.py --verbs ADDRESS             over the RDMA adapter of that address
    net.py --store ...                 the store's rows only: no perftest needed
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BENCH = os.path.join(ROOT, "build", "release", "tests", "bench")
TARGET = 0.9  # of the raw transport, 1 MiB at a time


def rows(program, *words):
    argv = [os.path.join(BENCH, program), *map(str, words)]
    done = subprocess.run(argv, text=True, stdout=subprocess.PIPE, timeout=1200)
    if done.returncode != 0:
        sys.exit(f"net.py: {argv[0]} failed")
    return json.loads(done.stdout)["rows"]


# --- RDMA: perftest with one queue pair, one message at a time, as the fabric's rows are ---

def perftest(address, op, size, count):
    """Messages a second, of @count in a row."""
    argv = [f"ib_{op}_bw", "-s", str(size), "-n", str(count), "-t", "1", "-Q", "1", "-F", "-N",
            "-p", str(20000 + os.getpid() % 20000), "-x", "1"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        for _ in range(20):  # until it listens
            done = subprocess.run([*argv, address], text=True, capture_output=True, timeout=300)
            if done.returncode == 0:
                break
        server.wait(60)
    line = re.search(rf"^\s*{size}\s+{count}\s+\S+\s+(\S+)\s+(\S+)\s*$", done.stdout, re.M)
    if line is None:
        sys.exit(f"net.py: {' '.join(argv)}: {done.stdout}{done.stderr}")
    return float(line[1]) * 2**20 / size if size >= 4096 else float(line[2]) * 1e6


def verbs_rows(address, rounds, ms):
    """As netbench's rows; each round of it is followed by one of perftest's, about as long."""
    found = {}
    for _ in range(rounds):
        for r in rows("netbench", 1, ms, "verbs"):
            raw = perftest(address, r["op"].split()[0], r["bytes"], max(16, int(r["per_second"] * ms / 1000)))
            found.setdefault((r["op"], r["bytes"]), []).append(
                (r["per_second"], r["cpu_us"], raw, r["per_second"] / raw))
    table = []
    for (op, size), seen in found.items():
        per_s, cpu, raw, ratio = (statistics.median(column) for column in zip(*seen))
        print(f"{op} {size}: ratios of the rounds "
              f"{' '.join(f'{r:.2f}' for *_, r in sorted(seen, key=lambda s: s[-1]))}")
        table.append({"transport": "verbs", "op": op, "bytes": size, "per_second": per_s,
                      "cpu_us": cpu, "raw_per_second": raw, "ratio": ratio})
    return table


def show_fabric(table):
    print(f"{'transport':9} {'op':12} {'bytes':>8} {'per s':>10} {'MiB/s':>8} {'CPU us':>8} "
          f"{'raw/s':>10} {'raw CPU':>8} {'ratio':>6}")
    for r in table:
        per_s, size = r["per_second"], r["bytes"]
        line = (f"{r['transport']:9} {r['op']:12} {size:8} {per_s:10.0f} "
                f"{per_s * size / 2**20:8.0f} {r['cpu_us']:8.1f} ")
        if "ratio" in r:
            raw_cpu = f"{r['raw_cpu_us']:8.1f}" if "raw_cpu_us" in r else " " * 8
            line += f"{r['raw_per_second']:10.0f} {raw_cpu} {r['ratio']:6.2f}"
            target = size == 2**20 and r["transport"] != "shm" and r["op"] in ("read", "write")
            if target and r["ratio"] < TARGET:
                line += f"  below {TARGET}"
        print(line)


def show_store(table):
    print(f"\n{'transport':9} {'op':12} {'per s':>9} {'CPU us':>8} {'trips':>6} {'ops':>6} "
          f"{'bytes':>9}")
    for r in table:
        print(f"{r['transport']:9} {r['op']:12} {r['per_second']:9.0f} {r['cpu_us']:8.1f} "
              f"{r['trips']:6.2f} {r['ops']:6.1f} {r['bytes']:9.0f}")


def too_many(table):
    """What costs more round trips than it may."""
    return [f"{r['transport']} {r['op']}: {r['trips']:.2f} round trips, not {r['trips_max']:.2f}"
            for r in table if r["trips"] > r["trips_max"]]


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--rounds", type=int, default=5)
    args.add_argument("--ms", type=int, default=200)
    args.add_argument("--verbs", metavar="ADDRESS")
    args.add_argument("--store", action="store_true")
    args = args.parse_args()
    fabric = []
    if args.verbs:
        os.environ["ACESO_RDMA_ADDRESS"] = args.verbs
    if not args.store:
        fabric = (verbs_rows(args.verbs, args.rounds, args.ms) if args.verbs
                  else rows("netbench", args.rounds, args.ms))
        show_fabric(fabric)
    store = rows("netkv", args.rounds * args.ms, *(["verbs"] if args.verbs else []))
    show_store(store)
    with open(os.path.join(ROOT, "build", "bench-net.json"), "w", encoding="utf-8") as f:
        json.dump({"fabric": fabric, "store": store}, f, indent=1)
    wrong = too_many(store)
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
