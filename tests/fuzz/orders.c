/* tests/fuzz/orders.c - to a node, from who has the pool's key and says that he
 * is the coordinator, or another node: what only those may ask for. They may
 * tell it what undoes the pool, but whatever it is told, it answers and goes on
 * living.
 *
 * Input: messages, each: as whom (1), type (1), length (2), bytes. In a view,
 * '@' is the address that the node has. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/image.h"
#include "ec/again.h"
#include "ec/block.h"
#include "kv/hello.h"
#include "kv/node/node.h"
#include "tests/lib/cluster.h"
#include "tests/lib/fuzz.h"
#include "tests/lib/must.h"

#define CALL_NS	   UINT64_C(100000000)
#define LONG_NS	   (100 * CALL_NS)
#define HEAD_BYTES 4u
#define TO	   2u /* the node that is told */
#define AS	   1u /* the node that he says he is */
#define MESSAGES   4u

enum { AS_COORD, AS_NODE, ROLES };

static struct cluster *pool;
static struct caller {
	struct fab_net *net;
	struct fab *fab;
} caller[ROLES];
static bool heard[256]; /* types whose handler answered, or keeps the CALL */

/* --- a pool, and who calls ------------------------------------------------ */

static int attach(unsigned as)
{
	struct proto_hello hello;

	hello_fill(&hello, as == AS_NODE ? PROTO_NODE : PROTO_COORD,
		   cluster_super(pool)->uuid);
	if (as == AS_NODE) {
		hello.client = AS;
		hello.self = hello_self(cluster_node_address(pool, AS));
	}
	return hello_attach(caller[as].net, TO, cluster_node_address(pool, TO),
			    &hello);
}

static void put_some(void)
{
	static const char value[3000];
	struct kv *kv = cluster_client(pool);

	for (unsigned i = 0; i < 40; i++)
		must(kv_put(kv, &i, sizeof(i), value, sizeof(value), NULL) ==
		     0);
	cluster_client_close(pool, kv);
	cluster_settle(pool);
}

static void set_up(void)
{
	static const struct cluster_opts opts = {
		.mode = CLUSTER_SHM, .usable = 4u << 20, .slots = 512};

	pool = cluster_open(&opts);
	put_some();
	for (unsigned as = 0; as < ROLES; as++) {
		must(fab_shm_open(NULL, &caller[as].net) == 0);
		must(fab_open(caller[as].net, &caller[as].fab) == 0);
		must(attach(as) == 0);
	}
}

/* Its sockets are files. */
static void tear_down(void)
{
	if (pool == NULL)
		return; /* the last message had undone it */
	for (unsigned as = 0; as < ROLES; as++) {
		fab_close(caller[as].fab);
		fab_net_close(caller[as].net);
	}
	cluster_close(pool);
	pool = NULL;
}

static void ready(void)
{
	static bool before;

	if (pool != NULL)
		return;
	set_up();
	if (!before)
		atexit(tear_down);
	before = true;
}

/* It goes by a view that no coordinator has made. */
static bool is_undone(void)
{
	struct view v;

	coord_view(cluster_coord(pool), &v);
	return node_epoch(cluster_node(pool, TO)) > v.epoch;
}

/* --- messages ------------------------------------------------------------- */

/* Whose number he has is there, too: each cuts the other one off. */
static int call(unsigned as, uint8_t type, const void *msg, uint32_t len,
		uint64_t ns)
{
	static char reply[FAB_CALL_BYTES_MAX];
	struct caller *c = &caller[as];
	uint32_t got;
	int rc;

	rc = fab_call_run(c->fab, TO, type, msg, len, reply, sizeof(reply),
			  &got, ns);
	if (rc != -EHOSTDOWN)
		return rc;
	fab_net_cut(c->net, TO);
	if (attach(as) != 0)
		return rc;
	return fab_call_run(c->fab, TO, type, msg, len, reply, sizeof(reply),
			    &got, ns);
}

static void name_nodes(struct proto_view_set *set)
{
	for (uint32_t id = 0; id < cluster_layout(pool)->group.nodes; id++)
		if (strcmp(set->address[id], "@") == 0)
			strcpy(set->address[id],
			       cluster_node_address(pool, id));
}

static void tell(unsigned as, uint8_t type, const uint8_t *data, uint32_t len)
{
	uint8_t *msg = malloc(len > 0 ? len : 1);
	int rc;

	must(msg != NULL);
	if (len > 0)
		memcpy(msg, data, len);
	if (type == PROTO_VIEW && len == sizeof(struct proto_view_set))
		name_nodes((void *)msg);
	rc = call(as, type, msg, len, CALL_NS);
	if (rc != -EPERM && rc != -EPROTO && rc != -EHOSTDOWN)
		heard[type] = true;
	free(msg);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t at = 0, len;

	ready();
	for (unsigned n = 0; n < MESSAGES && size - at >= HEAD_BYTES; n++) {
		const uint8_t *head = data + at;

		at += HEAD_BYTES;
		len = head[2] | (size_t)head[3] << 8;
		if (len > size - at)
			len = size - at;
		tell(head[0] % ROLES, head[1], data + at, (uint32_t)len);
		at += len;
	}
	must(call(AS_COORD, PROTO_STATS, NULL, 0, LONG_NS) == 0);
	if (is_undone())
		tear_down();
	return 0;
}

/* --- seeds ---------------------------------------------------------------- */

static struct {
	uint8_t data[2 * sizeof(struct proto_view_set)];
	size_t len;
} line;

static void say(unsigned as, uint8_t type, const void *msg, size_t len)
{
	uint8_t head[HEAD_BYTES] = {(uint8_t)as, type, (uint8_t)len,
				    (uint8_t)(len >> 8)};

	memcpy(line.data + line.len, head, sizeof(head));
	line.len += sizeof(head);
	if (len > 0)
		memcpy(line.data + line.len, msg, len);
	line.len += len;
}

static void end(void)
{
	fuzz_seed(line.data, line.len);
	line.len = 0;
}

static void seed(unsigned as, uint8_t type, const void *msg, size_t len)
{
	say(as, type, msg, len);
	end();
}

static void say_view(const struct view *v)
{
	static struct proto_view_set set;

	set.view = *v;
	for (uint32_t id = 0; id < v->nodes; id++)
		strcpy(set.address[id], "@");
	say(AS_COORD, PROTO_VIEW, &set, sizeof(set));
}

/* Node TO - 1 died, whose shard this one serves then; it came back without its
 * memory; all is as it was. */
static void of_views(struct view v)
{
	struct proto_rebuild rebuild = {.shard = TO - 1};
	struct proto_restore restore = {0};

	say_view(&v);
	end();
	must(view_node_dies(&v, TO - 1) == 0);
	rebuild.epoch = v.epoch;
	seed(AS_COORD, PROTO_REBUILD, &rebuild, sizeof(rebuild));
	say_view(&v);
	say(AS_COORD, PROTO_REBUILD, &rebuild, sizeof(rebuild));
	end();
	must(view_node_dies(&v, TO) == 0 && view_node_comes(&v, TO) == 0);
	restore.epoch = v.epoch;
	seed(AS_COORD, PROTO_RESTORE, &restore, sizeof(restore));
	say_view(&v);
	say(AS_COORD, PROTO_RESTORE, &restore, sizeof(restore));
	say(AS_COORD, PROTO_RESTORE, &restore, sizeof(restore));
	end();
}

static void of_the_coordinator(uint64_t epoch)
{
	struct proto_cut cut = {.epoch = epoch, .number = 1};
	struct proto_sweep sweep = {
		.epoch = epoch, .round = 1, .phase = 1, .next = 9, .lives = 1};
	struct proto_orphans orphans = {.epoch = epoch, .owner = 1};
	struct proto_fence fence = {.epoch = epoch, .client = 77};

	sweep.life[0] = 3;
	seed(AS_COORD, PROTO_CUT, &cut, sizeof(cut));
	seed(AS_COORD, PROTO_STORE, &cut, sizeof(cut));
	say(AS_COORD, PROTO_SWEEP, &sweep, sizeof(sweep));
	sweep.phase = 2;
	say(AS_COORD, PROTO_SWEEP, &sweep, sizeof(sweep));
	end();
	seed(AS_COORD, PROTO_ORPHANS, &orphans, sizeof(orphans));
	seed(AS_COORD, PROTO_FENCE, &fence, sizeof(fence));
	seed(AS_COORD, PROTO_STOP, NULL, 0);
	seed(AS_COORD, PROTO_PING, NULL, 0);
}

/* A block's way from retired to opened again, and to free. */
static void of_a_block(uint64_t epoch, uint64_t stripe, uint32_t role)
{
	struct proto_retire retire = {.epoch = epoch,
				      .stripe = stripe,
				      .role = role,
				      .life = 1,
				      .again = 1};
	size_t map = again_map_bytes(&cluster_layout(pool)->group);
	struct proto_ready *ready = calloc(1, sizeof(*ready) + map);

	must(ready != NULL);
	*ready = (struct proto_ready){
		.epoch = epoch, .stripe = stripe, .role = role, .life = 1};
	memset(ready->map, 0xff, map);
	say(AS_NODE, PROTO_RETIRE, &retire, sizeof(retire));
	say(AS_NODE, PROTO_READY, ready, sizeof(*ready) + map);
	say(AS_NODE, PROTO_RESUME, &retire, sizeof(retire));
	end();
	retire.again = 0;
	retire.kind = BLOCK_PAGES;
	say(AS_NODE, PROTO_RETIRE, &retire, sizeof(retire));
	say(AS_NODE, PROTO_FREE, &retire, sizeof(retire));
	end();
	free(ready);
}

static void of_nodes(uint64_t epoch)
{
	struct proto_clock clock = {.epoch = epoch, .clock = 1 << 20};
	struct ckpt_req image = {.region = AS, .word = epoch};
	struct {
		struct proto_mark head;
		struct proto_mark_one one;
	} mark = {.head = {.epoch = epoch, .n = 1},
		  .one = {.stripe = 3, .life = 1, .at = 4, .len = 9}};
	struct {
		struct proto_keep head;
		uint32_t slot[4];
	} keep = {.head = {.epoch = epoch, .shard = TO, .n = 4},
		  .slot = {0, 7, 256, 500}};

	seed(AS_NODE, PROTO_CLOCK, &clock, sizeof(clock));
	seed(AS_NODE, PROTO_CKPT, &image, sizeof(image));
	image.len = 4096;
	seed(AS_NODE, PROTO_CKPT, &image, sizeof(image));
	seed(AS_NODE, PROTO_KEEP, &keep, sizeof(keep));
	seed(AS_NODE, PROTO_MARK, &mark, sizeof(mark));
	for (uint64_t stripe = 0; stripe < 6; stripe++)
		for (uint32_t role = 0; role < 5; role += 2)
			of_a_block(epoch, stripe, role);
}

void fuzz_seeds(void)
{
	struct view v;

	ready();
	coord_view(cluster_coord(pool), &v);
	of_the_coordinator(v.epoch);
	of_nodes(v.epoch);
	of_views(v);
}
