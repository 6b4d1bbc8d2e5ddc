"""A pool over ten hosts: five with a memory node each, two that mount it, two with
a coordinator and one with ZooKeeper (without that there is one coordinator). Hosts
are network namespaces (netns.py), everything goes over TCP inside TLS. Cables are
pulled, hosts switched off and stopped, strangers come; what is in the file system
stays, and both mounts see the same."""
import errno
import itertools
import os
import random
import re
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import threading
import time

import pytest

import netns
import netpool
import zookeeper
from conftest import ROOT, SLOW, need_fuse, pattern, wait_for
from test_failover import Work
from test_fencing import WRITER, written

NO_ZOOKEEPER = zookeeper.not_possible()
NODES = 5
CLIENTS = (5, 6)
COORDS = (7,) if NO_ZOOKEEPER else (7, 8)
PORT = 7601  # of nodes; of coordinators one less


class Cluster(netpool.Cluster):
    HOSTS, ZK = (8, None) if NO_ZOOKEEPER else (10, 9)
    NODES, COORDS, CLIENTS = NODES, COORDS, CLIENTS
    # roomy: what a lost client holds back is no use to others until it is shut out
    POOL, CODE, NODE_SIZE = "tank", "3+2", "256M"

    def begin(self):
        super().begin()
        self.a, self.b = self.mnt(0), self.mnt(1)

    def state_of(self, node):
        nodes = self.status()["nodes"]
        return nodes[node]["state"] if len(nodes) > node else "?"

    def whole(self):
        assert wait_for(self.is_full, 90), self.status()

    def same(self):
        done = subprocess.run(["diff", "-r", self.a, self.b], capture_output=True, text=True,
                              timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr

    def who_leads(self):
        """The host whose coordinator does."""
        found = []
        assert wait_for(lambda: found.append(self.leader()) or found[-1], 60), self.net.logs()
        return self.host[found[-1]]


@pytest.fixture(scope="module")
def cluster():
    need_fuse()
    why = netns.not_possible()
    if why:
        pytest.skip(why)
    yield from netpool.lend(Cluster)


@pytest.fixture
def rng(seed):
    return random.Random(seed)


def put(where, name, rng, size=1 << 20):
    data = pattern(rng, size)
    with open(os.path.join(where, name), "wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())
    return data


def get(where, name):
    with open(os.path.join(where, name), "rb") as f:
        return f.read()


@pytest.mark.skipif(NO_ZOOKEEPER is not None, reason=f"one coordinator, as there is {NO_ZOOKEEPER}")
def test_one_of_two_coordinators_leads(cluster):
    assert cluster.who_leads() and sum(map(cluster.leads, COORDS)) == 1


def test_two_hosts_see_one_file_system(cluster, rng):
    shutil.copytree(os.path.join(ROOT, "rdma"), os.path.join(cluster.a, "tree"))
    for i in range(20):
        put(cluster.b, f"tree/made-{i}", rng, rng.randrange(200000))
    cluster.same()
    done = subprocess.run(["diff", "-r", "-x", "made-*", os.path.join(ROOT, "rdma"),
                           os.path.join(cluster.b, "tree")], timeout=300)
    assert done.returncode == 0


def lines_with(text, words):
    return [line for line in text.splitlines() if line.endswith(words)]


@pytest.mark.skipif(os.path.exists("/dev/infiniband"), reason="there is RDMA here")
def test_status_says_why_it_is_tcp(cluster):
    leader = cluster.host[cluster.leader()]
    now, text = cluster.status(), cluster.ask("status").stdout
    kernel = "; kernel TLS" if "kernel TLS" in now["nodes"][0]["why"] else ""
    why = {"nodes": "no RDMA device on this host" + kernel, "clients": "the nodes listen by it",
           "coordinators": "coordinators are reached by TCP"}
    for kind, count in (("nodes", NODES), ("clients", len(CLIENTS)), ("coordinators", len(COORDS))):
        ways = [(peer["transport"], peer["why"]) for peer in now[kind]]
        assert ways == [("tcp", why[kind])] * count, kind
        assert len(lines_with(text, f"  tcp: {why[kind]}") or
                   lines_with(text, f", tcp: {why[kind]}")) == count, text
    assert [c["address"] for c in now["coordinators"]] == \
        [f"tcp:{cluster.host[at].address}:{PORT - 1}" for at in COORDS]
    assert [c["leads"] for c in now["coordinators"]] == \
        [cluster.host[at] is leader for at in COORDS]
    assert "code        3+2 over tcp\n" in text


@pytest.mark.parametrize("which", [(1,), (0, 3)])
def test_hosts_lose_their_cable_and_get_it_back(cluster, rng, which):
    """As many as the code allows: all is read and written meanwhile."""
    before = put(cluster.a, "before", rng, 3 << 20)
    for at in which:
        cluster.host[at].cut()
    data = {f"cut-{i}": put(cluster.a, f"cut-{i}", rng) for i in range(4)}
    assert get(cluster.b, "before") == before
    for name, was in data.items():
        assert get(cluster.b, name) == was
    assert wait_for(lambda: all(cluster.state_of(at) == "down" for at in which), 60)
    for at in which:
        cluster.host[at].heal()
    cluster.whole()
    for name, was in data.items():
        assert get(cluster.a, name) == was
    cluster.same()


def test_a_host_that_comes_back_keeps_its_memory(cluster, rng):
    """Cut off until it is given up, its node begins anew in the same process; what
    is in closed blocks there, and has not changed, is not fetched."""
    host = cluster.host[3]
    data = {f"kept-{i}": put(cluster.a, f"kept-{i}", rng, 4 << 20) for i in range(8)}
    said, pids = len(host.log()), set(host.pids())
    host.cut()
    for i in range(2):
        data[f"kept-{i}"] = put(cluster.b, f"kept-{i}", rng, 4 << 20)
    os.remove(os.path.join(cluster.a, "kept-7"))
    del data["kept-7"]
    assert wait_for(lambda: cluster.state_of(3) == "down", 60)
    host.heal()
    cluster.whole()
    assert wait_for(lambda: "is caught up" in host.log()[said:], 60), host.log()[said:]
    found = re.search(r"caught up: (\d+) MiB kept, (\d+) MiB fetched", host.log()[said:])
    assert int(found[1]) > 0, host.log()[said:]
    told = cluster.status()["nodes"][3]["restored"]
    assert [told["kept"] >> 20, told["fetched"] >> 20] == [int(found[1]), int(found[2])]
    assert set(host.pids()) == pids
    for at in (0, 2):  # what it kept is what is there now
        cluster.host[at].cut()
    for name, was in data.items():
        assert get(cluster.b, name) == was
    for at in (0, 2):
        cluster.host[at].heal()
    cluster.whole()
    cluster.same()


def test_a_host_is_switched_off_and_on(cluster, rng):
    data = put(cluster.a, "off", rng, 2 << 20)
    cluster.host[4].power_off()
    more = put(cluster.b, "while-off", rng, 2 << 20)
    assert get(cluster.b, "off") == data and get(cluster.a, "while-off") == more
    cluster.host[4].heal()
    cluster.serve(cluster.host[4])
    cluster.whole()
    cluster.same()


def test_a_host_that_is_stopped_is_done_without(cluster, rng):
    """It answers nothing, and closes nothing either."""
    cluster.host[2].signal_all(signal.SIGSTOP)
    try:
        data = put(cluster.a, "stopped", rng)
        assert get(cluster.b, "stopped") == data
        assert wait_for(lambda: cluster.state_of(2) == "down", 60)
    finally:
        cluster.host[2].signal_all(signal.SIGCONT)
    cluster.whole()
    cluster.same()


PAIRS = list(itertools.combinations(range(NODES), 2))


def links(cluster):
    """Who of the nodes' hosts is connected to which other one, from, to."""
    found = set()
    for a in range(NODES):
        said = cluster.host[a].run("ss", "-Htn", "state", "established").stdout
        peers = {line.split()[3] for line in said.splitlines()}
        found |= {(a, b) for b in range(NODES)
                  if b != a and f"{cluster.host[b].address}:{PORT}" in peers}
    return found


def test_nodes_that_lose_only_each_other(cluster, rng):
    """All see them but they do not: nobody is taken for dead, and when they are together again
    they work together again, as a later death shows."""
    data = put(cluster.a, "together", rng, 2 << 20)
    assert wait_for(lambda: len(links(cluster)) == 2 * len(PAIRS), 60), links(cluster)
    for pair in PAIRS:
        cluster.net.apart(*pair)
    try:
        assert wait_for(lambda: not links(cluster), 60), links(cluster)
        more = put(cluster.b, "each-alone", rng)
        assert get(cluster.b, "together") == data and get(cluster.a, "each-alone") == more
        assert all(cluster.state_of(at) == "up" for at in range(NODES)), cluster.status()
    finally:
        for pair in PAIRS:
            cluster.net.apart(*pair, parted=False)
    assert wait_for(lambda: len(links(cluster)) == 2 * len(PAIRS), 60), links(cluster)
    cluster.host[1].power_off()
    assert wait_for(lambda: cluster.state_of(1) == "down", 60)
    assert get(cluster.b, "together") == data and get(cluster.a, "each-alone") == more
    put(cluster.a, "and-then", rng)
    cluster.host[1].heal()
    cluster.serve(cluster.host[1])
    cluster.whole()
    cluster.same()


def test_nobody_stops_while_who_leads_is_away(cluster, rng):
    away = cluster.who_leads()
    away.cut()
    time.sleep(1)  # the leases are of two seconds
    data = put(cluster.a, "alone", rng)
    assert get(cluster.b, "alone") == data
    others = [at for at in COORDS if at != away.at]
    if others:
        assert wait_for(lambda: any(map(cluster.leads, others)), 60), cluster.net.logs()
        data = put(cluster.b, "led-by-another", rng)
        assert get(cluster.a, "led-by-another") == data
    away.heal()
    cluster.whole()
    cluster.same()


def test_a_longer_wire(cluster, rng):
    if not cluster.net.delay(3):
        pytest.skip("no netem in this kernel")
    try:
        data = put(cluster.a, "far", rng)
        assert get(cluster.b, "far") == data
    finally:
        cluster.net.delay(0)


# --- clients' hosts ----------------------------------------------------------

LONGEST = 3  # seconds; what the other client may wait for a file on a machine at work


class Busy:
    """Both clients write: one in a process of its own, which notes what it was told is there; how
    the other one fares is measured, in the same folder and in another."""

    def __init__(self, cluster, seed):
        self.cluster, self.took = cluster, None
        self.near = tempfile.mkdtemp(prefix="both-", dir=cluster.a)
        self.far = os.path.join(cluster.b, os.path.basename(self.near))
        self.log = os.path.join(cluster.net.base, os.path.basename(self.near))
        self.job = subprocess.Popen(["/usr/bin/python3", "-c", WRITER, self.far, self.log,
                                     str(seed)], stderr=subprocess.PIPE, text=True)
        self.works = [Work(tempfile.mkdtemp(prefix="own-", dir=cluster.a)), Work(self.near)]

    def under_way(self):
        assert wait_for(lambda: os.path.exists(self.log) and len(written(self.log)) > 20, 60)
        self.go_on()

    def go_on(self):
        for work in self.works:
            work.goes_on()

    def lose(self, how):
        """The process' host; until the pool says that its mount is none any more."""
        begin = time.monotonic()
        how()
        assert wait_for(lambda: len(self.cluster.status()["clients"]) == 1, 60)
        self.took = time.monotonic() - begin

    def seen(self):
        """What the other client sees of the process' files."""
        return {name: get(self.near, name) if os.path.exists(os.path.join(self.near, name)) else None
                for name in (*written(self.log), ".tmp")}

    def is_right(self, seen):
        for name, datas in written(self.log).items():
            assert seen[name] in datas, name

    def ended(self):
        """What the process died of."""
        said = self.job.communicate(timeout=60 * SLOW)[1]
        assert self.job.returncode == 1, said
        return said

    def nobody_waited(self):
        """But for what the lost one was just changing, until it was shut out."""
        own, same = (work.longest for work in self.works)
        print(f"shut out in {self.took:.2f} s; longest file {own:.2f} s, {same:.2f} s beside it")
        assert own < LONGEST * SLOW and same < self.took + LONGEST * SLOW

    def end(self):
        self.job.kill()
        self.job.wait()
        self.job.stderr.close()
        for work in self.works:
            work.stop = True
        for work in self.works:
            work.end()


@pytest.fixture
def busy(cluster, seed):
    made = Busy(cluster, seed)
    try:
        made.under_way()
        yield made
    finally:
        made.end()


def mounts_again(cluster, busy, host):
    """And all is as it was."""
    host.umount()
    host.mount(cluster.POOL)
    assert len(cluster.status()["clients"]) == 2
    busy.go_on()
    busy.end()
    cluster.same()
    busy.nobody_waited()


def test_a_client_is_cut_off_for_longer_than_its_lease(cluster, busy):
    """The other one goes on; the cut one is shut out, and says so when it learns that."""
    host = cluster.host[CLIENTS[1]]
    busy.lose(host.cut)
    seen = busy.seen()
    busy.is_right(seen)
    host.heal()
    assert os.strerror(errno.ENOTCONN) in busy.ended()
    for what in (lambda: put(cluster.b, "late", random), lambda: get(busy.far, ".tmp"),
                 lambda: os.listdir(cluster.b)):
        with pytest.raises(OSError) as told:
            what()
        assert told.value.errno == errno.ENOTCONN
    assert "shut it out: all that it does fails from now on; mount again" in host.log()
    busy.go_on()
    later = busy.seen()
    busy.is_right(later)  # it may have learned last that something had been done
    assert {name: later[name] for name in seen} == seen
    assert not os.path.exists(os.path.join(cluster.a, "late"))
    mounts_again(cluster, busy, host)


def test_a_client_is_switched_off_in_the_middle_of_writes(cluster, busy):
    host = cluster.host[CLIENTS[1]]
    busy.lose(host.power_off)
    busy.ended()
    busy.is_right(busy.seen())
    busy.go_on()
    host.heal()
    mounts_again(cluster, busy, host)


# --- what listens ------------------------------------------------------------


def listens(host, family, column):
    """Where, as ss says."""
    said = host.run("ss", "-Hln", family).stdout
    return [line.split()[column].replace("[::ffff:", "").replace("]", "")  # java's
            for line in said.splitlines()]


def told_of(cluster, host):
    """Where the pool's file says that it is reached. Of coordinators only who leads is."""
    with open(os.path.join(host.base, "conf", f"{cluster.POOL}.conf"), encoding="utf-8") as f:
        found = re.findall(rf"\b{re.escape(host.address)}:\d+", f.read())
    return [] if host.at in COORDS and not cluster.leads(host.at) else found


def sockets(host):
    """All that lie in its folders, and their modes."""
    found = {}
    for folder, _, names in os.walk(host.base):
        if folder.startswith(host.mnt):
            continue
        for path in (os.path.join(folder, name) for name in names):
            mode = os.lstat(path).st_mode
            if stat.S_ISSOCK(mode):
                found[os.path.relpath(path, host.base)] = stat.S_IMODE(mode)
    return found


def test_nothing_listens_but_what_the_file_names(cluster):
    """And one Unix socket of each mount, see docs/security.md."""
    cluster.who_leads()
    for host in cluster.host:
        assert listens(host, "-t", 3) == told_of(cluster, host)
        assert listens(host, "-u", 3) == []
        mine = os.path.join("run", cluster.POOL)
        paths = {f"{mine}/mount.{host.server.pid}.sock": 0o600} if host.server else {}
        assert sockets(host) == paths
        assert len(listens(host, "-x", 4)) == len(paths)
        if host.server:
            found = os.stat(os.path.join(host.base, mine))
            assert stat.S_IMODE(found.st_mode) == 0o711 and found.st_uid == os.getuid()


# --- strangers ---------------------------------------------------------------


def refused(host, where):
    done = host.run("aceso-fuse", "-o", f"pool={Cluster.POOL}", where, check=False)
    assert done.returncode != 0 and not os.path.ismount(where)
    return done.stderr


def test_without_the_key_nobody_is_let_in(cluster, rng):
    """Another key; none at all; one that others may read."""
    host = cluster.host[CLIENTS[0]]
    where = os.path.join(host.base, "second")
    key = os.path.join(host.base, "conf", f"{Cluster.POOL}.key")
    os.makedirs(where, exist_ok=True)
    mine = open(key, encoding="ascii").read()
    try:
        with open(key, "w", encoding="ascii") as f:
            f.write(rng.randbytes(32).hex() + "\n")
        assert "key" in refused(host, where)
        with open(key, "w", encoding="ascii") as f:
            f.write(mine)
        os.chmod(key, 0o644)
        assert "key" in refused(host, where)
        os.unlink(key)
        assert "key" in refused(host, where)
    finally:
        with open(key, "w", encoding="ascii") as f:
            f.write(mine)
        os.chmod(key, 0o600)
    tells_of(cluster.who_leads(), host, "has not the pool's key")
    put(cluster.a, "after-strangers", rng)
    cluster.same()


def tells_of(host, stranger, why, since=0):
    """Its log names whom it sent away, and why, after its first @since letters."""
    line = re.compile(rf"refused a connection from {re.escape(stranger.address)}:\d+: .*{why}")
    assert wait_for(lambda: line.search(host.log()[since:]), 60), host.log()[-3000:]


def say(host, to, data):
    """Connect, say @data, and wait to be hung up on; what was answered."""
    with netns.in_net(host):
        s = socket.create_connection(to, timeout=20)
    heard = b""
    try:
        s.sendall(data)
        while piece := s.recv(65536):
            heard += piece
    except ConnectionError:
        pass
    s.close()
    return heard


def test_noise_is_hung_up_on(cluster, rng):
    host = cluster.host[CLIENTS[1]]
    for i in range(20):
        noise = rng.randbytes(rng.randrange(1, 2000))
        if i % 2:  # the head of a TLS record
            noise = b"\x16\x03\x01" + noise
        say(host, (cluster.host[i % NODES].address, PORT), noise)
    leads = cluster.who_leads()
    say(host, (leads.address, PORT - 1), rng.randbytes(1000))
    for at in (*cluster.host[:NODES], leads):
        tells_of(at, host, "has not the pool's key")
    put(cluster.a, "after-noise", rng)
    assert cluster.is_full()
    cluster.same()


def test_a_log_is_not_filled_by_strangers(cluster, rng):
    """A hundred of them, a handful of lines, and their number."""
    at, host = cluster.host[1], cluster.host[CLIENTS[1]]
    # what is said of those before comes late
    before = -1
    while before != at.log().count("refused a connection"):
        before = at.log().count("refused a connection")
        time.sleep(2)
    begun = time.monotonic()
    for _ in range(100):
        say(host, (at.address, PORT), rng.randbytes(100))
    # at most 8 lines in each 5 s, however long that took (kv/log.h)
    seconds = time.monotonic() - begun
    assert at.log().count("refused a connection") - before <= 8 * (2 + seconds / 5)


def test_what_was_said_before_is_worth_nothing(cluster, rng):
    """A whole conversation of a client that was let in, said again."""
    host = cluster.host[CLIENTS[0]]
    heard, answered = record(cluster, host)
    assert len(heard) > 300 and answered  # it was let in
    leads = cluster.who_leads()
    said = len(leads.log())
    again = say(host, (leads.address, PORT - 1), heard)
    assert len(again) < len(answered)  # a hello and an alert, no welcome
    tells_of(leads, host, "has not the pool's key", said)
    put(cluster.a, "after-replay", rng)
    assert cluster.is_full()
    cluster.same()


def record(cluster, host):
    """What a tool and the coordinator say to each other, by way of us: the tool goes by a
    file that names us in its place. (what it said, what it was told)"""
    coord = (cluster.who_leads().address, PORT - 1)
    said, told = bytearray(), bytearray()
    with netns.in_net(host):
        listener = socket.create_server((host.address, 0))

    def carry(a, b, keep):
        try:
            while piece := a.recv(65536):
                keep.extend(piece)
                b.sendall(piece)
            b.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def serve(first=True):
        try:
            while True:
                near, _ = listener.accept()
                with netns.in_net(host):
                    far = socket.create_connection(coord, timeout=20)
                far.settimeout(None)
                keep = (said, told) if first else (bytearray(), bytearray())
                first = False
                for args in ((near, far, keep[0]), (far, near, keep[1])):
                    threading.Thread(target=carry, args=args, daemon=True).start()
        except OSError:
            pass  # closed

    threading.Thread(target=serve, daemon=True).start()
    other = os.path.join(host.base, "other")
    os.makedirs(other, exist_ok=True)
    for part in ("conf", "key"):
        shutil.copy2(os.path.join(host.base, "conf", f"{Cluster.POOL}.{part}"), other)
    conf = os.path.join(other, f"{Cluster.POOL}.conf")
    text = open(conf, encoding="utf-8").read()
    with open(conf, "w", encoding="utf-8") as f:
        f.write(text.replace(f"{coord[0]}:{coord[1]}", f"{host.address}:{listener.getsockname()[1]}"))
    done = subprocess.run(host.argv("aceso", "-p", Cluster.POOL, "status"), text=True, timeout=60,
                          env=host.env(ACESO_CONF_DIR=other), capture_output=True)
    assert done.returncode == 0, done.stderr
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    return bytes(said), bytes(told)
