#!/usr/bin/python3
"""run.py - run the suites, count what they say, end with one summary line.

    tests/run.py [stage ...]      no stage: all of them, in order

Each suite's output goes to build/check/<name>.log; a failed one's end is shown.
The exit code is 0 only if nothing failed. Skips are counted, with reasons.
"""
import argparse
import concurrent.futures
import glob
import os
import re
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET

from stalls import Stalls

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LOGS = os.path.join(ROOT, "build", "check")
sys.path.insert(0, os.path.join(ROOT, "tests", "mount"))
import over  # noqa: E402  (which tests make sense over each transport)

SUITES = ("unit", "contract", "golden", "crash", "sim", "fsmodel")
NOT_SUITES = ("fs_model_mount", "verbs_test", "verbs_gone_test")  # the last two: stage rdma
# Long, and in one thread only (strace sees no clone): nothing there for the thread sanitizer to see.
ONE_THREAD = {
    *(f"crash/{name}_test" for name in (
        "clean_kill", "fs_kill", "node_kill", "node_replace", "node_restore", "pair_kill", "power_loss",
        "promote_kill", "scene_seeds")),
    *(f"sim/{name}_test" for name in (
        "ckpt_recover", "cluster_stress", "fs_seeds", "kv_away", "kv_check", "kv_insert", "kv_killed",
        "kv_linear", "kv_race", "kv_reclaim", "kv_reuse", "kv_undecided", "store_seeds")),
    "fsmodel/names_crash_test", "fsmodel/bytes_test",
    *(f"unit/{name}_test" for name in (
        "ckpt_death", "ckpt_round", "ec_again", "ec_rebuild", "ec_rest", "ec_return", "ec_stripe",
        "fuzz_verbs_node", "kv_coord", "kv_pages")),
}
# Forks beside threads, and the child has some of its own: not to be had with that sanitizer.
FORKS = {"unit/door_ways_test"}
LONGEST = (  # of each stage: they begin first, so that no lane is left with one at the end
    "crash/node_kill_test", "crash/fs_kill_test", "crash/pair_kill_test", "contract/tcp_test",
    "contract/any_test", "contract/shm_key_test", "contract/shm_test", "contract/tcp_plain_test",
    "sim/kv_reclaim_test", "crash/power_loss_test",
    "mount/full", "mount/pool_dir", "mount/netns", "mount/systemd", "mount/reboot", "mount/kills",
    "mount/respawn", "mount/fsck", "mount/leave",
)
SANITIZER_ENV = {
    "ASAN_OPTIONS": "abort_on_error=0:detect_leaks=1:halt_on_error=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=0:second_deadlock_stack=1:exitcode=66",
}


class Tally:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.reasons = []
        self.stalls = Stalls()
        self.began = self.stalls.now()
        self.ends = []  # of the failed: (name, last lines), told again before the summary
        self.lock = threading.Lock()  # of all of it, and of what is printed

    def add(self, passed, failed, skipped):
        self.passed += passed
        self.failed += failed
        self.skipped += skipped


def telling(text):
    """The few lines of a failed suite's log that say most about it."""
    lines = [l for l in text.splitlines() if re.search(
        r"FAILED|^E  |Error:|ERROR:|WARNING: ThreadSan|seed|^run.py:", l)]
    return (lines or text.splitlines())[-12:]


def play(argv, log, tally, timeout, env):
    """Run one suite, its output to @log, at whose end stands how it ended; its exit code."""
    full = {**os.environ, **SANITIZER_ENV, **(env or {})}
    began = tally.stalls.now()
    with open(log, "wb") as out:
        try:
            rc = subprocess.run(argv, cwd=ROOT, stdout=out, timeout=timeout, env=full,
                                stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL).returncode
        except subprocess.TimeoutExpired:
            rc = -9
            out.write(f"\nrun.py: killed after {timeout} s\n".encode())
        except OSError as e:
            rc = 127
            out.write(f"run.py: cannot run it: {e}\n".encode())
        if rc != 0:
            ended = f"signal {-rc}" if rc < 0 else f"exit code {rc}"
            out.write(f"run.py: {ended}; {tally.stalls.since(began)}\n".encode())
    return rc


def run(name, argv, tally, timeout, count, env=None):
    """Run one suite; @count(log text, exit code) -> (passed, failed, skipped). Safe in threads."""
    log = os.path.join(LOGS, name.replace("/", "_") + ".log")
    begin = time.monotonic()
    rc = play(argv, log, tally, timeout, env)
    text = open(log, errors="replace").read()
    with tally.lock:
        passed, failed, skipped = count(text, rc)
        if rc != 0 and failed == 0:
            failed = 1
        tally.add(passed, failed, skipped)
        verdict = "ok" if failed == 0 else f"FAILED ({failed})"
        note = f", {skipped} skipped" if skipped else ""
        print(f"  {name} ... {verdict}: {passed} passed{note} ({time.monotonic() - begin:.1f} s)",
              flush=True)
        if failed:
            print("    " + "\n    ".join(text.splitlines()[-40:]), flush=True)
            print(f"    whole log: {os.path.relpath(log, ROOT)}", flush=True)
            tally.ends.append((name, telling(text)))


def cmocka(text, rc):
    def total(word):
        return sum(int(n) for n in re.findall(rf"\[\s*{word}\s*\] (\d+) test\(s\)", text))
    failed = total("FAILED")
    if rc < 0 or (rc != 0 and failed == 0):
        failed += 1
    return total("PASSED"), failed, total("SKIPPED")


def summary(text, rc):
    """Of pytest, where it writes no report."""
    def total(word):
        return sum(int(n) for n in re.findall(rf"(\d+) {word}", text.splitlines()[-1] if text else ""))
    failed = total("failed") + total("error")
    return total("passed"), max(failed, int(rc != 0)), total("skipped")


def one(text, rc):
    return (1, 0, 0) if rc == 0 else (0, 1, 0)


def make(*targets):
    return ["make", f"-j{os.cpu_count() or 2}", "--no-print-directory", *targets]


def test_programs(build):
    found = []
    for suite in SUITES:
        for path in sorted(glob.glob(os.path.join(ROOT, "tests", suite, "*_test.c"))):
            name = os.path.basename(path)[:-2]
            if name not in NOT_SUITES:
                found.append((f"{suite}/{name}", os.path.join(build, "tests", suite, name)))
    return found


def stage_build(tally):
    run("build", make("all", "tests"), tally, 1200, one)


def stage_lint(tally):
    for tool in ("layers", "headers", "names"):
        run(f"lint/{tool}", [f"tests/lint/{tool}.sh"], tally, 300, one)
    run("lint/docs", ["tests/lint/docs.py"], tally, 120, one)
    run("lint/soak", ["tests/soak_self_test.py"], tally, 120, one)
    run("lint/format", make("lint-format"), tally, 300, one)
    run("lint/cppcheck", make("lint-cppcheck"), tally, 900, one)


def longest_first(found):
    """@found: tuples that begin with a suite's name."""
    return sorted(found, key=lambda f: LONGEST.index(f[0]) if f[0] in LONGEST else len(LONGEST))


def in_lanes(calls):
    """Each of @calls, (function, argument ...), as many at a time as there are processors: most
    suites have one thread, or wait."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as lanes:
        for done in [lanes.submit(*call) for call in calls]:
            done.result()


def programs(tally, mode, timeout):
    if mode != "release":
        run(f"{mode}/build", make(f"MODE={mode}", "all", "tests"), tally, 1800, one)
    found = [(name, path) for name, path in test_programs(os.path.join("build", mode))
             if mode != "tsan" or name not in ONE_THREAD | FORKS]
    in_lanes([(run, name if mode == "release" else f"{mode}/{name}", [path], tally, timeout, cmocka,
               {"ACESO_TEST_MODE": mode}) for name, path in longest_first(found)])


def found(tally, mode):
    """Seeds that have failed once."""
    run(f"{mode}/sim/found", ["tests/soak.py", "--seeds=0", f"--build=build/{mode}"], tally, 600, one)


def stage_programs(tally):
    programs(tally, "release", 600)
    found(tally, "release")


def pytest(tally, name, args, timeout, env=None):
    report = os.path.join(LOGS, name.replace("/", "_") + ".xml")

    def count(text, rc):
        try:
            suite = ET.parse(report).getroot().find("testsuite")
        except (OSError, ET.ParseError):
            return 0, 1, 0
        n = {k: int(suite.get(k, 0)) for k in ("tests", "failures", "errors", "skipped")}
        bad = n["failures"] + n["errors"]
        for case in suite.iter("skipped"):
            tally.reasons.append(f"{name}: {case.get('message')}")
        return n["tests"] - bad - n["skipped"], bad, n["skipped"]

    if os.path.exists(report):
        os.unlink(report)
    run(name, ["/usr/bin/python3", "-m", "pytest", "-p", "no:cacheprovider", "-q", "-rs",
               f"--junitxml={report}", *args], tally, timeout, count, env)


def stage_mount(tally):
    paths = sorted(glob.glob(os.path.join(ROOT, "tests", "mount", "test_*.py")))
    found = [(f"mount/{os.path.basename(path)[5:-3]}", os.path.relpath(path, ROOT)) for path in paths]
    in_lanes([(pytest, tally, name, [path], 900) for name, path in longest_first(found)])


def stage_mount_tcp(tally):
    """The mount suite's short form over TCP inside TLS, five hosts on loopback."""
    pytest(tally, "mount-tcp", over.tests("short"), 900, over.environment("tcp", "short"))


def mounts_with_reports(tally, mode):
    """Daemons have no terminal: what sanitizers say of them goes to files."""
    reports = os.path.join(LOGS, f"{mode}-report")
    for path in glob.glob(f"{reports}.*"):
        os.unlink(path)
    env = {name: f"{value}:log_path={reports}" for name, value in SANITIZER_ENV.items()}
    env.update(ACESO_BIN=os.path.join(ROOT, "build", mode, "bin"), ACESO_TEST_MODE=mode)
    pytest(tally, f"{mode}/mount", ["tests/mount/test_smoke.py"], 900, env)
    for path in sorted(glob.glob(f"{reports}.*")):
        tally.failed += 1
        tally.ends.append((os.path.relpath(path, ROOT), []))
        print(f"  {os.path.relpath(path, ROOT)}:", flush=True)
        print("    " + "\n    ".join(open(path, errors="replace").read().splitlines()[:60]),
              flush=True)


def sanitizer(tally, mode):
    programs(tally, mode, 1200)
    mounts_with_reports(tally, mode)


def stage_asan(tally):
    sanitizer(tally, "asan")
    found(tally, "asan")


def stage_tsan(tally):
    sanitizer(tally, "tsan")


def stage_bench(tally):
    run("bench/short", make("bench", "SHORT=1"), tally, 900, one)
    # its rates say nothing in so short a time; the round trips that it counts do
    run("bench/net", ["tests/bench/net.py", "--rounds", "1", "--ms", "50"], tally, 300, one)


def stage_model(tally):
    run("model", ["tests/model/check.sh"], tally, 900, one)


# Who emulates two processors answers late.
GUEST_ENV = ["ACESO_HOST=10.77.0.1", "ACESO_TEST_SLOW=5", "ACESO_CREATE_ARGS=--lease-ms 10000"]


def stage_rdma(tally):
    """In a guest that has a soft-RoCE device and TLS in its kernel: the fabric's contract over both,
    and over verbs the store's round trips and a pool of five nodes with a mount, while nodes are
    killed; then, in a fresh one each, what the mount suite asks of POSIX, and hosts that are far from
    each other, for which there is netem there; then two, of which one stops and vanishes."""
    vm, build = "tests/rdma-vm.sh", "build/release"
    programs = [f"{build}/tests/contract/{name}_test" for name in (
        "verbs", "verbs_gone", "tcp", "tcp_ktls")] + [f"{build}/tests/bench/netkv"]
    run("rdma/build", make("all", *programs), tally, 600, one)
    ready = subprocess.run([vm, "-p"], cwd=ROOT, stdin=subprocess.DEVNULL, timeout=600, text=True,
                           stderr=subprocess.PIPE)
    if ready.returncode != 0:
        why = (ready.stderr.splitlines() or ["it did not say why"])[-1]
        tally.add(0, 0, 1)
        tally.reasons.append(f"rdma: no guest can be had here: {why}")
        return
    run("rdma/guest", [vm, "-t", "560", "tests/verbs_guest.sh", build], tally, 600, cmocka)
    run("rdma/mount", [vm, "-t", "560", "env", *GUEST_ENV, f"ACESO_BIN={build}/bin",
                       "tests/mount/over.py", "verbs", "guest"], tally, 600, summary)
    run("rdma/netem", [vm, "-t", "300", "tests/netem_guest.sh", f"{build}/bin"], tally, 320, summary)
    run("rdma/hosts", ["/usr/bin/python3", "tests/verbs_hosts.py", build], tally, 600, cmocka)


def stage_fuzz(tally):
    """Each decoder under libFuzzer for a few seconds (make fuzz: for as long as you like)."""
    names = sorted(os.path.basename(p)[:-2]
                   for p in glob.glob(os.path.join(ROOT, "tests", "fuzz", "*.c")))
    script = "tests/fuzz/run.sh"
    if subprocess.run([script, "0"], cwd=ROOT, stdout=subprocess.DEVNULL).returncode == 77:
        tally.add(0, 0, len(names))
        tally.reasons.append("fuzz: no clang with libFuzzer here (scripts/deps.sh test installs it)")
        return

    def count(text, rc):
        return (len(re.findall(r"^fuzz \w+: ok", text, re.M)),
                len(re.findall(r"^fuzz \w+: FAILED", text, re.M)), 0)

    run("fuzz", [script, "3", *names], tally, 900, count)


def stage_install(tally):
    run("install", ["tests/install.sh"], tally, 300, one)


STAGES = {
    "build": stage_build, "lint": stage_lint, "model": stage_model, "programs": stage_programs,
    "fuzz": stage_fuzz, "mount": stage_mount, "mount-tcp": stage_mount_tcp,
    "install": stage_install, "rdma": stage_rdma,
    "asan": stage_asan, "tsan": stage_tsan, "bench": stage_bench,
}


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("stage", nargs="*", help=f"of: {' '.join(STAGES)}")
    wanted = args.parse_args().stage or list(STAGES)
    for name in wanted:
        if name not in STAGES:
            args.error(f"no stage {name!r}; there are: {' '.join(STAGES)}")
    os.makedirs(LOGS, exist_ok=True)
    tally = Tally()
    begin = time.monotonic()
    for at, name in enumerate(wanted, 1):
        print(f"[{at}/{len(wanted)}] {name} ({time.monotonic() - begin:.0f} s so far)", flush=True)
        STAGES[name](tally)
    for failed, lines in tally.ends:
        print(f"FAILED: {failed}\n    " + "\n    ".join(lines))
    print(f"the machine: {tally.stalls.since(tally.began)}")
    for reason in tally.reasons:
        print(f"skipped: {reason}")
    print(f"{tally.passed} passed, {tally.failed} failed, {tally.skipped} skipped")
    return 1 if tally.failed or not tally.passed else 0


if __name__ == "__main__":
    sys.exit(main())
