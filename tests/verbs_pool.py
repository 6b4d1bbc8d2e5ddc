#!/usr/bin/python3
"""verbs_pool.py - a pool of five nodes with a mount, over RDMA: in the guest of rdma-vm.sh.

    tests/rdma-vm.sh tests/verbs_pool.py BIN

What is copied in comes out, also while nodes are killed; fio verifies what it wrote. All is
slow there (nothing but emulation), so it is little, and deadlines are long."""
import filecmp
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

BIN, HOST, NODES = os.path.abspath(sys.argv[1]), "10.77.0.1", 5
PATIENCE = 240


def run(*args, check=True, timeout=PATIENCE):
    done = subprocess.run(args, text=True, capture_output=True, timeout=timeout)
    if check and done.returncode != 0:
        raise SystemExit(f"{' '.join(args)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def aceso(*args, **kw):
    return run(os.path.join(BIN, "aceso"), *args, **kw)


def status():
    text = aceso("-p", "v", "status", "--json", check=False).stdout
    return json.loads(text) if text else {"redundancy": "no answer", "nodes": []}


def wait(what, why):
    end = time.monotonic() + PATIENCE
    while not what():
        if time.monotonic() > end:
            raise SystemExit(f"waited {PATIENCE} s for {why}\n{aceso('status', check=False).stdout}")
        time.sleep(0.5)


def ok(what):
    print(f"[       OK ] {what} ({time.monotonic() - BEGUN:.0f} s)", flush=True)


def fill(where):
    os.mkdir(where)
    dice = random.Random(4711)
    for i, size in enumerate([0, 1, 4097, 70000, 1 << 20, 3 << 20]):
        with open(os.path.join(where, f"f{i}"), "wb") as f:
            f.write(dice.randbytes(size))


def same(a, b):
    names = sorted(os.listdir(a))
    match, differ, bad = filecmp.cmpfiles(a, b, names, shallow=False)
    if sorted(match) != names:
        raise SystemExit(f"{b} differs from {a}: {differ} {bad}")


def main(base):
    os.environ.update(ACESO_CONF_DIR=base + "/etc", ACESO_RUNTIME_DIR=base + "/run",
                      ACESO_STATE_DIR=base + "/state", ACESO_CONF="/dev/null")
    os.mkdir(base + "/state")
    aceso("pool", "create", "v", "--nodes", ",".join([HOST] * NODES), "--node-size", "160M",
          "--lease-ms", "10000")
    log = open(base + "/log", "w", encoding="utf-8")
    server = subprocess.Popen([BIN + "/aceso", "pool", "serve", "v"], stderr=log, stdout=log)
    mnt = base + "/mnt"
    os.mkdir(mnt)
    try:
        play(base, mnt)
        run("umount", mnt)
        server.send_signal(signal.SIGTERM)
        if server.wait(PATIENCE) != 0:
            raise SystemExit("aceso pool serve did not end well")
        ok("ended")
    except BaseException:
        with open(base + "/log", encoding="utf-8") as f:
            print(f.read())
        raise


def play(base, mnt):
    wait(lambda: status()["redundancy"] == "full", "the pool")
    ways = {(n["transport"], n["why"]) for n in status()["nodes"]}
    if ways != {("verbs", "there is an RDMA device")}:
        raise SystemExit(f"auto should be RDMA here: {ways}")
    ok("formed, over RDMA by itself")
    run(BIN + "/aceso-fuse", "-o", "pool=v", mnt)
    fill(base + "/tree")
    shutil.copytree(base + "/tree", mnt + "/a")
    same(base + "/tree", mnt + "/a")
    ok("copied and compared")
    was = [n["pid"] for n in status()["nodes"]]
    os.kill(was[1], signal.SIGKILL)
    os.kill(was[3], signal.SIGKILL)
    shutil.copytree(base + "/tree", mnt + "/b")
    same(base + "/tree", mnt + "/a")
    same(base + "/tree", mnt + "/b")
    ok("copied and compared while two nodes were away")
    wait(lambda: status()["redundancy"] == "full" and
         status()["nodes"][1]["pid"] not in (0, was[1]), "full redundancy")
    ok("two nodes came back")
    os.kill(was[0], signal.SIGKILL)
    same(base + "/tree", mnt + "/a")
    same(base + "/tree", mnt + "/b")
    ok("what they were given back is right")
    wait(lambda: status()["redundancy"] == "full", "full redundancy")
    run("fio", "--name=v", "--directory=" + mnt, "--rw=randrw", "--bs=16k", "--size=4m",
        "--ioengine=psync", "--verify=crc32c", "--verify_fatal=1", timeout=300)
    ok("fio verified")


if __name__ == "__main__":
    BEGUN = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="aceso-verbs-", ignore_cleanup_errors=True) as place:
        main(place)
    print("[  PASSED  ] 7 test(s).")
