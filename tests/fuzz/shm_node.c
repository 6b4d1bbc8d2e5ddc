/* tests/fuzz/shm_node.c - any messages to a node over its Unix socket, those of
 * a stranger or behind a right hello. As in tcp_node.c.
 *
 * Input: as whom (1), then messages: length (2), bytes. */
#include <stdio.h>

#include "rdma/shm_impl.h"
#include "tests/fuzz/wire.h"
#include "tests/lib/fuzz.h"

enum { STRANGER, PRIMARY, CALLS, KINDS };

static char path[64];
static struct fab_net *net; /* of somebody who does nothing wrong */
static struct fab *queue;
static int primary; /* whose the CALLS are */

static int dial(void)
{
	int s;

	must(shm_connect(path, &s) == 0);
	return s;
}

static void greet(int s, enum shm_frame_type type, uint8_t who)
{
	struct shm_frame fr;

	shm_frame_init(&fr, type);
	memset(fr.token, who, sizeof(fr.token));
	must(shm_send(s, &fr, NULL, 0, -1) == 0);
}

static void tear_down(void)
{
	unlink(path);
}

static void set_up(void)
{
	struct fab_server_opts o = {
		.size = WIRE_REGION, .address = path, .on_call = wire_on_call};
	struct fab_server *server;
	struct shm_frame fr;

	snprintf(path, sizeof(path), "/tmp/aceso-fuzz-shm-%d", getpid());
	atexit(tear_down);
	must(fab_region_open("fuzz", WIRE_REGION, &o.region, &o.region_fd) ==
	     0);
	must(fab_server_open(&o, &server) == 0);
	must(fab_shm_open(&net) == 0);
	wire_attach(net, path);
	must(fab_open(net, &queue) == 0);
	primary = dial();
	greet(primary, SHM_HELLO, 1);
	must(shm_wait_readable(primary, SHM_HELLO_NS) == 0);
	must(shm_recv(primary, &fr, sizeof(fr), NULL) == sizeof(fr));
	must(fr.type == SHM_WELCOME && fr.status == 0);
}

static void send_all(int s, const uint8_t *data, size_t size)
{
	const uint8_t *message;
	uint16_t len;

	while (wire_next(&data, &size, &message, &len))
		if (send(s, message, len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			return;
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
		greet(s, SHM_HELLO, 2);
	else if (data[0] % KINDS == CALLS)
		greet(s, SHM_HELLO_CALLS, 1);
	send_all(s, data + 1, size - 1);
	wire_talk(s, NULL, 0);
	close(s);
	if (++rounds % 64 == 0)
		must(fab_call_run(queue, 0, 1, NULL, 0, NULL, 0, NULL, 0) == 0);
	return 0;
}

static void seed(uint8_t who, enum shm_frame_type type, size_t more)
{
	struct shm_frame fr;
	uint16_t len = (uint16_t)(sizeof(fr) + more);
	uint8_t all[256] = {who};

	shm_frame_init(&fr, type);
	memset(fr.token, 3, sizeof(fr.token));
	fr.id = 1;
	memcpy(all + 1, &len, sizeof(len));
	memcpy(all + 3, &fr, sizeof(fr));
	fuzz_seed(all, 3u + len);
}

void fuzz_seeds(void)
{
	seed(STRANGER, SHM_HELLO, 0);
	seed(STRANGER, SHM_HELLO, 30);
	seed(STRANGER, SHM_HELLO_CALLS, 0);
	seed(PRIMARY, SHM_CALL, 8);
	seed(CALLS, SHM_CALL, 0);
	seed(CALLS, SHM_CALL, 100);
	seed(CALLS, SHM_ANSWER, 10);
}
