/* kv/node/replay.h - index shards from the records in the blocks of all nodes,
 * decoded where their node is lost: of all blocks, or, where images of the
 * shards were restored, of those that may hold anything younger (merge.h).
 *
 * No client changes the shards meanwhile: they are REBUILDING, and every client
 * has settled what it had under way (kv/client/member.h). Everything else goes
 * on: blocks are opened, written, folded, given back.
 *
 * R1. A record of these shards that counts (newest.h) lies in a block that was
 *     in use when the scan began and stays where it is until it ends: it is
 *     not superseded, as nothing can be.
 * R2. A record whose units are all marked obsolete by a member is passed over:
 *     marks are sent when what replaced it is safe; and a deleted key's must
 *     not come back when its tombstone has gone (sweep.c).
 * R3. A record is looked at only when all its living copies are alike. One
 *     whose writer died may be in some of them; it counts if it is met (N1),
 * and then the next death must not take it away, as what was there before is
 *     given up with it. So the coordinator asks for nothing before all nodes
 *     have closed what dead clients had open (ORPHANS), and blocks wait here
 *     until their parity nodes have made the copies equal.
 *
 * Threads: one at a time per struct. */
#ifndef ACESO_KV_NODE_REPLAY_H
#define ACESO_KV_NODE_REPLAY_H
#include <stdint.h>

#include "ec/code.h"
#include "kv/layout.h"
#include "kv/proto.h"
#include "kv/slot.h"
#include "rdma/fabric.h"

struct replay;

struct replay_opts {
	const struct layout_super *super;
	const struct code *code;
	struct fab *fab;
	uint64_t up;	 /* nodes that are, bit n; all attached to */
	uint64_t shards; /* which to rebuild, bit n */
	/* Of those shards, the caller's; all NULL: none were found. */
	const struct slot *image[FAB_NODES_MAX];
	uint64_t since; /* the lowest of their notes; 0: read everything */
};

int replay_open(const struct replay_opts *opts, struct replay **out);
void replay_close(struct replay *r); /* NULL is fine */

/* Go on, for about a block. Returns 1 if there is more to do, 0 at the end;
 * -EAGAIN not now (R3), call again later;
 * -EHOSTDOWN, -ETIMEDOUT a node failed: begin again in another view; -EIO some
 * block is lost, so that nobody can say which keys there were; -ENOMEM. */
int replay_step(struct replay *r);

void replay_progress(const struct replay *r, uint64_t *done, uint64_t *total);

/* At the end: place what was found of @shard into @room (zeroed). Errors:
 * -ENOMEM; -ENOSPC; -ESTALE: not with that image: replay all (merge.h); and
 * those of fetch_record(). */
int replay_place(struct replay *r, uint32_t shard, void *room,
		 struct proto_rebuilt *out);

#endif
