#!/bin/bash
# rdma-vm.sh - run a command in a QEMU guest that has real RDMA verbs (soft-RoCE).
#
#   rdma-vm.sh [-t SECONDS] [-m MEM] [-c CPUS] [-w DIR]... [-s N:PORT] [-P FILE]
#              [-i] COMMAND [ARG...]
#   rdma-vm.sh -p                     only prepare the kernel (may be cached)
#
#   -t  kill the guest after this many seconds     (300; exit status 124)
#   -m  guest memory                               (6G)
#   -c  guest CPUs                                 (2)
#   -w  mount this host directory read-write       (repeatable)
#   -s  N:PORT: be host N (1 or 2) of an Ethernet segment of two guests; their
#       frames go over the UDP ports PORT + 1 and PORT + 2 of 127.0.0.1
#   -P  write the guest's process id to this file
#   -i  the command reads our input
#
# The guest runs a Debian kernel and sees the host's root file system through
# 9p, under a tmpfs overlay: the host's programs run unmodified; what they write
# is lost, save below a -w directory.  The command runs as root, in the caller's
# directory, with the caller's PATH and HOME and, without -i, no input; its
# output is ours, and its exit status too (125: there is none; the kernel's log
# is on stderr).
#
# Network in the guest: lo, and a dummy d0 with 10.77.0.1 to 10.77.0.8, which
# carries the RDMA device rxe0; with -s it is a virtio-net d0 with 10.77.0.N.
# FUSE, veth and the like are loaded as well.
#
# Environment: RDMA_VM_CACHE  where the unpacked kernel is kept (build/rdma-vm)
#              RDMA_VM_DEB    kernel .deb files to use (else apt-get download)
#              RDMA_VM_ACCEL  qemu's -accel (tcg,thread=multi: needs no KVM)
#              RDMA_VM_APPEND further kernel arguments
# Needs qemu-system-x86, busybox, cpio, iproute2, python3, xz-utils.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
cache=${RDMA_VM_CACHE:-$here/build/rdma-vm}
limit=300 mem=6G cpus=2 prepare_only= rw=() wire= pid= input=
die() { echo "rdma-vm: $*" >&2; exit 125; }
while getopts t:m:c:w:s:P:ip o; do
	case $o in
	t) limit=$OPTARG ;; m) mem=$OPTARG ;; c) cpus=$OPTARG ;;
	w) rw+=("$(realpath -e "$OPTARG")") ;; p) prepare_only=1 ;;
	s) case $OPTARG in [12]:[1-9]*) wire=$OPTARG ;; *) die "-s 1:PORT or 2:PORT" ;; esac ;;
	P) pid=$OPTARG ;;
	i) input=1 ;;
	*) die "see the head of $0" ;;
	esac
done
shift $((OPTIND - 1))
[ "$prepare_only" ] || [ $# -gt 0 ] || die "no command; see the head of $0"
for c in qemu-system-x86_64 busybox cpio ip rdma python3; do
	command -v $c >/dev/null || die "$c is not installed"
done

# Loaded at boot: for the root, the output, the device, FUSE.  The command can
# modprobe the others.
modules="virtio_pci 9pnet_virtio 9p overlay virtio_console
	crc32_generic rdma_rxe rdma_ucm ib_uverbs dummy veth fuse"

# Fetches and unpacks the kernel, makes the initramfs.
prepare() {
	local new=$cache.new deb v m
	rm -rf "$new"; mkdir -p "$new/ir/bin" "$new/deb"
	if [ "${RDMA_VM_DEB:-}" ]; then
		cp $RDMA_VM_DEB "$new/deb"
	else
		# linux-image-amd64 tells the present version; the archive drops
		# each version once the next is out.  (The -cloud- kernels have
		# neither rdma_rxe nor 9p.)
		deb=$(apt-cache depends linux-image-amd64 | awk '/Depends: linux-image-/ { print $2; exit }')
		(cd "$new/deb" && apt-get -qq -o APT::Sandbox::User=root download "$deb") ||
			die "cannot download ${deb:-linux-image-amd64} (apt-get update?)"
	fi
	for deb in "$new"/deb/*.deb; do dpkg-deb -x "$deb" "$new"; done
	[ -d "$new/lib" ] || mv "$new/usr/lib" "$new/lib"
	v=$(cd "$new/lib/modules" && echo *)
	(cd "$new/lib/modules/$v/kernel" && rm -rf sound drivers/{gpu,media,staging,iio,hwmon,usb,scsi} drivers/net/{wireless,ethernet})
	busybox depmod -b "$new" "$v"
	# The ELF image within the bzImage: it boots in 2 s under TCG, not in 5.
	# Should it not be found, the bzImage will do.
	m=$new/boot/vmlinuz-$v
	[ -f "$m" ] || m=$new/lib/modules/$v/vmlinuz
	python3 - "$m" >"$new/vmlinux" <<-'EOF' || cp "$m" "$new/vmlinux"
	import lzma, subprocess, sys
	d = open(sys.argv[1], 'rb').read()
	xz, zstd = d.find(b'\xfd7zXZ\0'), d.find(b'\x28\xb5\x2f\xfd')
	if xz >= 0: d = lzma.LZMADecompressor().decompress(d[xz:])
	else: d = subprocess.run(['zstd', '-dcq'], input=d[zstd:], stdout=-1, stderr=-3).stdout
	sys.stdout.buffer.write(d)
	sys.exit(d[:4] != b'\x7fELF')
	EOF
	# The modules, each after those it needs.
	for m in $modules; do
		awk -v m="/$m[.]ko" -F'[: ]+' '$1 ~ m { for (i = NF; i; i--) if ($i) print $i }' \
			"$new/lib/modules/$v/modules.dep"
	done | awk '!seen[$0]++' >"$new/order"
	(cd "$new/lib/modules/$v" && cp $(cat "$new/order") "$new/ir")
	sed 's,.*/,,' "$new/order" >"$new/ir/order"
	cp "$(command -v busybox)" "$new/ir/bin/busybox"
	cat >"$new/ir/init" <<-'EOF'
	#!/bin/busybox sh
	b=/bin/busybox
	o=trans=virtio,version=9p2000.L,msize=512000
	$b mkdir /dev /l /o
	$b mount -t devtmpfs dev /dev
	while read -r m; do $b insmod /$m || echo "insmod $m failed"; done </order
	$b mount -t 9p -o $o,cache=loose,ro root /l &&
	$b mount -t tmpfs -o size=75% o /o && $b mkdir /o/u /o/w /o/r &&
	$b mount -t overlay -o lowerdir=/l,upperdir=/o/u,workdir=/o/w root /o/r &&
	$b mount -t tmpfs run /o/r/run && $b mkdir /o/r/run/job &&
	$b mount -t 9p -o $o job /o/r/run/job &&
	exec $b switch_root /o/r /bin/bash /run/job/init
	echo "rdma-vm: cannot mount the root"; $b poweroff -f
	EOF
	chmod +x "$new/ir/init"
	(cd "$new/ir" && find . | cpio -o -H newc --quiet | gzip -1) >"$new/initramfs"
	echo "$v" >"$new/version"
	rm -rf "$new"/{deb,ir,boot,usr}
	rm -rf "$cache"; mv "$new" "$cache"
}
mkdir -p "$(dirname "$cache")"
(flock 9; [ -f "$cache/version" ] || prepare) 9>"$cache.lock"
[ -z "$prepare_only" ] || exit 0
modules=/lib/modules/$(cat "$cache/version")

# The job: the command, what the guest runs as init, and (from there) the status.
job=$(mktemp -d) qemu= cat= feed=
trap 'kill $qemu $cat $feed 2>/dev/null || :; rm -rf "$job"' EXIT
trap 'exit 130' INT; trap 'exit 143' TERM
printf 'cd %q; export PATH=%q HOME=%q LANG=C.UTF-8\n%s\nexit $?\n' \
	"$PWD" "$PATH" "$HOME" "${*@Q}" >"$job/cmd"
device='add d0 mtu 4200 type dummy' hosts='{1..8}' # an MTU of 4096 for RDMA
[ -z "$wire" ] || device='set eth0 down name d0 mtu 4200' hosts=${wire%:*}
from=/dev/null; [ -z "$input" ] || from="/dev/vport*p2"
cat >"$job/init" <<EOF
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t cgroup2 cg /sys/fs/cgroup
mount -t devtmpfs dev /dev; mkdir -p /dev/pts /dev/shm $modules
mount -t devpts pts /dev/pts; mount -t tmpfs shm /dev/shm
ln -s /proc/self/fd /dev/fd; ln -s fd/0 /dev/stdin; ln -s fd/1 /dev/stdout; ln -s fd/2 /dev/stderr
mount --bind ${cache@Q}$modules $modules
command -v modprobe >/dev/null || ln -s $(command -v busybox) /sbin/modprobe
i=0; for d in ${rw[*]@Q}; do
	mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=mmap rw\$i "\$d"; i=\$((i + 1))
done
hostname rdma-vm; ulimit -l unlimited; ulimit -n 65536
${wire:+modprobe virtio_net}
{ echo link set lo up; echo link $device
  printf 'addr add 10.77.0.%d/24 dev d0\n' $hosts; echo link set d0 up; } | ip -batch -
rdma link add rxe0 type rxe netdev d0 || echo "rdma-vm: no rxe0"
chmod 666 /dev/fuse /dev/infiniband/*
# In a PID namespace, so that what the command leaves behind ends with it.
{ unshare --pid --fork --mount-proc --kill-child bash /run/job/cmd <$from 2>&1
  echo \$? >/run/job/status; } | cat >/dev/vport*p1
sync; echo o >/proc/sysrq-trigger; sleep 60
EOF

# erms, fsrm off: TCG copies byte by byte in "rep movsb".
args=(
	-accel "${RDMA_VM_ACCEL:-tcg,thread=multi}" -cpu max,la57=off,erms=off,fsrm=off
	-machine q35 -smp "$cpus" -m "$mem" -no-user-config -nodefaults -display none -no-reboot
	-kernel "$cache/vmlinux" -initrd "$cache/initramfs" -append "console=ttyS0 quiet panic=-1
		oops=panic mitigations=off tsc=reliable init_on_alloc=0 apparmor=0 ${RDMA_VM_APPEND:-}"
	-serial "file:$job/console"
	-chardev "file,id=out,path=$job/out" -device virtio-serial-pci -device virtserialport,chardev=out
	-virtfs "local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap"
	-virtfs "local,path=$job,mount_tag=job,security_model=none"
)
for i in "${!rw[@]}"; do
	args+=(-virtfs "local,path=${rw[i]},mount_tag=rw$i,security_model=none,multidevs=remap")
done
[ -z "$pid" ] || args+=(-pidfile "$pid")
if [ "$wire" ]; then
	n=${wire%:*} port=${wire#*:}
	args+=(-device "virtio-net-pci,netdev=d0,romfile=,mac=52:54:00:77:00:0$n" -netdev "dgram,id=d0,local.type=inet,local.host=127.0.0.1,local.port=$((port + n)),remote.type=inet,remote.host=127.0.0.1,remote.port=$((port + 3 - n))")
fi
if [ "$input" ]; then
	mkfifo "$job/in.in" "$job/in.out"
	args+=(-chardev "pipe,id=in,path=$job/in" -device virtserialport,chardev=in)
	cat <&0 >"$job/in.in" & feed=$!
fi
mkfifo "$job/out"
cat "$job/out" & cat=$!
timeout --foreground -k 5 "$limit" qemu-system-x86_64 "${args[@]}" </dev/null & qemu=$!
rc=0; wait "$qemu" || rc=$?
qemu=
if [ -s "$job/status" ]; then
	wait "$cat" || :
	exit "$(cat "$job/status")"
fi
tail -n 60 "$job/console" >&2 || :
[ "$rc" = 124 ] || [ "$rc" = 137 ] || die "the guest ended without a status (qemu: $rc)"
echo "rdma-vm: timeout after $limit s" >&2
exit 124
