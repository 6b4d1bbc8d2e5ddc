"""aceso scrub on a real mount: what debug corrupt does, reads bear and scrub
mends; and it raises no alarm over what others are writing."""
import os
import random
import signal
import subprocess
import time

from conftest import BIN, aceso, pattern, wait_for
from test_fsck import corrupt, fsck, settled
from test_kills import forget_cached, same

MENDED, LEFT = 1, 4


def scrub(pool, *args):
    """(exit code, what it said)"""
    done = aceso("-p", pool.name, "scrub", *args, check=False)
    return done.returncode, done.stdout + done.stderr


def fill(pool, rng, files=30):
    made = {}
    for i in range(files):
        path = os.path.join(pool.dir, f"f{i}")
        made[path] = pattern(rng, rng.choice((100, 3000, 5000, 70000, 1500000)))
        with open(path, "wb") as f:
            f.write(made[path])
    os.sync()
    return made


def harm(pool, rng, path, data, copy):
    args = [f"--copy={copy}", f"--seed={rng.getrandbits(32)}", f"--bits={rng.randrange(1, 50)}"]
    if len(data) > 3072:
        args.append(f"--offset={rng.randrange(len(data))}")
    else:
        args.append("--part=record")
    corrupt(pool, *args, "/" + os.path.basename(path))


def test_everything_wrong_is_found_and_mended(pool, seed):
    rng = random.Random(seed)
    made = fill(pool, rng)
    settled(pool)
    assert scrub(pool, "start", "--wait", "--rate=1g")[0] == 0
    # One parity of each first: no stripe has more wrong than it bears. Data of
    # several files may share a place in their stripe, so of those one at a time.
    for copy in ("0", "1"):
        for path, data in made.items():
            harm(pool, rng, path, data, copy)
        forget_cached()
        same(made)
        assert scrub(pool, "start", "--wait", "--rate=1g")[0] == MENDED
    path = rng.choice(list(made))
    harm(pool, rng, path, made[path], "data")
    harm(pool, rng, path, made[path], rng.choice("01"))
    forget_cached()
    same(made)
    code, said = scrub(pool, "start", "--wait", "--rate=1g")
    assert code == MENDED, said
    state = pool.status()["scrub"]
    assert state["state"] == "done" and state["lost"] == 0
    assert 0 < state["wrong"] == state["repaired"]
    assert state["done"] == state["total"] > 0
    code, said = scrub(pool, "start", "--wait", "--rate=1g")
    assert code == 0, said
    assert fsck(pool)[0] == 0
    forget_cached()
    same(made)
    for node in rng.sample(range(5), 2):  # and the parities are right, too
        pool.shoot(node)
    forget_cached()
    same(made)


def test_beyond_the_code_it_is_told_by_name(pool, seed):
    rng = random.Random(seed)
    made = fill(pool, rng, 4)
    path = os.path.join(pool.dir, "gone")
    with open(path, "wb") as f:
        f.write(b"g" * 65536)
    os.sync()
    settled(pool)
    for copy in ("data", "0", "1"):
        corrupt(pool, f"--copy={copy}", "--bits=400", "--offset=8192", "/gone")
    code, said = scrub(pool, "start", "--wait", "--rate=1g")
    assert code & LEFT, said
    assert "/gone: 4096 bytes from 8192 on are lost" in said
    assert pool.status()["scrub"]["lost"] == 1, said
    forget_cached()
    with open(path, "rb") as f:
        assert f.read(4096) == b"g" * 4096
        f.seek(8192)
        try:
            f.read(4096)
            raise AssertionError("wrong bytes were read")
        except OSError:
            pass
    same(made)
    os.unlink(path)


def test_no_false_alarm_under_load_and_a_death(pool):
    load = subprocess.Popen(
        ["bash", "-c", "fio --name=v --size=32m --rw=randwrite --bs=4k --time_based --runtime=12 "
         "--ioengine=psync --verify=crc32c --verify_fatal=1 --verify_state_save=0 --fsync=64 && "
         "for i in 1 2 3; do cp -r /usr/include/linux t; rm -r t; done"],
        cwd=pool.dir, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    time.sleep(1)
    for n in range(3):
        code, said = scrub(pool, "start", "--wait", "--rate=200m")
        assert code == 0, said
        if n == 0:
            pool.shoot(2)
    out = load.communicate(timeout=300)[0]
    assert load.returncode == 0, out[-4000:]


def test_it_can_be_paused_and_stopped(pool, seed):
    fill(pool, random.Random(seed), 60)
    state = lambda: pool.status()["scrub"]
    assert state()["state"] == "none"
    assert scrub(pool, "pause")[0] == 1
    assert scrub(pool, "start", "--rate=1m")[0] == 0
    assert wait_for(lambda: state()["state"] == "running" and state()["done"] > 0)
    assert scrub(pool, "pause")[0] == 0
    assert wait_for(lambda: state()["state"] == "paused")
    at = state()["bytes"]
    time.sleep(1)
    assert state()["bytes"] == at
    assert scrub(pool, "start")[0] == 0  # goes on
    assert wait_for(lambda: state()["bytes"] > at)
    assert "running" in scrub(pool, "status")[1]
    assert scrub(pool, "stop")[0] == 0
    assert wait_for(lambda: state()["state"] == "stopped")


def test_one_that_is_killed_is_stopped(pool, seed):
    fill(pool, random.Random(seed), 60)
    job = subprocess.Popen([f"{BIN}/aceso", "-p", pool.name, "scrub", "start", "--wait", "--rate=1m"],
                           stderr=subprocess.DEVNULL)
    assert wait_for(lambda: pool.status()["scrub"]["state"] == "running")
    job.kill()
    job.wait()
    assert wait_for(lambda: pool.status()["scrub"]["state"] == "stopped")
    assert scrub(pool, "start", "--wait", "--rate=1g")[0] == 0
