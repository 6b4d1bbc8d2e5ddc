/* tests/unit/ec_alloc_test.c - which block is given, and what each call does to
 * the records on every member. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/ec_pool.h"

#define BLOCK (64u << 10)
#define UNITS (BLOCK / GROUP_UNIT_BYTES)

static struct ec_pool p;

static int five_nodes(void **state)
{
	ec_pool_open(&p, 5, 3, 2, BLOCK, 3, 12, 0);
	return 0;
}

static int close_pool(void **state)
{
	ec_pool_close(&p);
	return 0;
}

static struct alloc_usage usage_of(uint32_t node)
{
	struct alloc_usage u;

	alloc_usage(p.a[node], &u);
	return u;
}

static struct ec_block take(uint32_t leader, uint8_t kind)
{
	struct ec_block b;

	assert_int_equal(ec_pool_take(&p, leader, kind, false, &b), 0);
	return b;
}

/* --- which one ------------------------------------------------------------ */

/* Node 3 leads stripes 0, 5, 10: role 3 of stripe s is on node s + 3 mod 5. */
static void stripes_are_filled_from_the_lowest(void **state)
{
	static const uint64_t stripes[] = {0, 0, 0, 5, 5, 5, 10, 10, 10};

	for (unsigned i = 0; i < 9; i++) {
		struct ec_block b = take(3, BLOCK_RECORDS);

		assert_int_equal(b.stripe, stripes[i]);
		assert_int_equal(b.role, i % 3);
		assert_int_equal(b.life, 1);
		assert_true(b.delta[0] != 0 && b.delta[1] != 0);
		ec_pool_seal(&p, &b, BLOCK);
		ec_pool_fold(&p);
	}
	assert_int_equal(
		ec_pool_take(&p, 3, BLOCK_RECORDS, true, &(struct ec_block){0}),
		-ENOSPC);
	ec_pool_check(&p);
}

static void a_role_given_back_is_given_again_first(void **state)
{
	struct ec_block b[4], c;

	for (unsigned i = 0; i < 4; i++)
		b[i] = take(3, BLOCK_PAGES);
	assert_int_equal(b[3].stripe, 5);
	ec_pool_fill(&p, &b[1], 0, 5000, 1);
	ec_pool_seal(&p, &b[1], 0);
	ec_pool_fold(&p);
	ec_pool_check(&p);
	c = take(3, BLOCK_PAGES);
	assert_int_equal(c.stripe, 0);
	assert_int_equal(c.role, 1);
	assert_int_equal(c.life, 2);
}

/* Cancelled may mean that another member has refused it. */
static void a_role_cancelled_is_given_again_last(void **state)
{
	struct ec_block b = take(3, BLOCK_PAGES);

	ec_pool_cancel(&p, &b);
	ec_pool_fold(&p);
	for (unsigned i = 0; i < 9; i++) {
		b = take(3, BLOCK_PAGES);
		assert_true((b.stripe == 0 && b.role == 0) == (i == 8));
		ec_pool_seal(&p, &b, BLOCK);
		ec_pool_fold(&p);
	}
	assert_int_equal(b.life, 2);
}

static void a_row_cancelled_is_given_again_last(void **state)
{
	static const uint64_t stripes[] = {5, 0, 10};
	struct ec_block b = take(3, BLOCK_ROWS);

	assert_int_equal(b.stripe, 10);
	ec_pool_cancel(&p, &b);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(take(3, BLOCK_ROWS).stripe, stripes[i]);
}

static void nodes_to_avoid_come_last(void **state)
{
	struct alloc_grant g;
	struct ec_block b;

	assert_int_equal(alloc_block(p.a[3], BLOCK_PAGES, EC_POOL_OWNER, 1, 10,
				     false, 0x1, 1, &g),
			 0);
	assert_int_equal(g.role, 1); /* role 0 of stripe 0 is on node 0 */
	assert_int_equal(ec_pool_open_others(&p, &g, 3, BLOCK_PAGES, &b), 0);
	assert_int_equal(alloc_block(p.a[3], BLOCK_PAGES, EC_POOL_OWNER, 1, 10,
				     false, 0x3, 1, &g),
			 0);
	assert_int_equal(g.stripe, 0);
	assert_int_equal(g.role, 2);
	assert_int_equal(ec_pool_open_others(&p, &g, 3, BLOCK_PAGES, &b), 0);
	/* begun, but to be avoided: a new stripe elsewhere, if there is one */
	assert_int_equal(alloc_block(p.a[3], BLOCK_PAGES, EC_POOL_OWNER, 1, 10,
				     false, 0x1, 1, &g),
			 0);
	assert_int_equal(g.stripe, 5);
	assert_int_equal(g.role, 1);
	assert_int_equal(ec_pool_open_others(&p, &g, 3, BLOCK_PAGES, &b), 0);
	/* no other node at all */
	assert_int_equal(alloc_block(p.a[3], BLOCK_PAGES, EC_POOL_OWNER, 1, 10,
				     false, 0x7, 1, &g),
			 0);
	assert_int_equal(g.stripe, 0);
	assert_int_equal(g.role, 0);
}

static void a_role_whose_node_is_down_is_not_given(void **state)
{
	ec_pool_set_up(&p, p.up & ~(1u << 1));
	for (unsigned i = 0; i < 4; i++) {
		struct ec_block b = take(3, BLOCK_PAGES);

		assert_int_equal(b.stripe, i / 2 * 5);
		assert_int_equal(b.role, i % 2 * 2);
	}
	assert_int_equal(usage_of(3).data_free, 6 - 4);
	assert_int_equal(usage_of(3).data_total, 6);
}

static void rows_take_whole_stripes_from_the_highest(void **state)
{
	struct ec_block one = take(3, BLOCK_PAGES), row;

	assert_int_equal(one.stripe, 0);
	row = take(3, BLOCK_ROWS);
	assert_int_equal(row.stripe, 10);
	for (uint32_t r = 0; r < 3; r++) {
		assert_int_equal(ec_pool_rec(&p, r, 10, r).state, BLOCK_OPEN);
		assert_int_equal(ec_pool_rec(&p, 4, 10, r).state, BLOCK_OPEN);
		assert_int_equal(ec_pool_rec(&p, 4, 10, r).delta, 0);
	}
	row = take(3, BLOCK_ROWS);
	assert_int_equal(row.stripe, 5);
	/* stripe 0 has two free roles, but is begun */
	assert_int_equal(ec_pool_take(&p, 3, BLOCK_ROWS, true, &row), -ENOSPC);
	ec_pool_check(&p);
}

static void rows_need_every_member(void **state)
{
	struct ec_block row;

	ec_pool_set_up(&p, p.up & ~(1u << 4)); /* a parity of stripe 0 */
	assert_int_equal(ec_pool_take(&p, 3, BLOCK_ROWS, true, &row), -ENOSPC);
	assert_int_equal(ec_pool_take(&p, 3, BLOCK_PAGES, true, &row), 0);
	assert_int_equal(row.delta[1], 0);
}

/* A row's lives agree, though its roles were opened one by one before. */
static void a_row_after_single_blocks_has_one_life(void **state)
{
	struct ec_block b, row;

	for (unsigned i = 0; i < 3; i++) {
		b = take(3, BLOCK_PAGES);
		ec_pool_seal(&p, &b, 0);
		ec_pool_fold(&p);
	}
	for (unsigned i = 0; i < 3; i++)
		row = take(3, BLOCK_ROWS);
	assert_int_equal(row.stripe, 0);
	assert_int_equal(row.life, 4);
	ec_pool_fill(&p, &row, 0, BLOCK, 9);
	ec_pool_seal(&p, &row, BLOCK);
	for (uint32_t r = 0; r < 3; r++)
		assert_int_equal(ec_pool_rec(&p, r, 0, r).life, 4);
}

/* --- limits --------------------------------------------------------------- */

static void the_reserve_is_for_the_urgent(void **state)
{
	struct ec_block b;

	ec_pool_close(&p);
	ec_pool_open(&p, 5, 3, 2, BLOCK, 1, 12, 2);
	take(3, BLOCK_PAGES);
	assert_int_equal(ec_pool_take(&p, 3, BLOCK_PAGES, false, &b), -ENOSPC);
	assert_int_equal(ec_pool_take(&p, 3, BLOCK_PAGES, true, &b), 0);
	assert_int_equal(ec_pool_take(&p, 3, BLOCK_PAGES, true, &b), 0);
	assert_int_equal(ec_pool_take(&p, 3, BLOCK_PAGES, true, &b), -ENOSPC);
}

/* Back-pressure: sealed deltas must be folded and cleared before more is given;
 * some stay for retiring. */
static void no_delta_block_means_ask_again(void **state)
{
	struct ec_block b[8], c;
	unsigned n = 0;

	ec_pool_close(&p);
	ec_pool_open(&p, 5, 3, 2, BLOCK, 3, 8, 0);
	while (ec_pool_take(&p, 3, BLOCK_PAGES, false, &b[n]) == 0)
		n++;
	assert_int_equal(n, 6);
	assert_int_equal(ec_pool_take(&p, 3, BLOCK_PAGES, true, &c), -EAGAIN);
	assert_int_equal(usage_of(3).delta_used, 6);
	ec_pool_fill(&p, &b[0], 0, BLOCK, 3);
	ec_pool_seal(&p, &b[0], BLOCK);
	assert_int_equal(usage_of(3).fold_backlog, 1);
	assert_int_equal(ec_pool_take(&p, 3, BLOCK_PAGES, true, &c), -EAGAIN);
	ec_pool_fold(&p);
	assert_int_equal(usage_of(3).fold_backlog, 0);
	assert_int_equal(usage_of(3).folds, 1);
	c = take(3, BLOCK_PAGES);
	ec_pool_check(&p); /* its delta is zero, as the new block is */
}

/* --- opening on the other members ----------------------------------------- */

static void opening_again_is_fine_for_the_same_only(void **state)
{
	struct ec_block b = take(3, BLOCK_PAGES);
	uint32_t delta = 99;

#define OPEN(node, stripe, role, kind, owner, life)                            \
	alloc_open_block(p.a[node], stripe, role, kind, owner, 1, 10, life,    \
			 &delta)
	assert_int_equal(OPEN(4, 0, 0, BLOCK_PAGES, EC_POOL_OWNER, 1), 0);
	assert_int_equal(delta, b.delta[1]);
	assert_int_equal(OPEN(0, 0, 0, BLOCK_PAGES, EC_POOL_OWNER, 1), 0);
	assert_int_equal(delta, 0);
	assert_int_equal(OPEN(4, 0, 0, BLOCK_PAGES, 8, 1), -EBUSY);
	assert_int_equal(OPEN(4, 0, 0, BLOCK_PAGES, EC_POOL_OWNER, 2), -EBUSY);
	assert_int_equal(OPEN(4, 0, 0, BLOCK_ROWS, EC_POOL_OWNER, 1), -EBUSY);
	/* not a member; another data node; no such stripe, kind, owner, life */
	assert_int_equal(OPEN(1, 0, 0, BLOCK_PAGES, EC_POOL_OWNER, 1), -EINVAL);
	assert_int_equal(OPEN(4, 99, 0, BLOCK_PAGES, 7, 1), -EINVAL);
	assert_int_equal(OPEN(4, 0, 3, BLOCK_PAGES, 7, 1), -EINVAL);
	assert_int_equal(OPEN(4, 0, 1, 0, 7, 1), -EINVAL);
	assert_int_equal(OPEN(4, 0, 1, BLOCK_PAGES, 0, 1), -EINVAL);
	assert_int_equal(OPEN(4, 0, 1, BLOCK_PAGES, 7, 0), -EINVAL);
	/* a life that was: from a leader that does not know of it */
	ec_pool_cancel(&p, &b);
	assert_int_equal(OPEN(4, 0, 0, BLOCK_PAGES, EC_POOL_OWNER, 1), -EBUSY);
#undef OPEN
}

/* --- the end -------------------------------------------------------------- */

static void seal_checks_who_and_may_be_repeated(void **state)
{
	struct ec_block b = take(3, BLOCK_PAGES);

#define SEAL(owner, life, used)                                                \
	alloc_seal(p.a[3], 0, 0, owner, life, used, 20, false)
	assert_int_equal(SEAL(8, 1, 100), -EINVAL);
	assert_int_equal(SEAL(EC_POOL_OWNER, 2, 100), -EINVAL);
	assert_int_equal(SEAL(EC_POOL_OWNER, 1, BLOCK + 1), -EINVAL);
	ec_pool_fill(&p, &b, 0, 100, 1);
	ec_pool_seal(&p, &b, 100);
	assert_int_equal(SEAL(EC_POOL_OWNER, 1, 100), 0);
	assert_int_equal(ec_pool_rec(&p, 3, 0, 0).used, 100);
	assert_int_equal(ec_pool_rec(&p, 3, 0, 0).sealed, 20);
	assert_int_equal(ec_pool_rec(&p, 3, 0, 0).owner, EC_POOL_OWNER);
	assert_int_equal(alloc_cancel(p.a[3], 0, 0, EC_POOL_OWNER, 1), -EINVAL);
	ec_pool_fold(&p);
	assert_int_equal(SEAL(EC_POOL_OWNER, 1, 100), 0);
#undef SEAL
	assert_int_equal(ec_pool_rec(&p, 3, 0, 0).state, BLOCK_FOLDED);
	assert_int_equal(ec_pool_rec(&p, 0, 0, 0).state, BLOCK_SEALED);
	ec_pool_check(&p);
}

static void sealed_empty_is_free_at_once(void **state)
{
	struct ec_block b = take(3, BLOCK_RECORDS), row = take(3, BLOCK_ROWS);

	ec_pool_fill(&p, &b, 0, 4096, 1); /* written, and given up */
	ec_pool_fill(&p, &row, 0, 4096, 2);
	ec_pool_seal(&p, &b, 0);
	ec_pool_seal(&p, &row, 0);
	ec_pool_fold(&p);
	ec_pool_check(&p);
	for (uint32_t i = 0; i < 5; i++) {
		assert_int_equal(usage_of(i).own_blocks, 0);
		assert_int_equal(usage_of(i).delta_used, 0);
		assert_int_equal(usage_of(i).folds, 0);
	}
	assert_int_equal(alloc_seal(p.a[3], b.stripe, b.role, EC_POOL_OWNER,
				    b.life, 0, 20, false),
			 0);
}

static void marks_count_each_unit_once(void **state)
{
	struct ec_block b = take(3, BLOCK_PAGES);

#define MARK(node, life, at, len) alloc_mark(p.a[node], 0, 0, life, at, len)
	assert_int_equal(MARK(3, 1, 60, 100), 0);
	assert_int_equal(MARK(3, 1, 0, 61), 0);
	assert_int_equal(MARK(3, 1, 127, 2), 0);
	assert_int_equal(ec_pool_rec(&p, 3, 0, 0).dead, 160);
	assert_int_equal(MARK(0, 0, 0, UNITS), 0); /* life unknown */
	assert_int_equal(ec_pool_rec(&p, 0, 0, 0).dead, UNITS);
	assert_int_equal(usage_of(0).dead_bytes, BLOCK);
	assert_int_equal(MARK(3, 2, 0, 1), -ESTALE);
	assert_int_equal(MARK(3, 1, UNITS, 1), -EINVAL);
	assert_int_equal(MARK(3, 1, 1, UNITS), -EINVAL);
	assert_int_equal(MARK(3, 1, UNITS, 0), 0);
	assert_int_equal(MARK(1, 1, 0, 1), -EINVAL); /* not kept there */
	ec_pool_seal(&p, &b, 0);
	assert_int_equal(MARK(3, 1, 0, 1), -ESTALE);
	assert_int_equal(usage_of(0).dead_bytes, 0);
#undef MARK
	b = take(3, BLOCK_PAGES); /* of a new life nothing is dead */
	assert_int_equal(alloc_mark(p.a[3], 0, 0, 2, 60, 100), 0);
	assert_int_equal(ec_pool_rec(&p, 3, 0, 0).dead, 100);
}

static void marks_of_one_block_change_its_record_once(void **state)
{
	struct ec_block b = take(3, BLOCK_PAGES);
	struct alloc_run run[] = {{0, 10}, {60, 10}, {5, 6}, {UNITS - 1, 1}};
	uint64_t seq = ec_pool_rec(&p, 3, 0, 0).seq;

#define RUNS(life, n) alloc_mark_runs(p.a[3], b.stripe, b.role, life, run, n)
	assert_int_equal(RUNS(b.life, 4), 0);
	assert_int_equal(ec_pool_rec(&p, 3, 0, 0).dead, 22);
	assert_int_equal(ec_pool_rec(&p, 3, 0, 0).seq, seq + 2);
	assert_int_equal(RUNS(b.life, 4), 0);
	assert_int_equal(ec_pool_rec(&p, 3, 0, 0).seq, seq + 2);
	assert_int_equal(RUNS(b.life + 1, 2), -ESTALE);
	run[0] = (struct alloc_run){30, 1};
	run[2].len = UNITS;
	assert_int_equal(RUNS(b.life, 4), -EINVAL); /* none of them */
	assert_int_equal(ec_pool_rec(&p, 3, 0, 0).dead, 22);
	assert_int_equal(RUNS(b.life, 2), 0);
	assert_int_equal(ec_pool_rec(&p, 3, 0, 0).dead, 23);
#undef RUNS
}

static void collect(void *arg, uint64_t stripe, uint32_t role,
		    const struct block_rec *rec)
{
	unsigned *n = arg;

	assert_int_equal(rec->owner, EC_POOL_OWNER);
	assert_int_equal(rec->state, BLOCK_OPEN);
	assert_true(stripe == 0 || stripe == 10);
	(*n)++;
}

static void open_blocks_are_found_by_owner(void **state)
{
	struct ec_block b = take(3, BLOCK_PAGES);
	unsigned n = 0;

	take(3, BLOCK_PAGES);
	take(3, BLOCK_ROWS);
	alloc_owned(p.a[3], EC_POOL_OWNER, collect, &n);
	assert_int_equal(n, 2 + 3);
	n = 0;
	ec_pool_seal(&p, &b, BLOCK);
	alloc_owned(p.a[3], EC_POOL_OWNER, collect, &n);
	assert_int_equal(n, 1 + 3);
	n = 0;
	alloc_owned(p.a[0], EC_POOL_OWNER, collect, &n);
	assert_int_equal(n, 1); /* its role of the row */
	alloc_owned(p.a[0], 99, collect, &n);
	assert_int_equal(n, 1);
}

/* --- retiring ------------------------------------------------------------- */

static void kill_block(const struct ec_block *b, uint32_t used)
{
	for (uint32_t r = b->kind == BLOCK_ROWS ? 0 : b->role;
	     r < (b->kind == BLOCK_ROWS ? 3 : b->role + 1); r++)
		ec_pool_mark(&p, b, r, 0,
			     (used + GROUP_UNIT_BYTES - 1) / GROUP_UNIT_BYTES);
}

static void a_wholly_obsolete_block_goes_back_to_zero(void **state)
{
	struct ec_block a = take(3, BLOCK_PAGES), b = take(3, BLOCK_RECORDS);
	struct ec_block c = take(3, BLOCK_RECORDS);
	uint8_t kind;
	uint32_t role, life;
	uint64_t stripe;

	ec_pool_fill(&p, &a, 0, BLOCK, 1);
	ec_pool_fill(&p, &b, 0, 10000, 2);
	ec_pool_seal(&p, &a, BLOCK);
	ec_pool_seal(&p, &b, 10000);
	ec_pool_seal(&p, &c, 10000);
	ec_pool_fold(&p);
	ec_pool_mark(&p, &b, 1, 1, 156);  /* all but the first unit */
	ec_pool_mark(&p, &b, 1, 500, 24); /* past the end: does not count */
	ec_pool_mark(&p, &c, 2, 0, 156);  /* all but the last */
	ec_pool_mark(&p, &c, 2, 500, 24);
	assert_int_equal(fold_victim(p.a[3], &stripe, &role, &kind, &life),
			 -ENOENT);
	kill_block(&b, 10000);
	assert_int_equal(fold_victim(p.a[4], &stripe, &role, &kind, &life),
			 -ENOENT); /* not its leader */
	assert_int_equal(fold_victim(p.a[3], &stripe, &role, &kind, &life), 0);
	assert_int_equal(role, 1);
	assert_int_equal(kind, BLOCK_RECORDS);
	assert_int_equal(fold_free(p.a[3], 0, 1, 1), -EAGAIN);
	assert_int_equal(fold_free(p.a[3], 0, 1, 2), -ESTALE);
	assert_int_equal(fold_retire(p.a[3], 0, 1, 2, false), -ESTALE);
	assert_false(fold_retired(p.a[3], 0, 1, 1));
	assert_int_equal(ec_pool_retire(&p), 1);
	ec_pool_check(&p);
	assert_int_equal(ec_pool_rec(&p, 3, 0, 1).state, BLOCK_FREE);
	assert_int_equal(ec_pool_rec(&p, 3, 0, 0).state, BLOCK_FOLDED);
	assert_int_equal(fold_free(p.a[3], 0, 1, 1), 0); /* asked again */
	assert_true(fold_retired(p.a[3], 0, 1, 1));
	kill_block(&a, BLOCK);
	kill_block(&c, 10000);
	assert_int_equal(ec_pool_retire(&p), 2);
	ec_pool_fold(&p);
	ec_pool_check(&p); /* the parity is zero now */
	for (uint32_t i = 0; i < 5; i++) {
		assert_int_equal(usage_of(i).own_blocks, 0);
		assert_int_equal(usage_of(i).delta_used, 0);
	}
	assert_int_equal(usage_of(3).retires, 3);
}

static void obsolete_before_it_was_folded_costs_no_fold(void **state)
{
	struct ec_block b = take(3, BLOCK_PAGES);

	ec_pool_fill(&p, &b, 0, BLOCK, 1);
	ec_pool_seal(&p, &b, BLOCK);
	kill_block(&b, BLOCK);
	assert_int_equal(ec_pool_retire(&p), 1);
	ec_pool_fold(&p);
	ec_pool_check(&p);
	assert_int_equal(usage_of(3).folds, 0);
	assert_int_equal(usage_of(3).own_blocks, 0);
}

static void a_row_leaves_when_all_its_roles_are_obsolete(void **state)
{
	struct ec_block row = take(3, BLOCK_ROWS);

	ec_pool_fill(&p, &row, 0, BLOCK, 1);
	ec_pool_seal(&p, &row, BLOCK);
	ec_pool_mark(&p, &row, 0, 0, UNITS);
	ec_pool_mark(&p, &row, 2, 0, UNITS);
	assert_int_equal(ec_pool_retire(&p), 0);
	ec_pool_mark(&p, &row, 1, 0, UNITS);
	assert_int_equal(ec_pool_retire(&p), 1);
	ec_pool_check(&p);
	for (uint32_t i = 0; i < 5; i++)
		assert_int_equal(usage_of(i).own_blocks, 0);
}

static void a_block_on_a_node_that_is_down_is_kept(void **state)
{
	struct ec_block b = take(3, BLOCK_PAGES);
	uint64_t all = p.up;

	ec_pool_fill(&p, &b, 0, BLOCK, 1);
	ec_pool_seal(&p, &b, BLOCK);
	ec_pool_fold(&p);
	kill_block(&b, BLOCK);
	ec_pool_set_up(&p, all & ~1u);
	assert_int_equal(ec_pool_retire(&p), 0);
	ec_pool_set_up(&p, all);
	assert_int_equal(ec_pool_retire(&p), 1);
	ec_pool_check(&p);
}

/* The first leader dies half-way; the second parity leads and goes on. */
static void a_new_leader_goes_on_where_the_old_one_was(void **state)
{
	struct ec_block b = take(3, BLOCK_PAGES), c;

	ec_pool_fill(&p, &b, 0, BLOCK, 1);
	ec_pool_seal(&p, &b, BLOCK);
	ec_pool_fold(&p);
	kill_block(&b, BLOCK);
	assert_int_equal(fold_retire(p.a[3], 0, 0, 1, false), 0);
	assert_int_equal(fold_retire(p.a[4], 0, 0, 1, false), 0);
	ec_pool_fold(&p);
	assert_int_equal(usage_of(4).delta_used, 1); /* the copy */
	ec_pool_set_up(&p, p.up & ~(1u << 3));
	assert_int_equal(
		usage_of(4).data_total,
		18 - 3); /* leads both rows; three of node 3 are free */
	assert_int_equal(usage_of(4).folded_blocks, 1);
	c = take(4, BLOCK_PAGES); /* it knows which roles are taken */
	assert_int_equal(c.stripe, 0);
	assert_int_equal(c.role, 1);
	assert_int_equal(ec_pool_retire(&p), 1);
	ec_pool_fold(&p);
	ec_pool_check(&p);
	assert_int_equal(usage_of(4).delta_used, 1); /* c's */
	c = take(4, BLOCK_PAGES);
	assert_int_equal(c.role, 0);
	assert_int_equal(c.life, 2);
}

/* --- from the records alone ----------------------------------------------- */

static struct alloc *reopen(uint32_t node, int want)
{
	struct alloc_opts o = {.group = &p.g,
			       .code = p.c,
			       .node = node,
			       .region = p.region[node],
			       .region_fd = -1};
	struct alloc *a = NULL;

	assert_int_equal(alloc_open(&o, &a), want);
	return a;
}

static void all_is_known_again_from_the_records(void **state)
{
	struct ec_block b[5];
	struct alloc_usage was, is;

	for (unsigned i = 0; i < 5; i++) {
		b[i] = take(3, i == 4 ? BLOCK_ROWS : BLOCK_PAGES);
		ec_pool_fill(&p, &b[i], 0, BLOCK, i);
		if (i == 1 || i == 2)
			ec_pool_seal(&p, &b[i], BLOCK);
		if (i == 1)
			ec_pool_fold(&p);
	}
	kill_block(&b[1], BLOCK);
	for (uint32_t i = 0; i < 5; i++) {
		was = usage_of(i);
		alloc_close(p.a[i]);
		p.a[i] = reopen(i, 0);
		/* deltas not in use may be dirty: cleared before use */
		while (fold_due(p.a[i], 0) == 0 && usage_of(i).delta_used > 3)
			fold_work(p.a[i], &p.fab, 1 << 20);
		is = usage_of(i);
		was.folds = is.folds;
		was.delta_used = is.delta_used;
		was.fold_backlog = is.fold_backlog;
		was.folded_blocks += was.sealed_blocks;
		is.folded_blocks += is.sealed_blocks;
		was.sealed_blocks = is.sealed_blocks;
		assert_memory_equal(&was, &is, sizeof(was));
	}
	ec_pool_fold(&p);
	ec_pool_check(&p);
	assert_int_equal(ec_pool_retire(&p), 1);
	ec_pool_check(&p);
}

static void memory_of_a_change_cut_short_is_refused(void **state)
{
	struct block_rec *rec =
		(void *)(p.region[3] + group_rec_off(&p.g, 3, 0));
	struct block_rec in = {.state = BLOCK_FOLDING,
			       .kind = BLOCK_PAGES,
			       .delta = 1,
			       .used = BLOCK,
			       .busy = 1};

	block_publish(rec, &in);
	assert_null(reopen(3, -EUCLEAN));
	in.busy = 0;
	block_publish(rec, &in);
	alloc_close(reopen(3, 0));
	rec->seq++;
	assert_null(reopen(3, -EUCLEAN));
	rec->seq++;
	in.delta = 13;
	block_publish(rec, &in);
	assert_null(reopen(3, -EBADMSG));
}

#define T(name) cmocka_unit_test_setup_teardown(name, five_nodes, close_pool)

/* --- memory of free blocks ------------------------------------------------ */

static unsigned cool_all(void)
{
	unsigned n = 0;

	for (uint32_t node = 0; node < 5; node++)
		while (alloc_cool(p.a[node]))
			n++;
	return n;
}

static void make_and_free(uint8_t kind)
{
	struct ec_block b = take(3, kind);

	ec_pool_fill(&p, &b, 0, BLOCK, 1);
	ec_pool_seal(&p, &b, BLOCK);
	ec_pool_fold(&p);
	for (uint32_t r = 0; r < 3; r++)
		if (kind == BLOCK_ROWS || r == b.role)
			ec_pool_mark(&p, &b, r, 0, UNITS);
	assert_true(ec_pool_retire(&p) > 0);
}

/* Blocks freed lately keep their memory, and lose it when told to; those that
 * were opened again meanwhile keep their bytes. */
static void memory_of_free_blocks_is_given_back(void **state)
{
	static const uint8_t kinds[] = {BLOCK_RECORDS, BLOCK_ROWS};

	for (unsigned i = 0; i < 2; i++) {
		struct ec_block b;

		make_and_free(kinds[i]);
		assert_true(cool_all() >= 1);
		assert_int_equal(cool_all(), 0);
		ec_pool_check(&p);

		make_and_free(kinds[i]);
		b = take(3, kinds[i]);
		ec_pool_fill(&p, &b, 0, BLOCK, 2);
		ec_pool_seal(&p, &b, BLOCK);
		ec_pool_fold(&p);
		cool_all();
		ec_pool_check(&p);
	}
}

/* A leader died that had given life 1 to client 9, of which only the data node
 * heard; the next one gives it again, and that asker dies as well. */
static void what_two_leaders_gave_away_is_free_again(void **state)
{
	struct alloc_grant grant;
	uint32_t delta;
	uint8_t kind;

	assert_int_equal(alloc_open_block(p.a[0], 0, 0, BLOCK_RECORDS, 9, 1, 10,
					  1, &delta),
			 0);
	assert_int_equal(alloc_block(p.a[3], BLOCK_PAGES, EC_POOL_OWNER, 1, 10,
				     false, 0, 0, &grant),
			 0);
	assert_int_equal(grant.stripe, 0);
	assert_int_equal(grant.role, 0);
	assert_int_equal(grant.life, 1);
	assert_int_equal(alloc_orphan(p.a[0], 0, 0, 1, 20), 0);
	assert_int_equal(alloc_mark(p.a[0], 0, 0, 1, 0, UNITS), 0);
	assert_int_equal(alloc_orphan(p.a[3], 0, 0, 1, 20), 0);

	ec_pool_fold(&p);
	assert_int_equal(fold_victim(p.a[3], &grant.stripe, &grant.role, &kind,
				     &grant.life),
			 0);
	assert_int_equal(grant.stripe, 0);
	for (uint32_t i = 0; i < 2; i++) {
		assert_int_equal(fold_retire(p.a[3 * i], 0, 0, 1, false), 0);
		ec_pool_fold(&p);
		assert_true(fold_retired(p.a[3 * i], 0, 0, 1));
	}
	/* the other parity never knew: it says so, which is as good */
	assert_int_equal(fold_retire(p.a[4], 0, 0, 1, false), -ESTALE);
	assert_int_equal(fold_free(p.a[0], 0, 0, 1), 0);
	assert_int_equal(fold_free(p.a[3], 0, 0, 1), 0);
	ec_pool_fold(&p);
	for (uint32_t i = 0; i < 5; i++) {
		assert_int_equal(usage_of(i).own_blocks, 0);
		assert_int_equal(usage_of(i).delta_used, 0);
	}
	ec_pool_check(&p);
	take(3, BLOCK_PAGES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(what_two_leaders_gave_away_is_free_again),
		T(stripes_are_filled_from_the_lowest),
		T(a_role_given_back_is_given_again_first),
		T(a_role_cancelled_is_given_again_last),
		T(a_row_cancelled_is_given_again_last),
		T(nodes_to_avoid_come_last),
		T(a_role_whose_node_is_down_is_not_given),
		T(rows_take_whole_stripes_from_the_highest),
		T(rows_need_every_member),
		T(a_row_after_single_blocks_has_one_life),
		T(the_reserve_is_for_the_urgent),
		T(no_delta_block_means_ask_again),
		T(opening_again_is_fine_for_the_same_only),
		T(seal_checks_who_and_may_be_repeated),
		T(sealed_empty_is_free_at_once),
		T(marks_count_each_unit_once),
		T(marks_of_one_block_change_its_record_once),
		T(open_blocks_are_found_by_owner),
		T(a_wholly_obsolete_block_goes_back_to_zero),
		T(obsolete_before_it_was_folded_costs_no_fold),
		T(a_row_leaves_when_all_its_roles_are_obsolete),
		T(a_block_on_a_node_that_is_down_is_kept),
		T(a_new_leader_goes_on_where_the_old_one_was),
		T(all_is_known_again_from_the_records),
		T(memory_of_a_change_cut_short_is_refused),
		T(memory_of_free_blocks_is_given_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
