"""ZooKeeper on a host of its own. Hosts are network namespaces (netns.py): three
with a memory node, two with a coordinator, one with ZooKeeper, one that mounts.
ZooKeeper's cable is pulled: nothing stops while nobody fails. The coordinator
that leads is parted from ZooKeeper, and from nothing else: it steps back before
the other one takes over."""
import json
import os
import re
import shutil
import signal
import subprocess
import time

import pytest

import netns
from conftest import SLOW, need_fuse, wait_for
from test_failover import JAR, Work

POOL = "zoo"
NODES = 3
COORDS = (3, 4)
ZK, CLIENT = 5, 6
ZK_PORT = 2181


class Cluster(netns.Cluster):
    def __init__(self):
        super().__init__(7)

    def begin(self):
        self.start_zookeeper()
        first = self.host[COORDS[0]]
        first.run("aceso", "pool", "create", POOL, "--code", "2+1", "--node-size", "96M",
                  "--nodes", ",".join(h.address for h in self.host[:NODES]),
                  "--coordinators", ",".join(self.host[at].address for at in COORDS),
                  "--zookeeper", f"{self.host[ZK].address}:{ZK_PORT}")
        for h in self.host:
            if h is not first:
                self.give_files(POOL, first, h)
        for h in (*self.host[:NODES], *(self.host[at] for at in COORDS)):
            h.start("serve", "aceso", "pool", "serve", POOL)
        assert wait_for(self.is_full, 90), self.net.logs()
        self.host[CLIENT].mount(POOL)
        self.mnt = self.host[CLIENT].mnt

    def start_zookeeper(self):
        zk = self.host[ZK]
        data = os.path.join(zk.base, "state", "zk")
        os.makedirs(data, exist_ok=True)
        conf = os.path.join(zk.base, "zoo.cfg")
        with open(conf, "w", encoding="ascii") as f:
            f.write(f"tickTime=500\ndataDir={data}\nclientPort={ZK_PORT}\n"
                    f"clientPortAddress={zk.address}\nadmin.enableServer=false\n"
                    "maxSessionTimeout=20000\n")
        zk.start("zookeeper", "java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
                 "-cp", "/etc/zookeeper/conf:" + JAR,
                 "org.apache.zookeeper.server.ZooKeeperServerMain", conf)
        probe = f"exec 3<>/dev/tcp/{zk.address}/{ZK_PORT}"
        assert wait_for(lambda: zk.run("bash", "-c", probe, check=False).returncode == 0, 60), \
            zk.log()

    def status(self, *at):
        """Of who leads, or of the coordinator on host @at."""
        host = self.host[CLIENT]
        env = host.env(ACESO_CONF_DIR=self.only(at[0])) if at else host.env()
        try:
            done = subprocess.run(host.argv("aceso", "-p", POOL, "status", "--json"), env=env,
                                  text=True, capture_output=True, timeout=60 * SLOW)
        except subprocess.TimeoutExpired:
            return {"redundancy": "?", "nodes": [], "leads": False}
        return json.loads(done.stdout) if done.stdout else {"redundancy": "?", "nodes": [],
                                                            "leads": False}

    def only(self, at):
        """A configuration that knows of no other coordinator."""
        where = os.path.join(self.host[CLIENT].base, f"only-{at}")
        if not os.path.exists(where):
            shutil.copytree(os.path.join(self.host[CLIENT].base, "conf"), where)
            name = os.path.join(where, f"{POOL}.conf")
            text = open(name, encoding="utf-8").read()
            with open(name, "w", encoding="utf-8") as f:
                f.write(re.sub(r"(?ms)^\[coordinators\].*?(?=^\[|\Z)",
                               f"[coordinators]\n0 = {self.host[at].address}\n\n", text))
        return where

    def scrub(self, *order):
        """As a host does in whose file the coordinators stand in that order."""
        host = self.host[CLIENT]
        where = os.path.join(host.base, "order-" + "-".join(map(str, order)))
        shutil.copytree(os.path.join(host.base, "conf"), where)
        name = os.path.join(where, f"{POOL}.conf")
        text = open(name, encoding="utf-8").read()
        lines = "".join(f"{i} = {self.host[at].address}\n" for i, at in enumerate(order))
        with open(name, "w", encoding="utf-8") as f:
            f.write(re.sub(r"(?ms)^\[coordinators\].*?(?=^\[|\Z)",
                           f"[coordinators]\n{lines}\n", text))
        return subprocess.run(host.argv("aceso", "-p", POOL, "scrub", "start", "--wait"),
                              env=host.env(ACESO_CONF_DIR=where), text=True,
                              capture_output=True, timeout=120 * SLOW)

    def leads(self, at):
        return self.status(at)["leads"]

    def leader(self):
        return next((at for at in COORDS if self.leads(at)), None)

    def apart(self, at, parted=True):
        self.net.apart(at, ZK, parted)


@pytest.fixture(scope="module")
def cluster():
    need_fuse()
    why = netns.not_possible()
    if why is None and (shutil.which("java") is None or not os.path.exists(JAR)):
        why = "no ZooKeeper server here: zookeeper, default-jre-headless"
    if why:
        pytest.skip(why)
    yield from netns.lend(Cluster)


@pytest.fixture
def work(cluster):
    made = Work(os.path.join(cluster.mnt, "work"))
    yield made
    made.end()


def mends_itself(cluster, work, which):
    """Somebody leads: a node whose process dies is replaced."""
    assert wait_for(lambda: cluster.is_full() and
                    all(n["pid"] for n in cluster.status()["nodes"]), 90), cluster.net.logs()
    was = cluster.status()["nodes"][which]["pid"]
    os.kill(was, signal.SIGKILL)
    work.goes_on()
    assert wait_for(lambda: cluster.is_full() and
                    cluster.status()["nodes"][which]["pid"] not in (0, was), 90), \
        cluster.net.logs()


def test_nothing_stops_while_zookeeper_is_out_of_reach(cluster, work):
    work.goes_on()
    cluster.host[ZK].cut()
    try:
        end = time.monotonic() + 10  # longer than a session, and many leases
        while time.monotonic() < end:
            work.goes_on(5)
        assert wait_for(lambda: cluster.leader() is None, 60)
        work.goes_on()
    finally:
        cluster.host[ZK].heal()
    assert wait_for(cluster.leader, 90), cluster.net.logs()
    mends_itself(cluster, work, 1)


def test_who_cannot_reach_zookeeper_steps_back_first(cluster, work):
    assert wait_for(cluster.leader, 90), cluster.net.logs()
    was = cluster.leader()
    other = next(at for at in COORDS if at != was)
    cluster.apart(was)
    try:
        # whenever the other says that it leads, this one has left off before
        assert wait_for(lambda: cluster.leads(other), 90), cluster.net.logs()
        assert not cluster.leads(was)
        work.goes_on(20)
        for order in ((was, other), (other, was)):
            done = cluster.scrub(*order)
            assert done.returncode == 0, done.stderr + cluster.net.logs()
            assert cluster.status(other)["scrub"]["state"] == "done"
        mends_itself(cluster, work, 2)
    finally:
        cluster.apart(was, False)
    work.goes_on()
    assert wait_for(cluster.is_full, 90), cluster.net.logs()


def test_a_longer_wire_to_zookeeper(cluster, work):
    if not cluster.net.delay(20):
        pytest.skip("no netem in this kernel")
    try:
        work.goes_on(5)
        assert wait_for(cluster.leader, 90), cluster.net.logs()
    finally:
        cluster.net.delay(0)
