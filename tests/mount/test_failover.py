"""Two coordinators and a ZooKeeper, all real: who leads is killed, stopped and
resumed, ZooKeeper is killed and started again. Files are written and read all
the while, and what is lost is nothing and no time worth speaking of."""
import contextlib
import hashlib
import hmac
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import pytest

import zookeeper
from conftest import BIN, SLOW, need_fuse, of_pool, open_files, wait_for

NODES = 5


class ZooKeeper:
    def __init__(self, base, host):
        self.base, self.host, self.server = base, host, None
        with socket.socket() as s:
            s.bind((host, 0))
            self.port = s.getsockname()[1]

    def start(self):
        log = open(os.path.join(self.base, "zk.log"), "a")
        self.server = subprocess.Popen(zookeeper.server(self.base, self.host, self.port),
                                       cwd=self.base, stdin=subprocess.DEVNULL, stdout=log,
                                       stderr=log)
        assert wait_for(lambda: zookeeper.answers(self.host, self.port), 60), \
            open(os.path.join(self.base, "zk.log")).read()

    def shell(self, *orders):
        """What ZooKeeper's own shell says to them."""
        done = subprocess.run(
            zookeeper.java(64, "ZooKeeperMain", "-server", f"{self.host}:{self.port}"),
            cwd=self.base, text=True, input="".join(order + "\n" for order in orders),
            timeout=60 * SLOW, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.stdout

    def kill(self):
        self.server.kill()
        self.server.wait(60)


class Hosts:
    """A pool of five nodes and two coordinators, mounted."""

    def __init__(self):
        self.base = tempfile.mkdtemp(prefix="aceso-failover-")
        os.chmod(self.base, 0o755)
        self.name = f"f{os.getpid()}-{random.getrandbits(32):08x}"
        # all of 127/8 is this host: nobody else has these ports there
        self.host = f"127.{random.randint(1, 254)}.{random.randint(1, 254)}.1"
        self.env = dict(os.environ, LC_ALL="C", ACESO_CONF_DIR=self.path("etc"),
                        ACESO_RUNTIME_DIR=self.path("run"), ACESO_STATE_DIR=self.path("state"))
        self.env.pop("ACESO_POOL", None)
        os.mkdir(self.path("state"))
        self.serving = self.mnt = None
        self.zk = ZooKeeper(self.base, self.host)
        self.zk.start()
        done = self.aceso("pool", "create", self.name, "--node-size", "64M",
                          "--nodes", ",".join([self.host] * NODES),
                          "--coordinators", f"{self.host}:7600,{self.host}:7699",
                          "--zookeeper", f"{self.host}:{self.zk.port}")
        assert done.returncode == 0, done.stderr

    def path(self, *names):
        return os.path.join(self.base, *names)

    def aceso(self, *args):
        return subprocess.run([os.path.join(BIN, "aceso"), *args], text=True, env=self.env,
                              timeout=60 * SLOW, capture_output=True)

    def log(self):
        with open(self.path("serve.log"), encoding="utf-8") as f:
            return f.read()

    def serve(self):
        log = open(self.path("serve.log"), "a+")
        self.serving = subprocess.Popen(
            [os.path.join(BIN, "aceso"), "pool", "serve", self.name], env=self.env,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        assert wait_for(self.is_full, 90), self.log()

    def status(self):
        try:
            done = self.aceso("-p", self.name, "status", "--json")
        except subprocess.TimeoutExpired:
            return None
        return json.loads(done.stdout) if done.stdout else None

    def is_full(self):
        now = self.status()
        return now is not None and now["redundancy"] == "full"

    def mount(self):
        where = self.path("mnt")
        os.mkdir(where)
        done = subprocess.run([os.path.join(BIN, "aceso-fuse"), "-o", "pool=" + self.name, where],
                              text=True, capture_output=True, timeout=60 * SLOW, env=self.env)
        assert done.returncode == 0, done.stderr
        self.mnt = where

    def leader(self):
        """Who listens: only who leads does."""
        found = []
        for pid in of_pool(self.name):
            with contextlib.suppress(FileNotFoundError):  # it has just ended
                words = open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")
                if b"aceso-coordinator" not in words[0]:
                    continue
                links = open_files(pid).values()
                if any(f"socket:[{inode}]" in links for inode in self.listening()):
                    found.append(pid)
        return found[0] if found else None

    def listening(self):
        with open("/proc/net/tcp") as f:
            return [w[9] for w in (line.split() for line in f)
                    if w[3] == "0A" and w[1].rsplit(":")[-1] in ("1DB0", "1E13")]

    def end(self):
        if self.mnt is not None:
            subprocess.run(["umount", self.mnt], check=True, timeout=60 * SLOW)
            assert wait_for(lambda: not of_pool("pool=" + self.name), 60), "a mount is left"
        if self.serving is not None:
            self.serving.send_signal(signal.SIGTERM)
            self.serving.wait(60 * SLOW)
        self.zk.kill()
        assert wait_for(lambda: not of_pool(self.name), 60), "processes left behind"
        shutil.rmtree(self.base)


class Work:
    """Writes files, reads others, in a thread; what goes wrong is kept, and how long a file took
    at most."""

    def __init__(self, where):
        self.where, self.done, self.stop, self.error, self.longest = where, 0, False, None, 0
        os.makedirs(where, exist_ok=True)
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def one(self, n):
        data = random.Random(n).randbytes(5000 + n % 3 * 100000)
        name = os.path.join(self.where, f"f{n % 20}")
        with open(name + ".new", "wb") as f:
            f.write(data)
            os.fsync(f.fileno())
        os.rename(name + ".new", name)
        with open(name, "rb") as f:
            assert f.read() == data, f"file {n} is not what was written"

    def run(self):
        try:
            while not self.stop:
                begin = time.monotonic()
                self.one(self.done)
                self.longest = max(self.longest, time.monotonic() - begin)
                self.done += 1
        except Exception as e:  # pylint: disable=broad-except
            self.error = e

    def goes_on(self, files=10):
        """So many more are done."""
        goal = self.done + files
        assert wait_for(lambda: self.error is not None or self.done >= goal, 60)
        assert self.error is None, self.error

    def end(self):
        self.stop = True
        self.thread.join(120)
        assert self.error is None, self.error


@pytest.fixture(scope="module")
def hosts():
    need_fuse()
    why = zookeeper.not_possible()
    if why:
        pytest.skip(why)
    made = Hosts()
    try:
        made.serve()
        made.mount()
        yield made
    finally:
        made.end()


@pytest.fixture
def work(hosts):
    made = Work(os.path.join(hosts.mnt, "work"))
    yield made
    made.end()


def well(status):
    """Its nodes' pids, if none is missing; who leads anew learns them when they report."""
    pids = [n["pid"] for n in status["nodes"]] if status else []
    return pids if pids and all(pids) and status["redundancy"] == "full" else []


def replaces(pool, work, which):
    """Somebody leads: a node that dies is replaced."""
    seen = []
    assert wait_for(lambda: seen.append(well(pool.status())) or seen[-1], 90)
    was = seen[-1][which]
    assert was > 1
    os.kill(was, signal.SIGKILL)
    work.goes_on()
    assert wait_for(lambda: well(pool.status())[which:which + 1] not in ([], [was]), 90)


def mends_itself(hosts, work, which):
    try:
        replaces(hosts, work, which)
    except AssertionError:
        print(hosts.log())
        raise
    assert [c["state"] for c in hosts.status()["clients"]] == ["current"]


def test_who_leads_is_killed(hosts, work):
    assert wait_for(hosts.leader, 60), hosts.log()
    was = hosts.leader()
    work.goes_on()
    os.kill(was, signal.SIGKILL)
    work.goes_on(30)
    assert wait_for(lambda: hosts.leader() not in (None, was), 60), hosts.log()
    mends_itself(hosts, work, 1)


def test_who_leads_is_stopped_and_goes_on(hosts, work):
    assert wait_for(hosts.leader, 60), hosts.log()
    was = hosts.leader()
    os.kill(was, signal.SIGSTOP)
    try:
        work.goes_on(30)
        # it listens still; another does as soon as ZooKeeper has given it up
        assert wait_for(lambda: hosts.aceso("-p", hosts.name, "status").returncode == 0, 90)
        mends_itself(hosts, work, 2)
    finally:
        os.kill(was, signal.SIGCONT)
    # it finds that it leads no more, and makes room
    assert wait_for(lambda: not os.path.exists(f"/proc/{was}"), 60), hosts.log()
    work.goes_on(30)
    mends_itself(hosts, work, 3)


def test_zookeeper_dies_and_comes_back(hosts, work):
    assert wait_for(hosts.is_full, 90), hosts.log()
    hosts.zk.kill()
    end = time.monotonic() + 10  # longer than a session, and many leases
    while time.monotonic() < end:
        work.goes_on(5)
    hosts.zk.start()
    work.goes_on(30)
    mends_itself(hosts, work, 4)


def login(hosts):
    """The digest that goes with the pool's key, as kv/FORMAT.md says."""
    with open(hosts.path("etc", hosts.name + ".key"), encoding="ascii") as f:
        key = bytes.fromhex(f.read().strip())
    label = b"aceso zookeeper 1" + hosts.name.encode()
    return "aceso:" + hmac.new(key, label, hashlib.sha256).hexdigest()


def shut_out(hosts):
    """A stranger can neither read nor change anything of the pool's."""
    top = f"/aceso/{hosts.name}"
    orders = [f"get {top}/view", f"ls {top}/lead", f"set {top}/view x", f"create {top}/lead/n-0",
              f"delete {top}/view", f"setAcl {top} world:anyone:cdrwa"]
    said = hosts.zk.shell(*orders)
    return said.count("Insufficient permission") == len(orders), said


def test_a_stranger_reaches_zookeeper(hosts, work):
    assert wait_for(hosts.is_full, 90), hosts.log()
    well, said = shut_out(hosts)
    assert well, said
    # others' pools have room beside it
    assert "Created /aceso/other" in hosts.zk.shell("create /aceso/other", "delete /aceso/other")
    candidates = re.findall(r"n[0-9a-f]{16}-\d+", hosts.zk.shell(
        "addauth digest " + login(hosts), f"ls /aceso/{hosts.name}/lead"))
    assert candidates
    for name in candidates:
        path = f"/aceso/{hosts.name}/lead/{name}"
        assert "Insufficient permission" in hosts.zk.shell(f"set {path} x")
    work.goes_on()


def test_another_key_is_told(hosts):
    assert wait_for(hosts.is_full, 90), hosts.log()
    conf = hosts.path("other-key")
    shutil.copytree(hosts.path("etc"), conf)
    with open(os.path.join(conf, hosts.name + ".key"), "w", encoding="ascii") as f:
        f.write("5a" * 32 + "\n")
    done = subprocess.run([os.path.join(BIN, "aceso-coordinator"), "--pool", hosts.name, "--id", "1",
                           "--foreground"], env=dict(hosts.env, ACESO_CONF_DIR=conf), text=True,
                          capture_output=True, timeout=60 * SLOW)
    assert done.returncode != 0 and "for another key" in done.stderr, done.stderr


def test_what_an_older_version_left_open_is_shut(hosts, work):
    assert wait_for(hosts.leader, 60), hosts.log()
    was, top = hosts.leader(), f"/aceso/{hosts.name}"
    hosts.zk.shell("addauth digest " + login(hosts),
                   *(f"setAcl {p} world:anyone:cdrwa" for p in (top + "/lead", top + "/view", top)))
    assert "anyone" in hosts.zk.shell(f"getAcl {top}/view")
    os.kill(was, signal.SIGKILL)
    assert wait_for(lambda: hosts.leader() not in (None, was), 60), hosts.log()
    assert wait_for(lambda: shut_out(hosts)[0], 60), shut_out(hosts)[1]
    mends_itself(hosts, work, 0)


def test_a_stranger_shuts_the_way_to_all_pools(hosts, work):
    """/aceso is everybody's: who leads next needs no right there."""
    assert wait_for(lambda: hosts.is_full() and hosts.leader(), 90), hosts.log()
    was = hosts.leader()
    hosts.zk.shell("setAcl /aceso world:anyone:a")
    try:
        assert "Insufficient permission" in hosts.zk.shell("create /aceso/other")
        os.kill(was, signal.SIGKILL)
        assert wait_for(lambda: hosts.leader() not in (None, was), 60), hosts.log()
        mends_itself(hosts, work, 1)
    finally:
        hosts.zk.shell("setAcl /aceso world:anyone:cdrwa")
