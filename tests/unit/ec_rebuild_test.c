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

#include "ec/rebuild.h"
#include "kv/node/ahead.h"
#include "tests/lib/ec_pool.h"
#include "tests/lib/effort.h"

#define BLOCK  (64u << 10)
#define UNITS  (BLOCK / GROUP_UNIT_BYTES)
#define LIVING 64u
#define PIECE  (64u << 10)
#define NOBODY UINT32_MAX

enum place { NONE, OPEN, STOPPED, SEALED }; /* STOPPED: open, not written */

struct world {
	struct ec_pool p;
	struct ec_block b[LIVING];
	uint8_t place[LIVING];
	uint32_t used[LIVING];
	uint64_t seed;
	/* the rebuild under way */
	struct rebuild *r;
	struct ahead *ahead; /* a thread beside it, or NULL */
	uint32_t node;
	unsigned
		traffic; /* one step of others in so many operations; 0: none */
	unsigned ops, stop_at;
	void (*stop)(struct world *w);
	/* a mark that the leader is still to hear of */
	bool late;
	struct ec_block late_b;
	uint32_t late_role, late_at;
	/* what happened */
	unsigned retired, waits, restarts, deaths, lates, early;
};

static uint64_t dice(struct world *w, uint64_t n)
{
	return ec_pool_mix(w->seed++) % n;
}

/* --- what clients do ------------------------------------------------------ */

static uint32_t pick(struct world *w, uint8_t place)
{
	uint32_t from = (uint32_t)dice(w, LIVING);

	for (uint32_t n = 0; n < LIVING; n++)
		if (w->place[(from + n) % LIVING] == place)
			return (from + n) % LIVING;
	return LIVING;
}

static void take(struct world *w)
{
	static const uint8_t kinds[] = {BLOCK_PAGES, BLOCK_RECORDS, BLOCK_ROWS};
	uint32_t leader = (uint32_t)dice(w, w->p.g.nodes);
	uint32_t i = pick(w, NONE);
	int rc;

	if (i == LIVING || !ec_pool_is_up(&w->p, leader))
		return;
	rc = ec_pool_take(&w->p, leader, kinds[dice(w, 3)], false, &w->b[i]);
	if (rc != 0) {
		assert_true(rc == -ENOSPC || rc == -EAGAIN || rc == -EBUSY ||
			    rc == -EINPROGRESS);
		return;
	}
	w->place[i] = OPEN;
	w->used[i] = 4096;
	ec_pool_fill(&w->p, &w->b[i], 0, 4096, dice(w, UINT64_MAX));
}

static void write_more(struct world *w)
{
	uint32_t i = pick(w, OPEN), room;

	if (i == LIVING || w->used[i] == BLOCK)
		return;
	room = (BLOCK - w->used[i]) / 4096;
	room = 4096 * (1 + (uint32_t)dice(w, room));
	ec_pool_fill(&w->p, &w->b[i], w->used[i], room, dice(w, UINT64_MAX));
	w->used[i] += room;
}

static void close_one(struct world *w, uint32_t i)
{
	if (dice(w, 5) == 0) {
		ec_pool_orphan(&w->p, &w->b[i]);
		w->used[i] = BLOCK;
	} else {
		ec_pool_seal(&w->p, &w->b[i], w->used[i]);
	}
	w->place[i] = SEALED;
}

static void end_open(struct world *w)
{
	uint32_t i = pick(w, dice(w, 2) == 0 ? OPEN : STOPPED);

	if (i == LIVING)
		return;
	if (w->place[i] == OPEN && dice(w, 6) == 0) {
		ec_pool_cancel(&w->p, &w->b[i]);
		w->place[i] = NONE;
	} else {
		close_one(w, i);
	}
}

/* The leader hears of it later than the others. */
static void mark_late(struct world *w, const struct ec_block *b, uint32_t role,
		      uint32_t at)
{
	uint32_t leader = ec_pool_leader(&w->p, b->stripe);

	if (w->late || leader == NOBODY)
		return;
	for (uint32_t r = 0; r < group_width(&w->p.g); r++) {
		uint32_t node = ec_pool_node(&w->p, b->stripe, r);

		if ((r == role || r >= w->p.g.k) && node != leader &&
		    ec_pool_is_member(&w->p, node))
			assert_int_equal(alloc_mark(w->p.a[node], b->stripe,
						    role, b->life, at, 1),
					 0);
	}
	w->late = true;
	w->late_b = *b;
	w->late_role = role;
	w->late_at = at;
	w->lates++;
}

static void mark_late_ends(struct world *w)
{
	if (w->late)
		ec_pool_mark(&w->p, &w->late_b, w->late_role, w->late_at, 1);
	w->late = false;
}

static void mark(struct world *w)
{
	uint32_t i = pick(w, SEALED), units, k = w->p.g.k;
	const struct ec_block *b = &w->b[i];
	bool rows;

	if (i == LIVING)
		return;
	rows = b->kind == BLOCK_ROWS;
	units = w->used[i] / GROUP_UNIT_BYTES;
	if (dice(w, 3) != 0) {
		mark_late(w, b, rows ? (uint32_t)dice(w, k) : b->role,
			  (uint32_t)dice(w, units));
		return;
	}
	mark_late_ends(w); /* or it might be of what is given back by then */
	for (uint32_t r = rows ? 0 : b->role; r < (rows ? k : b->role + 1); r++)
		ec_pool_mark(&w->p, b, r, 0, units);
	w->place[i] = NONE;
}

static void work(struct world *w)
{
	uint32_t node = (uint32_t)dice(w, w->p.g.nodes);

	if (ec_pool_is_member(&w->p, node))
		fold_work(w->p.a[node], &w->p.fab,
			  1 + (uint32_t)dice(w, 100000));
}

static void step(struct world *w)
{
	if (dice(w, 3) == 0)
		mark_late_ends(w);
	switch (dice(w, 9)) {
	case 0:
	case 1:
		take(w);
		break;
	case 2:
	case 3:
		write_more(w);
		break;
	case 4:
		end_open(w);
		break;
	case 5:
		mark(w);
		break;
	case 6:
		for (uint64_t n = dice(w, 4); n > 0; n--)
			w->retired += ec_pool_retire_step(&w->p) == 2;
		break;
	default:
		work(w);
	}
}

/* --- deaths --------------------------------------------------------------- */

static bool is_on(const struct world *w, const struct ec_block *b,
		  uint32_t node)
{
	const struct ec_pool *p = &w->p;

	for (uint32_t r = 0; b->kind == BLOCK_ROWS && r < group_width(&p->g);
	     r++)
		if (ec_pool_node(p, b->stripe, r) == node)
			return true;
	return ec_pool_node(p, b->stripe, b->role) == node;
}

/* Clients give up open blocks that are on it; of others its delta. */
static void die(struct world *w, uint32_t node)
{
	mark_late_ends(w);
	ec_pool_kill(&w->p, node);
	for (uint32_t i = 0; i < LIVING; i++) {
		if (w->place[i] != OPEN && w->place[i] != STOPPED)
			continue;
		if (is_on(w, &w->b[i], node))
			w->place[i] = STOPPED;
		ec_pool_forget(&w->p, &w->b[i], node);
	}
	w->deaths++;
}

/* What lacks a delta on the new node is closed; its seal may come later. */
static void replace(struct world *w, uint32_t node)
{
	for (uint32_t i = 0; i < LIVING; i++)
		if (w->place[i] == OPEN)
			for (uint32_t j = 0; j < w->p.g.m; j++)
				if (w->b[i].delta[j] == 0)
					w->place[i] = STOPPED;
	ec_pool_replace(&w->p, node);
}

/* --- the rebuild ---------------------------------------------------------- */

static void between(struct ec_pool *p, const struct fab_op *op)
{
	struct world *w = p->arg;

	if (w->ops++ == w->stop_at && w->stop != NULL)
		w->stop(w);
	if (w->traffic != 0 && dice(w, w->traffic) == 0)
		step(w);
}

static void rebuild_begin(struct world *w, uint32_t node)
{
	w->node = node;
	assert_int_equal(rebuild_open(w->p.a[node], &w->p.fab, w->p.up, &w->r),
			 0);
}

static int rebuild_one(struct world *w)
{
	int rc;

	w->p.arg = w;
	w->p.between = between;
	rc = rebuild_work(w->r, PIECE);
	w->p.between = NULL;
	ahead_go(w->ahead);
	return rc;
}

/* It waits for something that others do. */
static void let_others(struct world *w, int why)
{
	assert_true(why == -EAGAIN || why == -EHOSTDOWN);
	w->waits++;
	rebuild_set_up(w->r, w->p.up);
	for (uint32_t i; (i = pick(w, STOPPED)) != LIVING;)
		close_one(w, i);
	ec_pool_fold(&w->p);
}

static void rebuild_all(struct world *w)
{
	struct rebuild_progress sum;
	unsigned n = 0;
	int rc;

	while ((rc = rebuild_one(w)) != 0) {
		assert_true(n++ < 100000);
		if (rc < 0)
			let_others(w, rc);
		if (dice(w, 16) == 0)
			ec_pool_check(&w->p);
	}
	rebuild_progress(w->r, &sum);
	assert_true(sum.done);
	assert_int_equal(sum.done_blocks, sum.total_blocks);
	assert_int_equal(sum.done_bytes, sum.total_bytes);
	assert_false(rebuild_map_ahead(w->r));
	ahead_close(w->ahead);
	w->ahead = NULL;
	rebuild_close(w->r);
	w->r = NULL;
}

/* --- what must be so in the end ------------------------------------------- */

static const void *map_at(const struct world *w, uint32_t node, uint64_t stripe,
			  uint32_t mine, uint32_t role)
{
	uint32_t who, block;

	group_member(&w->p.g, stripe, mine, &who, &block);
	assert_int_equal(who, node);
	return w->p.region[node] + group_map_off(&w->p.g, block, role);
}

static void same_record(const struct world *w, uint64_t s, uint32_t mine,
			uint32_t role)
{
	uint32_t node = ec_pool_node(&w->p, s, mine);
	uint32_t lead = ec_pool_leader(&w->p, s), k = w->p.g.k;
	uint32_t n = w->p.g.nodes;
	uint32_t lead_role = (lead + n - (uint32_t)(s % n)) % n;
	struct block_rec is = ec_pool_rec(&w->p, node, s, role);
	struct block_rec as = ec_pool_rec(&w->p, lead, s, role);

	assert_true(lead_role >= k);
	assert_int_equal(is.state == BLOCK_FREE, as.state == BLOCK_FREE);
	if (as.state != BLOCK_FREE) /* else: cancelled before it was told */
		assert_int_equal(is.life, as.life);
	assert_int_equal(is.kind, as.kind);
	assert_int_equal(is.used, as.used);
	assert_int_equal(is.dead, as.dead);
	assert_int_equal(is.opened, as.opened);
	assert_int_equal(is.sealed, as.sealed);
	assert_int_equal(is.owner, as.owner);
	assert_memory_equal(map_at(w, node, s, mine, role),
			    map_at(w, lead, s, lead_role, role), UNITS / 8);
}

/* Before this node leads again. */
static void same_records(const struct world *w)
{
	uint32_t n = w->p.g.nodes, k = w->p.g.k;

	for (uint64_t s = 0; s < group_stripes(&w->p.g); s++) {
		uint32_t mine = (w->node + n - (uint32_t)(s % n)) % n;

		if (mine >= group_width(&w->p.g) ||
		    ec_pool_leader(&w->p, s) == NOBODY)
			continue;
		for (uint32_t r = 0; r < k; r++)
			if ((mine == r || mine >= k) &&
			    !ec_pool_is_leaving(&w->p, s, r))
				same_record(w, s, mine, r);
	}
}

static void read_all(struct world *w)
{
	static char got[BLOCK];

	for (uint64_t s = 0; s < group_stripes(&w->p.g); s++)
		for (uint32_t r = 0; r < w->p.g.k; r++) {
			const char *truth = ec_pool_truth(&w->p, s, r);

			if (truth == NULL || ec_pool_is_leaving(&w->p, s, r) ||
			    ec_pool_is_up(&w->p, ec_pool_node(&w->p, s, r)))
				continue;
			assert_int_equal(
				ec_pool_read(&w->p, s, r, 0, BLOCK, got), 0);
			assert_memory_equal(got, truth, BLOCK);
		}
}

/* Each m nodes among which is @w->node's opposite: two others die. */
static void read_without_others(struct world *w)
{
	uint64_t up = w->p.up;
	uint32_t n = w->p.g.nodes;

	for (uint32_t i = 1; i < n; i++) {
		uint64_t gone = 0;

		for (uint32_t d = 0; d < w->p.g.m; d++)
			gone |= UINT64_C(1)
				<< (w->node + 1 + (i + d) % (n - 1)) % n;
		w->p.up = up & ~gone;
		if ((up & gone) == gone && up == (UINT64_C(1) << n) - 1)
			read_all(w);
	}
	w->p.up = up;
}

static void settle(struct world *w)
{
	mark_late_ends(w);
	for (unsigned n = 0; n < 10; n++) {
		unsigned did;

		ec_pool_fold(&w->p);
		while ((did = ec_pool_retire_step(&w->p)) != 0) {
			ec_pool_fold(&w->p);
			w->retired += did == 2;
		}
	}
	ec_pool_check(&w->p);
}

static void back_again(struct world *w)
{
	mark_late_ends(w);
	same_records(w);
	ec_pool_whole(&w->p, w->node);
	ec_pool_check(&w->p);
	read_without_others(w);
}

/* --- worlds --------------------------------------------------------------- */

static void begin(struct world *w, uint32_t n, uint32_t k, uint32_t m,
		  uint64_t seed)
{
	*w = (struct world){.seed = seed << 40, .stop_at = UINT32_MAX};
	ec_pool_open(&w->p, n, k, m, BLOCK, 2, 12, 0);
	for (unsigned i = 0; i < 150; i++)
		step(w);
}

static void end(struct world *w)
{
	settle(w);
	for (uint32_t i;
	     (i = pick(w, STOPPED)) != LIVING || (i = pick(w, OPEN)) != LIVING;)
		close_one(w, i);
	for (uint32_t i = 0; i < LIVING; i++) {
		bool rows = w->b[i].kind == BLOCK_ROWS;

		for (uint32_t r = rows ? 0 : w->b[i].role;
		     w->place[i] == SEALED &&
		     r < (rows ? w->p.g.k : w->b[i].role + 1);
		     r++)
			ec_pool_mark(&w->p, &w->b[i], r, 0, UNITS);
	}
	settle(w);
	/* Nothing is left of anything: no bit was lost on the way. */
	for (uint64_t s = 0; s < group_stripes(&w->p.g) * w->p.g.k; s++)
		assert_null(w->p.truth[s]);
	ec_pool_close(&w->p);
}

/* --- tests ---------------------------------------------------------------- */

static void quiet(uint32_t n, uint32_t k, uint32_t m)
{
	struct world w;

	for (uint32_t node = 0; node < n; node++) {
		begin(&w, n, k, m, 100 + node);
		die(&w, node);
		replace(&w, node);
		rebuild_begin(&w, node);
		rebuild_all(&w);
		back_again(&w);
		end(&w);
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

		begin(&w, 5, 3, 2, seed);
		die(&w, 1);
		replace(&w, 1);
		rebuild_begin(&w, 1);
		assert_int_equal(map_ahead(&w), 0); /* nothing is known yet */
		rebuild_one(&w);
		first = map_ahead(&w);
		assert_in_range(first, 0, 4);
		assert_int_equal(map_ahead(&w), 0); /* and none twice */
		for (later = 0; rebuild_one(&w) == 1;)
			later += map_ahead(&w);
		both += first == 4 && later > 0;
		rebuild_all(&w);
		back_again(&w);
		end(&w);
	}
	assert_true(both > 0);
}

static void a_thread_may_take_it(void **state)
{
	struct world w;

	for (uint64_t seed = 300; seed < 300 + effort(8); seed++) {
		uint32_t node = (uint32_t)(seed % 5);

		begin(&w, 5, 3, 2, seed);
		die(&w, node);
		replace(&w, node);
		rebuild_begin(&w, node);
		assert_int_equal(ahead_open(w.r, &w.ahead), 0);
		w.traffic = 4;
		rebuild_all(&w);
		w.traffic = 0;
		back_again(&w);
		end(&w);
	}
}

static void live(uint32_t n, uint32_t k, uint32_t m, unsigned seeds,
		 struct world *sum)
{
	for (uint64_t seed = 1; seed <= seeds; seed++) {
		struct world w;

		begin(&w, n, k, m, seed);
		for (unsigned round = 0; round < 3; round++) {
			die(&w, (uint32_t)dice(&w, n));
			for (unsigned i = (unsigned)dice(&w, 40); i > 0; i--)
				step(&w);
			for (uint32_t i = 0; i < n; i++)
				if (!ec_pool_is_up(&w.p, i))
					w.node = i;
			replace(&w, w.node);
			rebuild_begin(&w, w.node);
			w.traffic = 1 + (unsigned)dice(&w, 4);
			rebuild_all(&w);
			w.traffic = 0;
			back_again(&w);
		}
		sum->retired += w.retired;
		sum->waits += w.waits;
		sum->lates += w.lates;
		end(&w);
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

static void stop_node(struct world *w)
{
	w->restarts++;
}

/* Whenever the new node dies, the next one begins with zeros and is done. */
static void it_may_die_at_any_operation(void **state)
{
	struct world w;
	unsigned n = 0;

	begin(&w, 5, 3, 2, 7);
	die(&w, 1);
	w.stop = stop_node;
	do {
		unsigned before = w.restarts;
		int rc = 1;

		replace(&w, 1);
		rebuild_begin(&w, 1);
		w.ops = 0;
		w.stop_at = n;
		n += 3;
		while (rc != 0 && w.restarts == before) {
			rc = rebuild_one(&w);
			if (rc < 0)
				let_others(&w, rc);
		}
		rebuild_close(w.r);
		if (w.restarts == before)
			break;
		ec_pool_check(&w.p);
		die(&w, 1);
	} while (true);
	assert_true(w.restarts > 20);
	w.node = 1;
	back_again(&w);
	end(&w);
}

static void stop_other(struct world *w)
{
	die(w, (w->node + 1 + w->restarts % (w->p.g.nodes - 1)) % w->p.g.nodes);
	w->restarts++;
}

/* With m = 2 one more may die meanwhile, whichever, whenever; and be replaced,
 * and rebuilt, and all is whole again. */
static bool second_death(unsigned at, unsigned which, uint64_t seed)
{
	struct world w;
	bool bit;

	begin(&w, 5, 3, 2, seed);
	die(&w, 0);
	replace(&w, 0);
	rebuild_begin(&w, 0);
	w.restarts = which;
	w.stop = stop_other;
	w.stop_at = at;
	w.traffic = at % 3 == 0 ? 4 : 0;
	rebuild_all(&w);
	bit = w.restarts != which;
	w.traffic = 0;
	w.stop = NULL;
	back_again(&w);
	read_all(&w);
	if (bit) {
		uint32_t other = (which % 4 + 1) % 5;

		replace(&w, other);
		rebuild_begin(&w, other);
		rebuild_all(&w);
		back_again(&w);
	}
	end(&w);
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

		begin(&w, 5, 3, 2, 50 + seed);
		for (uint32_t i = 0; i < 2; i++)
			die(&w, (uint32_t)(seed + i) % 5);
		for (uint32_t i = 0; i < 2; i++) {
			replace(&w, (uint32_t)(seed + i) % 5);
			rebuild_begin(&w, (uint32_t)(seed + i) % 5);
			r[i] = w.r;
		}
		w.traffic = 3;
		for (unsigned n = 0; rc[0] != 0 || rc[1] != 0; n++) {
			uint32_t i = (uint32_t)dice(&w, 2);

			assert_true(n < 100000);
			w.r = r[i];
			w.node = (uint32_t)(seed + i) % 5;
			if (rc[i] != 0)
				rc[i] = rebuild_one(&w);
			if (rc[i] < 0)
				let_others(&w, rc[i]);
		}
		w.traffic = 0;
		for (uint32_t i = 0; i < 2; i++) {
			rebuild_close(r[i]);
			w.node = (uint32_t)(seed + i) % 5;
			back_again(&w);
		}
		end(&w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_replaced_node_gets_back_what_it_had),
		cmocka_unit_test(memory_is_taken_a_few_blocks_ahead),
		cmocka_unit_test(a_thread_may_take_it),
		cmocka_unit_test(it_does_while_all_others_go_on),
		cmocka_unit_test(it_may_die_at_any_operation),
		cmocka_unit_test(another_may_die_at_any_operation),
		cmocka_unit_test(two_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
