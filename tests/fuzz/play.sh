#!/bin/sh
# play.sh SECONDS NAME - one built target under libFuzzer for so long; says
# what it did. The corpus is begun by the target itself and kept in
# build/fuzz/corpus. For run.sh, which plays many.
set -u
cd "$(dirname "$0")/../.." || exit 1
seconds=$1 name=$2
corpus=build/fuzz/corpus/$name log=build/fuzz/$name.log
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0:allocator_may_return_null=1
mkdir -p "$corpus" build/fuzz/found
FUZZ_SEEDS_TO=$corpus build/fuzz/fuzz/"$name" >"$log" 2>&1 || {
	echo "fuzz $name: FAILED: no seeds"
	tail -20 "$log"
	exit 1
}
build/fuzz/fuzz/"$name" -max_total_time="$seconds" -timeout=20 \
	-rss_limit_mb=2048 -max_len=8192 -print_final_stats=1 \
	-artifact_prefix=build/fuzz/found/"$name"- "$corpus" >"$log" 2>&1 || {
	echo "fuzz $name: FAILED, see $log"
	grep -vE '^#[0-9]+	' "$log" | tail -60
	exit 1
}
echo "fuzz $name: ok: $(awk '/number_of_executed_units/ { n = $2 }
	/cov:/ { for (i = 1; i < NF; i++) if ($i == "cov:") c = $(i + 1) }
	END { print n " inputs, " c " edges" }' "$log")"
