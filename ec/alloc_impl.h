/* ec/alloc_impl.h - what a node knows of its blocks, besides their records.
 * All of it can be had again from the records (alloc_open); it is there so that
 * no request reads more than the records it is about.
 *
 * A block's role is its number mod (k + m), so the blocks of one role are a
 * row, counted by period; for a given parity row the other members of stripe
 * (row, period) lie on the same nodes in every period. Hence who leads, and
 * whose node is up, is known per row. */
#ifndef ACESO_EC_ALLOC_IMPL_H
#define ACESO_EC_ALLOC_IMPL_H
#include <pthread.h>
#include <sys/queue.h>

#include "ec/alloc.h"
#include "ec/alloc_bits.h"

#define ALLOC_STATES (BLOCK_RETIRING + 1)
/* Free delta blocks that stay mapped, cleared by hand, beside as many as may
 * rest while there is work (delta_cool()); the others are given back to the
 * system between uses. */
#define ALLOC_WARM_DELTAS 8u

/* The same for blocks of the stripe area: this part of them. Memory that has to
 * be had anew costs its next writer many times what clearing costs here. */
#define ALLOC_WARM_PART 4u

/* One record kept here: of data block @role, in row @parity (or at home). */
struct alloc_at {
	uint64_t stripe;
	uint32_t block; /* of this node */
	uint32_t period;
	uint32_t role; /* of the data block */
	int parity;    /* row 0..m-1; -1: the data block itself is here */
	struct block_rec *rec;
};

/* The stripes whose j-th parity is here, by period. */
struct alloc_row {
	struct bits fresh;    /* all roles FREE */
	struct bits coded;    /* the parity block may be other than zero */
	struct bits *free;    /* [k] role is FREE */
	struct bits *partial; /* [k] role is FREE, the stripe is not fresh */
	struct bits *victim;  /* [k] wholly obsolete, not FREE; ROWS: in [0],
				 if all roles are */
	struct bits *leaving; /* [k] RETIRING and not out of the parity yet */
	struct bits *need; /* [k] by the cut that is durable, see alloc_cut.c */
	struct bits *need_new; /* [k] by the last cut */
	uint64_t **dead;       /* [k * periods] obsolete units at the cut that
				* is durable; NULL: none */
	uint64_t **dead_new;   /* at the last cut */
	struct bits *retiring; /* [k] RETIRING */
	uint32_t *taken;       /* [periods] how many roles are not FREE */
	uint64_t count[ALLOC_STATES];
	bool led;
	bool all_up;	  /* data nodes up, parity nodes members */
	bool coming;	  /* some member is being rebuilt */
	uint32_t role_up; /* bit i: the node of data role i */
};

enum delta_place { DELTA_FREE, DELTA_USED, DELTA_QUEUED, DELTA_DIRTY };

struct alloc_delta {
	TAILQ_ENTRY(alloc_delta) link;
	uint8_t place;	      /* enum delta_place: on which list */
	uint8_t warm;	      /* FREE: its memory is mapped */
	uint32_t block, role; /* USED, QUEUED: the record that names it */
	uint32_t dirty;	      /* DIRTY: bytes to clear from its start */
	uint64_t since;	      /* QUEUED: seen to be; 0: not yet (fold.h) */
};
TAILQ_HEAD(alloc_deltas, alloc_delta);

/* A data block on its way to a delta block here (fold_copy.c). */
struct alloc_copy {
	bool on;
	struct alloc_at at;
	uint32_t life;
	uint32_t delta; /* + 1 */
	uint32_t done;	/* bytes */
	/* an orphan's: */
	bool from_data; /* from the data node, else: */
	uint64_t from;	/* from what these nodes know; 0: its own is taken */
};

/* A block that is READY to be opened again, or waits for a cut to be so, or was
 * granted and is not OPEN here yet: the leader's record is the last one. */
struct alloc_stock {
	bool on;
	bool undo; /* give it up */
	bool wait; /* for a durable cut */
	struct alloc_at at;
	uint8_t kind;
	uint32_t life;	/* as READY */
	uint32_t owner; /* to whom it is granted; 0: nobody */
	uint32_t run;	/* its longest run of free units */
	uint64_t since; /* by the driver's clock; 0: not looked at yet */
};
#define ALLOC_STOCK_MAX 8u

/* Blocks of a kind that are asked for while free ones are few. */
struct alloc_want {
	uint32_t blocks;
	uint32_t run; /* with so many free units in a row */
};
#define ALLOC_SKIPPED 8u

/* Grants given back lately: perhaps another member refused them (it may know of
 * an owner that died between telling it and the others). To grant them again
 * at once would only be refused again. */
#define ALLOC_SHUNNED 8u

struct alloc {
	struct alloc_opts o;
	uint32_t k, m, w;
	uint32_t periods;
	uint64_t up; /* atomic: the folding thread looks at it, too */
	bool coming; /* this node is not up itself; atomic likewise */

	/* Order: work, then lock. @work is held while bytes of a parity block
	 * are changed; @lock while records and all below are. */
	pthread_mutex_t work;
	pthread_mutex_t lock;

	struct alloc_row *row;	   /* [m] */
	struct alloc_delta *delta; /* [deltas] */
	struct alloc_deltas free, queue, dirty;
	uint32_t free_deltas, warm_deltas, queued;
	struct bits warm;	  /* blocks that are FREE and have memory */
	struct bits touched;	  /* blocks with memory that is mapped here */
	uint32_t kept;		  /* free delta blocks for retiring only */
	struct alloc_copy leaver; /* its delta block is not in its record yet */
	struct alloc_copy orphan;
	struct alloc_stock stock[ALLOC_STOCK_MAX];
	struct alloc_want want[BLOCK_ROWS + 1];	  /* by kind */
	struct block_rec *skipped[ALLOC_SKIPPED]; /* would not go lately */
	uint32_t next_skipped;
	uint32_t again_at; /* where the search for victims goes on */
	uint64_t reopened;
	struct block_rec *shunned[ALLOC_SHUNNED];
	uint32_t next_shunned;
	bool rebuilding;	    /* see alloc_set_view() */
	bool rebuilt;		    /* rebuild.h is done */
	struct former *former;	    /* what is here still, or NULL */
	struct bits wanted;	    /* blocks to be rebuilt first */
	struct alloc_early **early; /* [blocks * k] marks of what is not here */
	bool turn;		    /* which of fold and retire goes first */
	uint64_t own_taken, own_dead; /* data blocks here */
	uint64_t folds, retires;
	uint64_t moves; /* changes of records */
	uint64_t gains; /* see alloc_gains() */
};

/* --- alloc_rec.c: records ------------------------------------------------- */

/* Where this node keeps the record of (stripe, role). -EINVAL: it does not. */
int alloc_locate(const struct alloc *a, uint64_t stripe, uint32_t role,
		 struct alloc_at *at);

/* The same where @role may be any of a ROW stripe's: on a data node its own. */
int alloc_locate_any(const struct alloc *a, uint64_t stripe, uint32_t role,
		     struct alloc_at *at);

/* The record of block @block here for @role; cannot fail. */
void alloc_at_block(const struct alloc *a, uint32_t block, uint32_t role,
		    struct alloc_at *at);

/* How many records a change of @at's is about: a parity node changes those of
 * all roles of a ROW stripe; @at is then the first of them. */
uint32_t alloc_span(const struct alloc *a, struct alloc_at *at, uint8_t kind);

/* From a record to that of the next role. */
void alloc_next(struct alloc_at *at);

/* Of the records that this node keeps (k of each of its parity blocks, one of
 * its data blocks) the next, from *@i on (0 at first), that @is. Not locked.
 * -ENOENT: no more. */
int alloc_look(struct alloc *a, uint32_t *i,
	       bool (*is)(const struct alloc *a, const struct alloc_at *at,
			  const struct block_rec *rec),
	       uint64_t *stripe, uint32_t *role, uint32_t *life);

/* Publish @rec and follow with the counts and sets. The one place where a
 * block changes its state. Lock held. */
void alloc_move(struct alloc *a, const struct alloc_at *at,
		const struct block_rec *rec);

/* Enter or leave a record as it is in the counts (alloc_open). */
void alloc_count(struct alloc *a, const struct alloc_at *at,
		 const struct block_rec *rec, int sign);

/* Is it a victim now? After a change of dead, used or state. Lock held. */
void alloc_judge(struct alloc *a, const struct alloc_at *at);

/* Zero what the block holds here and make it FREE, all of a ROW's. The lock is
 * not held: zeroing takes time. No one may use the block any more. */
void alloc_clear(struct alloc *a, struct alloc_at *at);

/* Zero block @block, of which nothing beyond @bytes was written. */
void alloc_zero(struct alloc *a, uint32_t block, uint32_t bytes);

static inline uint32_t alloc_next_life(uint32_t life)
{
	return life == UINT32_MAX ? 1 : life + 1; /* 0 is no life */
}

/* The bitmap of obsolete units that goes with @at's record. */
uint64_t *alloc_map_at(const struct alloc *a, const struct alloc_at *at);

/* The node of role @role in row @j's stripes. */
uint32_t alloc_role_node(const struct alloc *a, uint32_t j, uint32_t role);

/* Bytes that a sealed block's folds go over. */
uint32_t alloc_fold_end(const struct block_rec *rec);

/* True if nothing of a RETIRING block is in the parity here any more. */
bool alloc_is_out(const struct alloc_at *at, const struct block_rec *rec);

/* --- alloc_early.c: lock held --------------------------------------------- */

/* Set bits [@at, +@len); returns how many were not set before. */
uint32_t alloc_map_set(uint64_t *map, uint32_t at, uint32_t len);

int early_open(struct alloc *a);
void early_close(struct alloc *a);
/* Is @life of @at's block one that is still to be brought here? */
bool early_expects(const struct alloc *a, const struct block_rec *rec,
		   uint32_t life);
/* Keep a mark of it aside. -ENOMEM. */
int early_mark(struct alloc *a, const struct alloc_at *at, uint32_t life,
	       uint32_t from, uint32_t len);
/* Its block is here now, in use @life: add what was kept to @map. */
void early_merge(struct alloc *a, const struct alloc_at *at, uint32_t life,
		 uint64_t *map);
/* What was kept is of another life. */
void early_drop(struct alloc *a, const struct alloc_at *at);

/* --- alloc_cut.c; lock held ----------------------------------------------- */

/* alloc_cut_allows() of a block whose parity is here. */
bool alloc_cut_may(const struct alloc *a, const struct alloc_at *at,
		   const uint64_t *map);
/* What alloc_held() says. */
bool alloc_is_held(const struct alloc *a);
/* A cut needs the block of role @role in @period of row @j. */
bool alloc_is_needed(const struct alloc *a, uint32_t j, uint32_t role,
		     uint32_t period);

/* --- alloc_delta.c: delta blocks; lock held ------------------------------- */

int delta_open(struct alloc *a);
void delta_close(struct alloc *a);
/* After a restart: which are in use, which need clearing. */
void delta_adopt(struct alloc *a, const struct alloc_at *at,
		 const struct block_rec *rec);
void delta_adopted(struct alloc *a, bool fresh);
/* Take one for @at; returns its number + 1, or 0. @retiring may take the
 * kept ones. */
uint32_t delta_take(struct alloc *a, const struct alloc_at *at, bool retiring);
/* Put it in the queue of what is to be folded; take it out. */
void delta_queue(struct alloc *a, uint32_t delta);
void delta_unqueue(struct alloc *a, uint32_t delta);
void delta_rotate(struct alloc *a);
/* Done with; the first @dirty bytes are to be cleared. */
void delta_drop(struct alloc *a, uint32_t delta, uint32_t dirty);
/* Clear one that was dropped: false if there is none. Takes the lock itself,
 * and clears without it. */
bool delta_scrub(struct alloc *a);
/* Nothing was written for a while: give one that is mapped back to the system.
 * False: no more than always stay. */
bool delta_cool(struct alloc *a);

/* --- fold_copy.c ---------------------------------------------------------- */

struct fab;
/* READ, now. Errors: of fab_run() and of the operation. */
int copy_read(struct fab *f, fab_addr from, void *to, uint32_t len);

/* Fetch the data of a RETIRING block into a delta block, or make an orphan's
 * delta equal to its data; at most about @bytes in one call. Returns 1 if there
 * is more to do, 0 when it is done, -errno: not now. */
int copy_retiring(struct alloc *a, struct fab *f, const struct alloc_at *at,
		  uint32_t bytes);
int copy_orphan(struct alloc *a, struct fab *f, const struct alloc_at *at,
		uint32_t bytes);
/* Its delta is whole: may it be folded (BLOCK_F_HELD)? 1: from now on; -EAGAIN:
 * others still need it. */
int copy_release(struct alloc *a, struct fab *f, const struct alloc_at *at);

/* The RETIRING block whose data is being fetched, if it still can be. Lock
 * held. */
bool copy_next(struct alloc *a, struct alloc_at *at, struct block_rec *rec);

/* --- fold_void.c ---------------------------------------------------------- */

/* Is the orphan @at, whose record is @here, another's on its data node, which
 * is up? 1: it was, and is wholly obsolete now; 0: no; -errno: ask again. */
int void_orphan(struct alloc *a, struct fab *f, const struct alloc_at *at,
		const struct block_rec *here);

/* --- again.c, again_open.c: lock held ------------------------------------- */

/* A block of @kind in stock for @owner, or -ENOENT. */
int again_grant(struct alloc *a, uint8_t kind, uint32_t owner, uint64_t avoid,
		uint32_t run, struct alloc_grant *out);
/* One more will be wanted. */
void again_want(struct alloc *a, uint8_t kind, uint32_t run);
/* Some block of the stock waits for a durable cut. */
bool again_waits(const struct alloc *a);
/* Something of @kind may be had again soon. */
bool again_hope(struct alloc *a, uint8_t kind, uint32_t run);
/* READY here, for an opener with the next life? */
bool again_may_open(const struct block_rec *rec, uint8_t kind, uint32_t life);
/* The block at @at left the stock, if it is in it. */
void again_unstock(struct alloc *a, const struct alloc_at *at);
struct alloc_stock *again_find(struct alloc *a, const struct alloc_at *at);

static inline void *alloc_region_at(const struct alloc *a, uint64_t off)
{
	return (char *)a->o.region + off;
}

#endif
