/* tests/fuzz/replies.c - what nodes answer to the coordinator's CALLs and to
 * each other's, while one of them dies and another takes its place: as they
 * should, but for what the input changes. It may undo the pool; but whatever
 * comes, nobody ends, and all can be closed.
 *
 * Input: changes (spoil.h), each of all answers to one type of CALL (1). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kv/client/client_impl.h"
#include "tests/fuzz/spoil.h"
#include "tests/lib/cluster.h"
#include "tests/lib/faulty.h"
#include "tests/lib/fuzz.h"
#include "tests/lib/must.h"

#define CHANGES_MAX 8u
#define NETS_MAX    16u /* those of nodes, also replaced ones, and one */
#define DIES	    1u
#define MS	    UINT64_C(1000000)
#define VALUE_BYTES 3000u
#define KEYS	    12u

static struct {
	uint8_t change[CHANGES_MAX * SPOIL_BYTES];
	size_t changes;
	_Atomic bool on;
} script;

static struct faulty *nets[NETS_MAX];
static _Atomic unsigned n_nets;
static _Atomic bool answered[256]; /* types */

static void on_answer(void *arg, struct fab_op *op)
{
	if (op->status == 0)
		answered[op->call % 256] = true;
	if (!script.on)
		return;
	for (size_t i = 0; i < script.changes; i++)
		if (script.change[i * SPOIL_BYTES] == op->call)
			spoil(op, script.change + i * SPOIL_BYTES);
}

static int wrap(void *arg, struct fab_net *inner, struct fab_net **out)
{
	unsigned i = n_nets++;

	must(i < NETS_MAX && faulty_open(inner, 1, out, &nets[i]) == 0);
	faulty_on_answer(nets[i], on_answer, NULL);
	return 0;
}

static void write_all(struct kv *kv)
{
	static const char value[VALUE_BYTES];

	for (unsigned i = 0; i < KEYS; i++)
		kv_put(kv, &i, sizeof(i), value, sizeof(value), NULL);
}

/* Its client hears nothing but what is so. */
static void live_and_die(struct cluster *c)
{
	struct kv *kv = cluster_client(c);

	write_all(kv);
	script.on = true;
	write_all(kv);
	cluster_sleep(c, 40 * MS);
	cluster_kill_node(c, DIES);
	write_all(kv);
	cluster_sleep(c, 20 * MS);
	cluster_replace_node(c, DIES);
	write_all(kv);
	cluster_sleep(c, 20 * MS);
	for (unsigned i = 0; i < KEYS; i++)
		kv_del(kv, &i, sizeof(i), 0);
	cluster_sleep(c, 20 * MS);
	script.on = false;
	cluster_client_close(c, kv);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct cluster_opts opts = {.mode = CLUSTER_SHM,
						 .usable = 4u << 20,
						 .slots = 512,
						 .ckpt_ms = 5,
						 .op_timeout_ms = 20,
						 .wrap = wrap};
	struct cluster *c;

	script.changes = size / SPOIL_BYTES;
	if (script.changes > CHANGES_MAX)
		script.changes = CHANGES_MAX;
	if (script.changes > 0)
		memcpy(script.change, data, script.changes * SPOIL_BYTES);
	c = cluster_open(&opts);
	live_and_die(c);
	cluster_close(c);
	while (n_nets > 0)
		faulty_close(nets[--n_nets]);
	return 0;
}

static void seed(uint8_t type, uint8_t how, uint16_t at)
{
	const uint8_t c[SPOIL_BYTES] = {
		type, how, (uint8_t)at, (uint8_t)(at >> 8), 0xff, 1};

	fuzz_seed(c, sizeof(c));
}

void fuzz_seeds(void)
{
	static const uint8_t types[] = {
		PROTO_VIEW,  PROTO_REBUILD, PROTO_RETIRE, PROTO_RESTORE,
		PROTO_CLOCK, PROTO_CKPT,    PROTO_STATS,  PROTO_SWEEP,
	};

	fuzz_seed("", 0);
	for (size_t i = 0; i < sizeof(types); i++)
		for (uint8_t how = 0; how < SPOIL_HOWS; how++)
			seed(types[i], how, (uint16_t)(8u * how));
}
