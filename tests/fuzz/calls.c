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

/* For clang -fsanitize=fuzzer. */
int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const struct cluster_opts opts = {.mode = CLUSTER_SHM};

	fuzz_open(cluster_open(&opts));
	return 0;
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char reply[sizeof(struct proto_joined)];
	uint32_t len = 0;
	uint8_t node;

	if (size < 2 || size - 2 > MESSAGE_BYTES)
		return 0;
	node = data[0] % 6 < 5 ? data[0] % 6 : FAB_NODE_COORD;
	fab_call_run(hand.fab, node, data[1], data + 2, (uint32_t)(size - 2),
		     reply, sizeof(reply), &len, CALL_NS_MAX);
	must_live(node);
	if (data[1] == PROTO_LEAVE)
		fuzz_again();
	return 0;
}
