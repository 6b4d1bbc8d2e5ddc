/* kv/client/space_impl.h - private to the files behind space.h: space.c
 * space_work.c lane.c block_open.c block_seal.c doubt.c marks.c, and pages.c
 * row.c page_read.c.
 *
 * A block of this client and its life :
 *
 *   UNUSED --> OPENING --> OPEN --> CLOSING --> SEALING --> UNUSED
 *              nodes are   on a     no more     no spot of   told to every
 *              asked       shelf,   spots;      it is under  member that
 *                          gives    frees are   way; frees   is up
 *                          spots    kept here   are marks
 *
 * Locks: a lane's lock guards its classes and all blocks of that lane but for
 * the atomics; the pool's lock guards which blocks are unused; marks have their
 * own. None is held during a remote operation, and no two at once. */
#ifndef ACESO_KV_CLIENT_SPACE_IMPL_H
#define ACESO_KV_CLIENT_SPACE_IMPL_H
#include <pthread.h>
#include <stdatomic.h>

#include "ec/block.h"
#include "ec/group.h"
#include "kv/client/marks.h"
#include "kv/client/space.h"
#include "kv/client/units.h"

/* Classes of this room's own, after those of space.h. */
#define SPACE_ROWS ((unsigned)SPACE_CLASSES) /* whole stripes */
#define SPACE_RESERVE                                                          \
	((unsigned)SPACE_CLASSES + 1u) /* urgent records; lane 0 */
#define SPACE_INNER ((unsigned)SPACE_CLASSES + 2u)

#define SPACE_LANES_MAX	   64u
#define SPACE_BLOCKS_MAX   1024u /* open or closing, of one client */
#define SPACE_CALL_NS	   UINT64_C(500000000) /* for a node to answer */
#define SPACE_NAP_MIN_NS   UINT64_C(50000)     /* waiting for a fold */
#define SPACE_NAP_MAX_NS   UINT64_C(5000000)
#define SPACE_IDLE_NS	   UINT64_C(10000000000) /* unwritten: given back */
#define SPACE_ROWS_IDLE_NS UINT64_C(2000000000)	 /* begun rows: sealed */
#define SPACE_FULL_NS	   UINT64_C(100000000)	/* "full" is believed so long */
#define SPACE_GRACE_NS	   UINT64_C(1000000000) /* marks may still free space */
#define SPACE_GRACE_TRIES  40u
#define SPACE_GRACE_NAP_NS UINT64_C(20000000)
#define SPACE_MARKS_SEND   1024u /* marks that wait go when they are so many */
#define SPACE_AWAY_NS	   UINT64_C(10000000000) /* a node may come back in */
#define SPACE_ASIDE_NS	   UINT64_C(50000000)	 /* for one to be made ready */
#define SPACE_SEAL_TRIES   1000u /* then a node that refuses is passed over */

enum space_state {
	SPACE_UNUSED,
	SPACE_OPENING,
	SPACE_OPEN,
	SPACE_CLOSING,
	SPACE_SEALING,
};

struct space_member {
	uint8_t node;
	uint64_t offset; /* of byte 0 of the block, or of its delta, there */
};

struct space_block {
	_Atomic uint32_t inflight; /* spots taken, not settled */
	_Atomic uint8_t state;	   /* enum space_state */
	_Atomic uint8_t lane;	   /* whose lock guards it */
	uint8_t class;
	uint8_t kind;	 /* enum block_kind */
	uint8_t members; /* [0] the data block; ROWS: all roles in order */
	struct space_member member[CODE_WIDTH_MAX];
	uint64_t stripe;
	uint32_t role;
	uint32_t life;
	uint64_t opened; /* index version */
	uint64_t epoch;	 /* of the view under which it was opened */
	uint8_t leader;	 /* node that granted it */
	fab_addr addr;	 /* of byte 0; ROWS: of role 0 */
	bool again;	 /* was in use before: ec/again.h */
	bool torn;	 /* ROWS: a write was given up */
	bool refused;	 /* had no room for somebody */
	/* A bit for each role whose node was told that there
	 * may be pages of zeros in it: pages.c. */
	_Atomic uint32_t zeros;
	uint64_t takes, takes_seen; /* to tell whether it is idle */
	uint64_t quiet_ns;	    /* since when */
	bool busy;		    /* SEALING: one thread is at it */
	uint32_t tries;
	uint64_t sealed; /* bit per node that has acknowledged */
	uint64_t mended; /* bit per node whose copy is like the others */
	uint64_t ticket; /* OPENING: of the attempt; 0: none yet; pool_lock */
	struct units units;
};

struct space_shelf {
	/* [1] serves what [0] has no room for, and then takes its place. */
	struct space_block *open[2];
	bool opening; /* some thread is: only one at a time */
	bool wanted;  /* [1], soon */
};

struct space_lane {
	_Alignas(64) pthread_mutex_t lock;
	struct space_shelf shelf[SPACE_INNER];
};

struct space {
	struct kv *kv;
	uint32_t total;	      /* units in a block */
	uint32_t block_shift; /* log2 of its bytes */
	uint32_t nlanes;
	struct space_lane *lanes;
	/* Block of node n -> its number in @blocks + 1, while frees of it are
	 * kept here; index n * group.blocks + block. */
	_Atomic uint16_t *open_at;
	pthread_mutex_t pool_lock;
	struct space_block *blocks;
	_Atomic uint32_t high; /* blocks beyond were never used */
	_Atomic uint32_t next_node;
	_Atomic uint64_t full_ns;      /* when all nodes said so; 0: not */
	_Atomic uint64_t rows_full_ns; /* the same, for ROWS */
	_Atomic bool rows_short;       /* the last were of few pages each */
	_Atomic uint64_t marks_ns;     /* when marks were last sent */
	_Atomic uint64_t moved_ns;     /* when a node went or came; 0: none */
	_Atomic uint64_t held_ns; /* since when all that is free waits for a
				   * cut, and none came; 0: it does not */
	struct doubt *doubt;
	struct marks *marks;
	_Atomic uint64_t marks_due; /* when those waiting go; 0: not set */
	_Atomic bool work; /* the background was woken and has not run yet */
	void (*wake)(void *arg);
	void *wake_arg;
	pthread_mutex_t io_lock; /* of what follows */
	struct page_io *ios;	 /* pages.c's scratch, not in use */
	uint32_t nios;
};

static inline const struct group *space_group(const struct space *sp)
{
	return &sp->kv->layout.group;
}

/* @lane < nlanes. */
static inline struct space_lane *space_lane_of(struct space *sp, uint32_t lane)
{
	return &sp->lanes[lane];
}

/* Mark [@at, + @units) of a block that is not (any more) kept here. */
void space_mark(struct space *sp, uint64_t stripe, uint32_t role, uint32_t life,
		uint32_t at, uint32_t units);

/* Lock the lane of block @i if it is in @state; NULL, and no lock, if not. */
struct space_lane *space_lock_if(struct space *sp, uint32_t i,
				 enum space_state state);

/* --- space_work.c -------------------------------------------------------- */

/* Seal what can be. 1 if some block was, 0, or the last error. */
int space_seal_all(struct space *sp, struct kv_thread *t);

/* Send marks: all if @flush, else if they are many or have waited. As above. */
int space_marks_round(struct space *sp, struct kv_thread *t, bool flush);
int space_send_marks(struct space *sp, struct kv_thread *t); /* some, now */

/* --- lane.c -------------------------------------------------------------- */

/* As space_take(), but for any class and content with @min units. */
int lane_take(struct space *sp, struct kv_thread *t, unsigned class,
	      uint32_t min, uint32_t want, bool urgent, uint64_t deadline_ns,
	      struct space_spot *out);

/* Open the next block of each shelf that will need one soon. 1 if it did. */
int lane_open_ahead(struct space *sp, struct kv_thread *t, uint32_t lane);

/* Take @b, which is OPEN, off its shelf for closing; its lane's lock is held.
 */
void lane_close_block(struct space *sp, struct space_block *b);

/* Close an open block of records in which @least units are free, though not
 * where they were wanted. False: there is none. */
bool lane_close_pieces(struct space *sp, uint32_t least);

/* A block that is open and on no shelf. */
struct space_aside {
	struct space_block *block;
	fab_addr addr; /* of it; with the life, to know it by */
	uint32_t life;
	uint32_t room; /* free units */
};

/* Open a block of pages that was in use before, and write nothing to it.
 * Errors: -ENOENT wholly free ones are to be had; those of block_open(). */
int lane_open_aside(struct space *sp, struct kv_thread *t,
		    struct space_aside *out);
/* Close it, if nobody has. */
void lane_close_aside(struct space *sp, const struct space_aside *a);

/* Drop the copies of @b that are gone with their nodes. False if it should not
 * be written any more: its data node is gone, a stripe elsewhere would protect
 * better, or a node that came should have a copy and has not. Its lane's lock
 * is held. */
bool lane_block_survives(struct space *sp, struct space_block *b);

/* @b's member @i is there still, with what was opened on it. */
bool space_member_holds(struct space *sp, const struct space_block *b,
			uint32_t i);

/* --- doubt.c -------------------------------------------------------------
 * An answer was lost, or a CANCEL: a node may keep a block OPEN in this
 * client's name that it does not know of. Nobody could bring that stripe back
 * to a node that comes new, nor use the space. So nodes in doubt are asked what
 * they have of ours, and told of what is not ours (PROTO_OWNED, PROTO_FORSAKE).
 */

int doubt_open(struct space *sp);
void doubt_close(struct space *sp);

/* A new attempt with @b, which is OPENING: its number. */
uint64_t doubt_ticket(struct space *sp, struct space_block *b);
/* @node may have something. Any thread, no lock held. */
void doubt_node(struct space *sp, uint32_t node);
/* Is there anything to do? */
bool doubt_pending(struct space *sp);
/* Do it. 1: did something; 0. One thread at a time: space_background() when it
 * does not flush. */
int doubt_work(struct space *sp, struct kv_thread *t);

/* --- block_open.c -------------------------------------------------------- */

/* Get a new block of @class from the nodes: OPEN, on no shelf yet; if it was in
 * use before, then with @run free units in a row. With @wait, waits while
 * deltas are being folded, and blocks made ready to be opened again. Errors:
 * -ENOSPC; -EINPROGRESS none is free before the pool is made durable;
 * -ETIMEDOUT; -EAGAIN: see space_take(), or not @wait. */
int block_open(struct space *sp, struct kv_thread *t, uint32_t lane,
	       unsigned class, uint32_t run, bool urgent, bool wait,
	       uint64_t deadline_ns, struct space_block **out);

/* Where @b's number is kept while it is open (block records only, no ROWS). */
_Atomic uint16_t *space_open_at(struct space *sp, const struct space_block *b);

/* Take an unused block, OPENING now (NULL: none), and put it back. */
struct space_block *block_get(struct space *sp);
void block_put(struct space *sp, struct space_block *b);

/* Give a block back to the nodes of which nothing was written: to those in
 * @nodes, its leader last. */
void block_cancel(struct space *sp, struct kv_thread *t,
		  const struct space_block *b, uint64_t nodes);

/* --- block_seal.c -------------------------------------------------------- */

/* Opening @b again failed on the way: those members that did it mark its free
 * units and seal it; its leader hears that it is given up. */
void block_return(struct space *sp, struct kv_thread *t, struct space_block *b);

/* If @b is CLOSING and quiet, or SEALING and left over: tell the members.
 * Returns 1 if it is done with now, 0 if there was nothing to do yet, -errno
 * if some member could not be told: call again later. */
int block_seal(struct space *sp, struct kv_thread *t, struct space_block *b);

/* --- block_mend.c -------------------------------------------------------- */

/* Make what may be torn in @b, SEALING, and what is obsolete, alike in its
 * copies on @nodes.
 * Errors: -EAGAIN some node did not answer; -ENOMEM. */
int block_mend(struct space *sp, struct kv_thread *t, struct space_block *b,
	       uint64_t nodes);

#endif
