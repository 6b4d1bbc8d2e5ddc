/* tests/unit/ec_again_test.c - blocks opened again (ec/again.h): step by step
 * with a death before each, and at random from seeds; D1, D2, S1 byte by byte,
 * and reads of every block, decoded where its node is away, all the while.
 *
 *	ec_again_test [FIRST_SEED [SEEDS]] */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ec/rebuild.h"
#include "tests/lib/ec_pool.h"
#include "tests/lib/effort.h"

#define BLOCK (64u << 10)
#define UNITS (BLOCK / GROUP_UNIT_BYTES)
#define WORDS (UNITS / 64)

static uint64_t first_seed = 1, seeds = 40;
static struct ec_pool p;
static uint64_t map[WORDS];

static void pool_open(void)
{
	ec_pool_open(&p, 5, 3, 2, BLOCK, 2, 12, 0);
}

/* What every living reader makes of every block, is what was written. */
static void read_all(void)
{
	static char got[BLOCK];

	for (uint64_t s = 0; s < group_stripes(&p.g); s++)
		for (uint32_t r = 0; r < p.g.k; r++) {
			const char *truth = ec_pool_truth(&p, s, r);

			/* It counts as away, too, if it is asked for. */
			if (truth == NULL ||
			    (__builtin_popcountll(p.up) == 3 &&
			     ec_pool_is_up(&p, ec_pool_node(&p, s, r))))
				continue;
			assert_int_equal(ec_pool_read(&p, s, r, 0, BLOCK, got),
					 0);
			assert_memory_equal(got, truth, BLOCK);
		}
}

static void check_all(void)
{
	ec_pool_check(&p);
	read_all();
}

/* --- one block, by hand --------------------------------------------------- */

/* Full, sealed, folded; half of it obsolete, in pieces. */
static struct ec_block half_dead(uint8_t kind)
{
	struct ec_block b;
	uint32_t leader = ec_pool_leader(&p, 0);

	assert_int_equal(ec_pool_take(&p, leader, kind, false, &b), 0);
	ec_pool_fill(&p, &b, 0, BLOCK, 99);
	ec_pool_seal(&p, &b, BLOCK);
	ec_pool_fold(&p);
	for (uint32_t u = 0; u < UNITS; u += 128)
		ec_pool_mark(&p, &b, b.role, u, 64);
	return b;
}

static void retire(struct ec_block *b)
{
	assert_int_not_equal(ec_pool_again_retire(&p, b), 0);
	check_all();
	ec_pool_fold(&p);
	assert_int_equal(ec_pool_again_retire(&p, b), 0);
}

static void make_ready(struct ec_block *b)
{
	retire(b);
	assert_int_equal(ec_pool_again_ready(&p, b, map), 0);
	ec_pool_again_zeroed(&p, b, map);
}

/* Somebody asks while there is no free block; the leader has this in stock. */
static int want(uint32_t leader, uint8_t kind, struct alloc_grant *g)
{
	return alloc_block(p.a[leader], kind, EC_POOL_OWNER, 1, 10, true, 0, 1,
			   g);
}

/* Take all free blocks of all leaders, so that space is short. */
static void use_up(void)
{
	struct ec_block b;

	for (uint32_t i = 0; i < 5; i++)
		while (ec_pool_take(&p, i, BLOCK_PAGES, true, &b) == 0) {
			ec_pool_fill(&p, &b, 0, 4096, i);
			ec_pool_seal(&p, &b, 4096);
			ec_pool_fold(&p);
		}
}

/* It is wanted. */
static struct ec_block open_wanted(struct ec_block *b, unsigned members)
{
	uint32_t leader = ec_pool_leader(&p, b->stripe);
	struct alloc_grant g;
	struct ec_block now;
	int rc;

	assert_int_equal(again_stock(p.a[leader], b->stripe, b->role, b->life),
			 0);
	assert_int_equal(want(leader, b->kind, &g), 0);
	assert_true(g.again);
	assert_int_equal(g.life, b->life + 1);
	rc = ec_pool_again_open(&p, &g, b->kind, members, &now);
	assert_true(rc == (members > p.g.m ? 0 : -EINTR));
	return now;
}

static struct ec_block open_again(struct ec_block *b, unsigned members)
{
	struct alloc_grant g;

	assert_int_equal(want(ec_pool_leader(&p, b->stripe), b->kind, &g),
			 -EAGAIN);
	return open_wanted(b, members);
}

static void its_free_units_are_written_again(void **state)
{
	struct ec_block b, now;

	pool_open();
	b = half_dead(BLOCK_PAGES);
	use_up();
	make_ready(&b);
	check_all();
	now = open_again(&b, 99);
	check_all();
	for (uint32_t u = 0; u < UNITS; u += 128)
		ec_pool_fill(&p, &now, u * 64, 4096, u);
	check_all();
	ec_pool_seal(&p, &now, BLOCK);
	check_all();
	ec_pool_fold(&p);
	check_all();
	assert_int_equal(ec_pool_rec(&p, 3, b.stripe, b.role).dead, 0);
	ec_pool_close(&p);
}

/* What was left of it is obsolete, too, by the time that it is READY: it is a
 * victim while it waits, and must be none once it is written again. */
static void wholly_obsolete_it_is_no_victim_any_more(void **state)
{
	struct ec_block b, now;
	struct alloc_grant g;
	uint64_t stripe;
	uint32_t role, life;
	uint8_t kind;

	pool_open();
	b = half_dead(BLOCK_PAGES);
	use_up();
	retire(&b);
	assert_int_equal(want(3, BLOCK_PAGES, &g), -EAGAIN);
	ec_pool_mark(&p, &b, b.role, 0, UNITS);
	assert_int_equal(ec_pool_again_ready(&p, &b, map), 0);
	ec_pool_again_zeroed(&p, &b, map);
	now = open_wanted(&b, 99);
	for (uint32_t i = 3; i < 5; i++)
		assert_int_equal(
			fold_victim(p.a[i], &stripe, &role, &kind, &life),
			-ENOENT);
	ec_pool_fill(&p, &now, 0, BLOCK, 7);
	ec_pool_seal(&p, &now, BLOCK);
	ec_pool_fold(&p);
	ec_pool_retire(&p);
	check_all();
	ec_pool_close(&p);
}

static void marks_hold_for_a_life(void **state)
{
	struct ec_block b, now;
	uint32_t leader = 3;

	pool_open();
	b = half_dead(BLOCK_PAGES);
	use_up();
	retire(&b);
	/* while it leaves: taken */
	assert_int_equal(alloc_mark(p.a[0], b.stripe, b.role, b.life, 64, 64),
			 0);
	assert_int_equal(ec_pool_again_ready(&p, &b, map), 0);
	ec_pool_again_zeroed(&p, &b, map);
	assert_true(map[1] == UINT64_MAX); /* though one member knew it only */
	/* READY: later */
	assert_int_equal(
		alloc_mark(p.a[leader], b.stripe, b.role, b.life, 192, 64),
		-EBUSY);
	/* of the life to come, as it has begun elsewhere: if those alone took
	 * it that are open, it would die with them */
	assert_int_equal(
		alloc_mark(p.a[leader], b.stripe, b.role, b.life + 1, 192, 64),
		-EBUSY);
	now = open_again(&b, 99);
	/* of the life before: refused, for who knows what lies there now */
	assert_int_equal(
		alloc_mark(p.a[leader], b.stripe, b.role, b.life, 0, 64),
		-ESTALE);
	ec_pool_mark(&p, &now, now.role, 192, 64);
	ec_pool_seal(&p, &now, BLOCK);
	ec_pool_fold(&p);
	check_all();
	assert_int_equal(ec_pool_rec(&p, 3, b.stripe, b.role).dead, 64);
	ec_pool_close(&p);
}

static void a_member_that_knows_more_is_heard(void **state)
{
	struct ec_block b;

	pool_open();
	b = half_dead(BLOCK_PAGES);
	retire(&b);
	memset(map, 0, sizeof(map));
	assert_int_equal(again_unite(p.a[3], b.stripe, b.role, b.life, map), 0);
	assert_int_equal(alloc_mark(p.a[4], b.stripe, b.role, b.life, 64, 1),
			 0);
	assert_int_equal(
		again_ready(p.a[4], b.stripe, b.role, b.life, map, true),
		-EBUSY);
	assert_int_equal(ec_pool_again_ready(&p, &b, map), 0);
	ec_pool_again_zeroed(&p, &b, map);
	check_all();
	ec_pool_close(&p);
}

/* At any step it may be given up; nothing is lost, and it can be had again. */
static void it_comes_to_rest(void **state)
{
	for (unsigned step = 0; step < 3; step++) {
		struct ec_block b;

		pool_open();
		b = half_dead(BLOCK_RECORDS);
		if (step == 0)
			ec_pool_again_retire(&p, &b);
		else if (step == 1)
			retire(&b);
		else
			make_ready(&b);
		assert_int_equal(ec_pool_again_resume(&p, &b, b.life), 0);
		check_all();
		ec_pool_fold(&p);
		check_all();
		assert_int_equal(ec_pool_rec(&p, 3, b.stripe, b.role).state,
				 BLOCK_FOLDED);
		make_ready(&b);
		check_all();
		ec_pool_close(&p);
	}
}

/* The opener dies after telling some members; the others follow. */
static void an_opener_dies(void **state)
{
	for (unsigned told = 0; told <= 3; told++) {
		struct ec_block b, now;
		struct again_job job;

		pool_open();
		b = half_dead(BLOCK_PAGES);
		use_up();
		make_ready(&b);
		now = open_again(&b, told);
		for (uint32_t i = 0; i < 5; i++) {
			alloc_orphan(p.a[i], now.stripe, now.role, now.life,
				     20);
			again_forsake(p.a[i], EC_POOL_OWNER);
		}
		if (told < 3) {
			assert_int_equal(again_stale(p.a[3], 1, 1000, &job), 0);
			assert_int_equal(job.life, now.life);
			assert_int_equal(
				ec_pool_again_resume(&p, &now, job.life), 0);
		}
		assert_int_equal(again_stale(p.a[3], 1, 1000, &job), -ENOENT);
		ec_pool_fold(&p);
		check_all();
		for (uint32_t i = 3; i < 5; i++)
			assert_int_equal(
				ec_pool_rec(&p, i, now.stripe, now.role).life,
				now.life);
		ec_pool_close(&p);
	}
}

/* A node dies before the @n-th operation that the fabric is asked for. */
static struct {
	uint32_t node;
	unsigned at;
} death;

static void die(struct ec_pool *pool, const struct fab_op *op)
{
	if (death.at != 0 && --death.at == 0)
		ec_pool_set_up(pool, pool->up & ~(UINT64_C(1) << death.node));
}

static void a_node_dies_meanwhile(void **state)
{
	unsigned bit = 0;

	for (uint32_t node = 0; node < 5; node++)
		for (unsigned n = 1; n < 4; n++) {
			struct ec_block b;
			int rc;

			pool_open();
			b = half_dead(BLOCK_PAGES);
			death.node = node;
			death.at = n;
			p.between = die;
			ec_pool_again_retire(&p, &b);
			ec_pool_fold(&p);
			bit += death.at == 0;
			p.between = NULL;
			if (death.at != 0)
				ec_pool_set_up(&p, p.up & ~(1u << node));
			read_all();
			rc = ec_pool_again_retire(&p, &b);
			if (rc == 0) {
				rc = ec_pool_again_ready(&p, &b, map);
				assert_int_equal(rc, 0);
				ec_pool_again_zeroed(&p, &b, map);
			}
			read_all();
			assert_int_equal(ec_pool_again_resume(&p, &b, b.life),
					 0);
			ec_pool_fold(&p);
			check_all();
			ec_pool_set_up(&p, p.up & ~(1u << (node + 1) % 5));
			check_all();
			ec_pool_close(&p);
		}
	assert_true(bit >= 8); /* the deaths did come in the middle */
}

/* A new leader finds members READY with more than it knows itself. */
static void a_leader_dies_between_two_that_are_ready(void **state)
{
	struct ec_block b;

	pool_open();
	b = half_dead(BLOCK_PAGES);
	retire(&b);
	assert_int_equal(alloc_mark(p.a[3], b.stripe, b.role, b.life, 64, 64),
			 0);
	memset(map, 0, sizeof(map));
	assert_int_equal(again_unite(p.a[3], b.stripe, b.role, b.life, map), 0);
	assert_int_equal(
		again_ready(p.a[0], b.stripe, b.role, b.life, map, true), 0);
	ec_pool_again_zeroed(&p, &b, map); /* the data node has done it */
	ec_pool_set_up(&p, p.up & ~(UINT64_C(1) << 3));
	assert_int_equal(ec_pool_again_ready(&p, &b, map), 0);
	assert_true(map[1] == UINT64_MAX);
	check_all();
	assert_int_equal(ec_pool_again_resume(&p, &b, b.life), 0);
	ec_pool_fold(&p);
	check_all();
	ec_pool_close(&p);
}

/* --- ROWS ----------------------------------------------------------------- */

static struct ec_block rows(void)
{
	struct ec_block b;

	assert_int_equal(ec_pool_take(&p, 3, BLOCK_ROWS, false, &b), 0);
	ec_pool_fill(&p, &b, 0, BLOCK, 5);
	ec_pool_seal(&p, &b, BLOCK);
	for (uint32_t u = 0; u < UNITS; u += 128)
		ec_pool_mark(&p, &b, 1, u, 64);
	return b;
}

static void rows_become_single_blocks(void **state)
{
	struct ec_block b, now;

	pool_open();
	b = rows();
	use_up();
	b.role = 1;
	b.kind = BLOCK_PAGES;
	make_ready(&b);
	check_all();
	now = open_again(&b, 99);
	ec_pool_fill(&p, &now, 0, 4096, 8);
	check_all();
	ec_pool_seal(&p, &now, BLOCK);
	ec_pool_fold(&p);
	check_all();
	/* each role goes by itself now */
	for (uint32_t r = 0; r < 3; r++) {
		now.role = r;
		now.life = ec_pool_rec(&p, 3, now.stripe, r).life;
		ec_pool_mark(&p, &now, r, 0, UNITS);
	}
	assert_int_equal(ec_pool_retire(&p), 3);
	check_all();
	ec_pool_close(&p);
}

static void torn_rows_stay_rows(void **state)
{
	struct ec_block b;

	pool_open();
	assert_int_equal(ec_pool_take(&p, 3, BLOCK_ROWS, false, &b), 0);
	ec_pool_fill(&p, &b, 0, BLOCK, 5);
	ec_pool_orphan(&p, &b);
	for (uint32_t i = 3; i < 5; i++)
		assert_int_equal(again_split(p.a[i], b.stripe, 1), -EUCLEAN);
	ec_pool_close(&p);
}

/* --- all parity nodes die ------------------------------------------------ */

static void bring_back(uint32_t node)
{
	struct rebuild_progress sum;
	struct rebuild *r;
	int rc, patience = 1000;

	assert_int_equal(rebuild_open(p.a[node], &p.fab, p.up, &r), 0);
	while ((rc = rebuild_work(r, BLOCK)) != 0)
		if (rc < 0 && patience-- == 0)
			fail_msg("node %u waits for ever: %d", node, rc);
	rebuild_progress(r, &sum);
	assert_true(sum.done);
	rebuild_close(r);
}

/* The parity nodes of stripe 0; in between they are all replaced. */
static void lose_parities(void)
{
	ec_pool_kill(&p, 3);
	ec_pool_kill(&p, 4);
	for (uint32_t i = 0; i < 3; i++)
		again_leaderless(p.a[i]);
	ec_pool_replace(&p, 3);
	ec_pool_replace(&p, 4);
	bring_back(3);
	bring_back(4);
	ec_pool_whole(&p, 3);
	ec_pool_whole(&p, 4);
	ec_pool_fold(&p);
	check_all();
}

/* Its leader is gone, and the next one waits for it to be at rest. */
static void without_leaders_it_comes_to_rest(void **state)
{
	struct ec_block b;

	pool_open();
	b = half_dead(BLOCK_PAGES);
	assert_int_equal(b.stripe, 0);
	make_ready(&b);
	again_leaderless(p.a[0]); /* there are leaders: nothing happens */
	assert_true(
		ec_pool_rec(&p, ec_pool_node(&p, 0, b.role), 0, b.role).flags &
		BLOCK_F_READY);
	lose_parities();
	assert_int_equal(
		ec_pool_rec(&p, ec_pool_node(&p, 0, b.role), 0, b.role).state,
		BLOCK_SEALED);
	assert_int_equal(ec_pool_rec(&p, 3, 0, b.role).dead, UNITS / 2);
	ec_pool_close(&p);
}

/* Only one data node has heard that these are rows no longer. What it holds is
 * no less in use for that. */
static void rows_half_split_stay_in_use(void **state)
{
	struct ec_block b;

	pool_open();
	b = rows();
	assert_int_equal(ec_pool_leader(&p, b.stripe), 3);
	for (uint32_t i = 3; i < 5; i++)
		assert_int_equal(again_split(p.a[i], b.stripe, 1), 0);
	assert_int_equal(again_split(p.a[1], b.stripe, 1), 0);
	lose_parities();
	for (uint32_t r = 0; r < 3; r++)
		assert_int_equal(ec_pool_rec(&p, 3, b.stripe, r).dead,
				 r == 1 ? UNITS / 2 : 0);
	ec_pool_close(&p);
}

/* --- at random ------------------------------------------------------------ */

enum { OLD, AWAY, READY, OPENED };

struct one {
	struct ec_block b;
	unsigned at;
};

static uint64_t dice_state;

static uint32_t dice(uint32_t n)
{
	return (uint32_t)(ec_pool_mix(dice_state++) % n);
}

static void mark_some(const struct ec_block *b)
{
	if (dice(8) == 0)
		ec_pool_mark(&p, b, b->role, 0, UNITS);
	for (uint32_t i = dice(4); i > 0; i--)
		ec_pool_mark(&p, b, b->role, 64 * dice(UNITS / 64), 64);
}

static void go_on(struct one *o)
{
	switch (o->at) {
	case OLD:
		mark_some(&o->b);
		ec_pool_again_retire(&p, &o->b);
		o->at = AWAY;
		break;
	case AWAY:
		mark_some(&o->b);
		if (dice(8) == 0 &&
		    ec_pool_again_resume(&p, &o->b, o->b.life) == 0) {
			o->at = OLD;
		} else if (ec_pool_again_retire(&p, &o->b) == 0 &&
			   ec_pool_again_ready(&p, &o->b, map) == 0) {
			ec_pool_again_zeroed(&p, &o->b, map);
			o->at = READY;
		}
		break;
	case READY:
		if (dice(3) == 0) {
			ec_pool_again_resume(&p, &o->b, o->b.life);
			o->at = OLD;
			break;
		}
		for (uint32_t r = 0; r < 5; r++) {
			uint32_t n = ec_pool_node(&p, o->b.stripe, r), d = 0;

			if ((r >= 3 || r == o->b.role) && ec_pool_is_up(&p, n))
				assert_int_equal(
					alloc_open_block(p.a[n], o->b.stripe,
							 o->b.role, o->b.kind,
							 EC_POOL_OWNER, 1, 10,
							 o->b.life + 1, &d),
					0);
			if (r >= 3)
				o->b.delta[r - 3] = d;
		}
		o->b.life++;
		o->at = OPENED;
		break;
	default:
		if (dice(3) != 0) {
			ec_pool_fill(&p, &o->b, 4096 * dice(16), 4096,
				     dice_state);
			break;
		}
		if (dice(4) == 0)
			ec_pool_orphan(&p, &o->b);
		else
			ec_pool_seal(&p, &o->b, BLOCK);
		o->at = OLD;
	}
}

static void random_play(uint64_t seed)
{
	struct one one[6];
	unsigned deaths = 0, n = 0;

	dice_state = seed * 1000003;
	pool_open();
	for (uint32_t i = 0; i < 6; i++) {
		one[n].b = half_dead(i % 2 ? BLOCK_PAGES : BLOCK_RECORDS);
		one[n++].at = OLD;
	}
	for (unsigned step = 0; step < 120; step++) {
		struct one *o = &one[dice(n)];
		uint32_t data = ec_pool_node(&p, o->b.stripe, o->b.role);
		uint32_t node = dice(5);

		/* the driver leaves those alone whose data node is away, or
		 * all that could lead them */
		if (ec_pool_is_up(&p, data) &&
		    ec_pool_leader(&p, o->b.stripe) != UINT32_MAX)
			go_on(o);
		if (ec_pool_is_up(&p, node))
			fold_work(p.a[node], &p.fab, 1 + dice(200000));
		if (deaths < 2 && dice(60) == 0 && ec_pool_is_up(&p, node)) {
			ec_pool_set_up(&p, p.up & ~(UINT64_C(1) << node));
			deaths++;
		}
		check_all();
	}
	ec_pool_close(&p);
}

static void any_order_of_things(void **state)
{
	for (uint64_t s = 0; s < effort(seeds); s++)
		random_play(first_seed + s);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(its_free_units_are_written_again),
		cmocka_unit_test(wholly_obsolete_it_is_no_victim_any_more),
		cmocka_unit_test(marks_hold_for_a_life),
		cmocka_unit_test(a_member_that_knows_more_is_heard),
		cmocka_unit_test(it_comes_to_rest),
		cmocka_unit_test(an_opener_dies),
		cmocka_unit_test(a_node_dies_meanwhile),
		cmocka_unit_test(a_leader_dies_between_two_that_are_ready),
		cmocka_unit_test(rows_become_single_blocks),
		cmocka_unit_test(torn_rows_stay_rows),
		cmocka_unit_test(without_leaders_it_comes_to_rest),
		cmocka_unit_test(rows_half_split_stay_in_use),
		cmocka_unit_test(any_order_of_things),
	};

	if (argc > 1)
		first_seed = strtoull(argv[1], NULL, 0);
	if (argc > 2)
		seeds = strtoull(argv[2], NULL, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
