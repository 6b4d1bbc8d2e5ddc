"""A file system that stays full: filled to 95 % of what df says is there, then overwritten at random
places and sizes, read, removed and made anew, with every byte compared (fullsoak.c). It goes on being
written to, and not much slower than at first; df stays true, and when all is removed it is as empty as
before.
ACESO_FULL_SECONDS=n (make fullsoak SECONDS=n) goes on for longer, with ACESO_SEED."""
import json
import os
import subprocess
import time

import pytest
from conftest import BIN, SLOW, Pool, wait_for

SECONDS = int(os.environ.get("ACESO_FULL_SECONDS", 24))
THREADS = 4
MIB = 1 << 20
# beside the programs that are tested, also where build/bin is a folder of links
PROGRAM = os.path.join(os.path.dirname(os.path.realpath(os.path.join(BIN, "aceso-fuse"))),
                       "..", "tests", "mount", "fullsoak")


@pytest.mark.parametrize("where", ["memory", "directory"])
def test_a_full_pool_goes_on(seed, where, tmp_path):
    if not os.path.exists(PROGRAM):
        pytest.skip("fullsoak is not built: make tests")
    pool = Pool(size="256m", options=f"pool-dir={tmp_path}/d" if where == "directory" else "")
    try:
        done = subprocess.run([PROGRAM, pool.dir, str(SECONDS), str(seed), "95", str(THREADS)],
                              capture_output=True, text=True, timeout=SECONDS + 300 * SLOW)
        print(done.stdout, done.stderr)
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert said["refused_filling"] == 0
        # Whoever finds no room waits for what was overwritten: for the nodes that fold it out, and
        # with a directory for the next cut of the disk, before which it must stay as it is.
        assert said["refused_later"] == 0
        # What is obsolete falls apart into holes. (With a directory the disk's speed counts, too.)
        if where == "memory":
            assert said["ops_later"] > said["ops_first"] / 10, said
    finally:
        pool.close()


@pytest.mark.parametrize("where", ["memory", "directory"])
def test_nodes_of_a_full_pool_die(seed, where, tmp_path):
    """What is obsolete cannot be had again while a node is away: that is waited for, not refused."""
    options = "respawn=yes" + (f",pool-dir={tmp_path}/d" if where == "directory" else "")
    pool = Pool(size="256m", options=options)
    try:
        room = pool.space()
        with subprocess.Popen([PROGRAM, pool.dir, str(SECONDS), str(seed), "95", str(THREADS)],
                              text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
            assert wait_for(lambda: pool.space() < room * 0.08, 60)
            for which in (1, 3, 0):
                time.sleep(0.5)
                pid = pool.shoot(which)
                # what was to be opened again in place does not hold it up
                assert wait_for(lambda: pool.replaced(which, pid), 3)
            said, wrong = run.communicate(timeout=300 * SLOW)
        print(said, wrong)
        assert run.returncode == 0, wrong
        assert json.loads(said)["refused_later"] == 0
    finally:
        pool.close()
