#!/bin/sh
# host.sh NAME STAGE BIN ROOT HOSTS - become a host where `make install` was
# done: run in namespaces of its own (network, mounts, host name). What it has
# to itself is memory that goes with them; the rest is the machine's. It says
# "ready", then waits to be killed.
set -eu
name=$1 stage=$2 bin=$3 root=$4 hosts=$5

hostname "$name"
umount -a -l -t fuse.aceso # others' mounts, which we would keep from ending
mount -t tmpfs -o mode=0755 "$name" "$stage"
mkdir "$stage/bin" "$stage/etc"
install -m 755 "$bin"/aceso* "$bin/mount.aceso" \
	"$root/tests/mount/guide/scp" "$root/tests/mount/guide/systemctl" \
	"$stage/bin"
for file in aceso-pool@.service aceso.tmpfiles; do
	sed -e 's|@bindir@|/mnt/bin|' -e 's|@sysconfdir@|/etc|' \
		-e 's|@runstatedir@|/run|' -e 's|@localstatedir@|/var|' \
		"$root/packaging/$file.in" >"$stage/$file"
done
cp -a /etc/. "$stage/etc"
rm -rf "$stage/etc/aceso"
printf '%s\n' "$hosts" >"$stage/etc/hosts"
if ! grep -q ^aceso: /etc/passwd; then
	echo 'aceso:x:64321:64321::/:/usr/sbin/nologin' >>"$stage/etc/passwd"
	echo 'aceso:x:64321:' >>"$stage/etc/group"
fi

mount --rbind "$stage" /mnt
mount --bind /mnt/etc /etc
mount --bind /usr/include/linux /usr/include # as a small one
for dir in /srv /var/lib /run /dev/shm /tmp; do # the stage may be in /tmp
	mount -t tmpfs -o mode=1777 "$name" "$dir"
done
grep ^d /mnt/aceso.tmpfiles | while read -r _ dir mode user _; do
	install -d -m "$mode" -o "$user" "$dir"
done
echo ready
exec sleep infinity
