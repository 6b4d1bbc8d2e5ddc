/* tests/unit/kv_calls_test.c - FENCE and COME, said by hand: who may say them,
 * what of them is believed, and what comes of it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>

#include "kv/hello.h"
#include "tests/lib/by_hand.h"
#include "tests/lib/sim.h"

#define CALL_NS UINT64_C(2000000000)

/* Somebody who is attached to one place only. */
struct peer {
	uint8_t at;
	struct fab_net *net;
	struct fab *fab;
};

static void peer_open(struct cluster *c, struct peer *p, const char *address,
		      uint32_t role, uint32_t id)
{
	struct proto_hello h;

	hello_fill(&h, role, cluster_super(c)->uuid);
	h.client = id;
	if (role == PROTO_NODE)
		h.self = hello_self(cluster_node_address(c, id));
	p->at = strcmp(address, cluster_address(c)) == 0 ? FAB_NODE_COORD : 0;
	assert_int_equal(sim_net_open(cluster_sim(c), "peer", &p->net), 0);
	assert_int_equal(hello_attach(p->net, p->at, address, &h), 0);
	assert_int_equal(fab_open(p->net, &p->fab), 0);
}

static void peer_close(struct peer *p)
{
	fab_close(p->fab);
	fab_net_close(p->net);
}

static int peer_call(struct peer *p, uint16_t type, const void *rq,
		     uint32_t len, void *reply, uint32_t cap)
{
	return fab_call_run(p->fab, p->at, type, rq, len, reply, cap, NULL,
			    CALL_NS);
}

/* --- FENCE ---------------------------------------------------------------- */

static int fence(struct peer *coord, uint32_t client)
{
	struct proto_fence rq = {.epoch = 1, .client = client};

	return peer_call(coord, PROTO_FENCE, &rq, sizeof(rq), NULL, 0);
}

static int word_of(struct hand *h, uint32_t node)
{
	uint64_t word;
	struct fab_op op;
	struct fab_batch b = {.ops = &op, .n = 1};

	fab_read(&op, (uint8_t)node, 0, &word, sizeof(word));
	assert_int_equal(fab_run(h->fab, &b), 0);
	return op.status;
}

static int hello_again(struct hand *h)
{
	struct proto_hello hello;
	struct fab_net *net;
	int rc;

	hello_fill(&hello, PROTO_CLIENT, cluster_super(h->c)->uuid);
	hello.client = h->joined.client;
	assert_int_equal(sim_net_open(cluster_sim(h->c), "again", &net), 0);
	rc = hello_attach(net, 0, h->joined.address[0], &hello);
	fab_net_close(net);
	return rc;
}

/* Told 0, the coordinator knows that nothing of the client gets through. */
static void fenced_clients_are_out(struct cluster *c, void *arg)
{
	struct hand out, in;
	struct peer coord;

	hand_open(c, &out);
	hand_open(c, &in);
	peer_open(c, &coord, "sim:n0", PROTO_COORD, 0);
	assert_int_equal(word_of(&out, 0), 0);
	assert_int_equal(fence(&coord, out.joined.client), -EAGAIN);
	cluster_sleep(c, UINT64_C(10000000)); /* it is gone */
	assert_int_equal(fence(&coord, out.joined.client), 0);
	assert_int_equal(fence(&coord, out.joined.client), 0);
	assert_int_equal(word_of(&out, 0), -EHOSTDOWN);
	assert_int_equal(word_of(&out, 1), 0); /* who was told nothing */
	assert_int_equal(hello_again(&out), -ESTALE);
	assert_int_equal(word_of(&in, 0), 0);
	assert_int_equal(hello_again(&in), 0);
	peer_close(&coord);
	hand_leave(&out);
	hand_leave(&in);
}

/* Many, so that the node's list grows; the first is remembered. */
static void many_are_fenced(struct cluster *c, void *arg)
{
	struct peer coord;
	struct hand h;

	hand_open(c, &h);
	peer_open(c, &coord, "sim:n0", PROTO_COORD, 0);
	for (uint32_t client = 1000; client < 1100; client++)
		assert_int_equal(fence(&coord, client), 0);
	assert_int_equal(word_of(&h, 0), 0);
	h.joined.client = 1000;
	assert_int_equal(hello_again(&h), -ESTALE);
	h.joined.client = 1099;
	assert_int_equal(hello_again(&h), -ESTALE);
	h.joined.client = 1100;
	assert_int_equal(hello_again(&h), 0);
	peer_close(&coord);
	hand_leave(&h);
}

static void only_the_coordinator_fences(struct cluster *c, void *arg)
{
	struct proto_fence rq = {.epoch = 1, .client = 7};
	struct peer node, coord;
	struct hand h;

	hand_open(c, &h);
	peer_open(c, &node, "sim:n0", PROTO_NODE, 1);
	peer_open(c, &coord, "sim:n0", PROTO_COORD, 0);
	assert_int_equal(
		hand_call(&h, 0, PROTO_FENCE, &rq, sizeof(rq), NULL, 0),
		-EPERM);
	assert_int_equal(fence(&node, 7), -EPERM);
	assert_int_equal(fence(&coord, 0), -EINVAL);
	assert_int_equal(
		peer_call(&coord, PROTO_FENCE, &rq, sizeof(rq) - 1, NULL, 0),
		-EPROTO);
	assert_int_equal(peer_call(&coord, PROTO_FENCE, NULL, 0, NULL, 0),
			 -EPROTO);
	h.joined.client = 7;
	assert_int_equal(hello_again(&h), 0); /* nobody was fenced */
	peer_close(&node);
	peer_close(&coord);
	hand_leave(&h);
}

/* Nothing that lies in its old connection comes after what it says in a new
 * one. */
static void who_comes_again_is_cut_first(struct cluster *c, void *arg)
{
	struct peer first, again, other;

	peer_open(c, &other, "sim:n0", PROTO_COORD, 0);
	peer_open(c, &first, "sim:n0", PROTO_NODE, 1);
	assert_true(fab_net_up(first.net, 0));
	peer_open(c, &again, "sim:n0", PROTO_NODE, 1);
	cluster_sleep(c, UINT64_C(10000000));
	assert_false(fab_net_up(first.net, 0));
	assert_true(fab_net_up(other.net, 0));
	peer_close(&first);
	peer_close(&again);
	peer_close(&other);
}

/* --- COME ----------------------------------------------------------------- */

static struct proto_come come_of(struct cluster *c, uint32_t id,
				 const char *address)
{
	struct proto_come rq = {
		.id = id,
		.pid = 99,
		.instance = 0xfeed,
		.shape = layout_sum(cluster_layout(c)),
		.host = "here",
		.why = "because",
	};

	memcpy(rq.uuid, cluster_super(c)->uuid, sizeof(rq.uuid));
	assert_int_equal(hello_address(address, rq.instance, rq.address,
				       sizeof(rq.address)),
			 0);
	return rq;
}

static int come(struct peer *p, const struct proto_come *rq)
{
	struct proto_came out = {.state = 77};
	int rc = peer_call(p, PROTO_COME, rq, sizeof(*rq), &out, sizeof(out));

	return rc == 0 ? (int)out.state : rc;
}

static unsigned down(struct cluster *c)
{
	struct view v;

	coord_view(cluster_coord(c), &v);
	return view_down(&v);
}

static void what_comes_is_checked(struct cluster *c, void *arg)
{
	struct proto_come good = come_of(c, 2, "sim:other"), rq;
	struct peer p;

	peer_open(c, &p, cluster_address(c), PROTO_NODE, 2);
#define REFUSED(why, change)                                                   \
	do {                                                                   \
		rq = good;                                                     \
		change;                                                        \
		assert_int_equal(come(&p, &rq), why);                          \
	} while (0)
	REFUSED(-EACCES, rq.uuid[3] ^= 1);
	REFUSED(-EINVAL, rq.id = 5);
	REFUSED(-EINVAL, rq.id = UINT32_MAX);
	REFUSED(-EINVAL, rq.shape++);
	REFUSED(-EINVAL, rq.instance++); /* not that of the address */
	REFUSED(-EINVAL, strcpy(rq.address, "sim:other"));
	REFUSED(-EINVAL, strcpy(rq.address, "sim:other#feed"));
	REFUSED(-EPROTO, memset(rq.address, 'a', sizeof(rq.address)));
	REFUSED(-EPROTO, memset(rq.host, 'a', sizeof(rq.host)));
	REFUSED(-EPROTO, memset(rq.why, 'a', sizeof(rq.why)));
#undef REFUSED
	assert_int_equal(
		peer_call(&p, PROTO_COME, &good, sizeof(good) - 1, NULL, 0),
		-EPROTO);
	cluster_settle(c);
	assert_int_equal(down(c), 0);
	peer_close(&p);
}

static void only_nodes_come(struct cluster *c, void *arg)
{
	struct proto_come rq = come_of(c, 2, "sim:n2");
	struct proto_came out;
	struct hand h;

	hand_open(c, &h);
	assert_int_equal(hand_call(&h, FAB_NODE_COORD, PROTO_COME, &rq,
				   sizeof(rq), &out, sizeof(out)),
			 -EPERM);
	cluster_settle(c);
	assert_int_equal(down(c), 0);
	hand_leave(&h);
}

/* Somewhere else: it waits, as the one of the view may live. In its very place:
 * that one cannot live any more. */
static void another_process_waits_or_replaces(struct cluster *c, void *arg)
{
	struct proto_come rq = come_of(c, 2, "sim:elsewhere");
	struct peer p;

	peer_open(c, &p, cluster_address(c), PROTO_NODE, 2);
	assert_int_equal(come(&p, &rq), PROTO_CAME_WAITS);
	cluster_sleep(c, UINT64_C(100000000));
	assert_int_equal(down(c), 0);
	rq = come_of(c, 2, "sim:n2");
	assert_int_equal(come(&p, &rq), PROTO_CAME_WAITS);
	cluster_sleep(c, UINT64_C(100000000));
	assert_int_equal(down(c), 1);
	peer_close(&p);
}

static int join_as(struct cluster *c, struct peer *p)
{
	struct proto_join rq = {.what = "a client"};
	static struct proto_joined out;

	return peer_call(p, PROTO_JOIN, &rq, sizeof(rq), &out, sizeof(out));
}

static json_t *status_of(struct cluster *c)
{
	char *text;
	json_t *o;

	assert_int_equal(coord_status(cluster_coord(c), &text), 0);
	o = json_loads(text, 0, NULL);
	assert_non_null(o);
	free(text);
	return o;
}

static const char *said(const json_t *list, size_t i, const char *name)
{
	return json_string_value(
		json_object_get(json_array_get(list, i), name));
}

/* JSON would rather leave out what is no UTF-8: a client would not be seen. */
static void what_is_no_text_is_shown(struct cluster *c, void *arg)
{
	struct proto_come rq = come_of(c, 2,
				       "sim:\xff"
				       "b");
	struct proto_join join = {.what = "a \xc3( client"};
	static struct proto_joined joined;
	struct peer p, client;
	const json_t *list;
	json_t *o;

	strcpy(rq.host, "h\xe4m");
	strcpy(rq.why, "\xc3\xa4"); /* this is UTF-8 */
	peer_open(c, &p, cluster_address(c), PROTO_NODE, 2);
	assert_int_equal(come(&p, &rq), PROTO_CAME_WAITS);
	peer_open(c, &client, cluster_address(c), PROTO_CLIENT, 0);
	assert_int_equal(peer_call(&client, PROTO_JOIN, &join, sizeof(join),
				   &joined, sizeof(joined)),
			 0);
	o = status_of(c);
	list = json_object_get(o, "clients");
	assert_int_equal(json_array_size(list), 1);
	assert_string_equal(said(list, 0, "what"), "a ?( client");
	list = json_object_get(o, "nodes");
	assert_string_equal(said(list, 2, "host"), "h?m");
	assert_string_equal(said(list, 2, "why"), "\xc3\xa4");
	assert_string_equal(said(list, 2, "address"), "sim:?b");
	assert_string_equal(said(list, 2, "transport"), "sim");
	json_decref(o);
	peer_close(&client);
	peer_close(&p);
}

/* All were replaced: the pool begins again, with nothing and nobody of before.
 */
static void what_was_before_is_not_let_in(struct cluster *c, void *arg)
{
	char place[16];
	struct proto_come rq;
	struct peer p, client;

	peer_open(c, &p, cluster_address(c), PROTO_NODE, 2);
	for (uint32_t id = 0; id < 5; id++) {
		snprintf(place, sizeof(place), "sim:n%u", id);
		rq = come_of(c, id, place);
		assert_int_equal(come(&p, &rq), PROTO_CAME_WAITS);
	}
	cluster_sleep(c, UINT64_C(100000000));
	assert_int_equal(down(c), 5);
	rq = come_of(c, 2, "sim:n2");
	rq.former = 1; /* it has blocks of before */
	assert_int_equal(come(&p, &rq), -ESTALE);
	rq.former = 0;
	rq.epoch = 1; /* it was in a view */
	assert_int_equal(come(&p, &rq), -ESTALE);
	rq.epoch = 0;
	assert_int_equal(come(&p, &rq), PROTO_CAME_WAITS);
	peer_open(c, &client, cluster_address(c), PROTO_CLIENT, 0);
	assert_int_equal(join_as(c, &client), -EAGAIN);
	peer_close(&client);
	peer_close(&p);
}

static void run(void **state)
{
	static const struct cluster_opts opts = {
		.mode = CLUSTER_SIM, .seed = 1, .remote = true};

	cluster_run(&opts, (void (*)(struct cluster *, void *)) * state, NULL);
}

#define TEST(body)                                                             \
	{                                                                      \
		.name = #body, .test_func = run, .initial_state = (void *)body \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(fenced_clients_are_out),
		TEST(many_are_fenced),
		TEST(only_the_coordinator_fences),
		TEST(who_comes_again_is_cut_first),
		TEST(what_comes_is_checked),
		TEST(only_nodes_come),
		TEST(another_process_waits_or_replaces),
		TEST(what_is_no_text_is_shown),
		TEST(what_was_before_is_not_let_in),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
