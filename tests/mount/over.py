#!/usr/bin/python3
"""over.py - the mount suite over a transport: pools of five nodes made by `aceso pool create`.

    tests/mount/over.py tcp|verbs short|guest|full [pytest's arguments]

SHORT is what fits into the check, GUEST what does so in a guest without a processor of its own; FULL
is every test that does not ask for an embedded pool (its supervisor, its directory, its socket).
Environment: ACESO_BIN as ever; ACESO_HOST (hosts.py); ACESO_TEST_SLOW=N (deadlines N times as
long); ACESO_CREATE_ARGS (more for `aceso pool create`, for instance --lease-ms 10000)."""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))

FULL = [
    "test_smoke.py", "test_trees.py", "test_posix.py", "test_oracle.py", "test_fsx.py",
    "test_fio.py", "test_sqlite_writers.py", "test_kills.py", "test_respawn.py",
    "test_fsck.py", "test_scrub.py",
    *("test_pool.py::test_" + name for name in (
        "removing_gives_space_back", "full_is_enospc_and_harms_nothing",
        "two_mounts_see_one_tree", "open_sees_what_the_other_mount_wrote",
        "two_mounts_create_at_once", "two_mounts_append", "idle_costs_nothing", "user_keys")),
]

SHORT = [
    "test_smoke.py",
    "test_posix.py",
    *("test_trees.py::test_" + name for name in (
        "cp_archive_keeps_attributes", "tar_out_and_in", "rsync_with_checksums",
        "find_du_and_rm", "git_init_commit_clone_fsck", "sqlite[delete]",
        "sqlite[wal]")),
    "test_oracle.py::test_same_as_tmpfs[0]",
    "test_fsx.py::test_one_file[0]",
    *("test_fio.py::test_" + name for name in (
        "buffered[randwrite-mmap]", "direct[randwrite-4k-libaio]", "sequential_large",
        "unaligned")),
    "test_sqlite_writers.py::test_counts_agree[wal]",
    "test_kills.py::test_any_two_nodes[13]",
    "test_kills.py::test_during_git",
    "test_kills.py::test_every_acknowledged_write_is_there",
    "test_respawn.py::test_a_dead_node_is_replaced_then_two_more",
    "test_pool.py::test_two_mounts_see_one_tree",
    "test_pool.py::test_two_mounts_create_at_once",
    "test_fsck.py::test_sound_while_others_write",
    "test_scrub.py::test_no_false_alarm_under_load_and_a_death",
]

GUEST = [
    "test_posix.py",
    "test_fsx.py::test_one_file[0]",
    "test_fio.py::test_unaligned",
    # half a minute, there. (tests/verbs_pool.py copies a tree and kills nodes.)
    "--deselect=tests/mount/test_posix.py::test_listing_while_others_change",
]

FORMS = {"short": SHORT, "guest": GUEST, "full": FULL}


def tests(form):
    return [name if name.startswith("-") else os.path.join(HERE, name) for name in FORMS[form]]


def environment(transport, form):
    return {"ACESO_TRANSPORT": transport, "ACESO_TEST_SHORT": "0" if form == "full" else "1"}


def main():
    if len(sys.argv) < 3 or sys.argv[2] not in FORMS:
        sys.exit(__doc__)
    transport, form = sys.argv[1:3]
    argv = ["/usr/bin/python3", "-m", "pytest", "-p", "no:cacheprovider", "-q", "-rs",
            *tests(form), *sys.argv[3:]]
    os.execve(argv[0], argv, {**os.environ, **environment(transport, form)})


if __name__ == "__main__":
    main()
