/* tests/contract/fabric_tcp.c - addresses and raw connections for the tests. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/contract/fabric_contract.h"
#include "tests/contract/fabric_tcp.h"

const struct fab_key contract_tcp_key = {
	.len = 32, .bytes = "0123456789abcdef0123456789abcdef"};

static int net_open(struct fab_net **out)
{
	return fab_tcp_open(&contract_tcp_key, out);
}

const struct contract_transport *contract_tcp_tls(void)
{
	static struct contract_transport t = {
		.name = "tcp, TLS",
		.net_open = net_open,
		.net_open_with = fab_tcp_open,
		.address = contract_tcp_address,
		.key = &contract_tcp_key,
		.absent = -ECONNREFUSED,
		.by_processor = true,
		.no_pids = true,
		.slow = 50,
	};

	if (getenv("ACESO_TEST_KERNEL_TLS") != NULL)
		t.slow = 2000;
	return &t;
}

void contract_tcp_address(unsigned n, char *out, size_t cap)
{
	struct sockaddr_in sa = {.sin_family = AF_INET};
	socklen_t len = sizeof(sa);
	int s = socket(AF_INET, SOCK_STREAM, 0);

	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(s, (struct sockaddr *)&sa, len), 0);
	assert_int_equal(getsockname(s, (struct sockaddr *)&sa, &len), 0);
	snprintf(out, cap, "tcp:127.0.0.1:%u", ntohs(sa.sin_port));
	close(s);
}

int contract_tcp_raw(const char *to)
{
	struct sockaddr_in sa = {.sin_family = AF_INET};
	int s = socket(AF_INET, SOCK_STREAM, 0);
	struct timeval soon = {.tv_sec = 5};

	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	sa.sin_port = htons((uint16_t)atoi(strrchr(to, ':') + 1));
	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof(soon));
	assert_int_equal(connect(s, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return s;
}

void contract_tcp_expect_end(int s)
{
	char answer[512];
	ssize_t n;

	do /* perhaps an alert or a welcome first */
		n = recv(s, answer, sizeof(answer), 0);
	while (n > 0);
	assert_true(n == 0 || errno == ECONNRESET);
	close(s);
}

void contract_tcp_hello(struct contract_hello *m, uint8_t type)
{
	memset(m, 0, sizeof(*m));
	m->fr.type = type;
	m->fr.len = sizeof(m->h);
	m->h.magic = TCP_MAGIC;
	m->h.version = TCP_VERSION;
}

void contract_tcp_read_of_what_is_gone(void **state)
{
	uint32_t len = 1u << 20;
	struct test_node n;
	struct fixture *x = *state;
	uint8_t *buf = malloc(2 * len);
	struct fab_op op;

	contract_node_open(&n);
	assert_int_equal(mprotect(n.region + len, len, PROT_NONE), 0);
	contract_attach(x->net, 2, n.address);
	for (int i = 0; i < 2; i++) {
		fab_read_loose(&op, 2, 0, buf, 2 * len);
		contract_ops(x->f, &op, 1);
		assert_int_equal(op.status, -EHOSTDOWN);
		fab_read_loose(&op, 2, 0, buf, len);
		contract_ops(x->f, &op, 1);
		assert_int_equal(op.status, 0);
	}
	assert_int_equal(fab_server_malformed(n.server), 0);
	contract_node_close(&n);
	free(buf);
}
