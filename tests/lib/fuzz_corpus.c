/* tests/lib/fuzz_corpus.c - linked into a target that libFuzzer runs: with
 * FUZZ_SEEDS_TO=DIR it writes the target's seeds there, and ends. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const char *dir = getenv("FUZZ_SEEDS_TO");
	int rc;

	if (dir == NULL)
		return 0;
	rc = fuzz_seeds_write(dir);
	if (rc != 0)
		fprintf(stderr, "%s: %s\n", dir, strerror(-rc));
	exit(rc != 0);
}
