#!/bin/sh
# check.sh - the protocols in tests/model hold in every state that Spin finds,
# and with the step that they are about left out, Spin finds the harm.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

errors() { # errors GCC_FLAG MODEL [FLAGS]: how many Spin reports
	fast=$1 model=$2
	shift 2
	spin -a "$@" "$here/$model.pml" >/dev/null
	gcc "$fast" -w -DSAFETY -DCOLLAPSE -DMEMLIM=1900 -o pan pan.c
	./pan -m100000 >pan.out 2>&1 || true
	if grep -q 'max search depth too small\|out of memory\|reached -DMEMLIM' pan.out; then
		echo "$model $*: not all states were searched" >&2
		exit 1
	fi
	sed -n 's/.*errors: \([0-9]*\)$/\1/p' pan.out
}

bad=0
holds() { # holds MODEL [FLAGS]
	n=$(errors -O1 "$@")
	echo "$*: $n errors, $(sed -n 's/ *\([0-9]*\) states, stored/\1/p' pan.out) states"
	[ "$n" = 0 ] || bad=1
}
fails() { # fails MUTATION MODEL [FLAGS]
	mutation=$1
	shift
	n=$(errors -O0 "$@" -DMUTATE="$mutation") # soon found: not worth a slow gcc
	echo "$*, mutation $mutation: $n errors"
	[ "${n:-0}" != 0 ] || { echo "$1: the mutation was not found: the model does not bite"; bad=1; }
}

holds insert -DREPLAYS=1
fails 1 insert
fails 2 insert
fails 3 insert -DCLIENTS=3
fails 4 insert -DREPLAYS=1
for alone in 0 1; do
	holds update -DALONE=$alone
	for mutation in 1 2 3; do
		fails $mutation update -DALONE=$alone
	done
done

holds recover -DSWEEPS=0
set -- -DOPS0=2 -DOPS1=0 -DBLOCKS=2 # deletes, and blocks that are used again
holds recover "$@"
for mutation in 4 6 9; do
	fails $mutation recover "$@"
done
set -- -DOPS1=0 -DSWEEPS=0 -DDEATHS=2
holds recover "$@"
for mutation in 1 2 3 5 7; do
	fails $mutation recover "$@"
done
set -- -DROUNDS=0 # marks that come late
holds recover "$@"
fails 8 recover "$@"
exit $bad
