#!/bin/sh
# layers.sh - an #include names a file of its own room, or of a room below it.
git ls-files -co --exclude-standard '*.[ch]' | xargs awk '
BEGIN {
	n = split("rdma ec checkpoint kv fs mount-helper tests", room, " ")
	for (i = 1; i <= n; i++)
		floor_of[room[i]] = i
}
/^#include "/ {
	split(FILENAME, here, "/")
	split($2, inc, "[\"/]")
	to = inc[2]
	why = ""
	if (!(here[1] in floor_of))
		next
	if (!(to in floor_of))
		why = "names no room"
	else if (floor_of[to] > floor_of[here[1]])
		why = "looks up, from " here[1] "/ to " to "/"
	else if (here[1] == "fs" && to != "fs" && to != "kv")
		why = "reaches past kv/ into " to "/"
	else if ($2 ~ /_impl\.h"$/ && to != here[1] && here[1] != "tests")
		why = "opens the private header of " to "/"
	else if (here[1] == "kv" && here[2] inc[3] ~ /^(clientnode|nodeclient)$/)
		why = "crosses from kv/" here[2] "/ to kv/" inc[3] "/"
	if (why != "") {
		printf "%s:%d: %s %s\n", FILENAME, FNR, $2, why
		bad = 1
	}
}
END { exit bad }'
