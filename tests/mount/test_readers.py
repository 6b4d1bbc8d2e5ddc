"""Readers of a pool over shared memory: another user's process, of the group that readers=
names, sees all keys and changes nothing; who is not of the group is not let in at all."""
import filecmp
import os
import shutil
import subprocess
import tempfile

import pytest

from conftest import BIN, SLOW, Pool, need_fuse, of_pool, server_of, wait_for

NOBODY, GROUP, OTHERS = "65534", "61234", "61235"

# Run as the reader: whatever its mount's process has of the nodes' memory is open for reading
# only, and is not to be opened again. Says how many of them it saw.
TRIES = """
import os, sys
pid, seen = sys.argv[1], 0
for fd in os.listdir(f"/proc/{pid}/fd"):
    path = f"/proc/{pid}/fd/{fd}"
    name = os.path.basename(os.readlink(path))
    if not name.startswith(("memfd:", "region")):
        continue
    seen += 1
    with open(f"/proc/{pid}/fdinfo/{fd}") as f:
        how = [int(line.split()[1], 8) for line in f if line.startswith("flags:")][0]
    if how & os.O_ACCMODE != os.O_RDONLY:
        sys.exit(f"{name} is open for more than reading")
    for flags in (os.O_RDWR, os.O_WRONLY, os.O_RDWR | os.O_TRUNC, os.O_RDONLY):
        try:
            os.open(path, flags)
            sys.exit(f"{name} was opened, {flags}")
        except PermissionError:
            pass
print(seen)
"""


@pytest.fixture(params=["memory", "directory"])
def looked_at(request):
    need_fuse()
    keep = tempfile.mkdtemp(prefix="aceso-dir-")
    where = f"pool-dir={keep}," if request.param == "directory" else ""
    made = Pool(options=f"{where}size=128m,readers={GROUP}")
    os.chmod(made.dir, 0o755)
    yield made
    made.close()
    assert wait_for(lambda: not of_pool(made.name), 30), "processes left behind"
    shutil.rmtree(keep)


def run_as_reader(pool, group, *argv):
    """As nobody, who has a runtime directory of its own."""
    own = os.path.join(pool.base, "run")
    if not os.path.exists(own):
        os.mkdir(own, 0o700)
        os.chown(own, int(NOBODY), int(NOBODY))
    env = {**os.environ, "XDG_RUNTIME_DIR": own, "LC_ALL": "C"}
    env.pop("ACESO_RUNTIME_DIR", None)
    done = subprocess.run(
        ["setpriv", "--reuid", NOBODY, "--regid", group, "--clear-groups", *argv],
        text=True, capture_output=True, timeout=60 * SLOW, env=env)
    if done.returncode in (126, 127):
        pytest.skip("nobody may not run " + argv[0])
    return done


def as_reader(pool, group, *args):
    return run_as_reader(pool, group, os.path.join(BIN, "aceso"), "-p", pool.name, *args)


def mine(pool, *args):
    return subprocess.run([os.path.join(BIN, "aceso"), "-p", pool.name, *args], text=True,
                          capture_output=True, timeout=60 * SLOW)


def mount_as_reader(pool, group):
    where = os.path.join(pool.base, "looks")
    os.mkdir(where)
    os.chown(where, int(NOBODY), int(NOBODY))
    pool.extra.append(where)
    done = run_as_reader(pool, group, os.path.join(BIN, "aceso-fuse"), "-o",
                         "pool=" + pool.name, where)
    if done.returncode != 0 and "fusermount3" in done.stderr:
        pytest.skip("a user may not mount here: " + done.stderr)
    return where, done


def unmount_as_reader(pool, where):
    done = run_as_reader(pool, GROUP, "fusermount3", "-u", where)
    assert done.returncode == 0, done.stderr


def test_another_user_looks_and_changes_nothing(looked_at):
    pool = looked_at
    assert mine(pool, "put", "k", "kept").returncode == 0
    done = as_reader(pool, GROUP, "get", "k")
    assert done.returncode == 0 and done.stdout.strip() == "kept", done.stderr
    for words in (["put", "k", "harmed"], ["put", "new", "x"], ["rm", "k"]):
        done = as_reader(pool, GROUP, *words)
        assert done.returncode != 0 and "Read-only" in done.stderr, done
    assert mine(pool, "get", "k").stdout.strip() == "kept"
    assert mine(pool, "get", "new").returncode != 0
    assert pool.status()["redundancy"] == "full"


def test_another_user_mounts_and_changes_nothing(looked_at):
    pool = looked_at
    tree = os.path.join(pool.dir, "linux")
    shutil.copytree("/usr/include/linux", tree, symlinks=True)
    where, done = mount_as_reader(pool, GROUP)
    assert done.returncode == 0, done.stderr
    # without allow_other it is its user's alone: root sees nothing of it
    looked = os.path.join(where, "linux")
    done = run_as_reader(pool, GROUP, "diff", "-r", "/usr/include/linux", looked)
    assert done.returncode == 0, done.stdout + done.stderr
    name = os.path.join(looked, "fs.h")
    for argv in (["touch", os.path.join(where, "new")], ["rm", "-f", name],
                 ["chmod", "600", name], ["mv", name, name + "2"],
                 ["dd", "if=/dev/zero", "of=" + name, "conv=notrunc", "count=1"]):
        done = run_as_reader(pool, GROUP, *argv)
        assert done.returncode != 0 and "Read-only file system" in done.stderr, done
    server = server_of(where)
    done = run_as_reader(pool, GROUP, "/usr/bin/python3", "-c", TRIES, str(server))
    assert done.returncode == 0 and int(done.stdout) == 5, done
    with open(f"/proc/{server}/maps", encoding="utf-8") as f:
        shared = [line.split()[1] for line in f if line.split()[1][3] == "s"]
    assert len(shared) >= 5 and all("w" not in how for how in shared), shared
    # its mount is told of to its user, and is its own to unmount
    assert where in as_reader(pool, GROUP, "pools").stdout
    with open(os.path.join(pool.dir, "later"), "w", encoding="utf-8") as f:
        f.write("seen")
    done = run_as_reader(pool, GROUP, "cat", os.path.join(where, "later"))
    assert done.stdout == "seen", done.stderr
    unmount_as_reader(pool, where)
    assert wait_for(lambda: not os.path.exists(f"/proc/{server}"), 30)
    assert os.listdir(os.path.join(pool.base, "run", "aceso")) == []
    assert filecmp.cmp("/usr/include/linux/fs.h", os.path.join(tree, "fs.h"), False)
    assert pool.status()["redundancy"] == "full"


def test_who_is_not_of_the_group_is_not_let_in(looked_at):
    assert mine(looked_at, "put", "k", "kept").returncode == 0
    done = as_reader(looked_at, OTHERS, "get", "k")
    assert done.returncode != 0 and "kept" not in done.stdout
    assert "another user's" in done.stderr
