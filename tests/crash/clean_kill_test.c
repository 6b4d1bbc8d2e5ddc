/* Records that are moved out of the way of others (kv/client/clean.h): every
 * key has what it had, and blocks come back. Then for each node and the client
 * that moves them, for n = 1, 2, ...: it dies just before the client's n-th
 * remote operation. Another finds every key as it was, deleted ones deleted,
 * and the nodes' memory sound.
 *
 * Moments are taken in steps, but for EVERY=1.
 *
 *	clean_kill_test SEED WHO N: one alone; WHO 5: the client */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "kv/client/clean.h"
#include "kv/proto.h"
#include "tests/lib/cluster_check.h"
#include "tests/lib/effort.h"
#include "tests/lib/sim.h"

#define NODES	   5u
#define CLIENT	   NODES /* as a victim */
#define KEYS	   400u
#define BYTES_MAX  1500u
#define ROUNDS_MAX 40u
#define STEP	   61u
#define MS	   UINT64_C(1000000)

struct play {
	struct cluster *c;
	struct kv *kv;
	struct fab_net *net;
	uint32_t who, n, count, rounds;
	uint32_t age[KEYS]; /* of its value; 0: deleted */
	bool hit, ended;
};

static size_t value_of(uint32_t i, uint32_t age, char out[BYTES_MAX])
{
	size_t len = 30 + (i * 97 + age * 331) % (BYTES_MAX - 30);

	for (size_t at = 0; at < len; at++)
		out[at] = (char)(i * 7 + age * 13 + at);
	return len;
}

static int key_of(uint32_t i, char key[16])
{
	return snprintf(key, 16, "key%u", i);
}

static void write_key(struct play *y, uint32_t i)
{
	char key[16], val[BYTES_MAX];
	size_t klen = (size_t)key_of(i, key);
	size_t len = value_of(i, ++y->age[i], val);

	assert_int_equal(kv_put(y->kv, key, klen, val, len, NULL), 0);
}

/* Blocks of which much is obsolete, with records of all sizes between, and
 * tombstones. */
static void prepare(struct play *y)
{
	char key[16];

	for (uint32_t i = 0; i < KEYS; i++)
		write_key(y, i);
	for (uint32_t i = 0; i < KEYS; i++)
		if (i % 3 == 1)
			write_key(y, i);
	for (uint32_t i = 2; i < KEYS; i += 3) {
		assert_int_equal(kv_del(y->kv, key, (size_t)key_of(i, key), 0),
				 0);
		y->age[i] = 0;
	}
	assert_int_equal(kv_sync(y->kv), 0);
	cluster_sleep(y->c, 20 * MS);
}

static void look(struct play *y, struct kv *kv)
{
	char key[16], want[BYTES_MAX], got[BYTES_MAX];

	for (uint32_t i = 0; i < KEYS; i++) {
		size_t len = 0, klen = (size_t)key_of(i, key);
		int rc = kv_get(kv, key, klen, got, sizeof(got), &len, NULL);

		if (y->age[i] == 0) {
			assert_int_equal(rc, -ENOENT);
			continue;
		}
		assert_int_equal(rc, 0);
		assert_int_equal(len, value_of(i, y->age[i], want));
		assert_memory_equal(got, want, len);
	}
}

static void clean(void *arg)
{
	struct play *y = arg;
	int rc = 1;

	while (rc == 1 && y->rounds < ROUNDS_MAX) {
		rc = clean_block(y->kv, kv_thread(y->kv), CLEAN_FULL);
		y->rounds += rc == 1;
	}
	y->ended = true;
}

static void on_effect(void *arg, struct fab_net *net)
{
	struct play *y = arg;

	if (y->hit || net != y->net || ++y->count < y->n)
		return;
	y->hit = true;
	if (y->who == CLIENT)
		cluster_client_kill(y->c, y->kv);
	else
		cluster_kill_node(y->c, y->who);
}

static void begin(struct play *y, struct cluster *c)
{
	y->c = c;
	y->kv = cluster_client(c);
	y->net = cluster_client_net(c, y->kv);
	prepare(y);
}

/* --- nobody dies --------------------------------------------------------- */

static uint64_t blocks_in_use(struct kv *kv)
{
	struct fab *f = kv_thread(kv)->fab;
	uint64_t n = 0;

	for (uint8_t id = 0; id < NODES; id++) {
		struct proto_stats s;
		uint32_t len;

		assert_int_equal(fab_call_run(f, id, PROTO_STATS, NULL, 0, &s,
					      sizeof(s), &len, 100 * MS),
				 0);
		n += s.data_total - s.data_free;
	}
	return n;
}

static void moved_body(struct cluster *c, void *arg)
{
	struct play *y = arg;
	uint64_t before, after;
	struct kv *other;

	begin(y, c);
	before = blocks_in_use(y->kv);
	clean(y);
	assert_true(y->rounds > 3);
	cluster_sleep(c, 2000 * MS);
	after = blocks_in_use(y->kv);
	fprintf(stderr, "%u blocks, then %u, after %u rounds\n",
		(unsigned)before, (unsigned)after, y->rounds);
	assert_true(after < before);
	other = cluster_client(c);
	look(y, other);
	look(y, y->kv);
	cluster_settle(c);
	cluster_check(c, other, false);
}

static void play(uint64_t seed, void (*body)(struct cluster *c, void *arg),
		 struct play *y)
{
	struct cluster_opts o = {.mode = CLUSTER_SIM,
				 .seed = seed,
				 .usable = 8u << 20,
				 .slots = 2048,
				 .op_timeout_ms = 1000,
				 .clients = 4,
				 .ckpt_ms = (uint32_t)seed % 3,
				 .rest_ms = cluster_rest_ms(seed)};

	cluster_run(&o, body, y);
}

static void moved_and_given_back(void **state)
{
	for (uint64_t seed = 1; seed <= effort(4); seed++) {
		struct play y = {.n = 0};

		play(seed, moved_body, &y);
	}
}

/* --- somebody dies ------------------------------------------------------- */

static void killed_body(struct cluster *c, void *arg)
{
	struct play *y = arg;
	struct kv *other;

	begin(y, c);
	sim_on_effect(cluster_sim(c), on_effect, y);
	cluster_spawn(c, clean, y);
	while (!y->ended && !(y->hit && y->who == CLIENT))
		cluster_sleep(c, MS / 100);
	sim_on_effect(cluster_sim(c), NULL, NULL);
	other = cluster_client(c);
	look(y, other);
	cluster_settle(c);
	look(y, other);
	cluster_join(c);
	cluster_sleep(c, 20 * MS);
	cluster_check(c, other, y->hit && y->who == CLIENT);
}

static uint32_t step(void)
{
	if (getenv("EVERY") != NULL)
		return 1;
	return effort_is_whole() ? STEP : 8 * STEP;
}

static void somebody_dies(void **state)
{
	uint32_t hits = 0;

	for (uint32_t who = 0; who <= CLIENT; who++) {
		bool hit = true;

		for (uint32_t n = 1 + who * 7 % step(); hit; n += step()) {
			struct play y = {.who = who, .n = n};

			fprintf(stderr, "seed %u, victim %u at %u\n", 1 + n,
				who, n);
			play(1 + n, killed_body, &y);
			hit = y.hit;
			hits += hit;
		}
	}
	assert_true(hits > NODES);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(moved_and_given_back),
		cmocka_unit_test(somebody_dies),
	};

	if (argc == 4) {
		struct play y = {.who = (uint32_t)atoi(argv[2]),
				 .n = (uint32_t)atoi(argv[3])};

		play(strtoull(argv[1], NULL, 0), killed_body, &y);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
