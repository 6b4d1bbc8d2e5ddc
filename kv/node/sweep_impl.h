/* kv/node/sweep_impl.h - private to kv/node/sweep*.c. */
#ifndef ACESO_KV_NODE_SWEEP_IMPL_H
#define ACESO_KV_NODE_SWEEP_IMPL_H
#include "kv/node/image.h"
#include "kv/node/node_impl.h"
#include "kv/node/walk.h"
#include "kv/object.h"
#include "kv/slot.h"

#define SWEEP_TOMBS_MAX                                                        \
	65536u /* dropped in one sweep, of one node's shards                   \
		*/
#define SWEEP_TRIES    500u
#define SWEEP_AGAIN_NS UINT64_C(2000000)
#define SWEEP_SLICE    64u /* tombstones, or records looked up at once */

/* A tombstone as it was in phase 1. In order of (shard, slot). */
struct sweep_tomb {
	uint64_t word;
	uint32_t shard, slot;
	bool keep;
};

struct sweep {
	/* under the node's lock: */
	struct fab_request *asked; /* not begun; NULL: none */
	struct proto_sweep what;   /* asked for */
	struct fab_request *rq;	   /* of what is under way; NULL: nothing is */
	uint64_t round;		   /* of what is under way, or ended last */
	int ended;		   /* how that was; only while rq is NULL */
	struct sweep_tomb *tomb;
	size_t tombs;
	/* the worker's: */
	uint32_t phase;
	uint64_t epoch; /* of who asked */
	uint64_t up;	/* under which phase 1 was; 0: none valid; and: */
	uint64_t members;
	struct walk *walk; /* phase 2 */
	struct image *image;
	struct walk_block redo; /* its marks were refused: once more */
	bool redoing;
	uint32_t tries;
	uint64_t again_ns;
	size_t at;		 /* phase 3: the next tombstone */
	struct node_marks marks; /* to be sent */
	struct proto_swept out;
	char *record;	  /* room for one */
	struct view view; /* as of now */
	bool stop;	  /* leave off */
};

static inline uint64_t sweep_slot_off(const struct node *n, uint32_t shard,
				      uint32_t host, uint64_t slot)
{
	return layout_shard_off(&n->super.layout, shard, host) +
	       slot * sizeof(struct slot);
}

/* --- sweep_look.c --------------------------------------------------------- */

/* Read the record that @word names into s->record: 0; -EBADMSG if it is not a
 * right one (any more); -errno if it cannot be read. */
int sweep_fetch(struct node *n, uint64_t word, struct object *out);

/* Is the client that wrote it, before this sweep, none any more (T1)? */
bool sweep_owner_gone(struct node *n, const struct object *o);

/* Mark what is superseded in the block in s->image; or have the tombstones
 * kept that cover what cannot be marked, as the block is open. -EAGAIN: marks
 * were refused. */
int sweep_look(struct node *n);

/* node_mark() with every member that is up. */
static inline int sweep_mark(struct node *n, uint64_t stripe, uint32_t role,
			     uint32_t life, uint32_t unit, uint32_t units)
{
	struct proto_mark_one one = {.stripe = stripe,
				     .role = role,
				     .life = life,
				     .at = unit,
				     .len = units};

	return node_mark(n, &n->sweep->marks, n->sweep->up, &one);
}

#endif
