/* tests/sim/kv_pages_sim_test.c - pages while nodes and clients die at any
 * moment: whole pools in virtual time, from seeds, and a few over shared
 * memory with threads. What was acknowledged is read back by another client,
 * whole, also by decoding afterwards. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/cluster.h"
#include "tests/lib/seeds.h"

#define SETS	  16u /* of pages that live, of each writer */
#define PAGES_MAX 48u
#define PAGE	  KV_PAGE_BYTES
#define WRITERS	  2u

struct set {
	uint32_t n, stamp;
	struct kv_page page[PAGES_MAX];
};

struct world;

/* One client and what it was promised. */
struct writer {
	struct world *w;
	struct kv *kv;
	uint64_t dice;
	uint32_t id, stamps;
	_Atomic uint32_t writes;
	atomic_bool dead;
	struct set set[SETS];
};

struct world {
	struct cluster *c;
	struct writer writer[WRITERS];
	uint64_t dice;
	atomic_bool over;
	bool kill_client;
	uint32_t nodes_to_kill;
};

/* That the deaths hit something, over all seeds of a test. */
static struct {
	uint64_t retries, degraded, cut_short;
} met;

static struct seeds seeds;

static bool seeds_are_some(void)
{
	return seeds.last - seeds.first >= 7;
}

static uint32_t dice(uint64_t *state, uint32_t n)
{
	*state = *state * UINT64_C(6364136223846793005) + 1442695041;
	return (uint32_t)(*state >> 33) % n;
}

static void fill(uint8_t *page, uint32_t stamp, uint32_t i)
{
	uint64_t x = (uint64_t)stamp << 32 | i;

	for (uint32_t b = 0; b < PAGE; b += 8) {
		x = x * UINT64_C(6364136223846793005) + 1442695041;
		memcpy(page + b, &x, 8);
	}
}

/* Buffers of one call: too much for the stack of a fiber. */
struct pages {
	uint8_t bytes[PAGES_MAX][PAGE];
	const void *from[PAGES_MAX];
	void *to[PAGES_MAX];
};

static struct pages *pages_new(void)
{
	struct pages *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	for (uint32_t i = 0; i < PAGES_MAX; i++)
		p->from[i] = p->to[i] = p->bytes[i];
	return p;
}

static void write_set(struct writer *wr, struct set *s)
{
	struct pages *p = pages_new();
	struct kv_page page[PAGES_MAX];
	uint32_t stamp = ++wr->stamps << 1 | wr->id;
	uint32_t n = 1 + dice(&wr->dice, dice(&wr->dice, 2) ? PAGES_MAX : 6);
	int rc;

	for (uint32_t i = 0; i < n; i++)
		fill(p->bytes[i], stamp, i);
	rc = kv_pages_write(wr->kv, p->from, n, page);
	free(p);
	if (wr->dead) {
		met.cut_short++; /* its last words do not count */
		return;
	}
	assert_int_equal(rc, 0);
	if (s->n != 0)
		kv_pages_free(wr->kv, s->page, s->n);
	s->n = n;
	s->stamp = stamp;
	memcpy(s->page, page, sizeof(page));
	wr->writes++;
}

/* Returns what reading said: right, unless the reader is dead. */
static int read_set(struct kv *kv, const struct set *s)
{
	struct pages *p = pages_new();
	uint8_t want[PAGE];
	int rc = kv_pages_read(kv, s->page, s->n, p->to, true);

	for (uint32_t i = 0; rc == 0 && i < s->n; i++) {
		fill(want, s->stamp, i);
		assert_memory_equal(p->bytes[i], want, PAGE);
	}
	free(p);
	return rc;
}

/* Records lie in the same stripes as the pages. */
static void put_something(struct writer *wr)
{
	uint8_t val[1500];
	char key[16];
	int rc, k = snprintf(key, sizeof(key), "key %u", dice(&wr->dice, 40));

	memset(val, k, sizeof(val));
	rc = kv_put(wr->kv, key, (size_t)k, val,
		    1 + dice(&wr->dice, sizeof(val)), NULL);
	if (!wr->dead)
		assert_int_equal(rc, 0);
}

static void writer(void *arg)
{
	struct writer *wr = arg;

	while (!wr->w->over && !wr->dead) {
		struct set *s = &wr->set[dice(&wr->dice, SETS)];

		if (s->n != 0 && dice(&wr->dice, 3) == 0) {
			int rc = read_set(wr->kv, s);

			if (!wr->dead)
				assert_int_equal(rc, 0);
		} else if (dice(&wr->dice, 3) == 0) {
			put_something(wr);
		} else {
			write_set(wr, s);
		}
	}
}

static void killer(void *arg)
{
	struct world *w = arg;
	uint32_t first = dice(&w->dice, 5);
	uint32_t second = (first + 1 + dice(&w->dice, 4)) % 5;

	cluster_sleep(w->c, 200000 + dice(&w->dice, 6000000));
	if (w->kill_client) {
		w->writer[0].dead = true;
		cluster_client_kill(w->c, w->writer[0].kv);
	}
	if (w->nodes_to_kill > 0)
		cluster_kill_node(w->c, first);
	cluster_sleep(w->c, dice(&w->dice, 4000000));
	if (w->nodes_to_kill > 1)
		cluster_kill_node(w->c, second);
	cluster_sleep(w->c, 4000000);
	/* In real time a writer may not have been given a processor yet. */
	for (int i = 0; i < 10000 && w->writer[1].writes <= SETS / 2; i++)
		cluster_sleep(w->c, 1000000);
	w->over = true;
}

static void check_all(struct world *w, struct kv *kv)
{
	for (uint32_t i = 0; i < WRITERS; i++)
		for (uint32_t j = 0; j < SETS; j++)
			if (w->writer[i].set[j].n != 0)
				assert_int_equal(
					read_set(kv, &w->writer[i].set[j]), 0);
}

static void start(struct world *w, struct cluster *c)
{
	w->c = c;
	for (uint32_t i = 0; i < WRITERS; i++) {
		struct writer *wr = &w->writer[i];

		wr->w = w;
		wr->id = i;
		wr->dice = w->dice + i;
		wr->kv = cluster_client(c);
		for (uint32_t j = 0; j < SETS / 2; j++)
			write_set(wr, &wr->set[j]);
		cluster_spawn(c, writer, wr);
	}
	cluster_spawn(c, killer, w);
	cluster_join(c);
	assert_true(w->writer[1].writes > SETS / 2);
}

static void note(struct kv *kv)
{
	struct kv_stats st;

	kv_stats(kv, &st);
	met.retries += st.page_write.retries;
	met.degraded += st.degraded_reads;
}

static void nodes_die(struct cluster *c, void *arg)
{
	struct world *w = arg;

	start(w, c);
	check_all(w, w->writer[0].kv);
	cluster_settle(c);
	check_all(w, w->writer[1].kv);
	note(w->writer[0].kv);
	note(w->writer[1].kv);
}

/* A client dies; then, once its blocks are closed, any two nodes. */
static void client_dies(struct cluster *c, void *arg)
{
	struct world *w = arg;
	struct kv *other;
	uint32_t first = dice(&w->dice, 5);

	w->kill_client = true;
	start(w, c);
	other = w->writer[1].kv;
	check_all(w, other);
	cluster_sleep(c, UINT64_C(3000000000));
	cluster_settle(c);
	check_all(w, other);
	cluster_kill_node(c, first);
	check_all(w, other);
	cluster_kill_node(c, (first + 1 + dice(&w->dice, 4)) % 5);
	cluster_settle(c);
	check_all(w, other);
}

static void run(enum cluster_mode mode, uint64_t seed,
		void (*body)(struct cluster *c, void *arg), uint32_t nodes)
{
	struct cluster_opts o = {.mode = mode, .seed = seed};
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->nodes_to_kill = nodes;
	w->dice = seed * UINT64_C(0x9e3779b97f4a7c15);
	seeds_tell(seed);
	cluster_run(&o, body, w);
	free(w);
}

static void one_node_dies_at_any_moment(void **state)
{
	(void)state;
	memset(&met, 0, sizeof(met));
	for (uint64_t seed = seeds.first; seed <= seeds.last; seed++)
		run(CLUSTER_SIM, seed, nodes_die, 1);
	assert_true(met.retries > 0 || !seeds_are_some());
	assert_true(met.degraded > 0 || !seeds_are_some());
}

static void two_nodes_die_at_any_moment(void **state)
{
	(void)state;
	memset(&met, 0, sizeof(met));
	for (uint64_t seed = seeds.first; seed <= seeds.last; seed++)
		run(CLUSTER_SIM, seed, nodes_die, 2);
	assert_true(met.retries > 0 || !seeds_are_some());
	assert_true(met.degraded > 0 || !seeds_are_some());
}

static void a_client_dies_and_then_two_nodes(void **state)
{
	(void)state;
	memset(&met, 0, sizeof(met));
	for (uint64_t seed = seeds.first; seed <= seeds.last; seed++)
		run(CLUSTER_SIM, seed, client_dies, 0);
	assert_true(met.cut_short > 0 || !seeds_are_some());
}

static void threads_and_dying_nodes(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++)
		run(CLUSTER_SHM, 300 + seed, nodes_die, 2);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_node_dies_at_any_moment),
		cmocka_unit_test(two_nodes_die_at_any_moment),
		cmocka_unit_test(a_client_dies_and_then_two_nodes),
		cmocka_unit_test(threads_and_dying_nodes),
	};

	seeds = seeds_of(argc, argv, 8);
	if (argc > 1) /* threads know no seeds */
		cmocka_set_skip_filter("threads*");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
