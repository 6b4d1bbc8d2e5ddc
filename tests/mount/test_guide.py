"""docs/cluster.md, followed: every block of it is run, in order, on the host that it names.
A host is namespaces (guide/host.sh); `scp` and `systemctl` are stood in for by programs
that do the same among such hosts (guide/), all else is what an installed host has."""
import os
import re
import subprocess
import time

import pytest

import netns
from conftest import BIN, ROOT, need_fuse, wait_for

GUIDE = os.path.join(ROOT, "docs", "cluster.md")
NAMES = ("alpha", "beta", "gamma", "delta")
COMMAND_S = 300  # the longest may take this on a loaded machine


class Host(netns.Host):
    """One that has a name, files, and mounts of its own."""

    def become(self, name, names):
        stage = os.path.join(self.base, "stage")
        os.mkdir(stage)
        self.log_path = os.path.join(self.base, "host.log")
        with open(self.log_path, "wb") as out:
            self.holder = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{self.ns}", "unshare", "--mount", "--uts",
                 "--propagation", "private", os.path.join(ROOT, "tests/mount/guide/host.sh"),
                 name, stage, os.path.abspath(BIN), ROOT, names],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
        self.running.append(self.holder)
        assert wait_for(lambda: self.said() or self.holder.poll() is not None, 60)
        assert self.said() == "ready\n", self.said()

    def said(self):
        return open(self.log_path, encoding="utf-8").read()

    def argv(self, *words):
        return ["nsenter", "-t", str(self.holder.pid), "--net", "--mount", "--uts", "--", *words]

    def inside(self, path):
        return f"/proc/{self.holder.pid}/root{path}"

    def read(self, path):
        with open(self.inside(path), encoding="utf-8", errors="replace") as f:
            return f.read()

    def ours(self):
        """What is still there of us."""
        mounts = self.read(f"/proc/{self.holder.pid}/mounts").splitlines()
        return [pid for pid in self.pids() if pid != self.holder.pid] + [
            m for m in mounts if m.split()[2].startswith("fuse.aceso")]

    def service_log(self):
        try:
            return self.read("/run/aceso-pool@work.service.log")[-3000:]
        except OSError as e:
            return str(e)


@pytest.fixture
def hosts():
    need_fuse()
    why = netns.not_possible()
    if why:
        pytest.skip(why)
    net = netns.Net(len(NAMES), Host)
    try:
        named = dict(zip(NAMES, net.host))
        for name, host in named.items():
            host.become(name, "\n".join(
                ["127.0.0.1 localhost", f"127.0.1.1 {name}",  # as Debian's installer does
                 *(f"{h.address} {n}" for n, h in named.items())]))
        yield named
    finally:
        net.close()
    assert netns.left_behind(net) == []


def blocks():
    """[(host, its commands)]; a command goes on in the next line after a backslash."""
    text = open(GUIDE, encoding="utf-8").read()
    found = re.findall(r"^```sh host=(\w+)\n(.*?)^```$", text, re.M | re.S)
    assert len(found) == text.count("```") / 2, "a block names no host"
    return [(host, re.sub(r"\\\n", " ", body).splitlines()) for host, body in found]


def run(host, command, env):
    """Its exit code and what it said; to a file, as daemons keep what they are given."""
    with open(os.path.join(host.base, "said"), "w+", encoding="utf-8") as said:
        done = subprocess.run(host.argv("sh", "-c", command), env=env, stdin=subprocess.DEVNULL,
                              stdout=said, stderr=said, cwd="/", timeout=COMMAND_S)
        said.seek(0)
        return done.returncode, said.read()


def test_the_guide_can_be_followed(hosts):
    env = {"PATH": "/mnt/bin:" + os.environ["PATH"], "HOME": "/root", "LC_ALL": "C",
           **{f"HOST_{n}": str(h.holder.pid) for n, h in hosts.items()}}
    fstab = hosts["alpha"].read("/etc/fstab")
    for name, commands in blocks():
        for command in commands:
            began = time.monotonic()
            code, said = run(hosts[name], command, env)
            print(f"{name}# {command}  [{time.monotonic() - began:.1f} s]\n{said}", end="")
            assert code == 0, f"on {name}: {command}\n{said}\n" + "\n".join(
                f"--- {n}\n{h.service_log()}" for n, h in hosts.items())
    # the end leaves nothing behind, either
    assert hosts["alpha"].read("/etc/fstab") == fstab
    for name, host in hosts.items():
        assert wait_for(lambda h=host: h.ours() == [], 60), (name, host.ours())
