"""The shortest walk through everything: also run on the sanitizer builds."""
import filecmp
import os
import random
import threading

from conftest import checksum, pattern, sh, wait_for


def test_copy_a_tree_and_kill_two_nodes(pool):
    sh(f"cp -r /usr/include/linux {pool.dir}/ && diff -r /usr/include/linux {pool.dir}/linux")
    big = os.path.join(pool.dir, "big")
    rng = random.Random(1)
    data = pattern(rng, 24 << 20)
    with open(big, "wb") as f:
        f.write(data)
    pool.kill_node(1)
    pool.kill_node(3)
    assert pool.settled()
    assert pool.status()["redundancy"] == "degraded"
    sh("echo 3 > /proc/sys/vm/drop_caches")
    sh(f"diff -r /usr/include/linux {pool.dir}/linux")
    with open(big, "rb") as f:
        assert f.read() == data
    sh(f"cp -r /usr/include/asm-generic {pool.dir}/ && "
       f"diff -r /usr/include/asm-generic {pool.dir}/asm-generic")


def test_files_by_many_threads(pool):
    errors = []

    def work(me):
        try:
            rng = random.Random(me)
            base = os.path.join(pool.dir, f"d{me % 3}")
            os.makedirs(base, exist_ok=True)
            for i in range(60):
                path = os.path.join(base, f"{me}-{i}")
                data = pattern(rng, rng.choice((10, 3000, 5000, 70000, 300000)))
                with open(path, "wb") as f:
                    f.write(data)
                with open(path, "r+b") as f:
                    at = rng.randrange(len(data))
                    f.seek(at)
                    f.write(b"new")
                data = data[:at] + b"new" + data[at + 3:]
                with open(path, "rb") as f:
                    assert f.read() == data, path
                os.rename(path, path + ".r")
                if i % 3 == 0:
                    os.unlink(path + ".r")
        except BaseException as e:  # to be told by the main thread
            errors.append(repr(e))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors
    names = sum(len(os.listdir(os.path.join(pool.dir, f"d{n}"))) for n in range(3))
    assert names == 6 * 40
