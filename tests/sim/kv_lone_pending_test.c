/* A client died while it replaced a value: its record lies in one copy of
 * three, and nobody else made the others equal yet. A node dies with it, and
 * the shard is replayed. If that takes the record for the value, no later death
 * may take it away again: or what was there before would be gone with it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kv/hash.h"
#include "tests/lib/by_hand.h"
#include "tests/lib/sim.h"

#define MS    UINT64_C(1000000)
#define KEYS  40u
#define TRIES 64u

/* Stripes that are led by node 3 have their data on nodes 0, 1 and 2. */
#define LEADER 3u

struct scene {
	struct cluster *c;
	struct kv *kv;
	struct hand dies;
	struct hand_block block;
	char key[16];
	uint64_t version; /* of its value, acknowledged */
};

/* --- who cannot make the copies equal just now ---------------------------- */

static struct {
	bool on;
	const char *from[2], *to[2];
} cut;

static bool passes(void *arg, const char *net, const char *server)
{
	for (uint32_t i = 0; cut.on && i < 2; i++)
		if (strcmp(net, cut.from[i]) == 0 &&
		    strcmp(server, cut.to[i]) == 0)
			return false;
	return true;
}

/* --- before --------------------------------------------------------------- */

static void put_some(struct scene *s, uint32_t shard)
{
	uint64_t version;

	for (uint32_t i = 0; i < KEYS; i++) {
		char key[16];
		int len = snprintf(key, sizeof(key), "key-%u", i);

		assert_int_equal(
			kv_put(s->kv, key, (size_t)len, "old", 3, &version), 0);
		if (hash_shard(hash_of(key, (size_t)len), 5) != shard)
			continue;
		memcpy(s->key, key, sizeof(key));
		s->version = version;
	}
	assert_true(s->version != 0);
}

/* A block whose data is on node @data. */
static void open_block(struct scene *s, uint32_t data)
{
	uint32_t n = 0;

	do
		assert_int_equal(
			hand_alloc(&s->dies, LEADER, BLOCK_RECORDS, &s->block),
			0);
	while (s->block.node != data && ++n < TRIES);
	assert_int_equal(s->block.node, data);
}

static void begin(struct scene *s, struct cluster *c, uint32_t shard,
		  uint32_t data, uint64_t copies)
{
	struct hand_record r = {
		.val = "new", .fate = OBJECT_PENDING, .type = OBJECT_PUT};

	*s = (struct scene){.c = c, .kv = cluster_client(c)};
	hand_open(c, &s->dies);
	put_some(s, shard);
	open_block(s, data);
	r.key = s->key;
	r.version = s->version + 1;
	hand_write(&s->dies, &s->block, &r, copies);
}

/* --- after ---------------------------------------------------------------- */

static bool serves(struct scene *s, uint32_t shard)
{
	struct view v;

	coord_view(cluster_coord(s->c), &v);
	return v.host[shard] != shard && v.shard[shard] == VIEW_SHARD_SERVING;
}

/* The client and node @first die; when its shard serves again, node @next. For
 * a while nothing passes where the cut is. */
static void deaths(struct scene *s, uint32_t first, uint32_t next)
{
	uint64_t begin = sim_now(cluster_sim(s->c));

	cut.on = true;
	sim_on_link(cluster_sim(s->c), passes, NULL);
	hand_die(&s->dies);
	cluster_kill_node(s->c, first);
	while (!serves(s, first)) {
		cluster_sleep(s->c, MS / 10);
		if (sim_now(cluster_sim(s->c)) - begin > 300 * MS)
			cut.on = false;
	}
	cluster_kill_node(s->c, next);
	cut.on = false;
	cluster_settle(s->c);
}

static void all_is_there(struct scene *s)
{
	char key[16], val[8];
	size_t len;

	for (uint32_t i = 0; i < KEYS; i++) {
		int n = snprintf(key, sizeof(key), "key-%u", i);

		assert_int_equal(kv_get(s->kv, key, (size_t)n, val, sizeof(val),
					&len, NULL),
				 0);
		assert_int_equal(len, 3);
		if (strcmp(key, s->key) != 0 || memcmp(val, "new", 3) != 0)
			assert_memory_equal(val, "old", 3);
	}
}

/* The data node alone has it: it is read by the replay, and dies. */
static void data_body(struct cluster *c, void *arg)
{
	struct scene s;

	cut.from[0] = "node3";
	cut.from[1] = "node4";
	cut.to[0] = cut.to[1] = "sim:n2";
	begin(&s, c, 0, 2, 1u << 0);
	deaths(&s, 0, 2);
	all_is_there(&s);
}

/* A delta alone has it, and the data is on the node that dies with the client.
 */
static void delta_body(struct cluster *c, void *arg)
{
	struct scene s;

	cut.from[0] = "node3";
	cut.to[0] = "sim:n4";
	cut.from[1] = "node4";
	cut.to[1] = "sim:n3";
	begin(&s, c, 0, 0, 1u << 1);
	deaths(&s, 0, 3);
	all_is_there(&s);
}

static void in_pool(void (*body)(struct cluster *c, void *arg))
{
	struct cluster_opts o = {.mode = CLUSTER_SIM, .seed = 3};

	cluster_run(&o, body, NULL);
}

static void in_the_data_alone(void **state)
{
	in_pool(data_body);
}

static void in_a_delta_alone(void **state)
{
	in_pool(delta_body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_the_data_alone),
		cmocka_unit_test(in_a_delta_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
