/* Pools over several hosts: a node is cut off until it is given up, while
 * clients on both sides go on; then it comes back with its memory
 * (ec/former.h), and others die, so that what it kept is all there is. What was
 * acknowledged is found. Seeds by argument: FIRST [LAST]. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ec/rebuild.h"
#include "kv/node/node_impl.h"
#include "kv/node/restore.h"
#include "tests/lib/cluster_check.h"
#include "tests/lib/cluster_impl.h"
#include "tests/lib/effort.h"
#include "tests/lib/mem_store.h"
#include "tests/lib/sim.h"

#define MS    UINT64_C(1000000)
#define LEASE 400u
#define KEYS  48u
#define MOST  12000u /* bytes of a value */

static struct mem_disk disk;
static uint64_t first = 1, last;
static uint64_t kept, fetched;

/* --- two sides ------------------------------------------------------------ */

static char far_side[64]; /* names, each with a space behind; outlives all */
static bool is_cut;

static bool is_far(const char *name)
{
	char word[32];

	snprintf(word, sizeof(word), "%s ", name);
	return strstr(far_side, word) != NULL;
}

static bool passes(void *arg, const char *net, const char *server)
{
	return !is_cut || is_far(net) == is_far(server);
}

/* --- clients at work ------------------------------------------------------ */

struct actor {
	struct cluster *c;
	struct kv *kv;
	char name; /* first byte of its keys */
	uint64_t dice;
	uint32_t acked[KEYS]; /* version; 0: never written */
	uint32_t tried[KEYS]; /* the last one */
	bool pause, paused, stop;
	unsigned fails;
	char buf[MOST];
};

static uint64_t roll(struct actor *a, uint64_t n)
{
	a->dice = a->dice * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (a->dice >> 33) % n;
}

/* The value that version @v of a key has. */
static size_t value(char name, uint32_t key, uint32_t v, char *out)
{
	size_t len = 16 + (v * 7919u + key * 104729u) % (MOST - 16);

	memset(out, 0, 16);
	snprintf(out, 16, "%c%u.%u", name, key, v);
	for (size_t i = 16; i < len; i++)
		out[i] = (char)(v * 31 + key * 17 + i * 7 + i / 251);
	return len;
}

static void write_one(struct actor *a)
{
	uint32_t key = (uint32_t)roll(a, KEYS), v = a->tried[key] + 1;
	char name[8];
	size_t len = value(a->name, key, v, a->buf);
	int n = snprintf(name, sizeof(name), "%c%u", a->name, key);

	a->tried[key] = v;
	if (kv_put(a->kv, name, (size_t)n, a->buf, len, NULL) == 0)
		a->acked[key] = v;
	else
		a->fails++;
}

static void actor_main(void *arg)
{
	struct actor *a = arg;

	while (!a->stop) {
		a->paused = a->pause;
		if (!a->pause)
			write_one(a);
		cluster_sleep(a->c, MS / 2 + roll(a, 2 * MS));
	}
}

/* What was acknowledged, or tried since. */
static void check_one(struct kv *kv, const struct actor *a, uint32_t key)
{
	static char got[MOST], want[MOST];
	size_t len = 0;
	char name[8];
	int n = snprintf(name, sizeof(name), "%c%u", a->name, key), rc;

	rc = kv_get(kv, name, (size_t)n, got, sizeof(got), &len, NULL);
	if (rc == -ENOENT && a->acked[key] == 0)
		return;
	if (rc != 0)
		print_error("key %s: %s\n", name, strerror(-rc));
	assert_int_equal(rc, 0);
	for (uint32_t v = a->acked[key]; v <= a->tried[key]; v++)
		if (value(a->name, key, v, want) == len &&
		    memcmp(got, want, len) == 0)
			return;
	fail_msg("key %s is neither of versions %u to %u", name, a->acked[key],
		 a->tried[key]);
}

static void check_all(struct kv *kv, const struct actor *a, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		for (uint32_t key = 0; key < KEYS; key++)
			check_one(kv, &a[i], key);
}

static void pause_all(struct cluster *c, struct actor *a, unsigned n, bool on)
{
	for (unsigned i = 0; i < n; i++)
		a[i].pause = on;
	for (unsigned i = 0; on && i < n; i++)
		while (!a[i].paused)
			cluster_sleep(c, MS);
}

/* --- one world ------------------------------------------------------------ */

#define ACTORS 3u /* the last one is cut off together with the node */

static uint8_t state_of(struct cluster *c, uint32_t id)
{
	struct view v;

	coord_view(cluster_coord(c), &v);
	return v.node[id];
}

static void count(struct cluster *c, uint32_t id)
{
	struct node *n = cluster_node(c, id);
	struct rebuild_progress sum;

	pthread_mutex_lock(&n->lock);
	restore_sum(n, &sum);
	pthread_mutex_unlock(&n->lock);
	kept += sum.kept_bytes;
	fetched += sum.read_bytes;
}

static void cut_off(struct cluster *c, uint32_t id, struct actor *a)
{
	struct cluster_node *cn = &c->node[id];

	snprintf(far_side, sizeof(far_side), "kv%u node%u %s ", ACTORS, id,
		 cn->address);
	is_cut = true;
	while (state_of(c, id) != VIEW_NODE_DOWN)
		cluster_sleep(c, MS);
	cluster_sleep(c, roll(a, 300) * MS);
	is_cut = false;
	cluster_return_node(c, id);
}

/* All that is on others can be had with any two others away. */
static void without_others(struct cluster *c, struct actor *a, uint32_t id)
{
	uint32_t one = (id + 1 + (uint32_t)roll(a, 4)) % 5, two;

	do
		two = (uint32_t)roll(a, 5);
	while (two == id || two == one);
	cluster_kill_node(c, one);
	cluster_kill_node(c, two);
	check_all(a->kv, a, ACTORS);
	cluster_replace_node(c, one);
	cluster_replace_node(c, two);
	cluster_settle(c);
}

static void world(struct cluster *c, void *arg)
{
	uint64_t seed = *(uint64_t *)arg;
	static struct actor a[ACTORS];
	uint32_t id;

	sim_on_link(cluster_sim(c), passes, NULL);
	for (unsigned i = 0; i < ACTORS; i++) {
		a[i] = (struct actor){.c = c,
				      .kv = cluster_client(c),
				      .name = (char)('a' + i),
				      .dice = seed * 1000 + i};
		cluster_spawn(c, actor_main, &a[i]);
	}
	for (unsigned round = 0; round < 2; round++) {
		id = (uint32_t)roll(a, 5);
		cluster_sleep(c, (100 + roll(a, 300)) * MS);
		if (roll(a, 3) == 0)
			pause_all(c, a, ACTORS, true);
		cut_off(c, id, a);
		if (round == 0 && roll(a, 4) == 0)
			cut_off(c, id, a); /* half-way, once more */
		cluster_settle_at_work(c);
		count(c, id);
		pause_all(c, a, ACTORS, true);
		check_all(a->kv, a, ACTORS);
		without_others(c, a, id);
		pause_all(c, a, ACTORS, false);
	}
	for (unsigned i = 0; i < ACTORS; i++)
		a[i].stop = true;
	cluster_join(c);
	assert_int_equal(a[0].fails, 0);
	cluster_settle(c);
	cluster_check(c, a[0].kv, true);
}

static void play(uint64_t seed)
{
	struct cluster_opts o = {.mode = CLUSTER_SIM,
				 .seed = seed,
				 .remote = true,
				 .store = &disk,
				 .op_timeout_ms = 20000,
				 .lease_ms = LEASE,
				 .ckpt_ms = (uint32_t)seed % 3 * 10,
				 .rest_ms = cluster_rest_ms(seed)};

	print_message("seed %llu\n", (unsigned long long)seed);
	memset(&disk, 0, sizeof(disk));
	is_cut = false;
	cluster_run(&o, world, &seed);
}

static void test_worlds(void **state)
{
	for (uint64_t seed = first; seed <= last; seed++)
		play(seed);
	print_message("kept %llu KiB, fetched %llu KiB\n",
		      (unsigned long long)kept >> 10,
		      (unsigned long long)fetched >> 10);
	assert_true(kept > 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_worlds)};

	first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
	last = argc > 2	  ? strtoull(argv[2], NULL, 10)
	       : argc > 1 ? first
			  : effort(6);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
