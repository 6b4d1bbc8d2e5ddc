"""A mount of a pool over several hosts that was shut out while it stood still: its kernel
does not go on telling what it had read before."""
import os
import signal
import subprocess
import time

from conftest import SLOW, server_of, wait_for
from test_cluster import cluster, served  # noqa: F401  (fixtures)

# A process of its own: it has the file open and mapped, and says what it sees when asked.
HOLDER = """
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
m = mmap.mmap(fd, 0, mmap.MAP_SHARED, mmap.PROT_READ)
print(m[:3].decode(), os.pread(fd, 3, 0).decode(), flush=True)
for line in sys.stdin:
    try:
        print(m[:3].decode() if line == "map\\n" else os.pread(fd, 3, 0).decode(), flush=True)
    except OSError as e:
        print("errno", e.errno, flush=True)
"""


def ask(holder, word):
    holder.stdin.write(word + "\n")
    holder.stdin.flush()
    return holder.stdout.readline().strip()


def shut_out(pool, where, other):
    """The mount at @where stands still while others need its answer."""
    pid = server_of(where)
    os.kill(pid, signal.SIGSTOP)
    try:
        with open(os.path.join(other, "f"), "r+b") as f:
            f.write(b"new" * 50000)
        os.kill(pool.node_pid(2), signal.SIGKILL)
        assert wait_for(lambda: len(pool.status()["clients"]) == 1, 60), pool.serve_log()
    finally:
        os.kill(pid, signal.SIGCONT)


def test_what_the_kernel_had_read_is_forgotten(served):  # noqa: F811
    a, done = served.mount()
    assert done.returncode == 0, done.stderr
    b, done = served.mount()
    assert done.returncode == 0, done.stderr
    with open(os.path.join(a, "f"), "wb") as f:
        f.write(b"old" * 50000)
    holder = subprocess.Popen(["/usr/bin/python3", "-c", HOLDER, os.path.join(a, "f")], text=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline().strip() == "old old"
        shut_out(served, a, b)
        # long before the operations that it had under way are given up, after 30 s
        begin = time.monotonic()
        assert wait_for(lambda: ask(holder, "read").startswith("errno"), 20)
        print(f"forgotten after {time.monotonic() - begin:.2f} s")
        ask(holder, "map")  # the page is not to be had any more: SIGBUS
        assert holder.wait(60 * SLOW) == -signal.SIGBUS
    finally:
        holder.kill()
        holder.wait()
    with open(os.path.join(b, "f"), "rb") as f:
        assert f.read() == b"new" * 50000
