#!/bin/sh
# stop.sh - unmount DIR and wait until nothing of its pool is left.
# usage: stop.sh [DIR]
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
bin=${BIN:-$here/build/bin}
dir=${1:-${DIR:-/mnt/aceso}}
full=$(cd "$dir" 2>/dev/null && pwd -P || echo "$dir")

pool=$(awk -v dir="$full" '$3 == "fuse.aceso" && $2 == dir { p = $1 }
	END { print p }' /proc/mounts)
if [ -z "$pool" ]; then
	echo "Nothing of aceso is mounted at $full."
	exit 0
fi
"$bin/aceso" umount "$full"
# The pool ends by itself, unless it is mounted elsewhere too. What has been
# unmounted may answer still, while it ends: so this host's mounts are asked.
mounted() {
	awk -v p="$pool" '$3 == "fuse.aceso" && $1 == p { n = 1 }
		END { exit !n }' /proc/mounts
}
listed() { # "mounted" by somebody, "ending", or nothing
	"$bin/aceso" pools | awk -v p="$pool" \
		'$1 == p { print (NF > 4 ? "mounted" : "ending") }'
}
tries=100
while [ "$tries" -gt 0 ] && ! mounted && [ -n "$(listed)" ]; do
	sleep 0.1
	tries=$((tries - 1))
done
case $(mounted && echo mounted || listed) in
mounted) echo "Unmounted $full. Pool $pool goes on: it has other mounts." ;;
ending) echo "Unmounted $full, but pool $pool does not end: see" \
	"$bin/aceso pools" >&2; exit 1 ;;
*) echo "Unmounted $full. Pool $pool has ended." ;;
esac
