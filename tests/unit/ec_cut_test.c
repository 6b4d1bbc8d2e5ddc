/* tests/unit/ec_cut_test.c - what a durable checkpoint needs stays: whole
 * blocks and single units. */
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
	(void)state;
	ec_pool_open(&p, 5, 3, 2, BLOCK, 3, 12, 0);
	return 0;
}

static int close_pool(void **state)
{
	(void)state;
	ec_pool_close(&p);
	return 0;
}

struct told {
	uint32_t used, dead;
};

static void tell(void *arg, uint32_t block, const struct block_rec *rec,
		 const void *map)
{
	struct told *t = arg;

	(void)block;
	assert_true((map == NULL) == (rec->state == BLOCK_FREE));
	t->used += rec->state != BLOCK_FREE;
	t->dead += rec->dead;
}

/* Returns how many data blocks are in use in it. */
static struct told cut(void)
{
	struct told t = {0};

	for (uint32_t n = 0; n < 5; n++)
		alloc_cut(p.a[n], tell, &t);
	return t;
}

static void durable(void)
{
	for (uint32_t n = 0; n < 5; n++)
		alloc_cut_durable(p.a[n]);
}

static struct ec_block filled(uint8_t kind)
{
	struct ec_block b;

	assert_int_equal(ec_pool_take(&p, 3, kind, false, &b), 0);
	ec_pool_fill(&p, &b, 0, BLOCK, 1);
	ec_pool_seal(&p, &b, BLOCK);
	ec_pool_fold(&p);
	return b;
}

static void mark_all(const struct ec_block *b)
{
	for (uint32_t r = b->kind == BLOCK_ROWS ? 0 : b->role;
	     r <= (b->kind == BLOCK_ROWS ? 2 : b->role); r++)
		ec_pool_mark(&p, b, r, 0, UNITS);
}

/* Dead after the cut: it goes when a later cut is durable, and not before. */
static void stays_until_a_later_cut_is_durable(uint8_t kind)
{
	struct ec_block b = filled(kind);

	assert_int_equal(cut().used, kind == BLOCK_ROWS ? 3 : 1);
	mark_all(&b);
	assert_int_equal(ec_pool_retire(&p), 0);
	assert_true(alloc_held(p.a[3]));
	durable();
	assert_int_equal(ec_pool_retire(&p), 0);
	assert_int_equal(cut().dead, kind == BLOCK_ROWS ? 3 * UNITS : UNITS);
	assert_int_equal(ec_pool_retire(&p), 0);
	durable();
	assert_int_equal(ec_pool_retire(&p), 1);
	assert_false(alloc_held(p.a[3]));
	ec_pool_check(&p);
}

static void a_block_stays(void **state)
{
	(void)state;
	stays_until_a_later_cut_is_durable(BLOCK_RECORDS);
}

static void rows_stay(void **state)
{
	(void)state;
	stays_until_a_later_cut_is_durable(BLOCK_ROWS);
}

static void what_is_younger_than_the_cut_goes_at_once(void **state)
{
	struct ec_block b;

	(void)state;
	cut();
	durable();
	b = filled(BLOCK_PAGES);
	mark_all(&b);
	assert_int_equal(ec_pool_retire(&p), 1);
}

/* The first was given up: what it needed is needed still. */
static void a_cut_that_came_to_nothing_is_not_forgotten(void **state)
{
	struct ec_block b = filled(BLOCK_PAGES);

	(void)state;
	cut();
	mark_all(&b);
	cut();
	assert_int_equal(ec_pool_retire(&p), 0);
	durable();
	assert_int_equal(ec_pool_retire(&p), 1);
}

static void nothing_goes_where_nothing_is_known(void **state)
{
	struct ec_block b = filled(BLOCK_PAGES);

	(void)state;
	for (uint32_t n = 0; n < 5; n++)
		alloc_cut_unknown(p.a[n]);
	mark_all(&b);
	assert_int_equal(ec_pool_retire(&p), 0);
	cut();
	durable();
	assert_int_equal(ec_pool_retire(&p), 1);
}

static int ask_again(uint32_t leader, struct alloc_grant *grant)
{
	return alloc_block(p.a[leader], BLOCK_PAGES, EC_POOL_OWNER, 1, 10, true,
			   0, 1, grant);
}

/* No block is free, and pages are wanted. */
static void again_want_pages(uint32_t leader)
{
	struct ec_block b;
	struct alloc_grant grant;

	for (uint32_t i = 0; i < 5; i++)
		while (ec_pool_take(&p, i, BLOCK_RECORDS, true, &b) == 0) {
			ec_pool_fill(&p, &b, 0, 4096, i);
			ec_pool_seal(&p, &b, 4096);
			ec_pool_fold(&p);
		}
	assert_int_not_equal(ask_again(leader, &grant), 0);
}

static uint32_t allowed(const struct ec_block *b)
{
	uint32_t n = 0;

	for (uint32_t u = 0; u < UNITS; u++) {
		uint64_t map[UNITS / 64] = {0};

		map[u / 64] = UINT64_C(1) << u % 64;
		n += alloc_cut_allows(p.a[3], b->stripe, b->role, map);
	}
	return n;
}

static void units_are_allowed_that_were_dead_at_the_cuts(void **state)
{
	struct ec_block b = filled(BLOCK_PAGES);

	(void)state;
	assert_int_equal(allowed(&b), UNITS);
	ec_pool_mark(&p, &b, b.role, 0, 64);
	cut();
	ec_pool_mark(&p, &b, b.role, 100, 50);
	assert_int_equal(allowed(&b), 64);
	durable();
	assert_int_equal(allowed(&b), 64);
	cut();
	assert_int_equal(allowed(&b), 64); /* the old one may be gone back to */
	durable();
	assert_int_equal(allowed(&b), 64 + 50);
}

/* A block with 128 obsolete units, from 64 on, waits for a cut: they are in
 * @map. */
static struct ec_block waits(uint64_t *map)
{
	struct ec_block b = filled(BLOCK_PAGES);

	cut();
	durable();
	ec_pool_mark(&p, &b, b.role, 64, 128);
	ec_pool_again_retire(&p, &b);
	ec_pool_fold(&p);
	assert_int_equal(ec_pool_again_retire(&p, &b), 0);
	assert_int_equal(ec_pool_again_wait(&p, &b, map), 0);
	ec_pool_check(&p); /* nothing is changed */
	again_want_pages(3);
	assert_int_equal(again_stock(p.a[3], b.stripe, b.role, b.life), 0);
	return b;
}

/* A6: a block of which a cut needs what is obsolete now is made ready twice. */
static void what_waits_for_a_cut_is_opened_again(void **state)
{
	uint64_t map[UNITS / 64];
	struct ec_block b = waits(map), now;
	struct alloc_grant grant;
	struct again_job job;

	(void)state;
	assert_int_equal(again_waited(p.a[3], &job), -ENOENT);
	assert_true(alloc_held(p.a[3]));
	cut();
	assert_int_equal(again_waited(p.a[3], &job), -ENOENT);
	durable();
	assert_int_equal(again_waited(p.a[3], &job), 0);
	assert_true(job.stripe == b.stripe && job.role == b.role);
	assert_int_equal(ec_pool_again_ready(&p, &b, map), 0);
	ec_pool_again_zeroed(&p, &b, map);
	assert_int_equal(again_stock(p.a[3], b.stripe, b.role, b.life), 0);
	assert_int_equal(ask_again(3, &grant), 0);
	assert_true(grant.again);
	assert_int_equal(ec_pool_again_open(&p, &grant, BLOCK_PAGES, 5, &now),
			 0);
	ec_pool_fill(&p, &now, 64 * GROUP_UNIT_BYTES, 128 * GROUP_UNIT_BYTES,
		     7);
	ec_pool_check(&p);
	/* One of which nobody knows whether it is durable needs them. */
	ec_pool_seal(&p, &now, BLOCK);
	ec_pool_fold(&p);
	cut();
	ec_pool_mark(&p, &now, now.role, 64, 128);
	cut();
	assert_int_equal(allowed(&now), 0);
	durable();
	assert_int_equal(allowed(&now), 128);
}

/* One that waits is brought to rest as it was, and none that is needed is ever
 * given to who asks. */
static void what_waits_is_not_granted(void **state)
{
	uint64_t map[UNITS / 64];
	struct ec_block b = waits(map);
	struct alloc_grant grant;
	struct again_job job;

	(void)state;
	assert_int_equal(ask_again(3, &grant), -EINPROGRESS);
	assert_int_equal(again_stale(p.a[3], 1, 100, &job), -ENOENT);
	assert_int_equal(again_stale(p.a[3], 201, 100, &job), -ENOENT);
	assert_int_equal(again_stale(p.a[3], 1001, 100, &job), 0);
	assert_int_equal(ec_pool_again_resume(&p, &b, b.life), 0);
	ec_pool_fold(&p);
	ec_pool_check(&p);
	assert_false(alloc_held(p.a[3]));
}

#define WITH_POOL(f) cmocka_unit_test_setup_teardown(f, five_nodes, close_pool)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_POOL(a_block_stays),
		WITH_POOL(rows_stay),
		WITH_POOL(what_is_younger_than_the_cut_goes_at_once),
		WITH_POOL(a_cut_that_came_to_nothing_is_not_forgotten),
		WITH_POOL(nothing_goes_where_nothing_is_known),
		WITH_POOL(units_are_allowed_that_were_dead_at_the_cuts),
		WITH_POOL(what_waits_for_a_cut_is_opened_again),
		WITH_POOL(what_waits_is_not_granted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
