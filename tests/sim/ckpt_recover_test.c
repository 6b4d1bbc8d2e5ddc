/* Shards are brought back from checkpoints: exactly what was there, and with
 * few blocks read, whatever became of the images. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "checkpoint/image.h"
#include "tests/lib/cluster.h"
#include "tests/lib/cluster_check.h"
#include "tests/lib/effort.h"

#define MS	UINT64_C(1000000)
#define CKPT_MS 5u
#define KEYS	1500u
#define TIMES	5000u /* that one key is written, behind the last image */
#define VALUE	900u

static const struct cluster_opts opts = {
	.mode = CLUSTER_SIM, .seed = 1, .ckpt_ms = CKPT_MS, .settle_ms = 100};

/* --- keys and values ------------------------------------------------------ */

static const char *key_of(char key[32], unsigned i)
{
	snprintf(key, 32, "key-%u", i);
	return key;
}

static void value_of(char val[VALUE], unsigned i, unsigned version)
{
	memset(val, 'a' + (int)((i + version) % 26), VALUE);
	snprintf(val, VALUE, "%u at %u", i, version);
}

static void put(struct kv *kv, unsigned i, unsigned version)
{
	char key[32], val[VALUE];

	key_of(key, i);
	value_of(val, i, version);
	assert_int_equal(kv_put(kv, key, strlen(key), val, VALUE, NULL), 0);
}

static void put_all(struct kv *kv, unsigned from, unsigned to, unsigned version)
{
	for (unsigned i = from; i < to; i++)
		put(kv, i, version);
}

static void expect(struct kv *kv, unsigned i, unsigned version)
{
	char key[32], want[VALUE], got[VALUE];
	size_t len = 0;

	key_of(key, i);
	value_of(want, i, version);
	assert_int_equal(
		kv_get(kv, key, strlen(key), got, sizeof(got), &len, NULL), 0);
	assert_int_equal(len, VALUE);
	assert_string_equal(got, want);
	assert_memory_equal(got, want, VALUE);
}

static void expect_all(struct kv *kv, unsigned from, unsigned to,
		       unsigned version)
{
	for (unsigned i = from; i < to; i++)
		expect(kv, i, version);
}

static void del(struct kv *kv, unsigned i)
{
	char key[32];

	key_of(key, i);
	assert_int_equal(kv_del(kv, key, strlen(key), 0), 0);
}

static void expect_none(struct kv *kv, unsigned i)
{
	char key[32], got[VALUE];

	key_of(key, i);
	assert_int_equal(
		kv_get(kv, key, strlen(key), got, sizeof(got), NULL, NULL),
		-ENOENT);
}

/* --- counters ------------------------------------------------------------- */

static struct proto_ckpt_stats stats_of(struct cluster *c, uint32_t id)
{
	struct proto_stats st;

	node_stats(cluster_node(c, id), &st);
	return st.ckpt;
}

static struct proto_ckpt_stats stats_sum(struct cluster *c)
{
	struct proto_ckpt_stats sum = {0}, s;

	for (uint32_t id = 0; id < 5; id++) {
		if (cluster_node(c, id) == NULL)
			continue;
		s = stats_of(c, id);
		sum.rounds += s.rounds;
		sum.scanned += s.scanned;
		sum.restores += s.restores;
		sum.replays += s.replays;
		sum.replayed += s.replayed;
		sum.shards += s.shards;
		sum.imaged += s.imaged;
	}
	return sum;
}

/* Whatever was written is in images now. */
static void imaged(struct cluster *c)
{
	uint32_t id, patience = 1000;
	uint64_t before[5];

	for (id = 0; id < 5; id++)
		if (cluster_node(c, id) != NULL)
			before[id] = stats_of(c, id).rounds;
	for (id = 0; id < 5; id++)
		while (cluster_node(c, id) != NULL &&
		       stats_of(c, id).rounds < before[id] + 3) {
			assert_true(patience-- > 0);
			cluster_sleep(c, MS);
		}
}

/* --- tests ---------------------------------------------------------------- */

/* What is read is what is younger than the images, and what is still open. */
static void replay_reads_little(struct cluster *c, void *arg)
{
	struct kv *kv = cluster_client(c);
	struct proto_ckpt_stats s;

	put_all(kv, 0, KEYS, 1);
	imaged(c);
	put_all(kv, 0, 20, 2);
	put_all(kv, KEYS, KEYS + 20, 2);
	cluster_kill_node(c, 2);
	cluster_settle(c);
	s = stats_sum(c);
	assert_int_equal(s.restores, 1);
	assert_int_equal(s.replays, 0);
	print_message("read %lu of %lu bytes\n", (unsigned long)s.replayed,
		      (unsigned long)KEYS * VALUE);
	assert_true(s.replayed < KEYS * VALUE / 3);
	expect_all(kv, 0, 20, 2);
	expect_all(kv, 20, KEYS, 1);
	expect_all(kv, KEYS, KEYS + 20, 2);
	cluster_check(c, kv, false);
}

/* [I3]: the version's low bits in the slot go round many times. */
static void one_key_many_times(struct cluster *c, void *arg)
{
	struct kv *kv = cluster_client(c);
	const uint32_t *victim = arg;
	uint64_t begun, end;
	unsigned i;

	put_all(kv, 0, 300, 1);
	imaged(c);
	begun = stats_of(c, 0).rounds;
	for (i = 2; i <= TIMES; i++)
		put(kv, 7, i);
	end = stats_of(c, 0).rounds;
	assert_true(end <= begun + 1);
	cluster_kill_node(c, victim[0]);
	cluster_kill_node(c, victim[1]);
	cluster_settle(c);
	expect(kv, 7, TIMES);
	expect_all(kv, 8, 300, 1);
	cluster_check(c, kv, false);
}

/* Each kind of change, before the images, and after them, in every order. */
static void changes_around_images(struct cluster *c, void *arg)
{
	uint32_t victim = *(const uint32_t *)arg;
	struct kv *kv = cluster_client(c);
	unsigned i;

	put_all(kv, 0, 300, 1);
	for (i = 100; i < 200; i++)
		del(kv, i);
	imaged(c);
	for (i = 0; i < 50; i++)
		del(kv, i);
	put_all(kv, 50, 100, 2);
	put_all(kv, 100, 150, 3); /* over tombstones */
	put_all(kv, 300, 350, 4);
	for (i = 300; i < 320; i++)
		del(kv, i);
	put_all(kv, 310, 320, 5);
	cluster_kill_node(c, victim);
	cluster_kill_node(c, (victim + 1) % 5);
	cluster_settle(c);
	assert_true(stats_sum(c).restores > 0);
	for (i = 0; i < 50; i++)
		expect_none(kv, i);
	expect_all(kv, 50, 100, 2);
	expect_all(kv, 100, 150, 3);
	for (i = 150; i < 200; i++)
		expect_none(kv, i);
	expect_all(kv, 200, 300, 1);
	for (i = 300; i < 310; i++)
		expect_none(kv, i);
	expect_all(kv, 310, 320, 5);
	expect_all(kv, 320, 350, 4);
	cluster_check(c, kv, false);
}

/* Images of an emptier time, in which every second slot was another: blocks
 * were given back and are used again since. */
static void space_is_used_again(struct cluster *c, void *arg)
{
	struct kv *kv = cluster_client(c);
	unsigned round;

	for (round = 1; round < 12; round++) {
		put_all(kv, 0, 600, round);
		cluster_sleep(c, (round % 3) * CKPT_MS * MS);
	}
	cluster_kill_node(c, *(const uint32_t *)arg);
	cluster_settle(c);
	expect_all(kv, 0, 600, 11);
	put_all(kv, 0, 600, 12);
	imaged(c);
	cluster_kill_node(c, (*(const uint32_t *)arg + 2) % 5);
	cluster_settle(c);
	expect_all(kv, 0, 600, 12);
	cluster_check(c, kv, false);
}

/* --- images that are not as they should be -------------------------------- */

static char *area_of(struct cluster *c, uint32_t shard, uint32_t r)
{
	uint32_t holder = (shard + r) % 5;

	return (char *)cluster_region(c, holder) +
	       layout_image_off(cluster_layout(c), shard, holder);
}

static uint64_t area_bytes(struct cluster *c)
{
	return ckpt_area_bytes(layout_shard_bytes(cluster_layout(c)));
}

enum harm { HARM_GONE, HARM_TORN, HARM_OLD, HARMS };

struct harmed {
	enum harm harm;
	uint32_t peers; /* bit r: of the image on the r-th successor */
	uint32_t restores;
};

static void harm(struct cluster *c, const struct harmed *h, uint32_t shard,
		 uint32_t r, const char *old)
{
	char *area = area_of(c, shard, r);
	uint64_t at;

	switch (h->harm) {
	case HARM_GONE:
		memset(area, 0, area_bytes(c));
		break;
	case HARM_TORN: /* in both versions */
		for (at = 0; at < 2; at++)
			area[ckpt_area_buffer(
				     layout_shard_bytes(cluster_layout(c)),
				     (uint32_t)at) +
			     100] ^= 4;
		break;
	default:
		memcpy(area, old, area_bytes(c));
		break;
	}
}

/* What one peer has lost another has; what all have lost is replayed; what is
 * old is made young. */
static void images_are_harmed(struct cluster *c, void *arg)
{
	const struct harmed *h = arg;
	struct kv *kv = cluster_client(c);
	char *old[3];
	uint32_t r;

	put_all(kv, 0, 200, 1);
	imaged(c);
	for (r = 1; r <= 2; r++) {
		old[r] = malloc(area_bytes(c));
		memcpy(old[r], area_of(c, 2, r), area_bytes(c));
	}
	put_all(kv, 100, 300, 2);
	for (unsigned i = 0; i < 50; i++)
		del(kv, i);
	imaged(c);
	put_all(kv, 50, 80, 3);
	cluster_hang_node(c, 2); /* no more rounds */
	for (r = 1; r <= 2; r++) {
		if (h->peers >> r & 1)
			harm(c, h, 2, r, old[r]);
		free(old[r]);
	}
	cluster_kill_node(c, 2);
	cluster_settle(c);
	assert_int_equal(stats_sum(c).restores, h->restores);
	assert_int_equal(stats_sum(c).replays, 1 - h->restores);
	for (unsigned i = 0; i < 50; i++)
		expect_none(kv, i);
	expect_all(kv, 50, 80, 3);
	expect_all(kv, 80, 100, 1);
	expect_all(kv, 100, 300, 2);
	cluster_check(c, kv, false);
}

/* A key was deleted, and its tombstone is gone: an image of before would bring
 * it back. */
static void sweep_makes_images_old(struct cluster *c, void *arg)
{
	struct kv *a = cluster_client(c), *b = cluster_client(c);
	uint64_t size = area_bytes(c);
	char *old[3];
	unsigned i;

	put_all(a, 0, 600, 1);
	imaged(c);
	for (i = 1; i <= 2; i++) {
		old[i] = malloc(size);
		memcpy(old[i], area_of(c, 2, i), size);
	}
	for (i = 0; i < 400; i++)
		del(a, i);
	put_all(b, 600, 620, 1);
	cluster_client_close(c, a); /* its blocks are sealed */
	cluster_sleep(c, UINT64_C(40000000000));
	cluster_hang_node(c, 2);
	for (i = 1; i <= 2; i++) {
		memcpy(area_of(c, 2, i), old[i], size);
		free(old[i]);
	}
	cluster_kill_node(c, 2);
	cluster_settle(c);
	assert_int_equal(stats_sum(c).restores, 0);
	assert_int_equal(stats_sum(c).replays, 1);
	for (i = 0; i < 400; i++)
		expect_none(b, i);
	expect_all(b, 400, 620, 1);
	cluster_check(c, b, false);
}

/* Nothing changes: no rounds, but a look now and then; none without clients. */
static void idle_is_quiet(struct cluster *c, void *arg)
{
	struct proto_ckpt_stats was, is;
	struct kv *kv = cluster_client(c);

	put_all(kv, 0, 100, 1);
	cluster_sleep(c, 2000 * MS);
	was = stats_sum(c);
	assert_int_equal(was.shards, 5);
	assert_int_equal(was.imaged, 5);
	cluster_sleep(c, 1600 * CKPT_MS * MS);
	is = stats_sum(c);
	assert_true(is.rounds - was.rounds <= 5 * 1600 / 16 + 5);
	put(kv, 3, 2);
	cluster_sleep(c, 2 * CKPT_MS * MS);
	cluster_client_close(c, kv);
	cluster_sleep(c, 2000 * MS);
	was = stats_sum(c);
	cluster_sleep(c, 2000 * MS);
	is = stats_sum(c);
	assert_int_equal(is.rounds, was.rounds);
}

static void test_little(void **state)
{
	cluster_run(&opts, replay_reads_little, NULL);
}

static void test_one_key(void **state)
{
	struct cluster_opts o = opts;
	uint32_t victim[2];

	o.ckpt_ms = 300; /* all of it between two of them */
	for (victim[0] = 0; victim[0] < effort(5); victim[0]++) {
		victim[1] = (victim[0] + 1) % 5;
		cluster_run(&o, one_key_many_times, victim);
	}
}

static void test_changes(void **state)
{
	for (uint32_t victim = 0; victim < effort(5); victim++)
		cluster_run(&opts, changes_around_images, &victim);
}

static void test_again(void **state)
{
	struct cluster_opts o = opts;

	o.usable = 4u << 20;
	for (uint32_t victim = 0; victim < effort(5); victim++)
		cluster_run(&o, space_is_used_again, &victim);
}

static void test_harm(void **state)
{
	struct harmed h;

	for (h.harm = 0; h.harm < HARMS; h.harm++)
		for (h.peers = 2; h.peers <= 6; h.peers += 2) {
			h.restores = h.peers != 6 || h.harm == HARM_OLD;
			cluster_run(&opts, images_are_harmed, &h);
		}
}

static void test_sweep(void **state)
{
	cluster_run(&opts, sweep_makes_images_old, NULL);
}

static void test_idle(void **state)
{
	cluster_run(&opts, idle_is_quiet, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_little),	cmocka_unit_test(test_one_key),
		cmocka_unit_test(test_changes), cmocka_unit_test(test_again),
		cmocka_unit_test(test_harm),	cmocka_unit_test(test_sweep),
		cmocka_unit_test(test_idle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
