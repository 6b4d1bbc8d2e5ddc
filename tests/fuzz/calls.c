/* tests/fuzz/calls.c - messages of any kind and content to nodes and the
 * coordinator, from a client that has joined. Whatever they are told, they
 * answer within the call's time and go on living.
 *
 * Input: whom (1), type (1), then the message. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/by_hand.h"
#include "tests/lib/fuzz.h"

#define CALL_NS_MAX   UINT64_C(100000000)
#define MESSAGE_BYTES 4096u

static struct hand hand;
static struct cluster *pool;

static void fuzz_open(struct cluster *c)
{
	pool = c;
	hand_open(c, &hand);
}

/* A message may have said that we leave; then we are somebody new. */
static void fuzz_again(void)
{
	hand_die(&hand);
	hand_open(pool, &hand);
}

/* Its sockets are files. */
static void tear_down(void)
{
	hand_die(&hand);
	cluster_close(pool);
}

/* A fuzzer has no simulator: threads, shared memory. */
static void fuzz_ready(void)
{
	static const struct cluster_opts opts = {.mode = CLUSTER_SHM};

	if (pool != NULL)
		return;
	fuzz_open(cluster_open(&opts));
	atexit(tear_down);
}

static void must_live(uint8_t node)
{
	struct proto_stats st;
	uint32_t len;

	if (node == FAB_NODE_COORD)
		return; /* the next join shows */
	if (fab_call_run(hand.fab, node, PROTO_STATS, NULL, 0, &st, sizeof(st),
			 &len, 100 * CALL_NS_MAX) != 0)
		abort();
}

static void seed(uint8_t node, uint8_t type, const void *msg, size_t len)
{
	uint8_t all[2 + 4096] = {node, type};

	if (len > 0)
		memcpy(all + 2, msg, len);
	fuzz_seed(all, 2 + len);
}

/* Sizes that some message may have, of messages that say the right epoch. */
static void of_every_type(uint64_t epoch)
{
	static const uint16_t size[] = {0, 8, 16, 24, 32, 40, 64, 136, 1024};
	uint8_t msg[1024] = {0};

	memcpy(msg, &epoch, sizeof(epoch));
	for (unsigned type = 1; type < 128; type++)
		for (size_t i = 0; i < sizeof(size) / sizeof(size[0]); i++)
			if (type != PROTO_LEAVE)
				seed(type < PROTO_JOIN ? 2 : 5, (uint8_t)type,
				     msg, size[i]);
}

void fuzz_seeds(void)
{
	uint64_t epoch = (fuzz_ready(), hand.joined.view.epoch);
	uint32_t me = hand.joined.client;
	struct proto_alloc alloc = {
		.epoch = epoch, .owner = me, .kind = BLOCK_RECORDS};
	struct proto_open open = {.epoch = epoch,
				  .stripe = 3,
				  .opened = 1,
				  .owner = me,
				  .life = 1,
				  .kind = BLOCK_PAGES};
	struct proto_seal seal = {.epoch = epoch,
				  .stripe = 3,
				  .owner = me,
				  .life = 1,
				  .used = 64};
	struct {
		struct proto_mark head;
		struct proto_mark_one one[3];
	} mark = {.head = {.epoch = epoch, .n = 3},
		  .one = {{.stripe = 3, .life = 1, .at = 4, .len = 9}}};
	struct proto_watch watch = {.epoch = epoch, .wait_ms = 1};
	struct proto_suspect suspect = {.epoch = epoch, .node = 2};
	struct proto_retire retire = {.epoch = epoch, .stripe = 3, .life = 1};
	struct proto_join join = {.what = "again"};

	seed(0, PROTO_ALLOC, &alloc, sizeof(alloc));
	seed(1, PROTO_OPEN, &open, sizeof(open));
	seed(2, PROTO_CANCEL, &seal, sizeof(seal));
	seed(3, PROTO_SEAL, &seal, sizeof(seal));
	seed(4, PROTO_MARK, &mark, sizeof(mark));
	seed(4, PROTO_RETIRE, &retire, sizeof(retire));
	seed(4, PROTO_FREE, &retire, sizeof(retire));
	seed(0, PROTO_STOP, NULL, 0);
	seed(5, PROTO_JOIN, &join, sizeof(join));
	seed(5, PROTO_WATCH, &watch, sizeof(watch));
	seed(5, PROTO_SUSPECT, &suspect, sizeof(suspect));
	seed(5, PROTO_LEAVE, NULL, 0);
	of_every_type(epoch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char reply[sizeof(struct proto_joined)];
	uint32_t len = 0;
	uint8_t node;

	if (size < 2 || size - 2 > MESSAGE_BYTES)
		return 0;
	fuzz_ready();
	node = data[0] % 6 < 5 ? data[0] % 6 : FAB_NODE_COORD;
	fab_call_run(hand.fab, node, data[1], data + 2, (uint32_t)(size - 2),
		     reply, sizeof(reply), &len, CALL_NS_MAX);
	must_live(node);
	if (data[1] == PROTO_LEAVE)
		fuzz_again();
	return 0;
}
