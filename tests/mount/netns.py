"""Several hosts on one machine: a network namespace each, joined by a bridge
that lies in one of its own, so that nothing outside is touched. A host is an
address and three folders (configuration, sockets, state); its programs see its
network, and the machine's files. All of it goes when a Net is closed."""
import ctypes
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time

from conftest import BIN, SLOW, wait_for


def ip(*args, check=True):
    return subprocess.run(["ip", *args], check=check, capture_output=True, text=True, timeout=60)


def not_possible():
    """Why there can be no namespaces here, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None or shutil.which("nsenter") is None:
        return "no ip or nsenter here (iproute2, util-linux)"
    name = f"aceso-try-{os.getpid()}"
    done = ip("netns", "add", name, check=False)
    if done.returncode == 0:
        done = ip("-n", name, "link", "add", "br0", "type", "bridge", check=False)
        if done.returncode == 0:
            done = ip("-n", name, "link", "add", "a0", "type", "veth", "peer", "name", "a1",
                      check=False)
    ip("netns", "del", name, check=False)
    return None if done.returncode == 0 else f"no network namespaces here: {done.stderr.strip()}"


def setns(to):
    fd = os.open(to, os.O_RDONLY) if isinstance(to, str) else to
    rc = ctypes.CDLL(None, use_errno=True).setns(fd, 0x40000000)  # CLONE_NEWNET
    if isinstance(to, str):
        os.close(fd)
    assert rc == 0, os.strerror(ctypes.get_errno())


class in_net:
    """This thread's sockets are made in that host."""

    def __init__(self, host):
        self.path = f"/run/netns/{host.ns}"

    def __enter__(self):
        self.home = os.open("/proc/self/ns/net", os.O_RDONLY)
        setns(self.path)

    def __exit__(self, *_):
        setns(self.home)
        os.close(self.home)


class Host:
    def __init__(self, net, at):
        self.net, self.at = net, at
        self.ns = f"{net.tag}-h{at}"
        self.port = f"{net.tag}p{at}"[-15:]  # at the bridge
        self.address = f"10.213.{net.third}.{at + 1}"
        self.base = os.path.join(net.base, f"h{at}")
        self.logs = []
        self.running = []
        self.server = None  # of its mount
        for part in ("conf", "state", "mnt"):
            os.makedirs(os.path.join(self.base, part))
        self.make_run()

    def make_run(self):
        """As /run is at a boot: empty."""
        run = os.path.join(self.base, "run")
        shutil.rmtree(run, ignore_errors=True)
        os.mkdir(run)
        os.chmod(run, 0o755)

    def up(self):
        ip("netns", "add", self.ns)
        ip("-n", self.ns, "link", "set", "lo", "up")
        ip("link", "add", "eth0", "netns", self.ns, "type", "veth",
           "peer", "name", self.port, "netns", self.net.switch)
        ip("-n", self.net.switch, "link", "set", self.port, "master", "br0", "up")
        ip("-n", self.ns, "addr", "add", f"{self.address}/24", "dev", "eth0")
        ip("-n", self.ns, "link", "set", "eth0", "up")

    def cut(self):
        """Its cable is pulled: nobody is told, nothing is answered."""
        ip("-n", self.net.switch, "link", "set", self.port, "down")

    def heal(self, check=True):
        ip("-n", self.net.switch, "link", "set", self.port, "up", check=check)

    def env(self, **more):
        return {**os.environ, "ACESO_CONF_DIR": os.path.join(self.base, "conf"),
                "ACESO_RUNTIME_DIR": os.path.join(self.base, "run"),
                "ACESO_STATE_DIR": os.path.join(self.base, "state"),
                "PATH": f"{BIN}:{os.environ['PATH']}", **more}

    def argv(self, *words):
        return ["nsenter", f"--net=/run/netns/{self.ns}", "--", *words]

    def run(self, *words, check=True, timeout=60, **kw):
        return subprocess.run(self.argv(*words), env=self.env(), check=check, text=True,
                              capture_output=True, timeout=timeout * SLOW, **kw)

    def start(self, name, *words, env=None):
        """A program that goes on, in a session of its own; what it says goes to a log."""
        log = os.path.join(self.base, f"{name}.log")
        if log not in self.logs:
            self.logs.append(log)
        with open(log, "ab") as out:
            p = subprocess.Popen(self.argv(*words), env=env or self.env(), stdout=out,
                                 stderr=out, stdin=subprocess.DEVNULL, start_new_session=True)
        self.running.append(p)
        return p

    def pids(self):
        """All that run in it."""
        return [int(n) for n in ip("netns", "pids", self.ns, check=False).stdout.split()]

    def signal_all(self, sig):
        for pid in self.pids():
            try:
                os.kill(pid, sig)
            except ProcessLookupError:
                pass

    def power_off(self):
        """All its programs end at once, and its cable is out first."""
        self.cut()
        while self.pids():
            self.signal_all(signal.SIGKILL)
            time.sleep(0.02)
        for p in self.running:
            p.wait()
        self.running = []
        self.make_run()

    def log(self):
        return "".join(open(path, errors="replace").read() for path in self.logs)

    @property
    def mnt(self):
        return os.path.join(self.base, "mnt")

    def mount(self, pool):
        self.server = self.start("mount", "aceso-fuse", "-f", "-o", f"pool={pool}", self.mnt)
        assert wait_for(lambda: self.is_mounted() or self.server.poll() is not None, 60)
        assert self.server.poll() is None, self.log()

    def is_mounted(self):
        with open("/proc/self/mounts", encoding="utf-8") as f:  # no stat: its server may be dead
            return any(line.split()[1] == self.mnt for line in f)

    def umount(self):
        if self.is_mounted():
            subprocess.run(["fusermount3", "-u", self.mnt], capture_output=True, timeout=60)
        if self.is_mounted():
            subprocess.run(["umount", "-l", self.mnt], capture_output=True, timeout=60)
        if self.server is not None:  # it leaves in its own time, for which the nodes must be there
            wait_for(lambda: self.server.poll() is not None, 60)

    def down(self):
        self.umount()
        self.signal_all(signal.SIGTERM)
        wait_for(lambda: not self.pids(), 10)
        while self.pids():
            self.signal_all(signal.SIGKILL)
            self.signal_all(signal.SIGCONT)
            time.sleep(0.05)
        for p in self.running:
            p.wait()
        ip("netns", "del", self.ns, check=False)


class Net:
    """@n hosts, host[0] .. host[n - 1]; @kind: a Host's heirs."""

    def __init__(self, n, kind=Host):
        self.tag = f"aceso{random.getrandbits(16):04x}"
        self.switch = f"{self.tag}-sw"
        self.third = random.randrange(256)
        self.base = tempfile.mkdtemp(prefix="aceso-net-")
        os.chmod(self.base, 0o755)
        self.host = [kind(self, i) for i in range(n)]
        self.others = []
        try:
            ip("netns", "add", self.switch)
            ip("-n", self.switch, "link", "add", "br0", "type", "bridge")
            ip("-n", self.switch, "link", "set", "br0", "up")
            for h in self.host:
                h.up()
        except BaseException:
            self.close()
            raise

    def delay(self, ms):
        """All cables get longer. False: the kernel has no netem."""
        for h in self.host:
            done = subprocess.run(["ip", "netns", "exec", h.ns, "tc", "qdisc", "replace", "dev",
                                   "eth0", "root", "netem", "delay", f"{ms}ms"],
                                  capture_output=True, text=True, timeout=60)
            if done.returncode != 0:
                return False
        return True

    def apart(self, a, b, parted=True):
        """Hosts @a and @b send each other nothing; to all others they do."""
        for one, other in ((a, b), (b, a)):
            ip("-n", self.host[one].ns, "route", "add" if parted else "del", "blackhole",
               f"{self.host[other].address}/32")

    def logs(self):
        return "\n".join(f"--- host {h.at} ({h.address})\n{h.log()[-3000:]}" for h in self.host)

    def close(self):
        for h in self.host:
            h.heal(check=False)
        for h in self.host:  # mounts first: they need the nodes
            h.umount()
        for h in self.host:
            h.down()
        ip("netns", "del", self.switch, check=False)
        shutil.rmtree(self.base, ignore_errors=True)


def left_behind(net):
    """What a closed Net has left on this machine."""
    names = [l.split()[0] for l in ip("netns", "list").stdout.splitlines() if l.split()]
    return [n for n in names if n.startswith(net.tag)] + [
        l for l in open("/proc/mounts") if net.base in l] + [
        p for p in (net.base,) if os.path.exists(p)]
