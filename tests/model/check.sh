#!/bin/sh
# check.sh - the protocols in tests/model hold in every state that Spin finds,
# and with the step that they are about left out, Spin finds the harm.
#
#   check.sh                          all of it, a case a processor
#   check.sh holds MODEL [FLAG...]    one of them
#   check.sh fails MUTATION MODEL [FLAG...]
set -eu
here=$(cd "$(dirname "$0")" && pwd)

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

holds() { # holds MODEL [FLAGS]
	n=$(errors -O1 "$@")
	echo "$*: $n errors, $(sed -n 's/ *\([0-9]*\) states, stored/\1/p' pan.out) states"
	[ "$n" = 0 ]
}
fails() { # fails MUTATION MODEL [FLAGS]
	mutation=$1
	shift
	n=$(errors -O0 "$@" -DMUTATE="$mutation") # soon found: not worth a slow gcc
	echo "$*, mutation $mutation: $n errors"
	[ "${n:-0}" != 0 ] || { echo "$1: the mutation was not found: the model does not bite"; false; }
}

cases() { # the long ones first
	echo holds recover -DSWEEPS=0
	deletes="-DOPS0=2 -DOPS1=0 -DBLOCKS=2" # and blocks that are used again
	deaths="-DOPS1=0 -DSWEEPS=0 -DDEATHS=2"
	late="-DROUNDS=0" # marks that come late
	for flags in "$deletes" "$deaths" "$late"; do echo holds recover "$flags"; done
	for mutation in 4 6 9; do echo fails $mutation recover "$deletes"; done
	for mutation in 1 2 3 5 7; do echo fails $mutation recover "$deaths"; done
	echo fails 8 recover "$late"
	echo holds insert -DREPLAYS=1
	for mutation in 1 2; do echo fails $mutation insert; done
	echo fails 3 insert -DCLIENTS=3
	echo fails 4 insert -DREPLAYS=1
	for alone in 0 1; do
		echo holds update -DALONE=$alone
		for mutation in 1 2 3; do echo fails $mutation update -DALONE=$alone; done
	done
}

[ $# -gt 0 ] || {
	cases | xargs -P "$(nproc)" -L 1 "$here/check.sh"
	exit
}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
"$@"
