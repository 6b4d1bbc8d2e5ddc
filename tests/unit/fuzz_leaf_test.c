/* Directory nodes that are none: tests/fuzz/leaf.c, from right ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/fuzz/leaf.c"

static void nodes_that_are_none(void **state)
{
	fuzz_run(200000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nodes_that_are_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
