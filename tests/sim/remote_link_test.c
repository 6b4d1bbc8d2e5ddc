/* Pools over several hosts: a connection that breaks while both its ends live,
 * and a coordinator that is asked while it does not lead. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "kv/hello.h"
#include "tests/lib/by_hand.h"
#include "tests/lib/cluster_impl.h"
#include "tests/lib/mem_store.h"
#include "tests/lib/sim.h"

#define MS    UINT64_C(1000000)
#define LEASE 400u

static struct mem_disk disk;

static void run(void (*body)(struct cluster *c, void *arg))
{
	struct cluster_opts o = {.mode = CLUSTER_SIM,
				 .seed = 1,
				 .remote = true,
				 .store = &disk,
				 .ckpt_ms = 20,
				 .lease_ms = LEASE};

	memset(&disk, 0, sizeof(disk));
	cluster_run(&o, body, NULL);
}

static void put_all(struct kv *kv, const char *val)
{
	for (char key = 'a'; key <= 'z'; key++) /* on every shard */
		assert_int_equal(kv_put(kv, &key, 1, val, strlen(val), NULL),
				 0);
}

/* --- a client's connection to a node ------------------------------------- */

static void nobody_is_lost(struct cluster *c)
{
	struct view v;

	coord_view(cluster_coord(c), &v);
	assert_int_equal(view_down(&v), 0);
	assert_int_equal(coord_clients(cluster_coord(c)), 1);
}

/* It has had no view since the one it joined in. */
static void break_each(struct cluster *c, void *arg)
{
	struct kv *kv = cluster_client(c);
	struct fab_net *net = cluster_client_net(c, kv);
	uint64_t begin;

	put_all(kv, "1");
	for (uint8_t id = 0; id < 5; id++) {
		begin = sim_now(cluster_sim(c));
		fab_net_cut(net, id);
		put_all(kv, "2");
		assert_true(fab_net_up(net, id));
		assert_true(sim_now(cluster_sim(c)) - begin < 1000 * MS);
		nobody_is_lost(c);
	}
}

static void break_all(struct cluster *c, void *arg)
{
	struct kv *kv = cluster_client(c);
	struct fab_net *net = cluster_client_net(c, kv);

	put_all(kv, "1");
	for (uint8_t id = 0; id < 5; id++)
		fab_net_cut(net, id);
	fab_net_cut(net, FAB_NODE_COORD);
	put_all(kv, "2");
	nobody_is_lost(c);
}

static void test_connection_is_made_anew(void **state)
{
	run(break_each);
	run(break_all);
}

/* --- a node's connection to another -------------------------------------- */

static void break_nodes(struct cluster *c)
{
	for (uint32_t from = 0; from < 5; from++)
		for (uint8_t to = 0; to < 5; to++)
			fab_net_cut(c->node[from].net, to);
}

/* Checkpoints, rebuilds and what is obsolete go from node to node. */
static void break_nodes_and_wait(struct cluster *c, void *arg)
{
	struct kv *kv = cluster_client(c);

	put_all(kv, "1");
	break_nodes(c);
	put_all(kv, "2");
	cluster_sleep(c, 10000 * MS);
	for (uint32_t from = 0; from < 5; from++)
		for (uint8_t to = 0; to < 5; to++)
			assert_true(fab_net_up(c->node[from].net, to));
	nobody_is_lost(c);
	cluster_kill_node(c, 2);
	cluster_settle(c);
	put_all(kv, "3");
}

/* What is broken is found when it is needed. */
static void break_nodes_and_kill(struct cluster *c, void *arg)
{
	struct kv *kv = cluster_client(c);

	put_all(kv, "1");
	cluster_settle(c);
	cluster_kill_node(c, 2);
	break_nodes(c);
	cluster_settle(c);
	put_all(kv, "2");
}

static void test_nodes_connect_anew(void **state)
{
	run(break_nodes_and_wait);
	run(break_nodes_and_kill);
}

/* --- the watcher is not left to wait ------------------------------------- */

static void suspect_ends_a_watch(struct cluster *c, void *arg)
{
	struct proto_suspect suspect = {.node = 3};
	struct proto_watch watch = {.wait_ms = 60000};
	static struct proto_view_set set;
	struct fab_batch b = {.n = 1}, *done;
	struct fab_op op;
	struct hand h;

	hand_open(c, &h);
	watch.epoch = h.joined.view.epoch;
	fab_call(&op, FAB_NODE_COORD, PROTO_WATCH, &watch, sizeof(watch), &set,
		 sizeof(set));
	b.ops = &op;
	b.deadline_ns = fab_now(h.fab) + 50000 * MS;
	assert_int_equal(fab_post(h.fab, &b), 0);
	assert_int_equal(fab_poll(h.fab, &done, 1, 100 * MS), 0);
	assert_int_equal(hand_call(&h, FAB_NODE_COORD, PROTO_SUSPECT, &suspect,
				   sizeof(suspect), NULL, 0),
			 0);
	assert_int_equal(fab_poll(h.fab, &done, 1, MS), 1);
	assert_int_equal(op.status, 0);
	assert_int_equal(set.view.epoch, watch.epoch);
	hand_leave(&h);
}

static void test_suspect_ends_a_watch(void **state)
{
	run(suspect_ends_a_watch);
}

/* --- a coordinator without a lead ---------------------------------------- */

static int ask(struct cluster *c, uint32_t role, uint16_t type, const void *rq,
	       uint32_t len)
{
	static char answer[FAB_CALL_BYTES_MAX];
	uint64_t begin = sim_now(cluster_sim(c));
	struct proto_hello h;
	struct fab_net *net;
	struct fab *f;
	int rc;

	hello_fill(&h, role, NULL);
	assert_int_equal(sim_net_open(cluster_sim(c), "asks", &net), 0);
	assert_int_equal(fab_open(net, &f), 0);
	assert_int_equal(fab_net_attach(net, FAB_NODE_COORD, cluster_address(c),
					&h, sizeof(h)),
			 0);
	rc = fab_call_run(f, FAB_NODE_COORD, type, rq, len, answer,
			  sizeof(answer), NULL, 20000 * MS);
	fab_close(f);
	fab_net_close(net);
	assert_true(sim_now(cluster_sim(c)) - begin < 100 * MS);
	return rc;
}

static int ask_to_join(struct cluster *c)
{
	struct proto_join rq = {.what = "asks"};

	hello_fill(&rq.hello, PROTO_CLIENT, NULL);
	return ask(c, PROTO_CLIENT, PROTO_JOIN, &rq, sizeof(rq));
}

static int ask_for_scrub(struct cluster *c, uint32_t what)
{
	struct proto_scrub rq = {.what = what};

	return ask(c, PROTO_TOOL, PROTO_SCRUB, &rq, sizeof(rq));
}

/* Then another is asked at once: kv_open(), scrub_link_open(). */
static void no_lead(struct cluster *c, void *arg)
{
	assert_int_equal(ask_to_join(c), 0);
	assert_int_equal(ask_for_scrub(c, PROTO_SCRUB_ASK), 0);
	disk.away = true;
	assert_int_equal(ask_to_join(c), -EAGAIN);
	assert_int_equal(ask_for_scrub(c, PROTO_SCRUB_ASK), -EAGAIN);
	assert_int_equal(ask_for_scrub(c, PROTO_SCRUB_BEGIN), -EAGAIN);
	disk.away = false;
	assert_int_equal(ask_to_join(c), 0);
	assert_int_equal(ask_for_scrub(c, PROTO_SCRUB_BEGIN), 0);
}

static void test_no_lead(void **state)
{
	run(no_lead);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_connection_is_made_anew),
		cmocka_unit_test(test_nodes_connect_anew),
		cmocka_unit_test(test_suspect_ends_a_watch),
		cmocka_unit_test(test_no_lead),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
