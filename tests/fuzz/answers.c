/* tests/fuzz/answers.c - what nodes and the coordinator answer to a client's
 * CALLs: as they should, but for what the input changes. Whatever comes, the
 * client's operations end, and so does the client.
 *
 * Input: changes, six bytes each: of which answer since the client came (1),
 * how (1), where in it (2), with what (2). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kv/client/client_impl.h"
#include "kv/hello.h"
#include "tests/fuzz/spoil.h"
#include "tests/lib/cluster.h"
#include "tests/lib/faulty.h"
#include "tests/lib/fuzz.h"
#include "tests/lib/must.h"

#define VALUE_BYTES 3000u

static struct cluster *pool;

static struct {
	const uint8_t *change;
	size_t changes;
	_Atomic unsigned seen;
} script;

static void on_answer(void *arg, struct fab_op *op)
{
	unsigned nth = script.seen++;

	for (size_t i = 0; i < script.changes; i++)
		if (script.change[i * SPOIL_BYTES] == nth % 256)
			spoil(op, script.change + i * SPOIL_BYTES);
}

/* --- a client ------------------------------------------------------------ */

static void work(struct kv *kv)
{
	static uint8_t value[VALUE_BYTES], back[VALUE_BYTES];
	size_t len;

	for (unsigned i = 0; i < 4; i++) {
		uint32_t n = i % 2 == 0 ? 20 : VALUE_BYTES;

		kv_put(kv, &i, sizeof(i), value, n, NULL);
		kv_get(kv, &i, sizeof(i), back, sizeof(back), &len, NULL);
		kv_background(kv);
	}
	for (unsigned i = 0; i < 4; i++)
		kv_del(kv, &i, sizeof(i), 0);
	kv_background(kv);
}

static struct fab_net *net_of(struct faulty **out)
{
	struct proto_hello h;
	struct fab_net *inner, *net;

	must(fab_shm_open(NULL, &inner) == 0);
	hello_fill(&h, PROTO_CLIENT, NULL);
	must(fab_net_attach(inner, FAB_NODE_COORD, cluster_address(pool), &h,
			    sizeof(h)) == 0);
	must(faulty_open(inner, 1, &net, out) == 0);
	return net;
}

/* Its sockets are files. */
static void tear_down(void)
{
	cluster_close(pool);
}

static void set_up(void)
{
	static const struct cluster_opts opts = {.mode = CLUSTER_SHM,
						 .clients = 16};

	pool = cluster_open(&opts);
	atexit(tear_down);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct kv_opts o = {.op_timeout_ms = 100, .lanes = 1};
	struct faulty *f;
	struct fab_net *net;
	struct kv *kv;

	if (pool == NULL)
		set_up();
	script.change = data;
	script.changes = size / SPOIL_BYTES;
	script.seen = 0;
	net = net_of(&f);
	faulty_on_answer(f, on_answer, NULL);
	if (kv_open_on(&o, net, false, &kv) == 0) {
		work(kv);
		kv_close(kv);
	} else {
		fab_net_close(net);
	}
	faulty_close(f);
	return 0;
}

/* One answer, spoilt in three places. */
static void seed(uint8_t nth, uint8_t how, size_t at)
{
	uint8_t c[3 * SPOIL_BYTES] = {0};

	for (unsigned i = 0; i < 3; i++) {
		uint8_t *one = c + i * SPOIL_BYTES;

		one[0] = nth;
		one[1] = how;
		one[2] = (uint8_t)(at + 8 * i);
		one[3] = (uint8_t)((at + 8 * i) >> 8);
		one[4] = 0xff;
		one[5] = 1;
	}
	fuzz_seed(c, sizeof(c));
}

void fuzz_seeds(void)
{
	for (uint8_t nth = 0; nth < 24; nth++)
		for (uint8_t how = 0; how < SPOIL_HOWS; how++)
			seed(nth, how, 8u * nth);
	for (size_t at = 0; at < sizeof(struct view); at += 24)
		seed(0, SPOIL_PUT, offsetof(struct proto_joined, view) + at);
}
