/* Answers of a node over TCP: tests/fuzz/tcp_client.c, from right ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/fuzz/tcp_client.c"

static void answers_that_make_no_sense(void **state)
{
	fuzz_run(3000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_that_make_no_sense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
