"""What breaks the rules over TCP, in the midst of a mount's own connections: it costs that
connection and a line in the log. The mount is not taken for dead, nor is any node."""
import ctypes
import os
import random
import socket

import pytest

from conftest import open_files, server_of, wait_for
from test_cluster import cluster, served  # noqa: F401  (fixtures)
from test_failover import Work

PIDFD_GETFD = 438  # not in Python 3.11


def connections(pid):
    """Copies of the TCP sockets of process @pid that lead somewhere."""
    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = os.pidfd_open(pid)
    found = []
    for fd, leads_to in open_files(pid).items():
        if not leads_to.startswith("socket:"):
            continue
        copy = libc.syscall(PIDFD_GETFD, pidfd, fd, 0)
        if copy < 0:
            error = os.strerror(ctypes.get_errno())
            os.close(pidfd)
            pytest.skip("another process's sockets are not to be had here: " + error)
        sock = socket.socket(fileno=copy)
        if sock.family == socket.AF_INET:
            found.append(sock)
        else:
            sock.close()
    os.close(pidfd)
    return found


def by_peer(pid):
    """The same, by where they lead: to a node or to the coordinator."""
    peers = {}
    for sock in connections(pid):
        try:
            peers.setdefault(sock.getpeername(), []).append(sock)
        except OSError:
            pass  # it has just been closed
    return peers


def disturb(sock, dice):
    """As much of a TLS record as its peer needs to see that it is none of the mount's."""
    try:
        sock.send(b"\x17\x03\x03\x00\x40" + dice.randbytes(64),
                  socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        return True
    except OSError:
        return False  # it has just been closed


def test_it_costs_a_connection_and_nobody_is_fenced(served, seed):  # noqa: F811
    where, done = served.mount()
    assert done.returncode == 0, done.stderr
    pid = server_of(where)
    before = served.status()
    work = Work(os.path.join(where, "work"))
    dice = random.Random(seed)
    broken = 0
    try:
        work.goes_on()
        for peer in sorted(by_peer(pid)):
            # the coordinator and each node, those of before, too
            assert wait_for(lambda: len(by_peer(pid)) == 6, 60)
            # one that says who it is, and some that work
            for sock in by_peer(pid)[peer]:
                broken += disturb(sock, dice)
                sock.close()
            work.goes_on()
    finally:
        work.end()
    assert wait_for(served.is_full, 60), served.serve_log()
    now = served.status()
    assert [c["id"] for c in now["clients"]] == [c["id"] for c in before["clients"]]
    assert wait_for(lambda: [c["state"] for c in served.status()["clients"]] == ["current"], 60)
    assert [n["pid"] for n in now["nodes"]] == [n["pid"] for n in before["nodes"]]
    assert broken > 6
    assert "breaks the rules" in served.serve_log()
    assert "fenced" not in served.serve_log() and "died" not in served.serve_log()
