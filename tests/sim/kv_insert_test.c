/* A client died in the last step of its insert (N3 in kv/client/insert.c): its
 * record says COMMITTED, its word is tentative. Nobody was told of it. Who
 * inserts the key then is acknowledged, and no replay may take the dead one's
 * record instead, though it says COMMITTED too. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kv/hash.h"
#include "kv/slot.h"
#include "tests/lib/by_hand.h"
#include "tests/lib/sim.h"

#define SHARD 0u /* the keys'; served by the node of that number */
#define KEYS  12u

struct left {
	uint64_t fate, times; /* of object_first_version() */
	bool sealed;	      /* the blocks, long ago */
};

static size_t key_of(char key[16], unsigned i)
{
	unsigned n = 0, met = 0;
	int len;

	do
		len = snprintf(key, 16, "key-%u", n++);
	while (hash_shard(hash_of(key, (size_t)len), 5) != SHARD || met++ != i);
	return (size_t)len;
}

static uint64_t index_version(struct cluster *c)
{
	struct view v;

	coord_view(cluster_coord(c), &v);
	return v.index_version;
}

/* Leave a word of each key; then die. */
static void leave(struct cluster *c, const struct left *what)
{
	struct hand_block block;
	struct hand h;
	char key[16];
	uint64_t word;

	hand_open(c, &h);
	for (unsigned i = 0; i < KEYS; i++) {
		struct hand_record r = {.key = key,
					.val = "dead",
					.fate = what->fate,
					.type = OBJECT_PUT};

		/* several nodes: addresses below and above others' */
		if (i % 4 == 0)
			assert_int_equal(hand_alloc(&h, 1 + i / 4,
						    BLOCK_RECORDS, &block),
					 0);
		key_of(key, i);
		r.version = object_first_version(index_version(c), what->times);
		word = hand_write(&h, &block, &r, UINT64_MAX);
		hand_point(&h, key, word | SLOT_TENTATIVE, 0);
		if (what->sealed && i % 4 == 3)
			hand_seal(&h, &block);
	}
	for (unsigned i = 0; what->sealed && i < 10; i++)
		hand_watch(&h, 1000); /* images are made */
	hand_die(&h);
}

static void is_ours(struct kv *kv)
{
	char key[16], buf[16];
	size_t len = 0;

	for (unsigned i = 0; i < KEYS; i++) {
		size_t n = key_of(key, i);

		assert_int_equal(
			kv_get(kv, key, n, buf, sizeof(buf), &len, NULL), 0);
		assert_int_equal(len, 4);
		assert_memory_equal(buf, "mine", 4);
	}
}

static void body(struct cluster *c, void *arg)
{
	const struct left *what = arg;
	struct kv *kv = cluster_client(c), *other;
	uint64_t version, begun = index_version(c);
	char key[16], buf[16];

	leave(c, what);
	for (unsigned i = 0; i < KEYS; i++) {
		size_t n = key_of(key, i);

		assert_int_equal(
			kv_get(kv, key, n, buf, sizeof(buf), NULL, NULL),
			-ENOENT);
		assert_int_equal(kv_insert(kv, key, n, "mine", 4, &version), 0);
		assert_true(version > object_first_version(begun, what->times));
		assert_true(object_begins(version));
	}
	assert_true(index_version(c) == begun); /* no sweep has helped */
	is_ours(kv);
	cluster_kill_node(c, SHARD);
	cluster_settle(c);
	other = cluster_client(c);
	is_ours(other);
	cluster_client_close(c, other);
}

static void who_comes_later_is_not_replaced(void **state)
{
	static const struct left lefts[] = {
		{.fate = OBJECT_COMMITTED, .times = 0},
		{.fate = OBJECT_COMMITTED, .times = 3},
		{.fate = OBJECT_COMMITTED, .times = 255},
		{.fate = OBJECT_PENDING, .times = 0},
	};

	for (uint32_t i = 0; i < sizeof(lefts) / sizeof(lefts[0]); i++) {
		struct cluster_opts o = {.mode = CLUSTER_SIM, .seed = i + 1};
		struct left what = lefts[i];

		cluster_run(&o, body, &what);
	}
}

/* Nobody came before the index died: the replay takes it, though no block with
 * it was written to since the image was made (I5 in kv/node/merge.h). Were it
 * passed over, a later one could take it, for a value acknowledged since. */
static void lone_body(struct cluster *c, void *arg)
{
	struct kv *kv = cluster_client(c);
	uint64_t begun = index_version(c);
	char key[16], buf[16];

	leave(c, arg);
	cluster_kill_node(c, SHARD);
	cluster_settle(c);
	for (unsigned i = 0; i < KEYS; i++) {
		size_t n = key_of(key, i), len = 0;

		assert_int_equal(
			kv_get(kv, key, n, buf, sizeof(buf), &len, NULL), 0);
		assert_memory_equal(buf, "dead", 4);
		assert_int_equal(kv_insert(kv, key, n, "mine", 4, NULL),
				 -EEXIST);
		assert_int_equal(kv_put(kv, key, n, "mine", 4, NULL), 0);
	}
	assert_true(index_version(c) == begun);
	cluster_kill_node(c, SHARD + 1);
	cluster_settle(c);
	is_ours(kv);
}

static void no_replay_passes_over_it(void **state)
{
	struct cluster_opts o = {.mode = CLUSTER_SIM, .seed = 1};
	struct left what = {.fate = OBJECT_COMMITTED};

	cluster_run(&o, lone_body, &what);
	what.sealed = true;
	cluster_run(&o, lone_body, &what);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_comes_later_is_not_replaced),
		cmocka_unit_test(no_replay_passes_over_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
