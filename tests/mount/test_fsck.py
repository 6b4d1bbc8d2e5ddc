"""aceso debug corrupt and aceso fsck on a real mount."""
import json
import os
import random

from conftest import BIN, aceso, pattern, sh, wait_for
from test_kills import forget_cached


def corrupt(pool, *args, code=0):
    done = aceso("-p", pool.name, "debug", "corrupt", "--yes-destroy-data", *args, check=False)
    assert done.returncode == code, (done.stdout, done.stderr)


def fsck(pool, *args):
    """(exit code, report)"""
    done = aceso("-p", pool.name, "fsck", "--json", *args, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def settled(pool):
    """All that was written is folded and nothing is on its way."""
    assert wait_for(lambda: pool.status()["fold_backlog"] == 0)


def test_it_needs_a_word(pool):
    with open(os.path.join(pool.dir, "f"), "w") as f:
        f.write("x")
    done = aceso("-p", pool.name, "debug", "corrupt", "/f", check=False)
    assert done.returncode == 64
    assert "--yes-destroy-data" in done.stderr
    assert fsck(pool)[0] == 0


def test_sound_while_others_write(pool):
    """No false alarm while a mount is at work."""
    code, report = fsck(pool)
    assert (code, report["found"]) == (0, 0)
    sh(f"(for i in 1 2 3 4 5; do cp -r /usr/include/linux {pool.dir}/a; rm -r {pool.dir}/a; done) &"
       f"job=$!; for i in 1 2 3; do {BIN}/aceso -p {pool.name} fsck --json > {pool.base}/out || "
       f"{{ cat {pool.base}/out; exit 1; }}; done; wait $job")


def test_reads_bear_it_and_fsck_mends_records(pool, seed):
    rng = random.Random(seed)
    data = {}
    for i in range(40):
        data[f"f{i}"] = pattern(rng, rng.choice((100, 3000, 200000)))
        with open(os.path.join(pool.dir, f"f{i}"), "wb") as f:
            f.write(data[f"f{i}"])
    settled(pool)
    for i in range(0, 40, 4):
        corrupt(pool, "--part=record", f"--copy={rng.choice(('data', 'hint'))}",
                f"--seed={rng.getrandbits(32)}", f"/f{i}")
    code, report = fsck(pool)
    assert code == 4 and report["found"] >= 10
    assert all(f["state"] == "found" for f in report["faults"])
    forget_cached()
    os.stat(os.path.join(pool.dir, "f0"))
    code, report = fsck(pool, "--repair")
    assert code == 1, report
    assert fsck(pool)[0] == 0
    forget_cached()
    for name, want in data.items():
        with open(os.path.join(pool.dir, name), "rb") as f:
            assert f.read() == want, name
