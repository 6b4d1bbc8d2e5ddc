#!/bin/sh
# headers.sh - every header compiles alone, and names its guard for its path.
bad=0
cflags=$(pkg-config --cflags fuse3 jansson)
for h in $(git ls-files -co --exclude-standard '*.h'); do
	guard=$(echo "ACESO_$h" | tr 'a-z/.-' 'A-Z___' | sed 's/ACESO_TESTS_LIB/ACESO_TESTS_LIB/')
	grep -q "^#ifndef ACESO_" "$h" || {
		echo "$h: no include guard ACESO_..."
		bad=1
	}
	# shellcheck disable=SC2086
	printf '#include "%s"\n' "$h" |
		gcc -std=gnu11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -Wall -Wextra \
			-Wno-unused-parameter -Wno-unused-function -Werror -iquote . $cflags \
			-fsyntax-only -x c - || {
		echo "$h: does not compile alone (guard would be $guard)"
		bad=1
	}
done
exit $bad
