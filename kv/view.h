/* kv/view.h - the pool as one numbered view: nodes, their states, who serves
 * which shard. Decided by the coordinator, adopted by nodes and clients; every
 * message carries its epoch. Fixed-size, little-endian: it travels as it is.
 *
 *   node:   UP -> DOWN -> COMING -> UP     and COMING -> DOWN
 *           COMING: a fresh process with zeroed memory took its id. Everyone is
 *           attached to it and new grants have it as a parity member; but it
 *           leads nothing, no new data block is on it, nothing old is read
 *           from it, it hosts no shard. UP when its blocks are back.
 *   shard:  SERVING -> (host dies) REBUILDING at its next live host
 *           -> SETTLING: rebuilt, but open only to changes that the death
 *              interrupted: each finds out whether it took place, before others
 *              may build on it; when all clients have said so -> SERVING
 *           LOST when none of its m + 1 hosts is up */
#ifndef ACESO_KV_VIEW_H
#define ACESO_KV_VIEW_H
#include <stdbool.h>
#include <stdint.h>

#include "rdma/fabric.h"

enum view_node {
	VIEW_NODE_NONE,
	VIEW_NODE_UP,
	VIEW_NODE_DOWN,
	VIEW_NODE_COMING
};
enum view_shard {
	VIEW_SHARD_SERVING = 1,
	VIEW_SHARD_REBUILDING,
	VIEW_SHARD_LOST,
	VIEW_SHARD_SETTLING
};

struct view {
	uint64_t epoch;		/* grows by one with every change */
	uint64_t index_version; /* grows; of first versions and opened blocks */
	uint32_t nodes, k, m;
	uint32_t clients;  /* registered */
	uint8_t node[64];  /* enum view_node */
	uint8_t shard[64]; /* enum view_shard */
	uint8_t host[64];  /* of each shard */
	/* Of a REBUILDING shard: 1 + the node that has all of it; 0: none. */
	uint8_t source[64];
	/* Durable checkpoints, kv/node/coord_durable.c. */
	uint64_t cut;	    /* the newest one begun; 0: none */
	uint64_t durable;   /* the newest one that is on the disks */
	uint8_t persistent; /* there will be some: the pool has a directory */
	uint8_t frozen;	    /* a cut is being made: hold new operations */
	uint8_t pad[6];
};

void view_first(struct view *v, uint32_t nodes, uint32_t k, uint32_t m);
uint64_t view_up(const struct view *v);	  /* bit n: node n is UP */
unsigned view_down(const struct view *v); /* how many are DOWN */

/* Bit n: node n is UP or COMING, and so to be attached to and told. */
uint64_t view_members(const struct view *v);

/* Node @id died: next epoch, its shards move on; one whose source lives goes
 * back there, to SETTLE. -EALREADY if it was down. */
int view_node_dies(struct view *v, uint32_t id);
/* A fresh process took the id of node @id, which is DOWN: next epoch. */
int view_node_comes(struct view *v, uint32_t id);
/* Node @id, COMING, has its blocks back: next epoch. */
int view_node_is_up(struct view *v, uint32_t id);
/* Shard @shard, served elsewhere, moves to its own node, which is UP: next
 * epoch. -EALREADY if it is there. */
int view_shard_goes_home(struct view *v, uint32_t shard);
/* Shard @shard was rebuilt at its host: next epoch. */
int view_shard_settles(struct view *v, uint32_t shard);
/* Nothing is left open from before: next epoch. */
int view_shard_serves(struct view *v, uint32_t shard);

/* Errors: -EBADMSG for a view that makes no sense. */
int view_check(const struct view *v);

#endif
