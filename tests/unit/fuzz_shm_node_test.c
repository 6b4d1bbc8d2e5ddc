/* Messages to a node over shared memory: tests/fuzz/shm_node.c, from right
 * ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/fuzz/shm_node.c"

static void messages_that_break_the_rules(void **state)
{
	fuzz_run(5000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_that_break_the_rules),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
