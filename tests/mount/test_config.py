"""aceso.conf: who wins, what is refused and where, what `aceso config show` says."""
import json
import os
import re
import subprocess

import pytest
from conftest import BIN, ROOT, SLOW, need_fuse, wait_for, of_pool

ACESO = os.path.join(BIN, "aceso")
FUSE = os.path.join(BIN, "aceso-fuse")


@pytest.fixture
def conf(tmp_path):
    """Write a file of options; gives the environment that names it."""
    def write(text):
        path = tmp_path / "aceso.conf"
        path.write_text(text)
        return path
    return write


def env_of(path, **more):
    env = {k: v for k, v in os.environ.items()
           if not k.startswith("ACESO_") and k != "NO_COLOR"}
    return {**env, "ACESO_CONF": str(path), **more}


def do(env, *argv):
    return subprocess.run(argv, env=env, text=True, capture_output=True, timeout=60 * SLOW)


def show(env, *args):
    done = do(env, ACESO, "config", "show", "--json", *args)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    return {o["name"] if o["section"] == "mount" else f"{o['section']}.{o['name']}": o
            for o in answer["options"]}


def test_flag_before_environment_before_file_before_default(conf):
    path = conf("[mount]\nsize = 1g\nlanes = 3\n\ncache = none\n")
    options = show(env_of(path, ACESO_OPTIONS="size=2g,lanes=4"), "-o", "size=3g")
    said = {n: (o["value"], o["source"], o["where"]) for n, o in options.items()}
    assert said["size"] == ("3g", "flag", "-o")
    assert said["lanes"] == ("4", "environment", "$ACESO_OPTIONS")
    assert said["cache"] == ("none", "file", f"{path}:5")
    assert said["op_timeout"] == ("30", "default", "default")
    # and without the flag, the environment, the file:
    assert show(env_of(path, ACESO_OPTIONS="size=2g"))["size"]["value"] == "2g"
    assert show(env_of(path))["size"]["value"] == "1g"
    assert show(env_of("/dev/null"))["size"]["value"] == "50%"


def test_what_is_switched_off_and_on_again(conf):
    path = conf("[mount]\nro = yes\nexec = no\nclone_fd = no\nsync = persist\n")
    options = show(env_of(path), "-o", "rw")
    assert (options["ro"]["value"], options["ro"]["source"]) == ("no", "flag")
    assert (options["exec"]["value"], options["exec"]["source"]) == ("no", "file")
    assert options["clone_fd"]["value"] == "no"
    assert options["sync"]["value"] == "persist"
    assert show(env_of(path), "-o", "exec")["exec"]["value"] == "yes"


def test_words_for_people(conf):
    path = conf("[mount]\nsize = 1g\n")
    done = do(env_of(path), ACESO, "config", "show")
    assert done.returncode == 0
    assert re.search(rf"^size += 1g +; {re.escape(str(path))}:2$", done.stdout, re.M)
    assert "[tools]" in done.stdout and "[paths]" in done.stdout
    # what it prints is such a file, but for defaults in words
    said = "".join(l + "\n" for l in done.stdout.splitlines() if "; default" not in l)
    assert show(env_of(conf(said)))["size"]["value"] == "1g"


def test_names_of_programs_reach_the_environment(conf, tmp_path):
    run = tmp_path / "r"
    path = conf(f"[tools]\npool = nowhere\n[paths]\nruntime-dir = {run}\n")
    options = show(env_of(path))
    assert options["tools.pool"]["where"] == f"{path}:2"
    assert options["paths.runtime-dir"]["value"] == str(run)
    done = do(env_of(path), ACESO, "status")
    assert done.returncode == 69 and "nowhere" in done.stderr
    done = do(env_of(path, ACESO_POOL="elsewhere"), ACESO, "status")
    assert "elsewhere" in done.stderr
    assert show(env_of(path, ACESO_POOL="elsewhere"))["tools.pool"]["source"] == "environment"
    done = do(env_of(path, ACESO_POOL="elsewhere"), ACESO, "-p", "third", "status")
    assert "third" in done.stderr


@pytest.mark.parametrize("text, line, words", [
    ("[mount]\n\nsise = 1g\n", 3, "did you mean 'size'"),
    ("[mount]\nsize = lots\n", 2, "size=512m"),
    ("[mount]\nfrobnicate = 1\n", 2, "unknown name 'frobnicate'"),
    ("[mount]\nro = maybe\n", 2, "ro = no"),
    ("[mount]\nnoatime = yes\n", 2, "atime = no"),
    ("[mount]\npool = p\n", 2, "of one mount"),
    ("[mount]\n_netdev = yes\n", 2, "of one mount"),
    ("[mount]\nsize =\n", 2, "needs a value"),
    ("[muont]\nsize = 1g\n", 2, "did you mean [mount]"),
    ("size = 1g\n", 1, "no section"),
    ("[tools]\npol = x\n", 2, "did you mean 'pool'"),
    ("[tools]\ncolor = blue\n", 2, "color = blue"),
    ("[paths]\nruntime-dir = here\n", 2, "runtime-dir"),
    ("[mount]\nsize 1g\n", 2, "neither"),
])
def test_mistakes_are_told_with_file_and_line(conf, tmp_path, text, line, words):
    path = conf(text)
    for argv, code in (((FUSE, str(tmp_path)), 1), ((ACESO, "status"), 64),
                       ((ACESO, "config", "show"), 1)):
        done = do(env_of(path), *argv)
        assert done.returncode == code, argv
        assert done.stderr.count("\n") == 1
        assert f"{path}:{line}: " in done.stderr and words in done.stderr, done.stderr
    assert do(env_of(path), ACESO, "version").returncode == 0


def test_a_file_that_was_named_must_be_there(tmp_path):
    done = do(env_of(tmp_path / "none"), ACESO, "config", "show")
    assert done.returncode == 1 and "No such file" in done.stderr


def test_the_example_says_all_there_is(conf):
    with open(os.path.join(ROOT, "packaging", "aceso.conf.example"), encoding="utf-8") as f:
        example = f.read()
    path = conf(re.sub(r"^#(?=[a-z])", "", example, flags=re.M))
    options = show(env_of(path))
    line_only = {"pool", "pool-dir", "backing", "fsname", "subtype", "debug", "sloppy"}
    assert {n for n, o in options.items() if o["source"] != "file"} <= line_only
    path = conf(example)
    assert {o["source"] for o in show(env_of(path)).values()} == {"default"}


def test_the_man_page_names_all_there_is():
    with open(os.path.join(ROOT, "mount-helper", "aceso.conf.5.scd"), encoding="utf-8") as f:
        page = f.read().replace("\\_", "_")
    for name in show(env_of("/dev/null")):
        assert f"*{name.split('.')[-1]}*" in page, name


def test_a_mount_does_what_the_file_says(conf, tmp_path):
    need_fuse()
    where = tmp_path / "mnt"
    where.mkdir()
    name = f"conf{os.getpid()}"
    path = conf("[mount]\nsize = 64m\nuid = 12\ngid = 34\nmode = 0750\nexec = no\n")
    done = do(env_of(path), FUSE, "-o", f"pool={name}", str(where))
    assert done.returncode == 0, done.stderr
    try:
        st = os.stat(where)
        assert (st.st_uid, st.st_gid, st.st_mode & 0o7777) == (12, 34, 0o750)
        vfs = os.statvfs(where)
        assert 64 << 20 <= vfs.f_blocks * vfs.f_frsize < 256 << 20
        assert vfs.f_flag & os.ST_NOEXEC
    finally:
        subprocess.run(["umount", where], check=True)
    assert wait_for(lambda: not of_pool(name), 10)
