#!/bin/sh
# boot.sh NAME DISK STAGE HOSTS - become a host whose PID 1 is systemd: run as PID 1
# of namespaces of its own (process ids, mounts, names, IPC, cgroups; the caller gives it
# a network). It has the machine's files under an overlay, whose upper layer in DISK (a
# file system of its own) lives on for the next boot and begins with STAGE (of make install).
# Nothing of the machine is changed: devices are few, /sys and /proc/sys are read-only.
set -eu
name=$1 stage=$3 hosts=$4
root=$2/root upper=$2/upper work=$2/work

hostname "$name"
umount -a -l -t fuse.aceso # others' mounts, which we would keep from ending
first=
if [ ! -d "$upper" ]; then
	first=yes
	mkdir "$root" "$work"
	cp -a "$stage" "$upper"
fi
mount -t overlay -o "lowerdir=/,upperdir=$upper,workdir=$work" "$name" "$root"
cd "$root"

mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sys sys
mount -t cgroup2 cgroup sys/fs/cgroup
mount -t tmpfs -o mode=0755 dev dev
for node in null zero full random urandom tty fuse autofs; do
	[ -e "/dev/$node" ] || continue
	touch "dev/$node"
	mount --bind "/dev/$node" "dev/$node"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=1777 shm dev/shm
mount -t tmpfs -o mode=0755 run run
mount -t tmpfs -o mode=1777 tmp tmp

if [ "$first" ]; then
	# What the machine runs is its own: of its units only systemd's are here.
	rm -rf etc/systemd/system etc/aceso var/log/journal
	mkdir -p etc/systemd/system/multi-user.target.wants var/log/journal srv
	ln -s /lib/systemd/system/remote-fs.target etc/systemd/system/multi-user.target.wants
	mkdir -p work # mount(8) meets a file of the pool's name
	printf '%s\n' "$hosts" >etc/hosts
	: >etc/fstab
	od -An -tx1 -N16 /dev/urandom | tr -d ' \n' >etc/machine-id
	for unit in getty.target systemd-logind.service dbus.service dbus.socket \
		systemd-udevd.service systemd-tmpfiles-clean.timer \
		sys-kernel-debug.mount sys-kernel-tracing.mount; do
		ln -s /dev/null "etc/systemd/system/$unit"
	done
fi

mkdir -p old
pivot_root . old
umount -l /old
mount --make-rshared / # as systemd does where it is not in a container
echo booting
exec env -i container=aceso PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
	/lib/systemd/systemd --system --unit=multi-user.target --log-target=journal \
	--show-status=no </dev/null
