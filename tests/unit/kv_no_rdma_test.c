/* tests/unit/kv_no_rdma_test.c - a host without RDMA and a pool whose nodes
 * listen by it: clients, nodes and coordinators are told at once which node it
 * is about and what to do. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "kv/hello.h"
#include "kv/log.h"
#include "kv/node/coord.h"
#include "kv/node/node.h"
#include "kv/node/viewstate.h"
#include "tests/contract/fabric_tcp.h"
#include "tests/lib/far_pool.h"
#include "tests/lib/mem_store.h"

#define NODES	2u
#define RDMA	"verbs:127.0.0.1:4711#0123456789abcdef"
#define WAIT_MS 10000u
#define REGION	4096u

static struct layout_super super;
static char at[NODES + 1][PROTO_ADDRESS_BYTES]; /* the last: coordinator */
static char line[512];				/* what was logged last */
static _Atomic unsigned lines, told;

/* --- what is played ------------------------------------------------------- */

static void on_line(void *arg, enum log_level level, const char *text)
{
	(void)arg;
	(void)level;
	if (lines == 0)
		snprintf(line, sizeof(line), "%s", text);
	lines++;
}

static void on_no_way(void *arg)
{
	(void)arg;
	told++;
}

static int open_net(void *arg, struct fab_net **out)
{
	(void)arg;
	return fab_any_open(&contract_tcp_key, out);
}

static int on_hello(void *arg, struct fab_peer *peer, const void *hello,
		    size_t len)
{
	(void)arg;
	(void)peer;
	(void)hello;
	(void)len;
	return 0;
}

static void on_gone(void *arg, struct fab_peer *peer)
{
	(void)arg;
	(void)peer;
}

static struct proto_joined joined;
static _Atomic unsigned left;

/* A coordinator's part of joining. */
static void on_call(void *arg, struct fab_request *rq, uint16_t type,
		    const void *req, size_t len)
{
	(void)arg;
	(void)req;
	(void)len;
	left += type == PROTO_LEAVE;
	fab_reply(rq, 0, &joined, type == PROTO_JOIN ? sizeof(joined) : 0);
}

/* One that lets all in; a node, if it has a region. */
static struct fab_server *serve(const char *address, void *region)
{
	struct fab_server_opts o = {
		.region = region,
		.size = region != NULL ? REGION : 0,
		.region_fd = -1,
		.address = address,
		.key = &contract_tcp_key,
		.on_hello = on_hello,
		.on_call = on_call,
		.on_gone = on_gone,
	};
	struct fab_server *s;

	assert_int_equal(fab_server_open(&o, &s), 0);
	return s;
}

static uint64_t ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void await(_Atomic unsigned *word)
{
	for (uint64_t end = ms() + WAIT_MS; *word == 0 && ms() < end;)
		usleep(1000);
	assert_int_not_equal(*word, 0);
}

/* Which node, where, and what to do; nothing that is for programs. */
static void makes_sense(const char *text, const char *node)
{
	assert_non_null(strstr(text, node));
	assert_non_null(strstr(text, "(127.0.0.1:4711)"));
	assert_non_null(strstr(text, "RDMA"));
	assert_non_null(strstr(text, "transport = tcp"));
	assert_null(strchr(text, '#'));
}

/* --- clients -------------------------------------------------------------- */

static void a_client_is_refused_at_once(void **state)
{
	struct kv_opts o = {.pool = at[NODES], .key = &contract_tcp_key};
	struct fab_server *coord = serve(at[NODES], NULL);
	uint64_t begun = ms();
	struct kv *kv;

	(void)state;
	joined = (struct proto_joined){.client = 1, .super = super};
	view_first(&joined.view, NODES, 1, 1);
	strcpy(joined.address[0], at[0]); /* nobody is there */
	strcpy(joined.address[1], RDMA);
	left = 0;
	assert_int_equal(kv_open(&o, &kv), -ENODEV);
	assert_true(ms() - begun < 3000);
	makes_sense(kv_error(), "node-1 ");
	assert_int_equal(left, 1); /* nobody has to wait for it */
	fab_server_close(coord);
}

/* --- nodes ---------------------------------------------------------------- */

struct world {
	struct node *node; /* node 0 */
	void *region, *other;
	int fd;
	struct fab_server *peer; /* plays node 1 */
	struct fab_net *net;	 /* of the coordinator, which we are */
	struct fab *fab;
	struct proto_view_set set;
};

static void world_open(struct world *w)
{
	struct node_opts o = {.super = super,
			      .address = at[0],
			      .key = &contract_tcp_key,
			      .net = open_net,
			      .on_no_way = on_no_way,
			      .threads = true};
	struct proto_hello h;

	*w = (struct world){.fd = -1};
	assert_int_equal(fab_region_open("no_rdma", super.layout.size,
					 &w->region, &w->fd),
			 0);
	w->other = calloc(1, REGION);
	o.region = w->region;
	o.region_fd = w->fd;
	assert_int_equal(node_open(&o, &w->node), 0);
	w->peer = serve(at[1], w->other);
	assert_int_equal(open_net(NULL, &w->net), 0);
	hello_fill(&h, PROTO_COORD, super.uuid);
	assert_int_equal(hello_attach(w->net, 0, at[0], &h), 0);
	assert_int_equal(fab_open(w->net, &w->fab), 0);
	view_first(&w->set.view, NODES, 1, 1);
	strcpy(w->set.address[0], at[0]);
	lines = told = 0;
}

static void world_close(struct world *w)
{
	fab_close(w->fab);
	fab_net_close(w->net);
	node_close(w->node);
	fab_server_close(w->peer);
	fab_region_close(w->region, super.layout.size, w->fd);
	free(w->other);
}

/* Node 0 hears that node 1 is at @address, in another life of it. */
static void tell(struct world *w, const char *address)
{
	struct view *v = &w->set.view;

	if (w->set.address[1][0] != '\0') {
		assert_int_equal(view_node_dies(v, 1), 0);
		assert_int_equal(view_node_comes(v, 1), 0);
	}
	strcpy(w->set.address[1], address);
	assert_int_equal(fab_call_run(w->fab, 0, PROTO_VIEW, &w->set,
				      sizeof(w->set), NULL, 0, NULL,
				      UINT64_C(5000000000)),
			 0);
}

static void a_node_that_comes_is_told_to_end(void **state)
{
	struct world w;

	(void)state;
	world_open(&w);
	tell(&w, RDMA);
	await(&told);
	makes_sense(line, "memory node 0: node-1 ");
	usleep(200000); /* it is tried again, and not said */
	assert_int_equal(lines, 1);
	assert_int_equal(told, 1);
	world_close(&w);
}

/* It has what the pool needs: who came last should not be there. */
static void a_node_that_was_there_stays(void **state)
{
	struct world w;

	(void)state;
	world_open(&w);
	tell(&w, at[1]);
	usleep(300000); /* they are attached */
	tell(&w, RDMA);
	await(&lines);
	makes_sense(line, "memory node 0: node-1 ");
	assert_int_equal(told, 0);
	world_close(&w);
}

/* --- coordinators --------------------------------------------------------- */

static struct coord_opts coord_opts(void)
{
	return (struct coord_opts){.pool = "p",
				   .transport = "tcp",
				   .super = super,
				   .address = at[NODES],
				   .key = &contract_tcp_key,
				   .threads = true,
				   .remote = true,
				   .net = open_net,
				   .on_no_way = on_no_way};
}

/* It goes on from what another one has kept. */
static void a_coordinator_that_takes_over_leaves_off(void **state)
{
	struct viewstate *s = calloc(1, sizeof(*s));
	static struct mem_disk disk;
	struct coord_opts o = coord_opts();
	struct coord *c;
	struct view v;

	(void)state;
	assert_non_null(s);
	memcpy(s->uuid, super.uuid, sizeof(s->uuid));
	view_first(&s->set.view, NODES, 1, 1);
	s->next_client = 1;
	strcpy(s->set.address[0], RDMA);
	strcpy(s->set.address[1], RDMA);
	disk.len = viewstate_write(s, disk.bytes);
	free(s);
	assert_int_equal(mem_store_open(&disk, &o.store), 0);
	lines = told = 0;
	assert_int_equal(coord_open(&o, &c), 0);
	await(&told);
	makes_sense(line, "coordinator: node-");
	coord_view(c, &v);
	assert_int_equal(view_down(&v), 0);
	coord_close(c);
	viewstore_close(o.store);
}

static int set_up(void **state)
{
	(void)state;
	log_to(on_line, NULL);
	return far_pool(NODES, 1, &super, at);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_client_is_refused_at_once),
		cmocka_unit_test(a_node_that_comes_is_told_to_end),
		cmocka_unit_test(a_node_that_was_there_stays),
		cmocka_unit_test(a_coordinator_that_takes_over_leaves_off),
	};

	if (!far_without_rdma()) {
		print_message("this host has RDMA: nothing to see\n");
		return 0;
	}
	return cmocka_run_group_tests(tests, set_up, NULL);
}
