"""fio with verification: each engine, sequential and random."""
import os

import pytest
from conftest import sh, short

COMMON = ("--name=v --size={size} --verify=crc32c --verify_fatal=1 --do_verify=1 --verify_state_save=0 --randrepeat=0 "
          "--group_reporting --output-format=terse --thread")


def fio(mnt, args, mib=32):
    sh(f"fio {COMMON.format(size=short(mib))} --directory={mnt} {args}", timeout=240)


@pytest.mark.parametrize("engine", ["psync", "libaio", "io_uring", "mmap"])
@pytest.mark.parametrize("rw", ["write", "randwrite"])
def test_buffered(mnt, engine, rw):
    if engine == "io_uring" and os.path.exists("/proc/sys/kernel/io_uring_disabled"):
        with open("/proc/sys/kernel/io_uring_disabled") as f:
            if f.read().strip() == "2":
                pytest.skip("io_uring is disabled by the kernel (io_uring_disabled=2)")
    fio(mnt, f"--ioengine={engine} --rw={rw} --bs=4k --iodepth=8")


@pytest.mark.parametrize("engine", ["psync", "libaio", "io_uring"])
@pytest.mark.parametrize("rw,bs", [("write", "1m"), ("randwrite", "4k"), ("randwrite", "512-128k")])
def test_direct(mnt, engine, rw, bs):
    fio(mnt, f"--ioengine={engine} --rw={rw} --bsrange={bs if '-' in bs else bs + '-' + bs} "
             "--direct=1 --iodepth=16")


def test_two_jobs_overwrite_and_sync(mnt):
    fio(mnt, "--ioengine=psync --rw=randwrite --bs=8k --numjobs=2 --fsync=16 --overwrite=1", 16)


def test_sequential_large(mnt):
    fio(mnt, "--ioengine=psync --rw=write --bs=1m --end_fsync=1", 256)


def test_unaligned(mnt):
    fio(mnt, "--ioengine=psync --rw=randwrite --bsrange=600-70000 --bs_unaligned=1", 24)


def test_trims_holes(mnt):
    sh(f"fio --name=t --directory={mnt} --size={short(16)} --rw=randrw --rwmixread=50 --bs=4k "
       "--ioengine=psync --fallocate=posix --output-format=terse")
