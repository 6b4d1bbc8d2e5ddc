/* What a coordinator reads from its store: tests/fuzz/viewstate.c, from right
 * ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/fuzz/viewstate.c"

static void bytes_that_make_no_sense(void **state)
{
	fuzz_run(5000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_that_make_no_sense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
