#!/usr/bin/python3
"""verbs_pool.py - a pool of five nodes with a mount, over RDMA: in the guest of rdma-vm.sh.

    tests/rdma-vm.sh tests/verbs_pool.py BIN

What is copied in comes out, also while nodes are killed; fio verifies what it wrote while two
died; the doctor knows who listens, and a host without RDMA is refused; in the end nothing is left,
neither processes nor anything of the adapter's. All is slow there (nothing but emulation), so it
is little, and deadlines are long."""
import glob
import json
import mmap
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

BIN, HOST, NODES = os.path.abspath(sys.argv[1]), "10.77.0.1", 5
PATIENCE = 240
TREE = "/usr/include/asm-generic"
FIO = ["fio", "--name=v", "--thread", "--rw=randwrite", "--bs=16k", "--size=4m", "--ioengine=psync",
       "--verify=crc32c", "--verify_fatal=1", "--time_based", "--runtime=15"]
done = 0


def run(*args, check=True, timeout=PATIENCE):
    it = subprocess.run(args, text=True, capture_output=True, timeout=timeout)
    if check and it.returncode != 0:
        raise SystemExit(f"{' '.join(args)}: {it.returncode}\n{it.stdout}{it.stderr}")
    return it


def aceso(*args, **kw):
    return run(os.path.join(BIN, "aceso"), *args, **kw)


def status():
    it = aceso("-p", "v", "status", "--json", check=False)
    return json.loads(it.stdout) if it.stdout else {"redundancy": it.stderr, "nodes": []}


def pids():
    """Of the nodes' processes. One answer may come too late where all is this slow."""
    nodes = []
    wait(lambda: nodes.extend(status()["nodes"]) or nodes, "an answer")
    return [n["pid"] for n in nodes]


def wait(what, why):
    end = time.monotonic() + PATIENCE
    while not what():
        if time.monotonic() > end:
            told = aceso("-p", "v", "status", check=False)
            raise SystemExit(f"waited {PATIENCE} s for {why}\n{told.stdout}{told.stderr}")
        time.sleep(0.3)


def ok(what):
    global done
    done += 1
    print(f"[       OK ] {what} ({time.monotonic() - BEGUN:.0f} s)", flush=True)


def adapter():
    """What of the adapter is in use: queue pairs, regions, connections."""
    return run("rdma", "resource", "show").stdout


def huge_pages():
    """For two nodes and a half."""
    with open("/proc/sys/vm/nr_hugepages", "w", encoding="utf-8") as f:
        f.write("200")


def of_pool():
    """The pool's processes that run."""
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as f:
                words = f.read().split(b"\0")
        except OSError:
            continue
        if os.path.basename(words[0]).startswith(b"aceso"):
            found.append(b" ".join(words).decode())
    return found


def shoot(*which):
    """kill -9 of these nodes at once; who they were."""
    now = pids()
    was = {n: now[n] for n in which}
    for pid in was.values():
        os.kill(pid, signal.SIGKILL)
    return was


def replaced(was):
    """Others are in their places, and nothing is missing any more."""
    now = status()
    return now["redundancy"] == "full" and all(
        now["nodes"][n]["pid"] not in (0, pid) for n, pid in was.items())


def same(*copies):
    with open("/proc/sys/vm/drop_caches", "w", encoding="utf-8") as f:
        f.write("3")
    for copy in copies:
        run("diff", "-r", TREE, copy)


def fio_with_kills(mnt):
    """fio writes and verifies, round after round; two nodes die meanwhile."""
    fio = subprocess.Popen([*FIO, "--directory=" + mnt], text=True, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT)
    file = mnt + "/v.0.0"
    wait(lambda: fio.poll() is not None or
         (os.path.exists(file) and os.stat(file).st_size == 4 << 20), "fio's file")
    was = shoot(1, 3)
    if fio.poll() is not None:
        raise SystemExit(f"fio had ended: {fio.communicate()[0]}")
    said = fio.communicate(timeout=PATIENCE)[0]
    if fio.returncode != 0 or not re.search(r"err= 0\b", said):
        raise SystemExit(f"fio: {fio.returncode}\n{said}")
    ok("fio verified what it wrote while two nodes were killed")
    return was


def counted():
    """What the one mount has counted; as pids()."""
    mounts = []

    def told():
        it = aceso("-p", "v", "stats", "--json", check=False)
        if it.returncode == 0:
            mounts.extend(json.loads(it.stdout)["mounts"])
        return mounts

    wait(told, "the mount's counters")
    return mounts[0]["stats"]


def mostly_direct(what, before):
    """Of the operations on pages since then most had no copy."""
    now = counted()
    ops = now[what]["ops"] - before[what]["ops"]
    direct = now["direct"] - before["direct"]
    if not ops or direct < 0.8 * ops:
        raise SystemExit(f"{what}: {direct} of {ops} operations without a copy")
    print(f"{what}: {direct} of {ops} operations without a copy")


def in_place(mnt):
    """A large file's bytes go between FUSE's buffers and the adapter."""
    data = os.urandom(8 << 20)
    before = counted()
    fd = os.open(mnt + "/large", os.O_CREAT | os.O_RDWR | os.O_DIRECT)
    with mmap.mmap(-1, len(data)) as memory:
        memory.write(data)
        for at in range(0, len(data), 1 << 20):
            os.pwrite(fd, memoryview(memory)[at:at + (1 << 20)], at)
    os.close(fd)
    mostly_direct("page_write", before)
    with open("/proc/sys/vm/drop_caches", "w", encoding="utf-8") as f:
        f.write("3")
    before = counted()
    with open(mnt + "/large", "rb") as f:
        if f.read() != data:
            raise SystemExit("the large file has other bytes")
    mostly_direct("page_read", before)
    os.unlink(mnt + "/large")
    ok("a large file was written and read without a copy")


def doctor(*before, pool="v"):
    """What it found of the pool, by check."""
    it = run(*before, BIN + "/aceso", "doctor", "--json", "--pool", pool, check=False)
    return {f["check"]: f for f in json.loads(it.stdout)["findings"]}


def expect(what, why):
    if not what:
        raise SystemExit(f"not as it should be: {why}")


def timed(what, *args, **kw):
    begun = time.monotonic()
    return what(*args, **kw), time.monotonic() - begun


def host_that_is_away(base):
    """It takes its time once, and that is not an adapter's."""
    with open(base + "/etc/v.conf", encoding="utf-8") as f:
        text = f.read().replace("name = v", "name = x").replace(HOST + ":7604", "10.77.0.99:7604")
    with open(base + "/etc/x.conf", "w", encoding="utf-8") as f:
        f.write(text)
    _, usual = timed(doctor)
    found, took = timed(doctor, pool="x")
    expect(found["node-3"]["verdict"] == "warn" and "no answer" in found["node-3"]["found"], found)
    expect(not {"nodes", "node-0", "node-4", "transport"} & set(found), found)
    expect(took < usual + 3, f"{took} s, where {usual} s is usual")
    os.unlink(base + "/etc/x.conf")
    ok(f"a host that is away takes the doctor {took - usual:.1f} s")


def examined(base, server):
    found = doctor()
    expect(found["nodes"]["verdict"] == found["pool"]["verdict"] == "ok", found)
    ok("the doctor finds the pool healthy")
    host_that_is_away(base)
    server.send_signal(signal.SIGSTOP)  # it would start another
    was = shoot(2)
    found = doctor()
    server.send_signal(signal.SIGCONT)
    expect(found["node-2"]["verdict"] == "warn", found)
    expect("nothing listens there" in found["node-2"]["found"], found)
    expect(not {"nodes", "node-0", "node-1", "node-3", "node-4", "transport"} & set(found), found)
    wait(lambda: replaced(was), "another node, and full redundancy")
    ok("the doctor names the node that was killed")


def without_rdma(base):
    """As on a host that has none: a namespace from where no device leads to the nodes."""
    there = ["ip", "netns", "exec", "w"]
    for words in ("ip netns add w", "ip link add w0 type veth peer name w1 netns w",
                  "ip addr add 10.78.0.1/24 dev w0", "ip link set w0 up"):
        run(*words.split())
    for words in ("ip addr add 10.78.0.2/24 dev w1", "ip link set w1 up", "ip link set lo up",
                  "ip route add 10.77.0.0/24 via 10.78.0.1"):
        run(*there, *words.split())
    os.mkdir(base + "/none")
    words = ("node-", "listens by RDMA", "transport = tcp")
    for args in (["aceso-fuse", "-o", "pool=v", base + "/none"], ["aceso", "-p", "v", "get", "k"],
                 ["aceso-node", "--pool", "v", "--id", "2", "--foreground"]):
        it, took = timed(run, *there, BIN + "/" + args[0], *args[1:], check=False)
        expect(it.returncode != 0 and all(w in it.stderr for w in words), (args, it))
        expect(took < 5, f"{args[0]}: refused after {took} s")
    expect("full" in run(*there, BIN + "/aceso", "-p", "v", "status").stdout, "the status")
    found = doctor(*there)["transport"]
    expect(found["verdict"] == "fail" and f"{NODES} of {NODES} nodes" in found["found"], found)
    run("ip", "netns", "del", "w")
    ok("a host without RDMA is told so")


def among_others(base):
    """Nodes that serve over TCP may be of hosts that have nothing else."""
    aceso("pool", "create", "w", "--nodes", HOST + "," + HOST, "--code", "1+1", "--node-size", "64M",
          "--coordinators", HOST + ":7700", "--transport", "tcp")
    conf = base + "/etc/w.conf"
    with open(conf, encoding="utf-8") as f:
        text = f.read().replace(":7601", ":7701").replace(":7602", ":7702")
    servers = []

    def serve(transport, what):
        with open(conf, "w", encoding="utf-8") as f:
            f.write(text.replace("transport = tcp", "transport = " + transport))
        servers.append(subprocess.Popen([BIN + "/aceso", "pool", "serve", "w", "--only", what]))

    def nodes():
        it = aceso("-p", "w", "status", "--json", check=False)
        return json.loads(it.stdout)["nodes"] if it.stdout else []

    serve("tcp", "coordinator,node:0")
    wait(lambda: [n["state"] for n in nodes()] == ["coming", "down"], "the first node")
    serve("auto", "node:1")
    wait(lambda: [n["state"] for n in nodes()] == ["up", "up"], "the other node")
    ways = [(n["transport"], n["why"].split("; ")[0]) for n in nodes()]
    expect(ways == [("tcp", "the pool's file says so"), ("tcp", "the other nodes use it")], ways)
    for server in servers:
        server.send_signal(signal.SIGTERM)
    for server in servers:
        expect(server.wait(PATIENCE) == 0, "the end")
    ok("a node does as those that serve already")


def says_verbs():
    """Of the nodes and the mount; coordinators listen by TCP alone."""
    now, text = {}, []

    def told():
        now.update(status())
        text.append(aceso("-p", "v", "status", check=False).stdout)
        return "clients" in now and text[-1]

    wait(told, "an answer")
    ways = {kind: [(peer["transport"], peer["why"]) for peer in now.get(kind, ())]
            for kind in ("clients", "coordinators")}
    expect(ways == {"clients": [("verbs", "the nodes listen by it")],
                    "coordinators": [("tcp", "coordinators are reached by TCP")]}, ways)
    expect(now["nodes_transport"] == "verbs", now["nodes_transport"])
    expect("code        3+2 over verbs\n" in text[-1], text[-1])
    ok("the status says who is reached by RDMA")


def play(base, mnt, server):
    wait(lambda: status()["redundancy"] == "full", "the pool")
    ways = [(n["transport"], n["why"].split("; ")) for n in status()["nodes"]]
    if any(way != "verbs" or why[0] != "there is an RDMA device" for way, why in ways):
        raise SystemExit(f"auto should be RDMA here: {ways}")
    ok("formed, over RDMA by itself")
    pages = sorted(why[1] for _, why in ways)
    if pages != ["huge pages"] * 2 + ["small pages"] * 3:
        raise SystemExit(f"two nodes should have huge pages: {ways}")
    ok("as many nodes as there is room for have huge pages")
    examined(base, server)
    without_rdma(base)
    among_others(base)
    run(BIN + "/aceso-fuse", "-o", "pool=v", mnt)
    says_verbs()
    run("cp", "-r", TREE, mnt + "/a")
    same(mnt + "/a")
    ok("copied and compared")
    in_place(mnt)
    was = fio_with_kills(mnt)
    same(mnt + "/a")
    run("cp", "-r", TREE, mnt + "/b")
    wait(lambda: replaced(was), "two other nodes, and full redundancy")
    same(mnt + "/a", mnt + "/b")
    ok("two nodes came back")
    was = shoot(0, 4)
    same(mnt + "/a", mnt + "/b")
    ok("what they were given back is right")
    wait(lambda: replaced(was), "full redundancy")
    ok("two more came back")


def main(base):
    os.environ.update(ACESO_CONF_DIR=base + "/etc", ACESO_RUNTIME_DIR=base + "/run",
                      ACESO_STATE_DIR=base + "/state", ACESO_CONF="/dev/null")
    os.mkdir(base + "/state")
    used = adapter()
    huge_pages()
    aceso("pool", "create", "v", "--nodes", ",".join([HOST] * NODES), "--node-size", "160M",
          "--lease-ms", "10000")
    log = open(base + "/log", "w", encoding="utf-8")
    server = subprocess.Popen([BIN + "/aceso", "pool", "serve", "v"], stderr=log, stdout=log)
    mnt = base + "/mnt"
    os.mkdir(mnt)
    try:
        play(base, mnt, server)
        run("umount", mnt)
        wait(lambda: not any("aceso-fuse" in line for line in of_pool()), "the mount's end")
        server.send_signal(signal.SIGTERM)
        if server.wait(PATIENCE) != 0:
            raise SystemExit("aceso pool serve did not end well")
        if of_pool():
            raise SystemExit(f"left behind: {of_pool()}")
        wait(lambda: adapter() == used, f"the adapter to be as before: {used}")
        ok("ended, nothing is left")
    except BaseException:
        with open(base + "/log", encoding="utf-8") as f:
            print(f.read())
        raise


if __name__ == "__main__":
    BEGUN = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="aceso-verbs-", ignore_cleanup_errors=True) as place:
        main(place)
    print(f"[  PASSED  ] {done} test(s).")
