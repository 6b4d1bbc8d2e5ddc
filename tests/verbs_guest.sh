#!/bin/bash
# verbs_guest.sh - what the stage rdma runs, in the guest of rdma-vm.sh: the
# fabric's contract over real verbs, the store's round trips over them (its rates
# say nothing here), the contract over TCP inside TLS that the kernel does (that
# of the machine may not), then a pool of five nodes with a mount.
#
#   tests/rdma-vm.sh tests/verbs_guest.sh BUILD        (build/release)
rc=0
ACESO_RDMA_ADDRESS=10.77.0.1 "$1/tests/contract/verbs_test" || rc=1
trips() { "$(dirname "$0")/bench/net.py" --verbs 10.77.0.1 --store --rounds 1 --ms 50; }
trips || trips || rc=1 # a guest may stand still so long that a handshake is given up
modprobe tls || rc=1
ACESO_TEST_KERNEL_TLS=1 "$1/tests/contract/tcp_ktls_test" || rc=1
ACESO_TEST_KERNEL_TLS=1 "$1/tests/contract/tcp_test" || rc=1
"$(dirname "$0")/verbs_pool.py" "$1/bin" || rc=1
exit $rc
