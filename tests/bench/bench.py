#!/usr/bin/python3
"""bench.py - the mount beside tmpfs and libfuse's passthrough_ll over tmpfs,
interleaved in one run, as ratios; then the store itself with counted round
trips. Prints a table, writes build/bench.json.

Before each row that writes or reads much, and for each contender alike, as much
memory as the hungriest needs is touched and given back. A hypervisor may take
free memory back within seconds, and such a page costs ten times as much as
others at its first touch: without that, a row tells who asked the host for more
pages, not which file system is faster (--no-touch leaves it out).

Machines are shared and noisy: read the ratios of one run, not the figures.
The medians of the rounds are shown; --rounds N for more of them. The column
`cpu` is the CPU time that a row took in all its processes, as a share of what
it took on passthrough_ll: it bears a loaded machine better.

While working on one row: --rows REGEX (those that it builds on are run, and not
shown), --beside BIN for another build in the same run, BIN its build/bin;
--uring for this build by io_uring, too, where the kernel can (Linux 6.14).
"""
import argparse
import contextlib
import json
import mmap
import os
import platform
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, "build", "release")
BIN = os.path.join(ROOT, "build", "bin")
FSBENCH = os.path.join(BUILD, "tests", "bench", "fsbench")
KVBENCH = os.path.join(BUILD, "tests", "bench", "kvbench")
EXAMPLE = "/usr/share/doc/libfuse3-dev/examples/passthrough_ll.c"
TARGET = 0.7  # of passthrough_ll: what issue 2 asks of every row


class Ended(SystemExit):
    """A signal came: what was begun is taken back on the way out."""


class Signals:
    """SIGTERM and the like end the run as an error would, but never in the
    middle of making a mount or of taking one away: they wait for that."""
    waiting, held = 0, 0

    @classmethod
    def came(cls, signum, _):
        cls.waiting = signum
        cls.heed()

    @classmethod
    def heed(cls):
        if cls.waiting and not cls.held:
            signum, cls.waiting = cls.waiting, 0
            raise Ended(128 + signum)

    @classmethod
    @contextlib.contextmanager
    def wait(cls):
        cls.held += 1
        try:
            yield
        finally:
            cls.held -= 1
        cls.heed()

    @classmethod
    def watch(cls):
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(signum, cls.came)


@contextlib.contextmanager
def child(argv, **kw):
    """A process that ends, with all that it started, if we do before it."""
    with subprocess.Popen(argv, text=True, start_new_session=True, **kw) as process:
        try:
            yield process
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise


def run(argv, **kw):
    with child(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kw) as process:
        out, err = process.communicate()
    if process.returncode != 0:
        sys.exit(f"bench.py: {' '.join(map(str, argv))}: {err.strip()}")
    return out


def unmount(folder):
    """Its last users may have been killed a moment ago."""
    for _ in range(100):
        if not os.path.ismount(folder):
            return
        if subprocess.run(["umount", folder], stderr=subprocess.DEVNULL).returncode != 0:
            time.sleep(0.1)
    sys.exit(f"bench.py: {folder} stays busy")


@contextlib.contextmanager
def mounted(kinds, base):
    """One mount of each kind, in folders of @base; taken away at the end."""
    with contextlib.ExitStack() as sides:
        made = []
        for kind in kinds:
            folder = os.path.join(base, kind.name)
            os.makedirs(folder)
            with Signals.wait():
                side = kind(folder)
                sides.callback(close, side)
            made.append(side)
        yield made


def close(side):
    with Signals.wait():
        side.close()


def build():
    """What is measured is what the sources say."""
    env = {name: value for name, value in os.environ.items() if name != "MAKEFLAGS"}
    run(["make", "-s", "-C", ROOT, "all", *(os.path.relpath(p, ROOT) for p in (FSBENCH, KVBENCH))], env=env)


def processes(word):
    """Those that have @word in their command line."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline") as f:
                line = f.read()
        except OSError:
            continue
        if word in line and int(pid) != os.getpid():
            yield pid


class Side:
    """A mount, and the processes behind it."""
    word = None  # in their command lines

    def cpu(self):
        """Seconds of CPU time so far, of them and of all children of ours."""
        mine = resource.getrusage(resource.RUSAGE_CHILDREN)
        ticks = 0
        for pid in processes(self.word) if self.word else ():
            try:
                with open(f"/proc/{pid}/stat") as f:
                    ticks += sum(map(int, f.read().rpartition(")")[2].split()[11:13]))
            except OSError:
                pass
        return mine.ru_utime + mine.ru_stime + ticks / os.sysconf("SC_CLK_TCK")


class Tmpfs(Side):
    name = "tmpfs"

    def __init__(self, base):
        self.dir = os.path.join(base, "tmpfs")
        os.mkdir(self.dir)
        run(["mount", "-t", "tmpfs", "-o", "size=4g", "bench", self.dir])

    def close(self):
        unmount(self.dir)


class Passthrough(Side):
    name = "passthrough_ll"

    def __init__(self, base):
        exe, src = os.path.join(base, "pll"), EXAMPLE
        if not os.path.exists(src):
            run(["sh", "-c", f"gunzip -c {src}.gz > {base}/passthrough_ll.c"])
            src = f"{base}/passthrough_ll.c"
        flags = run(["pkg-config", "--cflags", "--libs", "fuse3"]).split()
        run(["gcc", "-O2", "-w", "-I", os.path.dirname(EXAMPLE), src, "-o", exe, *flags])
        self.word = exe
        self.under, self.dir = os.path.join(base, "under"), os.path.join(base, "pll-mnt")
        os.mkdir(self.under)
        os.mkdir(self.dir)
        run(["mount", "-t", "tmpfs", "-o", "size=4g", "bench", self.under])
        run([exe, "-o", f"source={self.under}", "-o", "allow_other,default_permissions", self.dir])

    def close(self):
        unmount(self.dir)
        unmount(self.under)  # when its process is gone


class Aceso(Side):
    name = "aceso"
    bin = BIN

    def __init__(self, base):
        self.dir = os.path.join(base, self.name)
        os.mkdir(self.dir)
        self.pool = self.word = f"bench{os.getpid()}{self.name}"
        run([os.path.join(self.bin, "aceso-fuse"), "-o", f"size=4g,pool={self.pool}", self.dir])

    def close(self):
        unmount(self.dir)


class Beside(Aceso):
    name = "beside"


class Uring(Aceso):
    """What the kernel offers is settled at a mount's first request."""
    name = "io_uring"
    offer = "/sys/module/fuse/parameters/enable_uring"

    def __init__(self, base):
        with open(self.offer, encoding="ascii") as f:
            before = f.read()
        self.say("Y")
        try:
            super().__init__(base)
            os.listdir(self.dir)
        finally:
            self.say(before)

    def say(self, word):
        with open(self.offer, "w", encoding="ascii") as f:
            f.write(word)


def forget():
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("3")


def touch_memory(mib):
    """What is touched now, the host does not have to hand out for a second or two."""
    with open("/proc/meminfo") as f:
        free = next(int(line.split()[1]) >> 10 for line in f if line.startswith("MemAvailable"))
    mib = min(mib, free // 2)
    if mib > 0:
        mmap.mmap(-1, mib << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE).close()


def again(workload, count):
    """Into memory that a file had before."""
    work = loop(workload, count)

    def prepare(where):
        os.unlink(os.path.join(where, "big0"))
        time.sleep(1)
    work.prepare = prepare
    return work


def loop(workload, count):
    def work(where):
        return float(run([FSBENCH, workload, where, str(count)]).split()[0])
    return work


def fio(rw, seconds):
    def work(where):
        out = run(["fio", "--name=j", f"--filename={where}/big0", f"--rw={rw}", "--bs=4k", "--direct=1",
                   "--ioengine=libaio", "--iodepth=16", "--numjobs=2", "--time_based", "--group_reporting",
                   f"--runtime={seconds}", "--rwmixread=70", "--output-format=json"])
        job = json.loads(out)["jobs"][0]
        return job["read"]["iops"] + job["write"]["iops"]
    work.timed = True
    return work


def shell(command, files):
    def work(where):
        begin = time.monotonic()
        run(["bash", "-ec", command], cwd=where)
        return files / (time.monotonic() - begin)
    return work


def rows(short, base):
    """(title, unit, work, forget caches first, MiB of memory to touch first).
    Later rows use what earlier ones left; each mount's folder is emptied between
    rounds. What is written needs its page in the kernel's cache and, here, three
    for two of it in the nodes, three for one if it is small."""
    n, big, secs = (400, 64, 1) if short else (5000, 512, 3)
    warm = 4 * big
    tree = os.path.join(base, "tree")
    os.makedirs(tree)
    files = 200 if short else 2000
    for i in range(files):
        folder = os.path.join(tree, f"d{i % 20}")
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, f"f{i}"), "wb") as f:
            f.write(os.urandom(4096))
    run(["tar", "cf", os.path.join(base, "tree.tar"), "-C", base, "tree"])
    return [
        ("sequential write 1 MiB, fsync at end", "MB/s", loop("seq_write", big), False, warm),
        ("same, where a removed file was", "MB/s", again("seq_write", big), False, warm),
        ("sequential read 1 MiB, cold", "MB/s", loop("seq_read", big), True, warm),
        ("4 KiB random write, buffered, fsync at end", "IOPS", loop("rand_write", n * 8), False, warm),
        ("4 KiB random write, O_DIRECT, depth 1", "IOPS", loop("direct_write", n * 4), True, warm),
        ("same, depth 16, 2 jobs", "IOPS", fio("randwrite", secs), False, warm),
        ("4 KiB random read, O_DIRECT, depth 1", "IOPS", loop("direct_read", n * 4), True, 0),
        ("same, depth 16, 2 jobs", "IOPS", fio("randread", secs), False, 0),
        ("4 KiB 70/30 mixed, O_DIRECT, depth 16, 2 jobs", "IOPS", fio("randrw", secs), False, warm),
        ("4 KiB overwrite + fsync each", "pairs/s", loop("write_fsync", n * 2), False, warm),
        ("create + write 4 KiB + close", "files/s", loop("create", n), False, 0),
        ("stat, cold", "files/s", loop("stat", n), True, 0),
        ("open + read 4 KiB + close, cold", "files/s", loop("open_read", n), True, 0),
        ("readdir", "entries/s", loop("readdir", n), True, 0),
        ("readdir + stat", "entries/s", loop("readdir_stat", n), True, 0),
        ("rename", "1/s", loop("rename", n), False, 0),
        ("write temp + fsync + rename", "files/s", loop("safe_write", n), False, 0),
        ("unlink", "files/s", loop("unlink", n), False, 0),
        ("create, 4 processes", "files/s", loop("create4", n), False, 0),
        ("unlink, 4 processes", "files/s", loop("unlink4", n), False, 0),
        ("mkdir", "1/s", loop("mkdir", n), False, 0),
        ("rmdir", "1/s", loop("rmdir", n), False, 0),
        ("cp -r", "files/s", shell(f"cp -r {tree} copy", files), False, 0),
        ("find", "files/s", shell("find copy -type f -size +0 | wc -l", files), True, 0),
        ("tar c", "files/s", shell("tar c copy | wc -c", files), True, 0),
        ("rm -rf", "files/s", shell("rm -rf copy", files), False, 0),
        ("tar x", "files/s", shell(f"tar x -f {base}/tree.tar", files), False, 0),
    ]


# What a row uses of earlier ones: the title of the row that made it.
BIG, MANY, DIRS, TREE = "sequential write", "create + write", "mkdir", "cp -r"
USES = [("same, where|sequential read|random|same, depth|overwrite|mixed", BIG),
        ("stat, cold|open . read|readdir|rename|unlink$", MANY), ("rmdir", DIRS),
        ("find|tar c|rm -rf", TREE), ("unlink, 4", "create, 4")]


def chosen(plan, regex):
    """Which rows are run: those named, and those that they use."""
    named = {row[0] for row in plan if re.search(regex, row[0])}
    used = {maker for title in named for words, maker in USES if re.search(words, title)}
    return [(*row, row[0] in named) for row in plan
            if row[0] in named or row[0].startswith(tuple(used))]


def show(table):
    names = [n for n in ("tmpfs", "passthrough_ll", "beside", "io_uring", "aceso") if n in table[0]]
    print(f"\n{'workload':<48}" + "".join(f" {n[:10]:>10}" for n in names) + f" {'/pll':>6} {'/tmpfs':>7} {'cpu':>6}")
    for row in table:
        flag = "" if row["ratio"] >= TARGET else "  < 0.7"
        print(f"{row['title']:<48}" + "".join(f" {row[n]:>10,.0f}" for n in names) +
              f" {row['ratio']:>6.2f} {row['aceso'] / row['tmpfs']:>7.2f} {row['cpu']['aceso']:>6.2f}" +
              "".join(f"   {n} {row[n] / row['passthrough_ll']:.2f} cpu {row['cpu'][n]:.2f}"
                      for n in ("beside", "io_uring") if n in names) + flag)


def one(side, work):
    """(rate, seconds of CPU time for what one second at that rate does)"""
    before = side.cpu()
    rate = work(side.dir)
    cpu = max(side.cpu() - before, 0.001)
    return rate, cpu / rate if getattr(work, "timed", False) else cpu


def prepare(side, work, cold, warm):
    if cold:
        forget()
    if hasattr(work, "prepare"):
        work.prepare(side.dir)
    touch_memory(warm)


def mounts(base, short, rounds, regex, kinds, touch):
    """Every row on every mount, in turn, @rounds times."""
    plan = chosen(rows(short, base), regex)
    taken = {}
    for round in range(rounds):
        with mounted(kinds, os.path.join(base, str(round))) as sides:
            for i, (title, unit, work, cold, warm, _) in enumerate(plan):
                if sys.stderr.isatty():
                    print(f"\r  round {round + 1}/{rounds}, {i + 1}/{len(plan)} {title:<50}", end="",
                          file=sys.stderr)
                turn = round % len(sides)
                for side in sides[turn:] + sides[:turn]:
                    prepare(side, work, cold, warm if touch else 0)
                    taken.setdefault((i, side.name), []).append(one(side, work))
    table = []
    for i, (title, unit, _, _, _, named) in enumerate(plan):
        if not named:
            continue
        row = {"title": title, "unit": unit, "cpu": {}, "all": {}}
        base_cpu = statistics.median(cpu for _, cpu in taken[i, "passthrough_ll"])
        for kind in kinds:
            row["all"][kind.name] = [rate for rate, _ in taken[i, kind.name]]
            row[kind.name] = statistics.median(row["all"][kind.name])
            row["cpu"][kind.name] = statistics.median(cpu for _, cpu in taken[i, kind.name]) / base_cpu
        row["ratio"] = statistics.median(a / p for a, p in zip(row["all"]["aceso"], row["all"]["passthrough_ll"]))
        table.append(row)
    return table


def store(base, short):
    """The store without a mount; then with one beside it, which does nothing
    but makes two clients (kv/client/alone.h)."""
    told = {}
    for name in ("alone", "beside a mount"):
        with mounted([Aceso], os.path.join(base, "store " + name)) as (side,):
            argv = [KVBENCH, f"/run/aceso/{side.pool}/pool.sock", "20000" if short else "300000"]
            with child(argv + ["alone"] * (name == "alone"), stdout=subprocess.PIPE) as kvbench:
                if name == "alone":
                    kvbench.stdout.readline()  # "joined"
                    close(side)
                told[name] = json.loads(kvbench.stdout.read())["rows"]
    return told


def show_store(told):
    for name, rows in told.items():
        print(f"\nstore over shared memory, 1 KiB values, one thread, {name}:")
        for r in rows:
            print(f"  {r['op']:<10} {r['per_second']:>12,.0f} /s   {r['per_cpu_second']:>12,.0f} /s of its CPU time   "
                  f"{r['held_up']:.2f} of the clock waiting for a CPU, "
                  f"{r['batches']:.2f} round trips, {r['ops']:.2f} operations, {r['bytes']:,.0f} bytes each")


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--short", action="store_true", help="a minute; figures mean little")
    args.add_argument("--rounds", type=int, default=0)
    args.add_argument("--json", default=os.path.join(ROOT, "build", "bench.json"))
    args.add_argument("--no-store", action="store_true")
    args.add_argument("--no-touch", action="store_true", help="leave memory as the hypervisor gave it")
    args.add_argument("--rows", default="", help="only rows whose title matches this")
    args.add_argument("--beside", default="", help="build/bin of another build, measured too")
    args.add_argument("--uring", action="store_true", help="by io_uring, measured too")
    opts = args.parse_args()
    kinds = [Tmpfs, Passthrough, Aceso]
    if opts.beside:
        Beside.bin = os.path.abspath(opts.beside)
        kinds.append(Beside)
    if opts.uring:
        if not os.path.exists(Uring.offer):
            sys.exit("bench.py: this kernel has no FUSE over io_uring")
        kinds.append(Uring)
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        sys.exit("bench.py: needs root (it mounts) and /dev/fuse")
    Signals.watch()
    build()
    base = tempfile.mkdtemp(prefix="aceso-bench-")
    try:
        table = mounts(base, opts.short, opts.rounds or (1 if opts.short else 3), opts.rows, kinds,
                       not opts.no_touch)
        show(table)
        if not opts.no_touch:
            print("(the rows that write or read much: into memory that was touched right before, for each alike)")
        result = {"machine": platform.platform(), "cpus": os.cpu_count(), "rows": table,
                  "commit": subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, text=True,
                                           capture_output=True).stdout.strip()}
        if not opts.no_store:
            result["store"] = store(base, opts.short)
            show_store(result["store"])
        with open(opts.json, "w") as f:
            json.dump(result, f, indent=1)
        print(f"\nwritten to {os.path.relpath(opts.json)}")
    finally:
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    main()
