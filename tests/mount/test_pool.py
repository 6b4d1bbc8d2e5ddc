"""The pool as its user sees it: status, space, a second mount, the end."""
import errno
import json
import os
import random
import re
import signal
import subprocess
import threading
import time

import pytest
from conftest import BIN, Pool, aceso, alive, need_fuse, of_pool, pattern, sh, wait_for


def test_status_has_its_stable_names(pool):
    s = pool.status()
    assert s["pool"] == pool.name and s["code"] == "3+2" and s["transport"] == "shm"
    assert s["redundancy"] == "full"
    for name in ("capacity", "used", "raw_used"):
        assert isinstance(s[name], int)
    assert s["capacity"] >= 512 << 20
    assert [n["id"] for n in s["nodes"]] == [0, 1, 2, 3, 4]
    for n in s["nodes"]:
        assert n["state"] == "up" and alive(n["pid"])
        assert n["capacity"] > 0 and 0 <= n["used"] <= n["capacity"]
    assert aceso("-p", pool.name, "status").stdout


def test_status_says_how_each_peer_is_reached(pool):
    s, text = pool.status(), aceso("-p", pool.name, "status").stdout
    assert [len(s[kind]) for kind in ("nodes", "clients", "coordinators")] == [5, 1, 1]
    for kind in ("nodes", "clients", "coordinators"):
        assert {(peer["transport"], peer["why"]) for peer in s[kind]} == {("shm", "on this host")}
    assert s["nodes_transport"] == "shm" and s["coordinators"][0]["leads"] is True
    assert "code        3+2 over shm\n" in text
    assert len(re.findall(r"  shm: on this host$", text, re.M)) == 7, text


def test_a_file_takes_its_share_of_memory(pool):
    """RS(3,2): 5/3 of the bytes once folded."""
    before = pool.status()["raw_used"]
    size = 192 << 20
    with open(os.path.join(pool.dir, "f"), "wb") as f:
        for _ in range(size >> 20):
            f.write(os.urandom(1 << 20))
    assert wait_for(lambda: pool.status()["raw_used"] - before < 1.95 * size, 30), \
        (pool.status()["raw_used"] - before) / size


def test_removing_gives_space_back(pool):
    before = pool.space()
    for round in range(3):
        with open(os.path.join(pool.dir, "big"), "wb") as f:
            for _ in range(200):
                f.write(os.urandom(1 << 20))
        assert pool.space() < before - (180 << 20)
        os.unlink(os.path.join(pool.dir, "big"))
        assert wait_for(lambda: pool.space() > before - (40 << 20), 30), round


def test_small_files_give_space_and_index_back(pool):
    def free_slots():
        return os.statvfs(pool.dir).f_ffree

    before, slots = pool.space(), free_slots()
    for round in range(4):
        sh(f"mkdir {pool.dir}/m && cd {pool.dir}/m && "
           "for i in $(seq 40); do head -c 100000 /dev/urandom | split -a3 -b 1000 - f$i-; done")
        sh(f"rm -rf {pool.dir}/m")
    assert wait_for(lambda: pool.space() > before - (64 << 20), 60)


def test_full_is_enospc_and_harms_nothing(seed):
    need_fuse()
    pool = Pool(size="64m")
    try:
        kept = pattern(random.Random(seed), 5 << 20)
        with open(os.path.join(pool.dir, "kept"), "wb") as f:
            f.write(kept)
        with pytest.raises(OSError) as e:
            with open(os.path.join(pool.dir, "fill"), "wb", buffering=0) as f:
                while True:
                    f.write(b"f" * (1 << 20))
        assert e.value.errno == errno.ENOSPC
        with pytest.raises(OSError) as e:
            for i in range(100000):
                with open(os.path.join(pool.dir, f"small{i}"), "wb") as f:
                    f.write(b"s" * 3000)
        assert e.value.errno == errno.ENOSPC
        with open(os.path.join(pool.dir, "kept"), "rb") as f:
            assert f.read() == kept
        names = os.listdir(pool.dir)
        for name in names:
            if name != "kept":
                os.unlink(os.path.join(pool.dir, name))
        assert os.listdir(pool.dir) == ["kept"]
        assert wait_for(lambda: pool.space() > 30 << 20, 30)
        with open(os.path.join(pool.dir, "again"), "wb") as f:
            f.write(b"a" * (16 << 20))
        with open(os.path.join(pool.dir, "kept"), "rb") as f:
            assert f.read() == kept
    finally:
        pool.close()


def test_two_mounts_see_one_tree(pool):
    other = pool.second()
    with open(f"{pool.dir}/a", "w") as f:
        f.write("from the first")
    with open(f"{other}/a") as f:
        assert f.read() == "from the first"
    with open(f"{other}/a", "a") as f:
        f.write(", and the second")
    time.sleep(1.2)
    with open(f"{pool.dir}/a") as f:
        assert f.read() == "from the first, and the second"
    os.mkdir(f"{other}/d")
    os.rename(f"{pool.dir}/a", f"{pool.dir}/d/b")
    time.sleep(1.2)
    assert os.listdir(f"{other}/d") == ["b"] and os.listdir(other) == ["d"]
    subprocess.run(["umount", pool.dir], check=True)
    with open(f"{other}/d/b") as f:
        assert f.read() == "from the first, and the second"


def test_open_sees_what_the_other_mount_wrote(pool):
    """Close-to-open, also where the size was looked at a moment ago."""
    one, two = f"{pool.dir}/f", f"{pool.second()}/f"
    for n in range(1, 40):
        mine, other = (one, two) if n % 2 else (two, one)
        if n > 1:
            assert os.stat(other).st_size > 0  # now the kernel knows a size
        with open(mine, "w") as f:
            f.write("x" * n * 1000)
        with open(other) as f:
            assert os.fstat(f.fileno()).st_size == n * 1000
            assert f.read() == "x" * n * 1000


def test_two_mounts_create_at_once(pool):
    """Of two that create the same name exclusively, exactly one wins."""
    other, wins = pool.second(), [[], []]

    def work(me, base):
        for i in range(300):
            try:
                os.close(os.open(f"{base}/n{i}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                wins[me].append(i)
            except FileExistsError:
                pass

    jobs = [threading.Thread(target=work, args=a) for a in ((0, pool.dir), (1, other))]
    for j in jobs:
        j.start()
    for j in jobs:
        j.join()
    assert sorted(wins[0] + wins[1]) == list(range(300))
    assert len(os.listdir(other)) == 300


def test_two_mounts_append(pool):
    other = pool.second()
    open(f"{pool.dir}/log", "w").close()

    def work(base, tag):
        fd = os.open(f"{base}/log", os.O_WRONLY | os.O_APPEND)
        for i in range(200):
            os.write(fd, f"{tag}{i:06d}\n".encode())
        os.close(fd)

    jobs = [threading.Thread(target=work, args=a) for a in ((pool.dir, "a"), (other, "b"))]
    for j in jobs:
        j.start()
    for j in jobs:
        j.join()
    time.sleep(1.2)
    with open(f"{other}/log") as f:
        lines = f.read().split("\n")
    assert sorted(lines[:-1]) == sorted(f"{t}{i:06d}" for t in "ab" for i in range(200))


def test_one_mount_dies_the_other_goes_on(pool):
    other = pool.second()
    with open(f"{pool.dir}/f", "wb") as f:
        f.write(b"f" * 300000)
    pid = [p for p in of_pool(pool.name)
           if open(f"/proc/{p}/cmdline").read().split("\0")[-2:-1] == [pool.dir]]
    assert pid
    for p in pid:
        os.kill(p, signal.SIGKILL)
    subprocess.run(["umount", "-l", pool.dir])
    with open(f"{other}/f", "rb") as f:
        assert f.read() == b"f" * 300000
    pool.shoot(2)
    with open(f"{other}/f", "rb") as f:
        assert f.read() == b"f" * 300000
    with open(f"{other}/g", "wb") as f:
        f.write(b"g" * 300000)
    assert os.path.getsize(f"{other}/g") == 300000


def test_kill_of_the_mount_leaves_nothing():
    need_fuse()
    pool = Pool()
    with open(f"{pool.dir}/f", "wb") as f:
        f.write(b"f" * (4 << 20))
    nodes = pool.node_pids()
    holders = [p for p in of_pool(pool.name)
               if open(f"/proc/{p}/cmdline").read().split("\0")[-2:-1] == [pool.dir]]
    for p in holders:
        os.kill(p, signal.SIGKILL)
    subprocess.run(["umount", "-l", pool.dir])
    assert wait_for(lambda: not of_pool(pool.name), 15), of_pool(pool.name)
    assert not any(alive(p) for p in nodes)
    os.rmdir(pool.dir)
    os.rmdir(pool.base)


def test_idle_costs_nothing(pool):
    """Under 1 % of a core, over all processes of the pool."""
    def cpu():
        """Seconds, as the scheduler knows them: what is short falls between the ticks of stat."""
        total = 0
        for p in of_pool(pool.name):
            for thread in os.listdir(f"/proc/{p}/task"):
                with open(f"/proc/{p}/task/{thread}/schedstat") as f:
                    total += int(f.read().split()[0])
        return total / 1e9

    with open(f"{pool.dir}/f", "wb") as f:
        f.write(b"f" * (4 << 20))
    time.sleep(3)
    before = cpu()
    time.sleep(5)
    assert (cpu() - before) / 5 < 0.01


def test_user_keys(pool):
    def on(*args):
        return aceso("-p", pool.name, *args, check=False)

    assert on("put", "greeting", "hello").returncode == 0
    assert on("get", "greeting").stdout.rstrip("\n") == "hello"
    assert "greeting" in on("ls", "--keys").stdout
    assert on("rm", "greeting").returncode == 0
    assert on("get", "greeting").returncode != 0
    with open(f"{pool.dir}/file", "wb") as f:
        f.write(b"q" * 100000)
    text = on("explain", "/file").stdout
    for word in ("inode", "chunk", "slot", "stripe", "node"):
        assert word in text.lower(), text
