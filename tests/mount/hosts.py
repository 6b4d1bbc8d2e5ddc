"""A pool over several hosts, all of them this one, for the tests that a `Pool` serves: made by
`aceso pool create`, each host's part given by an `aceso pool serve` of its own.

ACESO_TRANSPORT says which way (tcp, verbs) and ACESO_HOST at which address: for TCP one of
loopback (all of 127/8 is this host, and nobody else has these ports there)."""
import atexit
import os
import random
import shutil
import signal
import subprocess
import tempfile

NODES = 5


def places():
    """One set of folders for all pools of this run, so that every program finds them."""
    if "ACESO_HOSTS_BASE" in os.environ:
        return os.environ["ACESO_HOSTS_BASE"]
    base = tempfile.mkdtemp(prefix="aceso-hosts-")
    os.chmod(base, 0o755)
    atexit.register(shutil.rmtree, base, ignore_errors=True)
    os.mkdir(os.path.join(base, "state"))
    os.environ.update(ACESO_HOSTS_BASE=base, ACESO_CONF_DIR=os.path.join(base, "etc"),
                      ACESO_RUNTIME_DIR=os.path.join(base, "run"),
                      ACESO_STATE_DIR=os.path.join(base, "state"))
    return base


class Hosts:
    """The serving side: a process a node and one for the coordinator. With @respawn a node
    that dies is replaced; else its whole host is taken for gone."""

    def __init__(self, binary, transport, name, size, respawn):
        self.binary, self.name, self.respawn = binary, name, respawn
        self.base = places()
        self.servers = {}
        address = os.environ.get("ACESO_HOST") or \
            f"127.{random.randint(1, 254)}.{random.randint(1, 254)}.1"
        made = subprocess.run(
            [binary, "pool", "create", name, "--nodes", ",".join([address] * NODES),
             "--node-size", str(size), "--transport", transport,
             *os.environ.get("ACESO_CREATE_ARGS", "").split()],
            text=True, capture_output=True, timeout=120)
        assert made.returncode == 0, made.stderr
        for part in ("coordinator", *(f"node:{n}" for n in range(NODES))):
            self.serve(part)

    def log_name(self):
        return os.path.join(self.base, self.name + ".log")

    def log(self):
        with open(self.log_name(), encoding="utf-8", errors="replace") as f:
            return f.read()

    def serve(self, part):
        with open(self.log_name(), "a", encoding="utf-8") as log:
            self.servers[part] = subprocess.Popen(
                [self.binary, "pool", "serve", self.name, "--only", part],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def shoot(self, node, pid):
        """kill -9 of the node's process @pid, or of all that its host runs."""
        if not self.respawn:
            server = self.servers.pop(f"node:{node}", None)
            if server is not None:
                server.kill()
                server.wait()
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it went with its host

    def end(self, patience):
        for server in self.servers.values():
            server.send_signal(signal.SIGTERM)
        codes = {part: server.wait(patience) for part, server in self.servers.items()}
        assert not any(codes.values()), (codes, self.log())
        os.unlink(self.log_name())
