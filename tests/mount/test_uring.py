"""Requests by io_uring (fs/ring.h), where this kernel has that: what comes that way is answered
as ever, also while others wait; and a mount ends, however it is ended, with all its threads."""
import contextlib
import os
import random
import signal
import subprocess
import threading
import time

import pytest
from conftest import SLOW, Pool, of_pool, pattern, server_of, sh, wait_for

OFFER = "/sys/module/fuse/parameters/enable_uring"


@pytest.fixture
def offered():
    """The kernel offers it to mounts made now."""
    if not os.path.exists(OFFER):
        pytest.skip("this kernel has no FUSE over io_uring (Linux 6.14)")
    with open(OFFER, encoding="ascii") as f:
        before = f.read()
    try:
        with open(OFFER, "w", encoding="ascii") as f:
            f.write("Y")
    except OSError as e:
        pytest.skip(f"{OFFER}: {e.strerror}")
    yield
    with open(OFFER, "w", encoding="ascii") as f:
        f.write(before)


@pytest.fixture
def pool(offered):
    made = Pool()
    yield made
    made.close()
    assert wait_for(lambda: not of_pool(made.name), 10), "processes left behind"


@contextlib.contextmanager
def connections():
    """The kernel's folder of FUSE mounts is there."""
    where = "/sys/fs/fuse/connections"
    was = os.path.ismount(where)
    if not was:
        sh(f"mount -t fusectl none {where}")
    try:
        yield
    finally:
        if not was:
            sh(f"umount {where}")


def rings(where):
    """How many the server of that mount has."""
    pid, n = server_of(where), 0
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            n += os.readlink(f"/proc/{pid}/fd/{fd}") == "anon_inode:[io_uring]"
    return n


def test_all_kinds_of_requests(pool):
    d = pool.dir
    assert rings(d) >= len(os.sched_getaffinity(0))
    sh(f"cp -a /usr/include/linux {d}/t && diff -r /usr/include/linux {d}/t")
    sh("ln -s t s && ln t/fs.h l && mv l m && mkdir -p a/b && rmdir a/b && mkfifo p && "
       "setfattr -n user.k -v v m && getfattr -d m | grep -q v && stat -f . && df . && "
       "find . | wc -l && tar c t | tar t | wc -l && truncate -s 1m x && fallocate -l 1m y && "
       "ls -la s/ && rm -r t && sync -f .", cwd=d)
    sh("fio --name=v --directory=. --size=16m --rw=randrw --bs=4k --direct=1 --ioengine=libaio "
       "--iodepth=16 --numjobs=2 --verify=crc32c --verify_state_save=0 --time_based=0", cwd=d)
    sh("fio --name=m --directory=. --size=16m --rw=randwrite --bs=4k --ioengine=mmap "
       "--verify=crc32c --verify_state_save=0", cwd=d)
    sh("fio --name=s --directory=. --size=32m --rw=write --bs=1m --verify=crc32c "
       "--verify_state_save=0", cwd=d)


def test_nodes_die_under_load(pool):
    rng = random.Random(7)
    data = [pattern(rng, 1 << 20) for _ in range(16)]
    errors = []

    def work(me):
        try:
            for i, bytes_ in enumerate(data):
                path = os.path.join(pool.dir, f"{me}-{i}")
                with open(path, "wb") as f:
                    f.write(bytes_)
                with open(path, "rb") as f:
                    assert f.read() == bytes_, path
        except BaseException as e:  # to be told by the main thread
            errors.append(repr(e))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    pool.kill_node(1)
    pool.kill_node(3)
    for t in threads:
        t.join()
    assert not errors
    sh("echo 3 > /proc/sys/vm/drop_caches")
    for n in range(4):
        for i, bytes_ in enumerate(data):
            with open(os.path.join(pool.dir, f"{n}-{i}"), "rb") as f:
                assert f.read() == bytes_


@contextlib.contextmanager
def silent_nodes(pool):
    """Nobody gets a new block; what is there can be read."""
    nodes = pool.node_pids()
    for pid in nodes:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in nodes:
            os.kill(pid, signal.SIGCONT)


def stuck_writers(where, n, cpu=None):
    """@n processes whose requests wait while all nodes are silent."""
    on = [] if cpu is None else ["taskset", "-c", str(cpu)]
    writers = [subprocess.Popen([*on, "dd", "if=/dev/zero", f"of={where}/w{i}", "bs=1M", "count=8",
                                 "status=none"], stderr=subprocess.DEVNULL) for i in range(n)]
    assert not wait_for(lambda: any(w.poll() is not None for w in writers), 1)
    return writers


def kept_file(pool):
    kept = os.path.join(pool.dir, "kept")
    with open(kept, "wb") as f:
        f.write(b"x" * (1 << 20))
    return kept


def test_who_waits_holds_up_nobody(pool):
    kept = kept_file(pool)
    with silent_nodes(pool):
        writers = stuck_writers(pool.dir, 12)
        for n in range(8):
            done = subprocess.run(["dd", f"if={kept}", "iflag=direct", "bs=4k", f"skip={n}",
                                   "count=1", "status=none"], capture_output=True,
                                  timeout=10 * SLOW)
            assert done.stdout == b"x" * 4096
    assert [w.wait(60 * SLOW) for w in writers] == [0] * len(writers)


@pytest.mark.parametrize("stuck", [1, 10])
def test_others_of_the_same_cpu_go_on(pool, stuck):
    """Of each CPU one thread takes requests, until it has waited for some milliseconds. Then
    others do, in whose name the kernel disturbs the sleep of those who wait."""
    kept, cpu = kept_file(pool), min(os.sched_getaffinity(0))
    with silent_nodes(pool):
        writers = stuck_writers(pool.dir, stuck, cpu)
        begin = time.monotonic()
        sh(f"taskset -c {cpu} dd if={kept} iflag=direct bs=4k count=1 status=none | wc -c")
        assert time.monotonic() - begin < 5 * SLOW  # without a keeper: the writers' 30
        sh(f"taskset -c {cpu} fio --name=r --filename={kept} --rw=randread --bs=4k --direct=1 "
           "--ioengine=libaio --iodepth=16 --size=1m --loops=20 --buffer_pattern=0x78 "
           "--verify=pattern --verify_pattern=0x78 --verify_only=0", timeout=20 * SLOW)
        assert not any(w.poll() is not None for w in writers), "they were to wait"
    assert [w.wait(60 * SLOW) for w in writers] == [0] * stuck
    for n in range(stuck):
        assert os.path.getsize(f"{pool.dir}/w{n}") == 8 << 20


@pytest.mark.parametrize("how", ["abort", "umount -f", "umount -l", "TERM"])
def test_it_ends_while_requests_wait(offered, how):
    """More than there are entries, so that some wait at their desk and some in the kernel."""
    made = Pool(options="max_threads=8")
    pid, cpu = server_of(made.dir), min(os.sched_getaffinity(0))
    abort = f"/sys/fs/fuse/connections/{os.minor(os.stat(made.dir).st_dev)}/abort"
    with silent_nodes(made):
        writers = stuck_writers(made.dir, 12, cpu)
        if how == "abort":
            with connections(), open(abort, "w", encoding="ascii") as f:
                f.write("1")
        elif how == "TERM":
            os.kill(pid, signal.SIGTERM)
        else:
            subprocess.run([*how.split(), made.dir], capture_output=True, check=False)
        if how == "umount -l":  # it lives on as long as its files are open
            for w in writers:
                w.kill()
        if how in ("abort", "umount -f"):
            assert wait_for(lambda: all(w.poll() is not None for w in writers), 10), "they wait"
    assert wait_for(lambda: not of_pool(made.name), 40), "it goes on"
    for w in writers:
        w.wait(10 * SLOW)
    subprocess.run(["umount", "-l", made.dir], capture_output=True, check=False)
    os.rmdir(made.dir)
    os.rmdir(made.base)


@pytest.mark.parametrize("how", ["umount", "TERM", "KILL"])
def test_it_ends(offered, how):
    made = Pool()
    pid = server_of(made.dir)
    busy = os.path.join(made.dir, "busy")  # and not there without the mount
    os.mkdir(busy)
    load = subprocess.Popen(["sh", "-c", f"while echo x > {busy}/f; do cat {busy}/f; done"],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert wait_for(lambda: os.path.exists(os.path.join(busy, "f")))
        if how == "umount":
            load.kill()
            load.wait()
            sh(f"umount {made.dir}")
        else:
            os.kill(pid, signal.Signals["SIG" + how])
        assert wait_for(lambda: not of_pool(made.name), 30), "it goes on"
    finally:
        load.kill()
        load.wait()
        subprocess.run(["umount", "-l", made.dir], capture_output=True, check=False)
    os.rmdir(made.dir)
    os.rmdir(made.base)


def test_not_if_it_is_not_wanted(offered):
    made = Pool(options="noio_uring")
    assert rings(made.dir) == 0
    sh("cp /etc/passwd . && cmp /etc/passwd passwd", cwd=made.dir)
    made.close()
    assert wait_for(lambda: not of_pool(made.name), 10), "processes left behind"


def test_not_if_it_is_not_offered(offered):
    with open(OFFER, "w", encoding="ascii") as f:
        f.write("N")
    made = Pool()
    assert rings(made.dir) == 0
    made.close()
    assert wait_for(lambda: not of_pool(made.name), 10), "processes left behind"
