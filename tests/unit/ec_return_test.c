/* tests/unit/ec_return_test.c - a node that was taken for dead comes back with
 * its memory: what is there still is kept, what changed meanwhile is fetched,
 * and nobody can tell it from one that was made anew (ec/former.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ec/former.h"
#include "tests/lib/ec_world.h"
#include "tests/lib/effort.h"

#define UNITS (WORLD_BLOCK / GROUP_UNIT_BYTES)

static struct rebuild_progress sum_of(struct rebuild *r)
{
	struct rebuild_progress sum;

	rebuild_progress(r, &sum);
	return sum;
}

/* To its end, by hand, with nobody about: what was kept, what was fetched. */
static struct rebuild_progress bring_back(struct ec_pool *p, uint32_t node)
{
	struct rebuild_progress sum;
	struct rebuild *r;
	int rc = 1;

	assert_int_equal(rebuild_open(p->a[node], &p->fab, p->up, &r), 0);
	for (unsigned n = 0; rc != 0; n++) {
		assert_in_range(n, 0, 100000);
		rc = rebuild_work(r, 64u << 10);
		assert_in_range(rc, 0, 1);
	}
	sum = sum_of(r);
	rebuild_close(r);
	assert_true(former_next(p->former[node], 0) == UINT32_MAX);
	ec_pool_whole(p, node);
	ec_pool_check(p);
	return sum;
}

/* --- worlds --------------------------------------------------------------- */

static void a_node_keeps_what_is_there(void **state)
{
	struct rebuild_progress new, old;
	struct world w;

	world_begin(&w, 5, 3, 2, 1);
	for (uint32_t i; (i = world_pick(&w, OPEN)) != WORLD_LIVING;)
		world_close_one(&w, i);
	ec_pool_fold(&w.p);
	for (uint32_t node = 0; node < 5; node++) {
		world_die(&w, node);
		ec_pool_return(&w.p, node);
		old = bring_back(&w.p, node);
		world_die(&w, node);
		ec_pool_replace(&w.p, node);
		new = bring_back(&w.p, node);
		assert_true(old.kept_bytes > 0);
		assert_int_equal(new.kept_bytes, 0);
		assert_int_equal(old.done_bytes, new.done_bytes);
		assert_true(old.read_bytes < new.read_bytes);
		assert_true(old.kept_bytes + old.read_bytes >= old.done_bytes);
	}
	world_end(&w);
}

static uint64_t live(uint32_t n, uint32_t k, uint32_t m, uint64_t seed)
{
	struct world w;

	world_begin(&w, n, k, m, seed);
	w.returns = true;
	for (unsigned round = 0; round < 4; round++) {
		world_die(&w, (uint32_t)world_dice(&w, n));
		for (uint64_t i = world_dice(&w, 40); i > 0; i--)
			world_step(&w);
		for (uint32_t i = 0; i < n; i++)
			if (!ec_pool_is_up(&w.p, i))
				w.node = i;
		world_replace(&w, w.node);
		world_rebuild_begin(&w, w.node);
		w.traffic = 1 + (unsigned)world_dice(&w, 4);
		world_rebuild_all(&w);
		w.traffic = 0;
		world_back(&w);
	}
	world_end(&w);
	return w.kept;
}

static void it_does_while_all_others_go_on(void **state)
{
	uint64_t kept = 0;

	for (uint64_t seed = 1; seed <= effort(24); seed++) {
		kept += live(5, 3, 2, seed);
		kept += live(4, 2, 1, seed);
		if (seed % 4 == 1) {
			kept += live(3, 1, 2, seed);
			kept += live(8, 4, 3, seed);
		}
	}
	print_message("kept: %llu KiB\n", (unsigned long long)kept >> 10);
	assert_true(kept > 0);
}

/* Seed 10: a block that all but the leader had freed is not brought back to a
 * data node that died meanwhile; or else, when the leader dies, the next one
 * gives away what is not free there. */
static void what_others_have_freed_stays_free(void **state)
{
	for (uint64_t seed = 10; seed < 10 + effort(24); seed++)
		live(3, 1, 2, seed);
}

/* Half-way it is given up again, and comes back with what it has by then. */
static void it_may_be_given_up_at_any_operation(void **state)
{
	struct world w;
	unsigned n = 0;

	world_begin(&w, 5, 3, 2, 7);
	world_die(&w, 1);
	w.stop = world_count_stop;
	do {
		unsigned before = w.restarts;
		int rc = 1;

		w.returns = true;
		world_replace(&w, 1);
		world_rebuild_begin(&w, 1);
		w.ops = 0;
		w.stop_at = n;
		n += effort_is_whole() ? 3 : 11;
		while (rc != 0 && w.restarts == before) {
			rc = world_rebuild_one(&w);
			if (rc < 0)
				world_let_others(&w, rc);
		}
		w.kept += sum_of(w.r).kept_bytes;
		rebuild_close(w.r);
		if (w.restarts == before)
			break;
		ec_pool_check(&w.p);
		world_die(&w, 1);
		for (unsigned i = 0; i < n % 7; i++)
			world_step(&w);
	} while (true);
	assert_true(w.restarts > (effort_is_whole() ? 10 : 3));
	assert_true(w.kept > 0);
	w.node = 1;
	world_back(&w);
	world_end(&w);
}

/* --- one block ------------------------------------------------------------ */

struct one {
	struct ec_pool p;
	struct ec_block b;
	uint32_t node; /* of its data */
};

static void one_begin(struct one *o)
{
	ec_pool_open(&o->p, 5, 3, 2, WORLD_BLOCK, 2, 12, 0);
	assert_int_equal(ec_pool_take(&o->p, 0, BLOCK_PAGES, false, &o->b), 0);
	o->node = ec_pool_node(&o->p, o->b.stripe, o->b.role);
	ec_pool_fill(&o->p, &o->b, 0, WORLD_BLOCK, 5);
}

static const char *bytes_of(const struct one *o)
{
	uint32_t node, block;

	group_member(&o->p.g, o->b.stripe, o->b.role, &node, &block);
	return o->p.region[node] + group_block_off(&o->p.g, block);
}

/* Away, and back as it was. */
static struct rebuild_progress one_returns(struct one *o)
{
	ec_pool_fold(&o->p);
	ec_pool_return(&o->p, o->node);
	return bring_back(&o->p, o->node);
}

static void a_sealed_block_is_kept(void **state)
{
	struct rebuild_progress sum;
	struct one o;

	one_begin(&o);
	ec_pool_seal(&o.p, &o.b, WORLD_BLOCK);
	ec_pool_kill(&o.p, o.node);
	sum = one_returns(&o);
	assert_int_equal(sum.kept_bytes, WORLD_BLOCK);
	assert_int_equal(sum.read_bytes, 0);
	ec_pool_close(&o.p);
}

/* Sealed while it was away: it has not seen the last write, for all it knows.
 */
static void an_open_block_is_fetched(void **state)
{
	struct rebuild_progress sum;
	struct one o;

	one_begin(&o);
	ec_pool_kill(&o.p, o.node);
	ec_pool_seal(&o.p, &o.b, WORLD_BLOCK);
	sum = one_returns(&o);
	assert_int_equal(sum.kept_bytes, 0);
	assert_int_equal(sum.read_bytes, WORLD_BLOCK);
	ec_pool_close(&o.p);
}

/* Its owner died in a write that only the data node has seen. The parities had
 * not made their deltas equal to that when it was cut off; so they agree on
 * what they have. */
static void an_orphan_is_fetched(void **state)
{
	static char torn[4096];
	struct rebuild_progress sum;
	struct one o;

	for (unsigned again = 0; again < 2; again++) {
		one_begin(&o);
		memset(torn, 0x5a, sizeof(torn));
		ec_pool_write(&o.p, &o.b, 0, torn, sizeof(torn), 1);
		ec_pool_orphan(&o.p, &o.b);
		if (again) { /* on its way to be opened again, given up */
			ec_pool_mark(&o.p, &o.b, o.b.role, 100, 10);
			ec_pool_again_retire(&o.p, &o.b);
			ec_pool_again_resume(&o.p, &o.b, o.b.life);
		}
		ec_pool_kill(&o.p, o.node);
		ec_pool_fold(&o.p);
		/* The truth is what they agreed on. */
		assert_int_equal(
			ec_pool_read(&o.p, o.b.stripe, o.b.role, 0,
				     sizeof(torn),
				     ec_pool_truth(&o.p, o.b.stripe, o.b.role)),
			0);
		assert_memory_not_equal(
			ec_pool_truth(&o.p, o.b.stripe, o.b.role), torn,
			sizeof(torn));
		sum = one_returns(&o);
		assert_int_equal(sum.kept_bytes, 0);
		assert_memory_not_equal(bytes_of(&o), torn, sizeof(torn));
		ec_pool_close(&o.p);
	}
}

/* All others zeroed obsolete units, and then gave it up; in the same life, or
 * in the next if somebody had begun to open it. */
static void units_zeroed_meanwhile_are_fetched(void **state)
{
	uint64_t map[UNITS / 64];
	struct rebuild_progress sum;
	struct one o;

	for (uint32_t later = 0; later < 2; later++) {
		one_begin(&o);
		ec_pool_seal(&o.p, &o.b, WORLD_BLOCK);
		ec_pool_mark(&o.p, &o.b, o.b.role, 70, 10);
		ec_pool_mark(&o.p, &o.b, o.b.role, 900, 1);
		ec_pool_kill(&o.p, o.node);
		assert_int_equal(ec_pool_again_retire(&o.p, &o.b), 0);
		assert_int_equal(ec_pool_again_ready(&o.p, &o.b, map), 0);
		ec_pool_again_zeroed(&o.p, &o.b, map);
		assert_int_equal(
			ec_pool_again_resume(&o.p, &o.b, o.b.life + later), 0);
		sum = one_returns(&o);
		assert_int_equal(sum.kept_bytes,
				 later ? 0 : WORLD_BLOCK - 2 * 4096);
		assert_int_equal(sum.read_bytes,
				 later ? WORLD_BLOCK : 2 * 4096);
		for (uint32_t i = 0; i < 10 * GROUP_UNIT_BYTES; i++)
			assert_int_equal(
				bytes_of(&o)[70 * GROUP_UNIT_BYTES + i], 0);
		ec_pool_close(&o.p);
	}
}

static void is_zero(const struct one *o)
{
	for (uint32_t i = 0; i < WORLD_BLOCK; i++)
		assert_int_equal(bytes_of(o)[i], 0);
}

/* All others have it no more: D2. */
static void a_free_block_is_zeroed(void **state)
{
	struct rebuild_progress sum;
	struct one o;

	one_begin(&o);
	assert_int_equal(alloc_seal(o.p.a[o.node], o.b.stripe, o.b.role,
				    EC_POOL_OWNER, o.b.life, WORLD_BLOCK, 1,
				    false),
			 0);
	ec_pool_kill(&o.p, o.node);
	ec_pool_cancel(&o.p, &o.b);
	sum = one_returns(&o);
	assert_int_equal(sum.kept_bytes, 0);
	is_zero(&o);
	ec_pool_close(&o.p);
}

/* A view of a new pool: it is up at once, and nothing was rebuilt. */
static void nothing_stays_where_nothing_is_rebuilt(void **state)
{
	struct one o;

	one_begin(&o);
	ec_pool_seal(&o.p, &o.b, WORLD_BLOCK);
	ec_pool_kill(&o.p, o.node);
	ec_pool_fold(&o.p);
	ec_pool_return(&o.p, o.node);
	assert_true(bytes_of(&o)[0] != 0);
	assert_true(former_bytes(o.p.former[o.node]) >= WORLD_BLOCK);
	alloc_set_view(o.p.a[o.node], 31, 31);
	is_zero(&o);
	ec_pool_close(&o.p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_sealed_block_is_kept),
		cmocka_unit_test(an_open_block_is_fetched),
		cmocka_unit_test(an_orphan_is_fetched),
		cmocka_unit_test(units_zeroed_meanwhile_are_fetched),
		cmocka_unit_test(a_free_block_is_zeroed),
		cmocka_unit_test(nothing_stays_where_nothing_is_rebuilt),
		cmocka_unit_test(a_node_keeps_what_is_there),
		cmocka_unit_test(it_does_while_all_others_go_on),
		cmocka_unit_test(what_others_have_freed_stays_free),
		cmocka_unit_test(it_may_be_given_up_at_any_operation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
