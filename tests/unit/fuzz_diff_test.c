/* Checkpoint messages that are none: tests/fuzz/diff.c, from right ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/fuzz/diff.c"

static void messages_that_are_no_diffs(void **state)
{
	fuzz_run(50000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_that_are_no_diffs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
