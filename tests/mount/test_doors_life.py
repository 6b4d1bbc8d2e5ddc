"""The life of a pool's processes: how it begins, joins, ends; and what is left
when one of them is killed (nothing)."""
import json
import os
import signal
import subprocess
import time

import pytest
from conftest import SLOW, alive, need_fuse, wait_for
from test_doors import ACESO, FUSE, MOUNT, do, env, mnt, one_line, users_of  # noqa: F401

pytestmark = pytest.mark.usefixtures("fuse")


@pytest.fixture
def fuse():
    need_fuse()


def mount(env, where, opts=""):
    done = do(env, FUSE, "-o", "size=64m" + opts, where)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "" and done.stderr == ""
    assert os.path.ismount(where)


def status(env, *args):
    return json.loads(do(env, ACESO, *args, "status", "--json").stdout)


def pids(env, *args):
    return [n["pid"] for n in status(env, *args)["nodes"]]


def pools(env):
    """name -> (pid, mounts)"""
    lines = do(env, ACESO, "pools").stdout.splitlines()[1:]
    return {f[0]: (int(f[1]), f[4:]) for f in map(str.split, lines)}


def gone(env):
    return wait_for(lambda: not [p for p in users_of(env) if alive(p)] and
                    os.listdir(env["ACESO_RUNTIME_DIR"]) == [], 10)


def put(where, name, text):
    with open(os.path.join(where, name), "w") as f:
        f.write(text)


def get(where, name):
    with open(os.path.join(where, name)) as f:
        return f.read()


def test_a_mount_has_five_nodes_and_ends_with_umount(env, mnt):
    mount(env, mnt)
    nodes = pids(env)
    assert len(set(nodes)) == 5 and all(map(alive, nodes))
    put(mnt, "x", "hello")
    assert get(mnt, "x") == "hello"
    subprocess.run(["umount", mnt], check=True)
    assert gone(env)


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_end_a_foreground_mount_cleanly(env, mnt, sig):
    # a shell's background job has SIGINT ignored, and hands that down
    p = subprocess.Popen([FUSE, "-f", "-o", "size=64m", mnt], env=env, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         preexec_fn=lambda: signal.signal(sig, signal.SIG_DFL))
    assert wait_for(lambda: os.path.ismount(mnt))
    put(mnt, "x", "hello")
    p.send_signal(sig)
    out, err = p.communicate(timeout=20 * SLOW)
    assert p.returncode == 0, err
    assert not os.path.ismount(mnt)
    assert gone(env)


def test_single_threaded_and_debug(env, mnt):
    p = subprocess.Popen([FUSE, "-s", "-d", "-o", "size=64m", mnt], env=env, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert wait_for(lambda: os.path.ismount(mnt))
    put(mnt, "x", "hello")
    assert get(mnt, "x") == "hello"
    subprocess.run(["umount", mnt], check=True)
    out, err = p.communicate(timeout=20 * SLOW)
    assert p.returncode == 0 and "opcode" in err


def test_a_killed_mount_takes_its_pool_along_and_can_be_mounted_over(env, mnt):
    mount(env, mnt)
    put(mnt, "x", "old")
    (pid,) = [p for p in users_of(env) if cmdline(p)[0].endswith("aceso-fuse")]
    os.kill(pid, signal.SIGKILL)
    assert gone(env)
    with pytest.raises(OSError):
        os.listdir(mnt)  # "Transport endpoint is not connected"
    mount(env, mnt)
    assert os.listdir(mnt) == []


def test_no_process_keeps_its_callers_files(env, mnt):
    """A pipe that the caller hands on must not stay open in the pool."""
    read, write = os.pipe()
    done = subprocess.run([FUSE, "-o", "size=64m", mnt], env=env, pass_fds=[write],
                          timeout=60 * SLOW)
    os.close(write)
    assert done.returncode == 0
    os.set_blocking(read, False)
    assert os.read(read, 1) == b""  # the end; else BlockingIOError
    os.close(read)


def cmdline(pid):
    with open(f"/proc/{pid}/cmdline") as f:
        return f.read().split("\0")


def test_a_second_mount_joins_and_the_last_one_ends_it(env, mnt, tmp_path):
    second = str(tmp_path / "m2")
    os.mkdir(second)
    mount(env, mnt, ",pool=both")
    put(mnt, "x", "shared")
    done = do(env, FUSE, "both", second)
    assert done.returncode == 0, done.stderr
    try:
        assert get(second, "x") == "shared"
        assert set(pools(env)["both"][1]) == {mnt, second}
        subprocess.run(["umount", mnt], check=True)
        time.sleep(1)  # longer than the grace
        assert get(second, "x") == "shared"
        assert pools(env)["both"][1] == [second]
    finally:
        subprocess.run(["umount", second], check=True)
    assert gone(env)


def test_the_same_directory_twice_is_busy(env, mnt):
    mount(env, mnt)
    put(mnt, "x", "1")
    done = do(env, FUSE, "-o", "size=64m", mnt)
    assert done.returncode == 32
    one_line(done, "busy", "mounted here already")
    assert get(mnt, "x") == "1"


def test_an_embedded_pool_is_fresh_each_time(env, mnt):
    for _ in range(3):
        mount(env, mnt)
        assert os.listdir(mnt) == []
        put(mnt, "x", "1")
        subprocess.run(["umount", mnt], check=True)


def test_many_start_one_pool_at_once(env, mnt, tmp_path):
    dirs = [mnt] + [str(tmp_path / f"m{i}") for i in range(3)]
    for d in dirs[1:]:
        os.mkdir(d)
    begun = [subprocess.Popen([FUSE, "-o", "size=64m,pool=one", d], env=env,
                              stderr=subprocess.DEVNULL) for d in dirs]
    try:
        assert [p.wait(60 * SLOW) for p in begun] == [0] * 4
        assert list(pools(env)) == ["one"]
        put(dirs[0], "x", "seen by all")
        assert [get(d, "x") for d in dirs] == ["seen by all"] * 4
    finally:
        for d in dirs:
            subprocess.run(["umount", d], check=False)
    assert gone(env)


def test_what_a_dead_pool_left_does_not_disturb(env, mnt):
    mount(env, mnt, ",pool=p")
    for pid in users_of(env):
        os.kill(pid, signal.SIGKILL)
    assert wait_for(lambda: not [p for p in users_of(env) if alive(p)])
    subprocess.run(["umount", mnt], check=True)
    assert os.listdir(os.path.join(env["ACESO_RUNTIME_DIR"], "p")) != []
    assert pools(env)["p"][0] == 0
    mount(env, mnt, ",pool=p")
    assert os.listdir(mnt) == []


def test_without_its_supervisor_a_mount_goes_on(env, mnt):
    mount(env, mnt, ",pool=p")
    supervisor = pools(env)["p"][0]
    nodes = pids(env)
    os.kill(supervisor, signal.SIGKILL)
    assert wait_for(lambda: not alive(supervisor))
    put(mnt, "x", "still here")
    assert get(mnt, "x") == "still here"
    assert all(map(alive, nodes))
    for which in (["-p", "p"], []):  # one that is named, or the only one there is
        done = do(env, ACESO, *which, "status")
        assert done.returncode == 69
        one_line(done, "pool p has lost its supervisor")
    done = do(env, FUSE, "-o", "pool=p,size=64m", os.path.dirname(mnt))
    assert done.returncode != 0
    one_line(done, "lost its supervisor", "unmount")
    subprocess.run(["umount", mnt], check=True)
    assert gone(env)


def test_m_nodes_may_die_and_status_says_so(env, mnt):
    mount(env, mnt, ",respawn=no")
    put(mnt, "x", "hello" * 1000)
    for dead, code in ((0, 1), (3, 1), (4, 2)):
        before = do(env, ACESO, "status")
        os.kill(pids(env)[dead], signal.SIGKILL)
        assert wait_for(lambda: status(env)["nodes"][dead]["state"] == "down")
        done = do(env, ACESO, "status")
        assert done.returncode == code, done.stdout
        if code == 1:
            assert get(mnt, "x") == "hello" * 1000
    assert before.returncode == 1
    assert "lost" in do(env, ACESO, "status").stdout
    subprocess.run(["umount", "-l", mnt], check=True)


def test_stop_unmounts_and_waits(env, mnt):
    mount(env, mnt)
    with open(os.path.join(mnt, "open"), "w"):
        done = do(env, ACESO, "stop")
        assert done.returncode == 1
        assert "busy" in done.stderr and f"{os.getpid()} (" in done.stderr
        assert os.path.ismount(mnt)
    done = do(env, ACESO, "stop")
    assert done.returncode == 0, done.stderr
    assert not os.path.ismount(mnt)
    assert not os.listdir(env["ACESO_RUNTIME_DIR"])


def test_umount_names_who_is_in_the_way(env, mnt):
    mount(env, mnt)
    sleeper = subprocess.Popen(["sleep", "60"], cwd=mnt)
    try:
        done = do(env, ACESO, "umount", mnt)
        assert done.returncode == 1
        assert f"{sleeper.pid} (sleep)" in done.stderr
    finally:
        sleeper.kill()
        sleeper.wait()
    inner = os.path.join(mnt, "inner")
    os.mkdir(inner)
    subprocess.run(["mount", "-t", "tmpfs", "none", inner], check=True)
    try:
        done = do(env, ACESO, "umount", mnt)
        assert done.returncode == 1
        one_line(done, "busy", "mounts inside it", "--lazy")
    finally:
        subprocess.run(["umount", inner], check=True)
    assert do(env, ACESO, "umount", mnt).returncode == 0
    assert gone(env)


def test_mount_aceso_shows_its_spec(env, mnt):
    done = do(env, MOUNT, "none", mnt, "-v", "-o", "rw,size=64m,noauto,x-a.b=c")
    assert done.returncode == 0, done.stderr
    assert "aceso-fuse -o" in done.stdout
    with open("/proc/mounts") as f:
        assert f"none {mnt} fuse.aceso " in f.read()


def test_the_options_of_the_kernel_hold(env, mnt):
    mount(env, mnt, ",ro,noexec,fsname=a\\,b")
    with pytest.raises(OSError):
        put(mnt, "x", "1")
    with open("/proc/mounts") as f:
        (line,) = [x for x in f if f" {mnt} " in x]
    fields = line.split()
    assert fields[0] == "a,b"
    assert {"ro", "noexec", "nosuid", "nodev"} <= set(fields[3].split(","))
    assert "default_permissions" in fields[3]


def test_an_idle_pool_uses_no_processor(env, mnt):
    def ticks():
        total = 0
        for pid in users_of(env):
            with open(f"/proc/{pid}/stat") as f:
                total += sum(map(int, f.read().rsplit(")", 1)[1].split()[11:13]))
        return total

    mount(env, mnt)
    put(mnt, "x", "1")
    time.sleep(1)
    before, began = ticks(), time.monotonic()
    time.sleep(4)
    used = (ticks() - before) / os.sysconf("SC_CLK_TCK")
    assert used < 0.01 * SLOW * (time.monotonic() - began), used


def test_five_idle_nodes_are_small(env, mnt):
    mount(env, mnt)
    total = 0
    for node in pids(env):
        with open(f"/proc/{node}/smaps_rollup") as f:
            total += sum(int(x.split()[1]) for x in f if x.startswith(("Private_", "Pss_Anon")))
    assert total < 64 << 10 if SLOW == 1 else True
