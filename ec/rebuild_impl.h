/* ec/rebuild_impl.h - one block on its way back. Private to rebuild*.c.
 *
 *   LOOK   the records of the stripe: what is to be taken? Nothing: done.
 *   FETCH  own data role: decoded, piece by piece, to where it belongs; what
 *          is there still (former.h) only where units of it are obsolete
 *          parity: the roles to be taken are read and summed up, aside
 *   CHECK  bitmaps, then the records again: has one of them moved? Again.
 *   MERGE  own data role: the record. Parity: the sum goes into the parity,
 *          window by window, all its roles FOLDING; then they are FOLDED
 *
 * B1. A role is taken if its life here is behind its leader's, and FREE. It
 *     cannot be freed elsewhere before it is here: its leader asks this node to
 *     retire it first, and hears -EAGAIN (fold_retire.c). So what CHECK saw
 * last holds until MERGE has begun, and then the records here speak for it. B2.
 * Its bytes do not change any more: it is sealed, and, if an orphan whose data
 * node is away, settled at every parity that is up. B3. A role that is OPEN
 * elsewhere and unknown here is waited for: its client is about to open it
 * here, or to seal it there, or is dead. B4. D1 holds for the records here at
 * any time, but for a delta: a role that is FOLDING here without one has its
 * other bytes nowhere here. Nobody reads this node before all is done; S1 holds
 * throughout. */
#ifndef ACESO_EC_REBUILD_IMPL_H
#define ACESO_EC_REBUILD_IMPL_H
#include "ec/alloc_impl.h"
#include "ec/rebuild.h"

enum rebuild_step { REBUILD_LOOK, REBUILD_FETCH, REBUILD_CHECK, REBUILD_MERGE };

/* All that the other members' records say of a stripe. */
struct rebuild_look {
	int leader; /* index of parity[], or -1: the data nodes speak */
	struct block_rec parity[CODE_PARITY_MAX][CODE_DATA_MAX];
	bool parity_up[CODE_PARITY_MAX];
	struct block_rec data[CODE_DATA_MAX]; /* a data node's own */
	bool data_up[CODE_DATA_MAX];
	uint32_t freed; /* rows that have no parity: bit i, role i is FREE */
	bool rows;	/* the whole stripe is one client's */
};

struct rebuild {
	struct alloc *a;
	struct fab *f;
	uint64_t up;

	struct bits owed; /* blocks; under alloc's lock, as is: */
	struct rebuild_progress sum;
	uint32_t *expect; /* [blocks] bytes, as far as they are known */
	/* [blocks] bytes in sum.lost_bytes + 1, or LOST_UNKNOWN; 0: not lost */
	uint32_t *beyond;
	uint32_t cursor;
	bool surveyed;	/* all were looked at once */
	bool wanted;	/* the block at hand goes first */
	uint32_t waits; /* blocks in a row that had to */
	bool not_yet;	/* one of them for something that others do */

	/* the block at hand */
	bool on;
	enum rebuild_step step;
	struct alloc_at at; /* parity: role 0 */
	struct rebuild_look look, again;
	uint32_t take; /* bit i: role i */
	int pending;   /* why others were left out; 0: none were */
	uint32_t lost; /* roles that could not be decoded */
	uint32_t end, fetched, merged; /* bytes */
	bool kept;		       /* data role: it is here still, but: */
	uint32_t patched;	       /* bytes of it that were fetched */
	char *sum_buf;		       /* [block] */
	char *piece;		       /* [k] pieces, and: */
	uint64_t *maps;		       /* [k] bitmaps */
	struct fab_op *ops;
};

#define REBUILD_PIECE_MAX (256u << 10)

/* --- rebuild_look.c ------------------------------------------------------- */

/* READ the records. 0 or -errno. */
int look_read(struct rebuild *r, struct rebuild_look *out);
/* READ the bitmaps of r->take, then the records once more. */
int look_again(struct rebuild *r);

/* The bitmap of role @i that look_again() read. */
const uint64_t *look_map(const struct rebuild *r, uint32_t i);

/* Role @i as its leader sees it. */
const struct block_rec *look_rec(const struct rebuild_look *l, uint32_t i);
/* Closed, and its bytes the same wherever they are read from (B2). */
bool look_settled(const struct rebuild_look *l, uint32_t i);
/* Given back already by its data node: in no parity any more. */
bool look_gone(const struct rebuild_look *l, uint32_t i);
/* Does what was decided on r->look still hold, for role @i? */
bool look_holds(const struct rebuild *r, uint32_t i);

/* --- rebuild_data.c, rebuild_parity.c: one step each ---------------------- */
/* 1: go on; 0: this block is done; -errno: it must wait. */

int data_step(struct rebuild *r, uint32_t bytes);
int parity_step(struct rebuild *r, uint32_t bytes);
/* It is given up: undo what cannot stay. */
void data_drop(struct rebuild *r);

/* --- rebuild.c ------------------------------------------------------------ */

/* Record of role @at here: FREE, but it has seen @life. Lock held. */
void rebuild_life(struct rebuild *r, const struct alloc_at *at, uint32_t life);
/* The record that a role taken gets, in @state, with its bitmap. Lock held. */
void rebuild_enter(struct rebuild *r, const struct alloc_at *at, uint8_t state);
/* May it be taken still? Lock held. */
bool rebuild_behind(const struct rebuild *r, const struct alloc_at *at);
/* The bytes of a block of that record. */
uint32_t rebuild_bytes(const struct rebuild *r, uint32_t i);
/* Decode [at, +len) of role @i, from those that are up. */
int rebuild_decode(struct rebuild *r, uint32_t i, uint32_t at, uint32_t len,
		   void *to);
/* Before the first byte of the block at hand is written. */
void rebuild_map(struct rebuild *r, uint32_t bytes);

#endif
