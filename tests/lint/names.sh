#!/bin/sh
# names.sh - a global function begins with a noun of its room, not with one of
# our libraries' prefixes; no paths of a build machine; no unfinished business.
bad=0
lib=${1:-build/release/libaceso.a}
if [ -f "$lib" ]; then
	nm --defined-only -g "$lib" 2>/dev/null | awk '$2 == "T" { print $3 }' |
		grep -E '^(rdma_|ibv_|ec_|gf_|xor_gen|crc32_|fuse_|json_|XXH|LZ4_)' && {
		echo "names.sh: the names above belong to our libraries"
		bad=1
	}
fi
git grep -nIE '\b(TODO|FIXME|XXX)\b' -- '*.c' '*.h' '*.py' && {
	echo "names.sh: unfinished business"
	bad=1
}
git ls-files '*.c' '*.h' | xargs -r wc -l | awk '$2 != "total" && $1 > 900 {
	print $2 ": " $1 " lines: it has taken in a lodger"; bad = 1 } END { exit bad }' ||
	bad=1
exit $bad
