#!/usr/bin/python3
"""soak_self_test.py - soak.py names the seeds that fail, all of them, and once; also those that do
not end, but not those that were stopped for longer than one may take."""
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SUITE = "sim/kv_linear"

# Says what a suite of some tests says: each plays the seeds up to one at which it fails.
PLAY = """#!/usr/bin/python3
import os, sys
first, last = int(sys.argv[1]), int(sys.argv[2])
bad = 0
for name, seeds in {tests!r}.items():
    print("[ RUN      ]", name)
    played = range(first, last + 1) if seeds is not None else ()
    for seed in played:
        print("seed", seed)
        if seed in seeds:
            break
    failed = seeds is None or any(seed in seeds for seed in played)
    if failed and {dies}:
        sys.stdout.flush()
        os.abort()
    print("[  FAILED  ]" if failed else "[       OK ]", name)
    bad += failed
print("[==========]", len({tests!r}), "test(s) run.")
if bad:
    print("[  FAILED  ]", bad, "test(s), listed below:")
sys.exit(bad)
"""


LIMIT_S = 3

# Seed 2 is stopped for longer than it may take, seed 3 waits for ever, seed 4 may run only when
# another does not, which does for longer than that.
WAITS = f"""#!/usr/bin/python3
import os, signal, sys, time
seed = int(sys.argv[1])
print("seed", seed, flush=True)
if seed == 2 and os.fork() == 0:
    time.sleep({2 * LIMIT_S})
    os.kill(os.getppid(), signal.SIGCONT)
    os._exit(0)
if seed == 2:
    os.kill(os.getpid(), signal.SIGSTOP)
    os.wait()
if seed == 3:
    time.sleep(1000)
if seed == 4:
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    end = time.monotonic() + {3 * LIMIT_S}
    if os.fork() == 0:
        while time.monotonic() < end:
            pass
        os._exit(0)
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    while os.waitpid(-1, os.WNOHANG)[0] == 0:
        pass
"""


def named(program_text, *more):
    """Seeds from 1 on that soak.py names."""
    with tempfile.TemporaryDirectory() as build:
        program = os.path.join(build, "tests", f"{SUITE}_test")
        os.makedirs(os.path.dirname(program))
        with open(program, "w", encoding="utf-8") as f:
            f.write(program_text)
        os.chmod(program, 0o755)
        p = subprocess.run([os.path.join(HERE, "soak.py"), f"--build={build}", "--go-on", *more,
                            SUITE], stdout=subprocess.PIPE, text=True, check=False)
    return [int(n) for n in re.findall(r"FAILED: \S+, seed (\d+)", p.stdout) if int(n) <= 100]


def main():
    cases = [
        ({"one": []}, False, []),
        ({"one": [7]}, False, [7]),
        ({"one": [50, 51]}, False, [50, 51]),
        ({"one": [], "two": [7], "three": []}, False, [7]),  # the last one told is another
        ({"one": [9], "two": [7, 60]}, False, [7, 9, 60]),
        ({"one": [9], "two": [9]}, False, [9]),
        ({"one": [], "two": [7, 60]}, True, [7, 60]),
        ({"one": None, "two": []}, False, [50, 100]),  # once for each process
    ]
    # Tests that fail: name -> at which seeds; None: always. Or end the program there.
    for tests, dies, wanted in cases:
        got = named(PLAY.format(tests=tests, dies=dies), "--seeds=100")
        if got != wanted:
            print(f"{tests}: soak.py names {got}, not {wanted}")
            return 1
    for seed, wanted in ((2, []), (3, [3]), (4, [])):
        got = named(WAITS, f"--from={seed}", "--seeds=1", f"--play-s={LIMIT_S}")
        if got != wanted:
            print(f"seed {seed} of those that wait: soak.py names {got}, not {wanted}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
