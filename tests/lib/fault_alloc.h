/* tests/lib/fault_alloc.h - let the n-th allocation fail.
 *
 *	failed = -1;
 *	do {
 *		fault_alloc(++failed);
 *		rc = thing_open(&t);
 *		...
 *	} while (rc != 0);
 *	assert_int_equal(failed, 3);	// the loop did bite
 *
 * Counts malloc, calloc, realloc, aligned_alloc, posix_memalign and strdup as
 * called by our own code (the linker wraps them: FAULT_LINK in the Makefile),
 * in the thread that armed it; what libraries do inside is not met. */
#ifndef ACESO_TESTS_LIB_FAULT_ALLOC_H
#define ACESO_TESTS_LIB_FAULT_ALLOC_H
#include <stdbool.h>

/* The @n-th allocation from here (0: the next) of this thread fails, once. */
void fault_alloc(int n);
/* None does. Returns true if one had failed since fault_alloc(). */
bool fault_alloc_off(void);

#endif
