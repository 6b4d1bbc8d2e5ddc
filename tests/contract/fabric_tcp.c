/* tests/contract/fabric_tcp.c - addresses and raw connections for the tests. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/contract/fabric_contract.h"
#include "tests/contract/fabric_tcp.h"

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
