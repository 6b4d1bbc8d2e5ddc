/* tests/lib/effort.h - how much of a long loop to run: all of it in a release
 * build, a share in a sanitizer build (ACESO_TEST_MODE), more by EFFORT=n (a
 * factor, for soaks). */
#ifndef ACESO_TESTS_LIB_EFFORT_H
#define ACESO_TESTS_LIB_EFFORT_H
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* A share may be too little to have met what a whole run surely meets. */
static inline bool effort_is_whole(void)
{
	const char *mode = getenv("ACESO_TEST_MODE");

	return mode == NULL || strcmp(mode, "release") == 0;
}

static inline uint64_t effort(uint64_t whole)
{
	const char *factor = getenv("EFFORT");
	uint64_t n = whole;

	if (factor != NULL)
		n *= strtoull(factor, NULL, 0);
	if (!effort_is_whole())
		n /= 8;
	return n > 0 ? n : 1;
}
#endif
