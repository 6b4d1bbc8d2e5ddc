"""aceso at work on a living pool: keys, paths, explain, status, stats; and the
scripts behind make start and make stop."""
import json
import os
import re
import subprocess

import pytest
from conftest import BIN, ROOT, SLOW, need_fuse, wait_for
from test_doors import ACESO, FUSE, do, env, mnt, one_line  # noqa: F401


@pytest.fixture
def on(env, mnt):
    """Run aceso on a mounted pool."""
    need_fuse()
    done = do(env, FUSE, "-o", "size=64m,pool=tools", mnt)
    assert done.returncode == 0, done.stderr

    def run(*args, code=0, **kw):
        done = do(env, ACESO, *args, **kw)
        assert done.returncode == code, (done.stdout, done.stderr)
        return done if code else done.stdout

    run.dir, run.env = mnt, env
    yield run
    subprocess.run(["umount", mnt], check=True)


def test_keys(on):
    on("put", "greeting", "hello")
    assert on("get", "greeting") == "hello"
    on("put", "greeting", "again")
    assert on("get", "greeting") == "again"
    on("put", "from-stdin", input="x" * 60000)
    assert on("get", "from-stdin") == "x" * 60000
    on("put", "empty", "")
    assert on("get", "empty") == ""
    assert sorted(on("ls", "--keys").split()) == ["empty", "from-stdin", "greeting"]
    assert on("ls", "--keys", "gr") == "greeting\n"
    assert re.match(r" +5 +[0-9a-f]{16}  greeting\n", on("ls", "-l", "--keys", "greet"))
    on("rm", "greeting")
    one_line(on("get", "greeting", code=1), "greeting: no such key")
    one_line(on("rm", "greeting", code=1), "no such key")
    one_line(on("put", "big", input="x" * 70000, code=1), "at most 68 KiB")
    assert "greeting" not in on("ls", "--keys")
    os.listdir(on.dir)  # keys and files do not meet
    assert os.listdir(on.dir) == []


def test_paths(on):
    os.mkdir(os.path.join(on.dir, "d"))
    on("put", "/d/f", "short")
    assert on("get", "/d/f") == "short"
    on("put", f"{on.dir}/d/f", input="replaced " * 10000)
    with open(os.path.join(on.dir, "d", "f")) as f:
        assert f.read() == "replaced " * 10000
    assert on("ls") == "d/\n"
    assert on("ls", "/d") == "f\n"
    assert re.match(r"-0644 +1 .* 90000 .* f\n", on("ls", "-l", "/d"))
    on("rm", "/d", code=1)
    on("rm", "/d/f")
    on("rm", "/d")
    assert os.listdir(on.dir) == []
    one_line(on("get", "/d/f", code=1), "/d/f", "No such file")


def test_explain_a_path_down_to_the_nodes(on):
    os.mkdir(os.path.join(on.dir, "d"))
    with open(os.path.join(on.dir, "d", "f"), "wb") as f:
        f.write(os.urandom(300000))
        os.fsync(f.fileno())
    text = on("explain", os.path.join(on.dir, "d", "f"))
    assert text.startswith("path /d/f\n")
    assert len(re.findall(r"served by node \d", text)) >= 5
    assert len(re.findall(r"role \d \(\w+\), parity on node \d, node \d", text)) >= 5
    pages = re.findall(r"page at (\d+) +node (\d) \+ 0x", text)
    assert pages and int(pages[0][0]) == 0
    assert "pages more" in text  # 74 of them, 64 are shown
    on("put", "k", "v")
    assert re.search(r"key k\n +hash +[0-9a-f]{16} -> shard \d", on("explain", "k"))
    one_line(on("explain", "nokey", code=1), "nokey: no such key", "a slash")
    assert on("explain", "/nofile", code=1).stderr.count("\n") == 1


def test_a_path_goes_through_any_mount_of_the_pool(on):
    with open(os.path.join(on.dir, "f"), "w") as f:
        f.write("here")
    second = on.dir + "2"
    os.mkdir(second)
    done = do(on.env, FUSE, "-o", "pool=tools", second)
    assert done.returncode == 0, done.stderr
    try:
        for path in ("/f", f"{on.dir}/f", f"{second}/f"):
            assert on("get", path) == "here"
            assert on("explain", path).startswith("path /f\n")
    finally:
        subprocess.run(["umount", second], check=True)


def test_status_in_its_forms(on):
    text = on("status")
    assert re.search(r"^pool +tools$", text, re.M) and "\033" not in text
    assert len(re.findall(r"^ +[0-4] +\d+  up", text, re.M)) == 5
    s = json.loads(on("status", "--json"))
    assert s["pool"] == "tools" and s["redundancy"] == "full"
    watch = subprocess.Popen([ACESO, "status", "--json", "--watch", "0.1"], text=True,
                             stdout=subprocess.PIPE,
                             env=on.env)
    lines = [json.loads(watch.stdout.readline()) for _ in range(3)]
    watch.kill()
    watch.wait()
    watch.stdout.close()
    assert [x["pool"] for x in lines] == ["tools"] * 3


def test_df_and_stats(on):
    with open(os.path.join(on.dir, "f"), "wb") as f:
        f.write(b"x" * (3 << 20))
    assert re.search(r"^tools +[\d.]+ MiB", on("df"), re.M)
    s = json.loads(on("stats", "--json"))
    assert len(s["nodes"]) == 5 and s["pool"] == "tools"
    (m,) = s["mounts"]
    assert m["mountpoint"] == on.dir
    assert m["stats"]["page_write"]["bytes"] >= 3 << 20
    assert m["stats"]["insert"]["calls"] > 0
    assert re.search(r"^  page_write +\d+", on("stats"), re.M)


def test_start_and_stop_scripts(env, mnt, tmp_path):
    need_fuse()
    where = str(tmp_path / "new")
    env = dict(env, BIN=BIN)
    done = do(env, os.path.join(ROOT, "scripts", "start.sh"), where, "size=64m")
    try:
        assert done.returncode == 0, done.stderr
        assert f"Mounted at {where}" in done.stdout
        assert len(re.findall(r"^ +[0-4] +\d+  up", done.stdout, re.M)) == 5
        assert f"diff -r --no-dereference /usr/include {where}/include" in done.stdout
        again = do(env, os.path.join(ROOT, "scripts", "start.sh"), where)
        assert again.returncode == 0 and "Already mounted" in again.stdout
    finally:
        done = do(env, os.path.join(ROOT, "scripts", "stop.sh"), where)
    assert done.returncode == 0, done.stderr
    assert "has ended" in done.stdout
    assert not os.path.ismount(where)
    assert os.listdir(env["ACESO_RUNTIME_DIR"]) == []
    done = do(env, os.path.join(ROOT, "scripts", "stop.sh"), where)
    assert done.returncode == 0 and "Nothing of aceso" in done.stdout


def test_stop_tells_a_pool_that_goes_on_and_leaves_no_file(env, mnt, tmp_path, monkeypatch):
    need_fuse()
    env = dict(env, BIN=BIN)
    elsewhere, cwd = tmp_path / "elsewhere", tmp_path / "cwd"
    elsewhere.mkdir()
    cwd.mkdir()
    monkeypatch.chdir(cwd)
    stop = os.path.join(ROOT, "scripts", "stop.sh")
    for where in (mnt, str(elsewhere)):
        done = do(env, FUSE, "-o", "size=64m,pool=two", where)
        assert done.returncode == 0, done.stderr
    done = do(env, stop, mnt)
    said = done.stdout + done.stderr
    done = do(env, stop, str(elsewhere))
    assert "Pool two goes on: it has other mounts" in said
    assert done.returncode == 0 and "Pool two has ended" in done.stdout, done
    assert os.listdir(env["ACESO_RUNTIME_DIR"]) == []
    assert os.listdir(cwd) == []


def test_who_starts_it_with_sudo_may_write_there(env, mnt, tmp_path):
    need_fuse()
    where = str(tmp_path / "new")
    env = dict(env, BIN=BIN, SUDO_UID="65534", SUDO_GID="65533")
    done = do(env, os.path.join(ROOT, "scripts", "start.sh"), where, "size=64m")
    try:
        assert done.returncode == 0, done.stderr
        st = os.stat(where)
        assert (st.st_uid, st.st_gid) == (65534, 65533)
        assert "sudo kill -9" in done.stdout and "sudo make stop" in done.stdout
    finally:
        do(env, os.path.join(ROOT, "scripts", "stop.sh"), where)
    assert os.listdir(env["ACESO_RUNTIME_DIR"]) == []
