/* tests/sim/kv_check_test.c - kv/check.h: damage of every kind is made in the
 * memory of a simulated pool's nodes, found, told, mended. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "kv/check.h"
#include "kv/client/client_impl.h"
#include "kv/hash.h"
#include "kv/layout.h"
#include "kv/slot.h"
#include "tests/lib/cluster.h"
#include "tests/lib/cluster_check.h"

#define KEYS  60u
#define PAGES 40u

struct scene {
	struct cluster *c;
	struct kv *kv;
	struct kv_page page[PAGES];
	unsigned kinds[KV_DAMAGE_KINDS];
	char words[200];
	struct kv_damage last;
	bool drop_lost;
	bool scrub; /* bytes only */
};

/* --- a pool with something in it ----------------------------------------- */

static void fill_page(uint8_t *bytes, unsigned i)
{
	memset(bytes, (int)i + 1, KV_PAGE_BYTES);
	memcpy(bytes, &i, sizeof(i));
}

static void fill(struct scene *s)
{
	static uint8_t bytes[PAGES][KV_PAGE_BYTES];
	const void *data[PAGES];
	char key[32];

	s->kv = cluster_client(s->c);
	for (unsigned i = 0; i < KEYS; i++) {
		snprintf(key, sizeof(key), "key-%u", i);
		assert_int_equal(kv_put(s->kv, key, strlen(key),
					bytes, /* short and long ones */
					i % 7 == 0 ? 20000 : 100 * (i % 5),
					NULL),
				 0);
	}
	for (unsigned i = 0; i < PAGES; i++) {
		fill_page(bytes[i], i);
		data[i] = bytes[i];
	}
	/* few at a time take the way of deltas, many that of rows */
	for (unsigned i = 0; i < PAGES / 2; i++)
		assert_int_equal(
			kv_pages_write(s->kv, &data[i], 1, &s->page[i]), 0);
	assert_int_equal(kv_pages_write(s->kv, data + PAGES / 2, PAGES / 2,
					s->page + PAGES / 2),
			 0);
}

/* Everything sealed and folded; another client from here on. */
static void close_blocks(struct scene *s)
{
	cluster_client_close(s->c, s->kv);
	cluster_settle(s->c);
	s->kv = cluster_client(s->c);
}

static void all_is_right(struct scene *s)
{
	static uint8_t got[KV_PAGE_BYTES], want[KV_PAGE_BYTES], val[32768];
	char key[32];
	void *to = got;
	size_t len;

	for (unsigned i = 0; i < PAGES; i++) {
		assert_int_equal(
			kv_pages_read(s->kv, &s->page[i], 1, &to, true), 0);
		fill_page(want, i);
		assert_memory_equal(got, want, sizeof(want));
	}
	for (unsigned i = 0; i < KEYS; i++) {
		snprintf(key, sizeof(key), "key-%u", i);
		assert_int_equal(kv_get(s->kv, key, strlen(key), val,
					sizeof(val), &len, NULL),
				 0);
		assert_int_equal(len, i % 7 == 0 ? 20000 : 100 * (i % 5));
	}
}

/* --- looking ------------------------------------------------------------- */

static void note(void *arg, const struct kv_damage *d)
{
	struct scene *s = arg;

	s->kinds[d->kind]++;
	s->last = *d;
	snprintf(s->words, sizeof(s->words), "%s", d->words);
}

static int named(void *arg)
{
	return 1;
}

/* Data, space, then parities. */
static struct kv_check_sum check(struct scene *s, bool mend)
{
	struct kv_check_opts o = {.mend = mend,
				  .slots = !s->scrub,
				  .drop_lost = s->drop_lost,
				  .space = true,
				  .damage = note,
				  .arg = s};
	struct kv_check_sum sum;
	struct kv_check *c;
	int rc;

	memset(s->kinds, 0, sizeof(s->kinds));
	s->words[0] = '\0';
	assert_int_equal(kv_check_open(s->kv, &o, &c), 0);
	assert_int_equal(kv_check_index(c), 0);
	for (unsigned i = 0; i < PAGES; i++) {
		rc = kv_check_page(c, s->page[i], named, NULL);
		assert_true(rc == 0 || rc == -EIO);
	}
	assert_int_equal(kv_check_space(c), 0);
	assert_int_equal(kv_check_stripes(c), 0);
	kv_check_sum(c, &sum);
	kv_check_close(c);
	return sum;
}

static void is_sound(struct scene *s)
{
	struct kv_check_sum sum = check(s, false);

	if (sum.wrong + sum.leaks != 0)
		fail_msg("%s", s->words);
	assert_true(sum.records >= KEYS && sum.pages == PAGES &&
		    sum.stripes > 0);
}

/* @kind is found, mended, gone; and the pool is as it should be. */
static void mends(struct scene *s, enum kv_damage_kind kind)
{
	struct kv_check_sum sum = check(s, false);

	if (s->kinds[kind] == 0)
		fail_msg("not found: %u; but: %s", kind, s->words);
	assert_int_equal(sum.mended + sum.returned, 0);
	sum = check(s, true);
	assert_true(sum.mended + sum.returned > 0);
	assert_int_equal(sum.wrong - sum.mended, 0);
	assert_int_equal(sum.leaks - sum.returned, 0);
	cluster_sleep(s->c, UINT64_C(2000000000)); /* marks go out */
	is_sound(s);
	all_is_right(s);
}

static void in_pool(void (*body)(struct cluster *c, void *arg))
{
	struct cluster_opts o = {.mode = CLUSTER_SIM, .seed = 5, .lanes = 1};

	cluster_run(&o, body, NULL);
}

/* --- bytes --------------------------------------------------------------- */

static void harm_all(struct scene *s, uint32_t copy, uint64_t seed)
{
	struct kv_harm h = {.seed = seed, .bits = 3, .copy = copy};
	char key[32];

	for (unsigned i = 0; i < KEYS; i += 2) {
		snprintf(key, sizeof(key), "key-%u", i);
		assert_int_equal(kv_harm_key(s->kv, key, strlen(key), &h), 0);
	}
	for (unsigned i = 0; i < PAGES; i += 2)
		assert_int_equal(kv_harm_page(s->kv, s->page[i], &h), 0);
}

static void bytes_body(struct cluster *c, void *arg)
{
	struct scene s = {.c = c};

	fill(&s);
	is_sound(&s); /* blocks still open */
	harm_all(&s, 0, 17);
	all_is_right(&s);
	mends(&s, KV_DAMAGE_RECORD);
	harm_all(&s, 1, 18);
	all_is_right(&s);
	mends(&s, KV_DAMAGE_COPY);
	close_blocks(&s);
	is_sound(&s);
	harm_all(&s, 0, 19);
	mends(&s, KV_DAMAGE_PAGE);
	harm_all(&s, 1, 20);
	harm_all(&s, 2, 21);
	mends(&s, KV_DAMAGE_PARITY);
	cluster_check(c, s.kv, false);
}

static void wrong_bytes_are_mended_wherever_they_are(void **state)
{
	in_pool(bytes_body);
}

/* Copies go bad, then what they are of becomes obsolete: nobody looks at it any
 * more, but it would be folded with its block, and spoil its neighbours. */
static void obsolete_body(struct cluster *c, void *arg)
{
	struct kv_harm h = {.seed = 41, .bits = 3};
	struct scene s = {.c = c};
	char key[32];

	fill(&s);
	for (unsigned i = 0; i < KEYS; i++) {
		snprintf(key, sizeof(key), "key-%u", i);
		for (h.copy = 1; h.copy < 3; h.copy++)
			assert_int_equal(
				kv_harm_key(s.kv, key, strlen(key), &h), 0);
		assert_int_equal(kv_del(s.kv, key, strlen(key), 0), 0);
	}
	check(&s, true); /* of blocks that were full already */
	close_blocks(&s);
	check(&s, false);
	if (s.kinds[KV_DAMAGE_PARITY] != 0)
		fail_msg("%s", s.words);
	cluster_check(c, s.kv, false);
}

static void what_went_bad_and_obsolete_is_not_folded(void **state)
{
	in_pool(obsolete_body);
}

/* Of one block, so that no two lie at one place of a stripe's. */
static void harm_some(struct scene *s, uint32_t copy, uint64_t seed)
{
	struct kv_harm h = {.seed = seed, .bits = 3, .copy = copy};

	for (unsigned i = 1; i < 15; i += 4)
		assert_int_equal(kv_harm_page(s->kv, s->page[i], &h), 0);
	assert_int_equal(kv_harm_key(s->kv, "key-7", 5, &h), 0);
}

/* Data and one parity, and neither the same one everywhere: any decode that
 * trusts all that is left would be wrong. */
static void both_body(struct cluster *c, void *arg)
{
	struct scene s = {.c = c};

	fill(&s);
	close_blocks(&s);
	for (uint32_t copy = 1; copy < 3; copy++) {
		harm_some(&s, 0, 31 * copy);
		harm_some(&s, copy, 33 * copy);
		all_is_right(&s);
		mends(&s, KV_DAMAGE_PAGE);
	}
	cluster_check(c, s.kv, false);
}

static void a_wrong_parity_does_not_stand_in_the_way(void **state)
{
	in_pool(both_body);
}

static void lost_body(struct cluster *c, void *arg)
{
	struct scene s = {.c = c, .drop_lost = true};
	struct kv_check_sum sum;
	char val[64];
	size_t len;

	fill(&s);
	close_blocks(&s);
	for (uint32_t copy = 0; copy < 3; copy++) {
		struct kv_harm h = {.seed = 7, .bits = 200, .copy = copy};

		assert_int_equal(kv_harm_key(s.kv, "key-1", 5, &h), 0);
	}
	assert_int_equal(kv_get(s.kv, "key-1", 5, val, sizeof(val), &len, NULL),
			 -EIO);
	sum = check(&s, false);
	assert_int_equal(sum.lost, 1);
	check(&s, true);
	assert_int_equal(kv_get(s.kv, "key-1", 5, val, sizeof(val), &len, NULL),
			 -ENOENT);
}

static void what_is_lost_is_told_and_let_go(void **state)
{
	in_pool(lost_body);
}

/* --- slots --------------------------------------------------------------- */

static struct slot *slots_of(struct scene *s, uint32_t shard)
{
	return (struct slot *)((char *)cluster_region(s->c, shard) +
			       layout_shard_off(cluster_layout(s->c), shard,
						shard));
}

static struct slot *slot_of(struct scene *s, const char *key, uint32_t *shard)
{
	struct kv_where w;

	assert_int_equal(kv_where(s->kv, key, strlen(key), &w), 0);
	*shard = w.shard;
	return (struct slot *)((char *)cluster_region(s->c, w.host) + w.slot);
}

/* An empty slot of @shard where @key is looked for, or just not. */
static struct slot *empty_slot(struct scene *s, const char *key, uint32_t shard,
			       bool inside)
{
	uint32_t groups = cluster_layout(s->c)->index_groups;
	struct slot *slot = slots_of(s, shard);
	uint64_t first[2];

	slot_places(hash_of(key, strlen(key)), groups, first);
	for (uint64_t i = 0; i < (uint64_t)groups * BUCKET_GROUP * BUCKET_SLOTS;
	     i++) {
		bool in = (i >= first[0] && i < first[0] + BUCKET_PAIR_SLOTS) ||
			  (i >= first[1] && i < first[1] + BUCKET_PAIR_SLOTS);

		if (slot[i].word == 0 && in == inside)
			return &slot[i];
	}
	fail();
	return NULL;
}

static void slots_body(struct cluster *c, void *arg)
{
	struct scene s = {.c = c};
	struct kv_harm h = {.seed = 3, .bits = 1, .hint = true};
	struct slot *slot, *other;
	uint32_t shard;

	fill(&s);
	close_blocks(&s);
	slot = slot_of(&s, "key-3", &shard);
	*empty_slot(&s, "key-3", shard, false) = *slot;
	mends(&s, KV_DAMAGE_PLACE);
	slot = slot_of(&s, "key-4", &shard);
	other = empty_slot(&s, "key-4", shard, true);
	*other = *slot;
	mends(&s, KV_DAMAGE_TWICE);
	assert_true((slot->word == 0) != (other->word == 0));
	slot = slot_of(&s, "key-9", &shard);
	slot->word ^= UINT64_C(1) << 47; /* of the version in it */
	check(&s, true);
	assert_int_equal(s.kinds[KV_DAMAGE_WORD], 1);
	is_sound(&s);
	assert_int_equal(kv_harm_key(s.kv, "key-5", 5, &h), 0);
	mends(&s, KV_DAMAGE_HINT);
	assert_true(s.last.klen == 5 && memcmp(s.last.key, "key-5", 5) == 0);
	other = empty_slot(&s, "key-6", shard, false);
	other->word = slot->word | SLOT_TENTATIVE;
	mends(&s, KV_DAMAGE_TENTATIVE);
	all_is_right(&s);
}

/* A scrub tells of a slot, and so does a repair while others are at work. */
static void left_body(struct cluster *c, void *arg)
{
	struct scene s = {.c = c, .scrub = true};
	struct kv_check_sum sum;
	struct slot *slot, was;
	struct kv *other;
	uint32_t shard;

	fill(&s);
	close_blocks(&s);
	was = *slot_of(&s, "key-3", &shard);
	slot = empty_slot(&s, "key-3", shard, false);
	*slot = was;
	sum = check(&s, true);
	assert_int_equal(s.kinds[KV_DAMAGE_PLACE], 1);
	assert_int_equal(sum.mended, 0);
	s.scrub = false;
	other = cluster_client(c);
	cluster_sleep(c, 100000000);
	sum = check(&s, true);
	assert_int_equal(s.kinds[KV_DAMAGE_PLACE], 1);
	assert_int_equal(sum.mended, 0);
	assert_memory_equal(slot, &was, sizeof(was));
	cluster_client_close(c, other);
	cluster_sleep(c, 100000000);
	mends(&s, KV_DAMAGE_PLACE);
	all_is_right(&s);
}

static void slots_change_in_a_repair_of_a_quiet_pool_only(void **state)
{
	in_pool(left_body);
}

static void wrong_slots_are_set_right(void **state)
{
	in_pool(slots_body);
}

/* --- space --------------------------------------------------------------- */

static void space_body(struct cluster *c, void *arg)
{
	struct scene s = {.c = c};
	uint8_t bytes[KV_PAGE_BYTES] = {9};
	const void *from = bytes;
	struct kv_page lost;

	fill(&s);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(kv_pages_write(s.kv, &from, 1, &lost), 0);
	close_blocks(&s);
	mends(&s, KV_DAMAGE_LEAK);
}

static void space_that_nothing_names_is_returned(void **state)
{
	in_pool(space_body);
}

static void marked_body(struct cluster *c, void *arg)
{
	struct scene s = {.c = c};
	const struct group *g = &cluster_layout(c)->group;
	uint32_t role, at, node, block;
	struct kv_where w;
	uint64_t stripe, *map;

	fill(&s);
	close_blocks(&s);
	assert_int_equal(kv_where(s.kv, "key-2", 5, &w), 0);
	assert_int_equal(group_locate(g,
				      fab_addr_make((uint8_t)w.node, w.offset),
				      &stripe, &role, &at),
			 0);
	group_member(g, stripe, role, &node, &block);
	map = (uint64_t *)((char *)cluster_region(c, node) +
			   group_map_off(g, block, role));
	at /= GROUP_UNIT_BYTES;
	map[at / 64] |= UINT64_C(1) << (at % 64);
	mends(&s, KV_DAMAGE_MARKED);
	assert_int_equal(group_locate(g, s.page[3].addr, &stripe, &role, &at),
			 0);
	group_member(g, stripe, role, &node, &block);
	map = (uint64_t *)((char *)cluster_region(c, node) +
			   group_map_off(g, block, role));
	at /= GROUP_UNIT_BYTES;
	map[at / 64] |= UINT64_C(1) << (at % 64);
	check(&s, false);
	assert_int_equal(s.kinds[KV_DAMAGE_MARKED], 1);
}

static void what_is_in_use_and_marked_as_free_is_told(void **state)
{
	in_pool(marked_body);
}

/* --- beside others ------------------------------------------------------- */

static void write_on(void *arg)
{
	struct scene *s = arg;
	struct kv *kv = cluster_client(s->c);
	char key[32], val[300] = {0};

	for (unsigned i = 0; i < 400; i++) {
		snprintf(key, sizeof(key), "other-%u", i % 23);
		assert_int_equal(
			kv_put(kv, key, strlen(key), val, i % 300, NULL), 0);
		if (i % 5 == 0)
			assert_int_equal(kv_del(kv, key, strlen(key), 0), 0);
	}
}

static void beside_body(struct cluster *c, void *arg)
{
	struct scene s = {.c = c};
	struct kv_check_sum sum;

	fill(&s);
	cluster_spawn(c, write_on, &s);
	for (unsigned i = 0; i < 3; i++) {
		sum = check(&s, i == 2);
		if (sum.wrong != 0)
			fail_msg("false alarm: %s", s.words);
	}
	cluster_join(c);
	all_is_right(&s);
}

static void what_others_write_is_no_damage(void **state)
{
	in_pool(beside_body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wrong_bytes_are_mended_wherever_they_are),
		cmocka_unit_test(what_went_bad_and_obsolete_is_not_folded),
		cmocka_unit_test(a_wrong_parity_does_not_stand_in_the_way),
		cmocka_unit_test(what_is_lost_is_told_and_let_go),
		cmocka_unit_test(wrong_slots_are_set_right),
		cmocka_unit_test(slots_change_in_a_repair_of_a_quiet_pool_only),
		cmocka_unit_test(space_that_nothing_names_is_returned),
		cmocka_unit_test(what_is_in_use_and_marked_as_free_is_told),
		cmocka_unit_test(what_others_write_is_no_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
