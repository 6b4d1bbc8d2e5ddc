/* ec/former.h - what is left in the memory of a node that was taken for dead,
 * and comes back in the same process: blocks whose bytes need not be fetched.
 *
 * The node begins anew, with no records; all of rebuild.h is done, but the
 * bytes of a data block that are here still are kept where its leader's record
 * of today tells that they are what they were:
 *
 * K1. Only a block that was closed by its owner, and at rest when the node was
 *     given up, is a candidate. The owner had made all copies alike before it
 *     said so to anybody (kv/client/block_mend.c), and nobody writes to a
 *     closed block. What was open, what was closed for an owner that was gone
 *     (BLOCK_F_LEFT: the others may have agreed on other bytes since), what may
 *     be torn and what was on its way out or to be opened again is none.
 * K2. A candidate is kept if its leader has it with the same life, closed and
 *     settled. A life never comes back, and nothing is opened on a node that is
 *     not up; so it is the same use of the same block.
 * K3. Within a life a byte changes in one way only: when a block is to be
 *     opened again, all members zero the units that are obsolete (again.h), and
 *     then it may be given up and stay what it was. They are marked with all
 *     members that have zeroed them, with the leader therefore, and marks stay
 *     while the life does. So what the leader has marked is fetched (none is
 *     zeroed while this node is being rebuilt: A5), and all else is kept.
 * K4. What is not kept is zeroed before anything else is written there, and
 *     before this node is up: D2. All that is no candidate's is zeroed at the
 *     beginning (former_clear()).
 * K5. A block that was not decided on when the node was given up once more is
 *     the candidate that it was: nothing of it was touched, but pieces with
 *     marked units, and marked they stay.
 *
 * Parity blocks are made anew: of a role that is in one, units may have been
 * zeroed without this node, and that shows in the sum only.
 *
 * Threads: alloc's lock, once an alloc has it. */
#ifndef ACESO_EC_FORMER_H
#define ACESO_EC_FORMER_H
#include <stdint.h>

#include "ec/block.h"

struct former;

/* Look through the records in @region, of node @node, whose processor no longer
 * works for anybody. @before: what it began with itself, or NULL; the caller's.
 * Errors: -ENOMEM. */
int former_take(const struct group *g, uint32_t node, const void *region,
		const struct former *before, struct former **out);
void former_close(struct former *f); /* NULL is fine */

/* Zero [0, @size) of the region, but for the candidates' bytes. @region_fd as
 * for fab_region_discard(). */
void former_clear(const struct former *f, void *region, int region_fd,
		  uint64_t size);

/* The candidate's record at block @block; NULL: it is none. */
const struct block_rec *former_rec(const struct former *f, uint32_t block);
/* Its bytes are kept, or zeroed: it is no candidate any more. */
void former_decided(struct former *f, uint32_t block);
/* The next candidate from @from on; UINT32_MAX: there is none. */
uint32_t former_next(struct former *f, uint32_t from);
/* Bytes of all candidates. */
uint64_t former_bytes(const struct former *f);

#endif
