"""What killed mounts leave behind is given back while others are at work,
without fsck."""
import os
import signal
import subprocess
import time

from conftest import SLOW, Pool, alive, sh, wait_for
from test_fencing import WRITER, Prober, mount_pid
from test_fsck import fsck

DEATHS = 10
MB = 1 << 20


def lines(log):
    with open(log, encoding="utf-8") as f:
        return sum(line.startswith("done") for line in f)


def kill_under(pool, where, words, under_way):
    """The pool's last mount, at @where, is killed while the script and arguments @words work on it:
    once @under_way() has returned."""
    pid = mount_pid(pool, -1)
    with subprocess.Popen(["/usr/bin/python3", "-c", *words], stderr=subprocess.DEVNULL) as job:
        under_way()
        os.kill(pid, signal.SIGKILL)
        assert wait_for(lambda: not alive(pid), 30)
        job.kill()
    subprocess.run(["umount", "-l", where], check=True)
    pool.extra.remove(where)


def live_and_die(pool, n, seed):
    """A mount that writes small and large files, all the time, and is killed."""
    where, log = pool.second(), f"{pool.base}/log{n}"

    def under_way():
        assert wait_for(lambda: os.path.exists(log) and lines(log) >= 60, 60)

    os.mkdir(f"{where}/m{n}")
    kill_under(pool, where, [WRITER, f"{where}/m{n}", log, str(seed)], under_way)


def test_killed_mounts_leave_no_space_behind(seed):
    """Nor are others kept waiting for more than a second or two."""
    pool, prober = Pool(size="256m"), None
    try:
        with open(f"{pool.dir}/first", "wb") as f:
            f.write(os.urandom(MB))
        os.sync()
        time.sleep(1)  # statfs is cached
        before = pool.space()
        os.mkdir(f"{pool.dir}/probes")
        prober = Prober(f"{pool.dir}/probes")
        for n in range(DEATHS):
            live_and_die(pool, n, seed + n)
            sh(f"rm -r m{n}", pool.dir)
            assert pool.space() > before / 2, f"{n} have died"
        longest, prober = prober.end(), None
        assert longest < 3 * SLOW, f"another mount waited for {longest:.1f} s"
        # One mount's worth of open blocks is this one's own.
        assert wait_for(lambda: pool.space() > before - 64 * MB, 20), \
            f"{(before - pool.space()) // MB} MB of {before // MB} are gone"
    finally:
        if prober is not None:
            prober.stop.set()
            prober.thread.join()
        pool.close()


# Long records, all the time, of several threads.
LONG = """
import os, sys, threading
def work(i):
    path, n = f"{sys.argv[1]}/long{i}", 0
    open(path, "w").close()
    while True:
        os.setxattr(path, "user.long", bytes([n % 255 + 1]) * (60000 - n % 7 * 5000))
        n += 1
for i in range(4):
    threading.Thread(target=work, args=(i,)).start()
"""


def die_in_a_write(pool):
    where = pool.second()
    kill_under(pool, where, [LONG, where], lambda: time.sleep(0.5))


def leaks(pool):
    return [f for f in fsck(pool)[1]["faults"] if f["kind"] == "leak"]


def test_what_was_half_written_comes_back():
    """fsck, which only looks, finds nothing any more that is in nobody's use."""
    pool = Pool(size="256m")
    try:
        for _ in range(DEATHS):
            die_in_a_write(pool)
        assert wait_for(lambda: not leaks(pool), 90, 2), leaks(pool)
    finally:
        pool.close()
