"""aceso-pool@.service and lines of fstab under a real systemd: three hosts (machine.py), what
`make install` gives, and docs/cluster.md's pool over them. tests/mount/systemd/boot.sh says
what such a host is."""
import os
import shutil
import subprocess
import tempfile
import time

import pytest

import machine
import netns
from conftest import BIN, MODE, ROOT, need_fuse, wait_for

NAMES = ("alpha", "beta", "gamma")
UNIT = "aceso-pool@work.service"
WATCHDOG_S = 3  # 30 in the unit: as long as that nobody wants to wait


@pytest.fixture(scope="module")
def stage():
    """make install, to be laid over a host's files."""
    where = tempfile.mkdtemp(prefix="aceso-stage-")
    os.chmod(where, 0o755)
    try:
        done = subprocess.run(
            ["make", "-s", "install", f"DESTDIR={where}", "prefix=/usr", "mountsbindir=/usr/sbin",
             f"B={os.path.relpath(os.path.dirname(os.path.abspath(BIN)), ROOT)}"],
            cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        yield where
    finally:
        shutil.rmtree(where)


@pytest.fixture(scope="module")
def net(stage):
    need_fuse()
    if MODE != "release":
        pytest.skip("the unit forbids what a sanitizer does")
    why = machine.not_possible()
    if why:
        pytest.skip(why)
    made = netns.Net(len(NAMES), machine.Machine)
    hosts = "\n".join(["127.0.0.1 localhost",
                       *(f"{h.address} {n}" for n, h in zip(NAMES, made.host))])
    try:
        for name, host in zip(NAMES, made.host):
            host.become(name, stage, hosts)
            host.boot()
        begin(made.host)
        yield made
    finally:
        made.close()
    assert netns.left_behind(made) == []
    assert not any(os.path.exists(h.group) for h in made.host)


def begin(hosts):
    """The pool of the guide; a shorter watchdog; each host serves its part, now and at boots."""
    alpha = hosts[0]
    alpha.run("aceso", "pool", "create", "work", "--nodes", ",".join(NAMES), "--code", "2+1",
              "--node-size", "128m", "--coordinators", "alpha")
    for host in hosts[1:]:
        for name in ("work.conf", "work.key"):
            shutil.copy2(f"/proc/{alpha.init}/root/etc/aceso/{name}",
                         f"/proc/{host.init}/root/etc/aceso/{name}")
    for host in hosts:
        host.run("sh", "-ec", f"""mkdir -p /etc/systemd/system/{UNIT}.d /srv/work
            printf '[Service]\\nWatchdogSec={WATCHDOG_S}\\n' >/etc/systemd/system/{UNIT}.d/test.conf
            systemctl daemon-reload""")
        host.systemctl("enable", "--now", UNIT)


def full(host):
    return host.run("aceso", "-p", "work", "status", check=False).returncode == 0


def main_pid(host):
    return int(host.show(UNIT, "MainPID"))


def healthy(host):
    assert host.show(UNIT, "ActiveState") == "active", host.journal()
    failed = host.run("systemctl", "--failed", "--no-legend", "--plain").stdout
    assert "aceso" not in failed and "srv" not in failed, failed + host.journal()


def test_install_makes_the_user_and_its_folders(net):
    said = net.host[1].run("sh", "-c", "getent passwd aceso; stat -c '%a %U %n' /etc/aceso "
                           "/run/aceso /var/lib/aceso /var/lib/aceso/work "
                           "/run/aceso-work /etc/aceso/work.key").stdout.splitlines()
    assert said[0].startswith("aceso:") and said[0].endswith(":/var/lib/aceso:/usr/sbin/nologin")
    assert said[1:] == ["755 root /etc/aceso", "755 root /run/aceso", "700 aceso /var/lib/aceso",
                        "700 aceso /var/lib/aceso/work", "700 aceso /run/aceso-work",
                        "600 root /etc/aceso/work.key"]


def test_the_unit_is_ready_when_all_serve(net):
    alpha = net.host[0]
    for host, parts in zip(net.host, (2, 1, 1)):
        healthy(host)
        assert host.show(UNIT, "StatusText") == f"{parts} of {parts} processes serve"
        pid = main_pid(host)
        status = host.run("cat", f"/proc/{pid}/status").stdout
        assert host.run("ps", "-o", "user=", "-p", str(pid)).stdout.strip() == "aceso"
        assert "CapEff:\t0000000000000000" in status and "NoNewPrivs:\t1" in status
        assert "Seccomp:\t2" in status
    assert wait_for(lambda: full(alpha), 30), alpha.journal()
    assert "4 of 4" not in alpha.journal(UNIT)
    assert "pool work: 2 processes of this host serve" in alpha.journal(UNIT)


def test_fstab_mounts_at_once_and_when_asked_for(net):
    _, beta, gamma = net.host
    assert wait_for(lambda: full(beta), 30)
    beta.run("aceso", "mount", "--update-fstab", "--no-mount", "work", "/srv/work")
    gamma.run("aceso", "mount", "--update-fstab", "--no-mount", "-o",
              "noauto,x-systemd.automount", "work", "/srv/work")
    for host in (beta, gamma):
        host.systemctl("daemon-reload")
    beta.systemctl("start", "srv-work.mount")
    gamma.systemctl("start", "srv-work.automount")
    beta.run("sh", "-ec", "echo hello >/srv/work/f; cp -r /etc/aceso /srv/work/conf")
    assert gamma.show("srv-work.mount", "ActiveState") == "inactive"
    assert gamma.run("cat", "/srv/work/f").stdout == "hello\n"  # which mounts it
    assert gamma.show("srv-work.mount", "ActiveState") == "active"
    for host in (beta, gamma):
        healthy(host)


@pytest.mark.parametrize("signal,result", [("STOP", "watchdog"), ("KILL", "signal")])
def test_a_server_that_hangs_or_dies_is_started_again(net, signal, result):
    alpha, beta, gamma = net.host
    assert wait_for(lambda: full(alpha), 60), alpha.journal()
    pid, before = main_pid(gamma), int(gamma.show(UNIT, "NRestarts"))
    gamma.run("kill", f"-{signal}", str(pid))
    assert wait_for(lambda: int(gamma.show(UNIT, "NRestarts")) == before + 1
                    and gamma.show(UNIT, "ActiveState") == "active", 30), gamma.journal()
    assert main_pid(gamma) != pid
    assert f"Failed with result '{result}'" in gamma.journal(UNIT)
    assert wait_for(lambda: full(alpha), 60), alpha.journal()
    for host in (beta, gamma):
        assert host.run("cat", "/srv/work/f").stdout == "hello\n"
    gamma.systemctl("reset-failed", UNIT)


def test_a_host_that_boots_again_serves_and_mounts(net):
    alpha, beta, _ = net.host
    assert wait_for(lambda: full(alpha), 60), alpha.journal()
    beta.run("sh", "-ec", "echo last >/srv/work/last")
    took = beta.switch_off()
    assert took < 15, beta.log()
    beta.boot()
    said = beta.run("journalctl", "-o", "cat", "--no-pager").stdout
    order = [line for line in said.splitlines()
             if line.startswith((f"Stopping {UNIT}", "Unmount", "Stopped target remote-fs"))]
    left, stopped = said.index("Unmounted srv-work.mount"), said.index(f"Stopping {UNIT}")
    assert left < stopped, order  # who leaves may need what this host serves
    assert wait_for(lambda: beta.show("srv-work.mount", "ActiveState") == "active", 60), \
        beta.journal()
    assert beta.run("cat", "/srv/work/last").stdout == "last\n"
    healthy(beta)
    assert wait_for(lambda: full(alpha), 60), alpha.journal()


def test_a_mount_of_fstab_waits_for_a_coordinator_that_boots_later(net):
    alpha, beta, gamma = net.host
    gamma.systemctl("stop", "srv-work.automount", "srv-work.mount")
    alpha.switch_off()
    gamma.systemctl("start", "--no-block", "srv-work.mount")
    time.sleep(7)  # longer than a mount by hand waits
    assert gamma.show("srv-work.mount", "ActiveState") == "activating", gamma.journal()
    alpha.boot()
    assert wait_for(lambda: gamma.show("srv-work.mount", "ActiveState") == "active", 60), \
        gamma.journal()
    assert gamma.run("cat", "/srv/work/last").stdout == "last\n"
    assert wait_for(lambda: full(beta), 60), alpha.journal()
    for host in net.host:
        healthy(host)


def test_stop_is_clean(net):
    gamma = net.host[2]
    gamma.systemctl("stop", "srv-work.mount")
    gamma.systemctl("stop", UNIT)
    assert gamma.show(UNIT, "ActiveState") == "inactive"
    assert gamma.show(UNIT, "Result") == "success", gamma.journal()
    assert wait_for(lambda: gamma.run("pgrep", "-a", "aceso", check=False).stdout == "", 30)
    assert gamma.run("ls", "/run", check=False).stdout.split().count("aceso-work") == 0
