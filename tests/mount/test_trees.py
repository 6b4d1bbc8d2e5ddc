"""Ordinary tools on real trees."""
import os
import threading

import pytest
from conftest import ROOT, sh, wait_for

TREE = "/usr/include"


def test_cp_and_diff(mnt):
    sh(f"cp -r {TREE} {mnt}/ && diff -r --no-dereference {TREE} {mnt}/include")


def test_cp_archive_keeps_attributes(mnt):
    sh(f"cp -a {TREE}/linux {mnt}/linux && rsync -anci --delete {TREE}/linux/ {mnt}/linux/ "
       f"| tee {mnt}/out && test ! -s {mnt}/out")


def test_tar_out_and_in(mnt):
    sh(f"tar cf {mnt}/t.tar -C {TREE} linux && mkdir {mnt}/x && tar xf {mnt}/t.tar -C {mnt}/x && "
       f"diff -r --no-dereference {TREE}/linux {mnt}/x/linux && tar df {mnt}/t.tar -C {mnt}/x")


def test_rsync_with_checksums(mnt):
    sh(f"rsync -a {TREE}/linux {TREE}/asm-generic {mnt}/ && rsync -ac {TREE}/linux {mnt}/ && "
       f"diff -r --no-dereference {TREE}/linux {mnt}/linux")


def test_find_du_and_rm(mnt):
    sh(f"cp -r {TREE}/linux {mnt}/l")
    want = sh(f"find {TREE}/linux | wc -l")
    assert sh(f"find {mnt}/l | wc -l") == want
    assert int(sh(f"du -s {mnt}/l").split()[0]) > 0
    sh(f"rm -rf {mnt}/l && test -z \"$(ls -A {mnt})\"")


def test_git_init_commit_clone_fsck(mnt):
    git = "git -c user.name=a -c user.email=a@b -c safe.directory='*' -c gc.auto=0"
    sh(f"mkdir a && cp -r {TREE}/linux a/ && cd a && git init -q && git add -A && "
       f"{git} commit -qm one && git mv linux/fs.h linux/renamed.h && {git} commit -qm two && "
       f"git repack -adq && git fsck --full --strict && cd .. && "
       f"{git} clone -q a b && cd b && {git} fsck --full && test -z \"$(git status --porcelain)\" && "
       f"diff -r --no-dereference --exclude=.git . ../a", cwd=mnt)


def test_build_a_c_project(mnt):
    """Our own library, compiled on the mount with make."""
    sh(f"mkdir src && cp -r {ROOT}/Makefile {ROOT}/VERSION {ROOT}/rdma {ROOT}/ec {ROOT}/checkpoint {ROOT}/kv src/ && "
       f"cd src && make -s -j2 build/release/libaceso.a && ar t build/release/libaceso.a && "
       f"make -s clean && test ! -e build", cwd=mnt, timeout=400)


@pytest.mark.parametrize("mode", ["delete", "truncate", "persist", "wal"])
def test_sqlite(mnt, mode):
    rows = 2000
    sh(f"""sqlite3 db 'PRAGMA journal_mode={mode};' \
'CREATE TABLE t(k INTEGER PRIMARY KEY, v TEXT);' 'CREATE INDEX i ON t(v);' \
'WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<{rows}) INSERT INTO t SELECT x, hex(randomblob(40)) FROM c;' \
'DELETE FROM t WHERE k % 3 = 0;' 'UPDATE t SET v = v || k WHERE k % 5 = 0;' 'VACUUM;'""", cwd=mnt)
    assert sh("sqlite3 db 'PRAGMA integrity_check;' 'SELECT count(*) FROM t;'",
              cwd=mnt).split() == ["ok", str(rows - rows // 3)]


def test_many_remove_one_tree_at_once(mnt):
    """What is being removed by another is not there: no other error."""
    for _ in range(3):
        sh("for i in $(seq 12); do mkdir -p t/$i/a/b t/$i/c; touch t/$i/a/b/{1..40} t/$i/c/{1..9}; "
           "done; pids=; for i in 1 2 3 4; do rm -rf t & pids=\"$pids $!\"; done; "
           "for p in $pids; do wait $p; done; test ! -e t", cwd=mnt)


def test_a_removed_directory_shows_itself_to_who_has_it_open(mnt):
    stop, failed = [], []

    def look(fd):
        while not stop:
            try:
                os.stat(fd)
            except OSError as e:
                failed.append(e)
                return

    for _ in range(1500):
        os.mkdir(f"{mnt}/d")
        fd = os.open(f"{mnt}/d", os.O_RDONLY)
        stop.clear()
        thread = threading.Thread(target=look, args=(fd,))
        thread.start()
        os.rmdir(f"{mnt}/d")
        stop.append(True)
        thread.join()
        os.close(fd)
    assert not failed
