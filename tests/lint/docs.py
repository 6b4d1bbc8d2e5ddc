#!/usr/bin/python3
"""docs.py - options are told where users look: each in its man page and in its
program's help, and none there that is no option; `make help` works and lists
every target for people; the README's commands and documents exist."""
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("ACESO_BIN", os.path.join(ROOT, "build", "release", "bin"))
HELPER = os.path.join(ROOT, "mount-helper")
PAGES = {"aceso-fuse": 1, "aceso": 1, "aceso-node": 8, "aceso-coordinator": 8,
         "mount.aceso": 8, "aceso-pool": 8, "aceso.conf": 5, "pool.conf": 5}
# for tests and the machine, or told by the page in words
QUIET = {"debug", "sloppy", "rw", "async", "auto", "nouser", "nousers", "group", "owner", "fail",
         "silent", "loud", "relatime", "exec", "atime", "clone_fd", "subtype", "users", "user"}
bad = []


def read(*path):
    with open(os.path.join(ROOT, *path)) as f:
        return f.read()


def page(name):
    return read("mount-helper", f"{name}.{PAGES[name]}.scd").replace("\\", "")


def told(*argv):
    argv = [os.path.join(BIN, argv[0]), *argv[1:]]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60).stdout


def want(ok, text):
    if not ok:
        bad.append(text)


def longs(source):
    return set(re.findall(r'\{"([a-z-]+)",\s*(?:no|required|optional)_argument',
                          read("mount-helper", source)))


def flags_of_programs():
    for name in ("aceso-node", "aceso-coordinator"):
        text, help_text, known = page(name), told(name, "--help"), longs(f"{name}.c")
        for flag in known:
            want(f"*--{flag}*" in text, f"{name}: --{flag} is not in its man page")
            want(f"--{flag}" in help_text or flag in ("help", "version"),
                 f"{name}: --{flag} is not in its help")
        for flag in re.findall(r"--([a-z][a-z-]+)", text + help_text):
            want(flag in known, f"{name}: --{flag} is told, but is no option")


def flags_of_aceso():
    commands = re.findall(r"^  ([a-z]+) ", told("aceso", "--help"), re.M)
    helps = "".join(told("aceso", *words, "--help") for words in
                    [[c] for c in commands] + [["pool", w] for w in ("create", "serve", "key")])
    text = page("aceso")
    known = {"pool", "version", "help"}
    for source in sorted(os.listdir(HELPER)):
        if re.fullmatch(r"cmd_\w+\.c", source):
            known |= longs(source)
    quiet = {"version", "help", "long", "options"}  # -V, -h, -l, -o
    for flag in known - quiet:
        want(f"*--{flag}" in text, f"aceso: --{flag} is not in its man page")
        want(f"--{flag}" in helps, f"aceso: --{flag} is in no command's help")
    for flag in re.findall(r"--([a-z][a-z-]+)", text + helps):
        want(flag in known, f"aceso: --{flag} is told, but is no option")
    for command in commands:
        want(re.search(rf"^\*{command}( |\*)", text, re.M),
             f"aceso: {command} is not in its man page")
    return set(commands)


def options_of_mounts():
    table = read("mount-helper", "conf_table.c")
    known = set(re.findall(r'(?:VALUE|LINE|SWITCH|FORWARD|IGNORE|HEED)\("(\w[\w-]*)"', table))
    known |= set(re.findall(r'\.name = "(\w[\w-]*)"', table))
    values = set(re.findall(r'(?:VALUE|LINE)\("(\w[\w-]*)"', table)) | {"sync"}
    want(len(known) > 40, "conf_table.c: its options are not found")
    text, help_text = page("aceso-fuse"), told("aceso-fuse", "--help")
    for name in known - QUIET:
        want(re.search(rf"\*{re.escape(name)}(=|\*)", text),
             f"aceso-fuse: {name} is not in its man page")
    for name in values - QUIET:
        want(f"{name}=" in help_text, f"aceso-fuse: {name}= is not in its help")
    for name in re.findall(r"\*([a-z_][\w-]*)=", text) + re.findall(r"\b([\w-]+)=[A-Z]", help_text):
        want(name in known, f"aceso-fuse: {name}= is told, but is no option")
    # what the file may say: all but what is of one mount, and contraries
    of_line = set(re.findall(r'(?:LINE|IGNORE|HEED)\("(\w[\w-]*)"', table)) | {"debug", "sloppy"}
    contrary = set(re.findall(r'(?:SWITCH|FORWARD)\("(\w+)",\s*(?:\w+,\s*\w+,\s*)?"', table))
    text, example = page("aceso.conf"), read("packaging", "aceso.conf.example")
    for name in known - of_line - contrary:
        want(f"*{name}*" in text, f"aceso.conf: {name} is not in its man page")
        want(re.search(rf"^[#; ]*{name} *=", example, re.M),
             f"aceso.conf.example: {name} is not in it")


def unit():
    """What the unit's page says of its settings is so."""
    lines = read("packaging", "aceso-pool@.service.in").replace("@sysconfdir@", "/etc").splitlines()
    told_of = re.findall(r"\*([A-Z]\w+=[^*]*)\*", page("aceso-pool"))
    want(len(told_of) > 10, "aceso-pool: its page tells of no settings")
    for line in told_of:
        want(line in lines, f"aceso-pool: {line} is told, but is not in the unit")


def targets():
    done = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True,
                          timeout=60)
    want(done.returncode == 0, f"make help: {done.stderr.strip()}")
    listed = set(re.findall(r"^([a-z-]+)", done.stdout, re.M)) | set(done.stdout.split("\n")[-2].split())
    inner = {"all", "links", "tests", "help", "deps", "lint-format", "lint-cppcheck",
             "fuzz-programs", "uninstall", "install",
             "man", "placed"}
    text = read("Makefile") + read("install.mk")
    phony = {w for line in re.findall(r"^\.PHONY: (.*)", text, re.M) for w in line.split()}
    for name in phony - inner:
        want(name in listed, f"make help: does not tell of {name}")
    for name in re.findall(r"make ([a-z][a-z-]+)", re.sub(r"`", " ", read("README.md"))):
        want(name in phony or name in ("install",), f"README: make {name} is no target")


def readme(commands):
    text = read("README.md")
    for name in re.findall(r"(?:^|[` /])aceso ([a-z]+)\b", "\n".join(
            l for l in text.split("\n") if l.startswith("    ") or "`" in l)):
        want(name in commands, f"README: aceso {name} is no command")
    for path in re.findall(r"\]\(([^)#:]+)\)", text):
        want(os.path.exists(os.path.join(ROOT, path)), f"README: {path} is not there")
    for path in re.findall(r"tests/[\w/.-]+", text):
        want(os.path.exists(os.path.join(ROOT, path.rstrip("."))), f"README: {path} is not there")


def main():
    if not os.access(os.path.join(BIN, "aceso"), os.X_OK):
        print(f"docs.py: {BIN} has no programs: run make first")
        return 1
    flags_of_programs()
    options_of_mounts()
    unit()
    targets()
    readme(flags_of_aceso())
    for line in bad:
        print(line)
    if bad:
        print("docs.py: the above differ")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
