/* tests/unit/ec_rebuild_test.c - a node dies, another takes its place with
 * memory that is all zeros, and gets everything back while the others work, die
 * and are asked to give back what it has not got yet. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/ec_world.h"
#include "tests/lib/effort.h"

/* --- tests ---------------------------------------------------------------- */

static void quiet(uint32_t n, uint32_t k, uint32_t m)
{
	struct world w;

	for (uint32_t node = 0; node < n; node++) {
		world_begin(&w, n, k, m, 100 + node);
		world_die(&w, node);
		world_replace(&w, node);
		world_rebuild_begin(&w, node);
		world_rebuild_all(&w);
		world_back(&w);
		world_end(&w);
	}
}

static void a_replaced_node_gets_back_what_it_had(void **state)
{
	quiet(5, 3, 2);
	quiet(4, 2, 1);
	quiet(3, 1, 2);
	quiet(8, 4, 3);
}

static unsigned map_ahead(struct world *w)
{
	unsigned n = 0;

	while (rebuild_map_ahead(w->r))
		n++;
	return n;
}

/* Of the blocks that the survey found some get memory; more when it got on. */
static void memory_is_taken_a_few_blocks_ahead(void **state)
{
	unsigned first, later, both = 0;

	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct world w;

		world_begin(&w, 5, 3, 2, seed);
		world_die(&w, 1);
		world_replace(&w, 1);
		world_rebuild_begin(&w, 1);
		assert_int_equal(map_ahead(&w), 0); /* nothing is known yet */
		world_rebuild_one(&w);
		first = map_ahead(&w);
		assert_in_range(first, 0, 4);
		assert_int_equal(map_ahead(&w), 0); /* and none twice */
		for (later = 0; world_rebuild_one(&w) == 1;)
			later += map_ahead(&w);
		both += first == 4 && later > 0;
		world_rebuild_all(&w);
		world_back(&w);
		world_end(&w);
	}
	assert_true(both > 0);
}

static void a_thread_may_take_it(void **state)
{
	struct world w;

	for (uint64_t seed = 300; seed < 300 + effort(8); seed++) {
		uint32_t node = (uint32_t)(seed % 5);

		world_begin(&w, 5, 3, 2, seed);
		world_die(&w, node);
		world_replace(&w, node);
		world_rebuild_begin(&w, node);
		assert_int_equal(ahead_open(w.r, &w.ahead), 0);
		w.traffic = 4;
		world_rebuild_all(&w);
		w.traffic = 0;
		world_back(&w);
		world_end(&w);
	}
}

/* The last stripe of which node @node holds a data block that is written and
 * folded, and which; false: there is none but the first. */
static bool last_written(struct world *w, uint32_t node, uint64_t *stripe,
			 uint32_t *role)
{
	uint32_t before = 0;

	for (uint64_t s = 0; s < group_stripes(&w->p.g); s++)
		for (uint32_t i = 0; i < w->p.g.k; i++) {
			uint32_t lead = ec_pool_leader(&w->p, s);
			struct block_rec rec;

			if (lead == UINT32_MAX ||
			    ec_pool_node(&w->p, s, i) != node)
				continue;
			rec = ec_pool_rec(&w->p, lead, s, i);
			if (rec.state != BLOCK_FOLDED || rec.used == 0)
				continue;
			*stripe = s;
			*role = i;
			before++;
		}
	return before > 1;
}

/* Pieces until the first block is back; is it that one? */
static bool comes_first(struct world *w, uint64_t stripe, uint32_t role)
{
	struct rebuild_progress sum = {0};

	while (sum.done_bytes == 0) {
		int rc = world_rebuild_one(w);

		assert_int_not_equal(rc, 0);
		if (rc < 0)
			world_let_others(w, rc);
		rebuild_progress(w->r, &sum);
	}
	return ec_pool_rec(&w->p, w->node, stripe, role).state != BLOCK_FREE;
}

static void what_somebody_waits_for_comes_first(void **state)
{
	unsigned tried[2] = {0, 0}, first[2] = {0, 0};

	for (uint64_t seed = 900; seed < 940; seed++) {
		bool asked = seed % 2 == 0;
		struct world w;
		uint64_t stripe = 0;
		uint32_t role = 0;

		world_begin(&w, 5, 3, 2, seed);
		world_die(&w, 1);
		world_replace(&w, 1);
		world_rebuild_begin(&w, 1);
		rebuild_want(w.r, UINT64_MAX, 0); /* nonsense */
		rebuild_want(w.r, 0, 5);
		if (last_written(&w, 1, &stripe, &role)) {
			if (asked)
				rebuild_want(w.r, stripe, role);
			tried[asked]++;
			first[asked] += comes_first(&w, stripe, role);
		}
		world_rebuild_all(&w);
		world_back(&w);
		world_end(&w);
	}
	assert_int_equal(first[true], tried[true]);
	assert_true(tried[true] > 2 && first[false] < tried[false]);
}

static void live(uint32_t n, uint32_t k, uint32_t m, unsigned seeds,
		 struct world *sum)
{
	for (uint64_t seed = 1; seed <= seeds; seed++) {
		struct world w;

		world_begin(&w, n, k, m, seed);
		for (unsigned round = 0; round < 3; round++) {
			world_die(&w, (uint32_t)world_dice(&w, n));
			for (unsigned i = (unsigned)world_dice(&w, 40); i > 0;
			     i--)
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
		sum->retired += w.retired;
		sum->waits += w.waits;
		sum->lates += w.lates;
		world_end(&w);
	}
}

static void it_does_while_all_others_go_on(void **state)
{
	struct world sum = {0};

	live(5, 3, 2, (unsigned)effort(24), &sum);
	live(4, 2, 1, (unsigned)effort(12), &sum);
	live(3, 1, 2, (unsigned)effort(8), &sum);
	live(8, 4, 3, (unsigned)effort(6), &sum);
	if (!effort_is_whole())
		return;
	assert_true(sum.retired > 50);
	assert_true(sum.waits > 5);
	assert_true(sum.lates > 100);
}

/* Whenever the new node dies, the next one begins with zeros and is done. */
static void it_may_die_at_any_operation(void **state)
{
	struct world w;
	unsigned n = 0;

	world_begin(&w, 5, 3, 2, 7);
	world_die(&w, 1);
	w.stop = world_count_stop;
	do {
		unsigned before = w.restarts;
		int rc = 1;

		world_replace(&w, 1);
		world_rebuild_begin(&w, 1);
		w.ops = 0;
		w.stop_at = n;
		n += 3;
		while (rc != 0 && w.restarts == before) {
			rc = world_rebuild_one(&w);
			if (rc < 0)
				world_let_others(&w, rc);
		}
		rebuild_close(w.r);
		if (w.restarts == before)
			break;
		ec_pool_check(&w.p);
		world_die(&w, 1);
	} while (true);
	assert_true(w.restarts > 20);
	w.node = 1;
	world_back(&w);
	world_end(&w);
}

static void stop_other(struct world *w)
{
	world_die(w, (w->node + 1 + w->restarts % (w->p.g.nodes - 1)) %
			     w->p.g.nodes);
	w->restarts++;
}

/* With m = 2 one more may die meanwhile, whichever, whenever; and be replaced,
 * and rebuilt, and all is whole again. */
static bool second_death(unsigned at, unsigned which, uint64_t seed)
{
	struct world w;
	bool bit;

	world_begin(&w, 5, 3, 2, seed);
	world_die(&w, 0);
	world_replace(&w, 0);
	world_rebuild_begin(&w, 0);
	w.restarts = which;
	w.stop = stop_other;
	w.stop_at = at;
	w.traffic = at % 3 == 0 ? 4 : 0;
	world_rebuild_all(&w);
	bit = w.restarts != which;
	w.traffic = 0;
	w.stop = NULL;
	world_back(&w);
	world_read_all(&w);
	if (bit) {
		uint32_t other = (which % 4 + 1) % 5;

		world_replace(&w, other);
		world_rebuild_begin(&w, other);
		world_rebuild_all(&w);
		world_back(&w);
	}
	world_end(&w);
	return bit;
}

static void another_may_die_at_any_operation(void **state)
{
	unsigned n = 0, which = 0;

	while (second_death(n, which, 20 + n)) {
		n += effort_is_whole() ? 3 : 11;
		which++;
	}
	assert_true(n > 30);
}

/* Two are replaced at once, and rebuilt by turns, neither reading the other. */
static void two_at_once(void **state)
{
	for (uint64_t seed = 1; seed <= effort(16); seed++) {
		struct rebuild *r[2];
		struct world w;
		int rc[2] = {1, 1};

		world_begin(&w, 5, 3, 2, 50 + seed);
		for (uint32_t i = 0; i < 2; i++)
			world_die(&w, (uint32_t)(seed + i) % 5);
		for (uint32_t i = 0; i < 2; i++) {
			world_replace(&w, (uint32_t)(seed + i) % 5);
			world_rebuild_begin(&w, (uint32_t)(seed + i) % 5);
			r[i] = w.r;
		}
		w.traffic = 3;
		for (unsigned n = 0; rc[0] != 0 || rc[1] != 0; n++) {
			uint32_t i = (uint32_t)world_dice(&w, 2);

			assert_true(n < 100000);
			w.r = r[i];
			w.node = (uint32_t)(seed + i) % 5;
			if (rc[i] != 0)
				rc[i] = world_rebuild_one(&w);
			if (rc[i] < 0)
				world_let_others(&w, rc[i]);
		}
		w.traffic = 0;
		for (uint32_t i = 0; i < 2; i++) {
			rebuild_close(r[i]);
			w.node = (uint32_t)(seed + i) % 5;
			world_back(&w);
		}
		world_end(&w);
	}
}

/* --- more than the code bears --------------------------------------------- */

/* Until nothing is left to do for it, or all that is left cannot be had. */
static int rebuild_to_the_end(struct world *w)
{
	unsigned n = 0;
	int rc;

	while ((rc = world_rebuild_one(w)) != 0 && rc != -EIO) {
		assert_true(n++ < 100000);
		if (rc < 0)
			world_let_others(w, rc);
	}
	return rc;
}

/* What is written in those data blocks of @node that it has not got, and that
 * stripe.h's reader does not give back, by who is up. */
static uint64_t what_is_lost(struct world *w, uint32_t node)
{
	char *buf = malloc(WORLD_BLOCK);
	uint64_t lost = 0;

	for (uint64_t s = 0; s < group_stripes(&w->p.g); s++)
		for (uint32_t i = 0; i < w->p.g.k; i++) {
			uint32_t lead = ec_pool_leader(&w->p, s);
			struct block_rec rec;

			if (ec_pool_node(&w->p, s, i) != node ||
			    lead == UINT32_MAX)
				continue;
			rec = ec_pool_rec(&w->p, lead, s, i);
			if (rec.state != BLOCK_FREE && rec.used != 0 &&
			    ec_pool_rec(&w->p, node, s, i).state ==
				    BLOCK_FREE &&
			    ec_pool_read(&w->p, s, i, 0, rec.used, buf) == -EIO)
				lost += rec.used - rec.dead * GROUP_UNIT_BYTES;
		}
	free(buf);
	return lost;
}

/* Two are half rebuilt when a third dies. All that can be had comes back, it
 * comes to an end, and what is said to be lost is what is. */
static uint64_t third_death(uint64_t seed, uint32_t n, unsigned pieces)
{
	struct rebuild *r[3] = {NULL};
	uint32_t node[3];
	uint64_t lost = 0;
	struct world w;

	world_begin(&w, n, 3, 2, seed);
	for (uint32_t i = 0; i < 3; i++)
		node[i] = (uint32_t)(seed + i) % n;
	for (uint32_t i = 0; i < 2; i++)
		world_die(&w, node[i]);
	for (uint32_t i = 0; i < 2; i++) {
		world_replace(&w, node[i]);
		world_rebuild_begin(&w, node[i]);
		r[i] = w.r;
		for (unsigned j = 0; j < pieces; j++)
			if (world_rebuild_one(&w) < 0)
				world_let_others(&w, -EAGAIN);
	}
	world_die(&w, node[2]);
	world_replace(&w, node[2]);
	world_rebuild_begin(&w, node[2]);
	r[2] = w.r;
	for (uint32_t i = 0; i < 3; i++) {
		struct rebuild_progress sum;

		w.r = r[i];
		w.node = node[i];
		rebuild_set_up(r[i], w.p.up);
		if (rebuild_to_the_end(&w) == 0)
			continue;
		for (unsigned again = 0; again < 2; again++) {
			rebuild_progress(r[i], &sum);
			assert_int_equal(sum.done_bytes, sum.total_bytes);
			assert_int_equal(sum.lost_bytes,
					 what_is_lost(&w, node[i]));
			assert_int_equal(rebuild_to_the_end(&w), -EIO);
		}
		lost += sum.lost_bytes;
	}
	for (uint32_t i = 0; i < 3; i++)
		rebuild_close(r[i]);
	ec_pool_close(&w.p);
	return lost;
}

static void a_third_death_is_the_end_of_some(void **state)
{
	uint64_t lost = 0;

	for (uint64_t seed = 1; seed <= effort(16); seed++)
		lost += third_death(700 + seed, 5, (unsigned)seed * 4);
	assert_true(lost > 0);
	for (uint64_t seed = 1; seed <= effort(8); seed++)
		third_death(800 + seed, 8, (unsigned)seed * 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_replaced_node_gets_back_what_it_had),
		cmocka_unit_test(memory_is_taken_a_few_blocks_ahead),
		cmocka_unit_test(a_thread_may_take_it),
		cmocka_unit_test(what_somebody_waits_for_comes_first),
		cmocka_unit_test(it_does_while_all_others_go_on),
		cmocka_unit_test(it_may_die_at_any_operation),
		cmocka_unit_test(another_may_die_at_any_operation),
		cmocka_unit_test(two_at_once),
		cmocka_unit_test(a_third_death_is_the_end_of_some),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
