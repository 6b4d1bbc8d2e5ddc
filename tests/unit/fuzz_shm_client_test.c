/* What a node says to its client over shared memory: tests/fuzz/shm_client.c,
 * from right ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/fuzz/shm_client.c"

static void messages_that_break_the_rules(void **state)
{
	fuzz_run(2000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_that_break_the_rules),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
