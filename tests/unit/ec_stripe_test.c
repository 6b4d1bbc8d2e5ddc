/* tests/unit/ec_stripe_test.c - lost ranges come back, whatever the stripe's
 * blocks are about at that moment. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/ec_pool.h"

#define BLOCK (256u << 10) /* four windows of a fold */

static char got[BLOCK];

/* --- a stripe in a random condition --------------------------------------- */

struct scene {
	struct ec_pool p;
	struct ec_block b[CODE_DATA_MAX]; /* of the blocks taken, by role */
	bool open[CODE_DATA_MAX];
	uint64_t seed;
};

static uint64_t dice(struct scene *s, uint64_t n)
{
	return ec_pool_mix(s->seed++) % n;
}

static struct ec_block *block_of(struct scene *s, uint32_t role)
{
	return s->b[role].life != 0 ? &s->b[role] : NULL;
}

static void take_one(struct scene *s)
{
	struct ec_block b;

	if (ec_pool_take(&s->p, s->p.g.k % s->p.g.nodes, BLOCK_PAGES, true,
			 &b) != 0)
		return;
	assert_int_equal(b.stripe, 0);
	ec_pool_fill(&s->p, &b, 0, BLOCK - 4096 * (uint32_t)dice(s, 9),
		     dice(s, UINT64_MAX));
	s->b[b.role] = b;
	s->open[b.role] = true;
}

static void seal_one(struct scene *s, uint32_t role)
{
	if (block_of(s, role) == NULL || !s->open[role])
		return;
	ec_pool_seal(&s->p, block_of(s, role), BLOCK);
	s->open[role] = false;
}

static void retire_one(struct scene *s, uint32_t role)
{
	struct ec_block *b = block_of(s, role);

	if (b == NULL || s->open[role])
		return;
	ec_pool_mark(&s->p, b, role, 0, BLOCK / GROUP_UNIT_BYTES);
	for (uint32_t j = 0; j < s->p.g.m; j++)
		if (dice(s, 3) != 0) /* one parity may lag behind */
			fold_retire(
				s->p.a[ec_pool_node(&s->p, 0, s->p.g.k + j)], 0,
				role, b->life, false);
}

/* A little background work on one parity node. */
static void work_one(struct scene *s)
{
	uint32_t j = (uint32_t)dice(s, s->p.g.m);

	fold_work(s->p.a[ec_pool_node(&s->p, 0, s->p.g.k + j)], &s->p.fab, 1);
}

static void stir(struct scene *s, unsigned steps)
{
	while (steps-- > 0) {
		switch (dice(s, 8)) {
		case 0:
		case 1:
			take_one(s);
			break;
		case 2:
			seal_one(s, (uint32_t)dice(s, s->p.g.k));
			break;
		case 3:
			retire_one(s, (uint32_t)dice(s, s->p.g.k));
			break;
		default:
			work_one(s);
		}
	}
}

static void scene_open(struct scene *s, uint32_t k, uint32_t m, uint64_t seed)
{
	*s = (struct scene){.seed = seed << 32};
	/* N = k + m + 1: a node that has no part in stripe 0 */
	ec_pool_open(&s->p, k + m + 1, k, m, BLOCK, 1, 12, 0);
}

/* --- every way to lose up to m nodes -------------------------------------- */

static unsigned seen[BLOCK_RETIRING + 1]; /* states met at a live parity */
static unsigned unlike; /* times two live parities were not in one state */

static void note_states(struct scene *s, uint32_t role)
{
	int last = -1;

	for (uint32_t j = 0; j < s->p.g.m; j++) {
		uint32_t node = ec_pool_node(&s->p, 0, s->p.g.k + j);
		uint8_t state = ec_pool_rec(&s->p, node, 0, role).state;

		if (!ec_pool_is_up(&s->p, node))
			continue;
		seen[state]++;
		unlike += last >= 0 && last != state;
		last = state;
	}
}

static void read_and_compare(struct scene *s, uint32_t role, uint32_t at,
			     uint32_t len)
{
	const char *truth = ec_pool_truth(&s->p, 0, role);
	int rc;

	memset(got, 0xee, len);
	rc = ec_pool_read(&s->p, 0, role, at, len, got);
	if (truth == NULL) {
		assert_int_equal(rc, -ENODATA);
		return;
	}
	assert_int_equal(rc, 0);
	assert_memory_equal(got, truth + at, len);
}

static void read_lost_role(struct scene *s, uint32_t role)
{
	uint32_t at = (uint32_t)dice(s, BLOCK - 5000) & ~63u;

	note_states(s, role);
	read_and_compare(s, role, at, 4096);
	read_and_compare(s, role, (at & ~65535u) + (at ? 0 : 64), 64);
	if (dice(s, 8) == 0)
		read_and_compare(s, role, 0, BLOCK);
}

static unsigned lose_each_way(struct scene *s)
{
	const uint64_t all = s->p.up;
	unsigned ways = 0;

	for (uint64_t dead = 1; dead <= all; dead++) {
		if ((unsigned)__builtin_popcountll(dead) > s->p.g.m)
			continue;
		s->p.up = all & ~dead; /* the nodes' view lags, that is fine */
		for (uint32_t r = 0; r < s->p.g.k; r++)
			if (!ec_pool_is_up(&s->p, ec_pool_node(&s->p, 0, r)))
				read_lost_role(s, r);
		ways++;
	}
	s->p.up = all;
	return ways;
}

static void try_code(uint32_t k, uint32_t m, unsigned scenes)
{
	for (unsigned i = 0; i < scenes; i++) {
		struct scene s;

		scene_open(&s, k, m, i + 1);
		stir(&s, 5 + i % 40);
		ec_pool_check(&s.p);
		assert_true(lose_each_way(&s) > 0);
		ec_pool_close(&s.p);
	}
}

static void any_m_nodes_may_be_away_in_any_condition(void **state)
{
	try_code(3, 2, 60);
	try_code(2, 1, 20);
	try_code(1, 2, 10);
	try_code(4, 3, 20);
	try_code(3, 4, 10);
	for (uint8_t st = 0; st <= BLOCK_RETIRING; st++)
		assert_true(seen[st] > 20); /* all conditions were met */
	assert_true(unlike > 100);
}

/* --- while folds go on between the operations of the read ----------------- */

static void work_between(struct ec_pool *p, const struct fab_op *op)
{
	struct scene *s = p->arg;

	if (dice(s, 3) == 0)
		work_one(s);
}

static void a_read_beside_folding_is_right(void **state)
{
	unsigned reads = 0, most = 0;

	for (uint64_t i = 0; i < 40; i++) {
		struct scene s;
		uint64_t all;

		scene_open(&s, 3, 2, 1000 + i);
		all = s.p.up;
		for (uint32_t r = 0; r < 3; r++)
			take_one(&s);
		for (uint32_t r = 0; r < 3; r++)
			seal_one(&s, r);
		if (i % 2) {
			ec_pool_fold(&s.p);
			retire_one(&s, 2);
		}
		s.p.arg = &s;
		s.p.between = work_between;
		for (uint32_t at = 0; at < BLOCK; at += 16384) {
			s.p.up = all & ~(1u << ec_pool_node(&s.p, 0, 0));
			s.p.ops = 0;
			read_and_compare(&s, 0, at, 8192);
			most = s.p.ops > most ? s.p.ops : most;
			reads++;
		}
		s.p.between = NULL;
		s.p.up = all;
		ec_pool_fold(&s.p);
		ec_pool_check(&s.p);
		ec_pool_close(&s.p);
	}
	assert_int_equal(reads, 640);
	assert_true(most > 20); /* some had to try again */
}

/* A neighbour leaves, and is zeroed, while the answer of its node is late. */
static void free_between(struct ec_pool *p, const struct fab_op *op)
{
	bool *gone = p->arg;

	if (*gone || op->node != ec_pool_node(p, 0, 2))
		return;
	*gone = ec_pool_retire(p) == 1;
}

static void a_neighbour_may_leave_meanwhile(void **state)
{
	bool gone = false;
	struct scene s;

	scene_open(&s, 3, 2, 8);
	for (uint32_t r = 0; r < 3; r++)
		take_one(&s);
	for (uint32_t r = 0; r < 3; r++)
		seal_one(&s, r);
	ec_pool_fold(&s.p);
	ec_pool_mark(&s.p, &s.b[2], 2, 0, BLOCK / GROUP_UNIT_BYTES);
	s.p.arg = &gone;
	s.p.between = free_between;
	s.p.up &= ~(1u << ec_pool_node(&s.p, 0, 0));
	read_and_compare(&s, 0, 0, 4096);
	assert_true(gone);
	assert_null(ec_pool_truth(&s.p, 0, 2));
	ec_pool_close(&s.p);
}

/* A window that stays open (its node stands still) is -EAGAIN, then passes. */
static void a_window_that_stays_open_is_waited_for(void **state)
{
	struct block_rec *rec, now;
	struct stripe_read *sr;
	struct fab_batch *b;
	unsigned steps = 0;
	struct scene s;
	int rc;

	scene_open(&s, 3, 2, 5);
	take_one(&s);
	seal_one(&s, 0);
	ec_pool_fold(&s.p);
	for (uint32_t j = 0; j < 2; j++) {
		uint32_t node, block;

		group_member(&s.p.g, 0, 3 + j, &node, &block);
		rec = (void *)(s.p.region[node] +
			       group_rec_off(&s.p.g, block, 1));
		now = (struct block_rec){
			.state = BLOCK_FOLDING, .busy = 1, .kind = BLOCK_PAGES};
		block_publish(rec, &now);
	}
	s.p.up &= ~(1u << ec_pool_node(&s.p, 0, 0));
	assert_int_equal(stripe_read_open(&s.p.g, s.p.c, 0, 0, 0, 4096, s.p.up,
					  got, &sr),
			 0);
	while ((rc = stripe_read_step(sr, &b)) == 1) {
		assert_int_equal(fab_run(&s.p.fab, b), 0);
		assert_true(++steps < 1000);
	}
	assert_int_equal(rc, -EAGAIN);
	assert_int_equal(ec_pool_read(&s.p, 0, 0, 0, 4096, got), -ETIMEDOUT);
	/* beside the window all can be had */
	read_and_compare(&s, 0, 4096, 4096);

	now.busy = 0;
	block_publish(rec, &now);
	while ((rc = stripe_read_step(sr, &b)) == 1)
		assert_int_equal(fab_run(&s.p.fab, b), 0);
	assert_int_equal(rc, 0);
	assert_memory_equal(got, ec_pool_truth(&s.p, 0, 0), 4096);
	stripe_read_close(sr);
	ec_pool_close(&s.p);
}

/* Marks change records all the time, and nothing else: no reason to retry. */
static void mark_between(struct ec_pool *p, const struct fab_op *op)
{
	struct scene *s = p->arg;

	ec_pool_mark(p, &s->b[0], 0, (uint32_t)dice(s, 4096), 1);
}

static void marks_do_not_disturb_a_read(void **state)
{
	struct scene s;

	scene_open(&s, 3, 2, 6);
	take_one(&s);
	seal_one(&s, 0);
	ec_pool_fold(&s.p);
	s.p.up &= ~(1u << ec_pool_node(&s.p, 0, 0));
	s.p.arg = &s;
	s.p.between = mark_between;
	s.p.ops = 0;
	read_and_compare(&s, 0, 0, 4096);
	assert_int_equal(s.p.ops, 2 + 3); /* records; {recs, parity, recs} */
	ec_pool_close(&s.p);
}

/* --- rows ----------------------------------------------------------------- */

static void rows_are_read_open_and_sealed(void **state)
{
	struct ec_block b;
	struct scene s;

	scene_open(&s, 3, 2, 7);
	/* the highest stripe: not stripe 0, but lose_each_way() asks for 0 */
	while (ec_pool_take(&s.p, 3, BLOCK_ROWS, true, &b) == 0 &&
	       b.stripe != 0)
		;
	assert_int_equal(b.stripe, 0);
	ec_pool_fill(&s.p, &b, 0, 3 * 4096, 42);
	ec_pool_check(&s.p);
	assert_int_equal(lose_each_way(&s), 6 + 15);
	ec_pool_fill(&s.p, &b, 3 * 4096, BLOCK - 3 * 4096, 43);
	ec_pool_seal(&s.p, &b, BLOCK);
	assert_int_equal(ec_pool_rec(&s.p, 3, 0, 1).state, BLOCK_FOLDED);
	ec_pool_check(&s.p);
	assert_int_equal(lose_each_way(&s), 6 + 15);
	ec_pool_close(&s.p);
}

/* --- the write hole [I5] -------------------------------------------------- */

static void scene_of_three(struct scene *s, uint64_t seed)
{
	scene_open(s, 3, 2, seed);
	for (uint32_t r = 0; r < 3; r++)
		take_one(s);
	seal_one(s, 0);
	seal_one(s, 2);
	ec_pool_fold(&s->p); /* roles 0 and 2 are in the parity, 1 is open */
}

static void a_torn_write_of_an_open_neighbour_harms_nobody(void **state)
{
	char junk[512];

	memset(junk, 0x5a, sizeof(junk));
	for (unsigned copies = 0; copies < 8; copies++) {
		const uint32_t lost[] = {0, 2};
		struct scene s;
		uint64_t all;

		scene_of_three(&s, 20 + copies);
		all = s.p.up;
		ec_pool_write(&s.p, &s.b[1], 8192, junk, sizeof(junk), copies);
		for (uint32_t other = 0; other < 6; other++) {
			for (unsigned i = 0; i < 2; i++) {
				s.p.up =
					all & ~(1u << lost[i]) & ~(1u << other);
				read_and_compare(&s, lost[i], 8192, 512);
			}
		}
		ec_pool_close(&s.p);
	}
}

/* Its owner dies; the block is folded; now it is part of the parity. */
static void an_orphan_is_made_whole_before_it_is_folded(void **state)
{
	char junk[512];

	memset(junk, 0x5a, sizeof(junk));
	for (unsigned copies = 0; copies < 8; copies++) {
		struct scene s;

		scene_of_three(&s, 30 + copies);
		ec_pool_write(&s.p, &s.b[1], 8192, junk, sizeof(junk), copies);
		ec_pool_orphan(&s.p, &s.b[1]);
		ec_pool_fold(&s.p);
		assert_int_equal(ec_pool_rec(&s.p, 3, 0, 1).state,
				 BLOCK_FOLDED);
		ec_pool_check(&s.p); /* S1 with what the data block has */
		lose_each_way(&s);
		ec_pool_close(&s.p);
	}
}

/* Who goes first: the second parity alone, the first alone, or by turns. */
static void settle(struct scene *s, unsigned order)
{
	for (unsigned n = 0; n < 50; n++)
		fold_work(s->p.a[3 + (order < 2 ? 1 - order : n % 2)],
			  &s->p.fab, 1);
	ec_pool_fold(&s->p);
	for (uint32_t j = 0; j < 2; j++)
		assert_int_equal(ec_pool_rec(&s->p, 3 + j, 0, 1).state,
				 BLOCK_FOLDED);
}

/* The same without its data node: any version will do, but one. */
static void an_orphan_whose_node_died_too_has_one_version(void **state)
{
	char one[512], two[512];

	for (unsigned copies = 2; copies < 8; copies += 2) {
		for (unsigned order = 0; order < 3; order++) {
			struct scene s;
			uint64_t up;

			scene_of_three(&s, 40 + copies);
			memset(one, 0x5a, sizeof(one));
			ec_pool_write(&s.p, &s.b[1], 8192, one, sizeof(one),
				      copies);
			up = s.p.up & ~(1u << ec_pool_node(&s.p, 0, 1));
			ec_pool_set_up(&s.p, up);
			ec_pool_orphan(&s.p, &s.b[1]);
			settle(&s, order);
			s.p.up = up & ~(1u << 4);
			assert_int_equal(
				ec_pool_read(&s.p, 0, 1, 8192, 512, one), 0);
			s.p.up = up & ~(1u << 3);
			assert_int_equal(
				ec_pool_read(&s.p, 0, 1, 8192, 512, two), 0);
			assert_memory_equal(one, two, 512);
			/* and the neighbour can be lost as well */
			s.p.up = up & ~(1u << ec_pool_node(&s.p, 0, 0));
			read_and_compare(&s, 0, 8192, 512);
			ec_pool_close(&s.p);
		}
	}
}

/* One parity had finished with the data when the data node died. */
static void an_orphan_half_settled_follows_who_is(void **state)
{
	char junk[512];
	struct scene s;

	scene_of_three(&s, 50);
	memset(junk, 0x5a, sizeof(junk));
	ec_pool_write(&s.p, &s.b[1], 8192, junk, sizeof(junk), 1);
	ec_pool_orphan(&s.p, &s.b[1]);
	for (unsigned n = 0; n < 50; n++) /* the second parity, to the end */
		fold_work(s.p.a[4], &s.p.fab, 1 << 20);
	assert_int_equal(ec_pool_rec(&s.p, 4, 0, 1).flags, BLOCK_F_HELD);
	assert_int_equal(ec_pool_rec(&s.p, 3, 0, 1).flags, BLOCK_F_ALIGN);
	ec_pool_set_up(&s.p, s.p.up & ~(1u << ec_pool_node(&s.p, 0, 1)));
	ec_pool_fold(&s.p);
	ec_pool_check(&s.p); /* both have the data block's version */
	ec_pool_close(&s.p);
}

/* Its data node is away, one parity node has settled for its own copy, and
 * folded it or not; the other's differs still. All get the settled version,
 * whichever that is, and a neighbour is not harmed. */
static void an_orphan_has_one_version_while_one_waits(void **state)
{
	char before[512], now[512], junk[512];

	memset(junk, 0x5a, sizeof(junk));
	for (unsigned copies = 2; copies < 8; copies += 2) {
		for (unsigned steps = 0; steps < 12; steps++) {
			struct scene s;
			uint64_t up;

			scene_of_three(&s, 60 + copies);
			ec_pool_write(&s.p, &s.b[1], 8192, junk, sizeof(junk),
				      copies);
			up = s.p.up & ~(1u << ec_pool_node(&s.p, 0, 1));
			ec_pool_set_up(&s.p, up);
			assert_int_equal(
				ec_pool_read(&s.p, 0, 1, 8192, 512, before), 0);
			ec_pool_orphan(&s.p, &s.b[1]);
			for (unsigned n = 0; n < steps; n++)
				fold_work(s.p.a[3], &s.p.fab, 1);
			assert_int_equal(
				ec_pool_read(&s.p, 0, 1, 8192, 512, now), 0);
			assert_memory_equal(before, now, 512);
			s.p.up = up & ~(1u << ec_pool_node(&s.p, 0, 0));
			read_and_compare(&s, 0, 8192, 512);
			s.p.up = up;
			ec_pool_fold(&s.p);
			assert_int_equal(
				ec_pool_read(&s.p, 0, 1, 8192, 512, now), 0);
			assert_memory_equal(before, now, 512);
			ec_pool_close(&s.p);
		}
	}
}

/* The second has it from the data node; the first has its own copy still. */
static void an_orphan_s_settled_version_goes_before_an_elder_s(void **state)
{
	char junk[512];
	struct scene s;
	uint64_t up;

	for (unsigned steps = 1; steps < 12; steps++) {
		scene_of_three(&s, 53);
		memset(junk, 0x5a, sizeof(junk));
		ec_pool_write(&s.p, &s.b[1], 8192, junk, sizeof(junk), 2);
		ec_pool_orphan(&s.p, &s.b[1]);
		for (unsigned n = 0; n < steps; n++)
			fold_work(s.p.a[4], &s.p.fab, BLOCK);
		assert_int_equal(ec_pool_rec(&s.p, 4, 0, 1).flags,
				 BLOCK_F_HELD);
		up = s.p.up & ~(1u << ec_pool_node(&s.p, 0, 1));
		ec_pool_set_up(&s.p, up);
		read_and_compare(&s, 1, 8192, 512);
		s.p.up = up & ~(1u << ec_pool_node(&s.p, 0, 0));
		read_and_compare(&s, 0, 8192, 512);
		ec_pool_close(&s.p);
	}
}

/* One parity has settled, and would have folded what it settled for; then the
 * other one could not tell what that was, with a neighbour away as well. */
static void an_orphan_s_copy_is_kept_for_who_waits(void **state)
{
	char junk[512];
	struct scene s;
	uint64_t up;

	for (unsigned copies = 2; copies < 8; copies += 2) {
		scene_of_three(&s, 56);
		seal_one(&s, 2);
		ec_pool_fold(&s.p);
		memset(junk, 0x5a, sizeof(junk));
		ec_pool_write(&s.p, &s.b[1], 8192, junk, sizeof(junk), copies);
		up = s.p.up & ~(1u << ec_pool_node(&s.p, 0, 1));
		ec_pool_set_up(&s.p, up);
		ec_pool_orphan(&s.p, &s.b[1]);
		for (unsigned n = 0; n < 50; n++) /* the first, to the end */
			fold_work(s.p.a[3], &s.p.fab, 1 << 20);
		ec_pool_set_up(&s.p, up & ~(1u << ec_pool_node(&s.p, 0, 2)));
		ec_pool_fold(&s.p);
		assert_int_equal(ec_pool_rec(&s.p, 3, 0, 1).state,
				 BLOCK_FOLDED);
		assert_int_equal(ec_pool_rec(&s.p, 4, 0, 1).state,
				 BLOCK_FOLDED);
		read_and_compare(&s, 2, 8192, 512);
		ec_pool_close(&s.p);
	}
}

/* The data node dies while each has copied another part of it. */
static void an_orphan_s_source_is_never_a_mixture(void **state)
{
	char junk[512];
	struct scene s;
	uint64_t up;

	scene_of_three(&s, 51);
	memset(junk, 0x5a, sizeof(junk));
	ec_pool_write(&s.p, &s.b[1], 100000, junk, sizeof(junk), 1);
	ec_pool_orphan(&s.p, &s.b[1]);
	fold_work(s.p.a[3], &s.p.fab, 1); /* 64 KiB: not the torn write */
	for (unsigned n = 0; n < 2; n++)  /* 128 KiB: with it */
		fold_work(s.p.a[4], &s.p.fab, 1);
	up = s.p.up & ~(1u << ec_pool_node(&s.p, 0, 1));
	ec_pool_set_up(&s.p, up);
	settle(&s, 2);
	s.p.up = up & ~(1u << ec_pool_node(&s.p, 0, 0));
	read_and_compare(&s, 0, 100000, 512);
	ec_pool_close(&s.p);
}

/* ... but what waits for another does not hold up the rest. */
static void an_orphan_that_must_wait_lets_others_pass(void **state)
{
	struct scene s;

	scene_open(&s, 3, 2, 52);
	for (uint32_t r = 0; r < 3; r++)
		take_one(&s);
	ec_pool_set_up(&s.p, s.p.up & ~(1u << ec_pool_node(&s.p, 0, 1)));
	assert_int_equal(alloc_orphan(s.p.a[4], 0, 1, s.b[1].life, 20), 0);
	assert_int_equal(fold_work(s.p.a[4], &s.p.fab, BLOCK), -EAGAIN);
	seal_one(&s, 2);
	assert_int_equal(fold_work(s.p.a[4], &s.p.fab, BLOCK), 1);
	assert_int_equal(ec_pool_rec(&s.p, 4, 0, 2).state, BLOCK_FOLDED);
	assert_int_equal(ec_pool_rec(&s.p, 4, 0, 1).state, BLOCK_SEALED);
	assert_int_equal(alloc_orphan(s.p.a[3], 0, 1, s.b[1].life, 20), 0);
	ec_pool_fold(&s.p);
	assert_int_equal(ec_pool_rec(&s.p, 4, 0, 1).state, BLOCK_FOLDED);
	ec_pool_check(&s.p);
	ec_pool_close(&s.p);
}

/* --- errors --------------------------------------------------------------- */

static void more_than_m_away_is_an_error_at_once(void **state)
{
	struct scene s;
	uint64_t all;

	scene_of_three(&s, 60);
	all = s.p.up;
	/* an open block needs no more than one parity node, and is no part of
	 * what its neighbours need */
	s.p.up = all & ~0xfu;
	read_and_compare(&s, 1, 0, 4096);
	s.p.up = all & ~0x7u; /* the three data nodes */
	read_and_compare(&s, 0, 0, 4096);
	s.p.up = all & ~0x19u; /* a data node, both parities */
	assert_int_equal(ec_pool_read(&s.p, 0, 0, 0, 64, got), -EIO);
	s.p.up = all;
	seal_one(&s, 1);
	ec_pool_fold(&s.p);
	s.p.up = all & ~0x7u;
	for (uint32_t r = 0; r < 3; r++)
		assert_int_equal(ec_pool_read(&s.p, 0, r, 0, 64, got), -EIO);
	ec_pool_close(&s.p);
}

static void a_node_that_fails_meanwhile_is_told(void **state)
{
	struct stripe_read *sr;
	struct fab_batch *b;
	struct scene s;

	scene_of_three(&s, 61);
	assert_int_equal(stripe_read_open(&s.p.g, s.p.c, 0, 0, 0, 64,
					  s.p.up & ~1u, got, &sr),
			 0);
	assert_int_equal(stripe_read_step(sr, &b), 1);
	assert_int_equal(fab_run(&s.p.fab, b), 0);
	s.p.up &= ~(1u << 3);
	assert_int_equal(stripe_read_step(sr, &b), 1);
	assert_int_equal(fab_run(&s.p.fab, b), 0);
	assert_int_equal(stripe_read_step(sr, &b), -EHOSTDOWN);
	stripe_read_close(sr);
	ec_pool_close(&s.p);
}

static void bad_arguments_and_records_are_refused(void **state)
{
	struct stripe_read *sr = NULL;
	struct block_rec bad = {.state = 99};
	struct scene s;

	scene_of_three(&s, 62);
#define OPEN(stripe, role, at, len)                                            \
	stripe_read_open(&s.p.g, s.p.c, stripe, role, at, len, s.p.up, got, &sr)
	assert_int_equal(OPEN(99, 0, 0, 64), -EINVAL);
	assert_int_equal(OPEN(0, 3, 0, 64), -EINVAL);
	assert_int_equal(OPEN(0, 0, 0, 0), -EINVAL);
	assert_int_equal(OPEN(0, 0, BLOCK, 1), -EINVAL);
	assert_int_equal(OPEN(0, 0, 64, BLOCK), -EINVAL);
#undef OPEN
	assert_null(sr);
	stripe_read_close(NULL);
	assert_int_equal(stripe_read_run(&s.p.fab, &s.p.g, s.p.c, 64, 64,
					 s.p.up, got, UINT64_MAX),
			 -EINVAL);
	s.p.up &= ~1u;
	block_publish((void *)(s.p.region[3] + group_rec_off(&s.p.g, 3, 2)),
		      &bad);
	assert_int_equal(ec_pool_read(&s.p, 0, 0, 0, 64, got), -EBADMSG);
	ec_pool_close(&s.p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_m_nodes_may_be_away_in_any_condition),
		cmocka_unit_test(a_read_beside_folding_is_right),
		cmocka_unit_test(a_neighbour_may_leave_meanwhile),
		cmocka_unit_test(a_window_that_stays_open_is_waited_for),
		cmocka_unit_test(marks_do_not_disturb_a_read),
		cmocka_unit_test(rows_are_read_open_and_sealed),
		cmocka_unit_test(
			a_torn_write_of_an_open_neighbour_harms_nobody),
		cmocka_unit_test(an_orphan_is_made_whole_before_it_is_folded),
		cmocka_unit_test(an_orphan_whose_node_died_too_has_one_version),
		cmocka_unit_test(an_orphan_half_settled_follows_who_is),
		cmocka_unit_test(an_orphan_has_one_version_while_one_waits),
		cmocka_unit_test(
			an_orphan_s_settled_version_goes_before_an_elder_s),
		cmocka_unit_test(an_orphan_s_copy_is_kept_for_who_waits),
		cmocka_unit_test(an_orphan_s_source_is_never_a_mixture),
		cmocka_unit_test(an_orphan_that_must_wait_lets_others_pass),
		cmocka_unit_test(more_than_m_away_is_an_error_at_once),
		cmocka_unit_test(a_node_that_fails_meanwhile_is_told),
		cmocka_unit_test(bad_arguments_and_records_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
