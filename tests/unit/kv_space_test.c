/* tests/unit/kv_space_test.c - a client's blocks, spots, frees and marks, on
 * nodes whose allocators are the real ones (tests/lib/space_pool). */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kv/client/adopt.h"
#include "tests/lib/space_spots.h"

/* --- spots --------------------------------------------------------------- */

static void a_spot_is_in_the_data_block_and_every_delta(void **state)
{
	struct space_spot s;
	struct place p;

	(void)state;
	spool_open(&pool, &plain);
	assert_int_equal(take(SPACE_COLD, 17, &s), 0);
	p = place_of(&s);
	assert_true(p.role < 3);
	assert_int_equal(s.copies, 3);
	assert_int_equal(s.copy[0].node, fab_addr_node(s.addr));
	assert_int_equal(s.copy[0].offset, fab_addr_offset(s.addr));
	for (uint32_t j = 0; j < 2; j++) {
		uint32_t node = spool_node(&pool, p.stripe, 3 + j);
		struct block_rec rec = spool_rec(&pool, node, p.stripe, p.role);

		assert_int_equal(s.copy[1 + j].node, node);
		assert_int_equal(
			s.copy[1 + j].offset,
			group_delta_off(&pool.layout.group, rec.delta - 1) +
				p.at);
		assert_int_equal(rec.owner, pool.kv.id);
		assert_int_equal(rec.life, s.life);
		assert_int_equal(rec.kind, BLOCK_RECORDS);
	}
	assert_state(&p, BLOCK_OPEN);
	settle(&s);
	spool_close(&pool);
}

static void spots_do_not_overlap(void **state)
{
	static uint8_t used[BLOCKS_MAX][UNITS];
	struct space_spot s;

	(void)state;
	memset(used, 0, sizeof(used));
	spool_open(&pool, &plain);
	for (uint32_t i = 0; i < 400; i++) {
		struct place p;

		assert_int_equal(
			take(i % SPACE_CLASSES,
			     i % SPACE_CLASSES == SPACE_PAGES ? 64 : 1 + i % 90,
			     &s),
			0);
		p = place_of(&s);
		assert_int_equal(p.at / 64 + s.units > UNITS, 0);
		for (uint32_t u = 0; u < s.units; u++)
			assert_int_equal(
				used[p.stripe * 3 + p.role][p.at / 64 + u]++,
				0);
		settle(&s);
	}
	spool_close(&pool);
}

static void more_units_than_a_block_are_refused(void **state)
{
	struct space_spot s;

	(void)state;
	spool_open(&pool, &plain);
	assert_int_equal(take(SPACE_COLD, UNITS + 1, &s), -EINVAL);
	assert_int_equal(take(SPACE_COLD, 0, &s), -EINVAL);
	assert_int_equal(take(SPACE_COLD, UNITS, &s), 0);
	settle(&s);
	spool_close(&pool);
}

static void what_is_superseded_is_used_again(void **state)
{
	struct space_spot a, b, c;
	uint32_t allocs;

	(void)state;
	spool_open(&pool, &plain);
	assert_int_equal(take(SPACE_HOT, 17, &a), 0);
	allocs = pool.calls[PROTO_ALLOC];
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(take(SPACE_HOT, 17, &b), 0);
		settle(&b);
		obsolete(&b, b.life);
	}
	assert_int_equal(pool.calls[PROTO_ALLOC], allocs);
	assert_int_equal(pool.calls[PROTO_MARK], 0);
	/* A free of another life of the block is not ours. */
	obsolete(&a, a.life + 1);
	assert_int_equal(take(SPACE_HOT, 17, &c), 0);
	assert_int_not_equal(c.addr, a.addr);
	settle(&c);
	settle(&a);
	spool_close(&pool);
}

static void a_page_is_given_back_whole_or_not_at_all(void **state)
{
	struct space_spot a, b;

	(void)state;
	spool_open(&pool, &plain);
	assert_int_equal(take(SPACE_PAGES, 64, &a), 0);
	settle(&a);
	space_obsolete(pool.kv.space, me(), a.addr + 64, 63, 0);
	space_obsolete(pool.kv.space, me(), a.addr, 63, 0);
	space_obsolete(pool.kv.space, me(), a.addr + 1, 64, 0);
	space_obsolete(pool.kv.space, me(), 12345, 64, 0);
	space_obsolete(pool.kv.space, me(), a.addr, UINT32_MAX, 0);
	assert_int_equal(take(SPACE_PAGES, 64, &b), 0);
	assert_int_not_equal(b.addr, a.addr);
	settle(&b);
	obsolete(&a, 0);
	obsolete(&a, 0); /* twice counts once */
	assert_int_equal(take(SPACE_PAGES, 64, &b), 0);
	assert_int_equal(b.addr, a.addr);
	settle(&b);
	assert_int_equal(take(SPACE_PAGES, 64, &b), 0);
	assert_int_not_equal(b.addr, a.addr);
	settle(&b);
	assert_int_equal(marks_waiting(pool.kv.space->marks), 0);
	spool_close(&pool);
}

/* --- sealing ------------------------------------------------------------- */

static void a_full_block_is_sealed_when_quiet(void **state)
{
	struct space_spot first, s;
	struct place p;

	(void)state;
	spool_open(&pool, &plain);
	pool.no_fold = true;
	assert_int_equal(take(SPACE_COLD, 1000, &first), 0);
	p = place_of(&first);
	do {
		assert_int_equal(take(SPACE_COLD, 10, &s), 0);
		settle(&s);
	} while (s.block == first.block);
	background(false);
	assert_state(&p, BLOCK_OPEN); /* @first may still be written */
	settle(&first);
	assert_int_equal(background(false), 1);
	assert_state(&p, BLOCK_SEALED);
	assert_int_equal(spool_rec(&pool, spool_node(&pool, p.stripe, 3),
				   p.stripe, p.role)
				 .used,
			 1020 * 64);
	assert_int_equal(me()->stats.blocks_sealed, 1);
	spool_close(&pool);
}

static void gaps_of_a_sealed_block_are_marked(void **state)
{
	struct space_spot s[64], last;
	struct place p;

	(void)state;
	spool_open(&pool, &plain);
	pool.no_fold = true;
	for (int i = 0; i < 64; i++) {
		assert_int_equal(take(SPACE_COLD, 16, &s[i]), 0);
		settle(&s[i]);
		assert_ptr_equal(s[i].block, s[0].block);
	}
	p = place_of(&s[0]);
	for (int i = 0; i < 64; i += 2)
		obsolete(&s[i], s[i].life);
	assert_int_equal(take(SPACE_COLD, 7, &last), 0); /* into a gap */
	settle(&last);
	assert_ptr_equal(last.block, s[0].block);
	space_leave(pool.kv.space, me());
	space_close(pool.kv.space);
	assert_state(&p, BLOCK_SEALED);
	for (uint32_t r = 3; r < 5; r++)
		assert_int_equal(dead_at(&p, spool_node(&pool, p.stripe, r)),
				 32 * 16 - 7);
	assert_int_equal(dead_at(&p, fab_addr_node(s[0].addr)), 32 * 16 - 7);
	assert_int_equal(space_open(&pool.kv, &pool.kv.space), 0);
	spool_close(&pool);
}

static void copies_are_equal_where_a_write_was_given_up(void **state)
{
	struct space_spot good, torn, s;
	uint8_t *data, *delta[2];
	struct place p;

	(void)state;
	spool_open(&pool, &plain);
	pool.no_fold = true;
	assert_int_equal(take(SPACE_COLD, 100, &good), 0);
	assert_int_equal(take(SPACE_COLD, 300, &torn), 0);
	p = place_of(&good);
	write_spot(&good, -1, 0x11);
	write_spot(&torn, 1, 0x22); /* reached one delta only */
	space_abandon(pool.kv.space, &torn);
	/* A part of it is written again, well. */
	assert_int_equal(take(SPACE_COLD, 50, &s), 0);
	assert_int_equal(s.addr, torn.addr);
	write_spot(&s, -1, 0x33);
	settle(&s);
	settle(&good);
	data = spool_mem(&pool, fab_addr_make(good.copy[0].node,
					      good.copy[0].offset - p.at));
	for (int j = 0; j < 2; j++)
		delta[j] = spool_mem(
			&pool, fab_addr_make(good.copy[1 + j].node,
					     good.copy[1 + j].offset - p.at));
	assert_memory_not_equal(data, delta[0], UNITS * 64);
	assert_int_equal(take(SPACE_COLD, UNITS, &s), 0);
	settle(&s);
	assert_int_equal(take(SPACE_COLD, 700, &s), 0); /* closes the first */
	settle(&s);
	pool.view.index_version++;
	pool.view.epoch++;
	spool_adopt(&pool);
	assert_int_equal(background(false), 1);
	assert_state(&p, BLOCK_SEALED);
	assert_memory_equal(data, delta[0], UNITS * 64);
	assert_memory_equal(data, delta[1], UNITS * 64);
	assert_int_equal(data[0], 0x11);
	assert_int_equal(data[100 * 64], 0x33);
	assert_int_equal(data[150 * 64], 0);
	spool_close(&pool);
}

static void blocks_of_an_older_index_version_are_sealed(void **state)
{
	struct space_spot rec, page;
	struct place p, q;

	(void)state;
	spool_open(&pool, &plain);
	pool.no_fold = true;
	assert_int_equal(take(SPACE_HOT, 8, &rec), 0);
	assert_int_equal(take(SPACE_PAGES, 64, &page), 0);
	settle(&rec);
	settle(&page);
	p = place_of(&rec);
	q = place_of(&page);
	background(false);
	assert_state(&p, BLOCK_OPEN);
	pool.view.index_version++;
	pool.view.epoch++;
	spool_adopt(&pool);
	assert_true(space_pending(pool.kv.space));
	assert_int_equal(background(false), 1);
	assert_state(&p, BLOCK_SEALED);
	assert_state(&q, BLOCK_OPEN); /* pages are not replayed */
	spool_close(&pool);
}

static uint32_t deaf; /* this node loses its next SEALs */
static int deaf_left;

static int lose_seals(struct space_pool *p, const struct fab_op *op)
{
	(void)p;
	if (op->opcode == FAB_CALL && op->call == PROTO_SEAL &&
	    op->node == deaf && deaf_left > 0) {
		deaf_left--;
		return -ETIMEDOUT;
	}
	return 0;
}

static void a_member_that_did_not_hear_is_told_again(void **state)
{
	struct space_spot s, t;
	struct place p;

	(void)state;
	spool_open(&pool, &plain);
	pool.no_fold = true;
	assert_int_equal(take(SPACE_COLD, UNITS, &s), 0);
	settle(&s);
	p = place_of(&s);
	assert_int_equal(take(SPACE_COLD, 10, &t), 0); /* closes the first */
	settle(&t);
	deaf = spool_node(&pool, p.stripe, 4);
	deaf_left = 2;
	pool.before = lose_seals;
	assert_true(background(false) < 0);
	assert_true(background(false) < 0);
	assert_int_equal(spool_rec(&pool, deaf, p.stripe, p.role).state,
			 BLOCK_OPEN);
	assert_true(space_pending(pool.kv.space));
	assert_int_equal(background(false), 1);
	assert_state(&p, BLOCK_SEALED);
	/* Who had heard was not told again: three members, two repeats. */
	assert_int_equal(pool.calls[PROTO_SEAL], 3);
	assert_int_equal(deaf_left, 0);
	pool.before = NULL;
	spool_close(&pool);
}

static int refuse_a_mark(struct space_pool *p, const struct fab_op *op)
{
	(void)p;
	if (op->opcode == FAB_CALL && op->call == PROTO_MARK &&
	    op->node == deaf && deaf_left > 0) {
		deaf_left--;
		return -ESTALE; /* it was in another view, just then */
	}
	return 0;
}

/* Who has heard the seal may have folded the block by now, and given the delta
 * block to somebody else. (store_seeds_test 1301: live records were zeroed.) */
static void a_member_that_heard_is_not_written_to(void **state)
{
	struct space_spot s, gap, t;
	struct place p;
	uint8_t *delta;

	(void)state;
	spool_open(&pool, &plain);
	pool.no_fold = true;
	assert_int_equal(take(SPACE_COLD, 10, &gap), 0);
	settle(&gap);
	assert_int_equal(take(SPACE_COLD, UNITS - 10, &s), 0);
	settle(&s);
	p = place_of(&s);
	obsolete(&gap, gap.life); /* MARKed, and zeroed, when it is sealed */
	assert_int_equal(take(SPACE_COLD, 20, &t), 0); /* closes the first */
	settle(&t);
	deaf = spool_node(&pool, p.stripe, 4);
	assert_int_equal(gap.copy[2].node, deaf);
	delta = spool_mem(&pool, fab_addr_make(deaf, gap.copy[2].offset));
	memset(delta, 0x11, 64);
	deaf_left = 1;
	pool.before = refuse_a_mark;
	assert_true(background(false) < 0);
	assert_int_equal(deaf_left, 0);
	assert_int_equal(delta[0], 0);
	assert_int_equal(spool_rec(&pool, deaf, p.stripe, p.role).state,
			 BLOCK_SEALED);
	memset(delta, 0x77, 64); /* the next owner's */
	assert_int_equal(background(false), 1);
	assert_int_equal(delta[0], 0x77);
	assert_int_equal(dead_at(&p, deaf), 10);
	pool.before = NULL;
	spool_close(&pool);
}

static void closing_seals_what_was_written_and_frees_the_rest(void **state)
{
	struct space_spot s, u;
	struct place p, q;

	(void)state;
	spool_open(&pool, &plain);
	pool.no_fold = true;
	assert_int_equal(take(SPACE_COLD, 600, &s), 0); /* past the half */
	settle(&s);
	assert_int_equal(background(false), 1); /* opens one ahead */
	assert_int_equal(pool.calls[PROTO_ALLOC], 2);
	assert_int_equal(take(SPACE_COLD, 600, &u), 0);
	assert_int_equal(pool.calls[PROTO_ALLOC], 2);
	p = place_of(&s);
	q = place_of(&u);
	space_abandon(pool.kv.space, &u);
	space_leave(pool.kv.space, me());
	space_close(pool.kv.space);
	assert_state(&p, BLOCK_SEALED);
	assert_int_equal(pool.calls[PROTO_SEAL], 6);
	assert_int_equal(space_open(&pool.kv, &pool.kv.space), 0);
	(void)q;
	spool_close(&pool);
}

static void an_unused_block_is_cancelled_after_a_while(void **state)
{
	struct space_spot s;

	(void)state;
	spool_open(&pool, &plain);
	assert_int_equal(take(SPACE_COLD, 600, &s), 0);
	settle(&s);
	assert_int_equal(background(false), 1);
	assert_true(space_pending(pool.kv.space));
	background(false);
	atomic_fetch_add(&pool.now, SPACE_IDLE_NS + 1);
	background(false);
	assert_int_equal(pool.calls[PROTO_CANCEL], 3);
	assert_int_equal(pool.calls[PROTO_SEAL], 0);
	assert_int_equal(background(false), 0); /* nor is it opened again */
	assert_int_equal(pool.calls[PROTO_ALLOC], 2);
	assert_false(space_pending(pool.kv.space));
	spool_close(&pool);
}

/* --- marks --------------------------------------------------------------- */

/* A block full of spots of 16 units, sealed. */
static void fill_block(struct space_spot s[64])
{
	for (int i = 0; i < 64; i++) {
		assert_int_equal(take(SPACE_COLD, 16, &s[i]), 0);
		settle(&s[i]);
		assert_ptr_equal(s[i].block, s[0].block);
	}
	pool.view.index_version++;
	pool.view.epoch++;
	spool_adopt(&pool);
	while (background(true) > 0)
		;
}

static void marks_reach_every_member(void **state)
{
	struct space_spot s[64];
	struct place p;

	(void)state;
	spool_open(&pool, &plain);
	pool.no_fold = true;
	fill_block(s);
	p = place_of(&s[0]);
	assert_state(&p, BLOCK_SEALED);
	obsolete(&s[3], s[3].life);
	obsolete(&s[4], s[4].life); /* adjacent: one mark */
	obsolete(&s[9], 0);	    /* its life is looked up */
	assert_int_equal(marks_waiting(pool.kv.space->marks), 2);
	assert_int_equal(background(false), 0); /* they wait for company */
	assert_int_equal(background(false), 0);
	assert_true(space_pending(pool.kv.space));
	atomic_fetch_add(&pool.now, 100000000);
	assert_int_equal(background(false), 1);
	assert_int_equal(dead_at(&p, spool_node(&pool, p.stripe, p.role)), 48);
	assert_int_equal(dead_at(&p, spool_node(&pool, p.stripe, 3)), 48);
	assert_int_equal(dead_at(&p, spool_node(&pool, p.stripe, 4)), 48);
	assert_int_equal(pool.calls[PROTO_MARK], 3);
	spool_close(&pool);
}

static int fail_marks(struct space_pool *p, const struct fab_op *op)
{
	(void)p;
	return op->opcode == FAB_CALL && op->call == PROTO_MARK &&
			       op->node == deaf && deaf_left-- > 0
		       ? -ETIMEDOUT
		       : 0;
}

static void marks_not_heard_are_sent_again(void **state)
{
	struct space_spot s[64];
	struct place p;

	(void)state;
	spool_open(&pool, &plain);
	pool.no_fold = true;
	fill_block(s);
	p = place_of(&s[0]);
	deaf = spool_node(&pool, p.stripe, 3);
	deaf_left = 1;
	pool.before = fail_marks;
	obsolete(&s[0], 0);
	assert_true(background(true) < 0);
	assert_int_equal(dead_at(&p, deaf), 0);
	assert_int_equal(marks_waiting(pool.kv.space->marks), 1);
	assert_int_equal(background(true), 1);
	assert_int_equal(dead_at(&p, deaf), 16);
	assert_int_equal(dead_at(&p, spool_node(&pool, p.stripe, 4)), 16);
	pool.before = NULL;
	spool_close(&pool);
}

static void an_empty_block_is_given_back(void **state)
{
	struct space_spot s[64];
	struct place p;

	(void)state;
	spool_open(&pool, &plain);
	fill_block(s);
	p = place_of(&s[0]);
	spool_fold(&pool);
	assert_int_equal(spool_retire(&pool), 0);
	for (int i = 0; i < 64; i++)
		obsolete(&s[i], i % 2 ? s[i].life : 0);
	assert_int_equal(background(true), 1);
	assert_int_equal(spool_retire(&pool), 1);
	assert_state(&p, BLOCK_FREE);
	/* A mark of that life, late, and one that has to look it up. */
	obsolete(&s[0], s[0].life);
	obsolete(&s[1], 0);
	background(true);
	assert_int_equal(dead_at(&p, spool_node(&pool, p.stripe, p.role)), 0);
	assert_int_equal(marks_waiting(pool.kv.space->marks), 0);
	spool_close(&pool);
}

static void too_many_marks_are_sent_by_the_freer(void **state)
{
	struct space_spot s[64];

	(void)state;
	spool_open(&pool, &plain);
	pool.no_fold = true;
	fill_block(s);
	/* No two adjacent ones within reach of each other. */
	for (uint32_t i = 0; i < 9000; i++)
		space_obsolete(pool.kv.space, me(),
			       s[0].addr + i * 2 % UNITS * 64, 1, 0);
	assert_true(pool.calls[PROTO_MARK] > 0);
	assert_true(marks_waiting(pool.kv.space->marks) <= 8192);
	while (background(true) > 0)
		;
	assert_int_equal(marks_waiting(pool.kv.space->marks), 0);
	assert_int_equal(marks_dropped(pool.kv.space->marks), 0);
	spool_close(&pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_spot_is_in_the_data_block_and_every_delta),
		cmocka_unit_test(spots_do_not_overlap),
		cmocka_unit_test(more_units_than_a_block_are_refused),
		cmocka_unit_test(what_is_superseded_is_used_again),
		cmocka_unit_test(a_page_is_given_back_whole_or_not_at_all),
		cmocka_unit_test(a_full_block_is_sealed_when_quiet),
		cmocka_unit_test(gaps_of_a_sealed_block_are_marked),
		cmocka_unit_test(copies_are_equal_where_a_write_was_given_up),
		cmocka_unit_test(blocks_of_an_older_index_version_are_sealed),
		cmocka_unit_test(a_member_that_did_not_hear_is_told_again),
		cmocka_unit_test(a_member_that_heard_is_not_written_to),
		cmocka_unit_test(
			closing_seals_what_was_written_and_frees_the_rest),
		cmocka_unit_test(an_unused_block_is_cancelled_after_a_while),
		cmocka_unit_test(marks_reach_every_member),
		cmocka_unit_test(marks_not_heard_are_sent_again),
		cmocka_unit_test(an_empty_block_is_given_back),
		cmocka_unit_test(too_many_marks_are_sent_by_the_freer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
