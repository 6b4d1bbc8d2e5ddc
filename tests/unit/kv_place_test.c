/* tests/unit/kv_place_test.c - building a shard: P1 of kv/node/place.h. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "kv/hash.h"
#include "kv/node/place.h"

#define GROUPS	  5u
#define SLOTS	  (GROUPS * BUCKET_GROUP * BUCKET_SLOTS)
#define HINT_NONE UINT32_MAX

static uint64_t hash_nr(uint64_t i)
{
	return hash_of(&i, sizeof(i));
}

static bool may_lie_in(uint64_t hash, uint64_t slot)
{
	uint64_t first[2];
	int p;

	slot_places(hash, GROUPS, first);
	for (p = 0; p < 2; p++)
		if (slot >= first[p] && slot < first[p] + BUCKET_PAIR_SLOTS)
			return true;
	return false;
}

/* Words are 1 + the key's number: each placed key is found once, where a reader
 * looks for it, with its version. */
static void expect_all(const struct slot *room, const bool *placed, unsigned n)
{
	unsigned found[4 * SLOTS] = {0}, s, i;

	for (s = 0; s < SLOTS; s++) {
		if (room[s].word == 0)
			continue;
		i = (unsigned)room[s].word - 1;
		assert_true(i < n);
		assert_true(may_lie_in(hash_nr(i), s));
		assert_int_equal(room[s].version, 1000 + i);
		found[i]++;
	}
	for (i = 0; i < n; i++)
		assert_int_equal(found[i], placed[i]);
}

/* Keys come until one does not fit; what is there is whole at any time. */
static unsigned fill(struct place *p, bool *placed, unsigned n)
{
	unsigned i, count = 0;
	int rc;

	for (i = 0; i < n; i++) {
		rc = place_add(p, hash_nr(i), 1 + i, 1000 + i, HINT_NONE);
		assert_true(rc == 0 || rc == -ENOSPC);
		placed[i] = rc == 0;
		count += rc == 0;
	}
	return count;
}

static void test_fills_to_the_brim(void **state)
{
	struct slot room[SLOTS] = {0};
	bool placed[4 * SLOTS];
	struct place *p;
	unsigned count;

	assert_int_equal(place_open(GROUPS, &p), 0);
	count = fill(p, placed, 4 * SLOTS);
	place_write(p, room);
	expect_all(room, placed, 4 * SLOTS);
	/* With four times the keys, moves leave no slot empty. */
	assert_int_equal(count, SLOTS);
	place_close(p);
}

/* P1: what fitted together once fits in any other order. */
static void test_order_does_not_matter(void **state)
{
	bool placed[4 * SLOTS];
	unsigned set[SLOTS], n = 0, i, round;
	struct place *p;

	assert_int_equal(place_open(GROUPS, &p), 0);
	fill(p, placed, 4 * SLOTS);
	place_close(p);
	for (i = 0; i < 4 * SLOTS; i++)
		if (placed[i])
			set[n++] = i;
	assert_int_equal(n, SLOTS); /* a full shard: nothing to spare */
	srand(1);
	for (round = 0; round < 50; round++) {
		assert_int_equal(place_open(GROUPS, &p), 0);
		for (i = n - 1; i > 0; i--) {
			unsigned j = (unsigned)rand() % (i + 1), x = set[i];

			set[i] = set[j];
			set[j] = x;
		}
		for (i = 0; i < n; i++)
			assert_int_equal(place_add(p, hash_nr(set[i]),
						   1 + set[i], 1000 + set[i],
						   HINT_NONE),
					 0);
		assert_int_equal(
			place_add(p, hash_nr(4 * SLOTS), 1, 1, HINT_NONE),
			-ENOSPC);
		place_close(p);
	}
}

static void test_takes_hints(void **state)
{
	struct slot room[SLOTS] = {0};
	struct place *p;
	uint64_t first[2];

	slot_places(hash_nr(7), GROUPS, first);
	assert_int_equal(place_open(GROUPS, &p), 0);
	assert_int_equal(
		place_add(p, hash_nr(7), 70, 1, (uint32_t)first[1] + 3), 0);
	/* taken: another one, but a legal one */
	assert_int_equal(
		place_add(p, hash_nr(7), 71, 1, (uint32_t)first[1] + 3), 0);
	place_write(p, room);
	assert_int_equal(room[first[1] + 3].word, 70);
	place_close(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fills_to_the_brim),
		cmocka_unit_test(test_order_does_not_matter),
		cmocka_unit_test(test_takes_hints),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
