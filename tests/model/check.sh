#!/bin/sh
# check.sh - the protocols in tests/model hold in every state that Spin finds,
# and with the step that they are about left out, Spin finds the harm.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

errors() { # errors MODEL [FLAGS]: how many Spin reports
	spin -a ${2:-} "$here/$1.pml" >/dev/null
	gcc -O2 -w -DSAFETY -o pan pan.c
	./pan -m100000 | tee pan.out | sed -n 's/.*errors: \([0-9]*\)$/\1/p'
	grep -q 'max search depth too small' pan.out && exit 1
	return 0
}

bad=0
for run in insert update "update -DALONE=1"; do
	model=${run%% *} flags=
	[ "$run" = "$model" ] || flags=${run#* }
	n=$(errors $model $flags)
	echo "$run: $n errors, $(sed -n 's/ *\([0-9]*\) states, stored/\1/p' pan.out) states"
	[ "$n" = 0 ] || bad=1
	n=$(errors $model "-DMUTATE=1 $flags")
	echo "$run, mutated: $n errors"
	[ "$n" != 0 ] || { echo "$run: the mutation was not found: the model does not bite"; bad=1; }
done
exit $bad
