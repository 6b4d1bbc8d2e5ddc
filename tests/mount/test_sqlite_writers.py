"""Several processes write one database: locks, journals and pages all at once."""
import sqlite3
import multiprocessing
import os

import pytest


def writer(path, me, n):
    con = sqlite3.connect(path, timeout=60, isolation_level=None)
    for i in range(n):
        con.execute("BEGIN IMMEDIATE")
        con.execute("INSERT INTO t VALUES (?, ?, hex(randomblob(100)))", (me, i))
        con.execute("UPDATE total SET n = n + 1")
        con.execute("COMMIT")
    con.close()


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_counts_agree(mnt, mode):
    path = os.path.join(mnt, "db")
    con = sqlite3.connect(path)
    con.execute(f"PRAGMA journal_mode={mode}")
    con.execute("CREATE TABLE t(w, i, v)")
    con.execute("CREATE TABLE total(n)")
    con.execute("INSERT INTO total VALUES (0)")
    con.commit()
    con.close()
    jobs = [multiprocessing.Process(target=writer, args=(path, w, 60)) for w in range(3)]
    for j in jobs:
        j.start()
    for j in jobs:
        j.join()
    assert [j.exitcode for j in jobs] == [0, 0, 0]
    con = sqlite3.connect(path)
    assert con.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert con.execute("SELECT n, (SELECT count(*) FROM t) FROM total").fetchone() == (180, 180)
    con.close()
