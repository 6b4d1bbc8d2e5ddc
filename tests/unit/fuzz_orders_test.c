/* Orders that make no sense: tests/fuzz/orders.c, from some that do. Each type
 * that only nodes or the coordinator may send has got as far as to what serves
 * it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/fuzz/orders.c"

static void orders_that_make_no_sense(void **state)
{
	static const uint8_t types[] = {
		PROTO_VIEW,    PROTO_REBUILD, PROTO_RETIRE, PROTO_FREE,
		PROTO_CUT,     PROTO_STORE,   PROTO_STOP,   PROTO_SWEEP,
		PROTO_ORPHANS, PROTO_RESTORE, PROTO_CLOCK,  PROTO_CKPT,
		PROTO_READY,   PROTO_RESUME,  PROTO_KEEP,   PROTO_FENCE,
	};

	fuzz_run(2000);
	for (size_t i = 0; i < sizeof(types); i++)
		if (!heard[types[i]])
			fail_msg("nobody has heard %u", types[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(orders_that_make_no_sense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
