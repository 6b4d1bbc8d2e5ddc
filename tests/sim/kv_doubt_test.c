/* Answers that are lost leave no block behind: a node that comes new is whole
 * again while the client lives that never heard of what it was granted. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kv/kv.h"
#include "tests/lib/cluster.h"
#include "tests/lib/cluster_check.h"
#include "tests/lib/sim.h"

#define MS   UINT64_C(1000000)
#define KEYS 200u
#define LEN  8000u

static void val_of(uint8_t *to, uint32_t i)
{
	memset(to, (int)(i % 251 + 1), LEN);
}

static void put(struct kv *kv, uint32_t i)
{
	static uint8_t val[LEN];
	char key[16];
	int n = snprintf(key, sizeof(key), "k%u", i);
	int rc = -ETIMEDOUT;

	val_of(val, i);
	for (int tries = 0; rc == -ETIMEDOUT && tries < 20; tries++)
		rc = kv_put(kv, key, (size_t)n, val, LEN, NULL);
	assert_int_equal(rc, 0);
}

static void has(struct kv *kv, uint32_t i)
{
	static uint8_t val[LEN], got[LEN];
	char key[16];
	int n = snprintf(key, sizeof(key), "k%u", i);
	size_t len;

	val_of(val, i);
	assert_int_equal(
		kv_get(kv, key, (size_t)n, got, sizeof(got), &len, NULL), 0);
	assert_int_equal(len, LEN);
	assert_memory_equal(got, val, LEN);
}

/* What is open at node @id, whoever owns it. */
static unsigned open_blocks(struct cluster *c, uint32_t id)
{
	struct proto_stats st;

	node_stats(cluster_node(c, id), &st);
	return st.open_blocks;
}

static unsigned all_open(struct cluster *c)
{
	unsigned n = 0;

	for (uint32_t id = 0; id < 5; id++)
		n += open_blocks(c, id);
	return n;
}

static void lose(struct cluster *c, void *arg)
{
	struct kv *kv = cluster_client(c);
	const uint32_t *permille = arg;

	sim_drop(cluster_sim(c), *permille, "kv");
	for (uint32_t i = 0; i < KEYS; i++)
		put(kv, i);
	sim_drop(cluster_sim(c), 0, "kv");
	cluster_kill_node(c, 1);
	cluster_settle(c);
	cluster_replace_node(c, 1);
	cluster_settle(c);
	for (uint32_t i = 0; i < KEYS; i++)
		has(kv, i);
	cluster_client_close(c, kv);
	cluster_sleep(c, 500 * MS);
	assert_int_equal(all_open(c), 0);
}

static void run(uint64_t seeds, uint32_t permille)
{
	for (uint64_t seed = 1; seed <= seeds; seed++) {
		struct cluster_opts o = {.mode = CLUSTER_SIM, .seed = seed};

		print_message("seed %lu, %u permille\n", (unsigned long)seed,
			      permille);
		cluster_run(&o, lose, &permille);
	}
}

static void a_lost_answer_keeps_no_node_from_coming(void **state)
{
	(void)state;
	run(20 / SIM_SLOWNESS + 1, 100);
}

static void nor_do_many(void **state)
{
	(void)state;
	run(5 / SIM_SLOWNESS + 1, 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_lost_answer_keeps_no_node_from_coming),
		cmocka_unit_test(nor_do_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
