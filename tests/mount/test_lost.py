"""More nodes gone than the code bears: what is lost is EIO, at once; all else
works, for those who are there and for those who come."""
import errno
import os
import time

from conftest import aceso, says_lost, wait_for

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
