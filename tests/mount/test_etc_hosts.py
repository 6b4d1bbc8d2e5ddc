"""What Debian writes into /etc/hosts, "127.0.1.1 alpha", on alpha itself: a pool's host that is
called so must not be met there, or nobody else meets it. Hosts are namespaces (netns.py), each
with an /etc/hosts of its own."""
import json
import os
import re
import shutil
import subprocess

import pytest

import netns
from conftest import wait_for

NAMES = ("alpha", "beta", "gamma")


class Host(netns.Host):
    """One that has an /etc/hosts."""

    def become(self, name):
        self.name, self.hosts = name, os.path.join(self.base, "hosts")
        self.knows([])
        self.holder = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{self.ns}", "unshare", "--mount", "--propagation",
             "private", "sh", "-ec", 'umount -a -l -t fuse.aceso; mount --bind "$1" /etc/hosts; '
             "echo ready; exec sleep infinity", "sh", self.hosts],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True)
        self.running.append(self.holder)
        with self.holder.stdout as said:
            assert said.readline() == "ready\n"

    def argv(self, *words):
        return ["nsenter", "-t", str(self.holder.pid), "--net", "--mount", "--", *words]

    def knows(self, lines):
        with open(self.hosts, "w", encoding="utf-8") as f:  # in place: it is mounted
            f.write("".join(line + "\n" for line in ["127.0.0.1 localhost", *lines]))

    def create(self, *args, name="work"):
        return self.run("aceso", "pool", "create", name, "--code", "2+1", "--node-size", "64M",
                        *args)

    def doctor(self):
        done = self.run("aceso", "doctor", "--json", "--pool", "work", check=False)
        return {f["check"]: f for f in json.loads(done.stdout)["findings"]}

    def names(self):
        """The doctor's word on them."""
        return self.doctor()["names"]

    def refused(self):
        """The one line with which it does not serve."""
        done = self.run("aceso", "pool", "serve", "work", check=False, timeout=30)
        assert done.returncode == 1 and done.stderr.count("\n") == 1, done
        return done.stderr

    def do(self, mend):
        """As its root types it."""
        self.run("sh", "-ec", mend.replace("sudo ", ""))

    def listens(self):
        """Every address of its pool's ports that somebody listens at."""
        said = self.run("ss", "-Hltn").stdout
        return {m[0] for m in re.finditer(r"\S+:760[0-3](?=\s)", said)}


@pytest.fixture
def hosts():
    why = netns.not_possible()
    if why:
        pytest.skip(why)
    net = netns.Net(len(NAMES), Host)
    try:
        for name, host in zip(NAMES, net.host):
            host.become(name)
        for host in net.host:
            host.others = [f"{h.address} {h.name}" for h in net.host if h is not host]
            host.own, host.debian = f"{host.address} {host.name}", f"127.0.1.1 {host.name}"
            host.knows([host.debian, host.own, *host.others])
        yield net.host
    finally:
        print(net.logs())
        net.close()
    assert netns.left_behind(net) == []


def shut(text, host):
    """It says what is wrong with that host's name, and the line that mends it."""
    assert f"{host.name} leads to 127.0.1.1 here" in text, text
    mend = re.search(r"echo '.*' \| sudo tee -a /etc/hosts", text)
    assert mend and f"'{host.own}'" in mend[0], text
    return mend[0]


def test_create_warns_of_a_name_that_leads_to_loopback(hosts):
    alpha = hosts[0]
    nodes = ("--nodes", ",".join(NAMES))
    assert alpha.create(*nodes, name="good").stderr == ""
    alpha.knows([alpha.debian, *alpha.others])
    made = alpha.create(*nodes)
    assert "are made" in made.stdout and made.stderr.count("\n") == 1
    shut(made.stderr, alpha)
    # all on one machine: nobody else has to come
    assert alpha.create("--nodes", "alpha,localhost,127.0.0.9", name="one").stderr == ""


def test_create_says_where_both_files_must_go(hosts):
    """To whoever serves, and to who mounts it: not to itself, which has them."""
    said = hosts[0].create("--nodes", "alpha,beta,alpha", "--coordinators", "gamma").stdout
    assert re.findall(r"scp -p \S+/work.conf \S+/work.key root@(\w+):", said) == [
        "beta", "gamma", "HOST"]


def test_a_host_that_none_can_reach_does_not_serve(hosts):
    alpha, beta, _ = hosts
    alpha.create("--nodes", ",".join(NAMES))
    for host in hosts[1:]:
        for part in ("work.conf", "work.key"):
            shutil.copy2(os.path.join(alpha.base, "conf", part), os.path.join(host.base, "conf"))
    alpha.knows([alpha.debian, *alpha.others])
    mend = shut(alpha.refused(), alpha)
    assert alpha.listens() == set()
    found = alpha.names()
    assert found["verdict"] == "fail" and shut(found["found"] + found["mend"], alpha) == mend
    assert beta.names()["verdict"] == "ok"
    # the line that was there stays there: it serves at the other all the same
    alpha.do(mend)
    assert alpha.names()["verdict"] == "ok"
    for host in hosts:
        host.start("serve", "aceso", "pool", "serve", "work")

    def full():
        return all(h.run("aceso", "-p", "work", "status", check=False).returncode == 0
                   for h in hosts)

    assert wait_for(full, 60)
    for host in hosts:
        ports = (7600, 7601) if host is alpha else (7601,)
        assert host.listens() == {f"{host.address}:{port}" for port in ports}
        # and the doctor hears it, whichever its name leads to first
        found = host.doctor()
        assert [found[w]["verdict"] for w in ("nodes", "coordinators", "pool")] == ["ok"] * 3


def test_a_host_does_not_fall_back_to_loopback(hosts):
    """While its network is not up it waits: at loopback it would stay."""
    alpha = hosts[0]
    alpha.create("--nodes", ",".join(NAMES))
    netns.ip("-n", alpha.ns, "addr", "del", f"{alpha.address}/24", "dev", "eth0")
    alpha.start("serve", "aceso", "pool", "serve", "work")
    assert wait_for(lambda: "coordinator 0" in alpha.log() and "memory node 0" in alpha.log(),
                    30), alpha.log()
    assert alpha.listens() == set()
    netns.ip("-n", alpha.ns, "addr", "add", f"{alpha.address}/24", "dev", "eth0")
    assert wait_for(lambda: alpha.listens() == {f"{alpha.address}:7600", f"{alpha.address}:7601"},
                    60), alpha.log()


def test_a_pool_at_loopback_alone_is_served(hosts):
    alpha = hosts[0]
    alpha.knows([alpha.debian])
    alpha.create("--nodes", "alpha,alpha,127.0.0.9")
    assert alpha.names()["verdict"] == "ok"
    alpha.start("serve", "aceso", "pool", "serve", "work")
    assert wait_for(lambda: alpha.run("aceso", "-p", "work", "status",
                                      check=False).returncode == 0, 60)
    assert alpha.listens() == {"127.0.1.1:7600", "127.0.1.1:7601", "127.0.1.1:7602",
                               "127.0.0.9:7601"}


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_every_hosts_own_name_is_none(hosts, name):
    """No line of /etc/hosts mends it: the pool's file is wrong."""
    alpha = hosts[0]
    made = alpha.create("--nodes", f"{name},beta,gamma")
    for text in (made.stderr, alpha.refused(), alpha.names()["found"] + alpha.names()["mend"]):
        assert f"{name} leads every host to itself" in text, text
        assert f"write {alpha.address}" in text and "work.conf" in text, text
        assert "/etc/hosts" not in text


def test_the_doctor_names_hosts_that_nobody_knows(hosts):
    alpha = hosts[0]
    alpha.create("--nodes", ",".join(NAMES))
    alpha.knows([alpha.own])
    found = alpha.names()
    assert found["verdict"] == "warn" and "beta, gamma: 2 of the pool's 3" in found["found"]
    alpha.do(found["mend"].replace("ADDRESS", "10.255.0.1"))
    assert alpha.names()["verdict"] == "ok"
    text = open(alpha.hosts, encoding="utf-8").read()
    assert text.endswith("10.255.0.1 beta\n10.255.0.1 gamma\n"), text
