"""Several mounts of one small pool: what is removed on one, its room is there again on all, and
what another has open stays whole, whoever is killed."""
import contextlib
import os
import random
import signal
import subprocess

import pytest

from conftest import alive, pattern, server_of, wait_for

MIB = 1 << 20
FILE = 18 * MIB
OPEN = 64 * MIB  # blocks that two mounts have open to write into, counted as used


def used(where):
    st = os.statvfs(where)
    return (st.f_blocks - st.f_bfree) * st.f_frsize


def replace(where, name, data):
    """As editors and databases save: a new file, and its name over the old one's."""
    tmp = os.path.join(where, name + ".tmp")
    with open(tmp, "wb") as f:
        f.write(data)
        os.fsync(f.fileno())
    os.rename(tmp, os.path.join(where, name))


def read(path):
    with open(path, "rb") as f:
        return f.read()


def kill_mount(pool, where):
    pid = server_of(where)
    os.kill(pid, signal.SIGKILL)
    assert wait_for(lambda: not alive(pid), 60)
    subprocess.run(["fusermount3", "-uz", where], check=False)
    if where in pool.extra:
        pool.extra.remove(where)


def test_a_file_replaced_again_and_again(pool, seed):
    """Twice as much as the pool holds is written, on the second mount."""
    rng = random.Random(seed)
    second = pool.second()
    room = os.statvfs(second).f_bavail * os.statvfs(second).f_frsize
    rounds = (2 * room) // FILE
    empty, most = used(second), 0
    for i in range(rounds):
        data = pattern(rng, FILE)
        replace(second, "f", data)
        most = max(most, used(second))
    assert read(os.path.join(pool.dir, "f")) == data
    print(f"{rounds} rounds, room {room >> 20} MiB, at most {(most - empty) >> 20} MiB used")
    assert wait_for(lambda: used(second) - empty < FILE + OPEN, 60)


def test_room_is_waited_for_not_refused(pool, seed):
    """Nine tenths full: there is never room for what is removed and what is written."""
    rng = random.Random(seed)
    second = pool.second()
    st = os.statvfs(second)
    part = int(st.f_bavail * st.f_frsize * 0.3) // MIB * MIB
    for i in range(2):
        for name in "abc":
            with open(os.path.join(second, name), "wb") as f:
                f.write(pattern(rng, part))
        for name in "abc":
            os.unlink(os.path.join(second if i % 2 else pool.dir, name))
    assert wait_for(lambda: used(second) < OPEN, 60)


def test_what_another_mount_has_open_stays(pool, seed):
    rng = random.Random(seed)
    second, third = pool.second(), pool.second()
    data = pattern(rng, 40 * MIB + 17)
    path = os.path.join(pool.dir, "f")
    with open(path, "wb") as f:
        f.write(data)
    before = used(pool.dir)
    with open(os.path.join(second, "f"), "rb") as held:
        os.unlink(path)
        for i in range(10):  # others are removed and asked for beside it
            replace(third, "g", pattern(rng, MIB))
        kill_mount(pool, third)
        for i in range(10):
            replace(pool.dir, "g", pattern(rng, MIB))
        assert held.read() == data
        assert os.fstat(held.fileno()).st_nlink == 0
    os.unlink(os.path.join(pool.dir, "g"))
    # but for what the dead mount had in its open blocks
    assert wait_for(lambda: used(pool.dir) < before - 20 * MIB, 60)


def test_who_has_it_open_is_killed(pool, seed):
    """Its room comes back when the pool knows of the death."""
    rng = random.Random(seed)
    second = pool.second()
    path = os.path.join(pool.dir, "f")
    with open(path, "wb") as f:
        f.write(pattern(rng, 60 * MIB))
    before = used(pool.dir)
    held = os.open(os.path.join(second, "f"), os.O_RDONLY)
    try:
        os.unlink(path)
        kill_mount(pool, second)
        assert wait_for(lambda: used(pool.dir) < before - 50 * MIB, 60)
    finally:
        with contextlib.suppress(OSError):  # its server is dead
            os.close(held)


def test_who_removed_it_is_killed(pool, seed):
    """Another mount does what is left to do, and not before it closed the file itself."""
    rng = random.Random(seed)
    second = pool.second()
    data = pattern(rng, 60 * MIB)
    with open(os.path.join(pool.dir, "f"), "wb") as f:
        f.write(data)
    before = used(pool.dir)
    with open(os.path.join(pool.dir, "f"), "rb") as held:
        os.unlink(os.path.join(second, "f"))
        kill_mount(pool, second)
        assert held.read() == data
    assert wait_for(lambda: used(pool.dir) < before - 50 * MIB, 60)


@pytest.mark.parametrize("who", ["removes", "holds"])
def test_a_name_that_the_kernel_remembers(pool, seed, who):
    """Entries are believed for a second: an open in that time finds the file or nothing, and
    what it finds it can read to its end."""
    rng = random.Random(seed)
    second = pool.second()
    for i in range(10):
        here, there = (pool.dir, second) if who == "removes" else (second, pool.dir)
        data = pattern(rng, 2 * MIB)
        with open(os.path.join(here, "f"), "wb") as f:
            f.write(data)
        os.stat(os.path.join(there, "f"))
        os.unlink(os.path.join(here, "f"))
        try:
            with open(os.path.join(there, "f"), "rb") as f:
                assert f.read() == data
        except FileNotFoundError:
            pass
