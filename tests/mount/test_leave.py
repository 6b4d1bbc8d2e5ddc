"""A mount leaves a pool over several hosts some of which stand still (SIGSTOP): connected, but mute."""
import os
import signal
import subprocess
import tempfile
import time

import pytest

from conftest import BIN, SLOW, wait_for
from test_cluster import cluster, served  # noqa: F401 (fixtures)

FILES = 300
SETTLED = 0.25  # seconds after a change its times are kept, at the earliest (FS_SETTLE_MS)
LINGERS = 15  # seconds; 5 of them are given to the hosts to go on


def begin(pool, said):
    where = tempfile.mkdtemp(prefix="mnt", dir=pool.base)
    server = subprocess.Popen([os.path.join(BIN, "aceso-fuse"), "-f", "-o", "pool=" + pool.name,
                               where], env=pool.env, stdin=subprocess.DEVNULL, stdout=said,
                              stderr=said)
    assert wait_for(lambda: os.path.ismount(where), 30)
    return where, server


def write(where):
    """What is synced must stay; times of the others are settled at the end."""
    for i in range(FILES):
        with open(os.path.join(where, f"f{i}"), "wb") as f:
            f.write(b"%d" % i * 100)
            if i % 3 == 0:
                f.flush()
                os.fsync(f.fileno())


def stop_just_after_a_change(nodes, where):
    """So that the directory's times, at least, are not settled yet."""
    for n in range(100):
        open(os.path.join(where, f"last{n}"), "wb").close()
        changed = time.monotonic()
        for pid in nodes:
            os.kill(pid, signal.SIGSTOP)
        if time.monotonic() - changed < SETTLED:
            return
        for pid in nodes:
            os.kill(pid, signal.SIGCONT)
    pytest.fail("the machine stands still all the time")


def check(pool, of):
    where, done = pool.mount()
    assert done.returncode == 0, done.stderr
    for i in of:
        with open(os.path.join(where, f"f{i}"), "rb") as f:
            assert f.read() == b"%d" % i * 100


@pytest.mark.parametrize("still", [2, 3])
@pytest.mark.parametrize("way", ["umount", "SIGTERM"])
def test_leave_hosts_that_stand_still(served, still, way):  # noqa: F811
    log = served.path("said")
    with open(log, "w", encoding="utf-8") as said:
        where, server = begin(served, said)
    write(where)
    nodes = [served.node_pid(which) for which in range(still)]
    stop_just_after_a_change(nodes, where)
    try:
        begun = time.monotonic()
        if way == "umount":
            subprocess.run(["umount", where], check=True, timeout=60 * SLOW)
        else:
            server.terminate()
        server.wait(120 * SLOW)
        took = time.monotonic() - begun
    finally:
        for pid in nodes:
            os.kill(pid, signal.SIGCONT)
    with open(log, encoding="utf-8") as f:
        words = f.read()
    assert took < LINGERS * SLOW, words
    assert ("not all that was changed last could be written" in words) == (still == 3), words
    # two were replaced; three went on
    assert wait_for(served.is_full, 60), served.serve_log()
    check(served, range(FILES) if still == 2 else range(0, FILES, 3))
