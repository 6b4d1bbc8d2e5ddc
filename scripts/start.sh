#!/bin/sh
# start.sh - mount at DIR and say what there is to try. Builds nothing.
# usage: start.sh [DIR [OPTIONS]]	(OPTIONS as after -o)
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
bin=${BIN:-$here/build/bin}
dir=${1:-${DIR:-/mnt/aceso}}
opts=${2:-${OPTS:-}}

if [ ! -x "$bin/aceso-fuse" ]; then
	echo "start.sh: $bin/aceso-fuse is not there: run make first" >&2
	exit 1
fi
[ -e "$dir" ] || mkdir -p "$dir" 2>/dev/null || true # aceso-fuse says why not
full=$(cd "$dir" 2>/dev/null && pwd -P || echo "$dir")

pool_of() { # the pool mounted at $full
	awk -v dir="$full" '$3 == "fuse.aceso" && $2 == dir { p = $1 }
		END { print p }' /proc/mounts
}

pool=$(pool_of)
if [ -n "$pool" ] && stat "$full" >/dev/null 2>&1; then
	echo "Already mounted at $full."
else
	"$bin/aceso-fuse" ${opts:+-o "$opts"} "$dir"
	full=$(cd "$dir" && pwd -P)
	pool=$(pool_of)
	# who says "sudo make start" wants to write there without sudo
	[ -z "${SUDO_UID:-}" ] || chown "$SUDO_UID:${SUDO_GID:-$SUDO_UID}" "$full"
	echo "Mounted at $full."
fi
echo
"$bin/aceso" -p "$pool" status || true
sudo=${SUDO_UID:+sudo }
cat <<TEXT

Try:
  cp -r /usr/include $full/ && diff -r --no-dereference /usr/include $full/include
  $bin/aceso -p $pool status
  ${sudo}kill -9 PID PID        # any two nodes: nothing is lost, status says degraded
  ${sudo}$bin/aceso -p $pool explain $full/include/stdio.h
End it with: ${sudo}make stop${1:+ DIR=$full}   (or: ${sudo}umount $full)
TEXT
