#!/usr/bin/python3
"""soak.py - the simulator's suites, seed after seed, until one fails.

    tests/soak.py [--from=1] [--seeds=1000] [--build=build/release] [suite ...]

Each suite is called with a first and a last seed, and says which one it plays
(tests/lib/seeds.h). Slow ones play every so manieth. At the first seed that
fails its output's end is shown, and how to repeat it; with --go-on it is
written down, and the rest is played.
"""
import argparse
import os
import re
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CHUNK = 50  # seeds that one process plays
PLAY_S = 120  # longer than any seed takes on a slow machine
STEP_S = 0.5  # between two looks at a play
SUITES = {  # one in so many seeds is played
    "sim/store_seeds": 1, "sim/fs_seeds": 1, "sim/cluster_stress": 1, "sim/kv_linear": 1,
    "crash/scene_seeds": 1, "sim/kv_pages_sim": 20, "sim/kv_reclaim": 100,
}

FOUND = {  # seeds that have failed once: played first, every time; the check has --seeds=0
    "sim/store_seeds": (460, 718, 2886, 3192, 3639, 5152, 6110, 9836, 31113),
    "sim/fs_seeds": (3698, 103525),
    "sim/kv_linear": (20195,),
    "crash/scene_seeds": (2203, 6306, 7245, 7639, 9791, 70720),
    "sim/kv_reclaim": (30100, 60800),
}


def failing_seed(text, first, last):
    """Which seed of [@first, @last] failed, of what a suite said that ended badly.

    Each of its tests plays them all, up to the one at which it fails: the least is named, as what
    comes after it is played again. One that names no seed has failed in a test without any: then
    it is the last, as another would not change that. A suite that just ends, ends at its last seed.
    """
    seed, failed, seedless = None, [], False
    for line in text.splitlines():
        if line.startswith("[==========]") and line.endswith("run."):
            break  # the names once more
        if line.startswith("[ RUN      ]"):
            seed = None
        told = re.fullmatch(r"seed (\d+)", line)
        if told:
            seed = int(told.group(1))
        if line.startswith("[  FAILED  ]"):
            failed += [seed] if seed is not None else []
            seedless |= seed is None
    else:
        failed += [seed] if seed is not None else []
    if failed:
        return min(failed)
    return last if seedless else first


def is_stopped(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
            return f.read().rpartition(")")[2].split()[0] in "Tt"
    except OSError:
        return False


def starved(pid):
    """For how many seconds it has waited for a processor: a busy machine is no fault of its."""
    try:
        with open(f"/proc/{pid}/schedstat", encoding="ascii") as f:
            return int(f.read().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def run(argv, limit):
    """Its exit code, None if it does not end within @limit s, and its output. Time for which it is
    stopped, or we are, or it is not given a processor, does not count."""
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT) as p:
        spent = 0.0
        while spent - starved(p.pid) < limit:
            begin = time.monotonic()
            try:
                out = p.communicate(timeout=STEP_S)[0]
                return p.returncode, out
            except subprocess.TimeoutExpired:
                if not is_stopped(p.pid):
                    spent += min(time.monotonic() - begin, 2 * STEP_S)
        p.kill()
        return None, p.communicate()[0]


class Soak:
    def __init__(self, args):
        self.args = args
        self.begin = time.monotonic()
        self.said = 0.0
        self.failed = []
        self.plays = 0

    def program(self, suite):
        return os.path.join(self.args.build, "tests", f"{suite}_test")

    def say(self, done, now=False):
        t = time.monotonic()
        if not now and t - self.said < (1 if sys.stdout.isatty() else 60):
            return
        self.said = t
        spent = t - self.begin
        left = spent / done * (self.args.seeds - done) if done else 0
        line = (f"{done} of {self.args.seeds} seeds, {self.plays} plays, {spent:.0f} s, "
                f"{left:.0f} s left, {len(self.failed)} failed")
        print("\r\033[K" + line if sys.stdout.isatty() else line,
              end="" if sys.stdout.isatty() else "\n", flush=True)

    def play(self, suite, first, last):
        """Play some seeds. Returns the one that failed, or None, and what was said."""
        rc, out = run([self.program(suite), str(first), str(last)],
                      self.args.play_s * (last - first + 1))
        text = out.decode(errors="replace")
        if rc is None:
            text += "soak.py: it does not end\n"
        told = re.findall(r"^seed (\d+)$", text, re.M)
        self.plays += len(told)
        if rc == 0:
            return None, text
        return failing_seed(text, first, last), text

    def note(self, suite, seed, text):
        tail = [l for l in text.splitlines() if not l.startswith("seed ")][-30:]
        again = f"{os.path.relpath(self.program(suite), ROOT)} {seed}"
        self.failed.append(again)
        print(f"\nFAILED: {suite}, seed {seed}. To repeat it:\n    {again}\n    " +
              "\n    ".join(tail), flush=True)

    def chunk(self, suite, first, last):
        every = SUITES[suite]
        if every > 1:  # spread over all suites' seeds, each alone
            ranges = [(n, n) for n in range(first, last + 1) if n % every == 0]
        else:
            ranges = [(first, last)]
        while ranges:
            a, b = ranges.pop(0)
            seed, text = self.play(suite, a, b)
            if seed is None:
                continue
            self.note(suite, seed, text)
            if not self.args.go_on:
                return False
            if seed < b:
                ranges.insert(0, (seed + 1, b))
        return True

    def run(self):
        for suite in self.args.suite:
            for seed in FOUND.get(suite, ()):
                if not self.chunk(suite, seed, seed):
                    return 1
        first, end = self.args.first, self.args.first + self.args.seeds
        while first < end:
            last = min(first + CHUNK, end) - 1
            for suite in self.args.suite:
                if not self.chunk(suite, first, last):
                    return 1
                self.say(first - self.args.first)
            first = last + 1
        self.say(self.args.seeds, now=True)
        print()
        return 1 if self.failed else 0


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("suite", nargs="*", default=list(SUITES))
    p.add_argument("--from", type=int, default=1, dest="first")
    p.add_argument("--seeds", type=int, default=1000)
    p.add_argument("--build", default=os.path.join(ROOT, "build", "release"))
    p.add_argument("--go-on", action="store_true")
    p.add_argument("--play-s", type=float, default=PLAY_S, help="for a seed, at most")
    args = p.parse_args()
    for suite in args.suite:
        if suite not in SUITES:
            p.error(f"no suite {suite!r}; there are: {' '.join(SUITES)}")
    return Soak(args).run()


if __name__ == "__main__":
    sys.exit(main())
