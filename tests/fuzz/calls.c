/* tests/fuzz/calls.c - messages of any kind and content to nodes and the
 * coordinator, from a client that has joined; and to the coordinator from who
 * says that he is a node, as PROTO_COME is. Whatever they are told, they answer
 * within the call's time and go on living.
 *
 * Input: whom (1; from 6 on every other six: as a node), type (1), then the
 * message. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "kv/hello.h"
#include "tests/lib/by_hand.h"
#include "tests/lib/fuzz.h"
#include "tests/lib/sim.h"

#define CALL_NS_MAX   UINT64_C(100000000)
#define MESSAGE_BYTES 4096u
#define WHOM	      6u /* the nodes, the coordinator */
#define SAYS_IT_IS    2u

static struct hand hand;
static struct {
	struct fab_net *net;
	struct fab *fab;
} comer; /* attached to the coordinator alone */
static struct cluster *pool;

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void comer_open(struct cluster *c)
{
	struct sim *sim = cluster_sim(c);
	struct proto_hello hello;

	hello_fill(&hello, PROTO_NODE, cluster_super(c)->uuid);
	hello.client = SAYS_IT_IS;
	hello.self = hello_self(cluster_node_address(c, SAYS_IT_IS));
	must((sim != NULL ? sim_net_open(sim, "says so", &comer.net)
			  : fab_shm_open(NULL, &comer.net)) == 0);
	must(hello_attach(comer.net, FAB_NODE_COORD, cluster_address(c),
			  &hello) == 0);
	must(fab_open(comer.net, &comer.fab) == 0);
}

static void comer_close(void)
{
	fab_close(comer.fab);
	fab_net_close(comer.net);
}

static void fuzz_open(struct cluster *c)
{
	pool = c;
	hand_open(c, &hand);
	comer_open(c);
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
	comer_close();
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

static void node_must_live(uint8_t id)
{
	struct proto_stats st;
	uint32_t len;

	must(fab_call_run(hand.fab, id, PROTO_STATS, NULL, 0, &st, sizeof(st),
			  &len, 100 * CALL_NS_MAX) == 0);
}

/* And says of all nodes what docs/status.md promises, whatever it was told. */
static void coord_must_live(void)
{
	static const char *const words[] = {"host", "why", "address"};
	static char text[FAB_CALL_BYTES_MAX];
	uint32_t len;
	json_t *o, *one;
	size_t i;

	must(fab_call_run(hand.fab, FAB_NODE_COORD, PROTO_STATUS, NULL, 0, text,
			  sizeof(text), &len, 100 * CALL_NS_MAX) == 0);
	o = json_loadb(text, len, 0, NULL);
	must(json_array_size(json_object_get(o, "nodes")) == WHOM - 1);
	json_array_foreach(json_object_get(o, "nodes"), i,
			   one) for (size_t w = 0;
				     w < sizeof(words) / sizeof(words[0]); w++)
		must(json_is_string(json_object_get(one, words[w])));
	json_decref(o);
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

/* Another process than the one of the view, elsewhere: it waits. */
static struct proto_come come_from(const char *address)
{
	struct proto_come rq = {
		.id = SAYS_IT_IS,
		.instance = 0xfeed,
		.shape = layout_sum(cluster_layout(pool)),
		.host = "here",
		.why = "because",
	};

	memcpy(rq.uuid, cluster_super(pool)->uuid, sizeof(rq.uuid));
	must(hello_address(address, rq.instance, rq.address,
			   sizeof(rq.address)) == 0);
	return rq;
}

static void of_who_comes(void)
{
	struct proto_come rq = come_from("nowhere:1");

	seed(WHOM, PROTO_COME, &rq, sizeof(rq));
	rq = come_from("nowhere:2");
	rq.former = 1;
	rq.epoch = 1;
	memset(rq.host, 0xff, sizeof(rq.host) - 1); /* no UTF-8 */
	seed(WHOM, PROTO_COME, &rq, sizeof(rq));
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
	of_who_comes();
	of_every_type(epoch);
}

static void say(struct fab *by, uint8_t to, const uint8_t *data, size_t size)
{
	char reply[sizeof(struct proto_joined)];
	uint32_t len = 0;

	fab_call_run(by, to, data[1], data + 2, (uint32_t)(size - 2), reply,
		     sizeof(reply), &len, CALL_NS_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t to;

	if (size < 2 || size - 2 > MESSAGE_BYTES)
		return 0;
	fuzz_ready();
	if (data[0] / WHOM % 2 != 0) {
		say(comer.fab, FAB_NODE_COORD, data, size);
		coord_must_live();
		return 0;
	}
	to = data[0] % WHOM < WHOM - 1 ? data[0] % WHOM : FAB_NODE_COORD;
	say(hand.fab, to, data, size);
	if (to != FAB_NODE_COORD)
		node_must_live(to);
	else if (data[1] != PROTO_LEAVE)
		coord_must_live();
	if (data[1] == PROTO_LEAVE)
		fuzz_again();
	return 0;
}
