/* kv/node/walk.h - every data block of the pool that is in use, with its
 * record: from its own node, or from the first parity node of its stripe that
 * is up when that is down. Records are read one-sidedly, window by window.
 *
 * Blocks opened after their window was read are not met; what is said of the
 * others may be a little old. Threads: one at a time per struct. */
#ifndef ACESO_KV_NODE_WALK_H
#define ACESO_KV_NODE_WALK_H
#include <stdbool.h>
#include <stdint.h>

#include "ec/block.h"
#include "ec/group.h"
#include "rdma/fabric.h"

struct walk;

struct walk_block {
	uint64_t stripe;
	uint32_t role, node;
	bool up; /* its node is */
	struct block_rec rec;
};

/* @up: nodes that may be asked, bit n. @equal: of blocks of records all copies
 * must be alike. Errors: -ENOMEM. */
int walk_open(const struct group *g, uint64_t up, bool equal,
	      struct walk **out);
void walk_close(struct walk *w); /* NULL is fine */

/* The next block that is not FREE. Returns 1; 0 at the end; -EHOSTDOWN or
 * -ETIMEDOUT if a node did not answer; -EIO if no member of some stripe that
 * keeps records is up (the walk may go on); -EAGAIN if @equal and an orphan has
 * not been made so yet (ec/fold_copy.c): later. Blocks. */
int walk_next(struct walk *w, struct fab *f, struct walk_block *out);

/* How much of it is done, in data blocks of the pool. */
void walk_progress(const struct walk *w, uint64_t *done, uint64_t *total);

#endif
