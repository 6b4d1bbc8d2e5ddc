/* Nodes that let every CALL time out: whoever wants space gives up in time to
 * follow a new view, or its client would be fenced (coord_opts.lease_ms). */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "kv/client/space.h"
#include "tests/lib/space_pool.h"

#define LEASE_NS UINT64_C(2000000000)
#define CALL_NS	 UINT64_C(500000000) /* SPACE_CALL_NS */
#define SLICE_NS UINT64_C(100000000) /* what an operation gives it */

/* Who waits for an answer waits as long as he said. */
static int call_takes_its_time(struct space_pool *p, const struct fab_op *op)
{
	if (op->opcode == FAB_CALL && atomic_load(&p->hung) >> op->node & 1)
		atomic_fetch_add(&p->now, CALL_NS);
	return 0;
}

static void giving_up_takes_less_than_a_lease(void **state)
{
	for (uint32_t hung = 0; hung < 32; hung++) {
		struct space_pool p;
		struct space_spot spot;
		struct kv_thread *t;
		uint64_t from;
		int rc;

		spool_open(&p, &(struct spool_shape){.usable = 4u << 20});
		t = spool_thread(&p, 0);
		p.before = call_takes_its_time;
		atomic_store(&p.hung, hung);
		from = fab_now(t->fab);
		rc = space_take(p.kv.space, t, SPACE_COLD, 4, false,
				from + SLICE_NS, &spot);
		assert_true(rc == 0 || rc == -ETIMEDOUT);
		assert_true(fab_now(t->fab) - from < LEASE_NS);
		if (rc == 0)
			space_settle(p.kv.space, &spot);
		atomic_store(&p.hung, 0);
		spool_close(&p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(giving_up_takes_less_than_a_lease),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
