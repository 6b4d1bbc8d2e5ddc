/* Command lines that make no sense: tests/fuzz/conf.c, from some that do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/fuzz/conf.c"

static void lines_that_make_no_sense(void **state)
{
	fuzz_run(50000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_that_make_no_sense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
