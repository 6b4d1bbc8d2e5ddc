"""Readers of a pool over shared memory: another user's process, of the group that readers=
names, sees all keys and changes nothing; who is not of the group is not let in at all."""
import os
import subprocess

import pytest

from conftest import BIN, SLOW, Pool, need_fuse, of_pool, wait_for

NOBODY, GROUP, OTHERS = "65534", "61234", "61235"


@pytest.fixture
def looked_at():
    need_fuse()
    made = Pool(options="readers=" + GROUP)
    yield made
    made.close()
    assert wait_for(lambda: not of_pool(made.name), 10), "processes left behind"


def as_reader(pool, group, *args):
    """As nobody. The programs' folder may be closed to it, so root opens the program."""
    return subprocess.run(
        ["setpriv", "--reuid", NOBODY, "--regid", group, "--clear-groups",
         os.path.join(BIN, "aceso"), "-p", pool.name, *args],
        text=True, capture_output=True, timeout=60 * SLOW)


def mine(pool, *args):
    return subprocess.run([os.path.join(BIN, "aceso"), "-p", pool.name, *args], text=True,
                          capture_output=True, timeout=60 * SLOW)


def test_another_user_looks_and_changes_nothing(looked_at):
    pool = looked_at
    assert mine(pool, "put", "k", "kept").returncode == 0
    done = as_reader(pool, GROUP, "get", "k")
    if done.returncode in (126, 127):
        pytest.skip("nobody may not run the programs of this folder")
    assert done.returncode == 0 and done.stdout.strip() == "kept", done.stderr
    for words in (["put", "k", "harmed"], ["put", "new", "x"], ["rm", "k"]):
        done = as_reader(pool, GROUP, *words)
        assert done.returncode != 0 and "Read-only" in done.stderr, done
    assert mine(pool, "get", "k").stdout.strip() == "kept"
    assert mine(pool, "get", "new").returncode != 0
    assert pool.status()["redundancy"] == "full"


def test_who_is_not_of_the_group_is_not_let_in(looked_at):
    assert mine(looked_at, "put", "k", "kept").returncode == 0
    done = as_reader(looked_at, OTHERS, "get", "k")
    if done.returncode in (126, 127):
        pytest.skip("nobody may not run the programs of this folder")
    assert done.returncode != 0 and "kept" not in done.stdout
    assert "another user's" in done.stderr
