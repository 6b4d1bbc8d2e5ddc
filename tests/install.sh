#!/bin/sh
# install.sh - install into a folder of its own; what others get from there
# must do: pkg-config, the shared and the static library, the example, man
# pages, mount -t aceso. Uninstall leaves nothing. Skips what needs root or
# /dev/fuse when there is none.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
cd "$here"
stage=$(mktemp -d)
mnt=$stage/mnt
ACESO_RUNTIME_DIR=$stage/r
ACESO_CONF=/dev/null
export ACESO_RUNTIME_DIR ACESO_CONF
mkdir "$mnt" "$ACESO_RUNTIME_DIR"

end() {
	if mountpoint -q "$mnt" 2>/dev/null; then
		umount "$mnt" || umount -l "$mnt"
	fi
	rm -rf "$stage"
}
trap end EXIT INT TERM

fail() {
	echo "install.sh: $*" >&2
	exit 1
}

make -s install DESTDIR="$stage/root" prefix=/usr ${B:+B=$B} >"$stage/log" 2>&1 ||
	{ cat "$stage/log" >&2; fail "make install failed"; }
root=$stage/root

for f in usr/bin/aceso usr/bin/aceso-fuse usr/bin/aceso-node \
	usr/bin/aceso-coordinator usr/share/man/man8/aceso-coordinator.8 \
	usr/share/man/man5/pool.conf.5 \
	sbin/mount.aceso usr/lib/libaceso.a usr/lib/libaceso.so \
	usr/lib/libaceso.so.0 usr/lib/pkgconfig/aceso.pc \
	usr/include/aceso/kv.h usr/share/man/man1/aceso.1 \
	usr/share/man/man1/aceso-fuse.1 usr/share/man/man8/aceso-node.8 \
	usr/share/man/man8/mount.aceso.8 usr/share/man/man5/aceso.conf.5 \
	usr/share/man/man8/aceso-pool.8 \
	usr/share/doc/aceso/aceso.conf.example \
	usr/lib/systemd/system/aceso-pool@.service \
	usr/lib/sysusers.d/aceso.conf usr/lib/tmpfiles.d/aceso.conf
do
	[ -s "$root/$f" ] || fail "$f is not there"
done

# Every name of kv.h is exported, and nothing else.
sed -n '/^typedef/d; s/^[a-z].*[ *]\(kv_[a-z_]*\)(.*/\1/p' kv/kv.h | sort -u >"$stage/want"
nm -D --defined-only "$root/usr/lib/libaceso.so.0" |
	awk '$2 == "T" { sub(/@.*/, "", $3); print $3 }' | sort -u >"$stage/have"
diff "$stage/want" "$stage/have" >&2 ||
	fail "libaceso.so does not export what kv.h declares"
[ "$(wc -l <"$stage/want")" -ge 20 ] || fail "kv.h declares too little"

# The example builds with pkg-config alone, both ways.
PKG_CONFIG_PATH=$root/usr/lib/pkgconfig
PKG_CONFIG_SYSROOT_DIR=$root
PKG_CONFIG_ALLOW_SYSTEM_LIBS=1
PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1
export PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR PKG_CONFIG_ALLOW_SYSTEM_LIBS \
	PKG_CONFIG_ALLOW_SYSTEM_CFLAGS
pkg-config --exists --print-errors aceso
flags="-Wall -Wextra -Werror -std=c11 examples/kv_hello.c"
# shellcheck disable=SC2086,SC2046
gcc $flags $(pkg-config --cflags --libs aceso) -o "$stage/hello"
# shellcheck disable=SC2086,SC2046
gcc $flags $(pkg-config --cflags aceso) "$root/usr/lib/libaceso.a" \
	$(PKG_CONFIG_SYSROOT_DIR='' pkg-config --static --libs aceso |
		sed 's/-laceso//') -o "$stage/hello-static"

for page in "$root"/usr/share/man/man*/*; do
	! man --warnings -l "$page" 2>&1 >/dev/null | grep . ||
		fail "$page has faults"
done 2>/dev/null

# Every program and unit has a page under its own name.
for f in "$root"/usr/bin/* "$root"/sbin/* "$root"/usr/lib/systemd/system/*; do
	man -M "$root/usr/share/man" -w "$(basename "$f")" >/dev/null 2>&1 ||
		fail "$(basename "$f") has no man page"
done

# What systemd would say of the unit and its user, asked without a systemd.
unit=$root/usr/lib/systemd/system/aceso-pool@.service
! grep -rn '@[a-z]*dir@' "$root/usr/lib/systemd" "$root/usr/lib/sysusers.d" \
	"$root/usr/lib/tmpfiles.d" >&2 || fail "a folder was not filled in"
grep -q '^ExecStart=/usr/bin/aceso pool serve %i$' "$unit" ||
	fail "$unit starts something else"
if command -v systemd-analyze >/dev/null; then
	# verify looks for the program and the other units where the unit is
	sed "s|/usr/bin/aceso|$root/usr/bin/aceso|" "$unit" \
		>"$stage/aceso-pool@.service"
	SYSTEMD_LOG_LEVEL=warning systemd-analyze verify --man=no \
		"$stage/aceso-pool@.service" >"$stage/out" 2>&1 ||
		fail "systemd-analyze verify: $(cat "$stage/out")"
	! grep aceso "$stage/out" >&2 || fail "systemd-analyze warns"
	systemd-analyze security --offline=yes --threshold=30 \
		"$stage/aceso-pool@.service" >"$stage/out" 2>&1 ||
		fail "less is closed than could be: $(cat "$stage/out")"
else
	echo "install: no systemd-analyze here: the unit is not verified"
fi
if command -v systemd-sysusers >/dev/null && [ "$(id -u)" = 0 ]; then
	mkdir -p "$stage/new/usr/lib" "$stage/new/etc"
	cp -r "$root/usr/lib/sysusers.d" "$root/usr/lib/tmpfiles.d" \
		"$stage/new/usr/lib"
	systemd-sysusers --root="$stage/new" >"$stage/out" 2>&1 &&
		grep -q '^aceso:.*:/var/lib/aceso:.*nologin$' "$stage/new/etc/passwd" ||
		fail "systemd-sysusers: $(cat "$stage/out")"
	systemd-tmpfiles --root="$stage/new" --create >"$stage/out" 2>&1 &&
		[ "$(stat -c %a "$stage/new/var/lib/aceso")" = 700 ] &&
		[ -d "$stage/new/etc/aceso" ] ||
		fail "systemd-tmpfiles: $(cat "$stage/out")"
fi

if [ -e /dev/fuse ] && [ "$(id -u)" = 0 ]; then
	"$root/usr/bin/aceso-fuse" -o size=64m,pool=inst "$mnt"
	sock=$ACESO_RUNTIME_DIR/inst/pool.sock
	for h in hello hello-static; do
		LD_LIBRARY_PATH=$root/usr/lib "$stage/$h" "$sock" "from $h" \
			>"$stage/out"
		grep -q "^from $h (version [0-9]*)" "$stage/out" ||
			fail "$h says: $(cat "$stage/out")"
	done
	[ "$("$root/usr/bin/aceso" -p inst get hello)" = "from hello-static" ] ||
		fail "aceso get does not see what the example put"
	"$root/usr/bin/aceso" stop inst

	# mount(8) finds its helper in /sbin: shown to it in a name space.
	cat >"$stage/ns" <<-TEXT
	set -eu
	over() {
		mount -t overlay -o "lowerdir=\$1:\$2" overlay "\$2" ||
			{ echo skip; exit 0; }
	}
	over $root/sbin "\$(readlink -f /sbin)"
	over $root/usr/bin /usr/bin
	mount -t aceso -o size=64m,noauto none $mnt
	echo works >$mnt/f
	cat $mnt/f
	grep -c "^none $mnt fuse.aceso " /proc/mounts
	umount $mnt
	# by lines of fstab, as at a boot: once, however often it is asked for
	aceso mount --no-mount --fstab $stage/fstab -o size=64m,_netdev,mode=0755 \\
		fromtab $mnt 2>/dev/null
	mount -a -T $stage/fstab -O _netdev
	mount -a -T $stage/fstab -O no_netdev
	grep -c "^fromtab $mnt fuse.aceso " /proc/mounts
	stat -c %a $mnt
	mount -T $stage/fstab -o remount,ro $mnt
	! touch $mnt/f 2>/dev/null
	mount -o remount,rw $mnt # by the type that /proc/mounts shows
	touch $mnt/f
	umount $mnt
	# where a file has the pool's name mount(8) makes a path of it, and
	# keeps its own notes by that
	mkdir $stage/named
	cd $stage
	mount -t aceso -o size=64m named $mnt
	findmnt -n -o SOURCE $mnt
	aceso -p named status >/dev/null
	umount $mnt
	TEXT
	unshare -m --propagation private \
		sh "$stage/ns" >"$stage/out" 2>&1 ||
		fail "mount -t aceso: $(cat "$stage/out")"
	grep -q skip "$stage/out" ||
		[ "$(cat "$stage/out")" = "works
1
1
755
$stage/named" ] || fail "mount -t aceso: $(cat "$stage/out")"
fi

make -s uninstall DESTDIR="$root" prefix=/usr ${B:+B=$B}
[ -z "$(find "$root" ! -type d)" ] ||
	fail "uninstall left $(find "$root" ! -type d | head -3)"
echo "install: ok"
