/* tests/lib/must.h - a truth without which a target of tests/fuzz/ ends: says
 * which, and where. libFuzzer and the tests take an abort() for a finding. */
#ifndef ACESO_TESTS_LIB_MUST_H
#define ACESO_TESTS_LIB_MUST_H
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define must(truth)                                                            \
	((truth) ? (void)0 : must_end(#truth, __FILE__, __LINE__, errno))

static inline _Noreturn void must_end(const char *truth, const char *file,
				      int line, int error)
{
	fprintf(stderr, "FAILED: %s:%d: %s (errno %d)\n", file, line, truth,
		error);
	abort();
}

#endif
