"""aceso doctor: each finding can be made to appear, with the command that mends it."""
import json
import os
import shutil
import socket
import subprocess
import time

import pytest
from conftest import BIN, SLOW

ACESO = os.path.join(BIN, "aceso")
KEY = "ab" * 32 + "\n"


class Host:
    """Files of a system that lacks nothing; tests take something away."""

    def __init__(self, root):
        self.root = root
        self.env = {**os.environ, "ACESO_DOCTOR_ROOT": str(root), "ACESO_CONF": "/dev/null",
                    "ACESO_CONF_DIR": str(root / "aceso")}
        self.env.pop("ACESO_POOL", None)
        (root / "aceso").mkdir()
        self.put("dev/fuse", "")
        self.put("dev/shm/x", "")
        self.put("sys/module/fuse/parameters/enable_uring", "Y\n")
        self.put("usr/bin/fusermount3", "")
        os.chmod(root / "usr/bin/fusermount3", 0o4755)
        self.put("etc/fuse.conf", "# words\nuser_allow_other\n")
        self.put("proc/sys/kernel/osrelease", "6.1.0-13-amd64\n")
        self.put("proc/sys/vm/overcommit_memory", "0\n")
        self.put("sys/kernel/mm/transparent_hugepage/shmem_enabled",
                 "always within_size [advise] never deny force\n")

    def put(self, path, text):
        where = self.root / path
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_text(text)
        return where

    def rdma(self, mtu=4200, state="4: ACTIVE", gid="fe80:0000:0000:0000:5054:00ff:fe12:3456"):
        port = "sys/class/infiniband/mlx5_0/ports/1/"
        self.put(port + "state", state + "\n")
        self.put(port + "gids/0", gid + "\n")
        if gid.strip("0:"):
            self.put(port + "gid_attrs/types/0", "RoCE v2\n")
            self.put(port + "gid_attrs/ndevs/0", "eth7\n")
        self.put("sys/class/net/eth7/mtu", f"{mtu}\n")
        self.put("dev/infiniband/rdma_cm", "")
        self.huge(512)

    def huge(self, pages):
        self.put("proc/meminfo", f"MemFree: 5 kB\nHugePages_Total: 600\nHugePages_Free: {pages}\n"
                                 "Hugepagesize:       2048 kB\n")

    def pool(self, nodes, coords, name="far", size="64m", key=KEY, mode=0o600, transport="auto"):
        text = (f"[pool]\nname = {name}\nuuid = {'12' * 16}\ncode = 2+1\nnode-size = {size}\n"
                f"transport = {transport}\nkey = {name}.key\n[nodes]\n"
                + "".join(f"{i} = {n}\n" for i, n in enumerate(nodes)) + "[coordinators]\n"
                + "".join(f"{i} = {c}\n" for i, c in enumerate(coords)))
        self.put(f"aceso/{name}.conf", text)
        if key:
            os.chmod(self.put(f"aceso/{name}.key", key), mode)

    def ask(self, *args, before=(), program=ACESO):
        done = subprocess.run([*before, program, "doctor", "--json", *args], env=self.env, text=True,
                              capture_output=True, timeout=60 * SLOW)
        answer = json.loads(done.stdout)
        assert done.returncode == (0 if answer["ok"] else 1), done
        assert answer["ok"] == all(f["verdict"] != "fail" for f in answer["findings"])
        for f in answer["findings"]:
            assert f["found"]
            assert (f["verdict"] == "ok") == (f["mend"] is None) == (f["means"] is None), f
        return {f["check"]: f for f in answer["findings"]}


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


@pytest.fixture
def ports():
    """Where somebody listens, and where nobody does."""
    made = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    yield [f"127.0.0.1:{s.getsockname()[1]}" for s in made]
    for s in made:
        s.close()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return f"127.0.0.1:{s.getsockname()[1]}"


def test_a_host_that_lacks_nothing(host):
    host.rdma()
    found = host.ask()
    own = ("clock", "memory", "memlock")  # this machine's, whatever they are
    assert {c: f for c, f in found.items() if f["verdict"] != "ok" and c not in own} == {}
    assert {"kernel", "programs", "aceso.conf", "fuse", "fusermount3", "allow_other", "io_uring",
            "memory", "memlock", "huge-pages", "overcommit", "shm", "rdma", "clock",
            "tls"} <= set(found)
    assert "modprobe tls" in found["tls"]["found"]  # a hint: nothing lacks
    host.put("proc/net/tls_stat", "TlsCurrTxSw 0\n")
    assert host.ask()["tls"]["found"] == "the kernel does the TLS of pools over TCP"


def rm(path):
    return lambda h: (h.root / path).unlink()


@pytest.mark.parametrize("harm, check, verdict, mend", [
    (rm("dev/fuse"), "fuse", "fail",
     "modprobe fuse && echo fuse | sudo tee /etc/modules-load.d/fuse.conf"),
    (rm("usr/bin/fusermount3"), "fusermount3", None, "apt-get install fuse3"),
    (lambda h: os.chmod(h.root / "usr/bin/fusermount3", 0o755), "fusermount3", None, "chmod u+s"),
    (lambda h: h.put("etc/fuse.conf", "#user_allow_other\n"), "allow_other", "warn",
     "tee -a /etc/fuse.conf"),
    (lambda h: h.put("sys/module/fuse/parameters/enable_uring", "N\n"), "io_uring", "warn",
     "enable_uring=1 | sudo tee /etc/modprobe.d/"),
    (lambda h: h.put("proc/sys/kernel/osrelease", "5.4.0\n"), "kernel", "fail", "linux-image"),
    (lambda h: h.put("proc/sys/vm/overcommit_memory", "2\n"), "overcommit", "warn",
     "/etc/sysctl.d/aceso-overcommit.conf"),
    (lambda h: h.put("sys/kernel/mm/transparent_hugepage/shmem_enabled", "always [never]\n"),
     "huge-pages", "warn", "tee /etc/tmpfiles.d/"),
    (rm("sys/kernel/mm/transparent_hugepage/shmem_enabled"), "huge-pages", "warn", "kernel"),
    (lambda h: (h.rdma(), h.huge(3)), "huge-pages", "warn",
     "echo vm.nr_hugepages=738 | sudo tee /etc/sysctl.d/aceso-huge-pages.conf && sudo sysctl -p"),
    (lambda h: shutil.rmtree(h.root / "dev/shm"), "shm", "warn", "tee -a /etc/fstab"),
    (lambda h: h.rdma(state="1: DOWN"), "rdma", "fail", "ip link set dev eth7 up"),
    (lambda h: h.rdma(gid="0000:0000:0000:0000:0000:0000:0000:0000"), "rdma-gid", "fail",
     "ip addr add"),
    (lambda h: h.rdma(mtu=1500), "rdma-mtu", "warn",
     "ip link set dev eth7 mtu 9000 (on all hosts and switches between them; to keep it: mtu"),
    (lambda h: (h.rdma(), rm("dev/infiniband/rdma_cm")(h)), "rdma-cm", "fail",
     "tee /etc/modules-load.d/rdma_ucm.conf"),
])
def test_what_is_missing_is_found(host, harm, check, verdict, mend):
    before = host.ask()
    assert before.get(check, {"verdict": "ok"})["verdict"] == "ok"
    harm(host)
    found = host.ask()[check]
    if verdict is None:  # whether others than root can mount matters to them
        verdict = "warn" if os.geteuid() == 0 else "fail"
    assert found["verdict"] == verdict and mend in found["mend"], found


def test_a_kernel_without_io_uring_for_fuse_is_no_fault(host):
    (host.root / "sys/module/fuse/parameters/enable_uring").unlink()
    assert "io_uring" not in host.ask()


def little(root=False):
    """Who may lock 64 KiB; root may lock all."""
    limit = ["prlimit", "--memlock=65536"]
    if os.geteuid() == 0 and not root:
        limit += ["setpriv", "--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock"]
    return limit


def test_an_adapter_wants_locked_memory(host):
    assert host.ask(before=little())["memlock"]["verdict"] == "ok"
    host.rdma()
    found = host.ask(before=little())["memlock"]
    assert found["verdict"] == "fail" and "limits.d" in found["mend"]
    assert "64.0 KiB" in found["found"] or "64 KiB" in found["found"]
    host.put("etc/systemd/system/aceso-pool@.service", "[Service]\n#LimitMEMLOCK=infinity\n")
    assert host.ask(before=little())["memlock"]["verdict"] == "fail"
    host.put("etc/systemd/system/aceso-pool@.service", "[Service]\nLimitMEMLOCK=infinity\n")
    found = host.ask(before=little())["memlock"]
    assert found["verdict"] == "ok" and "LimitMEMLOCK=infinity" in found["found"]


def test_root_may_lock_all_memory(host):
    if os.geteuid() != 0:
        pytest.skip("not root: a limit holds")
    host.rdma()
    found = host.ask(before=little(root=True))["memlock"]
    assert found["verdict"] == "ok" and "CAP_IPC_LOCK" in found["found"]


def test_a_file_of_options_that_is_wrong(host, tmp_path):
    path = tmp_path / "a.conf"
    path.write_text("[mount]\nsise = 1g\n")
    host.env["ACESO_CONF"] = str(path)
    found = host.ask()["aceso.conf"]
    assert found["verdict"] == "fail" and f"{path}:2" in found["found"]
    assert found["mend"] == f"sudo editor +2 {path}"
    path.write_text("")
    host.env["ACESO_OPTIONS"] = "size=much"
    found = host.ask()["aceso.conf"]
    assert found["verdict"] == "fail" and "size" in found["found"]
    assert found["mend"].startswith("unset ACESO_OPTIONS")


def test_programs_that_are_not_there(host, tmp_path):
    """Beside this one, or where they are installed."""
    if any(os.path.exists(d + n) for d in ("/usr/local/bin/", "/usr/bin/", "/bin/", "/sbin/")
           for n in ("aceso-fuse", "mount.aceso")):
        pytest.skip("they are installed here")
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(ACESO, alone)
    shutil.copy(os.path.join(BIN, "aceso-node"), alone)
    found = host.ask(program=str(alone / "aceso"))["programs"]
    assert found["verdict"] == "fail" and found["mend"] == "sudo make install"
    assert found["found"].endswith("but not: aceso-fuse mount.aceso"), found


CLOCK = """
#include <sys/timex.h>
int adjtimex(struct timex *t)
{
	t->status = STA;
	t->maxerror = 7000;
	return STA == STA_UNSYNC ? TIME_ERROR : TIME_OK;
}
"""


@pytest.mark.parametrize("status, verdict", [("STA_UNSYNC", "warn"), ("STA_PLL", "ok")])
def test_a_clock(host, tmp_path, status, verdict):
    (tmp_path / "clock.c").write_text(CLOCK)
    subprocess.run(["cc", "-shared", "-fPIC", "-D_GNU_SOURCE", "-DSTA=" + status, "-o",
                    tmp_path / "clock.so", tmp_path / "clock.c"], check=True)
    host.env["LD_PRELOAD"] = str(tmp_path / "clock.so")
    host.env["ASAN_OPTIONS"] = "verify_asan_link_order=0"
    found = host.ask()["clock"]
    assert found["verdict"] == verdict, found
    if verdict == "ok":
        assert found["found"] == "kept right, to 7 ms at most"
    else:
        assert "enable --now chrony" in found["mend"]


AWAY = ["198.51.100.1:7601", "198.51.100.2:7601"]  # no host has these


def test_too_little_memory_for_a_node(host, ports):
    host.pool([ports[0], *AWAY], [ports[1]], size="900t")
    found = host.ask("--pool", "far")["memory"]
    assert found["verdict"] == "fail" and "900 TiB are wanted" in found["found"]
    host.pool([*ports[:2], AWAY[0]], [ports[2]], size="900t")  # two nodes of this host
    found = host.ask("--pool", "far")["memory"]
    assert found["verdict"] == "fail" and "1.8 PiB are wanted" in found["found"]


def test_a_host_that_serves_no_node_needs_no_memory(host, ports):
    host.rdma()
    host.huge(0)
    host.pool([*AWAY, "198.51.100.3:7601"], [ports[0]], size="900t")
    found = host.ask("--pool", "far")
    for check in ("memory", "huge-pages", "memlock"):
        assert found[check]["verdict"] == "ok", found[check]
    assert "no node of pool far" in found["memory"]["found"]
    found = host.ask("--pool", "far", before=little())["memlock"]
    assert found["verdict"] == "warn" and "a mount" in found["means"]  # it registers buffers


def test_a_node_that_runs_has_its_memory(host, ports):
    host.rdma()
    host.huge(0)
    host.pool([ports[0], *AWAY], [ports[1]], size="900t")
    words = ["aceso-node", "--pool", "far", "--id", "0", "--foreground", "--hosts"]

    def runs(name, kib, **other):
        said = [other.get(w, w) for w in words]
        host.put(f"proc/{name}/cmdline", "\0".join(said) + "\0")
        host.put(f"proc/{name}/status", f"Name: aceso-node\nRssShmem: {kib} kB\n")

    runs("41", 900 << 30, far="near")
    runs("42", 900 << 30, **{"0": "1"})  # as of another host
    assert host.ask("--pool", "far")["memory"]["verdict"] == "fail"
    runs("43", 100 << 30)
    found = host.ask("--pool", "far")
    assert "800 TiB more are wanted" in found["memory"]["found"]
    assert found["huge-pages"]["verdict"] == "ok"  # what it has it took when it started
    runs("43", 900 << 30)
    found = host.ask("--pool", "far")["memory"]
    assert found["verdict"] == "ok" and "900 TiB already" in found["found"]


def test_pages_for_a_pool_are_counted(host, ports):
    host.rdma()
    host.huge(0)
    host.pool([ports[0], *AWAY], [ports[1]], size="1g")
    found = host.ask("--pool", "far")["huge-pages"]
    # 600 that others have, 513 for the node, and a tenth of these
    assert "vm.nr_hugepages=1164 " in found["mend"] and "1.0 GiB are wanted" in found["found"]


def test_a_pool_without_its_file(host):
    found = host.ask("--pool", "far")["pool-file"]
    assert found["verdict"] == "fail" and "scp" in found["mend"]
    host.put("aceso/far.conf", "[pool]\nname = far\ncode = nonsense\n")
    found = host.ask("--pool", "far")["pool-file"]
    assert found["verdict"] == "fail"
    assert found["mend"] == f"sudo editor +3 {host.root}/aceso/far.conf"


@pytest.mark.parametrize("key, mode, mend", [
    (KEY, 0o644, "chmod 600"), ("short\n", 0o600, "scp"), (None, 0, "scp")])
def test_a_key_that_is_none(host, ports, key, mode, mend):
    host.pool(ports, [free_port()], key=key, mode=mode)
    found = host.ask("--pool", "far")["key"]
    assert found["verdict"] == "fail" and mend in found["mend"], found


def test_a_key_that_systemd_has_handed_over(host, ports, tmp_path):
    host.pool(ports, [free_port()], key=None)
    handed = tmp_path / "handed"
    handed.mkdir()
    (handed / "far.key").write_text(KEY)
    os.chmod(handed / "far.key", 0o440)  # as systemd does it, with an ACL
    assert host.ask("--pool", "far")["key"]["verdict"] == "fail"
    host.env["CREDENTIALS_DIRECTORY"] = str(handed)
    assert host.ask("--pool", "far")["key"]["verdict"] == "ok"


def test_a_key_that_this_user_cannot_read(host, ports):
    if os.geteuid() != 0:
        pytest.skip("not root: nobody else's key can be made")
    host.pool(ports, [free_port()])
    for path in (host.root, *host.root.parents)[:3]:
        os.chmod(path, 0o755)
    found = host.ask("--pool", "far", before=["setpriv", "--reuid=65534", "--clear-groups"])["key"]
    assert found["verdict"] == "warn" and found["mend"] == "sudo aceso doctor --pool far"


def test_hosts_that_do_not_answer(host, ports):
    host.pool(ports, [free_port()])
    found = host.ask("--pool", "far")
    assert found["nodes"]["verdict"] == "ok" and found["key"]["verdict"] == "ok"
    assert found["coordinator-0"]["verdict"] == "fail"
    assert "systemctl enable --now aceso-pool@far" in found["coordinator-0"]["mend"]
    assert found["pool"]["verdict"] == "fail"
    # one of three nodes away: 2+1 bears it; two: not
    host.pool([free_port(), *ports[1:]], [ports[0]])
    found = host.ask("--pool", "far")
    assert found["node-0"]["verdict"] == "warn" and "nodes" not in found
    host.pool([free_port(), free_port(), ports[2]], [ports[0]])
    assert host.ask("--pool", "far")["node-1"]["verdict"] == "fail"


def test_names_that_lead_nowhere(host, ports):
    host.pool(["a..b:7601", *ports[1:]], [ports[0]])  # no name: nobody is asked for it
    found = host.ask("--pool", "far")["node-0"]
    assert found["verdict"] == "warn" and "/etc/hosts" in found["mend"], found


def test_all_addresses_of_a_name_are_tried(host, ports):
    """The first is not always the one where somebody listens."""
    if os.geteuid() != 0:
        pytest.skip("not root: no names of its own can be made")
    names = host.put("hosts", "::1 twice\n127.0.0.1 twice\n127.9.9.9 other\n")
    see = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', names]
    places = [p.replace("127.0.0.1", "twice") for p in ports]
    host.pool([*places[:2], places[2].replace("twice", "other")], [places[0]])
    found = host.ask("--pool", "far", before=see)
    assert found["coordinators"]["verdict"] == "ok", found
    assert not {"nodes", "node-0", "node-1"} & set(found), found
    assert "nothing listens there" in found["node-2"]["found"]


def test_nodes_that_listen_by_rdma(host, ports):
    """Nobody listens there by TCP, which is as it should be. (tests/verbs_pool.py meets real
    ones, and tests/unit/door_ways_test.c coordinators that say who they are.)"""
    if os.path.exists("/dev/infiniband"):
        pytest.skip("there may be an RDMA device here")
    host.pool([free_port() for _ in range(3)], [ports[0]], transport="verbs")
    for adapter in (False, True):  # what its files say; there is none
        begun = time.monotonic()
        found = host.ask("--pool", "far")
        assert time.monotonic() - begun < 5 * SLOW
        assert found["transport"]["verdict"] == "fail", found
        assert "3 of 3 nodes, as node-0 (127.0.0.1:" in found["transport"]["found"]
        assert "say transport = tcp in " in found["transport"]["mend"]
        assert not {"nodes", "node-0", "node-1"} & set(found)
        host.rdma()
    host.pool(ports, [ports[0]], key=None, transport="verbs")
    (host.root / "aceso/far.key").unlink()
    found = host.ask("--pool", "far")
    assert found["nodes"]["verdict"] == "warn" and "without the key" in found["nodes"]["found"]
    assert "transport" not in found


def test_hosts_that_are_out_of_reach(host, ports):
    if os.geteuid() != 0:
        pytest.skip("not root: no network of its own can be made")
    host.pool(ports, [ports[0]])
    found = host.ask("--pool", "far", before=["unshare", "--net"])  # there even loopback is down
    assert found["node-2"]["verdict"] == "fail" and "nft add rule" in found["node-2"]["mend"]


# --- this host's own firewall --------------------------------------------------------------------


def match(what, right, op="=="):
    left = {"payload": {"protocol": what[0], "field": what[1]}} if isinstance(what, tuple) \
        else {"meta": {"key": what}} if what != "state" else {"ct": {"key": "state"}}
    return {"match": {"op": op, "left": left, "right": right}}


# A network without others: what is away is known to be at once.
ALONE = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
TCP = ("tcp", "dport")
ACCEPT, DROP, REJECT = {"accept": None}, {"drop": None}, {"reject": {"type": "icmpx"}}
USUAL = [[match("state", ["established", "related"], "in"), ACCEPT],
         [match("state", "invalid", "in"), {"counter": {"packets": 3, "bytes": 9}}, DROP],
         [match("iif", "lo"), ACCEPT], [match("l4proto", "icmp"), ACCEPT],
         [match(("udp", "dport"), 5353), ACCEPT], [match(TCP, 22), ACCEPT]]


def nft(host, policy, rules, more=(), **chain):
    """As nft -j list ruleset shows them."""
    where = {"family": "inet", "table": "filter"}
    base = {**where, "name": "input", "handle": 1, "type": "filter", "hook": "input", "prio": 0,
            "policy": policy, **chain}
    of = [("input", r) for r in rules] + list(more)
    text = json.dumps({"nftables": [
        {"metainfo": {"json_schema_version": 1}}, {"table": {**where, "name": "filter"}},
        {"chain": base},
        *({"rule": {**where, "chain": c, "handle": i, "expr": e}}
          for i, (c, e) in enumerate(of))]})
    stub = host.put("path/nft", "#!/bin/sh\n[ \"$*\" = '-j list ruleset' ] && "
                                f"cat <<'E'\n{text}\nE\n")
    stub.chmod(0o755)
    host.env["PATH"] = f"{stub.parent}:{os.environ['PATH']}"


@pytest.fixture
def served(host, ports):
    """A pool of which this host serves a node and the coordinator: their ports."""
    if os.geteuid() != 0:
        pytest.skip("not root: rules cannot be read")
    host.pool([ports[0], *AWAY], [ports[1]], transport="tcp")
    return [int(p.split(":")[1]) for p in (ports[1], ports[0])]


def jump(to):
    return [{"jump": {"target": to}}]


def test_a_firewall_that_drops_what_comes(host, served):
    coord, node = served
    for policy, rules, more, shut in (
            ("drop", USUAL, [], served),
            ("drop", [*USUAL, [match(TCP, node), ACCEPT]], [], [coord]),
            ("drop", [*USUAL, [match(TCP, {"set": [1, {"range": [node, node]}]}), ACCEPT]], [],
             [coord]),
            ("drop", [[match(TCP, 22, "!="), DROP]], [], served),
            ("drop", jump_only := [jump("more")], [("more", r) for r in USUAL], served),
            ("accept", jump_only, [("more", [match(TCP, node), REJECT])], [node]),
            ("accept", [*USUAL, [REJECT]], [], served),
            ("accept", [[match(TCP, {"range": [coord, coord]}), DROP]], [], [coord])):
        nft(host, policy, rules, more)
        found = host.ask("--pool", "far", before=ALONE)["firewall"]
        assert found["verdict"] == "warn", found
        ports = ", ".join(str(p) for p in shut)
        assert found["found"].endswith("(nft: chain inet filter input) drops what comes to TCP "
                                       f"port {ports}")
        assert found["mend"].startswith("sudo nft insert rule inet filter input tcp dport "
                                        f"'{{ {ports} }}' accept"), found


def test_a_firewall_that_may_let_in(host, served):
    both = {"set": served}
    for policy, rules, more in (
            ("accept", USUAL, []), ("drop", [[match(TCP, both), ACCEPT], *USUAL], []),
            ("drop", [[match("iifname", "eth1"), ACCEPT]], []),
            ("drop", [[match(("ip", "saddr"), "10.0.0.0/8"), ACCEPT]], []),
            ("drop", [[match(TCP, "@open"), ACCEPT]], []), ("drop", [[{"xt": None}]], []),
            ("drop", [[{"vmap": {"key": 1, "data": 2}}]], []),
            ("drop", [jump("round")], [("round", jump("round"))]),
            ("drop", [jump("more")], [("more", [match(TCP, both), ACCEPT])]),
            ("accept", [[match(("ip", "saddr"), "10.0.0.1"), DROP]], []),
            ("accept", [[{"limit": {"rate": 5}}, DROP]], [])):
        nft(host, policy, rules, more)
        assert "firewall" not in host.ask("--pool", "far", before=ALONE), (policy, rules)
    for chain in ({"hook": "forward"}, {"type": "nat"}, {"family": "ip6"}):
        nft(host, "drop", USUAL, **chain)
        assert "firewall" not in host.ask("--pool", "far", before=ALONE), chain
    nft(host, "drop", USUAL)
    host.pool([*AWAY, "198.51.100.3:7601"], ["198.51.100.3:7600"], transport="tcp")
    assert "firewall" not in host.ask("--pool", "far", before=ALONE)  # nothing is served here


@pytest.mark.parametrize("text", ["exit 1", "echo '{'", "echo '[]'", "sleep 60",
                                  """echo '{"nftables": [{"chain": 7}, 3]}'"""])
def test_an_nft_that_says_nothing_right(host, served, text):
    assert served
    nft(host, "drop", USUAL)
    (host.root / "path/nft").write_text("#!/bin/sh\n" + text.replace("sleep", "exec sleep") + "\n")
    begun = time.monotonic()
    assert "firewall" not in host.ask("--pool", "far", before=ALONE)
    assert time.monotonic() - begun < 10 * SLOW


def test_rules_that_nft_itself_shows(host, served, tmp_path):
    if shutil.which("nft", path=os.environ["PATH"] + ":/usr/sbin") is None:
        pytest.skip("nft is not installed")
    rules = tmp_path / "rules"
    rules.write_text("table inet filter {\nchain input {\n"
                     "type filter hook input priority 0; policy drop;\n"
                     "ct state { established, related } accept\nct state invalid drop\n"
                     "iif lo accept\nmeta l4proto { icmp, ipv6-icmp } accept\n"
                     f"tcp dport {{ 22, {served[0]} }} accept\n}}\n}}\n")
    ruled = [*ALONE, "sh", "-c", 'PATH=$PATH:/usr/sbin; nft -f "$0" || exit; exec "$@"', rules]
    found = host.ask("--pool", "far", before=ruled)["firewall"]
    assert found["verdict"] == "warn" and found["found"].endswith(f"TCP port {served[1]}"), found


def test_words_for_people(host):
    rm("dev/fuse")(host)
    done = subprocess.run([ACESO, "doctor"], env=host.env, text=True, capture_output=True,
                          timeout=60 * SLOW)
    assert done.returncode == 1
    assert "fail  fuse" in done.stdout and "mend: sudo modprobe fuse" in done.stdout
    assert "\033" not in done.stdout
    done = subprocess.run([ACESO, "doctor", "--frob"], env=host.env, text=True,
                          capture_output=True, timeout=60 * SLOW)
    assert done.returncode == 64 and "usage: aceso doctor" in done.stderr
