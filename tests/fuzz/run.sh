#!/bin/sh
# run.sh SECONDS NAME... - each target under libFuzzer for so long, as many at
# a time as there are processors (play.sh). Exit code 77: no clang here; no
# NAME: only look for it.
set -u
cd "$(dirname "$0")/../.." || exit 1
echo 'int LLVMFuzzerTestOneInput(void) { return 0; }' |
	clang -fsanitize=fuzzer,address -x c -o /dev/null - 2>/dev/null || {
	echo "fuzz: no clang with libFuzzer here"
	exit 77
}
seconds=$1
shift
[ $# -gt 0 ] || exit 0
programs=
for name; do programs="$programs build/fuzz/fuzz/$name"; done
# shellcheck disable=SC2086
make --no-print-directory -j"$(nproc)" MODE=fuzz CC="${FUZZ_CC:-clang}" $programs || exit 1
printf '%s\n' "$@" | xargs -P "$(nproc)" -n 1 tests/fuzz/play.sh "$seconds"
