#!/bin/sh
# run.sh SECONDS NAME... - each target under libFuzzer for so long;
# says what each did. The corpus is begun by the target itself and kept
# in build/fuzz/corpus. Exit code 77: no clang here; no
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
mkdir -p build/fuzz/found
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0:allocator_may_return_null=1
bad=0
for name; do
	corpus=build/fuzz/corpus/$name log=build/fuzz/$name.log
	mkdir -p "$corpus"
	FUZZ_SEEDS_TO=$corpus build/fuzz/fuzz/"$name" >"$log" 2>&1 || {
		echo "fuzz $name: FAILED: no seeds"
		tail -20 "$log"
		bad=1
		continue
	}
	if build/fuzz/fuzz/"$name" -max_total_time="$seconds" -timeout=20 \
		-rss_limit_mb=2048 -max_len=8192 -print_final_stats=1 \
		-artifact_prefix=build/fuzz/found/"$name"- "$corpus" >"$log" 2>&1
	then
		echo "fuzz $name: ok: $(awk '/number_of_executed_units/ { n = $2 }
			/cov:/ { for (i = 1; i < NF; i++) if ($i == "cov:") c = $(i + 1) }
			END { print n " inputs, " c " edges" }' "$log")"
	else
		echo "fuzz $name: FAILED, see $log"
		grep -vE '^#[0-9]+	' "$log" | tail -60
		bad=1
	fi
done
exit $bad
