/* tests/sim/kv_reclaim_test.c - a pool that is nearly full is written over at
 * random, many times what it holds: the space of what was replaced is had again
 * in place (ec/again.h), nothing is lost, and when all is deleted all is free.
 *
 *	kv_reclaim_test [FIRST_SEED [LAST]] */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kv/client/clean.h"
#include "tests/lib/cluster.h"
#include "tests/lib/cluster_check.h"
#include "tests/lib/seeds.h"
#include "tests/lib/sim.h"

#define USABLE	   (6u << 20)
#define SLOTS	   8192u
#define PAGE	   KV_PAGE_BYTES
#define VALUE_MAX  3000u
#define THINGS_MAX 8192u
#define RUN_PAGES  64u /* a run's most: some blocks */
#define S	   UINT64_C(1000000000)

/* What a client's cleaner may take until it says that the pool is full. */
#define CLEAN_ROUNDS 15u
#define CLEAN_NAP_NS UINT64_C(20000000)

static struct seeds seeds;

struct world {
	struct cluster *c;
	struct kv *kv;
	uint64_t dice;
	uint32_t things; /* pages, keys, or runs */
	uint32_t stamp[THINGS_MAX];
	struct kv_page page[THINGS_MAX]; /* of runs: RUN_PAGES each */
	uint64_t written;		 /* bytes */
	uint32_t kill;			 /* nodes to kill on the way */
	uint64_t refused_at;		 /* go_on(): the first time */
};

static uint32_t dice(struct world *w, uint32_t n)
{
	w->dice = w->dice * UINT64_C(6364136223846793005) + 1442695041;
	return (uint32_t)(w->dice >> 33) % n;
}

static void fill(uint8_t *to, uint32_t len, uint32_t i, uint32_t stamp)
{
	uint64_t x = (uint64_t)stamp << 32 | i;

	for (uint32_t b = 0; b < len; b++) {
		x = x * UINT64_C(6364136223846793005) + 1442695041;
		to[b] = (uint8_t)(x >> 56);
	}
}

static double full(struct world *w)
{
	struct kv_space s;

	cluster_sleep(w->c, S);
	assert_int_equal(kv_space(w->kv, &s), 0);
	return (double)s.used / (double)(s.used + s.available);
}

static void show(struct world *w)
{
	for (uint32_t i = 0; i < 5; i++) {
		struct node *n = cluster_node(w->c, i);
		struct proto_stats s;

		if (n == NULL)
			continue;
		node_stats(n, &s);
		fprintf(stderr,
			"node %u: total %llu free %llu reserve %llu dead %llu "
			"open %u delta %llu/%llu\n",
			i, (unsigned long long)s.data_total,
			(unsigned long long)s.data_free,
			(unsigned long long)s.reserve,
			(unsigned long long)s.dead_bytes, s.open_blocks,
			(unsigned long long)s.delta_used,
			(unsigned long long)s.delta_total);
	}
}

static uint64_t used(struct world *w)
{
	struct kv_space s;

	cluster_sleep(w->c, S);
	assert_int_equal(kv_space(w->kv, &s), 0);
	return s.used;
}

/* --- pages ---------------------------------------------------------------- */

static int page_write(struct world *w, uint32_t i)
{
	static uint8_t bytes[PAGE];
	const void *from = bytes;
	struct kv_page now;
	int rc;

	fill(bytes, PAGE, i, w->stamp[i] + 1);
	rc = kv_pages_write(w->kv, &from, 1, &now);
	if (rc != 0)
		return rc;
	w->stamp[i]++;
	w->written += PAGE;
	kv_pages_free(w->kv, &w->page[i], 1);
	w->page[i] = now;
	return 0;
}

static void page_check(struct world *w, uint32_t i)
{
	static uint8_t want[PAGE], got[PAGE];
	void *to = got;

	fill(want, PAGE, i, w->stamp[i]);
	assert_int_equal(kv_pages_read(w->kv, &w->page[i], 1, &to, true), 0);
	assert_memory_equal(want, got, PAGE);
}

static void page_drop(struct world *w, uint32_t i)
{
	kv_pages_free(w->kv, &w->page[i], 1);
}

/* --- runs of pages, as of files that are written anew as a whole ---------- */

static uint32_t run_pages(uint32_t i, uint32_t stamp)
{
	return 1 + (i * 977 + stamp * 1409) % RUN_PAGES;
}

static void run_drop(struct world *w, uint32_t i)
{
	kv_pages_free(w->kv, &w->page[(size_t)i * RUN_PAGES],
		      w->stamp[i] == 0 ? 0 : run_pages(i, w->stamp[i]));
}

static int run_write(struct world *w, uint32_t i)
{
	static uint8_t bytes[RUN_PAGES][PAGE];
	uint32_t n = run_pages(i, w->stamp[i] + 1);
	const void *from[RUN_PAGES];
	struct kv_page now[RUN_PAGES];
	int rc;

	for (uint32_t p = 0; p < n; p++) {
		fill(bytes[p], PAGE, i * RUN_PAGES + p, w->stamp[i] + 1);
		from[p] = bytes[p];
	}
	rc = kv_pages_write(w->kv, from, n, now);
	if (rc != 0)
		return rc;
	run_drop(w, i);
	w->stamp[i]++;
	w->written += (uint64_t)n * PAGE;
	memcpy(&w->page[(size_t)i * RUN_PAGES], now, n * sizeof(now[0]));
	return 0;
}

static void run_check(struct world *w, uint32_t i)
{
	static uint8_t want[PAGE], got[RUN_PAGES][PAGE];
	uint32_t n = run_pages(i, w->stamp[i]);
	void *to[RUN_PAGES];

	for (uint32_t p = 0; p < n; p++)
		to[p] = got[p];
	assert_int_equal(kv_pages_read(w->kv, &w->page[(size_t)i * RUN_PAGES],
				       n, to, true),
			 0);
	for (uint32_t p = 0; p < n; p++) {
		fill(want, PAGE, i * RUN_PAGES + p, w->stamp[i]);
		assert_memory_equal(want, got[p], PAGE);
	}
}

/* --- records -------------------------------------------------------------- */

static uint32_t value_len(uint32_t i, uint32_t stamp)
{
	return 100 + (i * 977 + stamp * 1409) % VALUE_MAX;
}

/* As its client's cleaner does in a thread of its own (kv/client/clean.h),
 * which this one is without: between records that stay all holes may be too
 * short. */
static int put_and_clean(struct world *w, const char *key, const uint8_t *value,
			 uint32_t len)
{
	int rc = kv_put(w->kv, key, strlen(key), value, len, NULL);

	for (uint32_t n = 0; rc == -ENOSPC && n < CLEAN_ROUNDS; n++) {
		rc = clean_block(w->kv, kv_thread(w->kv), CLEAN_FULL);
		if (rc != 1)
			cluster_sleep(w->c, CLEAN_NAP_NS);
		rc = kv_put(w->kv, key, strlen(key), value, len, NULL);
	}
	return rc;
}

static int record_write(struct world *w, uint32_t i)
{
	static uint8_t value[VALUE_MAX + 100];
	uint32_t len = value_len(i, w->stamp[i] + 1);
	char key[16];
	int rc;

	snprintf(key, sizeof(key), "key %u", i);
	fill(value, len, i, w->stamp[i] + 1);
	rc = put_and_clean(w, key, value, len);
	if (rc != 0)
		return rc;
	w->stamp[i]++;
	w->written += len;
	return 0;
}

static void record_check(struct world *w, uint32_t i)
{
	static uint8_t want[VALUE_MAX + 100], got[VALUE_MAX + 100];
	size_t len = sizeof(got);
	char key[16];

	snprintf(key, sizeof(key), "key %u", i);
	fill(want, value_len(i, w->stamp[i]), i, w->stamp[i]);
	assert_int_equal(kv_get(w->kv, key, strlen(key), got, len, &len, NULL),
			 0);
	assert_int_equal(len, value_len(i, w->stamp[i]));
	assert_memory_equal(want, got, len);
}

static void record_drop(struct world *w, uint32_t i)
{
	char key[16];

	snprintf(key, sizeof(key), "key %u", i);
	assert_int_equal(kv_del(w->kv, key, strlen(key), 0), 0);
}

/* --- the play ------------------------------------------------------------- */

struct kind {
	int (*write)(struct world *w, uint32_t i);
	void (*check)(struct world *w, uint32_t i);
	void (*drop)(struct world *w, uint32_t i);
	double to; /* how full */
	uint32_t max;
	uint32_t look; /* at that, every so many */
};

static void check_all(struct world *w, const struct kind *k)
{
	for (uint32_t i = 0; i < w->things; i++)
		k->check(w, i);
}

static void fill_up(struct world *w, const struct kind *k)
{
	while (w->things < k->max) {
		int rc = k->write(w, w->things);

		if (rc != 0)
			fail_msg("filling, after %u: %d, %.3f full", w->things,
				 rc, full(w));
		w->things++;
		if (w->things % k->look == 0 && full(w) >= k->to)
			break;
	}
	w->written = 0;
}

static void overwrite(struct world *w, const struct kind *k, uint64_t bytes)
{
	uint32_t n = 0;

	while (w->written < bytes) {
		uint32_t i = dice(w, w->things);
		int rc = k->write(w, i);

		if (rc != 0) {
			show(w);
			fail_msg("after %u writes: %d, %.3f full", n, rc,
				 full(w));
		}
		n++;
		k->check(w, i);
		k->check(w, dice(w, w->things));
		if (w->kill != 0 && n % 500 == 0) {
			w->kill--;
			cluster_kill_node(w->c, dice(w, 5));
			cluster_settle(w->c);
		}
	}
}

static void play(struct cluster *c, const struct kind *k, uint32_t kill)
{
	struct world *w = calloc(1, sizeof(*w));
	uint64_t empty;

	w->c = c;
	w->kv = cluster_client(c);
	w->dice = sim_dice(cluster_sim(c), UINT64_MAX);
	w->kill = kill;
	empty = used(w);
	fill_up(w, k);
	overwrite(w, k, effort(3) * USABLE);
	check_all(w, k);
	kv_sync(w->kv);
	cluster_settle(c);
	cluster_check(c, w->kv, false);
	for (uint32_t i = 0; i < w->things; i++)
		k->drop(w, i);
	kv_sync(w->kv);
	cluster_client_close(c, w->kv);
	w->kv = cluster_client(c);
	cluster_sleep(c, 120 * S);
	if (kill == 0)
		assert_true(used(w) <= empty + 16 * (64u << 10));
	cluster_check(c, w->kv, false);
	free(w);
}

/* --- a node is away meanwhile -------------------------------------------- */

static uint64_t now(struct world *w)
{
	return sim_now(cluster_sim(w->c));
}

/* Overwrite for @ns. Returns how many were refused; *@longest is what one call
 * took. */
static uint32_t go_on(struct world *w, const struct kind *k, uint64_t ns,
		      uint64_t *longest)
{
	uint64_t end = now(w) + ns, begun, took;
	uint32_t i, refused = 0;
	int rc;

	for (*longest = 0; now(w) < end;) {
		i = dice(w, w->things);
		begun = now(w);
		rc = k->write(w, i);
		took = now(w) - begun;
		*longest = took > *longest ? took : *longest;
		assert_true(rc == 0 || rc == -ENOSPC);
		if (rc != 0 && refused++ == 0)
			w->refused_at = now(w);
		k->check(w, i);
		cluster_sleep(w->c, rc == 0 ? 0 : S / 20);
	}
	return refused;
}

static struct world *full_world(struct cluster *c, const struct kind *k)
{
	struct world *w = calloc(1, sizeof(*w));

	w->c = c;
	w->kv = cluster_client(c);
	w->dice = sim_dice(cluster_sim(c), UINT64_MAX);
	fill_up(w, k);
	return w;
}

struct absence {
	struct cluster *c;
	uint32_t id;
};

/* Beside a write that may be waiting for it. */
static void come_back(void *arg)
{
	const struct absence *a = arg;

	cluster_sleep(a->c, 2 * S);
	cluster_replace_node(a->c, a->id);
}

/* What it leads and keeps is had again when it is back: nobody is refused. */
static void replaced(struct cluster *c, void *arg)
{
	const struct kind *k = arg;
	struct world *w = full_world(c, k);
	struct absence a = {.c = c};
	uint64_t longest;

	for (a.id = 1; a.id < 5; a.id += 2) {
		cluster_kill_node(c, a.id);
		cluster_spawn(c, come_back, &a);
		assert_int_equal(go_on(w, k, 5 * S, &longest), 0);
		cluster_join(c);
		cluster_settle_at_work(c);
	}
	check_all(w, k);
	free(w);
}

/* It stays away: that is told after a while, and then soon. */
static void gone(struct cluster *c, void *arg)
{
	const struct kind *k = arg;
	struct world *w = full_world(c, k);
	uint64_t killed, longest;

	cluster_kill_node(c, 1);
	killed = now(w);
	assert_true(go_on(w, k, 15 * S, &longest) > 0);
	assert_true(w->refused_at >= killed + 10 * S);
	assert_true(longest < 11 * S);
	go_on(w, k, 3 * S, &longest);
	assert_true(longest < S);
	check_all(w, k);
	free(w);
}

static const struct kind pages = {
	page_write, page_check, page_drop, 0.95, THINGS_MAX, 32,
};
static const struct kind runs = {
	run_write, run_check, run_drop, 0.80, THINGS_MAX / RUN_PAGES, 1,
};
static const struct kind records = {
	record_write, record_check, record_drop, 0.80, THINGS_MAX, 32,
};

static void play_pages(struct cluster *c, void *arg)
{
	play(c, &pages, *(uint32_t *)arg);
}

static void play_runs(struct cluster *c, void *arg)
{
	play(c, &runs, *(uint32_t *)arg);
}

static void play_records(struct cluster *c, void *arg)
{
	play(c, &records, *(uint32_t *)arg);
}

static void each_seed_of(void (*body)(struct cluster *c, void *arg), void *arg)
{
	for (uint64_t seed = seeds.first; seed <= seeds.last; seed++) {
		seeds_tell(seed);
		cluster_run(
			&(struct cluster_opts){
				.mode = CLUSTER_SIM,
				.seed = seed,
				.usable = USABLE,
				.slots = SLOTS,
				.clients = 1,
				.rest_ms = cluster_rest_ms(seed),
			},
			body, arg);
	}
}

static void each_seed(void (*body)(struct cluster *c, void *arg), uint32_t kill)
{
	each_seed_of(body, &kill);
}

static void pages_are_overwritten_for_ever(void **state)
{
	each_seed(play_pages, 0);
}

static void runs_are_overwritten_for_ever(void **state)
{
	each_seed(play_runs, 0);
}

static void records_are_overwritten_for_ever(void **state)
{
	each_seed(play_records, 0);
}

static void a_node_that_comes_back_is_waited_for(void **state)
{
	each_seed_of(replaced, (void *)&pages);
	each_seed_of(replaced, (void *)&records);
}

static void one_that_stays_away_is_not(void **state)
{
	each_seed_of(gone, (void *)&pages);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pages_are_overwritten_for_ever),
		cmocka_unit_test(runs_are_overwritten_for_ever),
		cmocka_unit_test(records_are_overwritten_for_ever),
		cmocka_unit_test(a_node_that_comes_back_is_waited_for),
		cmocka_unit_test(one_that_stays_away_is_not),
	};

	seeds = seeds_of(argc, argv, 2);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
