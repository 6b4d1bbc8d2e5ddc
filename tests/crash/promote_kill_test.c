/* tests/crash/promote_kill_test.c - a node dies, and its successor while it
 * brings the shard back: before anybody's n-th remote operation after the first
 * death, n = 1, 2, ... until the shard serves again. Then the next successor
 * does it, from an image of its own, from the dead one's neighbour, or from the
 * records alone: images that only the first successor had, or that are torn,
 * are found out on the way. A client goes on meanwhile. Nothing that it was
 * told is lost, and deleted keys stay away.
 *
 *   promote_kill_test IMAGES N: one alone (enum images) */
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
#include "tests/lib/sim.h"

#define MS     UINT64_C(1000000)
#define KEYS   60u
#define GONE   20u /* of them: deleted before the death */
#define VICTIM 2u
#define NODES  5u
#define NEVER  UINT32_MAX

/* Which of the victim's images are as they should be. */
enum images { ALL, NOT_THE_FIRST, NOT_THE_SECOND, NONE, IMAGES };

struct play {
	struct cluster *c;
	enum images images;
	uint32_t n; /* the successor dies before this operation */
	uint32_t met;
	bool dying; /* from the first death to the second, or to the end */
	uint32_t shard_is; /* enum view_shard, at the second death */
	unsigned told[KEYS], tried[KEYS]; /* versions; 0: none */
};

/* That things were met, over all plays. */
static uint32_t met_rebuilding, met_settling;

/* --- a client ------------------------------------------------------------- */

static size_t key_of(char key[16], unsigned i)
{
	return (size_t)snprintf(key, 16, "key-%u", i);
}

static void put(struct play *y, struct kv *kv, unsigned i)
{
	char key[16], val[600];
	size_t len = key_of(key, i);

	memset(val, (int)('a' + i % 26), sizeof(val));
	snprintf(val, sizeof(val), "%u at %u", i, ++y->tried[i]);
	if (kv_put(kv, key, len, val, sizeof(val), NULL) == 0)
		y->told[i] = y->tried[i];
}

static void expect(struct play *y, struct kv *kv, unsigned i)
{
	char key[16], got[600];
	unsigned of = 0, version = 0;
	size_t key_len = key_of(key, i), len = 0;
	int rc = kv_get(kv, key, key_len, got, sizeof(got), &len, NULL);

	if (i < GONE) {
		assert_int_equal(rc, -ENOENT);
		return;
	}
	assert_int_equal(rc, 0);
	assert_int_equal(len, sizeof(got));
	assert_int_equal(sscanf(got, "%u at %u", &of, &version), 2);
	assert_int_equal(of, i);
	assert_in_range(version, y->told[i], y->tried[i]);
}

/* --- the second death ----------------------------------------------------- */

static void on_effect(void *arg, struct fab_net *net)
{
	struct play *y = arg;
	struct view v;
	uint32_t host;

	if (!y->dying)
		return;
	coord_view(cluster_coord(y->c), &v);
	if (v.node[VICTIM] == VIEW_NODE_DOWN &&
	    v.shard[VICTIM] == VIEW_SHARD_SERVING) {
		y->dying = false; /* too late */
		return;
	}
	if (++y->met < y->n)
		return;
	host = v.host[VICTIM] == VICTIM ? VICTIM + 1 : v.host[VICTIM];
	y->dying = false;
	y->shard_is = v.shard[VICTIM];
	cluster_kill_node(y->c, host);
}

/* --- images --------------------------------------------------------------- */

static void spoil(struct play *y, uint32_t holder)
{
	const struct layout *l = cluster_layout(y->c);
	char *area = (char *)cluster_region(y->c, holder) +
		     layout_image_off(l, VICTIM, holder);

	for (uint32_t at = 0; at < 2; at++)
		area[ckpt_area_buffer(layout_shard_bytes(l), at) + 100] ^= 4;
}

static void spoil_images(struct play *y)
{
	cluster_hang_node(y->c, VICTIM); /* no more rounds */
	if (y->images == NOT_THE_FIRST || y->images == NONE)
		spoil(y, VICTIM + 1);
	if (y->images == NOT_THE_SECOND || y->images == NONE)
		spoil(y, VICTIM + 2);
}

/* --- plays ---------------------------------------------------------------- */

static void prepare(struct play *y, struct kv *kv)
{
	char key[16];

	for (unsigned i = 0; i < KEYS; i++)
		put(y, kv, i);
	cluster_sleep(y->c, 30 * MS); /* some rounds */
	for (unsigned i = 0; i < KEYS; i += 3)
		put(y, kv, i);
	for (unsigned i = 0; i < GONE; i++)
		assert_int_equal(kv_del(kv, key, key_of(key, i), 0), 0);
}

static void body(struct cluster *c, void *arg)
{
	struct play *y = arg;
	struct kv *kv = cluster_client(c);

	y->c = c;
	prepare(y, kv);
	spoil_images(y);
	y->dying = true;
	sim_on_effect(cluster_sim(c), on_effect, y);
	cluster_kill_node(c, VICTIM);
	for (unsigned i = GONE; i < KEYS; i++)
		put(y, kv, i);
	cluster_settle(c);
	sim_on_effect(cluster_sim(c), NULL, NULL);
	for (unsigned i = 0; i < KEYS; i++)
		expect(y, kv, i);
	for (unsigned i = GONE; i < KEYS; i++)
		put(y, kv, i);
	for (unsigned i = 0; i < KEYS; i++)
		expect(y, kv, i);
	cluster_settle(c);
	cluster_check(c, kv, false);
}

/* Returns how many operations there were. */
static uint32_t play(enum images images, uint32_t n)
{
	const struct cluster_opts o = {.mode = CLUSTER_SIM,
				       .seed = 1 + n % 16,
				       .ckpt_ms = 5,
				       .settle_ms = 100};
	struct play y = {.images = images, .n = n};

	fprintf(stderr, "images %d, operation %u\n", (int)images, n);
	cluster_run(&o, body, &y);
	met_rebuilding += y.shard_is == VIEW_SHARD_REBUILDING;
	met_settling += y.shard_is == VIEW_SHARD_SETTLING;
	return y.met;
}

static void the_successor_dies_at_each_step(void **state)
{
	const uint32_t step = effort_is_whole() ? 1 : 16;

	for (enum images images = ALL; images < IMAGES; images++) {
		uint32_t all = play(images, NEVER);

		for (uint32_t n = 1; n <= all; n += step)
			play(images, n);
		print_message("images %d: %u operations\n", (int)images, all);
	}
	print_message("died: %u while the shard was brought back, %u while it "
		      "settled\n",
		      met_rebuilding, met_settling);
	if (effort_is_whole())
		assert_true(met_rebuilding > IMAGES);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_successor_dies_at_each_step),
	};

	if (argc > 2)
		return play((enum images)atoi(argv[1]),
			    (uint32_t)atoi(argv[2])) == 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
