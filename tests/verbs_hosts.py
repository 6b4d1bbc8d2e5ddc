#!/usr/bin/python3
"""verbs_hosts.py - a host of an RDMA network stops, another vanishes: two guests of rdma-vm.sh.

    tests/verbs_hosts.py BUILD        (build/release)

A process that is killed is answered for by its kernel; here nobody answers. Host 2 is stopped as
a whole while it writes to host 1, cut off there, and goes on; then it is switched off while host
1 writes to it. What is to come of that is said by tests/contract/verbs_gone_test.c."""
import os
import re
import signal
import sys
import tempfile
import time

from guest import Guest, new_wire

PROGRAM = os.path.abspath(sys.argv[1]) + "/tests/contract/verbs_gone_test"
PORT = 20100
TRIES = 6  # a guest may get no time for so long that nothing can be told
STOOD_STILL = 3
done = 0


def ok(what):
    global done
    done += 1
    print(f"[       OK ] {what} ({time.monotonic() - BEGUN:.0f} s)", flush=True)


def failed(what, *jobs):
    raise SystemExit("\n".join([what, *(f"{job.words[1]}:\n{job.text()}" for job in jobs)]))


def serve(host):
    job = host.start(PROGRAM, "serve", f"verbs:{host.address}:{PORT}")
    job.until("serving: 0")
    return job


def under_way(host, what, other):
    """It asks @other's node, which answers."""
    for _ in range(TRIES):
        job = host.start(PROGRAM, what, f"verbs:{other.address}:{PORT}")
        while not job.over.wait(0.005):
            if job.when("under way"):
                return job
        if job.rc != STOOD_STILL:
            break
    return failed("it did not get under way", job)


def connected(host):
    """What queue pairs of the node there can receive."""
    said = host.run("rdma", "resource", "show", "qp").text()
    return [line for line in said.splitlines() if "comm verbs_gone_test" in line
            and re.search(r"type RC state (RTR|RTS|SQD)", line)]


def stop_while_it_writes(host, other):
    """It writes to @other until it has no more time; who does."""
    for _ in range(TRIES):
        job = under_way(host, "write", other)
        host.signal(signal.SIGSTOP)
        time.sleep(0.3)  # what it said is here
        if not job.when("failed"):
            return job
        host.signal(signal.SIGCONT)
        job.wait()
    return failed("it never was under way when it was stopped", job)


def a_host_stops_and_is_cut_off(a, b):
    serving = serve(a)
    writing = stop_while_it_writes(b, a)
    if not connected(a):
        failed("there was no queue pair to cut", serving, writing)
    then = time.monotonic()
    a.run("pkill", "-USR1", "-x", "verbs_gone_test")
    serving.until("cut off")
    left = connected(a)
    if left:
        failed(f"cut off, but connected: {left}", serving, writing)
    ok(f"a host that was stopped was cut off after {time.monotonic() - then:.1f} s: no queue pair is left")
    b.signal(signal.SIGCONT)
    if writing.wait() != 0:
        failed("it went on, and was not told", serving, writing)
    serving.until("nothing of it took effect: 0")
    ok("it went on: nothing of it took effect, and it was told")


def a_host_vanishes(a, b):
    """False: a guest stood still, once more."""
    serve(b)
    asking = under_way(a, "ask", b)
    b.power_off()
    rc = asking.wait()
    print("".join(re.findall(r"after the last.*\n|.* stood still\n", asking.text())), end="")
    if rc not in (0, STOOD_STILL):
        failed("it was not noticed", asking)
    return rc == 0


def main(base):
    wire = new_wire()
    a, b = (Guest(wire, at, base, {}, cpus=1, memory="512M") for at in (1, 2))
    try:
        a.boot()
        b.boot()
        a_host_stops_and_is_cut_off(a, b)
        tries = 1
        while not a_host_vanishes(a, b):
            if tries == TRIES:
                failed("a host that vanished was never seen to")
            tries += 1
            b.boot()
        ok("a host that vanished was noticed within a second")
    except BaseException:
        for guest in (a, b):
            print(f"--- {guest.address}", guest.log(PROGRAM), sep="\n")
        raise
    finally:
        for guest in (a, b):
            guest.close()


if __name__ == "__main__":
    BEGUN = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="aceso-hosts-", ignore_cleanup_errors=True) as place:
        main(place)
    print(f"[  PASSED  ] {done} test(s).")
