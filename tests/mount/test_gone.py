"""Three of five hosts are switched off and nobody can tell that from a cable that was pulled: so
none is given up, but the status says what is the matter, and a mount ends all the same."""
import os
import signal
import subprocess
import time

import pytest

import conftest
from conftest import BIN, SLOW, Pool, aceso, need_fuse, wait_for

LINGERS = 20  # seconds; 5 of them are given to the pool to come back


@pytest.fixture
def hosts(monkeypatch):
    need_fuse()
    monkeypatch.setattr(conftest, "TRANSPORT", "tcp")
    made = Pool()
    yield made
    made.close()


def test_three_hosts_of_five_are_gone(hosts):
    where = os.path.join(hosts.base, "second")
    os.mkdir(where)
    with open(os.path.join(hosts.base, "said"), "w+", encoding="utf-8") as said:
        server = subprocess.Popen([os.path.join(BIN, "aceso-fuse"), "-f", "-o",
                                   f"pool={hosts.name}", where], stderr=said, stdout=said)
        assert wait_for(lambda: os.path.ismount(where), 30)
        for i in range(40):
            with open(f"{where}/f{i}", "wb") as f:
                f.write(b"%02d" % i * 10000)
        for node in (0, 1, 2):
            hosts.shoot(node)
        assert wait_for(lambda: hosts.status()["redundancy"] == "lost", 30), hosts.status()
        told = aceso("-p", hosts.name, "status", check=False)
        assert told.returncode == 2
        assert told.stdout.count("silent") == 3, told.stdout
        begin = time.monotonic()
        subprocess.run(["umount", where], check=True, timeout=LINGERS * SLOW)
        assert server.wait(120 * SLOW) == 0
        assert time.monotonic() - begin < LINGERS * SLOW
        said.seek(0)
        print(said.read())


def test_who_is_silent_is_waited_for_at_once(hosts):
    """What asks all nodes (df, and umount, which does so first) does not wait for one after
    another."""
    pids = [node["pid"] for node in hosts.status()["nodes"][:3]]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        begin = time.monotonic()
        assert os.statvfs(hosts.dir).f_blocks > 0  # of the others
        took = time.monotonic() - begin
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    print(f"{took:.1f} s")
    assert 1 < took < 4  # 2 s each: who is silent was asked
