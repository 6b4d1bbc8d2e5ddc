/* ec/again.h - blocks of which some units are obsolete are opened again, in
 * place: nothing live moves, no slot changes.
 *
 *   leader                     other members (data node, parities)    client
 *   again_victim()
 *   fold_retire(again) ------> fold_retire(again) ... folded out of every
 *   fold_retired()     <------ parity, a full copy in a delta block of each
 * (S4) A: the union of all members' marks of obsolete units again_ready(A)
 * ------> again_ready(A): A is marked; zero it in the copy again_stock() here,
 * refuse marks from now on alloc_block(): the grant
 * -----------------------------------------> life+1 alloc_open_block(): OPEN,
 * no marks <----- alloc_open_block()
 * <------------------------------------------------ last
 *
 * From there it is an open block as any other: its deltas are full copies, no
 * parity knows of it, so a write to its free units can harm nobody (D1, S3).
 *
 * A1. Before a unit loses its mark with any member, it is marked with all that
 *     are up, and zero in every copy: who reads marks before bytes meets no
 *     record that was superseded.
 * A2. The leader's record is the last to become OPEN. If it is not OPEN, no
 *     client has written; so all may be brought to rest again (again_resume:
 *     SEALED, to be folded in), with the highest life that any member has seen.
 * A3. A mark holds for the life of the block that it names. Members refuse
 *     others, and all while READY. So no mark that is late hits a unit that was
 *     freed and written again: what was written before stays, with the life of
 *     its own time in it, and is marked by the block's life of today. Nor do
 *     those alone take a mark of the life to come that are in it already: the
 *     others say "later". Else it would die with them.
 * A4. All members that are READY have zeroed the same units, or the leader (a
 *     new one, if it died) is about to tell them of more. None is brought to
 *     rest before they agree: in S1's sums the copies are equal.
 *
 * A5. None begins while a member of its stripe is being rebuilt (rebuild.h),
 *     and what was begun is brought to rest, by its leader, or without one by
 *     its data node: that reads what is at rest only.
 *
 * A6. With durable checkpoints (alloc_cut.c) no unit is zeroed that one needs.
 *     As marks come all the time, the members are made READY without zeroing;
 *     so nothing more is marked, and the next cut finds just those units
 *     obsolete. When it is durable (again_waited), they are made ZEROED. Until
 *     any is, all may be brought to rest as they are; when one is, all have to
 *     be first (A4).
 * A7. With those, too: before a role of a ROWS stripe leaves, all data nodes
 *     call it PAGES. So cuts in which some roles are ROWS and others are FREE
 *     are of stripes that were wholly obsolete, or not written yet.
 * A8. A member that is on its way finds its leader, a new one, at rest with a
 *     later life: that was opened by who never came to open this one (A2: the
 *     leader of then did not, either), and was closed since. All were ZEROED
 *     before, and nobody has written: it comes to rest with that life.
 *
 * One at a time per leader; which kinds are wanted follows from what is asked
 * for when free blocks are few. ROWS stripes become single PAGES blocks when
 * one of their roles is to be opened again.
 * Threads: as alloc.h. */
#ifndef ACESO_EC_AGAIN_H
#define ACESO_EC_AGAIN_H
#include <stdbool.h>
#include <stdint.h>

#include "ec/alloc.h"

struct again_job {
	uint64_t stripe;
	uint32_t role, life;
	bool begun; /* RETIRING here already: whoever led before began it */
};

/* As leader: the block that should be opened again next: one begun, else, if
 * some are wanted, of those with the most obsolete units. -ENOENT: none. */
int again_victim(struct alloc *a, struct again_job *out);

/* It would not go: choose others first. */
void again_skip(struct alloc *a, uint64_t stripe, uint32_t role);

/* How a member stands towards a block, for the leader. */
struct again_view {
	uint32_t life;
	uint8_t state, kind;
	bool ready, zeroed;
};
int again_look(struct alloc *a, uint64_t stripe, uint32_t role,
	       struct again_view *out); /* -EINVAL */

/* A ROW stripe whose roles are from now on single PAGES blocks, as far as this
 * node keeps their records; its parity holds all of them as before. Done
 * already, or never was one: 0. Errors: -EINVAL; -EAGAIN it is OPEN or RETIRING
 * as a whole; -EUCLEAN it may be torn. */
int again_split(struct alloc *a, uint64_t stripe, uint32_t role);

/* Bytes of a bitmap of units. */
static inline uint32_t again_map_bytes(const struct group *g)
{
	return g->block_bytes / GROUP_UNIT_BYTES / 8;
}

/* OR this node's marks into @map; units past what was ever used are free, too.
 * Errors: -ESTALE, -EINVAL. */
int again_unite(struct alloc *a, uint64_t stripe, uint32_t role, uint32_t life,
		uint64_t *map);

/* Retired here: mark just the units of @map and be READY; with @zero, zero them
 * in the copy here. Again with more units is fine, as is again with @zero.
 * Errors: -EBUSY more units are marked here (unite again); -EAGAIN not retired
 * here yet; -ESTALE another life, or not on its way; -EINVAL. */
int again_ready(struct alloc *a, uint64_t stripe, uint32_t role, uint32_t life,
		const uint64_t *map, bool zero);

/* As leader, when all are ZEROED: to be granted; READY only: to wait for a
 * durable cut, see again_waited(). Errors: -ENOSPC the stock is
 * full, or nobody wants it: again_resume() it. */
int again_stock(struct alloc *a, uint64_t stripe, uint32_t role, uint32_t life);

/* A block that waited in the stock for a cut that is durable now: it has left
 * the stock, and all are to be made ZEROED. -ENOENT: none. */
int again_waited(struct alloc *a, struct again_job *out);

/* A block of the stock that must be given up: its grant came to nothing, or
 * nobody asked for it since @max_ns (@now: of any clock), or no cut came for
 * several times as long. @life: the one to
 * resume it with. It leaves the stock. -ENOENT: none. */
int again_stale(struct alloc *a, uint64_t now, uint64_t max_ns,
		struct again_job *out);

/* How many are in stock. */
unsigned again_stocked(struct alloc *a);

/* Client @owner is gone: what it was granted comes to nothing. */
void again_forsake(struct alloc *a, uint32_t owner);

/* The set of members has changed: all in stock are to be given up. */
void again_clear(struct alloc *a);

/* Blocks of this data node that were on their way, and of whose parity nodes
 * none is up: nobody is left to open them, or to bring them to rest, and those
 * that come wait for that (rebuild.h). So it is done here. */
void again_leaderless(struct alloc *a);

/* The next block from *@at on (0 at first) that is on its way by another's lead
 * (A8). -ENOENT: no more. */
int again_stray(struct alloc *a, uint32_t *at, uint64_t *stripe, uint32_t *role,
		uint32_t *life);

/* Give up: RETIRING becomes SEALED with life @life (FOLDED where no byte has
 * left). What has a higher life or is not RETIRING stays as it is. Errors:
 * -EAGAIN it is half-way out: ask again; -EINVAL. */
int again_resume(struct alloc *a, uint64_t stripe, uint32_t role,
		 uint32_t life);

#endif
