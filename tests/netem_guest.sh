#!/bin/bash
# netem_guest.sh - what the stage rdma runs in a guest of rdma-vm.sh whose kernel
# has netem, as the machine's may not: the pool of several hosts, cables 3 ms long.
#
#   tests/rdma-vm.sh tests/netem_guest.sh BIN        (build/release/bin)
for m in sch_netem bridge; do
	modprobe $m || exit 1
done
export ACESO_TEST_SLOW=5 ACESO_TEST_ZOOKEEPER=no ACESO_BIN=$1 # Java is slow there
exec /usr/bin/python3 -m pytest -p no:cacheprovider -q -rs \
	tests/mount/test_netns.py::test_a_longer_wire
