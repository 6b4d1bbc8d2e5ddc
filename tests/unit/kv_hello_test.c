/* Several coordinators: who is lost, or does not lead any more though it still
 * answers, is asked after all the others. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "kv/hello.h"
#include "rdma/fabric.h"

static const struct fab_key key = {.len = 32,
				   .bytes = "0123456789abcdef0123456789abcdef"};

struct coords {
	char at[3][PROTO_ADDRESS_BYTES], list[3 * PROTO_ADDRESS_BYTES];
	struct fab_server *server[3];
	struct fab_net *net;
	struct proto_hello hello;
	_Atomic unsigned asked[3];
};

static struct coords c;

static int on_hello(void *arg, struct fab_peer *peer, const void *hello,
		    size_t len)
{
	(void)peer;
	assert_int_equal(len, sizeof(struct proto_hello));
	assert_int_equal(((const struct proto_hello *)hello)->role,
			 PROTO_CLIENT);
	++*(_Atomic unsigned *)arg;
	return 0;
}

static void on_call(void *arg, struct fab_request *rq, uint16_t type,
		    const void *req, size_t len)
{
	(void)arg;
	(void)type;
	fab_reply(rq, 0, req, len);
}

static void on_gone(void *arg, struct fab_peer *peer)
{
	(void)arg;
	(void)peer;
}

/* Ports that are free now. */
static void find_ports(void)
{
	int s[3];

	for (int i = 0; i < 3; i++) {
		struct sockaddr_in sa = {.sin_family = AF_INET};
		socklen_t len = sizeof(sa);

		s[i] = socket(AF_INET, SOCK_STREAM, 0);
		sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		assert_int_equal(bind(s[i], (struct sockaddr *)&sa, len), 0);
		assert_int_equal(
			getsockname(s[i], (struct sockaddr *)&sa, &len), 0);
		snprintf(c.at[i], sizeof(c.at[i]), "tcp:127.0.0.1:%u",
			 ntohs(sa.sin_port));
	}
	for (int i = 0; i < 3; i++)
		close(s[i]);
}

static void serve(int i)
{
	struct fab_server_opts o = {
		.region_fd = -1,
		.address = c.at[i],
		.key = &key,
		.arg = &c.asked[i],
		.on_hello = on_hello,
		.on_call = on_call,
		.on_gone = on_gone,
	};

	assert_int_equal(fab_server_open(&o, &c.server[i]), 0);
}

static int set_up(void **state)
{
	(void)state;
	memset(&c, 0, sizeof(c));
	find_ports();
	snprintf(c.list, sizeof(c.list), "%s,%s,%s", c.at[0], c.at[1], c.at[2]);
	hello_fill(&c.hello, PROTO_CLIENT, NULL);
	return hello_net(c.list, &key, &c.net);
}

static int tear_down(void **state)
{
	(void)state;
	fab_net_close(c.net);
	for (int i = 0; i < 3; i++)
		fab_server_close(c.server[i]);
	return 0;
}

/* Which one lets us in. */
static int come_again(void)
{
	unsigned was[3];

	for (int i = 0; i < 3; i++)
		was[i] = c.asked[i];
	fab_net_cut(c.net, FAB_NODE_COORD);
	if (hello_attach_coord(c.net, c.list, &c.hello) != 0)
		return -1;
	for (int i = 0; i < 3; i++)
		if (c.asked[i] != was[i])
			return i;
	return -1;
}

static bool order_is(int a, int b, int d)
{
	char want[sizeof(c.list)];

	snprintf(want, sizeof(want), "%s,%s,%s", c.at[a], c.at[b], c.at[d]);
	return strcmp(want, c.list) == 0;
}

static void who_does_not_lead_any_more_is_asked_last(void **state)
{
	(void)state;
	serve(1); /* it leads: the others refuse */
	assert_int_equal(come_again(), 1);
	assert_true(order_is(0, 2, 1));
	assert_int_equal(come_again(), 1); /* nobody else yet */
	serve(0);			   /* takes over; 1 answers as ever */
	assert_int_equal(come_again(), 0);
	assert_true(order_is(2, 1, 0));
}

static void all_are_asked_in_turn(void **state)
{
	bool met[3] = {false};

	(void)state;
	for (int i = 0; i < 3; i++)
		serve(i);
	for (int i = 0; i < 3; i++)
		met[come_again()] = true;
	assert_true(met[0] && met[1] && met[2]);
}

static void nobody_there_changes_no_order(void **state)
{
	(void)state;
	assert_int_equal(hello_attach_coord(c.net, c.list, &c.hello),
			 -ECONNREFUSED);
	assert_true(order_is(0, 1, 2));
	assert_int_equal(hello_coords(c.list), 3);
	assert_int_equal(hello_coords(c.at[0]), 1);
	assert_int_equal(hello_coords("/run/a,b"), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			who_does_not_lead_any_more_is_asked_last, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(all_are_asked_in_turn, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(nobody_there_changes_no_order,
						set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
