"""All hosts of a pool lose power at once and come back in any order. What the pool held was in
memory: it begins again, empty; who waits for it is told for whom, and nobody hangs."""
import os
import signal
import subprocess
import time

import pytest

from conftest import BIN, SLOW, need_fuse, of_pool, server_of, wait_for
from test_cluster import NODES, Cluster, fill, one_line, same_trees

COORD = "coordinator"
PARTS = (COORD, *(f"node:{n}" for n in range(NODES)))
ETC = 62  # seconds that a mount of fstab waits, and a little


class Rack(Cluster):
    """Each part has an `aceso pool serve` of its own, as on a host of its own."""

    def __init__(self):
        super().__init__()
        self.servers = []
        self.outside = set()

    def power_on(self, *parts):
        with open(self.path("serve.log"), "a", encoding="utf-8") as log:
            self.servers += [subprocess.Popen(
                [os.path.join(BIN, "aceso"), "pool", "serve", self.name, "--only", part],
                env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
                for part in parts]

    def power_off(self):
        """All at once; but mounts of hosts outside of the rack go on."""
        inside = [m for m in self.mounts if server_of(m) not in self.outside]
        for server in self.servers:
            server.kill()
        for pid in of_pool(self.name):
            try:
                if pid not in self.outside:
                    os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for server in self.servers:
            server.wait()
        self.servers = []
        for where in inside:
            subprocess.run(["umount", "-l", where], check=True, timeout=60 * SLOW)
            self.mounts.remove(where)

    def start_mount(self, options=""):
        """Does not wait for it."""
        where = self.path(f"mnt{len(self.mounts)}-{time.monotonic_ns()}")
        os.mkdir(where)
        return where, subprocess.Popen(
            [os.path.join(BIN, "aceso-fuse"), "-o", f"pool={self.name}{options}", where],
            env=self.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def mounted(self, where, process):
        _, said = process.communicate(timeout=ETC * SLOW)
        assert process.returncode == 0, said + self.serve_log()
        self.mounts.append(where)

    def end(self):
        for where in self.mounts:
            subprocess.run(["umount", where], check=True, timeout=60 * SLOW)
        self.mounts = []
        assert wait_for(lambda: not of_pool("pool=" + self.name), 60), "mounts left behind"
        for server in self.servers:
            server.send_signal(signal.SIGTERM)
        for server in self.servers:
            assert server.wait(30 * SLOW) == 0
        # what was mounted when the power went has not tidied up
        subprocess.run(["rm", "-rf", self.path("run")], check=True)
        super().end()


@pytest.fixture
def rack():
    need_fuse()
    made = Rack()
    made.power_on(*PARTS)
    assert wait_for(made.is_full, 60), made.serve_log()
    where, done = made.mount()
    assert done.returncode == 0, done.stderr
    with open(os.path.join(where, "old"), "wb") as f:
        f.write(b"old" * 100000)
    yield made
    made.end()


def works(rack, where):
    """It is empty, and bears what a pool bears."""
    assert os.listdir(where) == []
    fill(rack.path("tree"))
    subprocess.run(["cp", "-r", rack.path("tree"), where], check=True, timeout=60 * SLOW)
    assert wait_for(rack.is_full, 60), rack.serve_log()
    pids = [rack.node_pid(n) for n in (1, 3)]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    assert same_trees(rack.path("tree"), os.path.join(where, "tree"))
    assert wait_for(lambda: rack.is_full() and rack.node_pid(1) not in pids
                    and rack.node_pid(3) not in pids, 60), rack.serve_log()
    assert same_trees(rack.path("tree"), os.path.join(where, "tree"))


@pytest.mark.parametrize("first, then, late", [
    ((COORD,), PARTS[1:], 3),
    (PARTS[1:], (COORD,), 3),
    (PARTS[:-1], PARTS[-1:], 10),
    ((COORD, "node:0"), PARTS[2:], 10),
], ids=["coordinator-first", "nodes-first", "one-host-late", "one-host-early"])
def test_all_hosts_lose_power(rack, first, then, late):
    rack.power_off()
    rack.power_on(*first)
    where, waits = rack.start_mount(",_netdev")
    time.sleep(late)
    assert waits.poll() is None, waits.communicate()
    begin = time.monotonic()
    rack.power_on(*then)
    rack.mounted(where, waits)
    print(f"{time.monotonic() - begin:.1f} s after the last one began")
    assert "all that the pool held is lost" in rack.serve_log()
    works(rack, where)


def test_who_is_waited_for_is_said(rack):
    rack.power_off()
    rack.power_on(COORD, "node:0", "node:1", "node:2")
    assert wait_for(lambda: (rack.status() or {}).get("redundancy") == "lost", 30)
    _, done = rack.mount()
    one_line(done, "too few of its nodes answer", "aceso status")
    assert wait_for(lambda: rack.status()["waits_for"] == [3, 4], 30), rack.status()
    assert "waits for   memory nodes 3, 4" in rack.aceso("-p", rack.name, "status").stdout
    rack.power_on("node:3")
    assert wait_for(lambda: rack.status()["waits_for"] == [4], 30), rack.status()
    rack.power_on("node:4")
    assert wait_for(rack.is_full, 60), rack.serve_log()
    assert rack.status()["waits_for"] == []


def test_a_mount_of_another_host_is_shut_out(rack):
    """It has seen the old contents: it shows neither those nor new ones."""
    where = rack.mounts[0]
    rack.outside = {server_of(where)}
    rack.power_off()
    rack.power_on(*PARTS)
    assert wait_for(rack.is_full, 60), rack.serve_log()
    with pytest.raises(OSError):
        open(os.path.join(where, "new"), "wb").close()
    with pytest.raises(OSError), open(os.path.join(where, "old"), "rb") as f:
        f.read()
    fresh, waits = rack.start_mount()
    rack.mounted(fresh, waits)
    works(rack, fresh)


def test_power_fails_again_and_again(rack):
    for seconds in (0.3, 1, 2, 4):
        rack.power_off()
        rack.power_on(*PARTS)
        time.sleep(seconds)
    where, waits = rack.start_mount(",_netdev")
    rack.mounted(where, waits)
    works(rack, where)
