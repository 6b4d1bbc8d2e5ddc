/* A client that has not heard of a node's death yet, while others have: it
 * reads what that node's memory was, which shared memory lets it. What it is
 * told was true at some time during the call all the same, and a check finds
 * nothing wrong: nothing new is put where only the others look for it.
 *
 * A failing seed is printed; run it alone: kv_late_view_test SEED [LAST]. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kv/check.h"
#include "tests/lib/cluster.h"
#include "tests/lib/effort.h"
#include "tests/lib/sim.h"

#define KEYS	96u
#define WRITERS 4u
#define MS	UINT64_C(1000000)

static uint64_t first_seed = 1, last_seed = 12;

struct world {
	struct cluster *c;
	struct kv *writer, *late;
	uint32_t begun[KEYS], acked[KEYS]; /* of each key's values, numbered */
	bool stop;
	unsigned writers, reads;
	uint64_t seed;
};

/* All alike: what lay in a record's units before begins where it does. */
struct value {
	uint32_t key, number;
	uint8_t more[56];
};

static size_t name(char *to, uint32_t i)
{
	return (size_t)snprintf(to, 16, "key-%04u", i);
}

/* --- those who know ------------------------------------------------------- */

static void put(struct world *w, uint32_t i)
{
	struct value v = {.key = i, .number = ++w->begun[i]};
	char key[16];
	size_t len = name(key, i);

	assert_int_equal(kv_put(w->writer, key, len, &v, sizeof(v), NULL), 0);
	w->acked[i] = v.number;
}

static void write_on(void *arg)
{
	struct world *w = arg;
	uint32_t own = w->writers++;

	for (uint32_t n = 0; !w->stop; n++)
		put(w, n * 7 % (KEYS / WRITERS) * WRITERS + own);
}

/* --- and who does not ----------------------------------------------------- */

static void read_one(struct world *w, uint32_t i)
{
	uint32_t acked = w->acked[i];
	struct value v;
	char key[16];
	size_t len = name(key, i), got;

	assert_int_equal(kv_get(w->late, key, len, &v, sizeof(v), &got, NULL),
			 0);
	assert_int_equal(got, sizeof(v));
	assert_int_equal(v.key, i);
	assert_in_range(v.number, acked, w->begun[i]);
	w->reads++;
}

static void read_on(void *arg)
{
	struct world *w = arg;

	for (uint32_t n = 0; !w->stop; n++)
		read_one(w, n * 13 % KEYS);
}

static void tell(void *arg, const struct kv_damage *d)
{
	print_error("seed %llu: %s: %s\n", (unsigned long long)*(uint64_t *)arg,
		    d->name, d->words);
}

static void check_on(void *arg)
{
	struct world *w = arg;
	struct kv_check_opts o = {
		.mend = true, .damage = tell, .arg = &w->seed};
	struct kv_check_sum sum;
	struct kv_check *c;

	while (!w->stop) {
		assert_int_equal(kv_check_open(w->late, &o, &c), 0);
		assert_int_equal(kv_check_index(c), 0);
		kv_check_sum(c, &sum);
		kv_check_close(c);
		assert_int_equal(sum.wrong, 0);
		w->reads++;
	}
}

/* --- one death ------------------------------------------------------------ */

static void scene(struct world *w, void (*look)(void *arg))
{
	struct sim *s = cluster_sim(w->c);

	for (uint32_t round = 0; round < 3; round++)
		for (uint32_t i = 0; i < KEYS; i++)
			put(w, i);
	for (uint32_t i = 0; i < WRITERS; i++)
		cluster_spawn(w->c, write_on, w);
	cluster_spawn(w->c, look, w);
	cluster_sleep(w->c, MS + sim_dice(s, 2 * MS));
	sim_drop(s, 1000, "kv2");
	cluster_kill_node(w->c, (uint32_t)sim_dice(s, 5));
	cluster_sleep(w->c, 20 * MS);
	sim_drop(s, 0, "");
	cluster_sleep(w->c, 50 * MS);
	w->stop = true;
	cluster_join(w->c);
	for (uint32_t i = 0; i < KEYS; i++)
		read_one(w, i);
}

static void begin(struct world *w, struct cluster *c, void *seed)
{
	*w = (struct world){.c = c, .seed = *(uint64_t *)seed};
	w->writer = cluster_client(c); /* kv1 */
	w->late = cluster_client(c);   /* kv2 */
}

static void reads_body(struct cluster *c, void *seed)
{
	struct world w;

	begin(&w, c, seed);
	scene(&w, read_on);
	assert_true(w.reads > KEYS);
}

static void check_body(struct cluster *c, void *seed)
{
	struct world w;

	begin(&w, c, seed);
	scene(&w, check_on);
	assert_true(w.reads > 0);
}

static void each_seed(void (*body)(struct cluster *c, void *seed))
{
	uint64_t last = first_seed + effort(last_seed - first_seed + 1) - 1;

	for (uint64_t seed = first_seed; seed <= last; seed++) {
		struct cluster_opts o = {.mode = CLUSTER_SIM,
					 .seed = seed,
					 .slots = 512,
					 .down_ns = 15 * MS,
					 .mapped = true};

		print_message("seed %llu\n", (unsigned long long)seed);
		cluster_run(&o, body, &seed);
	}
}

static void what_is_read_is_true(void **state)
{
	each_seed(reads_body);
}

static void a_check_finds_nothing_wrong(void **state)
{
	each_seed(check_body);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_read_is_true),
		cmocka_unit_test(a_check_finds_nothing_wrong),
	};

	if (argc > 1)
		first_seed = last_seed = strtoull(argv[1], NULL, 0);
	if (argc > 2)
		last_seed = strtoull(argv[2], NULL, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
