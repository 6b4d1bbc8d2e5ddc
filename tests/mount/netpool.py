"""A pool over hosts that are network namespaces (netns.py): made, served, asked."""
import json
import os
import re
import shutil
import subprocess

import netns
import zookeeper
from conftest import SLOW, wait_for

ZK_PORT = 2181
UNKNOWN = {"redundancy": "?", "nodes": [], "clients": [], "leads": False}


class Cluster:
    """An heir says how many hosts there are and which have what: the first NODES a memory node
    each, COORDS a coordinator, ZK (or None) ZooKeeper; CLIENTS mount it."""
    HOSTS, NODES, COORDS, ZK, CLIENTS = 0, 0, (), None, ()
    POOL, CODE, NODE_SIZE = "", "", "96M"

    def __init__(self):
        self.net = netns.Net(self.HOSTS)
        self.host = self.net.host
        try:
            self.begin()
        except BaseException:
            print(self.net.logs())
            self.net.close()
            raise

    def begin(self):
        words = self.start_zookeeper() if self.ZK is not None else ()
        first = self.host[self.COORDS[0]]
        first.run("aceso", "pool", "create", self.POOL, "--code", self.CODE,
                  "--node-size", self.NODE_SIZE,
                  "--nodes", ",".join(h.address for h in self.host[:self.NODES]),
                  "--coordinators", ",".join(self.host[at].address for at in self.COORDS), *words)
        for h in self.host:
            if h is not first:
                self.give_files(first, h)
        for h in (*self.host[:self.NODES], *(self.host[at] for at in self.COORDS)):
            self.serve(h)
        assert wait_for(self.is_full, 90), self.net.logs()
        for at in self.CLIENTS:
            self.host[at].mount(self.POOL)

    def start_zookeeper(self):
        """What a pool is told of it."""
        zk = self.host[self.ZK]
        zk.start("zookeeper", *zookeeper.server(os.path.join(zk.base, "state"), zk.address,
                                                ZK_PORT))
        with netns.in_net(zk):
            assert wait_for(lambda: zookeeper.answers(zk.address, ZK_PORT), 60), zk.log()
        return "--zookeeper", f"{zk.address}:{ZK_PORT}"

    def give_files(self, giver, host):
        for part in ("conf", "key"):
            name = os.path.join("conf", f"{self.POOL}.{part}")
            shutil.copy2(os.path.join(giver.base, name), os.path.join(host.base, name))

    def serve(self, host):
        host.start("serve", "aceso", "pool", "serve", self.POOL)

    def mnt(self, client):
        return self.host[self.CLIENTS[client]].mnt

    def ask(self, *words, coords=()):
        """What a client's tool says; @coords: it has a file with these coordinators, in that
        order."""
        host = self.host[self.CLIENTS[0]]
        env = host.env(ACESO_CONF_DIR=self.knows_of(coords)) if coords else host.env()
        return subprocess.run(host.argv("aceso", "-p", self.POOL, *words), env=env, text=True,
                              capture_output=True, timeout=120 * SLOW)

    def knows_of(self, coords):
        base = self.host[self.CLIENTS[0]].base
        where = os.path.join(base, "knows-" + "-".join(map(str, coords)))
        if not os.path.exists(where):
            shutil.copytree(os.path.join(base, "conf"), where)
            name = os.path.join(where, f"{self.POOL}.conf")
            text = open(name, encoding="utf-8").read()
            lines = "".join(f"{i} = {self.host[at].address}\n" for i, at in enumerate(coords))
            with open(name, "w", encoding="utf-8") as f:
                f.write(re.sub(r"(?ms)^\[coordinators\].*?(?=^\[|\Z)",
                               f"[coordinators]\n{lines}\n", text))
        return where

    def status(self, *coords):
        """Of who leads; or of the one coordinator said."""
        try:
            done = self.ask("status", "--json", coords=coords)
        except subprocess.TimeoutExpired:
            return UNKNOWN
        return json.loads(done.stdout) if done.stdout else UNKNOWN

    def is_full(self):
        return self.status()["redundancy"] == "full"

    def leads(self, at):
        return self.status(at)["leads"]

    def leader(self):
        return next((at for at in self.COORDS if self.leads(at)), None)


def lend(kind):
    """For a fixture: a cluster of @kind, and nothing left of it afterwards."""
    made = kind()
    try:
        yield made
    finally:
        print(made.net.logs())
        made.net.close()
    assert netns.left_behind(made.net) == []
