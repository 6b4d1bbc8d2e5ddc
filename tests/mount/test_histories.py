"""Linearizability on a real pool: processes that are clients by libaceso do
everything to a few keys, while they and the nodes are killed, stopped and
continued at random from a printed seed. What each asked and was told, and when,
must have one order, key by key. ACESO_HISTORIES_SECONDS=n (make histories
SECONDS=n) runs longer, pool after pool."""
import os
import random
import signal
import subprocess
import time

import pytest
from conftest import BIN, SLOW, Pool, alive, need_fuse, of_pool, wait_for

SECONDS = int(os.environ.get("ACESO_HISTORIES_SECONDS", 8))
POOL_S = 20  # at most, with one pool
CLIENTS = 4
# beside the programs that are tested, also where build/bin is a folder of links
PROGRAM = os.path.join(os.path.dirname(os.path.realpath(os.path.join(BIN, "aceso-fuse"))),
                       "..", "tests", "mount", "histories")
DEATHS_MAX = 40  # of clients of one pool: each has a place of its own in the book


class Clients:
    def __init__(self, pool, rng):
        self.rng, self.book = rng, f"{pool.base}/book"
        runtime = os.environ.get("ACESO_RUNTIME_DIR", "/run/aceso")
        self.sock = f"{runtime}/{pool.name}/pool.sock"
        self.jobs, self.begun = [], 0
        subprocess.run([PROGRAM, "make", self.book], check=True)
        for _ in range(CLIENTS):
            self.add()

    def add(self):
        self.jobs.append(subprocess.Popen(
            [PROGRAM, "run", self.book, str(self.begun), str(self.rng.getrandbits(40)), self.sock],
            stderr=subprocess.PIPE, text=True))
        self.begun += 1

    def kill(self):
        if self.begun >= DEATHS_MAX:
            return
        job = self.jobs.pop(self.rng.randrange(len(self.jobs)))
        job.kill()
        job.communicate(timeout=60)
        self.add()

    def stop(self, seconds):
        """Not answering for a while; whom the pool needs then it may end."""
        job = self.rng.choice(self.jobs)
        job.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        job.send_signal(signal.SIGCONT)

    def look(self):
        for job in [j for j in self.jobs if j.poll() is not None]:
            self.jobs.remove(job)
            said = job.communicate(timeout=60)[1]
            assert job.returncode in (0, -signal.SIGKILL), said
            if self.begun < DEATHS_MAX:
                self.add()

    def finish(self):
        subprocess.run([PROGRAM, "stop", self.book], check=True)
        for job in self.jobs:
            job.send_signal(signal.SIGCONT)
            said = job.communicate(timeout=60 * SLOW)[1]
            assert job.returncode in (0, -signal.SIGKILL), said
        self.jobs = []

    def check(self):
        done = subprocess.run([PROGRAM, "check", self.book, self.sock], text=True,
                              capture_output=True, timeout=120 * SLOW, check=False)
        print(done.stdout)
        assert done.returncode == 0, done.stdout + done.stderr[-6000:]
        return int(done.stdout.rsplit("acts:", 1)[1])

    def end(self):
        for job in self.jobs:
            job.kill()
            job.communicate(timeout=60)


def harm_node(pool, rng, what):
    """A death only while enough of the others are whole."""
    nodes = pool.status()["nodes"]
    up = [n["pid"] for n in nodes if n["state"] == "up"]
    if what == "pause" and up:
        pid = rng.choice(up)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(rng.uniform(0.01, 0.3))
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass
        return 0
    if len(up) <= len(nodes) - 2:
        return 0
    pid = rng.choice(up)
    os.kill(pid, signal.SIGKILL if what == "kill" else signal.SIGSTOP)
    assert wait_for(lambda: not alive(pid), 30)
    return 1


def one_pool(rng, seconds):
    pool, clients, dead = Pool(size="256m", options="respawn=yes"), None, 0
    try:
        clients = Clients(pool, rng)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(rng.uniform(0.05, 0.5))
            what = rng.choice(("kill", "kill", "stop", "pause", "client", "client", "stop client"))
            if what == "client":
                clients.kill()
            elif what == "stop client":
                clients.stop(rng.uniform(0.02, 1.0))
            else:
                dead += harm_node(pool, rng, what)
            clients.look()
        clients.finish()
        assert pool.full(), pool.status()
        acts = clients.check()
        print(f"{acts} acts, {clients.begun} clients, {dead} nodes died")
        assert acts > 200 and dead > 0
    finally:
        if clients is not None:
            clients.end()
        pool.close()
    assert wait_for(lambda: not of_pool(pool.name), 15), "processes left behind"


def test_histories(seed):
    need_fuse()
    if os.environ.get("ACESO_TEST_DIR"):
        pytest.skip("ACESO_TEST_DIR: no pool to harm")
    if not os.path.exists(PROGRAM):
        pytest.skip(f"no {PROGRAM}: make tests")
    end, n = time.monotonic() + SECONDS, 0
    while n == 0 or time.monotonic() < end:
        print(f"pool {n}, seed {seed + n}", flush=True)
        one_pool(random.Random(seed + n), min(SECONDS, POOL_S))
        n += 1
