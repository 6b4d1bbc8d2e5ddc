/* ec/alloc.h - the node's side of space: which of the stripes it leads have
 * room, and the records of its blocks. All is rebuilt from block records.
 *
 * The leader of a stripe is its first parity node that is up; it alone says
 * which data role of the stripe may be opened next. The other parity nodes
 * and the data node are told by the client and keep records that agree.
 * Threads: one at a time per struct alloc, but fold.h's functions of the same
 * struct may run in one other thread (see there). */
#ifndef ACESO_EC_ALLOC_H
#define ACESO_EC_ALLOC_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ec/block.h"
#include "ec/code.h"
#include "ec/group.h"

struct alloc;
struct former;

struct alloc_opts {
	const struct group *group;
	const struct code *code;
	uint32_t node;	  /* this one's id */
	void *region;	  /* its memory; starts zeroed */
	int region_fd;	  /* for fab_region_discard(); -1: none */
	uint32_t reserve; /* blocks that pages may not take; a quarter of them
			   * none but urgent asks */
	bool hold;	  /* what a cut needs stays: alloc_cut() */
	/* So many sealed blocks may rest before they are folded, for so long
	 * at most (fold.h); 0: none does. */
	uint32_t rest;
	uint64_t rest_ns;
	/* What the memory, which else is zeroed, still has (former.h); NULL:
	 * nothing. The caller's; outlives the alloc. */
	struct former *former;
};

/* Errors: -EINVAL, -ENOMEM, -EBADMSG (a record makes no sense), -EUCLEAN: a
 * change was cut short in this memory, so it must be zeroed and rebuilt. */
int alloc_open(const struct alloc_opts *opts, struct alloc **out);
void alloc_close(struct alloc *a);

/* Which nodes are up (bit n): leaders follow from it. @members: those, and
 * nodes that are being rebuilt, which take part in new blocks as parities and
 * in nothing else. A node that is a member and not up is itself being rebuilt,
 * from now until rebuild.h is done: it keeps marks of blocks that it has not
 * got yet, and answers -EAGAIN to whoever wants to retire one. */
void alloc_set_view(struct alloc *a, uint64_t up, uint64_t members);
void alloc_set_up(struct alloc *a, uint64_t up); /* all that are members are */

struct alloc_grant {
	uint64_t stripe;
	uint32_t role;	/* ROWS: 0 */
	uint32_t delta; /* delta block of this node + 1; ROWS: 0 */
	uint32_t life;	/* of the block, to be repeated to the others */
	bool again;	/* READY here, not OPEN yet (again.h): open it at all
			 * others, then here, with this life */
};

/* As leader: choose a data block for @owner and open it here (record and delta
 * block). RECORDS and PAGES fill stripes already begun first, lowest first, and
 * prefer data nodes other than @avoid (bit n); a role whose node is down is
 * never given. ROWS takes a wholly free stripe, highest first, all of whose
 * members are up: all its roles open together. Zeroed memory, D2. The last few
 * that were cancelled are given last: another member may have refused them.
 * When free blocks are few, RECORDS and PAGES get one that is opened again,
 * with at least @run free units in a row (out->again; its free units are those
 * that are marked obsolete here until it is OPEN here). Errors: -ENOSPC none
 * left (or only the reserve, and not @urgent), nor any to be had again; -EAGAIN
 * no delta block is free now, or some block is on its way to be had again: ask
 * again. */
int alloc_block(struct alloc *a, uint8_t kind, uint32_t owner, uint32_t epoch,
		uint64_t opened, bool urgent, uint64_t avoid, uint32_t run,
		struct alloc_grant *out);

/* As another parity node, or as the data node (which sets no delta): open the
 * record of a block that its leader granted. ROWS: all roles of this stripe
 * whose record this node keeps. Errors: -EBUSY if it is not free here; -EAGAIN
 * no delta block; -EINVAL. Asking again with the same owner and life is
 * fine. */
int alloc_open_block(struct alloc *a, uint64_t stripe, uint32_t role,
		     uint8_t kind, uint32_t owner, uint32_t epoch,
		     uint64_t opened, uint32_t life, uint32_t *delta);

/* Undo an open of which nothing was written or all is given up: FREE again,
 * zeroed. No write of it may be under way. ROWS: any role, all go. Tell the
 * leader last: what it grants next is then free everywhere. Done already: 0.
 * Errors: -EINVAL if it is not @owner's open block of that @life. */
int alloc_cancel(struct alloc *a, uint64_t stripe, uint32_t role,
		 uint32_t owner, uint32_t life);

/* The owner writes no more; @used bytes count. On a parity node it is queued
 * for folding. With @used 0 nothing in it counts: FREE at once, zeroed, as by
 * alloc_cancel(). @torn: of ROWS, data and parity may disagree in places (a
 * write was given up). Errors: -EINVAL as above; sealed already: 0. */
int alloc_seal(struct alloc *a, uint64_t stripe, uint32_t role, uint32_t owner,
	       uint32_t life, uint32_t used, uint64_t sealed, bool torn);

/* As alloc_seal(), for an open block whose owner is dead and cut off ([I6]),
 * so that all of it may be in use and its last write may be in some of the
 * copies only: before a parity node folds it, its delta is made equal to the
 * data block (which else would make neighbours undecodable, [I5]). Call it on
 * every member that is up, data node included. Not open any more: 0.
 * Errors: -ESTALE (life differs), -EINVAL. */
int alloc_orphan(struct alloc *a, uint64_t stripe, uint32_t role, uint32_t life,
		 uint64_t sealed);

/* Mark [@at, +@len) of (stripe, role) obsolete, in units; marking twice is
 * harmless. On parity nodes and the data node alike. @life guards against a
 * late mark: that of the block at a time when these units held what is obsolete
 * now; 0: the caller knows that this unit was live. Errors: -ESTALE (life
 * differs, or FREE), -EBUSY (READY to be opened again, or @life is the next
 * one, begun elsewhere: ask later), -EINVAL, -EAGAIN (being rebuilt, and no
 * memory). */
int alloc_mark(struct alloc *a, uint64_t stripe, uint32_t role, uint32_t life,
	       uint32_t at, uint32_t len);

struct alloc_run {
	uint32_t at, len; /* in units */
};

/* The same of several pieces of one block, whose record changes once: all of
 * them, or, on -EINVAL, none. */
int alloc_mark_runs(struct alloc *a, uint64_t stripe, uint32_t role,
		    uint32_t life, const struct alloc_run *run, uint32_t n);

struct alloc_usage {
	uint64_t data_total; /* data blocks that this node leads, without FREE
				ones whose node is down, and: */
	uint64_t data_free;  /* of them FREE and on nodes that are up */
	uint64_t own_blocks; /* of this node's blocks: not FREE, or parity of
				a stripe with any block not FREE */
	uint64_t delta_used; /* delta blocks in use here */
	uint64_t dead_bytes; /* obsolete, of blocks on this node */
	uint64_t open_blocks, sealed_blocks, folded_blocks; /* that it leads */
	uint64_t folds, retires; /* done since the start */
	uint64_t reopened;	 /* blocks here opened again */
	uint64_t fold_backlog;	 /* blocks sealed and not folded yet, here */
};
void alloc_usage(struct alloc *a, struct alloc_usage *out);

/* --- durable checkpoints (alloc_cut.c), with opts.hold --------------------
 * A cut is what a durable checkpoint holds. A block that is in use at one, and
 * not wholly obsolete, is needed by it: fold_victim() does not offer it before
 * a later cut, at which it was obsolete, is durable. */

/* Make a cut: for each data block of this node call @each with its record and
 * its bitmap of obsolete units (NULL: FREE), and note which blocks the cut
 * needs. No request that changes blocks may be served meanwhile; the work of
 * fold.h may go on. */
void alloc_cut(struct alloc *a,
	       void (*each)(void *arg, uint32_t block,
			    const struct block_rec *rec, const void *map),
	       void *arg);

/* The last cut is durable: no older one will be gone back to. */
void alloc_cut_durable(struct alloc *a);

/* Nothing is known of the cut that is durable: it may need every block. */
void alloc_cut_unknown(struct alloc *a);

/* True if no cut needs any of the units in @map (set bits) of a block whose
 * parity is here: they were obsolete at the cuts, or are younger than they. So
 * they may be zeroed and written again. */
bool alloc_cut_allows(struct alloc *a, uint64_t stripe, uint32_t role,
		      const uint64_t *map);

/* True if blocks that this node leads would be free, or could be opened again,
 * were the pool made durable now, or soon will be. */
bool alloc_held(struct alloc *a);

/* Blocks that are FREE, delta blocks among them, may keep their memory,
 * cleared, for the next writer: it is what a fresh page costs that bounds large
 * writes. Give one such block's back to the system; false: there is none. */
bool alloc_cool(struct alloc *a);
/* Grows with every change of any block: while it does, memory is wanted. */
uint64_t alloc_moves(struct alloc *a);
/* Grows when a block becomes wholly obsolete: fold_victim() may find one. */
uint64_t alloc_gains(struct alloc *a);

/* Blocks of @owner not sealed yet, for its recovery: calls @each. */
void alloc_owned(struct alloc *a, uint32_t owner,
		 void (*each)(void *arg, uint64_t stripe, uint32_t role,
			      const struct block_rec *rec),
		 void *arg);

#endif
