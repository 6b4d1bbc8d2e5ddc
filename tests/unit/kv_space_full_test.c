/* tests/unit/kv_space_full_test.c - a client's space when the pool is full,
 * when nodes fail and views change, and with many threads. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/lib/space_spots.h"

/* --- full ---------------------------------------------------------------- */

static const struct spool_shape small = {.usable = 2u << 20, .reserve = 2};

static uint32_t fill_pool(struct space_spot *s, uint32_t max)
{
	uint32_t n = 0;
	int rc;

	while ((rc = take(SPACE_COLD, UNITS, &s[n])) == 0) {
		settle(&s[n++]);
		background(false);
		assert_true(n < max);
	}
	assert_int_equal(rc, -ENOSPC);
	return n;
}

static void full_is_said_and_the_reserve_still_serves(void **state)
{
	static struct space_spot s[BLOCKS_MAX];
	struct space_spot u;
	uint32_t n, allocs;

	(void)state;
	spool_open(&pool, &small);
	n = fill_pool(s, BLOCKS_MAX);
	assert_true((uint64_t)n * 65536 >= 2u << 20);
	assert_int_equal(take(SPACE_PAGES, 64, &u), -ENOSPC);
	assert_int_equal(space_take(pool.kv.space, me(), SPACE_COLD, 2, true,
				    soon(), &u),
			 0);
	settle(&u);
	allocs = pool.calls[PROTO_ALLOC];
	for (int i = 0; i < 100; i++) { /* without asking all nodes first */
		assert_int_equal(space_take(pool.kv.space, me(), SPACE_HOT, 2,
					    true, soon(), &u),
				 0);
		settle(&u);
	}
	assert_int_equal(pool.calls[PROTO_ALLOC], allocs);
	assert_int_equal(take(SPACE_COLD, 2, &u), -ENOSPC); /* not for all */
	spool_close(&pool);
}

static void retire(struct space_pool *p)
{
	spool_retire(p);
}

static void space_comes_back(void **state)
{
	static struct space_spot s[BLOCKS_MAX];
	struct space_spot u;
	uint32_t n;

	(void)state;
	spool_open(&pool, &small);
	n = fill_pool(s, BLOCKS_MAX);
	for (uint32_t i = 0; i < n; i++)
		obsolete(&s[i], s[i].life);
	/* The taker sends the marks itself, and waits for the nodes. */
	pool.asleep = retire;
	assert_int_equal(take(SPACE_COLD, 5, &u), 0);
	settle(&u);
	spool_close(&pool);
}

static void other_lanes_blocks_serve_when_all_is_full(void **state)
{
	static struct space_spot s[BLOCKS_MAX];
	struct spool_shape two = small;
	struct space_spot mine, u;

	(void)state;
	two.lanes = 2;
	spool_open(&pool, &two);
	me()->lane = 1;
	assert_int_equal(take(SPACE_HOT, 8, &mine), 0);
	settle(&mine);
	me()->lane = 0;
	fill_pool(s, BLOCKS_MAX);
	assert_int_equal(take(SPACE_COLD, 8, &u), 0);
	settle(&u);
	assert_ptr_equal(u.block, mine.block);
	spool_close(&pool);
}

static void waits_while_deltas_are_folded(void **state)
{
	struct spool_shape few = {.usable = 16u << 20, .clients = 1};
	struct space_spot s;
	uint32_t deltas, n = 0;

	(void)state;
	spool_open(&pool, &few);
	deltas = pool.layout.group.deltas;
	pool.no_fold = true;
	for (;;) {
		int rc = space_take(pool.kv.space, me(), SPACE_COLD, UNITS,
				    false, atomic_load(&pool.now) + 50000000,
				    &s);

		background(false);
		if (rc != 0) {
			assert_int_equal(rc, -ETIMEDOUT);
			break;
		}
		settle(&s);
		assert_true(n++ <= deltas * 5);
	}
	pool.no_fold = false; /* from here on sleeping helps */
	assert_int_equal(take(SPACE_COLD, UNITS, &s), 0);
	settle(&s);
	spool_close(&pool);
}

/* --- nodes that fail ----------------------------------------------------- */

static int refused;

static int refuse_one_open(struct space_pool *p, const struct fab_op *op)
{
	(void)p;
	if (op->opcode != FAB_CALL || op->call != PROTO_OPEN || refused++ != 1)
		return 0;
	return -EBUSY;
}

static void an_open_that_failed_leaves_nothing(void **state)
{
	struct space_spot s;
	struct alloc_usage u;
	uint64_t open = 0;

	(void)state;
	spool_open(&pool, &plain);
	refused = 0;
	pool.before = refuse_one_open;
	assert_int_equal(take(SPACE_COLD, 5, &s), 0);
	settle(&s);
	assert_int_equal(pool.calls[PROTO_ALLOC], 2);
	assert_true(pool.calls[PROTO_CANCEL] >= 1);
	spool_fold(&pool); /* cleans what was given back */
	for (uint32_t i = 0; i < 5; i++) {
		alloc_usage(pool.a[i], &u);
		open += u.delta_used;
	}
	assert_int_equal(open, 2); /* of the block that was opened */
	spool_close(&pool);
}

static void a_newer_view_at_the_nodes_is_told(void **state)
{
	struct space_spot s;

	(void)state;
	spool_open(&pool, &plain);
	pool.view.epoch++;
	assert_int_equal(take(SPACE_COLD, 5, &s), -EAGAIN);
	spool_adopt(&pool);
	assert_int_equal(take(SPACE_COLD, 5, &s), 0);
	settle(&s);
	spool_close(&pool);
}

static void a_block_whose_data_node_died_is_sealed_at_the_rest(void **state)
{
	struct space_spot s, u;
	struct place p;

	(void)state;
	spool_open(&pool, &plain);
	pool.no_fold = true;
	assert_int_equal(take(SPACE_COLD, 100, &s), 0);
	write_spot(&s, -1, 0x5a);
	p = place_of(&s);
	spool_kill(&pool, s.copy[0].node);
	spool_adopt(&pool);
	assert_int_equal(take(SPACE_COLD, 100, &u), 0);
	assert_ptr_not_equal(u.block, s.block);
	assert_true(atomic_load(&pool.up) >> u.copy[0].node & 1);
	background(false);
	assert_state(&p, BLOCK_OPEN); /* @s is parked there */
	settle(&s);
	settle(&u);
	assert_int_equal(background(false), 1);
	assert_state(&p, BLOCK_SEALED);
	spool_close(&pool);
}

static void a_dead_parity_is_one_copy_less(void **state)
{
	struct space_spot s, u;

	(void)state;
	spool_open(&pool, &plain);
	assert_int_equal(take(SPACE_COLD, 100, &s), 0);
	settle(&s);
	spool_kill(&pool, s.copy[1].node);
	spool_adopt(&pool);
	assert_int_equal(take(SPACE_COLD, 100, &u), 0);
	assert_ptr_equal(u.block, s.block);
	assert_int_equal(u.copies, 2);
	assert_int_equal(u.copy[1].node, s.copy[2].node);
	settle(&u);
	spool_close(&pool);
}

static void a_stripe_elsewhere_is_chosen_where_there_is_one(void **state)
{
	struct spool_shape wide = {.nodes = 7};
	struct space_spot s, u;

	(void)state;
	spool_open(&pool, &wide);
	assert_int_equal(take(SPACE_COLD, 100, &s), 0);
	settle(&s);
	spool_kill(&pool, s.copy[1].node);
	spool_adopt(&pool);
	assert_int_equal(take(SPACE_COLD, 100, &u), 0);
	assert_ptr_not_equal(u.block, s.block);
	settle(&u);
	spool_close(&pool);
}

/* --- many threads -------------------------------------------------------- */

#define RACERS 4

/* Asserts are for the main thread: these count for it. */
static atomic_int not_taken, not_mine;

static void race_take(struct space_spot *s, uint32_t seed)
{
	int rc = space_take(pool.kv.space, me(), seed >> 20 & 1,
			    1 + (seed >> 24) % 20, false, UINT64_MAX, s);

	if (rc != 0) {
		atomic_store(&not_taken, rc);
		s->units = 0;
		return;
	}
	write_spot(s, -1, (int)(s->addr >> 6 & 0xff));
	settle(s);
}

static void race_give(const struct space_spot *s)
{
	uint8_t *at = spool_mem(&pool, s->addr);

	if (s->units == 0)
		return;
	for (uint32_t b = 0; b < s->units * 64; b += 64)
		if (at[b] != (s->addr >> 6 & 0xff))
			atomic_fetch_add(&not_mine, 1);
	obsolete(s, s->life);
}

static void *race(void *arg)
{
	uint32_t seed = (uint32_t)(uintptr_t)arg, n = 0;
	struct space_spot held[24];

	me()->lane = seed % 3; /* two share a lane */
	for (int i = 0; i < 20000; i++) {
		seed = seed * 1103515245 + 12345;
		if (n < 24 && (seed >> 16) % 2 == 0)
			race_take(&held[n++], seed);
		else if (n > 0)
			race_give(&held[--n]);
		if (i % 64 == 0)
			background(false);
	}
	return NULL;
}

static void threads_do_not_disturb_each_other(void **state)
{
	struct spool_shape many = {.lanes = 3, .usable = 32u << 20};
	pthread_t th[RACERS];

	(void)state;
	spool_open(&pool, &many);
	for (uintptr_t i = 0; i < RACERS; i++)
		pthread_create(&th[i], NULL, race, (void *)(i + 1));
	for (int i = 0; i < RACERS; i++)
		pthread_join(th[i], NULL);
	assert_int_equal(not_taken, 0);
	assert_int_equal(not_mine, 0);
	spool_close(&pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(full_is_said_and_the_reserve_still_serves),
		cmocka_unit_test(space_comes_back),
		cmocka_unit_test(other_lanes_blocks_serve_when_all_is_full),
		cmocka_unit_test(waits_while_deltas_are_folded),
		cmocka_unit_test(an_open_that_failed_leaves_nothing),
		cmocka_unit_test(a_newer_view_at_the_nodes_is_told),
		cmocka_unit_test(
			a_block_whose_data_node_died_is_sealed_at_the_rest),
		cmocka_unit_test(a_dead_parity_is_one_copy_less),
		cmocka_unit_test(
			a_stripe_elsewhere_is_chosen_where_there_is_one),
		cmocka_unit_test(threads_do_not_disturb_each_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
