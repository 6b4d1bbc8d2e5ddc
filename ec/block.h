/* ec/block.h - a data block's life, and the record that tells it.
 *
 * Each data block (stripe, role) has one record on its own node and one on
 * each parity node of its stripe (there: as seen from that parity). A record
 * is written by its node's processor alone, and read by anyone one-sidedly.
 *
 *          alloc/open               seal                 all folded here
 *   FREE ------------> OPEN ------------> SEALED ----------------> FOLDED
 *     ^                 | ^              (FOLDING while | ^ never  |
 *     |     cancel      | |               the sum is    | | folded | obsolete,
 *     +-----------------+ | again         made)         v |        | all or
 *     |                   +-------------------- RETIRING <---------+ some
 *     +----------------------------------------/
 *        zeroed: all obsolete     (folded out of the parity again)
 *
 * Some of it obsolete (again.h): when all parities have folded it out, every
 * member zeroes the obsolete units in its copy, and it is OPEN again with one
 * life more, these units free, the others as they were; or it is given up and
 * goes back to SEALED (FOLDED, where it had not begun to leave).
 *
 * On a parity node FOLDING/RETIRING carry progress: bytes below it are done.
 * On the data node SEALED means "no more writes"; it needs no FOLDING. A block
 * that was sealed with nothing in it is FREE at once.
 * ROW blocks (whole stripe by one client, which writes the parity itself) go
 * OPEN -> FOLDED at seal, all roles of the stripe together, and back to FREE
 * together when all are wholly obsolete.
 *
 * D1. While (stripe, role) is OPEN or SEALED at parity j and not a ROW, its
 *     delta block there is a full copy of the data block, and the parity block
 *     knows nothing of it. While FOLDED there, parity j includes it.
 *     FOLDING at progress p with b busy steps: bytes [0,p) as FOLDED,
 *     [p + b * BLOCK_FOLD_STEP, ..) as SEALED, those between are neither, but
 *     the delta is whole until FOLDED. RETIRING: the other way round: bytes
 *     [0,p) are out of the parity; if it names a delta, that is a full copy
 *     again, and it always does once p > 0 or b > 0.
 *     READY: the delta and the data block are equal; ZEROED: obsolete units
 *     are zero, or just being made so.
 * D2. A FREE data block is all zeros and part of no parity. So is the parity of
 *     a stripe whose data blocks are all FREE. */
#ifndef ACESO_EC_BLOCK_H
#define ACESO_EC_BLOCK_H
#include <stdbool.h>
#include <stdint.h>

#include "ec/group.h"

enum block_state {
	BLOCK_FREE,
	BLOCK_OPEN,
	BLOCK_SEALED,
	BLOCK_FOLDING,
	BLOCK_FOLDED,
	BLOCK_RETIRING,
};

enum block_kind {
	BLOCK_RECORDS = 1, /* self-describing records: replay reads them */
	BLOCK_PAGES,	   /* raw pages, named by records */
	BLOCK_ROWS,	   /* raw pages of a stripe coded by its writer */
};

#define BLOCK_FOLD_STEP 4096u

/* Closed, by clients of before the pool was started again: all of them are
 * gone. No client has this id. */
#define BLOCK_OWNER_PAST UINT32_MAX

enum {
	BLOCK_F_RETIRE = 1,  /* RETIRING follows as soon as it is FOLDED */
	BLOCK_F_ALIGN = 2,   /* an orphan: make the delta equal to the data
			      * before it is folded (fold_copy.c) */
	BLOCK_F_AGAIN = 4,   /* RETIRING to be opened again */
	BLOCK_F_READY = 8,   /* that, and which of its units are obsolete is
			      * settled: marks are refused meanwhile */
	BLOCK_F_TORN = 16,   /* ROWS of which data and parity may disagree: it
			      * leaves with its parity or not at all */
	BLOCK_F_HELD = 32,   /* was an orphan; its delta is what others are to
			      * make theirs equal to, so it is not folded yet */
	BLOCK_F_ZEROED = 64, /* READY, and those units are zeroed in the copy
			      * here, or will be at once */
	BLOCK_F_LEFT = 128,  /* its data node's record: closed for an owner
			      * that was gone, so the copies may have differed
			      * (former.h). It stays until FREE or OPEN */
};

/* 64 bytes, little-endian. @seq grows by 2 with each change and is odd while
 * one is made: a reader that gets the same even record before and after a
 * range has read the range in that state. */
struct block_rec {
	uint64_t seq;
	uint8_t state;	   /* enum block_state */
	uint8_t kind;	   /* enum block_kind */
	uint8_t busy;	   /* steps under way beyond progress; 0: at rest */
	uint8_t flags;	   /* BLOCK_F_* */
	uint32_t owner;	   /* client id; of one that is closed: who alone
			    * wrote in it, 0: not known, or several did */
	uint32_t epoch;	   /* of the view in which it was opened */
	uint32_t used;	   /* bytes written, known at seal; else 0 */
	uint32_t progress; /* of FOLDING, RETIRING; n * BLOCK_FOLD_STEP */
	uint32_t delta;	   /* delta block here + 1; 0: none */
	uint32_t dead;	   /* obsolete units */
	uint32_t life;	   /* how often this block was opened */
	uint64_t opened;   /* index version at open */
	uint64_t sealed;   /* its keeper's clock at seal, as it was told
			    * (kv/node/rounds.h); UINT64_MAX while open */
	uint32_t kept;	   /* 1: OPEN again, with what was in it before */
	uint32_t reserved2;
};
_Static_assert(sizeof(struct block_rec) == 64, "block_rec is 64 bytes");

const char *block_state_name(uint8_t state);

/* True if the picture above has an arrow from @from to @to. */
bool block_may_move(uint8_t from, uint8_t to);

/* Make one change to the record at @rec (in the region of this very node),
 * seen by readers as a whole or not: copy it out, edit, publish. */
void block_load(const struct block_rec *rec, struct block_rec *out);
/* @in's seq is not looked at. One writer at a time per record. */
void block_publish(struct block_rec *rec, const struct block_rec *in);

/* True if bytes of this block are in the parity that keeps @rec as far as
 * [*lo, *hi) goes, which is cut to what is IN (empty: lo == hi). */
bool block_in_parity(const struct block_rec *rec, uint32_t *lo, uint32_t *hi);

/* True if a step under way makes [lo, hi) neither in the parity nor out. */
bool block_in_flux(const struct block_rec *rec, uint32_t lo, uint32_t hi);

/* True if the delta block that @rec names holds all of the data (D1). */
static inline bool block_has_copy(const struct block_rec *rec)
{
	return rec->delta != 0 && rec->state != BLOCK_FREE;
}

/* Check a record that was read from another node: -EBADMSG. */
int block_rec_check(const struct group *g, const struct block_rec *rec);

#endif
