/* Rounds between simulated nodes, while messages are lost and clients go on:
 * each image is some whole version. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/ckpt_world.h"

/* --- rounds --- */

static void peers_follow_round_by_round(void **state)
{
	struct ckpt_cost last, all;
	struct world w;

	world_open(&w, BIG, 1);
	for (unsigned i = 1; i <= 30; i++) {
		change(&w, 100);
		if (i == 10)
			noise(&w);
		assert_int_equal(round_with(&w, ALL), ALL);
		assert_int_equal(version_of(&w), i);
		check_images(&w);
		for (unsigned n = 0; n < PEERS; n++) {
			assert_int_equal(ckpt_image_version(w.node[n].img), i);
			assert_int_equal(ckpt_image_note(w.node[n].img), i);
			assert_int_equal(w.node[n].word, 1000 + i);
		}
		assert_restored(&w, i);
		ckpt_round_cost(w.r, &last, NULL);
		assert_int_equal(last.scanned, w.size);
		assert_int_equal(last.messages, i == 10 ? 2 : 1);
		if (i > 1 && i < 10) /* 100 words of 16 bytes, or so */
			assert_true(last.packed < 100 * 100);
	}
	ckpt_round_cost(w.r, NULL, &all);
	assert_int_equal(all.rounds, 30);
	assert_int_equal(all.messages, 31);
	assert_int_equal(all.sent, PEERS * all.packed);
	assert_int_equal(all.full + all.again + all.failed + all.skipped, 0);
	world_close(&w);
}

static void nothing_changed_costs_nothing(void **state)
{
	struct fab_counters before, after;
	struct ckpt_plan plan = {.alive = ALL, .note = 1, .changed = true};
	struct ckpt_cost last;
	struct world w;

	world_open(&w, SMALL, 2);
	change(&w, 9);
	assert_int_equal(round_with(&w, ALL), ALL);
	fab_counters(w.f, &before);
	ckpt_round_begin(w.r, &plan); /* looks, finds nothing */
	ckpt_round_run(w.r, w.f);
	ckpt_round_cost(w.r, &last, NULL);
	assert_int_equal(last.skipped, 1);
	assert_int_equal(last.scanned, w.size);
	plan.changed = false;
	ckpt_round_begin(w.r, &plan); /* does not even look */
	ckpt_round_run(w.r, w.f);
	ckpt_round_cost(w.r, &last, NULL);
	assert_int_equal(last.skipped, 1);
	assert_int_equal(last.scanned, 0);
	fab_counters(w.f, &after);
	assert_int_equal(after.batches, before.batches);
	assert_int_equal(version_of(&w), 1);
	plan.note = 2; /* the same bytes, but as of later: told in 80 bytes */
	ckpt_round_begin(w.r, &plan);
	ckpt_round_run(w.r, w.f);
	ckpt_round_cost(w.r, &last, NULL);
	assert_int_equal(last.sent, 80 * PEERS);
	expect(&w, 2);
	check_images(&w);
	assert_int_equal(ckpt_image_note(w.node[1].img), 2);
	world_close(&w);
}

static void a_peer_away_is_sent_all_when_it_is_back(void **state)
{
	struct ckpt_cost last;
	struct world w;

	world_open(&w, BIG, 3);
	noise(&w);
	assert_int_equal(round_with(&w, 5), 5); /* all but peer 1 */
	change(&w, 20);
	assert_int_equal(round_with(&w, 5), 5);
	assert_int_equal(ckpt_image_version(w.node[1].img), 0);
	change(&w, 20);
	assert_int_equal(round_with(&w, ALL), ALL);
	ckpt_round_cost(w.r, &last, NULL);
	assert_true(last.full > w.size); /* noise does not shrink */
	assert_true(last.packed < w.size / 50);
	check_images(&w);
	assert_int_equal(ckpt_image_version(w.node[1].img), 3);
	/* away for a round in which nothing happens: nothing to send */
	ckpt_round_begin(w.r, &(struct ckpt_plan){.alive = 5, .note = 3});
	ckpt_round_run(w.r, w.f);
	ckpt_round_begin(w.r, &(struct ckpt_plan){.alive = ALL, .note = 3});
	ckpt_round_run(w.r, w.f);
	ckpt_round_cost(w.r, &last, NULL);
	assert_int_equal(last.full, 0);
	world_close(&w);
}

static void a_peer_whose_image_rots_is_sent_all(void **state)
{
	struct world w;

	world_open(&w, SMALL, 4);
	noise(&w);
	assert_int_equal(round_with(&w, ALL), ALL);
	((char *)ckpt_image_bytes(w.node[2].img))[5] ^= 1;
	w.live[1]++;
	assert_int_equal(round_with(&w, ALL), 3);
	assert_int_equal(round_with(&w, ALL), ALL);
	check_images(&w);
	world_close(&w);
}

/* A new owner of the region knows nothing of what was sent before. */
static void a_new_owner_goes_beyond_the_old_one(void **state)
{
	struct world w;

	world_open(&w, SMALL, 5);
	for (unsigned i = 0; i < 4; i++) {
		change(&w, 5);
		round_with(&w, i < 2 ? ALL : 1); /* peer 0 is younger */
	}
	owner_free(&w);
	owner_start(&w);
	change(&w, 5);
	assert_int_equal(round_with(&w, ALL), ALL);
	assert_true(version_of(&w) > 4);
	check_images(&w);
	assert_restored(&w, version_of(&w));
	world_close(&w);
}

/* Messages lost, answers lost: no round hangs, no image is wrong. */
static void ten_thousand_rounds_on_a_bad_network(void **state)
{
	uint64_t full = 0, even = 0, has, alive;
	struct ckpt_cost all;
	struct world w;

	world_open(&w, SMALL, 6);
	faulty_lossy(w.faulty, 60);
	for (unsigned i = 0; i < 10000; i++) {
		change(&w, (unsigned)(dice(&w) % 20));
		alive = dice(&w) % 16 ? ALL : dice(&w) & ALL;
		has = round_with(&w, alive);
		assert_int_equal(has & ~alive, 0);
		full += has == ALL;
		for (unsigned n = 0; n < PEERS; n++)
			if (has >> n & 1) {
				assert_int_equal(
					ckpt_image_version(w.node[n].img),
					version_of(&w));
				even++;
			}
		if (i % 10 == 0)
			check_images(&w);
	}
	ckpt_round_cost(w.r, NULL, &all);
	assert_true(faulty_bites(w.faulty) > 3000);
	assert_true(all.again > 1000);
	assert_true(full > 7500 && even > 25000);
	world_close(&w);
}

/* --- changes while a round goes on --- */

struct busy {
	struct world *w;
	bool stop;
	uint64_t count; /* words are set to 1, 2, 3, ... in turn */
};

static void busy_fiber(void *arg)
{
	struct busy *b = arg;
	struct world *w = b->w;

	while (!b->stop) {
		b->count++;
		__atomic_store_n(&w->live[b->count % (w->size / 8)], b->count,
				 __ATOMIC_RELAXED);
		sim_pause(w->sim, 100);
	}
}

/* R2: what was there before is in it; what came meanwhile may be. */
static void check_cut(struct world *w, uint64_t before, uint64_t after)
{
	const uint64_t *words = ckpt_image_bytes(w->node[0].img);
	uint64_t n = w->size / 8, newest = 0;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t least = before - (before + n - i) % n;

		assert_true(words[i] >= least || before < n);
		assert_true(words[i] <= after);
		assert_true(words[i] == 0 || words[i] % n == i);
		newest = words[i] > newest ? words[i] : newest;
	}
	assert_true(newest >= before);
}

static void rounds_fiber(void *arg)
{
	struct busy *b = arg;
	struct world *w = b->w;
	struct ckpt_outcome out;

	for (unsigned i = 1; i <= 200; i++) {
		uint64_t before = b->count;

		ckpt_round_begin(w->r, &(struct ckpt_plan){.alive = ALL,
							   .note = before,
							   .changed = true});
		ckpt_round_run(w->r, w->f);
		ckpt_round_outcome(w->r, &out);
		assert_int_equal(out.has, ALL);
		check_cut(w, before, b->count);
		sim_pause(w->sim, 200000);
	}
	b->stop = true;
}

static void clients_go_on_while_rounds_are_made(void **state)
{
	struct world w;
	struct busy b = {.w = &w};

	world_open(&w, SMALL, 8);
	assert_int_equal(sim_spawn(w.sim, "busy", busy_fiber, &b), 0);
	assert_int_equal(sim_spawn(w.sim, "rounds", rounds_fiber, &b), 0);
	assert_int_equal(sim_run(w.sim, 0), 0);
	assert_true(b.count > 200000);
	for (unsigned n = 1; n < PEERS; n++)
		assert_memory_equal(ckpt_image_bytes(w.node[n].img),
				    ckpt_image_bytes(w.node[0].img), w.size);
	world_close(&w);
}

/* Given up half-way (its view changed), the next one is right. */
static void a_round_given_up_does_no_harm(void **state)
{
	struct ckpt_plan plan = {.alive = ALL, .changed = true};
	struct fab_batch *b;
	struct world w;
	bool done = false;

	world_open(&w, BIG, 9);
	for (unsigned stop = 0; !done; stop++) {
		noise(&w);
		ckpt_round_begin(w.r, &plan);
		for (unsigned i = 0; i < stop && !done; i++)
			switch (ckpt_round_step(w.r, &b)) {
			case CKPT_POST:
				assert_int_equal(fab_run(w.f, b), 0);
				break;
			case CKPT_DONE:
				done = stop > 5;
				break;
			case CKPT_MORE:
				break;
			}
		if (version_of(&w) > 0)
			expect(&w, version_of(&w));
		change(&w, 10);
		assert_int_equal(round_with(&w, ALL), ALL);
		check_images(&w);
		assert_restored(&w, version_of(&w));
	}
	world_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(peers_follow_round_by_round),
		cmocka_unit_test(nothing_changed_costs_nothing),
		cmocka_unit_test(a_peer_away_is_sent_all_when_it_is_back),
		cmocka_unit_test(a_peer_whose_image_rots_is_sent_all),
		cmocka_unit_test(a_new_owner_goes_beyond_the_old_one),
		cmocka_unit_test(ten_thousand_rounds_on_a_bad_network),
		cmocka_unit_test(clients_go_on_while_rounds_are_made),
		cmocka_unit_test(a_round_given_up_does_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
