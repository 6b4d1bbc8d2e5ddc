/* tests/unit/kv_reader_test.c - a client that has the reader's key only, of a
 * pool over TCP: it sees all and changes nothing, whatever it tries. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "kv/hello.h"
#include "rdma/fabric.h"
#include "tests/lib/cluster.h"

static const struct fab_key key = {.len = 32,
				   .bytes = "0123456789abcdef0123456789abcdef"};
static const struct cluster_opts over_tcp = {
	.mode = CLUSTER_SHM, .key = &key, .usable = 16u << 20};

#define KEYS 50

static void put_some(struct kv *kv, const char *what)
{
	char k[16], v[64];

	for (int i = 0; i < KEYS; i++) {
		int klen = snprintf(k, sizeof(k), "key%d", i);
		int vlen = snprintf(v, sizeof(v), "%s %d", what, i);

		assert_int_equal(
			kv_put(kv, k, (size_t)klen, v, (size_t)vlen, NULL), 0);
	}
}

static void expect_some(struct kv *kv, const char *what)
{
	char k[16], v[64], got[64];
	size_t len;

	for (int i = 0; i < KEYS; i++) {
		int klen = snprintf(k, sizeof(k), "key%d", i);
		int vlen = snprintf(v, sizeof(v), "%s %d", what, i);

		assert_int_equal(kv_get(kv, k, (size_t)klen, got, sizeof(got),
					&len, NULL),
				 0);
		assert_int_equal(len, vlen);
		assert_memory_equal(got, v, len);
	}
}

static struct kv *open_reader(struct cluster *c)
{
	struct fab_key reader;
	struct kv_opts o = {.pool = cluster_address(c), .key = &reader};
	struct kv *kv;

	assert_int_equal(fab_key_reader(&key, &reader), 0);
	assert_int_equal(kv_open(&o, &kv), 0);
	assert_true(kv_is_read_only(kv));
	return kv;
}

static void every_change_is_refused(struct kv *kv)
{
	static char bytes[KV_PAGE_BYTES];
	const void *data[1] = {bytes};
	struct kv_page page;
	struct kv_req rq[2] = {{.kind = KV_GET, .key = "key1", .klen = 4},
			       {.kind = KV_PUT,
				.key = "key1",
				.klen = 4,
				.val = "x",
				.len = 1}};

	assert_int_equal(kv_put(kv, "key1", 4, "x", 1, NULL), -EROFS);
	assert_int_equal(kv_insert(kv, "new", 3, "x", 1, NULL), -EROFS);
	assert_int_equal(kv_del(kv, "key1", 4, 0), -EROFS);
	assert_int_equal(kv_put_if(kv, "key1", 4, "x", 1, 1, NULL), -EROFS);
	assert_int_equal(kv_pages_write(kv, data, 1, &page), -EROFS);
	rq[0].buf = bytes;
	rq[0].cap = sizeof(bytes);
	assert_int_equal(kv_run(kv, rq, 2), -EROFS);
	assert_int_equal(rq[0].status, 0);
	assert_int_equal(kv_sync(kv), 0);
}

static void a_reader_sees_all(struct cluster *c, void *arg)
{
	struct kv *writer = cluster_client(c), *reader;

	put_some(writer, "first");
	reader = open_reader(c);
	expect_some(reader, "first");
	every_change_is_refused(reader);
	put_some(writer, "second");
	expect_some(reader, "second");
	/* also when a node is gone, and what lies there has to be decoded */
	cluster_kill_node(c, 2);
	expect_some(reader, "second");
	cluster_settle(c);
	put_some(writer, "third");
	expect_some(reader, "third");
	kv_close(reader);
	expect_some(writer, "third");
}

/* --- and one that does not keep to what kv/client does ------------------- */

static int call(struct fab *f, uint8_t node, uint16_t type, const void *rq,
		uint32_t len)
{
	char answer[4096];

	return fab_call_run(f, node, type, rq, len, answer, sizeof(answer),
			    NULL, UINT64_C(20000000000));
}

static int attach_as(struct fab_net *net, struct cluster *c, uint32_t role)
{
	struct proto_hello h;
	struct view v;

	hello_fill(&h, role, cluster_super(c)->uuid);
	coord_view(cluster_coord(c), &v);
	h.epoch = v.epoch;
	return hello_attach(net, 0, cluster_node_address(c, 0), &h);
}

static void nodes_give_it_no_space(struct fab *f)
{
	struct proto_alloc alloc = {.owner = 1, .kind = 1};
	struct proto_seal seal = {.owner = 1};
	struct proto_check mend = {.mend = 1};
	struct fab_op op;
	struct fab_batch b = {.ops = &op, .n = 1};

	assert_int_equal(call(f, 0, PROTO_ALLOC, &alloc, sizeof(alloc)),
			 -EROFS);
	assert_int_equal(call(f, 0, PROTO_SEAL, &seal, sizeof(seal)), -EROFS);
	assert_int_equal(call(f, 0, PROTO_CHECK, &mend, sizeof(mend)), -EROFS);
	assert_int_equal(call(f, 0, PROTO_STOP, NULL, 0), -EROFS);
	assert_int_equal(call(f, 0, PROTO_STATS, NULL, 0), 0);
	fab_faa(&op, 0, 4096, 1);
	assert_int_equal(fab_run(f, &b), 0);
	assert_int_equal(op.status, -EREMOTEIO);
}

static void the_coordinator_takes_no_orders(struct fab_net *net, struct fab *f,
					    struct cluster *c)
{
	struct proto_scrub scrub = {.what = PROTO_SCRUB_BEGIN};
	struct proto_lives lives = {.client = 1};
	struct proto_hello h;

	hello_fill(&h, PROTO_TOOL, NULL);
	assert_int_equal(
		hello_attach(net, FAB_NODE_COORD, cluster_address(c), &h), 0);
	assert_int_equal(
		call(f, FAB_NODE_COORD, PROTO_SCRUB, &scrub, sizeof(scrub)),
		-EROFS);
	assert_int_equal(call(f, FAB_NODE_COORD, PROTO_CHANGED, NULL, 0),
			 -EROFS);
	assert_int_equal(
		call(f, FAB_NODE_COORD, PROTO_LIVES, &lives, sizeof(lives)),
		-EROFS);
}

static void a_reader_that_tries_is_refused(struct cluster *c, void *arg)
{
	struct kv *writer = cluster_client(c);
	struct fab_key reader;
	struct fab_net *net;
	struct fab *f;

	put_some(writer, "kept");
	assert_int_equal(fab_key_reader(&key, &reader), 0);
	assert_int_equal(fab_tcp_open(&reader, &net), 0);
	assert_int_equal(fab_open(net, &f), 0);
	assert_int_equal(attach_as(net, c, PROTO_NODE), -EACCES);
	assert_int_equal(attach_as(net, c, PROTO_COORD), -EACCES);
	assert_int_equal(attach_as(net, c, PROTO_CLIENT), 0);
	nodes_give_it_no_space(f);
	the_coordinator_takes_no_orders(net, f, c);
	fab_close(f);
	fab_net_close(net);
	expect_some(writer, "kept");
}

static void run(void **state)
{
	cluster_run(&over_tcp, *state, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{"a_reader_sees_all", run, NULL, NULL, a_reader_sees_all},
		{"a_reader_that_tries_is_refused", run, NULL, NULL,
		 a_reader_that_tries_is_refused},
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
