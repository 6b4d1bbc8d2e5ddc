"""What users who do not own a pool may know of it, and do to it."""
import os
import socket
import stat
import struct
import subprocess
import tempfile

import pytest
from conftest import BIN, need_fuse, wait_for

ACESO = os.path.join(BIN, "aceso")
NOBODY = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]


@pytest.fixture
def env():
    """A pool named "p" of root's, in a place where all may look."""
    need_fuse()
    run = tempfile.mkdtemp(prefix="ad-")
    os.chmod(run, 0o755)
    mnt = tempfile.mkdtemp()
    env = {k: v for k, v in os.environ.items() if not k.startswith("ACESO_")}
    env["ACESO_RUNTIME_DIR"] = run
    subprocess.run([os.path.join(BIN, "aceso-fuse"), "-o", "size=64m,pool=p", mnt], env=env,
                   check=True, timeout=60)
    yield env
    subprocess.run(["umount", mnt], check=True)
    os.rmdir(mnt)
    assert wait_for(lambda: os.listdir(run) == [], 10), "the pool was left behind"
    os.rmdir(run)


def as_nobody(env, *args):
    done = subprocess.run([*NOBODY, ACESO, *args], env=env, text=True, capture_output=True,
                          timeout=60)
    if done.returncode in (126, 127):
        pytest.skip("nobody may not run the programs of this folder")
    return done


@pytest.mark.parametrize("args, word", [
    (["status"], "full"), (["-p", "p", "status", "--json"], '"nodes"'),
    (["df"], "size"), (["pools"], "full"),
])
def test_anybody_may_look(env, args, word):
    done = as_nobody(env, *args)
    assert done.returncode == 0, done.stderr
    assert word in done.stdout and done.stderr == ""


@pytest.mark.parametrize("args", [
    ["stop"], ["stop", "--force"], ["put", "k", "v"], ["get", "k"], ["ls", "--keys"], ["ls", "/"],
    ["rm", "k"], ["explain", "/"], ["stats"],
])
def test_only_the_owner_may_do_more(env, args):
    done = as_nobody(env, "-p", "p", *args)
    assert done.returncode == 69
    assert done.stdout == "" and done.stderr.count("\n") == 1
    assert "another user's" in done.stderr
    owner = subprocess.run([ACESO, "status"], env=env, capture_output=True, timeout=60)
    assert owner.returncode == 0


def test_all_other_doors_are_shut(env):
    home = os.path.join(env["ACESO_RUNTIME_DIR"], "p")
    open_to_all = [name for name in os.listdir(home)
                   if stat.S_IMODE(os.stat(os.path.join(home, name)).st_mode) & 0o077]
    assert open_to_all == ["public.sock"]
    assert stat.S_IMODE(os.stat(home).st_mode) == 0o711


def test_a_flood_of_strangers_disturbs_nobody(env):
    """All its connections are taken by some that say nothing: the owner does
    not notice, and the next asker is served when they are gone."""
    path = os.path.join(env["ACESO_RUNTIME_DIR"], "p", "public.sock")
    held = []
    try:
        for _ in range(300):
            held.append(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            held[-1].connect(path)
        held[0].send(b"x" * 100)
        held[1].send(struct.pack("<IHHHHiQ16s", 0x4f435841, 1, 1, 0, 0, 0, 0, b""))
        owner = subprocess.run([ACESO, "put", "k", "v"], env=env, capture_output=True, timeout=60)
        assert owner.returncode == 0, owner.stderr
    finally:
        for sock in held:
            sock.close()
    assert as_nobody(env, "status").returncode == 0
