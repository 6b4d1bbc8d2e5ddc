#!/usr/bin/python3
"""soak_self_test.py - soak.py names the seeds that fail, all of them, and once."""
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


def named(tests, dies=False, seeds=100):
    """Seeds from 1 on that soak.py names when @tests fail: name -> at which; None: always."""
    with tempfile.TemporaryDirectory() as build:
        program = os.path.join(build, "tests", f"{SUITE}_test")
        os.makedirs(os.path.dirname(program))
        with open(program, "w", encoding="utf-8") as f:
            f.write(PLAY.format(tests=tests, dies=dies))
        os.chmod(program, 0o755)
        p = subprocess.run([os.path.join(HERE, "soak.py"), f"--build={build}", f"--seeds={seeds}",
                            "--go-on", SUITE], stdout=subprocess.PIPE, text=True, check=False)
    return [int(n) for n in re.findall(r"FAILED: \S+, seed (\d+)", p.stdout) if int(n) <= seeds]


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
    for tests, dies, wanted in cases:
        got = named(tests, dies)
        if got != wanted:
            print(f"{tests}: soak.py names {got}, not {wanted}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
