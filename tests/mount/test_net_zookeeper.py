"""ZooKeeper on a host of its own. Hosts are network namespaces (netpool.py): three
with a memory node, two with a coordinator, one with ZooKeeper, one that mounts.
ZooKeeper's cable is pulled: nothing stops while nobody fails. The coordinator
that leads is parted from ZooKeeper, and from nothing else: it steps back before
the other one takes over."""
import os
import time

import pytest

import netns
import netpool
import zookeeper
from conftest import need_fuse, wait_for
from test_failover import Work, replaces


class Cluster(netpool.Cluster):
    HOSTS, NODES, COORDS, ZK, CLIENTS = 7, 3, (3, 4), 5, (6,)
    POOL, CODE = "zoo", "2+1"

    def apart(self, at, parted=True):
        self.net.apart(at, self.ZK, parted)


@pytest.fixture(scope="module")
def cluster():
    need_fuse()
    why = netns.not_possible() or zookeeper.not_possible()
    if why:
        pytest.skip(why)
    yield from netpool.lend(Cluster)


@pytest.fixture
def work(cluster):
    made = Work(os.path.join(cluster.mnt(0), "work"))
    yield made
    made.end()


def test_nothing_stops_while_zookeeper_is_out_of_reach(cluster, work):
    work.goes_on()
    cluster.host[cluster.ZK].cut()
    try:
        end = time.monotonic() + 10  # longer than a session, and many leases
        while time.monotonic() < end:
            work.goes_on(5)
        assert wait_for(lambda: cluster.leader() is None, 60)
        work.goes_on()
    finally:
        cluster.host[cluster.ZK].heal()
    assert wait_for(cluster.leader, 90), cluster.net.logs()
    replaces(cluster, work, 1)


def test_who_cannot_reach_zookeeper_steps_back_first(cluster, work):
    assert wait_for(cluster.leader, 90), cluster.net.logs()
    was = cluster.leader()
    other = next(at for at in cluster.COORDS if at != was)
    cluster.apart(was)
    try:
        # whenever the other says that it leads, this one has left off before
        assert wait_for(lambda: cluster.leads(other), 90), cluster.net.logs()
        assert not cluster.leads(was)
        work.goes_on(20)
        for order in ((was, other), (other, was)):
            done = cluster.ask("scrub", "start", "--wait", coords=order)
            assert done.returncode == 0, done.stderr + cluster.net.logs()
            assert cluster.status(other)["scrub"]["state"] == "done"
        replaces(cluster, work, 2)
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
