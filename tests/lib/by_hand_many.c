/* tests/lib/by_hand_many.c - many steps of by_hand.h at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "tests/lib/by_hand.h"

#define MS UINT64_C(1000000)

struct hand_record hand_committed(const char *key, const char *val,
				  uint64_t version)
{
	return (struct hand_record){.key = key,
				    .val = val,
				    .version = version,
				    .fate = OBJECT_COMMITTED,
				    .type = OBJECT_PUT};
}

/* The i-th key: static, one at a time. */
const char *hand_key(unsigned i)
{
	static char key[32];

	snprintf(key, sizeof(key), "key-%u", i);
	return key;
}

void hand_put_many(struct hand *h, struct hand_block *b, unsigned n)
{
	unsigned i;

	for (i = 0; i < n; i++) {
		struct hand_record r =
			hand_committed(hand_key(i), "value", i + 1);

		hand_put(h, b, &r);
	}
}

void hand_expect_many(struct hand *h, unsigned n)
{
	uint64_t slot, word, version;
	uint32_t node;
	unsigned i;

	for (i = 0; i < n; i++) {
		assert_true(hand_find(h, hand_key(i), &node, &slot, &word,
				      &version));
		assert_int_equal(version, i + 1);
	}
}

static bool all_serve(const struct view *v)
{
	uint32_t s;

	for (s = 0; s < v->nodes; s++)
		if (v->shard[s] == VIEW_SHARD_REBUILDING ||
		    v->shard[s] == VIEW_SHARD_SETTLING)
			return false;
	return true;
}

/* Adopt what comes until all that was lost serves again. */
void hand_follow(struct hand *h)
{
	unsigned tries = 0;

	do {
		hand_watch(h, 20);
		cluster_sleep(h->c, MS);
		assert_true(++tries < 1000);
	} while (tries < 3 || !all_serve(&h->joined.view));
	cluster_settle(h->c);
	hand_watch(h, 1);
}

struct proto_stats hand_stats(struct hand *h, uint32_t node)
{
	struct proto_stats st;

	assert_int_equal(
		hand_call(h, node, PROTO_STATS, NULL, 0, &st, sizeof(st)), 0);
	return st;
}
