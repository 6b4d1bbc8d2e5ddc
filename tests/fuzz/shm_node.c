/* tests/fuzz/shm_node.c - any messages to a node over its Unix socket, those of
 * a stranger or behind a right hello; to one with a key, those of a stranger,
 * of one whose knock was answered, or behind a right proof. As in tcp_node.c.
 *
 * Input: as whom (1), then messages: length (2), bytes. */
#include <stdio.h>

#include "rdma/shm_impl.h"
#include "tests/fuzz/wire.h"
#include "tests/lib/fuzz.h"

enum { STRANGER, PRIMARY, CALLS, KEY_STRANGER, KNOCKED, PROVED, KINDS };

static const struct fab_key key = {.len = 32, .bytes = "fuzz"};
static char path[64], keyed[64]; /* keyed: its node has a key */
static struct fab_net *net;	 /* of somebody who does nothing wrong */
static struct fab *queue;
static struct fab_net *key_net;
static struct fab *key_queue;
static int primary; /* whose the CALLS are */

static int dial(const char *to)
{
	int s;

	must(shm_connect(to, &s) == 0);
	return s;
}

/* The node has answered a knock: it is proved to, or is not. */
static void knock(int s, bool prove)
{
	static const uint8_t token[NET_TOKEN_BYTES] = {3};
	struct {
		struct shm_frame fr;
		struct shm_challenge ch;
	} m;
	struct shm_auth a;

	must(shm_auth_knock(&a, &key, token, s) == 0);
	must(shm_wait_readable(s, WIRE_PATIENCE_NS) == 0);
	must(shm_recv(s, &m, sizeof(m), NULL) == sizeof(m));
	if (prove)
		must(shm_auth_answer(&a, &key, s, &m.fr, sizeof(m)) == 0);
}

static void greet(int s, enum shm_frame_type type, uint8_t who)
{
	struct shm_frame fr;

	shm_frame_init(&fr, type);
	memset(fr.token, who, sizeof(fr.token));
	must(shm_send(s, &fr, NULL, 0, -1) == 0);
}

static struct fab_server *plain_server, *key_server;

/* Their threads end before OpenSSL's rooms, which are freed at the exit, too.
 */
static void tear_down(void)
{
	fab_server_close(plain_server);
	fab_server_close(key_server);
	unlink(path);
	unlink(keyed);
}

static struct fab_server *serve(const char *at, const struct fab_key *k,
				struct fab_net **n, struct fab **q)
{
	struct fab_server_opts o = {.size = WIRE_REGION,
				    .address = at,
				    .key = k,
				    .on_call = wire_on_call};
	struct fab_server *server;

	must(fab_region_open("fuzz", WIRE_REGION, &o.region, &o.region_fd) ==
	     0);
	must(fab_server_open(&o, &server) == 0);
	must(fab_shm_open(k, n) == 0);
	wire_attach(*n, at);
	must(fab_open(*n, q) == 0);
	return server;
}

static void set_up(void)
{
	struct shm_frame fr;

	snprintf(path, sizeof(path), "/tmp/aceso-fuzz-shm-%d", getpid());
	snprintf(keyed, sizeof(keyed), "/tmp/aceso-fuzz-shm-key-%d", getpid());
	plain_server = serve(path, NULL, &net, &queue);
	key_server = serve(keyed, &key, &key_net, &key_queue);
	atexit(tear_down); /* after OpenSSL's own: so before it */
	primary = dial(path);
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

static void begin(int s, uint8_t kind)
{
	switch (kind) {
	case PRIMARY:
		greet(s, SHM_HELLO, 2);
		break;
	case CALLS:
		greet(s, SHM_HELLO_CALLS, 1);
		break;
	case KNOCKED:
	case PROVED:
		knock(s, kind == PROVED);
		break;
	default:
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint64_t rounds;
	uint8_t kind;
	int s;

	if (size < 1)
		return 0;
	if (net == NULL)
		set_up();
	kind = data[0] % KINDS;
	s = dial(kind >= KEY_STRANGER ? keyed : path);
	begin(s, kind);
	send_all(s, data + 1, size - 1);
	wire_talk(s, NULL, 0);
	close(s);
	if (++rounds % 64 != 0)
		return 0;
	must(fab_call_run(queue, 0, 1, NULL, 0, NULL, 0, NULL, 0) == 0);
	must(fab_call_run(key_queue, 0, 1, NULL, 0, NULL, 0, NULL, 0) == 0);
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
	seed(KEY_STRANGER, SHM_KNOCK, sizeof(struct shm_knock));
	seed(KEY_STRANGER, SHM_HELLO, 0);
	seed(STRANGER, SHM_KNOCK, sizeof(struct shm_knock));
	seed(KNOCKED, SHM_PROOF, PROOF_BYTES);
	seed(KNOCKED, SHM_HELLO_CALLS, 0);
	seed(PROVED, SHM_HELLO, 30);
	seed(PROVED, SHM_PROOF, PROOF_BYTES);
}
