"""Processes that are stopped, not dead: [I6]. A stopped node or mount must not
hold up the others, and when it goes on it must not change a byte."""
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import pytest
from conftest import BIN, alive, need_fuse, of_pool, wait_for

PATIENCE = 2.5  # seconds; what a user of another mount may notice


def put(path, data):
    with open(path, "wb") as f:
        f.write(data)
        os.fsync(f.fileno())


def get(path):
    with open(path, "rb") as f:
        return f.read()


def mount_pid(pool, which):
    """The process behind the pool's mount number @which, in order of joining."""
    return sorted(pool.status()["clients"], key=lambda c: c["id"])[which]["pid"]


class Prober:
    """Writes and reads a small new file over and over; knows the longest wait."""

    def __init__(self, where):
        self.where, self.stop, self.longest, self.errors = where, threading.Event(), 0, []
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        n = 0
        while not self.stop.is_set():
            begin = time.monotonic()
            try:
                put(f"{self.where}/probe{n % 40}", b"%d" % n)
                assert get(f"{self.where}/probe{n % 40}") == b"%d" % n
            except BaseException as e:
                self.errors.append(repr(e))
            self.longest = max(self.longest, time.monotonic() - begin)
            n += 1
            time.sleep(0.005)

    def end(self):
        self.stop.set()
        self.thread.join()
        assert not self.errors
        return self.longest


@pytest.mark.parametrize("which", [0, 3])
def test_a_stopped_node_is_ended(pool, which):
    data = os.urandom(3 << 20)
    put(f"{pool.dir}/f", data)
    pid = pool.status()["nodes"][which]["pid"]
    probe = Prober(pool.dir)
    begin = time.monotonic()
    os.kill(pid, signal.SIGSTOP)
    assert wait_for(lambda: not alive(pid), 5), "it was never ended"
    took = time.monotonic() - begin
    node = lambda: pool.status()["nodes"][which]
    assert wait_for(lambda: node()["state"] != "up" or node()["pid"] != pid)
    assert pool.settled()
    longest = probe.end()
    print(f"ended after {took:.2f} s, longest wait {longest:.2f} s")
    assert took < PATIENCE and longest < 2 * PATIENCE
    assert get(f"{pool.dir}/f") == data


def test_a_pause_is_no_death(pool):
    """Stopped for less than it takes to be sure: nothing happens."""
    for node in pool.status()["nodes"]:
        os.kill(node["pid"], signal.SIGSTOP)
        time.sleep(0.2)
        os.kill(node["pid"], signal.SIGCONT)
        time.sleep(0.3)
    assert [n["state"] for n in pool.status()["nodes"]] == ["up"] * 5


def test_three_stopped_nodes_are_not_ended(pool):
    """That would lose data; continued, they go on."""
    data = os.urandom(1 << 20)
    put(f"{pool.dir}/f", data)
    pids = pool.node_pids()[:3]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(6)
    assert all(alive(pid) for pid in pids)
    assert [n["answers"] for n in pool.status()["nodes"]] == [False] * 3 + [True] * 2
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    assert wait_for(lambda: all(n["answers"] for n in pool.status()["nodes"]))
    assert pool.status()["redundancy"] == "full"
    assert get(f"{pool.dir}/f") == data
    put(f"{pool.dir}/g", data)


def test_a_stopped_mount_that_nobody_waits_for_goes_on(pool):
    other = pool.second()
    put(f"{other}/mine", b"before")
    pid = mount_pid(pool, 1)
    os.kill(pid, signal.SIGSTOP)
    for i in range(50):
        put(f"{pool.dir}/f{i}", b"x" * 5000)
    time.sleep(3)
    os.kill(pid, signal.SIGCONT)
    assert get(f"{other}/mine") == b"before"
    put(f"{other}/mine", b"after")
    assert get(f"{pool.dir}/mine") == b"after"
    assert alive(pid)


# A process of its own: whoever forks while a file of a stopped mount is open
# waits for it (the child closes its copy).
WRITER = """
import os, random, sys
where, log, seed = sys.argv[1], open(sys.argv[2], "w"), int(sys.argv[3])
rng, n = random.Random(seed), 0
while True:
    name, size, n = "w%d" % rng.randrange(30), rng.choice((30, 3000, 9000, 200000)), n + 1
    print("begin", name, n, size, file=log, flush=True)
    with open(where + "/.tmp", "wb") as f:
        f.write((b"%08d" % n) * (size // 8))
        os.fsync(f.fileno())
    os.rename(where + "/.tmp", where + "/" + name)
    print("done", name, n, size, file=log, flush=True)
"""


def written(log):
    """name -> what it may hold: the last that was acknowledged, and what was
    begun after it."""
    may = {}
    with open(log) as f:
        for line in f:
            word, name, n, size = line.split()
            data = (b"%08d" % int(n)) * (int(size) // 8)
            if word == "begin":
                may.setdefault(name, [None]).append(data)
            else:
                may[name] = [data]
    return may


@pytest.mark.parametrize("round", range(2))
def test_a_stopped_mount_is_ended_before_it_is_taken_over(pool, seed, round):
    """Stopped in the middle of writes; a node dies; nobody else waits long. What
    the stopped one had acknowledged is there, and stays as it is."""
    rng, other, log = random.Random(seed + round), pool.second(), f"{pool.base}/log"
    os.mkdir(f"{other}/w")
    pid, node = mount_pid(pool, 1), rng.choice(pool.node_pids())
    job = subprocess.Popen(["/usr/bin/python3", "-c", WRITER, f"{other}/w", log, str(seed)],
                           stderr=subprocess.DEVNULL)
    try:
        time.sleep(1 + rng.random())
        os.kill(pid, signal.SIGSTOP)
        probe = Prober(pool.dir)
        time.sleep(0.3)
        os.kill(node, signal.SIGKILL)
        assert wait_for(lambda: not alive(pid), 5), "it was never ended"
    finally:
        if alive(pid):
            os.kill(pid, signal.SIGKILL)
        job.wait(timeout=30)
    assert pool.settled()
    longest = probe.end()
    print(f"longest wait {longest:.2f} s")
    assert longest < 2 * PATIENCE
    may = written(log)
    assert len(may) > 5
    seen = {}
    for name, datas in may.items():
        seen[name] = get(f"{pool.dir}/w/{name}") if os.path.exists(f"{pool.dir}/w/{name}") else None
        assert seen[name] in datas, name
    time.sleep(1)  # nobody is left who could change it
    for name, data in seen.items():
        assert data is None or get(f"{pool.dir}/w/{name}") == data, name
        put(f"{pool.dir}/w/{name}", b"mine now")
        assert get(f"{pool.dir}/w/{name}") == b"mine now"
    subprocess.run(["umount", "-l", other], check=True)
    pool.extra.remove(other)


def supervisor(name, env, before=()):
    """A pool's supervisor without a mount; it talks to the socket returned."""
    mine, its = socket.socketpair()
    job = subprocess.Popen(["bash", "-c", f'exec "$@" 3>&{its.fileno()}', "-", *before,
                            os.path.join(BIN, "aceso-node"), "--supervise", "--pool", name,
                            "--size", str(64 << 20), "--code", "3+2", "--nodes", "5",
                            "--grace-ms", "60000"], env=env, pass_fds=[its.fileno()])
    its.close()
    return job, mine


def test_who_could_not_be_ended_is_not_let_in():
    """Another user's process, even root's, can harm what it maps."""
    need_fuse()
    as_nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    run = tempfile.mkdtemp(prefix="ad-")
    os.chown(run, 65534, 65534)
    env = dict(os.environ, ACESO_RUNTIME_DIR=run)
    name = f"fence{os.getpid()}"
    node, link = supervisor(name, env, as_nobody)
    try:
        said = link.recv(512).decode()
        if not said and node.wait() in (126, 127):
            pytest.skip("nobody may not run the programs of this folder")
        assert said.startswith("ready"), said
        ask = [os.path.join(BIN, "aceso"), "-p", name]
        done = subprocess.run([*ask, "put", "k", "v"], env=env, capture_output=True, text=True)
        assert done.returncode != 0 and "could not end us" in done.stderr
        mine = subprocess.run([*as_nobody, *ask, "put", "k", "v"], env=env, capture_output=True)
        assert mine.returncode == 0, mine.stderr
    finally:
        node.terminate()
        node.wait(timeout=20)
        link.close()
    assert wait_for(lambda: not of_pool(name), 10)
    shutil.rmtree(run)


@pytest.mark.parametrize("after_ms", [4, 8, 12, 16, 20, 30, 50])
def test_a_supervisor_that_dies_early_leaves_nothing(after_ms, tmp_path):
    env = dict(os.environ, ACESO_RUNTIME_DIR=str(tmp_path))
    name = f"early{os.getpid()}x{after_ms}"
    node, link = supervisor(name, env)
    assert wait_for(lambda: len(of_pool(name)) > 1)  # its first node
    time.sleep(after_ms / 1000)
    node.kill()
    node.wait()
    link.close()
    assert wait_for(lambda: not of_pool(name), 10), "nodes live on without anyone"
