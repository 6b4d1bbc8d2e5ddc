/* tests/lib/seeds.h - which seeds a suite plays, the same for all of them:
 * `suite FIRST [LAST]`, or the first SEEDS=n, or what check has time for.
 * tests/soak.py calls the suites like that, and reads what seeds_tell() says.
 */
#ifndef ACESO_TESTS_LIB_SEEDS_H
#define ACESO_TESTS_LIB_SEEDS_H
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/effort.h"

struct seeds {
	uint64_t first, last;
};

/* @whole: as many as a release build plays within make check. */
static inline struct seeds seeds_of(int argc, char **argv, uint64_t whole)
{
	const char *n = getenv("SEEDS");
	struct seeds s = {.first = 1, .last = effort(whole)};

	if (n != NULL)
		s.last = strtoull(n, NULL, 0);
	if (argc > 1)
		s.first = s.last = strtoull(argv[1], NULL, 0);
	if (argc > 2)
		s.last = strtoull(argv[2], NULL, 0);
	return s;
}

/* Enough of them to say what must have been met on the way. */
static inline int seeds_are_many(struct seeds s)
{
	return s.last - s.first >= 20;
}

/* The last one told before a suite ends badly is the one that failed. */
static inline void seeds_tell(uint64_t seed)
{
	fprintf(stderr, "seed %" PRIu64 "\n", seed);
}

#endif
