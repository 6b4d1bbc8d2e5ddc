"""Hosts of a netns.Net whose PID 1 is a real systemd (systemd/boot.sh), in namespaces and
a cgroup of their own. A Machine boots, is asked by what runs in it, and may be switched off
and booted again with its files. All of it ends with its PID 1, and that with us."""
import os
import signal
import subprocess
import time

import netns
from conftest import ROOT, SLOW, wait_for

SYSTEMD = "/lib/systemd/systemd"
BOOT = os.path.join(ROOT, "tests", "mount", "systemd", "boot.sh")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def cgroup_base():
    """Where cgroups of version 2 are, or None."""
    with open("/proc/mounts", encoding="utf-8") as f:
        found = [line.split()[1] for line in f if line.split()[2] == "cgroup2"]
    return found[0] if found else None


def not_possible():
    """Why no systemd can run here, or None."""
    if not os.path.exists(SYSTEMD):
        return f"no {SYSTEMD} here (scripts/deps.sh test installs it)"
    if cgroup_base() is None:
        return "no cgroup2 is mounted here"
    return netns.not_possible()


class Machine(netns.Host):
    def __init__(self, net, at):
        super().__init__(net, at)
        self.group = os.path.join(cgroup_base(), f"{net.tag}-{at}")
        self.holder = self.disk = None

    def start_ours(self, name, *words):
        """A program that does not outlive us, however we end."""
        return self.start(name, "setpriv", "--pdeathsig", "KILL", *words)

    def become(self, name, stage, hosts):
        """@stage: of make install. Its disk is memory, which goes with who holds it."""
        self.name, self.stage, self.hosts = name, stage, hosts
        self.disk = self.start_ours(
            "disk", "unshare", "--mount", "--propagation", "private", "sh", "-ec",
            'mount -t tmpfs -o mode=0755 disk "$0/state"; mkdir "$0/state/d"; exec sleep infinity',
            self.base)
        assert wait_for(lambda: os.path.isdir(f"/proc/{self.disk.pid}/root{self.base}/state/d"))

    def boot(self):
        """Until PID 1 answers; the units may be still on their way."""
        os.makedirs(self.group, exist_ok=True)
        enter = 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"'
        self.holder = self.start_ours(
            "boot", "sh", "-ec", enter, "sh", self.group,
            "nsenter", f"--mount=/proc/{self.disk.pid}/ns/mnt", "unshare", "--pid", "--fork",
            "--mount", "--uts", "--ipc", "--cgroup", "--kill-child", "--propagation", "private",
            BOOT, self.name, os.path.join(self.base, "state"), self.stage, self.hosts)
        assert wait_for(lambda: self.holder.poll() is not None or self.answers(), 30), self.log()
        assert self.holder.poll() is None, self.log()

    @property
    def init(self):
        """Its PID 1, as we see it; 0: none."""
        pid = self.holder.pid if self.holder else 0
        try:
            with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
                return int((f.read().split() or [0])[0])
        except OSError:
            return 0

    def argv(self, *words):
        if not self.holder or not self.init:  # it is off: what boots it
            return super().argv(*words)
        return ["nsenter", "-t", str(self.init), "--pid", "--mount", "--uts", "--ipc", "--net",
                "--cgroup", "--root", "--wd=/", "--", "env", "-i", f"PATH={PATH}", "HOME=/root",
                "LC_ALL=C", *words]

    def answers(self):
        said = self.init and self.run("systemctl", "is-system-running", check=False).stdout
        return said and said.strip() in ("starting", "running", "degraded")

    def show(self, unit, name):
        return self.run("systemctl", "show", "-P", name, unit).stdout.strip()

    def systemctl(self, *words, check=True):
        done = self.run("systemctl", *words, check=False, timeout=60)
        assert done.returncode == 0 or not check, f"{words}: {done.stderr}\n{self.journal()}"
        return done.returncode

    def journal(self, unit=None):
        chosen = ("-u", unit) if unit else ("-n", "80")
        return self.run("journalctl", "--no-pager", "-o", "short-monotonic", *chosen,
                        check=False).stdout

    def ended(self):
        return self.holder is None or self.holder.poll() is not None

    def switch_off(self):
        """An orderly end; the seconds that it took."""
        began = time.monotonic()
        self.run("systemctl", "poweroff", check=False)
        assert wait_for(self.ended, 60), self.journal()
        self.holder = None
        return time.monotonic() - began

    def umount(self):  # they go with PID 1
        pass

    def down(self):
        if not self.ended():
            os.kill(self.init or self.holder.pid, signal.SIGKILL)
            self.holder.wait()
        super().down()
        wait_for(lambda: remove_groups(self.group), 10)


def remove_groups(top):
    """True: there is none of them any more."""
    for path, _, _ in os.walk(top, topdown=False):
        try:
            os.rmdir(path)
        except OSError:
            return False
    return True
