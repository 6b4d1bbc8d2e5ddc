/* tests/fuzz/tcp_node.c - a stream of any bytes to a node over TCP, that of a
 * stranger or behind a right hello. Whatever comes, the node hangs up in the
 * end, touches nothing beyond its region, and goes on serving others.
 *
 * Input: as whom (1), then the stream. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <unistd.h>

#include "rdma/tcp_frame.h"
#include "tests/fuzz/wire.h"
#include "tests/lib/fuzz.h"

enum { STRANGER, PRIMARY, QUEUE, KINDS };

struct greeting {
	struct tcp_frame fr;
	struct tcp_hello h;
};

static struct sockaddr_in node_at = {.sin_family = AF_INET};
static struct fab_net *net; /* of somebody who does nothing wrong */
static struct fab *queue;
static int primary; /* whose the QUEUEs are */

/* Again if libFuzzer's timer came in between. */
static int dial(void)
{
	int s;

	for (;;) {
		s = socket(AF_INET, SOCK_STREAM, 0);
		if (connect(s, (struct sockaddr *)&node_at, sizeof(node_at)) ==
		    0)
			return s;
		must(errno == EINTR);
		close(s);
	}
}

static struct greeting greeting(uint8_t type, uint8_t who)
{
	struct greeting g = {.fr = {.type = type, .len = sizeof(g.h)},
			     .h = {.magic = TCP_MAGIC, .version = TCP_VERSION}};

	memset(g.h.token, who, sizeof(g.h.token));
	return g;
}

static void greet(int s, uint8_t type, uint8_t who)
{
	struct greeting g = greeting(type, who);

	must(send(s, &g, sizeof(g), MSG_NOSIGNAL) == (ssize_t)sizeof(g));
}

static void free_port(void)
{
	int s = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t len = sizeof(node_at);

	node_at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	must(bind(s, (struct sockaddr *)&node_at, len) == 0);
	must(getsockname(s, (struct sockaddr *)&node_at, &len) == 0);
	close(s);
}

static void set_up(void)
{
	char address[64];
	struct fab_server_opts o = {.region = wire_region(),
				    .size = WIRE_REGION,
				    .region_fd = -1,
				    .address = address,
				    .on_call = wire_on_call};
	struct fab_server *server;
	struct tcp_frame fr;

	free_port();
	snprintf(address, sizeof(address), "tcp:127.0.0.1:%u",
		 ntohs(node_at.sin_port));
	must(fab_server_open(&o, &server) == 0);
	must(fab_tcp_open(NULL, &net) == 0);
	wire_attach(net, address);
	must(fab_open(net, &queue) == 0);
	primary = dial();
	greet(primary, TCP_HELLO, 1);
	must(recv(primary, &fr, sizeof(fr), MSG_WAITALL) == sizeof(fr));
	must(fr.type == TCP_WELCOME && fr.status == 0);
}

static void the_others_are_served(void)
{
	uint64_t word = 0;
	struct fab_op op;
	struct fab_batch b = {.ops = &op, .n = 1};

	fab_read(&op, 0, 0, &word, sizeof(word));
	must(fab_run(queue, &b) == 0 && op.status == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint64_t rounds;
	int s;

	if (size < 1)
		return 0;
	if (net == NULL)
		set_up();
	s = dial();
	if (data[0] % KINDS == PRIMARY)
		greet(s, TCP_HELLO, 2);
	else if (data[0] % KINDS == QUEUE)
		greet(s, TCP_HELLO_QUEUE, 1);
	wire_talk(s, data + 1, size - 1);
	close(s);
	if (++rounds % 64 == 0)
		the_others_are_served();
	return 0;
}

static void seed(uint8_t who, const void *bytes, size_t len)
{
	uint8_t all[512] = {who};

	memcpy(all + 1, bytes, len);
	fuzz_seed(all, 1 + len);
}

static void seed_frame(uint8_t type, uint8_t flags, uint32_t want, uint32_t len)
{
	struct {
		struct tcp_frame fr;
		uint8_t bytes[64];
	} f[2] = {{.fr = {.type = type,
			  .len = len,
			  .batch = 1,
			  .want = want,
			  .flags = flags,
			  .offset = 128,
			  .arg = 5}}};

	seed(QUEUE, &f[0], sizeof(f[0].fr) + len);
	f[1] = f[0];
	f[0].fr.offset = WIRE_REGION - 8; /* at the end; and then beyond */
	f[1].fr.offset = UINT64_MAX - 7;
	seed(QUEUE, f, sizeof(f[0]) + sizeof(f[0].fr) + len);
}

void fuzz_seeds(void)
{
	struct greeting g = greeting(TCP_HELLO, 3);
	struct tcp_frame fence = {.type = TCP_FENCE};

	seed(STRANGER, &g, sizeof(g));
	g.fr.type = TCP_HELLO_QUEUE;
	seed(STRANGER, &g, sizeof(g));
	seed(PRIMARY, &fence, sizeof(fence));
	seed_frame(TCP_READ, TCP_F_ACK, 64, 0);
	seed_frame(TCP_READ, TCP_F_ACK | TCP_F_LOOSE, WIRE_REGION - 128, 0);
	seed_frame(TCP_WRITE, TCP_F_ACK, 0, 64);
	seed_frame(TCP_CAS, TCP_F_ACK, 0, 0);
	seed_frame(TCP_FAA, TCP_F_ACK, 0, 0);
	seed_frame(TCP_CALL, TCP_F_ACK, 0, 64);
}
