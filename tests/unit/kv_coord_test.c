/* tests/unit/kv_coord_test.c - the coordinator: who is waited for, who is
 * ended, sweeps, status; driven by a client's messages sent by hand. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>

#include "kv/log.h"
#include "kv/node/node_impl.h"
#include "kv/slot.h"
#include "tests/lib/by_hand.h"

#define MS UINT64_C(1000000)

static const struct cluster_opts sim_opts = {.mode = CLUSTER_SIM, .seed = 1};

/* As long as a client may still have an old operation under way, nothing is
 * read for a rebuild. */
static void rebuild_waits_for_every_client(struct cluster *c, void *arg)
{
	struct hand quick, slow;
	struct view v;
	unsigned i;

	hand_open(c, &slow);
	hand_open(c, &quick);
	hand_watch(&slow, 1);
	cluster_kill_node(c, 0);
	hand_watch(&quick, 50);
	hand_watch(&quick, 100);
	coord_view(cluster_coord(c), &v);
	assert_int_equal(v.shard[0], VIEW_SHARD_REBUILDING);
	assert_int_equal(hand_stats(&quick, 1).rebuild_total, 0);
	hand_watch(&slow, 50);
	for (i = 0; i < 20; i++) {
		hand_watch(&slow, 5); /* its ack */
		hand_watch(&quick, 5);
	}
	hand_follow(&quick);
	coord_view(cluster_coord(c), &v);
	assert_int_equal(v.shard[0], VIEW_SHARD_SERVING);
	assert_int_equal(v.host[0], 1);
	hand_leave(&quick);
	hand_leave(&slow);
}

static json_t *status_of(struct hand *h);

static void expect_redundancy(struct hand *h, const char *want)
{
	json_t *o = status_of(h);

	assert_string_equal(json_string_value(json_object_get(o, "redundancy")),
			    want);
	json_decref(o);
}

static bool answers(struct hand *h, unsigned node)
{
	json_t *o = status_of(h), *n;
	bool yes;

	n = json_array_get(json_object_get(o, "nodes"), node);
	yes = json_is_true(json_object_get(n, "answers"));
	json_decref(o);
	return yes;
}

/* It lives, but answers nothing, and nobody says so: it is ended, and then
 * counts as dead. */
static void hung_node_is_ended(struct cluster *c, void *arg)
{
	struct hand_block b;
	struct hand h;

	hand_open(c, &h);
	assert_int_equal(hand_alloc(&h, 3, BLOCK_RECORDS, &b), 0);
	hand_put_many(&h, &b, 50);
	assert_true(answers(&h, 4));
	cluster_hang_node(c, 4);
	hand_watch(&h, 600); /* no word after a moment of silence */
	hand_watch(&h, 600);
	assert_false(answers(&h, 4));
	hand_watch(&h, 1000); /* and no death for being slow */
	assert_int_equal(view_down(&h.joined.view), 0);
	hand_watch(&h, 2500);
	assert_int_equal(h.joined.view.node[4], VIEW_NODE_DOWN);
	hand_follow(&h);
	hand_expect_many(&h, 50);
	hand_leave(&h);
}

/* Three that hang are not ended: with them data would go that may come back.
 * But it is said. */
static void more_than_the_code_bears_are_spared(struct cluster *c, void *arg)
{
	struct hand h;
	unsigned id;

	hand_open(c, &h);
	for (id = 2; id < 5; id++)
		cluster_hang_node(c, id);
	hand_watch(&h, 20000);
	hand_watch(&h, 20000);
	assert_int_equal(view_down(&h.joined.view), 0);
	assert_false(answers(&h, 3));
	assert_true(answers(&h, 1));
	expect_redundancy(&h, "lost");
	hand_leave(&h);
}

/* A wrong suspicion does no harm. */
static void suspect_that_answers_stays(struct cluster *c, void *arg)
{
	struct proto_suspect rq = {.node = 4};
	struct hand h;
	unsigned i;

	hand_open(c, &h);
	for (i = 0; i < 20; i++)
		assert_int_equal(hand_call(&h, FAB_NODE_COORD, PROTO_SUSPECT,
					   &rq, sizeof(rq), NULL, 0),
				 0);
	hand_watch(&h, 10000);
	assert_int_equal(view_down(&h.joined.view), 0);
	hand_leave(&h);
}

/* --- sweeping ------------------------------------------------------------- */

static struct proto_stats sum_of(struct hand *h)
{
	struct proto_stats sum = {0};
	uint32_t id;

	for (id = 0; id < 5; id++)
		if (h->joined.view.node[id] == VIEW_NODE_UP) {
			sum.tombs += hand_stats(h, id).tombs;
			sum.slots_used += hand_stats(h, id).slots_used;
		}
	return sum;
}

/* A bounded part at a time comes to the same. */
static void slots_are_counted_in_parts(struct cluster *c, void *arg)
{
	const uint64_t most = 4096;
	uint64_t bytes = slot_shard_bytes(cluster_layout(c)->index_groups);
	struct hand_block b;
	struct hand h;

	hand_open(c, &h);
	assert_int_equal(hand_alloc(&h, 3, BLOCK_RECORDS, &b), 0);
	hand_put_many(&h, &b, 150);
	for (uint32_t id = 0; id < 5; id++) {
		struct slot_pass p = {.served = UINT64_C(1) << id};
		unsigned parts = 1;

		while (!stats_count(cluster_node(c, id), &p, most))
			parts++;
		assert_in_range(parts, bytes / most, bytes / most + 1);
		assert_true(p.c.used > 0);
		assert_int_equal(p.c.used, hand_stats(&h, id).slots_used);
	}
	assert_int_equal(sum_of(&h).slots_used, 150);
	hand_leave(&h);
}

/* Keys 0..n-1 are deleted; records of theirs stay unmarked, as if the marks
 * had been lost. */
static void delete_some(struct hand *h, struct hand_block *b, unsigned n)
{
	unsigned i;

	for (i = 0; i < n; i++) {
		struct hand_record r = {.key = hand_key(i),
					.val = "",
					.version = i + 2,
					.fate = OBJECT_COMMITTED,
					.type = OBJECT_TOMB};

		hand_put(h, b, &r);
	}
}

static void watch_for(struct hand *h, uint64_t ns)
{
	uint64_t i;

	for (i = 0; i < ns / (100 * MS); i++) {
		hand_watch(h, 50);
		cluster_sleep(h->c, 50 * MS);
	}
	hand_watch(h, 1);
}

static void watch_both(struct hand *a, struct hand *b, uint64_t ns)
{
	for (uint64_t i = 0; i < ns / (100 * MS); i++) {
		hand_watch(a, 25);
		hand_watch(b, 25);
		cluster_sleep(a->c, 50 * MS);
	}
}

static void tombstones_go(struct cluster *c, void *arg)
{
	uint64_t slot, word, version, before;
	struct hand_block old, tombs;
	uint32_t node;
	struct hand h;
	unsigned i;

	hand_open(c, &h);
	before = h.joined.view.index_version;
	assert_int_equal(hand_alloc(&h, 3, BLOCK_RECORDS, &old), 0);
	hand_put_many(&h, &old, 150);
	hand_seal(&h, &old);
	assert_int_equal(hand_alloc(&h, 4, BLOCK_RECORDS, &tombs), 0);
	delete_some(&h, &tombs, 100);
	assert_int_equal(sum_of(&h).tombs, 100);
	assert_int_equal(sum_of(&h).slots_used, 150);
	watch_for(&h, 25000 * MS);
	assert_int_equal(sum_of(&h).tombs, 0);
	assert_int_equal(sum_of(&h).slots_used, 50);
	assert_int_equal(h.joined.view.index_version, before + 1);
	/* and no replay brings a deleted key back */
	cluster_kill_node(c, 0);
	cluster_kill_node(c, 1);
	hand_follow(&h);
	for (i = 0; i < 150; i++)
		assert_int_equal(hand_find(&h, hand_key(i), &node, &slot, &word,
					   &version),
				 i >= 100);
	hand_leave(&h);
}

/* Their old records lie in a block that may be written again. */
static void tombstones_over_open_blocks_stay(struct cluster *c, void *arg)
{
	struct hand_block old, tombs;
	struct hand h;

	hand_open(c, &h);
	assert_int_equal(hand_alloc(&h, 3, BLOCK_RECORDS, &old), 0);
	hand_put_many(&h, &old, 100);
	assert_int_equal(hand_alloc(&h, 4, BLOCK_RECORDS, &tombs), 0);
	delete_some(&h, &tombs, 100);
	watch_for(&h, 25000 * MS);
	assert_int_equal(sum_of(&h).tombs, 100);
	assert_int_equal(h.joined.view.index_version, 2); /* it did sweep */
	hand_seal(&h, &old);
	watch_for(&h, 60000 * MS);
	assert_int_equal(sum_of(&h).tombs, 0);
	hand_leave(&h);
}

/* --- more than m ---------------------------------------------------------- */

static char said[512];

static void hear(void *arg, enum log_level level, const char *line)
{
	if (level == LOG_ERROR)
		snprintf(said, sizeof(said), "%s", line);
}

static void a_loss_is_said(struct cluster *c, void *arg)
{
	struct hand h;

	hand_open(c, &h);
	for (uint32_t id = 0; id < 3; id++) {
		assert_string_equal(said, "");
		cluster_kill_node(c, id);
		hand_follow(&h);
	}
	assert_non_null(strstr(said, "3 memory nodes of 5 are away"));
	hand_leave(&h);
}

/* --- what the dead leave -------------------------------------------------- */

/* An insert that went as far as its tentative word, one that had only written
 * its record, and a put that thought to be alone and came no further. */
static void leave_inserts(struct hand *h, struct hand_block *b)
{
	struct hand_record r = {.key = "planted",
				.val = "x",
				.version = 1,
				.fate = OBJECT_PENDING,
				.type = OBJECT_PUT};
	uint64_t word;

	assert_int_equal(hand_alloc(h, 3, BLOCK_RECORDS, b), 0);
	word = hand_write(h, b, &r, ~UINT64_C(0));
	hand_point(h, r.key, word | SLOT_TENTATIVE, 1);
	r.key = "written";
	hand_write(h, b, &r, ~UINT64_C(0));
	r.key = "kept";
	r.fate = OBJECT_COMMITTED;
	word = hand_write(h, b, &r, ~UINT64_C(0));
	hand_point(h, r.key, word, 1);
	r.version = 2;
	r.fate = OBJECT_SOLO;
	hand_write(h, b, &r, ~UINT64_C(0));
}

static bool is_planted(struct hand *h)
{
	uint64_t slot, word, version;
	uint32_t node;

	return hand_find(h, "planted", &node, &slot, &word, &version);
}

static uint64_t kept_version(struct hand *h)
{
	uint64_t slot, word, version = 0;
	uint32_t node;

	assert_true(hand_find(h, "kept", &node, &slot, &word, &version));
	return slot_version8(word);
}

static uint64_t dead_bytes(struct hand *h)
{
	uint64_t sum = 0;
	uint32_t id;

	for (id = 0; id < 5; id++)
		sum += hand_stats(h, id).dead_bytes;
	return sum;
}

static void inserts_of_the_dead_are_cleared(struct cluster *c, void *arg)
{
	struct hand_block b, other;
	struct hand alive, dies;

	hand_open(c, &alive);
	hand_open(c, &dies);
	leave_inserts(&dies, &b);
	hand_watch(&dies, 1);
	watch_for(&alive, 1000 * MS);
	assert_true(is_planted(&alive));
	assert_int_equal(dead_bytes(&alive), 0);
	hand_die(&dies);
	watch_for(&alive, 25000 * MS);
	assert_false(is_planted(&alive));
	/* three records, two units each; b's members all count them */
	assert_true(dead_bytes(&alive) >= 6 * 64);
	/* and no replay brings them back */
	assert_int_equal(hand_alloc(&alive, 4, BLOCK_RECORDS, &other), 0);
	hand_put_many(&alive, &other, 20);
	for (uint32_t id = 0; id < 2; id++) {
		cluster_kill_node(c, id);
		hand_follow(&alive);
	}
	hand_expect_many(&alive, 20);
	assert_false(is_planted(&alive));
	assert_int_equal(kept_version(&alive), 1);
	hand_leave(&alive);
}

/* Another's death has a sweep made; a live client's insert is its own. */
static void inserts_of_the_living_stay(struct cluster *c, void *arg)
{
	struct hand alive, dies;
	struct hand_block b;

	hand_open(c, &alive);
	hand_open(c, &dies);
	hand_watch(&alive, 1);
	leave_inserts(&alive, &b);
	hand_seal(&alive, &b);
	hand_die(&dies);
	watch_for(&alive, 25000 * MS);
	assert_int_equal(alive.joined.view.index_version, 2); /* it did sweep */
	assert_true(is_planted(&alive));
	assert_int_equal(dead_bytes(&alive), 0);
	hand_leave(&alive);
}

/* Also when it is not connected to any node just then: the coordinator knows
 * that it lives. */
static void inserts_of_the_parted_stay(struct cluster *c, void *arg)
{
	struct hand parted, dies, looks;
	struct hand_block b;

	hand_open(c, &parted);
	hand_open(c, &dies);
	hand_open(c, &looks);
	hand_watch(&parted, 1);
	leave_inserts(&parted, &b);
	hand_seal(&parted, &b);
	for (uint8_t id = 0; id < 5; id++)
		fab_net_cut(parted.net, id);
	hand_watch(&looks, 1);
	hand_die(&dies);
	watch_both(&looks, &parted, 25000 * MS);
	assert_int_equal(looks.joined.view.index_version, 2); /* it did sweep */
	assert_true(is_planted(&looks));
	assert_int_equal(dead_bytes(&looks), 0);
	hand_leave(&looks);
	hand_die(&parted);
}

/* --- who lives ------------------------------------------------------------ */

/* 1 or 0; -errno. */
static int lives(struct hand *h, uint32_t id)
{
	struct proto_lives rq = {.client = id};
	struct proto_lived lived = {0};
	uint32_t len = 0;
	int rc = fab_call_run(h->fab, FAB_NODE_COORD, PROTO_LIVES, &rq,
			      sizeof(rq), &lived, sizeof(lived), &len, 0);

	if (rc == 0)
		assert_int_equal(len, sizeof(lived));
	return rc == 0 ? (int)lived.lives : rc;
}

/* Who left or died is gone, but not before it is fenced. */
static void who_lives_is_told(struct cluster *c, void *arg)
{
	struct hand asks, leaves, dies;
	uint32_t id[3];

	hand_open(c, &asks);
	hand_open(c, &leaves);
	hand_open(c, &dies);
	id[0] = asks.joined.client;
	id[1] = leaves.joined.client;
	id[2] = dies.joined.client;
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(lives(&asks, id[i]), 1);
	assert_int_equal(lives(&asks, id[2] + 1), 0);
	hand_leave(&leaves);
	assert_int_equal(lives(&asks, id[1]), 0);
	hand_die(&dies);
	watch_for(&asks, 25000 * MS);
	assert_int_equal(lives(&asks, id[2]), 0);
	assert_int_equal(lives(&asks, id[0]), 1);
	hand_leave(&asks);
}

/* --- status --------------------------------------------------------------- */

static json_t *status_of(struct hand *h)
{
	static char text[FAB_CALL_BYTES_MAX];
	uint32_t len = 0;
	json_t *o;

	assert_int_equal(fab_call_run(h->fab, FAB_NODE_COORD, PROTO_STATUS,
				      NULL, 0, text, sizeof(text), &len, 0),
			 0);
	o = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(o);
	return o;
}

static json_int_t int_of(const json_t *o, const char *name)
{
	assert_true(json_is_integer(json_object_get(o, name)));
	return json_integer_value(json_object_get(o, name));
}

static void expect_text(const json_t *o, const char *name, const char *want)
{
	assert_string_equal(json_string_value(json_object_get(o, name)), want);
}

static void expect_nodes(const json_t *o, uint64_t down)
{
	const json_t *nodes = json_object_get(o, "nodes");
	json_int_t used = 0;
	size_t i;

	assert_int_equal(json_array_size(nodes), 5);
	for (i = 0; i < 5; i++) {
		const json_t *n = json_array_get(nodes, i);

		assert_int_equal(int_of(n, "id"), i);
		expect_text(n, "state", down >> i & 1 ? "down" : "up");
		expect_text(n, "transport", "sim");
		expect_text(n, "why", "on this host");
		assert_true(int_of(n, "used") <= int_of(n, "capacity"));
		used += int_of(n, "used");
	}
	assert_int_equal(int_of(o, "raw_used"), used);
}

static void expect_here(const json_t *peers)
{
	const json_t *peer = json_array_get(peers, 0);

	assert_int_equal(json_array_size(peers), 1);
	expect_text(peer, "transport", "sim");
	expect_text(peer, "why", "on this host");
}

static void status_says_what_is(struct cluster *c, void *arg)
{
	struct hand_block b;
	struct hand h;
	json_t *o;

	hand_open(c, &h);
	assert_int_equal(hand_alloc(&h, 3, BLOCK_RECORDS, &b), 0);
	hand_put_many(&h, &b, 100);
	o = status_of(&h);
	expect_text(o, "pool", "test");
	expect_text(o, "code", "3+2");
	expect_text(o, "transport", "sim");
	expect_text(o, "nodes_transport", "sim");
	expect_text(o, "redundancy", "full");
	expect_nodes(o, 0);
	expect_here(json_object_get(o, "clients"));
	expect_here(json_object_get(o, "coordinators"));
	/* an open block, and on each parity node a delta and its parity */
	assert_int_equal(int_of(o, "raw_used"), 5 * b.copies / 3 * 65536);
	assert_int_equal(int_of(o, "used"), 65536);
	assert_int_equal(int_of(o, "slots_used"), 100);
	json_decref(o);
	cluster_kill_node(c, 2);
	hand_follow(&h);
	o = status_of(&h);
	expect_text(o, "redundancy", "degraded");
	expect_nodes(o, 1 << 2);
	json_decref(o);
	cluster_kill_node(c, 3);
	cluster_kill_node(c, 4);
	hand_follow(&h);
	o = status_of(&h);
	expect_text(o, "redundancy", "lost");
	json_decref(o);
	hand_leave(&h);
}

static void run(void (*body)(struct cluster *, void *), void *arg)
{
	cluster_run(&sim_opts, body, arg);
}

static void test_waits(void **state)
{
	run(rebuild_waits_for_every_client, NULL);
}

static void test_hung(void **state)
{
	run(hung_node_is_ended, NULL);
	run(more_than_the_code_bears_are_spared, NULL);
	run(suspect_that_answers_stays, NULL);
}

static void test_tombs(void **state)
{
	struct cluster_opts o = sim_opts;

	o.settle_ms = 100;
	cluster_run(&o, tombstones_go, NULL);
	cluster_run(&o, tombstones_over_open_blocks_stay, NULL);
}

static void test_count(void **state)
{
	run(slots_are_counted_in_parts, NULL);
}

static void test_loss(void **state)
{
	log_to(hear, NULL);
	run(a_loss_is_said, NULL);
	log_to(NULL, NULL);
}

static void test_dead_inserts(void **state)
{
	struct cluster_opts o = sim_opts;

	o.settle_ms = 100;
	cluster_run(&o, inserts_of_the_dead_are_cleared, NULL);
	cluster_run(&o, inserts_of_the_living_stay, NULL);
	cluster_run(&o, inserts_of_the_parted_stay, NULL);
}

static void test_lives(void **state)
{
	run(who_lives_is_told, NULL);
}

static void test_status(void **state)
{
	run(status_says_what_is, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_waits),
		cmocka_unit_test(test_hung),
		cmocka_unit_test(test_tombs),
		cmocka_unit_test(test_count),
		cmocka_unit_test(test_loss),
		cmocka_unit_test(test_dead_inserts),
		cmocka_unit_test(test_lives),
		cmocka_unit_test(test_status),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
