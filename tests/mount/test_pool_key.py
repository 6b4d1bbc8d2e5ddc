"""The key of a pool of this host: made with it, found by whoever attaches, gone with it; and
what is said to who has another one, or none."""
import os
import signal
import stat
import subprocess
import tempfile

import pytest

from conftest import BIN, SLOW, Pool, aceso, alive, need_fuse, of_pool, wait_for

ACESO = os.path.join(BIN, "aceso")


@pytest.fixture
def kept():
    """A pool with a runtime directory of its own: (pool, its place)."""
    need_fuse()
    base = tempfile.mkdtemp(prefix="aceso-run-")
    was = os.environ.get("ACESO_RUNTIME_DIR")
    os.environ["ACESO_RUNTIME_DIR"] = base
    pool = Pool(size="64m")
    yield pool, os.path.join(base, pool.name)
    pool.close()
    assert wait_for(lambda: not of_pool(pool.name), 30), "processes left behind"
    assert wait_for(lambda: os.listdir(base) == [], 10), os.listdir(base)
    os.rmdir(base)
    if was is None:
        del os.environ["ACESO_RUNTIME_DIR"]
    else:
        os.environ["ACESO_RUNTIME_DIR"] = was


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def write(path, text):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def try_mount(pool):
    where = tempfile.mkdtemp(prefix="mnt", dir=pool.base)
    done = subprocess.run([os.path.join(BIN, "aceso-fuse"), "-o", "pool=" + pool.name, where],
                          text=True, capture_output=True, timeout=60 * SLOW)
    assert not os.path.ismount(where)
    return done


def refused(done, word):
    """In one line, that names the cause; and with what to do."""
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1 and word in done.stderr, done.stderr
    assert "mount it again" in done.stderr or "sudo" in done.stderr, done.stderr


def test_it_is_its_owners_and_the_pools(kept):
    pool, place = kept
    key = os.path.join(place, "pool.key")
    st = os.stat(key)
    assert stat.S_IMODE(st.st_mode) == 0o600 and st.st_uid == os.geteuid()
    assert not os.path.exists(os.path.join(place, "readers.key"))
    assert len(read(key)) == 65
    write(os.path.join(pool.dir, "f"), "one")
    second = pool.second()
    assert read(os.path.join(second, "f")) == "one"
    assert aceso("-p", pool.name, "status").returncode == 0
    # whichever mount goes first, what is left finds its way
    subprocess.run(["umount", pool.dir], check=True)
    assert aceso("-p", pool.name, "put", "k", "v").returncode == 0
    third = pool.second()
    assert read(os.path.join(third, "f")) == "one"


@pytest.mark.parametrize("harm, word", [
    (lambda key, old: write(key, old[:-2] + ("0" if old[-2] != "0" else "1") + "\n"), "key"),
    (lambda key, old: os.unlink(key), "no key"),
    (lambda key, old: os.chmod(key, 0o644), "others may read"),
    (lambda key, old: write(key, "?\n"), "was changed"),
], ids=["another", "none", "open", "broken"])
def test_without_the_right_key_there_is_no_way_in(kept, harm, word):
    pool, place = kept
    key = os.path.join(place, "pool.key")
    old = read(key)
    write(os.path.join(pool.dir, "f"), "one")
    harm(key, old)
    refused(try_mount(pool), word)
    for words in (["status"], ["get", "k"], ["put", "k", "v"]):
        refused(aceso("-p", pool.name, *words, check=False), word)
    # who is in stays, and is not held up
    write(os.path.join(pool.dir, "g"), "two")
    assert read(os.path.join(pool.dir, "f")) == "one"
    if os.path.exists(key):
        os.unlink(key)
    fd = os.open(key, os.O_CREAT | os.O_WRONLY, 0o600)
    os.write(fd, old.encode())
    os.close(fd)
    assert pool.status()["redundancy"] == "full"


def test_nodes_that_come_back_have_it(kept):
    pool, place = kept
    write(os.path.join(pool.dir, "f"), "one")
    where = pool.second("")
    subprocess.run(["umount", where], check=True)
    pool.extra.remove(where)
    first = read(os.path.join(place, "pool.key"))
    pool.kill_node(0)
    assert read(os.path.join(pool.dir, "f")) == "one"
    assert read(os.path.join(place, "pool.key")) == first


def test_it_goes_with_the_last_of_a_pool_whose_supervisor_died(kept):
    pool, place = kept
    supervisor = int(read(os.path.join(place, "lock")))
    os.kill(supervisor, signal.SIGKILL)
    assert wait_for(lambda: not alive(supervisor), 10)
    assert os.path.exists(os.path.join(place, "pool.key"))
    subprocess.run(["umount", pool.dir], check=True)
    assert wait_for(lambda: not os.path.exists(place), 30), os.listdir(place)
    # a new pool of that name is another one
    pool.mount(pool.dir, "size=64m")
    assert len(read(os.path.join(place, "pool.key"))) == 65


def test_a_pool_directory_has_another_one_each_time():
    need_fuse()
    with tempfile.TemporaryDirectory(prefix="aceso-run-") as base, \
            tempfile.TemporaryDirectory(prefix="aceso-dir-") as keep:
        env = {**os.environ, "ACESO_RUNTIME_DIR": base}
        where, seen = os.path.join(base, "mnt"), []
        os.mkdir(where)
        for again in range(2):
            subprocess.run([os.path.join(BIN, "aceso-fuse"), "-o",
                            f"pool=keyed,pool-dir={keep},size=64m", where], check=True, env=env)
            seen.append(read(os.path.join(base, "keyed", "pool.key")))
            if again:
                assert read(os.path.join(where, "f")) == "kept"
            else:
                write(os.path.join(where, "f"), "kept")
            subprocess.run(["umount", where], check=True)
            assert wait_for(lambda: os.listdir(base) == ["mnt"], 60), os.listdir(base)
        assert seen[0] != seen[1]
        for root, _, files in os.walk(keep):  # nothing on the disk has it
            for name in files:
                assert not name.endswith(".key"), os.path.join(root, name)
