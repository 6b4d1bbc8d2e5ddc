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

static void run(enum cluster_mode mode, uint32_t x, uint32_t y)
{
	struct cluster_opts o = {.mode = mode, .seed = 5 * x + y + 1};
	uint32_t dead[2] = {x, y};

	cluster_run(&o, two_nodes_die, dead);
}

static void test_sim(void **state)
{
	uint32_t x, y;

	for (x = 0; x < 5; x++)
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
		cmocka_unit_test(test_shm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
