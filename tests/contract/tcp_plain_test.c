/* tests/contract/tcp_plain_test.c - the contract over TCP without a key, as on
 * loopback; and frames, which only here anyone can send. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/contract/fabric_contract.h"
#include "tests/contract/fabric_tcp.h"

#include "rdma/tcp_frame.h"

static int net_open(struct fab_net **out)
{
	return fab_tcp_open(NULL, out);
}

static const struct contract_transport tcp_plain = {
	.name = "tcp, plain",
	.net_open = net_open,
	.address = contract_tcp_address,
	.absent = -ECONNREFUSED,
	.by_processor = true,
	.no_pids = true,
	.slow = 50,
};

struct hello {
	struct tcp_frame fr;
	struct tcp_hello h;
};

static void hello_init(struct hello *m, uint8_t type)
{
	memset(m, 0, sizeof(*m));
	m->fr.type = type;
	m->fr.len = sizeof(m->h);
	m->h.magic = TCP_MAGIC;
	m->h.version = TCP_VERSION;
}

static void expect_hang_up(const char *to, const void *bytes, size_t len)
{
	int s = contract_tcp_raw(to);

	assert_int_equal(send(s, bytes, len, MSG_NOSIGNAL), len);
	contract_tcp_expect_end(s);
}

static void frames_that_break_the_rules_cost_the_connection(void **state)
{
	struct fixture *x = *state;
	const char *to = x->node[0].address;
	uint64_t before = fab_server_malformed(x->node[0].server);
	struct hello m;

	hello_init(&m, TCP_WRITE); /* before hello */
	expect_hang_up(to, &m, sizeof(m));
	hello_init(&m, TCP_HELLO);
	m.h.version++;
	expect_hang_up(to, &m, sizeof(m));
	hello_init(&m, TCP_HELLO);
	m.fr.len = UINT32_MAX;
	expect_hang_up(to, &m, sizeof(m));
	hello_init(&m, TCP_HELLO);
	m.fr.len = 3;
	expect_hang_up(to, &m, sizeof(m));
	hello_init(&m, TCP_WELCOME);
	expect_hang_up(to, &m, sizeof(m));
	assert_int_equal(fab_server_malformed(x->node[0].server), before + 5);
	contract_wait(&x->node[0].refused, 5);
	assert_int_equal(x->node[0].refused_why, -EPROTO);
	assert_non_null(strstr(x->node[0].refused_from, "127.0.0.1:"));
	hello_init(&m, TCP_HELLO_QUEUE); /* whose? it may have been cut */
	expect_hang_up(to, &m, sizeof(m));
	assert_int_equal(fab_server_malformed(x->node[0].server), before + 5);
}

/* After a right hello, anything: random frames with right heads, each of which
 * is done, refused, or the end. */
static void random_frames_never_harm_the_node(void **state)
{
	struct fixture *x = *state;
	struct {
		struct tcp_frame fr;
		uint8_t more[64];
	} f;
	unsigned seed = 12345;
	struct hello m;
	int prim, s;

	for (int i = 0; i < 300; i++) {
		prim = contract_tcp_raw(x->node[0].address);
		hello_init(&m, TCP_HELLO);
		memcpy(m.h.token, &i, sizeof(i));
		assert_int_equal(send(prim, &m, sizeof(m), MSG_NOSIGNAL),
				 sizeof(m));
		assert_int_equal(recv(prim, &f, sizeof(f.fr), MSG_WAITALL),
				 sizeof(f.fr));
		s = contract_tcp_raw(x->node[0].address);
		m.fr.type = TCP_HELLO_QUEUE;
		assert_int_equal(send(s, &m, sizeof(m), MSG_NOSIGNAL),
				 sizeof(m));
		for (int k = 0; k < 8; k++) {
			for (size_t b = 0; b < sizeof(f); b++)
				((uint8_t *)&f)[b] = (uint8_t)rand_r(&seed);
			f.fr.type %= TCP_TYPES + 1;
			f.fr.len = (uint32_t)rand_r(&seed) % 80;
			f.fr.offset %= 2 * CONTRACT_REGION;
			f.fr.call = CALL_ECHO;
			if (send(s, &f, sizeof(f), MSG_NOSIGNAL) < 0)
				break;
		}
		close(s);
		close(prim);
	}
	assert_int_equal(
		fab_call_run(x->f, 0, CALL_ECHO, NULL, 0, NULL, 0, NULL, 0), 0);
}

#define X(fn)                                                                  \
	cmocka_unit_test_setup_teardown(fn, contract_setup, contract_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		X(frames_that_break_the_rules_cost_the_connection),
		X(random_frames_never_harm_the_node),
	};
	int failed;

	failed = fabric_contract_main(argc, argv, &tcp_plain);
	failed += cmocka_run_group_tests_name("frames", tests, NULL, NULL);
	return failed != 0;
}
