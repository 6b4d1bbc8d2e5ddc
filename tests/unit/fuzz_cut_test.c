/* Durable cuts and pool files that are none: tests/fuzz/cut.c, from right ones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/fuzz/cut.c"

static void files_that_are_no_cuts(void **state)
{
	fuzz_run(50000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(files_that_are_no_cuts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
