/* kv/node/node_impl.h - private to the node's files: what they share.
 *
 * Two threads meet here: the server's (serve.c) and the worker (fold, retire,
 * recover, sweep). @lock guards what they share and all calls of ec/alloc.h;
 * it is held for microseconds and never across a fab_ call: in the simulator
 * that would be a deadlock, elsewhere a stall. */
#ifndef ACESO_KV_NODE_NODE_IMPL_H
#define ACESO_KV_NODE_NODE_IMPL_H
#include <pthread.h>
#include <sys/queue.h>

#include "checkpoint/image.h"
#include "ec/alloc.h"
#include "ec/code.h"
#include "kv/node/node.h"

struct restore;	   /* blocks being brought back: restore.c */
struct held;	   /* images of others' shards: held.c */
struct rounds;	   /* images of own shards, sent: rounds.c */
struct recover;	   /* shards being brought back: recover.c */
struct node_check; /* one stripe to look at: check.c */
struct sweep;	   /* tombstones and leftovers: sweep.c */
struct durable;	   /* durable checkpoints: durable.c */

/* Work is cut into slices of about this many bytes. */
#define NODE_SLICE_BYTES (256u * 1024)
/* How long a CALL to another node may take before it is tried again. */
#define NODE_CALL_NS UINT64_C(1000000000)
/* What failed (a peer that is not there yet) is tried again after this. */
#define NODE_RETRY_NS UINT64_C(20000000)
/* Sealed blocks that rest (rest_ms): so many, half of the delta blocks at
 * most. */
#define NODE_REST_BLOCKS 64u
#define NODE_COOL_NS	 UINT64_C(10000000000) /* nothing written for so long */
#define NODE_NEVER	 UINT64_MAX

/* Who is at the other end of a connection: fab_peer_get(). */
struct node_peer {
	uint32_t role; /* enum proto_role */
	uint32_t client;
	uint64_t over; /* its attempts to open blocks up to this have ended */
	struct fab_peer *peer;
	LIST_ENTRY(node_peer) link; /* in the node's peers */
};

/* The one retirement under way: retire.c. */
struct retire {
	bool active, rows;
	bool split; /* a member says these are ROWS no more */
	uint8_t kind;
	uint64_t stripe;
	uint32_t role, life;
	uint64_t up;	   /* under which it was begun, and: */
	uint64_t members;  /* who is to be asked */
	uint64_t again_ns; /* when to ask the others again */
	uint32_t asked;	   /* how often */
};

/* What leaders that died left here, under which set of nodes it was looked for
 * last, and whether that has come to its end: stray.c. */
struct stray {
	uint64_t up;
	bool freed, opened;
	uint64_t again_ns;
};

/* The one block on its way to be opened again, or back: again.c. */
struct again {
	bool active;
	bool back; /* it is being given up */
	uint64_t stripe;
	uint32_t role, life;
	uint64_t up, all;  /* who is, and is a member, by the view it knows */
	uint64_t again_ns; /* when to ask the others again */
	uint32_t asked;
	bool split; /* all data nodes know that it is no ROWS: again.h, A7 */
	struct proto_ready *msg; /* room for one */
};

/* Counting an index shard costs a pass over it: stats.c. */
struct slot_count {
	uint64_t at_ns; /* when; 0: never */
	uint64_t used, tombs;
};

/* A pass that is under way. */
struct slot_pass {
	bool busy;	 /* somebody is at it */
	uint64_t served; /* bit s: shard s is counted */
	uint32_t shard;	 /* the one that is looked at... */
	uint64_t at;	 /* ...from this byte of it on */
	struct slot_count c;
};

struct node {
	struct node_opts opts;
	uint32_t id;
	struct layout_super super;
	struct code *code;
	struct fab_server *server;
	struct fab_net *net; /* to the peers */
	struct fab *fab;     /* the worker's; made in its thread */
	pthread_t thread;
	bool threaded;

	pthread_mutex_t lock; /* of all below, but what a comment exempts */
	pthread_cond_t wake;
	uint64_t kicks; /* reasons to look for work, counted */
	bool stop;
	struct alloc *alloc;
	struct proto_view_set view; /* epoch 0: none yet */
	LIST_HEAD(, node_peer) peers;
	unsigned coords, users; /* connections by role */
	uint32_t *fenced;	/* clients' ids; room for a power of two */
	size_t fenced_n;
	uint64_t clock; /* node_clock() */
	struct recover *recover;
	struct restore *restore;
	struct sweep *sweep;
	struct node_check *check;
	struct durable *durable; /* NULL: no disk */
	struct rounds *rounds;
	struct held *held;
	struct leftover *leftover;
	struct proto_ckpt_stats ckpt;
	uint64_t ckpt_at[FAB_NODES_MAX]; /* when shard n was imaged; 0: not */
	uint64_t rebuild_done, rebuild_total; /* bytes */
	uint32_t reserve;		      /* blocks; set at open */
	struct slot_count count;
	struct slot_pass pass;

	/* the worker's own: */
	uint64_t attached; /* bit n: peer n, at: */
	char peer_address[FAB_NODES_MAX][PROTO_ADDRESS_BYTES];
	uint64_t seen_epoch; /* of the last one that all were attached in */
	uint64_t no_way;     /* bit n: no device of ours leads there; said */
	uint64_t broken;     /* not any more, but at that address still... */
	uint64_t relink_ns;  /* ...and not tried before this... */
	uint32_t relink_id;  /* ...beginning with this one */
	struct retire retire;
	struct stray stray;
	struct again again;
	uint64_t fold_again_ns;
	uint64_t moves; /* of blocks, when last looked; quiet until: */
	uint64_t cool_ns;
};

static inline const struct group *node_group(const struct node *n)
{
	return &n->super.layout.group;
}

/* There is something to do for the worker. Locked. */
void node_kick(struct node *n);

/* The clock of checkpoints, which stamps blocks as they are sealed: rounds.h.
 * Locked. */
uint64_t node_clock(struct node *n);

/* The view's epoch and the nodes up, as of now. */
uint64_t node_view_up(struct node *n, uint64_t *epoch);
/* Those that are UP or COMING: to be told what members are told. */
uint64_t node_view_members(struct node *n);

/* --- serve.c -------------------------------------------------------------- */

int serve_open(struct node *n);
void serve_close(struct node *n);

/* --- fenced.c: in the server's thread, locked ----------------------------- */

/* Cut @client off and refuse it from now on. Errors: -EAGAIN it is refused, but
 * what it sent may still lie here; -ENOMEM; -ENOSPC. */
int fenced_client(struct node *n, uint32_t client);
/* Nodes that are DOWN in n->view are cut off. -EAGAIN likewise. */
int fenced_view(struct node *n);
/* May @p, which says that it is @self, come in? What was there of it is cut
 * off then. Errors: -ESTALE it was fenced, or is not that node any more;
 * -EAGAIN that node is DOWN in n->view. */
int fenced_hello(struct node *n, const struct node_peer *p, uint64_t self);
void fenced_close(struct node *n);

/* --- stats.c ------------------------------------------------------------- */

/* Go on with @p, which only its caller has: look at no more than @most bytes.
 * Returns true when all is counted. */
bool stats_count(const struct node *n, struct slot_pass *p, uint64_t most);

/* --- owned.c: locked ----------------------------------------------------- */

/* Close all that client @owner, which is dead and cut off, left open [I6]. */
int owned_orphans(struct node *n, uint32_t owner);
/* The same for one block here, of which its owner, who lives, has nothing and
 * wants nothing. Not open any more: 0. */
int owned_forsake(struct node *n, const struct proto_seal *rq);
/* What is open here in its name; @out is all zero. */
void owned_list(struct node *n, uint32_t owner, struct proto_owns *out);

/* --- slices of the worker: each returns 1 if it did something, and lowers
 * *again to when it wants to be called again ------------------------------ */

int peers_work(struct node *n, uint64_t *again);
int fold_slice(struct node *n, uint64_t *again);
/* Nobody writes: give memory of free blocks back, a block at a time. */
int cool_slice(struct node *n, uint64_t *again);
int retire_work(struct node *n, uint64_t *again);
int again_work(struct node *n, uint64_t *again);
int stray_work(struct node *n, uint64_t *again);
int recover_work(struct node *n, uint64_t *again);
int sweep_work(struct node *n, uint64_t *again);
int check_work(struct node *n);

static inline void node_again(uint64_t *again, uint64_t at)
{
	if (at < *again)
		*again = at;
}

/* --- marks.c: for the worker ---------------------------------------------- */

struct node_marks {
	struct proto_mark *to[FAB_NODES_MAX]; /* to be sent; NULL: none */
};

/* Mark units obsolete with those of the block's members that are in @up. Sent
 * when there are many, or by node_marks_flush(). Errors: a member could not be
 * told; -EAGAIN one refused, as a block is opened again just now: look at that
 * block again. */
int node_mark(struct node *n, struct node_marks *m, uint64_t up,
	      const struct proto_mark_one *one);
int node_marks_flush(struct node *n, struct node_marks *m);
void node_marks_drop(struct node_marks *m);

/* --- leftover.c: what a dead client's blocks have never held -------------- */

int leftover_open(struct node *n);
void leftover_close(struct node *n);
int leftover_work(struct node *n, uint64_t *again);
/* In the server's thread, locked. A block was closed for a client that is
 * gone. Those whose data is not here are another node's. */
void leftover_note(struct node *n, uint64_t stripe, uint32_t role,
		   uint32_t life, uint8_t kind);
/* Likewise: there may be pages of zeros in it, which somebody names. */
int leftover_zeros(struct node *n, const struct proto_zeros *rq);

int again_open(struct node *n);
void again_close(struct node *n);

/* CALL @id, waiting for the answer. For the worker. */
int peer_call(struct node *n, uint32_t id, uint16_t type, const void *req,
	      uint32_t len, void *reply, uint32_t cap);

/* The nodes that keep a record of (stripe, role) - its data node and the
 * parities - as bits; of ROWS all of the stripe's. */
uint64_t node_members(const struct group *g, uint64_t stripe, uint32_t role,
		      bool rows);
/* The first parity node of @stripe that is in @up; -1: none. */
int node_leader(const struct group *g, uint64_t stripe, uint64_t up);

/* --- recover.c ------------------------------------------------------------ */

int recover_open(struct node *n);
void recover_close(struct node *n);
/* In the server's thread, locked. @rq is answered at the end. To ask again is
 * to be told in place of who asked before; also when it is done, until
 * recover_view() has seen that a view goes by it. */
void recover_ask(struct node *n, struct fab_request *rq, uint32_t shard,
		 uint64_t least);
/* Likewise: n->view is a new one. */
void recover_view(struct node *n);

/* --- rounds.c, held.c: checkpoints ---------------------------------------- */

int rounds_open(struct node *n);
void rounds_close(struct node *n);
int rounds_work(struct node *n, uint64_t *again);
/* Locked. @now: the system's clock, for the age of images. */
void rounds_stats(struct node *n, uint64_t now, struct proto_ckpt_stats *out);

int held_open(struct node *n);
void held_close(struct node *n);
/* In the server's thread, locked. @rq is answered by the worker. */
int held_ask(struct node *n, struct fab_request *rq,
	     const struct ckpt_req *what, uint32_t from);
int held_work(struct node *n);

/* --- sweep.c -------------------------------------------------------------- */

int sweep_open(struct node *n);
void sweep_close(struct node *n);
/* Likewise; @rq is answered when the phase is done. */
int sweep_ask(struct node *n, struct fab_request *rq,
	      const struct proto_sweep *what);
int sweep_keep(struct node *n, const struct proto_keep *keep);

/* --- check.c -------------------------------------------------------------- */

int check_open(struct node *n);
void check_close(struct node *n);
/* Likewise; -EAGAIN while another is under way. */
struct proto_check;
int check_ask(struct node *n, struct fab_request *rq,
	      const struct proto_check *what);

#endif
