/* tests/fuzz/tcp_client.c - any bytes from a node that answers a batch over
 * TCP. Whatever comes, every operation ends, and nothing is written but where
 * the batch says: each buffer has exactly its size.
 *
 * Input: the stream of answers. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

#include "rdma/tcp_frame.h"
#include "tests/fuzz/wire.h"
#include "tests/lib/fuzz.h"

#define REGION 4096u

static int listener = -1, primary;
static struct fab_net *net;

static void listen_somewhere(char *address, size_t cap)
{
	struct sockaddr_in sa = {.sin_family = AF_INET};
	socklen_t len = sizeof(sa);

	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	must(bind(listener, (struct sockaddr *)&sa, len) == 0);
	must(getsockname(listener, (struct sockaddr *)&sa, &len) == 0);
	must(listen(listener, 16) == 0);
	snprintf(address, cap, "tcp:127.0.0.1:%u", ntohs(sa.sin_port));
}

/* The net's hello waits in the backlog until we have said welcome. */
static void *welcome(void *arg)
{
	struct tcp_frame fr = {.type = TCP_WELCOME, .arg = REGION};

	primary = accept(listener, NULL, NULL);
	must(send(primary, &fr, sizeof(fr), MSG_NOSIGNAL) == sizeof(fr));
	return NULL;
}

static void set_up(void)
{
	char address[64];
	pthread_t t;

	listen_somewhere(address, sizeof(address));
	must(fab_tcp_open(NULL, &net) == 0);
	must(pthread_create(&t, NULL, welcome, NULL) == 0);
	must(fab_net_attach(net, 0, address, "", 0) == 0);
	pthread_join(t, NULL);
}

/* To post begins to connect; what we say then is there before it is asked. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wire_batch x;
	struct fab *f;
	int s;

	if (net == NULL)
		set_up();
	must(fab_open(net, &f) == 0);
	wire_batch_open(&x, f);
	must(fab_post(f, &x.b) == 0);
	s = accept(listener, NULL, NULL);
	must(s >= 0);
	send(s, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
	shutdown(s, SHUT_WR);
	wire_batch_close(&x, f);
	fab_close(f);
	close(s);
	return 0;
}

static size_t put(uint8_t *at, uint8_t type, uint32_t op, int status,
		  uint32_t len)
{
	struct tcp_frame fr = {.type = type,
			       .batch = 1,
			       .op = op,
			       .status = status,
			       .len = len,
			       .arg = 1};

	memcpy(at, &fr, sizeof(fr));
	memset(at + sizeof(fr), 7, len);
	return sizeof(fr) + len;
}

void fuzz_seeds(void)
{
	uint8_t all[1024];
	size_t n = 0;

	n += put(all + n, TCP_DONE, 0, 0, WIRE_BUF);
	n += put(all + n, TCP_DONE, 2, 0, 0);
	n += put(all + n, TCP_DONE, 3, 0, 0);
	n += put(all + n, TCP_DONE, 4, 0, 0);
	n += put(all + n, TCP_ANSWER, 5, 0, WIRE_REPLY);
	fuzz_seed(all, n);
	fuzz_seed(all, put(all, TCP_DONE, 0, -EREMOTEIO, 0));
	n = put(all, TCP_ANSWER, 5, 0, WIRE_REPLY + 9);
	n += put(all + n, TCP_DONE, 0, 0, WIRE_BUF);
	n += put(all + n, TCP_DONE, 2, -EREMOTEIO, 0);
	fuzz_seed(all, n);
	n = put(all, TCP_ANSWER, 5, -ENOENT, 0);
	n += put(all + n, TCP_DONE, 0, 0, WIRE_BUF);
	fuzz_seed(all, n);
}
