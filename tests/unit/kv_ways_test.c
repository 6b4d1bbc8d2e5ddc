/* tests/unit/kv_ways_test.c - what the status of a pool over several hosts says
 * of how its nodes, clients and coordinators are reached, and why. */
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
#include "kv/node/coord.h"
#include "kv/node/viewstate.h"
#include "kv/proto.h"
#include "tests/contract/fabric_tcp.h"
#include "tests/lib/far_pool.h"
#include "tests/lib/mem_store.h"

#define NODES	3u
#define CALL_NS UINT64_C(5000000000)

static struct layout_super super;
static char at[NODES + 1][PROTO_ADDRESS_BYTES]; /* the last: coordinator */
static char coords[2 * PROTO_ADDRESS_BYTES];

static int open_net(void *arg, struct fab_net **out)
{
	(void)arg;
	return fab_any_open(&contract_tcp_key, out);
}

static struct coord_opts opts(void)
{
	return (struct coord_opts){.pool = "p",
				   .transport = "tcp",
				   .super = super,
				   .address = at[NODES],
				   .coords = coords,
				   .key = &contract_tcp_key,
				   .threads = true,
				   .remote = true,
				   .net = open_net};
}

/* --- what it says --------------------------------------------------------- */

static json_t *status_of(struct coord *c)
{
	char *text;
	json_t *o;

	assert_int_equal(coord_status(c, &text), 0);
	o = json_loads(text, 0, NULL);
	free(text);
	assert_non_null(o);
	return o;
}

static void expect(const json_t *o, const char *name, const char *want)
{
	const char *text = json_string_value(json_object_get(o, name));

	assert_non_null(text);
	assert_string_equal(text, want);
}

static void expect_way(const json_t *o, const char *list, size_t i,
		       const char *transport, const char *why)
{
	const json_t *peer = json_array_get(json_object_get(o, list), i);

	assert_non_null(peer);
	expect(peer, "transport", transport);
	expect(peer, "why", why);
}

/* --- nodes that report ---------------------------------------------------- */

static void come(struct fab *f, uint32_t id, const char *address,
		 const char *why)
{
	struct proto_come rq = {.id = id,
				.pid = 99,
				.instance = 0xfeed,
				.shape = layout_sum(&super.layout),
				.host = "there"};
	struct proto_came out;

	memcpy(rq.uuid, super.uuid, sizeof(rq.uuid));
	strcpy(rq.why, why);
	assert_int_equal(hello_address(address, rq.instance, rq.address,
				       sizeof(rq.address)),
			 0);
	assert_int_equal(fab_call_run(f, FAB_NODE_COORD, PROTO_COME, &rq,
				      sizeof(rq), &out, sizeof(out), NULL,
				      CALL_NS),
			 0);
}

static void expect_nodes(struct coord *c, const char *way)
{
	json_t *o = status_of(c);

	expect(o, "nodes_transport", way);
	expect(o, "transport", "tcp"); /* the coordinator's */
	json_decref(o);
}

static void says_it_as_nodes_report(struct fab *f, struct coord *c)
{
	json_t *o;

	expect_nodes(c, "");
	come(f, 1, at[1], "no RDMA device on this host");
	expect_nodes(c, "tcp");
	come(f, 2, "verbs:127.0.0.1:4711", "there is an RDMA device");
	o = status_of(c);
	expect(o, "nodes_transport", "tcp and verbs");
	expect_way(o, "nodes", 0, "", "");
	expect_way(o, "nodes", 1, "tcp", "no RDMA device on this host");
	expect_way(o, "nodes", 2, "verbs", "there is an RDMA device");
	json_decref(o);
}

static void nodes_are_reached_as_they_listen(void **state)
{
	struct coord_opts o = opts();
	struct proto_hello hello;
	struct fab_net *net;
	struct coord *c;
	struct fab *f;

	(void)state;
	assert_int_equal(coord_open(&o, &c), 0);
	hello_fill(&hello, PROTO_NODE, super.uuid);
	assert_int_equal(open_net(NULL, &net), 0);
	assert_int_equal(hello_attach(net, FAB_NODE_COORD, at[NODES], &hello),
			 0);
	assert_int_equal(fab_open(net, &f), 0);
	says_it_as_nodes_report(f, c);
	fab_close(f);
	fab_net_close(net);
	coord_close(c);
}

/* --- clients -------------------------------------------------------------- */

/* What another coordinator has left: a pool with @clients. */
static void leave(struct mem_disk *disk, uint32_t clients, const char *first,
		  const char *others)
{
	struct viewstate *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	memcpy(s->uuid, super.uuid, sizeof(s->uuid));
	view_first(&s->set.view, NODES, 2, 1);
	s->next_client = clients + 1;
	while (s->clients < clients) {
		s->client[s->clients].id = s->clients + 1;
		s->clients++;
	}
	s->set.view.clients = clients;
	for (uint32_t id = 0; id < NODES; id++)
		strcpy(s->set.address[id], id == 0 ? first : others);
	disk->len = viewstate_write(s, disk->bytes);
	free(s);
}

static json_t *status_left(uint32_t clients, const char *first,
			   const char *others)
{
	static struct mem_disk disk;
	struct coord_opts o = opts();
	struct coord *c;
	json_t *told;

	leave(&disk, clients, first, others);
	assert_int_equal(mem_store_open(&disk, &o.store), 0);
	assert_int_equal(coord_open(&o, &c), 0);
	told = status_of(c);
	assert_int_equal(json_array_size(json_object_get(told, "clients")),
			 clients);
	coord_close(c);
	viewstore_close(o.store);
	return told;
}

static void expect_client(const char *first, const char *others,
			  const char *transport, const char *why)
{
	json_t *told = status_left(1, first, others);

	expect_way(told, "clients", 0, transport, why);
	expect(told, "nodes_transport", transport);
	json_decref(told);
}

static void clients_reach_nodes_as_those_listen(void **state)
{
	static const char verbs[] = "verbs:127.0.0.1:4711#0123456789abcdef";
	char tcp[PROTO_ADDRESS_BYTES];

	(void)state;
	assert_int_equal(hello_address(at[0], 0xfeed, tcp, sizeof(tcp)), 0);
	expect_client(tcp, tcp, "tcp", "the nodes listen by it");
	expect_client(verbs, verbs, "verbs", "the nodes listen by it");
	expect_client(verbs, tcp, "verbs and tcp", "each node as it listens");
}

/* The answer has room for them all the same. */
static void of_many_clients_it_is_said_once(void **state)
{
	char tcp[PROTO_ADDRESS_BYTES];
	json_t *told;

	(void)state;
	assert_int_equal(hello_address(at[0], 0xfeed, tcp, sizeof(tcp)), 0);
	told = status_left(128, tcp, tcp);
	expect_way(told, "clients", 127, "tcp", "the nodes listen by it");
	json_decref(told);
	told = status_left(129, tcp, tcp);
	assert_null(json_object_get(
		json_array_get(json_object_get(told, "clients"), 128),
		"transport"));
	expect(told, "nodes_transport", "tcp");
	json_decref(told);
}

/* --- coordinators --------------------------------------------------------- */

static void expect_coordinators(const json_t *o)
{
	const json_t *list = json_object_get(o, "coordinators");

	assert_int_equal(json_array_size(list), 2);
	for (size_t i = 0; i < 2; i++) {
		const json_t *one = json_array_get(list, i);

		assert_int_equal(json_integer_value(json_object_get(one, "id")),
				 i);
		expect(one, "address", i == 0 ? "tcp:other:7600" : at[NODES]);
		expect_way(o, "coordinators", i, "tcp",
			   "coordinators are reached by TCP");
	}
	assert_true(json_is_false(
		json_object_get(json_array_get(list, 0), "leads")));
	assert_true(json_is_true(
		json_object_get(json_array_get(list, 1), "leads")));
}

static void coordinators_are_reached_by_tcp(void **state)
{
	struct coord_opts o = opts();
	struct coord *c;
	json_t *told;

	(void)state;
	assert_int_equal(coord_open(&o, &c), 0);
	told = status_of(c);
	expect_coordinators(told);
	json_decref(told);
	coord_close(c);
}

static int load_nothing(struct viewstore *vs, void *buf, size_t cap,
			size_t *len)
{
	(void)vs;
	(void)buf;
	(void)cap;
	*len = 0;
	return 0;
}

static int put_nowhere(struct viewstore *vs, const void *buf, size_t len)
{
	(void)vs;
	(void)buf;
	(void)len;
	return -EIO;
}

static bool is_not(struct viewstore *vs)
{
	(void)vs;
	return false;
}

/* Who cannot know whether it leads does not know who does. */
static void nobody_is_said_to_lead_who_may_not(void **state)
{
	static const struct viewstore_ops away = {.load = load_nothing,
						  .put = put_nowhere,
						  .sure = is_not,
						  .lost = is_not};
	struct viewstore store = {.ops = &away};
	struct coord_opts o = opts();
	struct coord *c;
	const json_t *list;
	json_t *told;

	(void)state;
	o.store = &store;
	assert_int_equal(coord_open(&o, &c), 0);
	told = status_of(c);
	list = json_object_get(told, "coordinators");
	assert_int_equal(json_array_size(list), 2);
	for (size_t i = 0; i < 2; i++)
		assert_true(json_is_null(
			json_object_get(json_array_get(list, i), "leads")));
	json_decref(told);
	coord_close(c);
}

static int set_up(void **state)
{
	int rc = far_pool(NODES, 2, &super, at);

	(void)state;
	snprintf(coords, sizeof(coords), "tcp:other:7600,%s", at[NODES]);
	return rc;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nodes_are_reached_as_they_listen),
		cmocka_unit_test(clients_reach_nodes_as_those_listen),
		cmocka_unit_test(of_many_clients_it_is_said_once),
		cmocka_unit_test(coordinators_are_reached_by_tcp),
		cmocka_unit_test(nobody_is_said_to_lead_who_may_not),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
