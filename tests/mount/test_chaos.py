"""Everything at once on a real pool: work that checks itself and a manifest of
what was acknowledged, while nodes and mounts are killed, stopped and continued
at random from a printed seed. ACESO_CHAOS_SECONDS=n (make chaos SECONDS=n) runs
longer, pool after pool."""
import os
import random
import signal
import subprocess
import time

import pytest
from conftest import Pool, alive, need_fuse, of_pool, sh, wait_for
from test_fencing import WRITER, get, mount_pid, put, written

SECONDS = int(os.environ.get("ACESO_CHAOS_SECONDS", 12))
STALL = 20  # seconds; a step of the manifest's writer never takes this long

# Each ends by itself, fails if a byte is wrong, and runs in a folder of its own.
WORK = {
    "fio": "fio --name=v --size=16m --rw=randwrite --bs=4k --ioengine=psync --verify=crc32c "
           "--verify_fatal=1 --verify_state_save=0 --randrepeat=0 --output=log",
    "git": "rm -rf r && git init -q r && cp -r /usr/include/linux/netfilter r/ && cd r && git add -A && "
           "git -c user.name=a -c user.email=a@b -c gc.auto=0 commit -qm one && git fsck --full 2>&1 && "
           'test -z "$(git status --porcelain)"',
    "sqlite": "rm -f db* && for i in $(seq 30); do sqlite3 db 'CREATE TABLE IF NOT EXISTS t(a,b); BEGIN;"
              "INSERT INTO t VALUES(1, hex(randomblob(900))); INSERT INTO t SELECT * FROM t LIMIT 20; COMMIT;'; "
              "done; sqlite3 db 'PRAGMA integrity_check' | grep -qx ok",
}


class Worker:
    """Runs one kind of work over and over."""

    def __init__(self, base, kind):
        self.where, self.kind, self.rounds, self.ending = f"{base}/{kind}", kind, 0, False
        os.makedirs(self.where)
        self.begin()

    def begin(self):
        self.job = subprocess.Popen(["bash", "-e", "-o", "pipefail", "-c", WORK[self.kind]],
                                    cwd=self.where, text=True, stdout=subprocess.PIPE,
                                    stderr=subprocess.STDOUT, env=dict(os.environ, LC_ALL="C"),
                                    start_new_session=True)

    def look(self, end=False):
        if not end and self.job.poll() is None:
            return
        out = self.job.communicate(timeout=180)[0]
        assert self.job.returncode == 0, f"{self.kind}: {out[-3000:]}"
        self.rounds += 1
        if not end:
            self.begin()


    def end(self):
        """With all that it started: nothing stays in the mount."""
        try:
            os.killpg(self.job.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.job.communicate(timeout=60)


class Manifest:
    """A process that writes through a mount which may be killed at any time."""

    def __init__(self, pool, n, seed):
        self.pool, self.n, self.seed, self.log = pool, n, seed, f"{pool.base}/log{n}"
        self.where = pool.second()
        self.dir = f"m{n}"
        os.mkdir(f"{self.where}/{self.dir}")
        self.pid = mount_pid(pool, -1)  # the last that joined
        self.job = subprocess.Popen(["/usr/bin/python3", "-c", WRITER, f"{self.where}/{self.dir}",
                                     self.log, str(seed)], stderr=subprocess.DEVNULL)

    def die(self):
        os.kill(self.pid, signal.SIGKILL)
        assert wait_for(lambda: not alive(self.pid), 5)
        self.job.kill()
        self.job.wait(timeout=60)
        subprocess.run(["umount", "-l", self.where], check=True)
        self.pool.extra.remove(self.where)

    def check(self):
        """Another mount sees all that was acknowledged, nothing torn, and may
        change it at once."""
        may = written(self.log)
        for name, datas in may.items():
            path = f"{self.pool.dir}/{self.dir}/{name}"
            seen = get(path) if os.path.exists(path) else None
            assert seen in datas, f"{path}: {len(seen or b'')} bytes, seed {self.seed}"
        begin = time.monotonic()
        for name in may:
            put(f"{self.pool.dir}/{self.dir}/{name}", b"another's")
        assert time.monotonic() - begin < STALL
        return len(may)


def pause(pid, seconds):
    os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    try:
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        pass


def up(pool):
    return [n for n in pool.status()["nodes"] if n["state"] == "up"]


def one_pool(rng, seconds):
    # What is replaced while several mounts are there keeps its room for a minute
    # (fs/orphan.h), and two nodes that are away take more than half of it.
    pool, workers, writers, checked, dead, serial = Pool(size="4g"), [], [], 0, 0, 1
    try:
        workers += [Worker(pool.dir, kind) for kind in WORK]
        writers.append(Manifest(pool, 0, rng.getrandbits(30)))
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(rng.uniform(0.1, 1.0))
            what = rng.choice(("node", "pause node", "stop node", "mount", "mount", "pause mount"))
            print(f"  {what}", flush=True)
            if what in ("node", "stop node") and dead < 2:
                pid = rng.choice(up(pool))["pid"]
                os.kill(pid, signal.SIGKILL if what == "node" else signal.SIGSTOP)
                assert wait_for(lambda: not alive(pid), 10)
                dead += 1
            elif what == "pause node":
                pause(rng.choice(up(pool))["pid"], 0.3)
            elif what == "pause mount":
                pause(writers[-1].pid, rng.uniform(0.05, 1))
            elif what == "mount":
                writers[-1].die()
                checked += writers[-1].check()
                writers.append(Manifest(pool, serial, rng.getrandbits(30)))
                serial += 1
            for w in workers:
                w.look()
        for w in workers:
            w.look(end=True)
        assert pool.settled()
        if alive(writers[-1].pid):
            writers[-1].die()
        checked += writers[-1].check()
        with open("/proc/sys/vm/drop_caches", "w") as f:
            f.write("3")
        sh(f"cd {pool.dir}/git/r && git fsck --full && test -z \"$(git status --porcelain)\"")
        print(f"{serial} mounts, {dead} nodes died; {checked} files compared; "
              + ", ".join(f"{w.kind} {w.rounds}" for w in workers))
        assert checked > 0
    finally:
        for w in workers:
            w.end()
        for m in writers:
            m.job.kill()
            m.job.wait()
        for where in [*pool.extra, pool.dir]:
            subprocess.run(["umount", "-l", where], check=False)
        pool.extra = []
        assert wait_for(lambda: not of_pool(pool.name), 15), "processes left behind"
        pool.close()


def test_chaos(seed):
    need_fuse()
    if os.environ.get("ACESO_TEST_DIR"):
        pytest.skip("ACESO_TEST_DIR: no pool to harm")
    end, n = time.monotonic() + SECONDS, 0
    while n == 0 or time.monotonic() < end:
        print(f"pool {n}, seed {seed + n}", flush=True)
        one_pool(random.Random(seed + n), min(SECONDS, 12))
        n += 1
