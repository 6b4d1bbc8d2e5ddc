/* Streams to a node over TCP: tests/fuzz/tcp_node.c, from right ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/fuzz/tcp_node.c"

static void streams_that_make_no_sense(void **state)
{
	fuzz_run(3000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(streams_that_make_no_sense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
