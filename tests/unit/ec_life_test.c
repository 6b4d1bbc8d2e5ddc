/* tests/unit/ec_life_test.c - whole lives of many blocks at random, against a
 * model that just remembers what was written. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "tests/lib/ec_pool.h"

#define BLOCK  (64u << 10)
#define UNITS  (BLOCK / GROUP_UNIT_BYTES)
#define LIVING 64u

struct life {
	struct ec_pool p;
	struct ec_block b[LIVING];
	uint32_t used[LIVING]; /* 0: no block; bytes written, then sealed */
	bool open[LIVING];
	uint64_t seed;
	unsigned deaths, retired, reads, orphans, full;
};

static uint64_t dice(struct life *l, uint64_t n)
{
	return ec_pool_mix(l->seed++) % n;
}

/* A place of b[] that is @taken, or LIVING. */
static uint32_t pick(struct life *l, bool taken, bool open)
{
	uint32_t from = (uint32_t)dice(l, LIVING);

	for (uint32_t n = 0; n < LIVING; n++) {
		uint32_t i = (from + n) % LIVING;

		if ((l->used[i] != 0) == taken &&
		    (!taken || l->open[i] == open))
			return i;
	}
	return LIVING;
}

static void take(struct life *l)
{
	static const uint8_t kinds[] = {BLOCK_PAGES, BLOCK_RECORDS, BLOCK_ROWS};
	uint32_t i = pick(l, false, false), n = l->p.g.nodes;
	uint32_t leader = (uint32_t)dice(l, n);
	int rc;

	if (i == LIVING || !ec_pool_is_up(&l->p, leader))
		return;
	rc = ec_pool_take(&l->p, leader, kinds[dice(l, 3)], dice(l, 2) != 0,
			  &l->b[i]);
	if (rc == -ENOSPC || rc == -EINPROGRESS)
		l->full++;
	if (rc != 0) {
		assert_true(rc == -ENOSPC || rc == -EAGAIN ||
			    rc == -EINPROGRESS);
		return;
	}
	l->open[i] = true;
	l->used[i] = 4096;
	ec_pool_fill(&l->p, &l->b[i], 0, 4096, dice(l, UINT64_MAX));
}

static void write_more(struct life *l)
{
	uint32_t i = pick(l, true, true);

	if (i == LIVING || l->used[i] == BLOCK)
		return;
	ec_pool_fill(&l->p, &l->b[i], l->used[i], 4096, dice(l, UINT64_MAX));
	l->used[i] += 4096;
}

static void end_open(struct life *l)
{
	uint32_t i = pick(l, true, true);

	if (i == LIVING)
		return;
	l->open[i] = false;
	switch (dice(l, 6)) {
	case 0:
		ec_pool_cancel(&l->p, &l->b[i]);
		l->used[i] = 0;
		break;
	case 1:
		ec_pool_orphan(&l->p, &l->b[i]);
		l->used[i] = BLOCK;
		l->orphans++;
		break;
	default:
		ec_pool_seal(&l->p, &l->b[i], l->used[i]);
	}
}

static void mark(struct life *l)
{
	uint32_t i = pick(l, true, false), units, k = l->p.g.k;
	const struct ec_block *b = &l->b[i];
	bool rows;

	if (i == LIVING)
		return;
	rows = b->kind == BLOCK_ROWS;
	units = l->used[i] / GROUP_UNIT_BYTES;
	if (dice(l, 3) == 0) {
		ec_pool_mark(&l->p, b, rows ? 0 : b->role,
			     (uint32_t)dice(l, units), 1);
		return;
	}
	for (uint32_t r = rows ? 0 : b->role; r < (rows ? k : b->role + 1); r++)
		ec_pool_mark(&l->p, b, r, 0, units);
	l->used[i] = 0; /* the pool may take it back any time */
}

static void work(struct life *l)
{
	uint32_t node = (uint32_t)dice(l, l->p.g.nodes);

	if (ec_pool_is_up(&l->p, node))
		fold_work(l->p.a[node], &l->p.fab,
			  1 + (uint32_t)dice(l, 100000));
}

static void lose_a_node(struct life *l)
{
	uint32_t node = (uint32_t)dice(l, l->p.g.nodes);

	if (dice(l, 20) != 0 || l->deaths == l->p.g.m ||
	    !ec_pool_is_up(&l->p, node))
		return;
	ec_pool_set_up(&l->p, l->p.up & ~(UINT64_C(1) << node));
	l->deaths++;
}

/* Every block that lies on a node that is away. */
static void read_the_lost(struct life *l)
{
	static char got[BLOCK];

	for (uint64_t s = 0; s < group_stripes(&l->p.g); s++) {
		for (uint32_t r = 0; r < l->p.g.k; r++) {
			const char *truth = ec_pool_truth(&l->p, s, r);
			uint32_t at = 64 * (uint32_t)dice(l, 512);

			if (ec_pool_is_up(&l->p, ec_pool_node(&l->p, s, r)) ||
			    truth == NULL)
				continue;
			assert_int_equal(
				ec_pool_read(&l->p, s, r, at, 4096, got), 0);
			assert_memory_equal(got, truth + at, 4096);
			l->reads++;
		}
	}
}

/* The counts say what the model says. */
static void check_usage(struct life *l)
{
	uint64_t free_blocks = 0, total = 0, told_free = 0, told = 0;
	struct alloc_usage u;

	for (uint64_t s = 0; s < group_stripes(&l->p.g); s++) {
		if (ec_pool_leader(&l->p, s) == UINT32_MAX)
			continue;
		for (uint32_t r = 0; r < l->p.g.k; r++) {
			bool taken = ec_pool_truth(&l->p, s, r) != NULL;
			bool up =
				ec_pool_is_up(&l->p, ec_pool_node(&l->p, s, r));

			total += taken || up;
			free_blocks += !taken && up;
		}
	}
	for (uint32_t i = 0; i < l->p.g.nodes; i++) {
		if (!ec_pool_is_up(&l->p, i))
			continue;
		alloc_usage(l->p.a[i], &u);
		told += u.data_total;
		told_free += u.data_free;
	}
	assert_int_equal(told, total);
	assert_int_equal(told_free, free_blocks);
}

static void step(struct life *l)
{
	switch (dice(l, 10)) {
	case 0:
	case 1:
		take(l);
		break;
	case 2:
	case 3:
		write_more(l);
		break;
	case 4:
		end_open(l);
		break;
	case 5:
		mark(l);
		break;
	case 6:
		lose_a_node(l);
		break;
	case 7:
		if (dice(l, 4) == 0)
			l->retired += ec_pool_retire(&l->p);
		break;
	default:
		work(l);
	}
}

/* All that still lives is ended; what is on live nodes comes back as zeros. */
static void end_all(struct life *l)
{
	for (uint32_t i; (i = pick(l, true, true)) != LIVING;)
		end_open(l);
	for (unsigned n = 0; n < 4000 && pick(l, true, false) != LIVING; n++)
		mark(l);
	assert_int_equal(pick(l, true, false), LIVING);
	ec_pool_fold(&l->p);
	l->retired += ec_pool_retire(&l->p);
	ec_pool_fold(&l->p);
	ec_pool_check(&l->p);
	check_usage(l);
}

static void live(uint32_t n, uint32_t k, uint32_t m, unsigned seeds,
		 struct life *sum)
{
	for (uint64_t seed = 1; seed <= seeds; seed++) {
		struct life l = {.seed = seed << 40};

		ec_pool_open(&l.p, n, k, m, BLOCK, 2, 12, 1);
		for (unsigned i = 0; i < 600; i++) {
			step(&l);
			if (i % 25 == 0) {
				ec_pool_check(&l.p);
				check_usage(&l);
				read_the_lost(&l);
			}
		}
		end_all(&l);
		sum->deaths += l.deaths;
		sum->retired += l.retired;
		sum->reads += l.reads;
		sum->orphans += l.orphans;
		sum->full += l.full;
		ec_pool_close(&l.p);
	}
}

static void random_lives_keep_every_invariant(void **state)
{
	struct life sum = {0};

	live(5, 3, 2, 12, &sum);
	live(4, 2, 1, 6, &sum);
	live(3, 1, 2, 4, &sum);
	live(9, 4, 3, 4, &sum);
	/* all of it did happen */
	assert_true(sum.deaths > 20);
	assert_true(sum.retired > 200);
	assert_true(sum.reads > 1000);
	assert_true(sum.orphans > 50);
	assert_true(sum.full > 20);
}

/* --- two threads ---------------------------------------------------------- */

struct shared {
	struct ec_pool p;
	int stop; /* atomic */
	unsigned retired;
};

static void *background(void *arg)
{
	struct shared *s = arg;

	while (!__atomic_load_n(&s->stop, __ATOMIC_ACQUIRE)) {
		ec_pool_fold(&s->p);
		s->retired += ec_pool_retire(&s->p);
	}
	return NULL;
}

/* Returns false when there is no room now. */
static bool one_life(struct shared *s, uint32_t leader, uint64_t seed)
{
	struct ec_block b;
	uint32_t k = s->p.g.k;
	bool rows = seed % 5 == 0;

	if (ec_pool_take(&s->p, leader, rows ? BLOCK_ROWS : BLOCK_PAGES, false,
			 &b) != 0)
		return false;
	ec_pool_fill(&s->p, &b, 0, 8192, seed);
	ec_pool_seal(&s->p, &b, 8192);
	/* the leader last: nobody marks what it may have given back */
	for (uint32_t i = 0; i < k + s->p.g.m; i++) {
		uint32_t r = (i + k + 1) % (k + s->p.g.m);
		uint32_t node = ec_pool_node(&s->p, b.stripe, r);

		for (uint32_t d = rows ? 0 : b.role;
		     d < (rows ? k : b.role + 1); d++)
			if (r >= k || r == d)
				assert_int_equal(alloc_mark(s->p.a[node],
							    b.stripe, d, b.life,
							    0, 8192 / 64),
						 0);
	}
	return true;
}

static time_t now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

static void asking_and_folding_go_side_by_side(void **state)
{
	struct shared s = {0};
	struct alloc_usage u;
	time_t end = now_s() + 60;
	unsigned lives = 0;
	pthread_t t;

	ec_pool_open(&s.p, 5, 3, 2, BLOCK, 2, 8, 0);
	assert_int_equal(pthread_create(&t, NULL, background, &s), 0);
	for (uint64_t i = 0; lives < 400 && now_s() < end; i++) {
		if (one_life(&s, i % 5, i))
			lives++;
		else
			sched_yield(); /* the other makes room */
		alloc_usage(s.p.a[i % 5], &u);
	}
	__atomic_store_n(&s.stop, 1, __ATOMIC_RELEASE);
	pthread_join(t, NULL);
	assert_int_equal(lives, 400);
	ec_pool_fold(&s.p);
	s.retired += ec_pool_retire(&s.p);
	ec_pool_fold(&s.p);
	assert_int_equal(s.retired, lives);
	ec_pool_check(&s.p);
	for (uint32_t i = 0; i < 5; i++) {
		alloc_usage(s.p.a[i], &u);
		assert_int_equal(u.own_blocks, 0);
		assert_int_equal(u.delta_used, 0);
	}
	ec_pool_close(&s.p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_lives_keep_every_invariant),
		cmocka_unit_test(asking_and_folding_go_side_by_side),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
