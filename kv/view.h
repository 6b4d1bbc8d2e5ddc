/* kv/view.h - the pool as one numbered view: nodes, their states, who serves
 * which shard. Decided by the coordinator, adopted by nodes and clients; every
 * message carries its epoch. Fixed-size, little-endian: it travels as it is.
 *
 *   node:   UP -> DOWN (-> UP again only as a new member with a new epoch)
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

enum view_node { VIEW_NODE_NONE, VIEW_NODE_UP, VIEW_NODE_DOWN };
enum view_shard {
	VIEW_SHARD_SERVING = 1,
	VIEW_SHARD_REBUILDING,
	VIEW_SHARD_LOST,
	VIEW_SHARD_SETTLING
};

struct view {
	uint64_t epoch;		/* grows by one with every change */
	uint64_t index_version; /* grows; stamps blocks and first versions */
	uint32_t nodes, k, m;
	uint32_t clients;  /* registered */
	uint8_t node[64];  /* enum view_node */
	uint8_t shard[64]; /* enum view_shard */
	uint8_t host[64];  /* of each shard */
};

void view_first(struct view *v, uint32_t nodes, uint32_t k, uint32_t m);
uint64_t view_up(const struct view *v);	  /* bit n: node n is UP */
unsigned view_down(const struct view *v); /* how many are DOWN */

/* Node @id died: next epoch, its shards move on. -EALREADY if it was down. */
int view_node_dies(struct view *v, uint32_t id);
/* Shard @shard was rebuilt at its host: next epoch. */
int view_shard_settles(struct view *v, uint32_t shard);
/* Nothing is left open from before: next epoch. */
int view_shard_serves(struct view *v, uint32_t shard);

/* Errors: -EBADMSG for a view that makes no sense. */
int view_check(const struct view *v);

#endif
