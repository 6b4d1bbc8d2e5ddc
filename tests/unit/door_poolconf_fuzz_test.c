/* Pools' files that make no sense: tests/fuzz/poolconf.c, from right ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/fuzz/poolconf.c"

static void files_that_make_no_sense(void **state)
{
	fuzz_run(5000);
	assert_true(taken > 2); /* the seeds and more */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(files_that_make_no_sense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
