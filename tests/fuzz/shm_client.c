/* tests/fuzz/shm_client.c - any messages from a node to its client over its
 * Unix socket: the WELCOME, with a descriptor or without, and answers to CALLs.
 * Whatever comes, every operation ends, and nothing is written but where the
 * batch says: each buffer has exactly its size.
 *
 * Input: which of these (1); GREETING: what descriptor (1), the WELCOME;
 * ANSWERS: messages, each with its length (2) before it; PROVING: what a client
 * with a key hears when it has knocked. Nobody guesses a proof: it is never let
 * in. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/eventfd.h>

#include "rdma/shm_impl.h"
#include "tests/fuzz/wire.h"
#include "tests/lib/fuzz.h"

enum { GREETING, ANSWERS, PROVING, KINDS };

/* What comes with a WELCOME. */
enum { NOTHING, REGION, SHORT, READ_ONLY, NO_FILE, DESCRIPTORS };

#define OTHER 1 /* the node of GREETING; 0 has been attached */

static char path[64];
static int listener = -1, primary;
static int descriptor[DESCRIPTORS] = {-1};
static const struct fab_key key = {.len = 32, .bytes = "fuzz"};
static struct fab_net *net, *key_net;

static int next_caller(void)
{
	int s;

	must(shm_wait_readable(listener, WIRE_PATIENCE_NS) == 0);
	s = accept(listener, NULL, NULL);
	must(s >= 0);
	return s;
}

/* A message; with a descriptor if it is long enough to be a frame. */
static void hand_over(int s, const uint8_t *bytes, size_t len, int fd)
{
	struct shm_frame fr;

	if (len < sizeof(fr)) {
		send(s, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		return;
	}
	memcpy(&fr, bytes, sizeof(fr));
	shm_send(s, &fr, bytes + sizeof(fr), len - sizeof(fr), fd);
}

/* --- a node, played in a thread of its own ------------------------------- */

struct greeting {
	const void *bytes;
	size_t len;
	int fd;
};

static void *greet(void *arg)
{
	const struct greeting *g = arg;

	primary = next_caller();
	hand_over(primary, g->bytes, g->len, g->fd);
	return NULL;
}

static struct shm_frame welcome(void)
{
	struct shm_frame fr;

	shm_frame_init(&fr, SHM_WELCOME);
	fr.id = WIRE_REGION;
	return fr;
}

/* Attach @node, who says @g; then it is cut. What it said last is gone. */
static int attach(struct fab_net *to, uint8_t node, struct greeting g)
{
	pthread_t t;
	int rc;

	must(pthread_create(&t, NULL, greet, &g) == 0);
	rc = fab_net_attach(to, node, path, "", 0);
	pthread_join(t, NULL);
	return rc;
}

static void tear_down(void)
{
	unlink(path);
}

static void set_up(void)
{
	struct shm_frame fr = welcome();
	uint64_t inode;
	void *at;
	int *fd = descriptor;

	snprintf(path, sizeof(path), "/tmp/aceso-fuzz-shmc-%d", getpid());
	atexit(tear_down);
	must(shm_listen(path, 0, &inode, &listener) == 0);
	must(fab_region_open("fuzz", WIRE_REGION, &at, &fd[REGION]) == 0);
	must(fab_region_open("fuzz", WIRE_REGION / 2, &at, &fd[SHORT]) == 0);
	fd[READ_ONLY] = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	fd[NO_FILE] = eventfd(0, EFD_CLOEXEC);
	must(fab_shm_open(NULL, &net) == 0);
	must(fab_shm_open(&key, &key_net) == 0);
	must(attach(net, 0, (struct greeting){&fr, sizeof(fr), fd[REGION]}) ==
	     0);
}

/* --- what it says -------------------------------------------------------- */

static void in_greeting(const uint8_t *data, size_t size)
{
	struct greeting g = {data + 1, size - 1,
			     descriptor[data[0] % DESCRIPTORS]};
	int was = primary, rc = attach(net, OTHER, g);

	must(rc <= 0);
	if (rc == 0)
		fab_net_cut(net, OTHER);
	close(primary);
	primary = was;
}

static void in_proving(const uint8_t *data, size_t size)
{
	struct greeting g = {data, size, descriptor[REGION]};
	int was = primary;

	must(attach(key_net, OTHER, g) < 0);
	close(primary);
	primary = was;
}

/* To post is to call; what is said then is there before it is asked for. */
static void in_answers(const uint8_t *data, size_t size)
{
	const uint8_t *message;
	struct wire_batch x;
	struct fab *f;
	uint16_t len;
	int s;

	must(fab_open(net, &f) == 0);
	wire_batch_open(&x, f);
	must(fab_post(f, &x.b) == 0);
	s = next_caller();
	while (wire_next(&data, &size, &message, &len))
		hand_over(s, message, len, -1);
	shutdown(s, SHUT_WR);
	wire_batch_close(&x, f);
	fab_close(f);
	close(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	if (net == NULL)
		set_up();
	if (data[0] % KINDS == GREETING)
		in_greeting(data + 1, size - 1);
	else if (data[0] % KINDS == ANSWERS)
		in_answers(data + 1, size - 1);
	else
		in_proving(data + 1, size - 1);
	return 0;
}

/* --- right ones ---------------------------------------------------------- */

static void seed_greeting(uint8_t with, int status)
{
	uint8_t all[2 + sizeof(struct shm_frame)] = {GREETING, with};
	struct shm_frame fr = welcome();

	fr.status = status;
	memcpy(all + 2, &fr, sizeof(fr));
	fuzz_seed(all, sizeof(all));
}

static void seed_proving(enum shm_frame_type type, int status, size_t more)
{
	uint8_t all[256] = {PROVING};
	struct shm_frame fr;

	shm_frame_init(&fr, type);
	fr.status = status;
	memcpy(all + 1, &fr, sizeof(fr));
	fuzz_seed(all, 1 + sizeof(fr) + more);
}

static void seed_answer(enum shm_frame_type type, uint64_t id, int status,
			uint16_t more)
{
	uint16_t len = (uint16_t)(sizeof(struct shm_frame) + more);
	uint8_t all[256] = {ANSWERS};
	struct shm_frame fr;

	shm_frame_init(&fr, type);
	fr.id = id;
	fr.status = status;
	memcpy(all + 1, &len, sizeof(len));
	memcpy(all + 3, &fr, sizeof(fr));
	fuzz_seed(all, 3u + len);
}

void fuzz_seeds(void)
{
	const uint64_t first = UINT64_C(1) << 32 | 63; /* the first CALL's */

	for (uint8_t with = 0; with < DESCRIPTORS; with++)
		seed_greeting(with, 0);
	seed_greeting(NOTHING, -EACCES);
	seed_answer(SHM_ANSWER, first, 0, 0);
	seed_answer(SHM_ANSWER, first, -ENOENT, WIRE_REPLY);
	seed_answer(SHM_ANSWER, first, 0, WIRE_REPLY + 9);
	seed_answer(SHM_ANSWER, first, 7, 1);
	seed_answer(SHM_CALL, first, 0, 0);
	seed_proving(SHM_CHALLENGE, 0, sizeof(struct shm_challenge));
	seed_proving(SHM_CHALLENGE, 0, 3);
	seed_proving(SHM_WELCOME, 0, 0);
	seed_proving(SHM_WELCOME, -EACCES, 0);
}
