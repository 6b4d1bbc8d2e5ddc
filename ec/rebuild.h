/* ec/rebuild.h - a replaced node's blocks, brought back: its records, bitmaps,
 * data blocks and parities become what they would be had it never died.
 *
 * The node is a member of the view, but not up (alloc_set_view()). New blocks
 * have their deltas here as anywhere. What is older is taken from the others,
 * one stripe at a time: the records from the stripe's leader, the own data role
 * decoded, the own parity made of the data roles, and then told by the records
 * here (rebuild_impl.h has the steps). Reads only; nobody else is asked to do
 * anything. If this node dies half-way its successor begins anew.
 *
 * Preconditions, by the view that makes this node a member: all other members
 * and all clients go by it; blocks opened before are sealed or will be; a
 * leader that has adopted it frees nothing without asking this node.
 *
 * Threads: the one that calls fold_work(); rebuild_want(), rebuild_progress()
 * and rebuild_map_ahead(): any. */
#ifndef ACESO_EC_REBUILD_H
#define ACESO_EC_REBUILD_H
#include <stdbool.h>
#include <stdint.h>

#include "ec/alloc.h"
#include "rdma/fabric.h"

struct rebuild;

/* @up: bit n set if node n is whole and may be read; never this one. @a and
 * @f must outlive it. Errors: -ENOMEM. */
int rebuild_open(struct alloc *a, struct fab *f, uint64_t up,
		 struct rebuild **out);
void rebuild_close(struct rebuild *r); /* NULL is fine */

/* Another view: what is done stays done. */
void rebuild_set_up(struct rebuild *r, uint64_t up);

/* Do the next piece, of about @bytes. Returns 1 if there may be more; 0 when
 * all is here; or why all that is left must wait, to be tried again later:
 *   -EAGAIN     blocks are still open, or orphans not settled, elsewhere
 *   -EHOSTDOWN, -ETIMEDOUT  a node failed: learn the view
 *   -EIO        more members of a stripe are away than its code can bear: that
 *               is so of all that is left (rebuild_progress() tells how much),
 *               until another member is up
 *   -EBADMSG    a record elsewhere makes no sense
 *   -ENOMEM. */
int rebuild_work(struct rebuild *r, uint32_t bytes);

/* Take the memory of the next block that will want some: to get fresh pages
 * costs as much as all else that is done for a block. For a thread beside
 * rebuild_work(), if there is one. False: nothing to do until that got on. */
bool rebuild_map_ahead(struct rebuild *r);

/* Somebody waits for (@stripe, @role): first in line. Nonsense is passed over.
 */
void rebuild_want(struct rebuild *r, uint64_t stripe, uint32_t role);

struct rebuild_progress {
	uint64_t done_bytes, total_bytes;   /* of blocks; the total is known
					       once all are looked at */
	uint64_t done_blocks, total_blocks; /* the same, empty ones too */
	uint64_t read_bytes;		    /* fetched from others, so far */
	uint64_t kept_bytes;		    /* were here still (former.h) */
	/* Of the data blocks that were tried in vain, as too many members are
	 * away: what was written in them and not obsolete; and how many of them
	 * are on nobody's records any more, and may have held anything. */
	uint64_t lost_bytes, lost_blocks, unknown_blocks;
	bool done;
};
void rebuild_progress(struct rebuild *r, struct rebuild_progress *out);

#endif
