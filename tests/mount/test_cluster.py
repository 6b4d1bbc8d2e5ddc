"""A pool over several hosts, all of them this one: made by `aceso pool create`, served by
`aceso pool serve`, over TCP inside TLS on an address of loopback of its own."""
import filecmp
import glob
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile

import pytest

from conftest import BIN, SLOW, alive, need_fuse, of_pool, server_of, wait_for

NODES = 5


class Cluster:
    """Its files, its processes, its mounts; end() leaves nothing."""

    def __init__(self, size="160M"):
        self.base = tempfile.mkdtemp(prefix="aceso-cluster-")
        os.chmod(self.base, 0o755)
        self.name = f"c{os.getpid()}-{random.getrandbits(32):08x}"
        # all of 127/8 is this host: nobody else has these ports there
        self.host = f"127.{random.randint(1, 254)}.{random.randint(1, 254)}.1"
        self.env = dict(os.environ, LC_ALL="C", ACESO_CONF_DIR=self.path("etc"),
                        ACESO_RUNTIME_DIR=self.path("run"), ACESO_STATE_DIR=self.path("state"))
        self.env.pop("ACESO_POOL", None)
        os.mkdir(self.path("state"))
        self.server = None
        self.mounts = []
        done = self.aceso("pool", "create", self.name, "--nodes", ",".join([self.host] * NODES),
                          "--node-size", size)
        assert done.returncode == 0, done.stderr
        self.said = done.stdout

    def path(self, *names):
        return os.path.join(self.base, *names)

    def conf(self, ending=".conf"):
        return self.path("etc", self.name + ending)

    def aceso(self, *args, env=None):
        return subprocess.run([os.path.join(BIN, "aceso"), *args], text=True, timeout=60 * SLOW,
                              capture_output=True, env={**self.env, **(env or {})})

    def serve(self, *args):
        self.log = open(self.path("serve.log"), "a+", encoding="utf-8")
        self.server = subprocess.Popen(
            [os.path.join(BIN, "aceso"), "pool", "serve", self.name, *args], env=self.env,
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def serve_log(self):
        with open(self.path("serve.log"), encoding="utf-8") as f:
            return f.read()

    def status(self):
        done = self.aceso("-p", self.name, "status", "--json")
        return json.loads(done.stdout) if done.stdout else None

    def is_full(self):
        now = self.status()
        return now is not None and now["redundancy"] == "full"

    def mount(self, env=None):
        where = tempfile.mkdtemp(prefix="mnt", dir=self.base)
        done = subprocess.run([os.path.join(BIN, "aceso-fuse"), "-o", "pool=" + self.name, where],
                              text=True, capture_output=True, timeout=60 * SLOW,
                              env={**self.env, **(env or {})})
        if done.returncode == 0:
            self.mounts.append(where)
        return where, done

    def node_pid(self, which):
        return self.status()["nodes"][which]["pid"]

    def stop(self):
        self.server.send_signal(signal.SIGTERM)
        code = self.server.wait(30 * SLOW)
        self.server = None
        return code

    def end(self):
        for where in self.mounts:
            subprocess.run(["umount", where], check=True, timeout=60 * SLOW)
        # each leaves the pool in its own time, for which it must be there
        assert wait_for(lambda: not of_pool("pool=" + self.name), 60), "mounts left behind"
        if self.server is not None:
            self.stop()
        assert wait_for(lambda: not of_pool(self.name), 60), "processes left behind"
        left = glob.glob(self.path("run", "*"))
        shutil.rmtree(self.base)
        assert not left


@pytest.fixture
def cluster():
    need_fuse()
    made = Cluster()
    yield made
    made.end()


@pytest.fixture
def served(cluster):
    cluster.serve()
    assert wait_for(cluster.is_full, 60), cluster.serve_log()
    return cluster


def same_trees(a, b):
    for name in sorted(os.listdir(a)):
        if not filecmp.cmp(os.path.join(a, name), os.path.join(b, name), shallow=False):
            return False
    return len(os.listdir(a)) == len(os.listdir(b)) > 0


def fill(where):
    """Files of many sizes, and a copy of them elsewhere."""
    os.makedirs(where)
    dice = random.Random(4711)
    for i, size in enumerate([0, 1, 4095, 4096, 70000, 1 << 20, 5 << 20]):
        with open(os.path.join(where, f"f{i}"), "wb") as f:
            f.write(dice.randbytes(size))


def one_line(done, *words):
    assert done.returncode != 0
    lines = done.stderr.strip().splitlines()
    assert lines, "nothing was said"
    for word in words:
        assert word in lines[-1], done.stderr


# --- it works -------------------------------------------------------------------


def test_two_nodes_die_and_come_back(served):
    fill(served.path("tree"))
    mnt, done = served.mount()
    assert done.returncode == 0, done.stderr
    shutil.copytree(served.path("tree"), os.path.join(mnt, "tree"))
    assert same_trees(served.path("tree"), os.path.join(mnt, "tree"))
    before = {which: served.node_pid(which) for which in (1, 3)}
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    assert same_trees(served.path("tree"), os.path.join(mnt, "tree"))
    shutil.copytree(served.path("tree"), os.path.join(mnt, "more"))
    assert wait_for(lambda: served.is_full() and all(
        served.node_pid(which) != pid for which, pid in before.items()), 60), served.serve_log()
    os.kill(served.node_pid(0), signal.SIGKILL)  # the new ones hold what they should
    os.kill(served.node_pid(4), signal.SIGKILL)
    assert same_trees(served.path("tree"), os.path.join(mnt, "tree"))
    assert same_trees(served.path("tree"), os.path.join(mnt, "more"))
    assert "died of signal 9" in served.serve_log()


def test_the_index_is_checkpointed(served):
    """As in an embedded pool: who takes a dead node's shard over begins with an image of it."""
    mnt, done = served.mount()
    assert done.returncode == 0, done.stderr
    fill(os.path.join(mnt, "tree"))
    assert wait_for(lambda: served.status()["checkpoint"]["imaged"] == NODES), served.status()
    fill(os.path.join(mnt, "more"))
    os.kill(served.node_pid(2), signal.SIGKILL)
    assert wait_for(lambda: served.is_full() and served.status()["checkpoint"]["restores"] > 0, 60), served.status()
    assert same_trees(os.path.join(mnt, "tree"), os.path.join(mnt, "more"))


def coordinator(cluster):
    found = [pid for pid in of_pool(cluster.name)
             if b"aceso-coordinator" in open(f"/proc/{pid}/cmdline", "rb").read()]
    assert len(found) == 1
    return found[0]


def test_the_coordinator_dies_and_nobody_minds(served):
    mnt, done = served.mount()
    assert done.returncode == 0, done.stderr
    fill(served.path("tree"))
    shutil.copytree(served.path("tree"), os.path.join(mnt, "a"))
    was, nodes = coordinator(served), [n["pid"] for n in served.status()["nodes"]]
    os.kill(was, signal.SIGKILL)
    shutil.copytree(served.path("tree"), os.path.join(mnt, "b"))  # it is away, or back
    assert wait_for(lambda: served.status() is not None and coordinator(served) != was, 60)
    assert wait_for(served.is_full, 60), served.serve_log()
    # none was given up; they report to the new one within a second or so
    assert wait_for(lambda: [n["pid"] for n in served.status()["nodes"]] == nodes, 60)
    assert wait_for(lambda: [c["state"] for c in served.status()["clients"]] == ["current"], 60)
    os.kill(nodes[2], signal.SIGKILL)  # and the new one does its work
    assert wait_for(lambda: served.is_full() and served.node_pid(2) != nodes[2], 60)
    for copy in "ab":
        assert same_trees(served.path("tree"), os.path.join(mnt, copy))


def test_status_and_tools_by_the_file(served):
    now = served.status()
    for node in now["nodes"]:
        assert node["transport"] == "tcp"
        why = node["why"].removesuffix("; kernel TLS")
        assert why == "no RDMA device on this host" or os.path.exists("/dev/infiniband")
        assert node["address"].startswith(f"tcp:{served.host}:")
        assert node["host"] == os.uname().nodename[:63]
    assert served.aceso("put", "k", "v").returncode == 0  # the only pool there is
    assert served.aceso("-p", served.name, "get", "k").stdout == "v"
    assert "full" in served.aceso("pools").stdout
    assert served.aceso("df").returncode == 0
    table = served.aceso("status")
    assert table.returncode == 0 and "tcp: " in table.stdout


def test_two_mounts_see_one_another(served):
    a, done = served.mount()
    assert done.returncode == 0, done.stderr
    b, done = served.mount()
    assert done.returncode == 0, done.stderr
    with open(os.path.join(a, "x"), "w", encoding="utf-8") as f:
        f.write("hello")
    with open(os.path.join(b, "x"), encoding="utf-8") as f:
        assert f.read() == "hello"
    assert sorted(m for m in served.aceso("pools").stdout.split() if m in (a, b)) == sorted((a, b))


def test_sigterm_ends_all_of_it(served):
    pids = of_pool(served.name)
    assert len(pids) == NODES + 2
    assert served.stop() == 0
    assert not any(alive(pid) for pid in pids)


def test_a_mount_that_leaves_a_pool_that_ends(served):
    """What is left to say when nobody listens any more is not said for minutes."""
    where, done = served.mount()
    assert done.returncode == 0, done.stderr
    for i in range(1000):  # their times are settled at the end
        with open(os.path.join(where, f"f{i}"), "wb") as f:
            f.write(b"x" * 100)
    pid = server_of(where)
    subprocess.run(["umount", served.mounts.pop()], check=True, timeout=60 * SLOW)
    served.stop()
    assert wait_for(lambda: not alive(pid), 25), served.serve_log()


def test_the_server_s_death_ends_its_part(served):
    pids = of_pool(served.name)
    served.server.kill()
    served.server.wait()
    served.server = None
    assert wait_for(lambda: not any(alive(pid) for pid in pids), 30)


def test_a_pool_is_whole_or_says_that_it_is_not(cluster):
    cluster.serve("--only", "coordinator,node:0,node:1,node:2,node:3")
    assert wait_for(lambda: (cluster.status() or {}).get("redundancy") == "forming", 60)
    assert wait_for(lambda: [n["state"] for n in cluster.status()["nodes"]]
                    == ["coming"] * 4 + ["down"], 60)
    _, done = cluster.mount()
    one_line(done, "not whole yet", "aceso pool serve")


# --- it is refused ----------------------------------------------------------------


def other_conf(cluster, change):
    """As on another host, whose file or key is another."""
    etc = cluster.path("etc2")
    shutil.copytree(cluster.path("etc"), etc)
    change(os.path.join(etc, cluster.name))
    return {"ACESO_CONF_DIR": etc}


def test_another_key_is_refused(served):
    def change(name):
        with open(name + ".key", "w", encoding="utf-8") as f:
            f.write("5" * 64 + "\n")

    env = other_conf(served, change)
    one_line(served.aceso("-p", served.name, "status", env=env), "another key")
    one_line(served.aceso("-p", served.name, "get", "k", env=env), "key")
    _, done = served.mount(env=env)
    one_line(done, "key")
    assert served.is_full()


def test_a_key_for_all_to_read_is_refused(cluster):
    os.chmod(cluster.conf(".key"), 0o640)
    one_line(cluster.aceso("-p", cluster.name, "status"), "chmod 600")
    one_line(cluster.aceso("pool", "serve", cluster.name), "chmod 600")
    _, done = cluster.mount()
    one_line(done, "chmod 600")
    os.unlink(cluster.conf(".key"))
    one_line(cluster.aceso("pool", "serve", cluster.name), "copy it from the host")


def rewrite(path, old, new):
    with open(path, encoding="utf-8") as f:
        text = f.read()
    assert old in text
    with open(path, "w", encoding="utf-8") as f:
        f.write(text.replace(old, new))


def test_files_that_make_no_sense(cluster):
    one_line(cluster.aceso("pool", "serve", "nope"), "nope.conf", "aceso pool create")
    one_line(cluster.aceso("-p", "nope", "status"), "nope")
    rewrite(cluster.conf(), "code = 3+2", "code = lots")
    one_line(cluster.aceso("pool", "serve", cluster.name), cluster.name + ".conf:", "code = lots")


def test_hosts_that_nobody_knows(cluster):
    rewrite(cluster.conf(), cluster.host, "no-such-host.invalid")
    done = cluster.aceso("pool", "serve", cluster.name)
    one_line(done, "gives nothing to this host")
    assert "no-such-host.invalid" in done.stderr and "/etc/hosts" in done.stderr
    one_line(cluster.aceso("-p", cluster.name, "status"), "does not answer")


def test_nobody_serves_it(cluster):
    one_line(cluster.aceso("-p", cluster.name, "status"), "does not answer")
    assert "away" in cluster.aceso("pools").stdout


def test_verbs_without_a_device(cluster):
    if os.path.exists("/dev/infiniband"):
        pytest.skip("there may be an RDMA device here")
    rewrite(cluster.conf(), "transport = auto", "transport = verbs")
    cluster.serve("--only", "node:0")
    assert wait_for(lambda: "RDMA" in cluster.serve_log(), 60)
    assert "transport = auto" in cluster.serve_log()
    done = cluster.aceso("doctor", "--json", "--pool", cluster.name)
    found = {f["check"]: f for f in json.loads(done.stdout)["findings"]}
    assert done.returncode == 1 and found["transport"]["verdict"] == "fail"
    assert f"{NODES} of {NODES} nodes" in found["transport"]["found"]


# --- create -----------------------------------------------------------------------


def test_create_says_what_to_do_next(cluster):
    for words in ("scp -p", "aceso pool serve " + cluster.name, "aceso-pool@" + cluster.name,
                  "aceso-fuse -o pool=" + cluster.name):
        assert words in cluster.said
    assert os.stat(cluster.conf(".key")).st_mode & 0o777 == 0o600
    with open(cluster.conf(), encoding="utf-8") as f:
        text = f.read()
    assert f"4 = {cluster.host}:7605" in text and f"0 = {cluster.host}:7600" in text


@pytest.mark.parametrize("args, said", [
    (["--nodes", "a,b,c"], "already"),
    (["--nodes", "a,b", "--code", "3+2"], "at least 5 nodes"),
    (["--nodes", "a"], "code 1+1 needs at least 2 nodes, and there are 1"),
    (["--nodes", "a,b c"], "--nodes"),
    (["--nodes", "a,b,c", "--code", "x"], "--code"),
    (["--nodes", "a,b,c", "--node-size", "1K"], "--node-size"),
    (["--nodes", "a,b,c", "--transport", "udp"], "transport"),
    (["--nodes", "a,b,c", "--coordinators", "a,b"], "--zookeeper"),
    ([], "usage"),
])
def test_create_refuses(cluster, args, said):
    done = cluster.aceso("pool", "create", cluster.name, *args)
    assert done.returncode != 0 and said in done.stderr
    assert cluster.aceso("pool", "create", "aceso", "--nodes", "a,b,c").returncode == 64
    assert sorted(os.listdir(cluster.path("etc"))) == [cluster.name + e for e in (".conf", ".key")]
