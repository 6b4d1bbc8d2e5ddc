/* What a node says to its client over RDMA: tests/fuzz/verbs_client.c, from
 * right ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/fuzz/verbs_client.c"

static void words_that_make_no_sense(void **state)
{
	fuzz_run(400);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_that_make_no_sense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
