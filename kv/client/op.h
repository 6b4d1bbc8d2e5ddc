/* kv/client/op.h - one operation on one key, as a state machine that yields
 * batches of one-sided operations. Private to kv/client and tests.
 *
 *         op_step()                              kv/client/run.c drives many;
 *     +--------------+  OP_POST: post, come back    tests interleave two, or
 *     |    state()   | ------------------------>    stop one for ever
 *     +--------------+  OP_SLEEP, OP_PARK: wait
 *            |          (outside of the view), come back
 *            v OP_DONE: op->status
 *
 * A state is a function. It looks at the last batch's completions, and either
 * names the next state and returns, or ends the operation. Three parts are
 * shared: finding a key (find.c), reading the record that a slot names
 * (fetch.c), and writing a record and swinging a slot to it (commit.c).
 * get.c, put.c, insert.c, intent.c say what is done with them.
 *
 * Time: an operation asks the clock only when it has to wait. */
#ifndef ACESO_KV_CLIENT_OP_H
#define ACESO_KV_CLIENT_OP_H
#include <stdbool.h>
#include <stdint.h>

#include "kv/client/client_impl.h"
#include "kv/client/space.h"
#include "kv/object.h"
#include "kv/slot.h"
#include "rdma/fabric.h"

enum op_verdict {
	OP_DONE,  /* op->status tells */
	OP_POST,  /* post *next, wait, step again */
	OP_PARK,  /* wait for a view after op->epoch, or op->wait_ns */
	OP_SLEEP, /* for op->wait_ns */
	OP_AGAIN, /* inside only: go on with op->state at once */
};

/* Beyond enum kv_kind: what transactions need. Their parts see and write
 * records as they are (op->raw). */
enum op_kind {
	OP_GET = KV_GET,
	OP_PUT = KV_PUT,
	OP_PUT_IF = KV_PUT_IF,
	OP_INSERT = KV_INSERT,
	OP_DEL = KV_DEL,
	OP_RESOLVE, /* finish or undo somebody's transaction in one key */
	OP_MOVE,    /* if its record, of rq->version, lies at rq->expect */
	OP_TXN,
};

#define OP_OPS_MAX	16u
#define OP_SLICE_NS	UINT64_C(100000000) /* longest wait inside a view */
#define OP_PARK_NS	UINT64_C(250000000) /* then look again */
#define OP_DOUBTS_MAX	4u    /* a record that is wrong under one slot word */
#define OP_RECORD_BYTES 4096u /* first size of a record buffer */

struct cache_entry;
struct op;
typedef int op_state(struct op *op);

/* What a slot and the record it names were seen to hold. */
struct op_seen {
	bool there;   /* a slot has the key: live, tombstone, or intent */
	uint8_t type; /* enum object_type */
	uint16_t units;
	uint32_t life;
	uint64_t slot; /* its number within the shard */
	uint64_t word;
	uint64_t hint; /* slot.version as it was read */
	uint64_t version;
	uint64_t fate;
	uint64_t tag;	 /* who wrote it: client << 32 | its operation */
	const void *val; /* in op->rd; NULL if it came from the cache */
	uint32_t val_len;
};

struct op {
	struct kv *kv;
	struct kv_thread *t;
	struct kv_req *rq;
	struct kv_op_stats *count;
	op_state *state;
	op_state *then;	      /* after find */
	op_state *fetch_then; /* after fetch */
	op_state *lost;	      /* commit: when another won the slot */
	op_state *kill_then;  /* after a record was KILLED */
	op_state *resolve_then;
	struct op *child; /* steps until it is done, then we go on */
	struct op *link;  /* in the thread's pool, or its list of ops */
	int status;
	uint8_t kind; /* enum op_kind */
	uint8_t type; /* of the record to write, enum object_type */
	bool raw;     /* intents are seen as they are */
	bool has_spot;
	bool solo;    /* its record says SOLO; the key is claimed: alone.h */
	bool held;    /* outcome open while it waited: member_hold() */
	bool running; /* run.c: posted, not complete */
	bool looks;   /* find: what is PENDING will do */
	uint8_t host; /* of the shard, in view @epoch */
	uint8_t print;
	uint64_t epoch;
	uint64_t deadline; /* 0: the clock was not asked yet */
	uint64_t wait_ns;
	uint32_t tries;
	uint32_t doubts;
	uint64_t hash;
	uint32_t shard;
	uint32_t cand;	   /* find: the next of both pairs' slots */
	uint64_t base;	   /* of the shard in the host's region */
	uint64_t expect;   /* PUT_IF, DEL: 0 any; MOVE: an address */
	uint64_t place[2]; /* of both pairs, in slots */
	struct slot pair[2][BUCKET_PAIR_SLOTS];
	struct slot look; /* a slot read again */
	struct op_seen seen;
	int fetched; /* 0 the key's; -ENOENT another's; -ESTALE the slot
			moved on; -EBADMSG garbage in a tentative slot */
	/* decide.c: a PENDING record that is waited for */
	uint64_t open_word, open_since, open_ask;
	uint32_t opens;
	uint8_t open_host;
	/* the record being written */
	struct space_spot spot;
	uint64_t version;   /* of the record */
	uint64_t word;	    /* that names it */
	uint64_t mine;	    /* number of the slot it goes to */
	uint64_t hint;	    /* that slot's version, just before */
	struct op_seen was; /* what it replaces */
	/* insert.c */
	uint64_t written; /* the view in which its record was */
	uint64_t above;	  /* its version must be above this */
	uint32_t lower;	  /* slots of both pairs whose words must go */
	bool passed;	  /* its word goes for no other's any more */
	/* transactions: txn.h */
	const void *intent; /* RESOLVE: the one in the way, a record's value */
	uint64_t intent_version;
	uint64_t patience;    /* RESOLVE: until when a PENDING one may stay */
	uint64_t rolled_back; /* RESOLVE: the key's version after our undo */
	struct txn *txn;
	char *rec, *rd; /* record to write; record read */
	size_t rec_cap, rd_cap;
	struct fab_op ops[OP_OPS_MAX];
	struct fab_batch batch;
	struct kv_req own_rq; /* of a child */
	char small[64];	      /* a child's value */
};

/* --- op.c: life and tools ------------------------------------------------- */

/* An operation from the thread's pool, started on @rq (which must stay).
 * NULL: no memory. */
struct op *op_begin(struct kv *kv, struct kv_thread *t, struct kv_req *rq);
void op_free(struct op *op); /* back to the pool, with its children */
void op_pool_close(struct kv_thread *t);

/* Go on; the last batch given is complete (or the wait is over). */
int op_step(struct op *op, struct fab_batch **next);

/* Begin a child that works on own_rq; NULL: no memory. op->child is set. */
struct op *op_child(struct op *op, uint8_t kind, const void *key, size_t klen);

int op_goto(struct op *op, op_state *next);
int op_end(struct op *op, int status);
int op_post(struct op *op, uint32_t n, op_state *next); /* op->ops[0..n-1] */

/* Wait a little, longer each time, with dice; or end with -ETIMEDOUT. */
int op_sleep(struct op *op, op_state *next);
/* Wait for another view (the shard is being rebuilt, a node failed). */
int op_park(struct op *op, op_state *next);
bool op_late(struct op *op);
/* Since it waited first. */
uint64_t op_waited_ns(struct op *op);
/* The clock, at most one slice on: for calls that block inside a view. */
uint64_t op_slice(struct op *op);

/* Find the shard's host. OP_AGAIN: go on; else return it. @again: the state
 * after a wait. */
int op_locate(struct op *op, op_state *again);

/* True if the shard is not where op_locate() found it any more. */
bool op_moved(struct op *op);

/* The record's fate is decided. */
void op_release(struct op *op);
/* The key is another's to claim: alone.h. */
void op_yield(struct op *op);

/* The first bad status of ops[from..to-1], or 0; its node is reported. */
int op_failed(struct op *op, uint32_t from, uint32_t to);

/* Room for @len bytes. Errors: -ENOMEM. */
int op_room(char **buf, size_t *cap, size_t len);

static inline uint64_t op_slot_off(const struct op *op, uint64_t slot)
{
	return op->base + slot * sizeof(struct slot);
}

/* Fill ops[at], ops[at + 1]: read both combined buckets. */
void op_read_pairs(struct op *op, uint32_t at);

/* --- find.c, fetch.c ------------------------------------------------------ */

/* Find the key; op->seen, which is decided (C5). Goes on in @then. It must not
 * have a record written, as it may wait. */
int op_find(struct op *op, op_state *then);
/* The same, decided or not: see op_undecided(). */
int op_look(struct op *op, op_state *then);
/* The same, both pairs just read. */
int op_find_read(struct op *op, op_state *then);
/* Begin again to find what was being found. */
op_state op_find_again;

/* op->seen is what @e tells: decided, and to be found so in the slot. */
void op_take_cached(struct op *op, const struct cache_entry *e);

/* Read the record that op->seen.{slot,word,hint} name into op->rd, verify it,
 * compare its key; op->fetched, op->seen. Goes on in @then. */
int op_fetch(struct op *op, op_state *then);

/* --- decide.c: what is not decided is waited for -------------------------- */

/* An operation that goes on with nothing new for more than this share of its
 * time may have been taken for one that gave up (C6). */
#define DECIDE_SHARE	2u
#define DECIDE_SHARE_OF 3u

/* op->seen says PENDING, and that matters. */
bool op_undecided(const struct op *op);
/* From find: wait until that is decided, see to it; then find again. */
int op_decide(struct op *op);

/* --- commit.c: write a record, swing a slot to it ------------------------- */

/* Take space, write a record of (op->type, rq's value, @version) and swing
 * op->seen's slot from its word to it. Ends the operation with 0, or, when the
 * slot was another by then, goes on in @lost. */
int op_commit(struct op *op, uint64_t version, op_state *lost);

/* Pieces of it, for insert.c. */

/* Take space if it has none, encode, fill ops[at...]; *n: how many. OP_AGAIN:
 * done; else return it. @again: the state after a wait. */
int op_record(struct op *op, uint64_t version, uint32_t at, uint32_t *n,
	      op_state *again);
/* Fill ops[0...]: all its copies say COMMITTED; how many. */
uint32_t op_fill_committed(struct op *op);
/* They may; the last of the batch moved the hint. Ends. */
op_state op_said;
/* The version of what follows op->seen, which is there. */
uint64_t op_version_after(const struct op *op);
/* The record is written: swing op->seen's slot to it. */
int op_swing(struct op *op, op_state *lost);
/* Slot op->mine names it (its hint was op->hint): say so, end. */
int op_won(struct op *op);
/* It lost: say so in it, give up its space. */
int op_kill(struct op *op, op_state *then);
/* A node failed in the middle: wait for a view, find out who won. */
int op_unsure(struct op *op, op_state *lost);
/* The same, the view being new already. */
int op_find_out(struct op *op, op_state *lost);

/* --- starts, one a kind --------------------------------------------------- */

op_state get_start; /* get.c */
op_state get_again;
op_state put_start; /* put.c: put, put_if, del */
op_state put_again;
op_state insert_start; /* insert.c */
op_state insert_resume;
op_state resolve_start; /* intent.c */
op_state move_start;	/* move.c */

/* get.c: the end, with a value. */
int op_get_end(struct op *op, const void *val, uint32_t len, uint64_t version);

#endif
