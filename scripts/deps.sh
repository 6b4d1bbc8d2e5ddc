#!/bin/sh
# deps.sh [build|test|rdma] - install the Debian packages that building (or
# testing, or testing RDMA in a guest) needs and that are missing. Does nothing, and needs nobody's rights, when all
# are there.
set -eu
build='gcc make pkg-config libfuse3-dev fuse3 libisal-dev libxxhash-dev libinih-dev
	libjansson-dev liblz4-dev libssl-dev librdmacm-dev libibverbs-dev
	libsystemd-dev liburing-dev libzookeeper-mt-dev scdoc'
tests='libcmocka-dev clang libclang-rt-dev clang-format cppcheck python3 python3-pytest
	python3-hypothesis fio git sqlite3 rsync tar attr procps util-linux spin
	zookeeper default-jre-headless systemd'
rdma='qemu-system-x86 busybox-static cpio iproute2 xz-utils rdma-core perftest python3'

want=$build
[ "${1:-build}" = test ] && want="$want $tests $rdma"
[ "${1:-build}" = rdma ] && want="$want $rdma libcmocka-dev"
missing=
for p in $want; do
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] ||
		missing="$missing $p"
done
[ -z "$missing" ] && exit 0
echo "installing:$missing"
if [ "$(id -u)" != 0 ]; then
	echo "deps.sh: not root: run 'sudo apt-get install$missing'" >&2
	exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing >/dev/null
