"""More nodes gone than the code bears: what is lost is EIO, at once; all else
works, for those who are there and for those who come."""
import errno
import os
import time

import pytest

from conftest import Pool, aceso, need_fuse, says_lost, wait_for

AT_ONCE = 3  # seconds; the deadline of an operation is 30


def key(pool, *args):
    begin = time.monotonic()
    done = aceso("-p", pool.name, *args, check=False)
    assert time.monotonic() - begin < AT_ONCE, args
    assert done.returncode == 0 or "Input/output error" in done.stderr, done.stderr
    return done.stdout if done.returncode == 0 else None


def content(path):
    begin = time.monotonic()
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError as e:
        assert e.errno == errno.EIO, e
        return None
    finally:
        assert time.monotonic() - begin < AT_ONCE, path


@says_lost
def test_only_what_is_lost_is_lost(pool):
    for i in range(40):
        key(pool, "put", f"k{i}", f"v{i}")
        with open(f"{pool.dir}/f{i}", "wb") as f:
            f.write(b"%02d" % i * 10000)
    for node in (0, 1, 2):
        pool.shoot(node)
    assert wait_for(lambda: pool.status()["redundancy"] == "lost", 5)
    got = [key(pool, "get", f"k{i}") for i in range(40)]
    assert all(v is None or v.strip() == f"v{i}" for i, v in enumerate(got))
    assert 0 < sum(v is None for v in got) < 40
    seen = [content(f"{pool.dir}/f{i}") for i in range(40)]
    assert all(v is None or v == b"%02d" % i * 10000 for i, v in enumerate(seen))
    assert any(v is None for v in seen)
    new = [key(pool, "put", f"new{i}", f"n{i}") for i in range(20)]
    assert any(v is not None for v in new), "nothing can be written any more"
    for i, v in enumerate(new):
        assert v is None or key(pool, "get", f"new{i}").strip() == f"n{i}"
    assert aceso("-p", pool.name, "status", check=False).returncode == 2
    assert aceso("-p", pool.name, "status", check=False).stdout.count("lost") >= 2
    done = aceso("-p", pool.name, "fsck", check=False)
    assert done.returncode == 8 and "parts of the index" in done.stderr, (done.returncode, done.stderr)


def cpu(pids):
    """Seconds that they have used."""
    ticks = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat") as f:
            ticks += sum(int(n) for n in f.read().rpartition(")")[2].split()[11:13])
    return ticks / os.sysconf("SC_CLK_TCK")


@pytest.fixture
def slow_pool():
    """It replaces its dead, and takes its time, so that others can die meanwhile."""
    need_fuse()
    made = Pool(options="respawn=yes,rebuild_rate=20m")
    yield made
    made.close()


@says_lost
def test_recovery_ends_when_a_third_dies(slow_pool):
    """Two are being rebuilt when a third dies: it is replaced as they are, what
    can be had is brought back, and then they rest and say what could not."""
    pool = slow_pool
    for i in range(60):
        with open(f"{pool.dir}/f{i}", "wb") as f:
            f.write(b"%02d" % i * 1000000)
    for node in (1, 2):
        pool.shoot(node)
    assert wait_for(lambda: all(pool.status()["nodes"][n]["state"] == "coming"
                                for n in (1, 2)), 20, 0.01), pool.status()["nodes"]
    pool.shoot(3)
    assert wait_for(lambda: [n["state"] for n in pool.status()["nodes"]] ==
                    ["up", "coming", "coming", "coming", "up"], 20), pool.status()["nodes"]
    assert wait_for(lambda: pool.status()["recovery"]["tier"] == "none", 60), pool.status()
    now = pool.status()
    lost = now["recovery"]["lost"]
    assert now["redundancy"] == "lost"
    assert 0 < lost <= 60 * 2000000 * 2
    assert lost == sum(n["recovery"]["lost"] for n in now["nodes"] if "recovery" in n)
    # so `restored` has no `lost`: who lacks something is not up
    assert all(("recovery" in n) == (n["state"] == "coming") and
               ("restored" not in n or n["state"] == "up") for n in now["nodes"])
    assert now["recovery"]["done"] == now["recovery"]["total"]
    text = aceso("-p", pool.name, "status", check=False).stdout
    assert "cannot be brought back" in text, text
    pids = [n["pid"] for n in now["nodes"]]
    before, begin = cpu(pids), time.monotonic()
    time.sleep(3)
    share = (cpu(pids) - before) / (time.monotonic() - begin)
    print(f"{lost} bytes lost; at rest {share:.3f} of a processor")
    assert share < 0.25, "they try and try"
    seen = [content(f"{pool.dir}/f{i}") for i in range(60)]
    assert all(v is None or v == b"%02d" % i * 1000000 for i, v in enumerate(seen))
    assert any(v is None for v in seen)
