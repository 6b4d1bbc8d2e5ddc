/* Why who lost says KILLED in its record before it is told so (C2 in
 * kv/client/commit.c). An insert finds its key there, and says -EEXIST; its
 * record begins the key under the index version of now, which outranks all that
 * a key has that was begun under an older one (N2 in kv/node/newest.h excuses
 * it only beside a living value). The key is deleted, the index node dies: what
 * was refused must not come to life. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kv/hash.h"
#include "tests/lib/by_hand.h"

#define SHARD 0u /* the key's; served by the node of that number */

/* A key of long ago: its version is of no index version. */
static void key_of_old(struct cluster *c, const char *key)
{
	struct hand_record r = hand_committed(key, "old", 5);
	struct hand_block block;
	struct hand h;

	hand_open(c, &h);
	assert_int_equal(hand_alloc(&h, 3, BLOCK_RECORDS, &block), 0);
	hand_put(&h, &block, &r);
	hand_leave(&h);
}

static void body(struct cluster *c, void *arg)
{
	struct kv *kv = cluster_client(c), *other;
	char key[16], buf[16];
	uint64_t version = 0;
	size_t n;
	int i = 0;

	do
		n = (size_t)snprintf(key, sizeof(key), "key-%d", i++);
	while (hash_shard(hash_of(key, n), 5) != SHARD);
	key_of_old(c, key);
	assert_int_equal(kv_insert(kv, key, n, "new", 3, NULL), -EEXIST);
	assert_int_equal(kv_get(kv, key, n, buf, sizeof(buf), NULL, &version),
			 0);
	assert_true(version == 5);
	assert_int_equal(kv_del(kv, key, n, 0), 0);
	cluster_kill_node(c, SHARD);
	cluster_settle(c);
	other = cluster_client(c);
	assert_int_equal(kv_get(kv, key, n, buf, sizeof(buf), NULL, NULL),
			 -ENOENT);
	assert_int_equal(kv_get(other, key, n, buf, sizeof(buf), NULL, NULL),
			 -ENOENT);
	cluster_client_close(c, other);
}

static void an_insert_that_was_refused_stays_so(void **state)
{
	for (unsigned seed = 1; seed <= 3; seed++) {
		struct cluster_opts o = {.mode = CLUSTER_SIM, .seed = seed};

		cluster_run(&o, body, NULL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_insert_that_was_refused_stays_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
