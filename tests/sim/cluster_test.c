/* tests/sim/cluster_test.c - whole pools in one process: real clients, nodes
 * and coordinator; simulated, and over shared memory with threads. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/lib/cluster.h"
#include "tests/lib/effort.h"
#include "tests/lib/cluster_check.h"

static const char *key_of(char key[32], unsigned i)
{
	snprintf(key, 32, "key-%u", i);
	return key;
}

static void put_all(struct kv *kv, unsigned n, const char *val)
{
	char key[32];
	unsigned i;

	for (i = 0; i < n; i++) {
		key_of(key, i);
		assert_int_equal(
			kv_put(kv, key, strlen(key), val, strlen(val), NULL),
			0);
	}
}

static void get_all(struct kv *kv, unsigned n, const char *val)
{
	char key[32], buf[64];
	uint64_t version;
	size_t len;
	unsigned i;

	for (i = 0; i < n; i++) {
		key_of(key, i);
		assert_int_equal(kv_get(kv, key, strlen(key), buf, sizeof(buf),
					&len, &version),
				 0);
		assert_int_equal(len, strlen(val));
		assert_memory_equal(buf, val, len);
	}
}

/* Any two nodes die, one after the other; nothing that was acknowledged is
 * lost, and both clients go on. */
static void two_nodes_die(struct cluster *c, void *arg)
{
	const uint32_t *dead = arg;
	struct kv *a = cluster_client(c), *b = cluster_client(c);

	put_all(a, 100, "first");
	get_all(b, 100, "first");
	cluster_kill_node(c, dead[0]);
	get_all(b, 100, "first");
	put_all(a, 60, "second");
	cluster_kill_node(c, dead[1]);
	get_all(a, 60, "second");
	put_all(b, 100, "third");
	get_all(a, 100, "third");
	cluster_settle(c);
	get_all(b, 100, "third");
}

static uint64_t slots_used(struct kv *kv)
{
	struct kv_space sp;

	assert_int_equal(kv_space(kv, &sp), 0);
	return sp.slots_used;
}

static void del_some(struct kv *kv, unsigned n)
{
	char key[32];
	unsigned i;

	for (i = 0; i < n; i++) {
		key_of(key, i);
		assert_int_equal(kv_del(kv, key, strlen(key), 0), 0);
	}
}

static void expect_gone(struct kv *kv, unsigned n)
{
	char key[32], buf[64];
	uint64_t version;
	size_t len;
	unsigned i;

	for (i = 0; i < n; i++) {
		key_of(key, i);
		assert_int_equal(kv_get(kv, key, strlen(key), buf, sizeof(buf),
					&len, &version),
				 -ENOENT);
	}
}

static void insert_some(struct kv *kv, unsigned n, const char *val)
{
	char key[32];
	unsigned i;

	for (i = 0; i < n; i++) {
		key_of(key, i);
		assert_int_equal(
			kv_insert(kv, key, strlen(key), val, strlen(val), NULL),
			0);
		assert_int_equal(
			kv_insert(kv, key, strlen(key), val, strlen(val), NULL),
			-EEXIST);
	}
}

/* Tombstones leave the index when nothing is left that they cover; the keys
 * stay away, also after a replay, and may be inserted anew. */
static void tombstones_are_swept(struct cluster *c, void *arg)
{
	struct kv *a = cluster_client(c), *b = cluster_client(c);

	put_all(a, 600, "first");
	put_all(b, 600, "second");
	del_some(a, 400);
	assert_int_equal(slots_used(b), 600);
	cluster_client_close(c, a); /* its blocks are sealed */
	cluster_sleep(c, UINT64_C(40000000000));
	assert_true(slots_used(b) < 300);
	expect_gone(b, 400);
	cluster_kill_node(c, 0);
	cluster_kill_node(c, 3);
	expect_gone(b, 400);
	insert_some(b, 400, "third");
	get_all(b, 400, "third");
	cluster_settle(c);
	cluster_check(c, b, false);
}

static void test_sweep(void **state)
{
	struct cluster_opts o = {.mode = CLUSTER_SIM, .settle_ms = 100};

	for (o.seed = 1; o.seed <= 3; o.seed++, o.ckpt_ms = 20)
		cluster_run(&o, tombstones_are_swept, NULL);
}

static void run(enum cluster_mode mode, uint32_t x, uint32_t y)
{
	struct cluster_opts o = {.mode = mode, .seed = 5 * x + y + 1};
	uint32_t dead[2] = {x, y};

	cluster_run(&o, two_nodes_die, dead);
}

static void test_sim(void **state)
{
	uint32_t x, y;

	for (x = 0; x < effort(5); x++)
		for (y = 0; y < 5; y++)
			if (x != y)
				run(CLUSTER_SIM, x, y);
}

static void test_shm(void **state)
{
	run(CLUSTER_SHM, 0, 1);
	run(CLUSTER_SHM, 3, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sim),
		cmocka_unit_test(test_sweep),
		cmocka_unit_test(test_shm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
