"""A file system that stays full: filled to 95 % of what df says is there, then overwritten at random
places and sizes, read, removed and made anew, with every byte compared (fullsoak.c). It goes on being
written to, df stays true, and when all is removed it is as empty as before.
ACESO_FULL_SECONDS=n (make fullsoak SECONDS=n) goes on for longer, with ACESO_SEED."""
import json
import os
import subprocess

import pytest
from conftest import BIN, SLOW, Pool

SECONDS = int(os.environ.get("ACESO_FULL_SECONDS", 8))
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
    finally:
        pool.close()
