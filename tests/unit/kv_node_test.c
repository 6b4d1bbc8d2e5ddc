/* tests/unit/kv_node_test.c - nodes: blocks and shards, driven by a client's
 * messages sent by hand, on the simulator. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "kv/hash.h"
#include "kv/hello.h"
#include "kv/slot.h"
#include "tests/lib/by_hand.h"
#include "tests/lib/cluster_impl.h"
#include "tests/lib/sim.h"

#define MS UINT64_C(1000000)

static const struct cluster_opts sim_opts = {.mode = CLUSTER_SIM, .seed = 1};

/* --- blocks --------------------------------------------------------------- */

static void sealed_block_is_folded(struct cluster *c, void *arg)
{
	struct proto_stats before, after;
	struct hand_block b;
	struct hand h;

	hand_open(c, &h);
	before = hand_stats(&h, 3);
	assert_int_equal(hand_alloc(&h, 3, BLOCK_RECORDS, &b), 0);
	assert_int_equal(b.copies, 3);
	hand_put_many(&h, &b, 20);
	after = hand_stats(&h, 3);
	assert_int_equal(after.data_free, before.data_free - 1);
	assert_int_equal(after.delta_used, 1);
	hand_seal(&h, &b);
	cluster_settle(c);
	after = hand_stats(&h, 3);
	assert_int_equal(after.delta_used, 0);
	assert_int_equal(after.folds, 1);
	hand_expect_many(&h, 20);
	hand_leave(&h);
}

static void obsolete_block_comes_back(struct cluster *c, void *arg)
{
	struct proto_stats before;
	struct hand_block b;
	uint64_t word[20];
	struct hand h;
	unsigned i;

	hand_open(c, &h);
	before = hand_stats(&h, 3);
	assert_int_equal(hand_alloc(&h, 3, BLOCK_RECORDS, &b), 0);
	for (i = 0; i < 20; i++) {
		struct hand_record r = hand_committed(hand_key(i), "v", i + 1);

		word[i] = hand_write(&h, &b, &r, UINT64_MAX);
	}
	hand_seal(&h, &b);
	cluster_settle(c);
	for (i = 0; i < 19; i++)
		hand_mark(&h, &b, word[i]);
	cluster_sleep(c, 50 * MS);
	assert_int_equal(hand_stats(&h, 3).data_free, before.data_free - 1);
	hand_mark(&h, &b, word[19]);
	cluster_sleep(c, 200 * MS);
	assert_int_equal(hand_stats(&h, 3).data_free, before.data_free);
	assert_int_equal(hand_stats(&h, 3).used, before.used);
	assert_true(hand_stats(&h, 3).retires > 0);
	hand_leave(&h);
}

static int alloc_as(struct hand *h, uint64_t epoch, uint32_t owner)
{
	struct proto_alloc rq = {
		.epoch = epoch, .owner = owner, .kind = BLOCK_RECORDS};
	struct proto_grant grant;

	return hand_call(h, 3, PROTO_ALLOC, &rq, sizeof(rq), &grant,
			 sizeof(grant));
}

static void asks_are_checked(struct cluster *c, void *arg)
{
	struct proto_stats st;
	struct hand h;
	uint64_t epoch;

	hand_open(c, &h);
	cluster_settle(c);
	epoch = h.joined.view.epoch;
	assert_int_equal(alloc_as(&h, epoch - 1, h.joined.client), -ESTALE);
	assert_int_equal(alloc_as(&h, epoch + 1, h.joined.client), -EAGAIN);
	assert_int_equal(alloc_as(&h, epoch, h.joined.client + 1), -EPERM);
	assert_int_equal(alloc_as(&h, epoch, 0), -EINVAL);
	assert_int_equal(hand_call(&h, 3, PROTO_STOP, NULL, 0, NULL, 0),
			 -EPERM);
	assert_int_equal(hand_call(&h, 3, PROTO_FREE, &st, 1, NULL, 0), -EPERM);
	assert_int_equal(hand_call(&h, 3, PROTO_ALLOC, &st, 1, NULL, 0),
			 -EPROTO);
	assert_int_equal(hand_call(&h, 3, 4711, NULL, 0, NULL, 0), -EPROTO);
	assert_int_equal(alloc_as(&h, epoch, h.joined.client), 0);
	hand_leave(&h);
}

static void dead_clients_blocks_are_closed(struct cluster *c, void *arg)
{
	struct hand_block b;
	struct hand h, other;

	hand_open(c, &h);
	hand_open(c, &other);
	hand_watch(&h, 1);
	cluster_settle(c);
	assert_int_equal(hand_alloc(&h, 3, BLOCK_RECORDS, &b), 0);
	hand_put_many(&h, &b, 20);
	assert_int_equal(hand_stats(&other, 3).delta_used, 1);
	hand_die(&h);
	cluster_sleep(c, 100 * MS);
	cluster_settle(c);
	assert_int_equal(hand_stats(&other, 3).delta_used, 0);
	assert_int_equal(hand_stats(&other, 3).open_blocks, 0);
	hand_watch(&other, 1);
	assert_int_equal(other.joined.view.clients, 1);
	hand_expect_many(&other, 20);
	hand_leave(&other);
}

/* --- the end of a node --------------------------------------------------- */

struct lonely {
	struct cluster *c;
	int called;
	bool stopped;
};

static int lonely_net(void *arg, struct fab_net **out)
{
	struct lonely *l = arg;

	return sim_net_open(cluster_sim(l->c), "alone", out);
}

static void on_lonely(void *arg)
{
	((struct lonely *)arg)->called++;
}

static void on_stop(void *arg)
{
	((struct lonely *)arg)->stopped = true;
}

static void attach_as(struct lonely *l, uint32_t role, struct fab_net **net)
{
	struct proto_hello hello = {
		.magic = PROTO_MAGIC, .version = PROTO_VERSION, .role = role};

	assert_int_equal(sim_net_open(cluster_sim(l->c), "peer", net), 0);
	assert_int_equal(
		fab_net_attach(*net, 0, "sim:alone", &hello, sizeof(hello)), 0);
}

static void say_stop(struct fab_net *net, int expect)
{
	struct fab *f;

	assert_int_equal(fab_open(net, &f), 0);
	assert_int_equal(
		fab_call_run(f, 0, PROTO_STOP, NULL, 0, NULL, 0, NULL, 0),
		expect);
	fab_close(f);
}

/* Neither the coordinator's end nor the last client's is the node's: both. */
static void node_ends_with_its_last_user(struct cluster *c, void *arg)
{
	struct lonely l = {.c = c};
	struct node_opts o = {.address = "sim:alone",
			      .region_fd = -1,
			      .net = lonely_net,
			      .arg = &l,
			      .on_lonely = on_lonely,
			      .on_stop = on_stop};
	struct fab_net *coord, *client, *node;
	struct node *n;

	o.super.layout = *cluster_layout(c);
	o.region = calloc(1, o.super.layout.size);
	assert_int_equal(node_open(&o, &n), 0);
	attach_as(&l, PROTO_COORD, &coord);
	attach_as(&l, PROTO_CLIENT, &client);
	attach_as(&l, PROTO_NODE, &node);
	say_stop(client, -EPERM);
	say_stop(node, -EPERM);
	assert_false(l.stopped);
	say_stop(coord, 0);
	assert_true(l.stopped);
	fab_net_close(coord);
	cluster_sleep(c, 10 * MS);
	assert_int_equal(l.called, 0);
	assert_false(node_lonely(n));
	fab_net_close(client);
	cluster_sleep(c, 10 * MS);
	assert_int_equal(l.called, 1);
	assert_true(node_lonely(n)); /* another node is no reason to stay */
	fab_net_close(node);
	node_close(n);
	/* what is there is not taken for new memory */
	assert_int_equal(node_open(&o, &n), -EINVAL);
	free(o.region);
}

static int attach_at(struct lonely *l, const char *address)
{
	struct fab_net *net;
	struct proto_hello h;
	int rc;

	hello_fill(&h, PROTO_CLIENT, NULL);
	assert_int_equal(sim_net_open(cluster_sim(l->c), "peer", &net), 0);
	rc = hello_attach(net, 0, address, &h);
	fab_net_close(net);
	return rc;
}

/* The same place, another process: whoever means the last one is sent away. */
static void node_refuses_who_means_another(struct cluster *c, void *arg)
{
	struct lonely l = {.c = c};
	struct node_opts o = {.address = "sim:alone",
			      .region_fd = -1,
			      .net = lonely_net,
			      .arg = &l,
			      .instance = 0xfeed};
	struct node *n;

	o.super.layout = *cluster_layout(c);
	o.region = calloc(1, o.super.layout.size);
	assert_int_equal(node_open(&o, &n), 0);
	assert_int_equal(attach_at(&l, "sim:alone#000000000000feed"), 0);
	assert_int_equal(attach_at(&l, "sim:alone#000000000000beef"), -ESTALE);
	assert_int_equal(attach_at(&l, "sim:alone"), -ESTALE);
	assert_int_equal(attach_at(&l, "sim:alone#feed"), -EINVAL);
	assert_int_equal(attach_at(&l, "sim:alone#0000000000000000"), -EINVAL);
	assert_int_equal(attach_at(&l, "sim:alone#00000000000 feed"), -EINVAL);
	node_close(n);
	free(o.region);
}

/* A new process of a dead node's number may be quicker than the word that it
 * comes; a late word of the death would cut it then, for good. */
static int hello_of_node(struct cluster *c, uint32_t id, const char *self,
			 const char *address)
{
	struct fab_net *net;
	struct proto_hello h;
	int rc;

	hello_fill(&h, PROTO_NODE, cluster_super(c)->uuid);
	h.client = id;
	h.self = hello_self(self);
	assert_int_equal(sim_net_open(cluster_sim(c), "peer", &net), 0);
	rc = hello_attach(net, 0, address, &h);
	fab_net_close(net);
	return rc;
}

static void node_that_is_down_is_not_let_in(struct cluster *c, void *arg)
{
	const char *one = cluster_node_address(c, 1);
	const char *three = cluster_node_address(c, 3);

	assert_int_equal(hello_of_node(c, 1, one, "sim:n0"), 0);
	cluster_kill_node(c, 1);
	cluster_settle(c);
	assert_int_equal(hello_of_node(c, 1, one, "sim:n0"), -EAGAIN);
	assert_int_equal(hello_of_node(c, 3, three, "sim:n0"), 0);
}

/* Taken for dead behind a cut link, it tries again and again: when another one
 * has its number it is not to be taken for that, nor to cut that one off. */
static void node_of_before_is_not_let_in(struct cluster *c, void *arg)
{
	char address[2][PROTO_ADDRESS_BYTES];

	strcpy(address[0], cluster_node_address(c, 1));
	cluster_kill_node(c, 1);
	cluster_settle(c);
	cluster_replace_node(c, 1);
	cluster_settle(c);
	strcpy(address[1], cluster_node_address(c, 1));
	assert_string_not_equal(address[0], address[1]);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(hello_of_node(c, 1, address[0], "sim:n0"),
				 -ESTALE);
		cluster_sleep(c, 10 * MS);
		assert_true(fab_net_up(c->node[1].net, 0));
	}
	assert_int_equal(hello_of_node(c, 1, address[1], "sim:n0"), 0);
	cluster_sleep(c, 3000 * MS);
	assert_true(fab_net_up(c->node[1].net, 0)); /* anew */
}

/* --- shards --------------------------------------------------------------- */

static void shard_comes_back(struct cluster *c, void *arg)
{
	struct hand_block b;
	struct hand h;

	hand_open(c, &h);
	assert_int_equal(hand_alloc(&h, 3, BLOCK_RECORDS, &b), 0);
	hand_put_many(&h, &b, 200);
	cluster_kill_node(c, *(uint32_t *)arg);
	hand_follow(&h);
	assert_int_equal(h.joined.view.node[*(uint32_t *)arg], VIEW_NODE_DOWN);
	hand_expect_many(&h, 200);
	hand_leave(&h);
}

/* Two nodes at once, then one more client that sees it from the start. */
static void shards_come_back_after_two_deaths(struct cluster *c, void *arg)
{
	struct hand_block b, sealed;
	struct hand h, late;
	unsigned i;

	hand_open(c, &h);
	assert_int_equal(hand_alloc(&h, 3, BLOCK_RECORDS, &sealed), 0);
	hand_put_many(&h, &sealed, 100);
	hand_seal(&h, &sealed);
	cluster_settle(c);
	assert_int_equal(hand_alloc(&h, 4, BLOCK_RECORDS, &b), 0);
	for (i = 100; i < 200; i++) {
		struct hand_record r =
			hand_committed(hand_key(i), "open", i + 1);

		hand_put(&h, &b, &r);
	}
	cluster_kill_node(c, ((uint32_t *)arg)[0]);
	cluster_kill_node(c, ((uint32_t *)arg)[1]);
	hand_follow(&h);
	assert_int_equal(view_down(&h.joined.view), 2);
	hand_expect_many(&h, 200);
	hand_open(c, &late);
	hand_expect_many(&late, 200);
	hand_leave(&late);
	hand_leave(&h);
}

/* The second death comes while the first one's shard is being read. */
static void death_during_a_rebuild(struct cluster *c, void *arg)
{
	struct hand_block b;
	struct hand h;

	hand_open(c, &h);
	assert_int_equal(hand_alloc(&h, 3, BLOCK_RECORDS, &b), 0);
	hand_put_many(&h, &b, 200);
	cluster_kill_node(c, 0);
	hand_watch(&h, 50);
	hand_watch(&h, 0); /* acks: the rebuild begins */
	cluster_sleep(c, *(uint64_t *)arg);
	cluster_kill_node(c, 1); /* where shard 0 was being brought back */
	hand_follow(&h);
	hand_expect_many(&h, 200);
	hand_leave(&h);
}

/* --- what a replay makes of records whose writers did not get to their end  */

struct left {
	uint64_t version, fate;
	uint8_t type;
	bool mark; /* by one member: the others did not hear of it */
};

static const struct left_case {
	const char *name;
	struct left left[3]; /* type 0: no more */
	int wins;	     /* which of them; -1: none */
} left_cases[] = {
	{"the highest version",
	 {{4, OBJECT_COMMITTED, OBJECT_PUT, false},
	  {300, OBJECT_COMMITTED, OBJECT_PUT, false},
	  {5, OBJECT_COMMITTED, OBJECT_PUT, false}},
	 1},
	{"of equals the committed",
	 {{5, OBJECT_PENDING, OBJECT_PUT, false},
	  {5, OBJECT_COMMITTED, OBJECT_PUT, false},
	  {5, OBJECT_PENDING, OBJECT_PUT, false}},
	 1},
	{"of pending equals the lower address",
	 {{5, OBJECT_PENDING, OBJECT_PUT, false},
	  {5, OBJECT_PENDING, OBJECT_PUT, false}},
	 0},
	{"of equals the committed before one that was alone",
	 {{5, OBJECT_SOLO, OBJECT_PUT, false},
	  {5, OBJECT_COMMITTED, OBJECT_PUT, false},
	  {5, OBJECT_SOLO, OBJECT_PUT, false}},
	 1},
	{"of equals one that was alone before the pending",
	 {{5, OBJECT_PENDING, OBJECT_PUT, false},
	  {5, OBJECT_SOLO, OBJECT_PUT, false}},
	 1},
	{"one that was alone goes forward",
	 {{5, OBJECT_COMMITTED, OBJECT_PUT, false},
	  {6, OBJECT_SOLO, OBJECT_TOMB, false}},
	 1},
	{"an insert beside one that was alone",
	 {{7, OBJECT_SOLO, OBJECT_PUT, false},
	  {UINT64_C(3) << 40 | 1, OBJECT_PENDING, OBJECT_PUT, false}},
	 0},
	{"a pending update goes forward",
	 {{5, OBJECT_COMMITTED, OBJECT_PUT, false},
	  {6, OBJECT_PENDING, OBJECT_PUT, false}},
	 1},
	{"never a killed one",
	 {{5, OBJECT_COMMITTED, OBJECT_PUT, false},
	  {6, OBJECT_KILLED, OBJECT_PUT, false}},
	 0},
	{"only a killed one", {{6, OBJECT_KILLED, OBJECT_PUT, false}}, -1},
	{"an insert that found the key there",
	 {{7, OBJECT_COMMITTED, OBJECT_PUT, false},
	  {UINT64_C(3) << 40 | 1, OBJECT_PENDING, OBJECT_PUT, false}},
	 0},
	{"an insert after a delete",
	 {{7, OBJECT_COMMITTED, OBJECT_TOMB, false},
	  {UINT64_C(3) << 40 | 1, OBJECT_PENDING, OBJECT_PUT, false}},
	 1},
	{"a tombstone is remembered",
	 {{7, OBJECT_COMMITTED, OBJECT_PUT, false},
	  {8, OBJECT_COMMITTED, OBJECT_TOMB, false}},
	 1},
	{"what is marked is not there",
	 {{7, OBJECT_COMMITTED, OBJECT_PUT, true}},
	 -1},
	{"what is marked does not hide another",
	 {{9, OBJECT_COMMITTED, OBJECT_PUT, true},
	  {7, OBJECT_COMMITTED, OBJECT_PUT, false}},
	 1},
	{"an intent is a record",
	 {{7, OBJECT_COMMITTED, OBJECT_PUT, false},
	  {8, OBJECT_COMMITTED, OBJECT_INTENT, false}},
	 1},
};
#define LEFT_CASES (sizeof(left_cases) / sizeof(left_cases[0]))

/* A key of @shard for case @i. */
static const char *key_in(uint32_t shard, unsigned i)
{
	static char key[32];
	unsigned n = 0;

	do
		snprintf(key, sizeof(key), "case-%u-%u", i, n++);
	while (hash_shard(hash_of(key, strlen(key)), 5) != shard);
	return key;
}

static uint64_t leave(struct hand *h, struct hand_block *b, uint32_t shard,
		      unsigned i)
{
	const struct left_case *lc = &left_cases[i];
	uint64_t word, wins = 0;
	int l;

	for (l = 0; l < 3 && lc->left[l].type != 0; l++) {
		struct hand_record r = {.key = key_in(shard, i),
					.val = "v",
					.version = lc->left[l].version,
					.fate = lc->left[l].fate,
					.type = lc->left[l].type};

		word = hand_write(h, b, &r, UINT64_MAX);
		if (lc->left[l].mark) {
			struct hand_block one = *b;

			/* the last parity node, unless that will die */
			one.copies = 1;
			one.copy[0] = b->copy[b->copies - 1];
			if (one.copy[0].node == shard)
				one.copy[0] = b->copy[b->copies - 2];
			hand_mark(h, &one, word);
		}
		if (l == lc->wins)
			wins = word;
	}
	return wins;
}

static void replay_knows_fates(struct cluster *c, void *arg)
{
	uint64_t wins[LEFT_CASES], slot, word, version;
	uint32_t dead = *(uint32_t *)arg, node;
	struct hand_block b;
	struct hand h;
	unsigned i;

	hand_open(c, &h);
	assert_int_equal(hand_alloc(&h, 3, BLOCK_RECORDS, &b), 0);
	for (i = 0; i < LEFT_CASES; i++)
		wins[i] = leave(&h, &b, dead, i);
	cluster_kill_node(c, dead);
	hand_follow(&h);
	for (i = 0; i < LEFT_CASES; i++) {
		word = 0;
		hand_find(&h, key_in(dead, i), &node, &slot, &word, &version);
		if (word != wins[i])
			print_error("case: %s\n", left_cases[i].name);
		assert_true(word == wins[i]);
	}
	hand_leave(&h);
}

static void run(void (*body)(struct cluster *, void *), void *arg)
{
	cluster_run(&sim_opts, body, arg);
}

static void test_sealed(void **state)
{
	run(sealed_block_is_folded, NULL);
}

static void test_obsolete(void **state)
{
	run(obsolete_block_comes_back, NULL);
}

static void test_checked(void **state)
{
	run(asks_are_checked, NULL);
}

static void test_orphans(void **state)
{
	run(dead_clients_blocks_are_closed, NULL);
}

static void test_lonely(void **state)
{
	run(node_ends_with_its_last_user, NULL);
}

static void test_instance(void **state)
{
	run(node_refuses_who_means_another, NULL);
}

static void test_down(void **state)
{
	run(node_that_is_down_is_not_let_in, NULL);
	run(node_of_before_is_not_let_in, NULL);
}

static void test_shard(void **state)
{
	uint32_t id;

	for (id = 0; id < 5; id++)
		run(shard_comes_back, &id);
}

static void test_two(void **state)
{
	uint32_t dead[2];

	for (dead[0] = 0; dead[0] < 5; dead[0]++)
		for (dead[1] = 0; dead[1] < dead[0]; dead[1]++)
			run(shards_come_back_after_two_deaths, dead);
}

static void test_during(void **state)
{
	uint64_t after;

	for (after = 0; after < 2000000; after += 250000)
		run(death_during_a_rebuild, &after);
}

static void test_fates(void **state)
{
	uint32_t dead;

	for (dead = 0; dead < 5; dead++)
		run(replay_knows_fates, &dead);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sealed),
		cmocka_unit_test(test_obsolete),
		cmocka_unit_test(test_checked),
		cmocka_unit_test(test_orphans),
		cmocka_unit_test(test_lonely),
		cmocka_unit_test(test_shard),
		cmocka_unit_test(test_instance),
		cmocka_unit_test(test_down),
		cmocka_unit_test(test_two),
		cmocka_unit_test(test_during),
		cmocka_unit_test(test_fates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
