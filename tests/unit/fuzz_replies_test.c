/* What nodes and the coordinator are answered: tests/fuzz/replies.c, from right
 * answers. (A node that was said to be UP before it was restored ended.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/fuzz/replies.c"

static void answers_that_make_no_sense(void **state)
{
	static const uint8_t types[] = {
		PROTO_VIEW,  PROTO_REBUILD, PROTO_ORPHANS, PROTO_RESTORE,
		PROTO_CLOCK, PROTO_CKPT,    PROTO_RETIRE,
	};

	fuzz_run(10);
	for (size_t i = 0; i < sizeof(types); i++)
		if (!answered[types[i]])
			fail_msg("nobody has answered %u", types[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_that_make_no_sense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
