/* kv/node/coord_impl.h - private to kv/node/coord*.c: what they share.
 *
 * One lock guards the state. The server's thread (coord_serve.c) changes it in
 * short handlers; the coordinator's own thread goes through the steps below,
 * over and over, each of which looks at the state and does what follows from
 * it now. No step waits: CALLs to nodes are put in the outbox, posted without
 * the lock, and their ends handled when they come. Callbacks of the opts are
 * called without the lock too. */
#ifndef ACESO_KV_NODE_COORD_IMPL_H
#define ACESO_KV_NODE_COORD_IMPL_H
#include <jansson.h>
#include <pthread.h>
#include <sys/queue.h>

#include "kv/node/coord.h"
#include "kv/node/viewstate.h"
#include "kv/node/viewstore.h"
#include "kv/proto.h"

#define COORD_NEVER    UINT64_MAX
#define COORD_MS       UINT64_C(1000000)
#define COORD_RETRY_NS (20 * COORD_MS) /* what failed is tried again after */
#define COORD_POLL_NS  (10 * COORD_MS) /* to look around while CALLs are out */
#define COORD_STATS_NS (1000 * COORD_MS)
/* Closing: for what is out to end. */
#define COORD_LONG_NS (600000 * COORD_MS)
/* A rebuild or a sweep may take as long as there is memory to read: it is asked
 * for again and again, so that a message lost costs no more than this. */
#define COORD_ASK_NS (500 * COORD_MS)
/* How a restore goes is asked after this, then later and later. */
#define COORD_RESTORE_NS     (2 * COORD_MS)
#define COORD_RESTORE_MAX_NS (10 * COORD_MS)
/* So many views in a row that a node does not answer, and it is ended. */
#define COORD_STRIKES 3u
/* Every node is asked so often whether it answers, while there are clients; the
 * question is asked again after so long without an answer. */
#define COORD_PING_NS	   (250 * COORD_MS)
#define COORD_PING_LATE_NS (500 * COORD_MS)
/* After so much silence a process that is stopped is ended; one that runs may
 * just be slow, and gets twice the lease. */
#define COORD_SILENT_NS (750 * COORD_MS)
#define COORD_DOUBT_NS	(150 * COORD_MS) /* it may be silent too */
/* The coordinator itself was not there for so long: no one else's fault. */
#define COORD_AWAY_NS (200 * COORD_MS)
/* A late client that is stopped is ended after so long, one that runs after
 * its lease. */
#define COORD_STOPPED_NS (500 * COORD_MS)
/* Who is to find another coordinator has so many leases, as some of those that
 * it tries may be hosts that do not answer. */
#define COORD_REJOIN_LEASES	 4u
#define COORD_LATE_MAX		 64u /* clients looked at in one step */
#define COORD_SWEEP_EVERY_NS	 (10000 * COORD_MS)
#define COORD_SWEEP_EVERY_MAX_NS (600000 * COORD_MS)

/* A CALL to a node. Freed when its end was handled. */
struct coord_call {
	struct fab_op op;
	struct fab_batch batch;
	uint32_t node;
	uint32_t life; /* of the node, when it was asked */
	uint64_t tag;  /* the asker's: a generation, a shard, an owner */
	uint64_t timeout_ns;
	/* Locked. @status: the CALL's, or -EPROTO for an answer of another
	 * size. */
	void (*end)(struct coord *c, struct coord_call *call, int status);
	TAILQ_ENTRY(coord_call) link;
	union {
		struct proto_stats stats;
		struct proto_rebuilt rebuilt;
		struct proto_swept swept;
		struct proto_restored restored;
	} reply;
	union {
		struct proto_view_set *view; /* too large for the union */
		struct proto_rebuild rebuild;
		struct proto_orphans orphans;
		struct proto_sweep sweep;
		struct proto_restore restore;
		struct proto_cut cut;
		struct proto_fence fence;
	} req;
};
TAILQ_HEAD(coord_calls, coord_call);

struct coord_client {
	uint32_t id;
	int32_t pid;
	uint64_t acked;	       /* epoch */
	struct fab_peer *peer; /* NULL: away; remote ones only */
	/* JOIN, to be answered when it is stored; NULL: it was. */
	struct fab_request *join;
	struct fab_request *watch;	   /* to be answered; NULL: none */
	uint64_t watch_epoch, watch_until; /* until: 0 not begun */
	uint32_t watch_ms;
	uint64_t fence_at; /* it could not be ended: not tried before */
	bool stuck;	   /* likewise; until it adopts the view */
	/* coord_nodefence.c: */
	uint64_t away_until; /* then it is fenced; 0: not away, or not seen */
	bool restored;	     /* and was not heard from since */
	bool fenced;	     /* for good; and known to the store: */
	bool fence_stored;
	uint64_t fence_untold, fence_out; /* bit n: is to be told; is being */
	uint64_t fence_again;		  /* not told again before */
	uint64_t fence_over;		  /* then it is dead; 0: not all told */
	char what[64];
	TAILQ_ENTRY(coord_client) link;
};
TAILQ_HEAD(coord_clients_head, coord_client);

struct coord_node {
	char address[PROTO_ADDRESS_BYTES];
	int32_t pid;
	char host[PROTO_WORDS_BYTES]; /* "": this one */
	char why[PROTO_WORDS_BYTES];  /* it is reached as it is; or "" */
	uint64_t acked;		      /* epoch of the view that it goes by */
	bool telling;		      /* a VIEW is on its way */
	bool pinging;	  /* is being asked whether it answers at all */
	uint64_t ping_at; /* no PING before */
	uint64_t silent;  /* since when it owes an answer; 0: it does not */
	bool spared;	  /* silent, and not ended: too much is gone */
	uint64_t tell_at; /* no VIEW before */
	uint64_t look_at; /* not looked at, as a suspect, before */
	unsigned strikes; /* VIEWs without an answer, in a row */
	uint32_t life;	  /* how many processes had this id before */
	struct proto_stats stats; /* the last that were had */
	/* A new process waits to be let in: coord_node_came(). */
	bool came;
	char came_address[PROTO_ADDRESS_BYTES];
	int32_t came_pid;
	char came_host[PROTO_WORDS_BYTES], came_why[PROTO_WORDS_BYTES];
	uint64_t came_at; /* not before */
	unsigned came_tries;
	/* COMING: */
	bool restoring;	     /* a RESTORE is out */
	uint64_t restore_at; /* no RESTORE before */
	uint64_t restore_wait;
	struct proto_restored restored; /* the last answer */
	uint64_t rate_at, rate_bytes;	/* when and what it was, a while ago */
	uint64_t rate;			/* bytes a second */
};

/* A client that is gone: whom to tell still, and who is being told. */
struct coord_orphan {
	uint32_t owner;
	uint64_t untold, out; /* bit n */
	uint64_t again_ns;
	TAILQ_ENTRY(coord_orphan) link;
};
TAILQ_HEAD(coord_orphans, coord_orphan);

/* Someone who wants the status. */
struct coord_asker {
	struct fab_request *rq; /* or: */
	char *json;		/* for coord_status() */
	int status;		/* of it; -EINPROGRESS */
	TAILQ_ENTRY(coord_asker) link;
};
TAILQ_HEAD(coord_askers, coord_asker);

enum sweep_state { /* of coord_sweep.c, in this order */
		   SWEEP_IDLE,
		   SWEEP_SNAPSHOT, /* phase 1 is out */
		   SWEEP_WAIT,	   /* for operations that began before it */
		   SWEEP_MARK,	   /* phase 2 is out */
		   SWEEP_ADOPT,	   /* all must be in the new index version */
		   SWEEP_DROP,	   /* phase 3 is out */
		   SWEEP_STOP,	   /* all are told to leave off */
};

/* Which clients there were at some time: those below @next that are not in
 * @in were gone. */
struct coord_ids {
	uint32_t next; /* 0: it is not known who was */
	uint32_t n;
	uint32_t *in; /* owned */
};

struct coord_sweep {
	enum sweep_state state;
	uint64_t up;	  /* under which it began; another: it ends */
	uint64_t round;	  /* of CALLs; late answers are of an older one */
	uint64_t out;	  /* bit n: node n has not answered */
	uint64_t looking; /* bit n: its numbers are asked for */
	bool failed;
	bool begun;	/* since all were told to stop */
	uint64_t at_ns; /* when to go on, or to look whether to begin */
	uint64_t every_ns;
	uint64_t epoch; /* ADOPT: to be acked */
	uint64_t found, dropped;
	uint64_t left;	/* the dead's records that could not be marked now */
	bool death;	/* a client died: there is something to find */
	bool for_death; /* the sweep under way is to find it */
	/* Of whose records nothing is left but what slots name: clients that
	 * were gone when the last sweep began that has ended well. */
	struct coord_ids begun_ids, swept;
};

/* Someone who waits for a durable checkpoint. */
struct coord_waiter {
	struct fab_request *rq; /* or: */
	int status;		/* of coord_persist(); -EINPROGRESS */
	uint64_t need;		/* the cut it waits for, or a later one */
	TAILQ_ENTRY(coord_waiter) link;
};
TAILQ_HEAD(coord_waiters, coord_waiter);

enum durable_state { /* of coord_durable.c, in this order */
		     DURABLE_IDLE,
		     DURABLE_FREEZE, /* clients are to hold still */
		     DURABLE_CUT,    /* CUT is out; they do */
		     DURABLE_STORE,  /* STORE is out; they go on */
		     DURABLE_COMMIT, /* all nodes have it: now the pool file */
};

struct coord_durable {
	enum durable_state state;
	struct coord_counters at; /* committed */
	struct coord_waiters waiters;
	bool changed;	/* since the last cut, a client said */
	bool hurry;	/* now, whenever the last one was */
	bool hurried;	/* the one under way was asked for so */
	uint64_t up;	/* under which it began; another: it fails */
	uint64_t epoch; /* of the frozen view */
	uint64_t out;	/* bit n: node n has not answered */
	uint64_t round; /* of CALLs; late answers are of an older one */
	bool failed;
	uint64_t begun_ns, frozen_ns, cut_ns; /* of the one under way */
	uint64_t next_ns;		      /* not before */
	uint64_t last_cut_ns; /* of the durable one; 0: an earlier life's */
	pthread_t thread;     /* of COMMIT */
	bool threaded;
	bool committed; /* it has ended, with: */
	int status;
	/* Why the last one that was made did not become durable; 0: it did. The
	 * node that could not write, or DURABLE_POOLFILE. */
	int trouble;
	uint32_t trouble_at;
	uint32_t troubles; /* in a row */
	struct coord_durable_stats last;
};
#define DURABLE_POOLFILE UINT32_MAX

struct coord_store {		    /* of coord_store.c */
	struct viewstore *vs;	    /* NULL: there is none */
	struct proto_view_set told; /* what is stored */
	struct viewstate *state;    /* of @next */
	uint8_t *last, *next;	    /* bytes there; being put */
	size_t last_len, next_len;
	pthread_t thread; /* puts */
	bool threaded, putting;
	bool done; /* it has ended, with: */
	int status;
	bool failing; /* and said so */
	uint64_t again_ns;
	_Atomic bool deposed; /* for good */
	bool due;	      /* on_deposed is */
};

struct coord {
	struct coord_opts opts;
	char *pool, *transport, *address, *coords;
	struct fab_server *server;
	struct fab_net *net;
	struct fab *fab; /* of the thread that calls coord_work() */
	pthread_t thread;
	bool threaded;

	pthread_mutex_t lock;
	pthread_cond_t wake, told; /* told: an asker has its answer */
	uint64_t kicks;
	bool stop;
	struct view view; /* the newest; coord_told() */
	bool forming;	  /* there is no view yet: coord_form.c */
	bool anew;	  /* nothing is left of the last one: coord_anew.c */
	bool restored;	  /* goes on from what was stored */
	struct coord_store store;
	/* coord_link.c: bit n: node n is to be attached to again */
	uint64_t link_want;
	_Atomic uint64_t no_way; /* bit n: no RDMA leads to node n; said */
	pthread_cond_t link_wake;
	pthread_t link_thread;
	bool linked;
	struct coord_node node[FAB_NODES_MAX];
	struct coord_clients_head clients;
	LIST_HEAD(, coord_peer) peers; /* connections: coord_serve.c */
	uint32_t next_client;
	uint64_t dead, suspect; /* bit n: reported, to be looked at */
	bool announce;		/* on_view is due */
	bool emptied;		/* on_last_client_gone is due */
	/* All clients and nodes must be in epoch @barrier before anything is
	 * rebuilt; clients that are not by @barrier_at are fenced. */
	uint64_t barrier, barrier_at;
	uint64_t stepped_at;	/* of coord_ping_step() */
	uint64_t rebuild_round; /* grows with each death: late answers */
	uint64_t rebuilding;	/* bit s: a REBUILD of shard s is out */
	uint64_t rebuild_at;	/* not again before */
	/* Images of a shard with a lower note are not used: K3 in rounds.h. */
	uint64_t least[FAB_NODES_MAX];
	struct coord_orphans orphans;
	struct coord_askers askers, asking; /* asking: in this round */
	uint64_t stats_out;		    /* bit n: in this round */
	uint64_t stopping;		    /* bit n: has not answered STOP */
	struct coord_sweep sweep;
	struct {
		uint64_t passes, bytes; /* of PROTO_RETURNED, of this run */
	} returned;
	struct coord_durable durable;
	struct proto_scrub scrub; /* as it was told last */
	struct coord_calls outbox;
	uint32_t calls_out;
};

static inline const struct group *coord_group(const struct coord *c)
{
	return &c->opts.super.layout.group;
}

/* The view that holds for others: the newest that is stored. Locked. */
static inline const struct view *coord_told(const struct coord *c)
{
	return c->store.vs != NULL ? &c->store.told.view : &c->view;
}

static inline void coord_again(uint64_t *again, uint64_t at)
{
	if (at < *again)
		*again = at;
}

void coord_kick(struct coord *c); /* locked */

/* --- coord_call.c --------------------------------------------------------- */

/* Put a CALL in the outbox. Locked. Returns it with op, node, end set, for its
 * request to be filled in; NULL: no memory, try later. */
struct coord_call *coord_call_new(struct coord *c, uint32_t node, uint16_t type,
				  void (*end)(struct coord *,
					      struct coord_call *, int));
/* Post what is in the outbox, handle what has ended; not locked. Waits up to
 * @wait_ns for the first end. */
int coord_calls_run(struct coord *c, uint64_t wait_ns);
/* At the end: wait for those that are out, handle nothing. */
void coord_calls_drop(struct coord *c);

/* --- coord_serve.c -------------------------------------------------------- */

int coord_serve_open(struct coord *c);
/* The server is closed: what on_gone was not called for is freed. */
void coord_serve_close(struct coord *c);
/* Locked: it has left; or it is dead for certain, and what it left is to be
 * swept up. */
void coord_client_gone(struct coord *c, struct coord_client *cl);
void coord_client_died(struct coord *c, struct coord_client *cl);
struct coord_client *coord_client_find(struct coord *c, uint32_t id);
/* It is stored: let it in, if it waits for that. Locked. */
void coord_join_answer(struct coord *c, struct coord_client *cl);
/* Answer watchers who know less, or have waited long enough. Not locked. */
int coord_watch_step(struct coord *c, uint64_t now, uint64_t *again);

/* --- coord_view.c --------------------------------------------------------- */

int coord_attach(struct coord *c, uint32_t id, const char *address);
void coord_view_changed(struct coord *c);	     /* locked */
bool coord_settled(struct coord *c, uint64_t epoch); /* locked: all are in it */
/* Not locked. By ourselves: that says nothing of a process that came after. */
void coord_found_dead(struct coord *c, uint32_t id);
int coord_deaths_step(struct coord *c, uint64_t now, uint64_t *again);
int coord_tell_step(struct coord *c, uint64_t now, uint64_t *again);

/* --- coord_ping.c --------------------------------------------------------- */

int coord_ping_step(struct coord *c, uint64_t now, uint64_t *again);
void coord_ping_now(struct coord *c, uint32_t id); /* not locked */
/* Not locked. End it; true: it is dead. */
bool coord_node_end(struct coord *c, uint32_t id);
bool coord_node_silent(const struct coord *c, uint32_t id, uint64_t now);

/* --- coord_fence.c -------------------------------------------------------- */

int coord_fence_step(struct coord *c, uint64_t now, uint64_t *again);

/* --- coord_nodefence.c ---------------------------------------------------- */

#define COORD_UNHEARD "is not heard from in its lease"

/* Locked: @cl, of another host, is to be kept out for good; @why, for people.
 */
void coord_fence_begin(struct coord *c, struct coord_client *cl,
		       const char *why);
int coord_nodefence_step(struct coord *c, uint64_t now, uint64_t *again);

/* --- coord_store.c -------------------------------------------------------- */

/* Load what is there and go on from it. Errors: those of viewstore_load() and
 * viewstate_read(); -EACCES it is another pool's. */
int coord_store_open(struct coord *c);
void coord_store_stop(struct coord *c);
void coord_store_close(struct coord *c);
int coord_store_step(struct coord *c, uint64_t now, uint64_t *again);
bool coord_is_sure(const struct coord *c); /* it leads, now */
/* Locked: there is a pool to be let in to, and it leads. */
bool coord_is_open(const struct coord *c);
/* Locked: where nodes are, in the view that is told. */
void coord_addresses(const struct coord *c, char to[][PROTO_ADDRESS_BYTES]);

/* --- coord_link.c --------------------------------------------------------- */

int coord_link_start(struct coord *c);
void coord_link_stop(struct coord *c);
void coord_link_want(struct coord *c, uint32_t id); /* not locked */

/* --- coord_rebuild.c ------------------------------------------------------ */

int coord_rebuild_step(struct coord *c, uint64_t now, uint64_t *again);
int coord_orphans_step(struct coord *c, uint64_t now, uint64_t *again);
void coord_orphan_add(struct coord *c, uint32_t owner); /* locked */

/* --- coord_come.c --------------------------------------------------------- */

/* New processes are let in, have their blocks restored, and their shards back.
 */
int coord_come_step(struct coord *c, uint64_t now, uint64_t *again);
/* Locked: nodes that are DOWN or COMING, whose memory is lost. */
unsigned coord_away(const struct coord *c);
/* Locked: all must be in this view before anything else is done. */
void coord_barrier(struct coord *c, uint64_t now);

/* --- coord_form.c --------------------------------------------------------- */

/* Locked: the answer to COME. */
int coord_come(struct coord *c, const struct proto_come *rq,
	       struct proto_came *out);
/* While it is being opened: there are no nodes yet, and no view to tell. */
void coord_form_begin(struct coord *c);
int coord_form_step(struct coord *c); /* not locked */
/* Locked: who came is the node from now on, in a life of its own. */
void coord_came(struct coord_node *node);

/* --- coord_anew.c --------------------------------------------------------- */

int coord_anew_step(struct coord *c); /* not locked */
/* Locked: @rq is of a process that has something of what is lost. */
bool coord_anew_refuses(const struct coord *c, const struct proto_come *rq);
/* Locked: the first view, all of it in the place of the last one. */
void coord_anew_view(struct coord *c, const struct view *last);

/* --- coord_status.c ------------------------------------------------------- */

int coord_status_step(struct coord *c, uint64_t now);
void coord_status_ask(struct coord *c, struct coord_asker *a); /* locked */
void coord_status_drop(struct coord *c); /* at the end: answer all */

/* --- coord_ways.c: locked ------------------------------------------------- */

/* What a peer says, for people. NULL: no memory. */
json_t *coord_said(const char *text, size_t len);
/* Over what the nodes that are there are reached: "tcp"; "tcp and verbs"; "" as
 * long as there is none. NULL: no memory. */
json_t *coord_ways_nodes(const struct coord *c);
/* How node @id is reached; how a client reaches the nodes, whose @way is: put
 * in @o. */
void coord_ways_node(const struct coord *c, uint32_t id, json_t *o);
void coord_ways_client(const struct coord *c, json_t *way, json_t *o);
json_t *coord_ways_coordinators(const struct coord *c);

/* --- coord_recovery.c ----------------------------------------------------- */

/* Locked. The tier that is under way in the whole pool; what node @id, which
 * is COMING, has of it. NULL: no memory. */
struct json_t *coord_recovery_json(const struct coord *c);
struct json_t *coord_coming_json(const struct coord *c, uint32_t id);
/* What it was given back when it took its place; it is up. */
struct json_t *coord_restored_json(const struct coord *c, uint32_t id);

/* --- coord_sweep.c -------------------------------------------------------- */

int coord_sweep_step(struct coord *c, uint64_t now, uint64_t *again);
/* Locked: true if no node has anything of a sweep under way; else all are told
 * to leave off: ask again. */
bool coord_sweep_stopped(struct coord *c);
/* Locked: client @id, which is gone, was so before the last sweep that ended
 * well: struct proto_lived. */
bool coord_sweep_over(const struct coord *c, uint32_t id);
/* Locked: all clients before @next are of before a restart. */
void coord_sweep_past(struct coord *c, uint32_t next);
void coord_sweep_close(struct coord *c);

/* --- coord_durable.c ------------------------------------------------------ */

void coord_durable_open(struct coord *c);
void coord_durable_drop(struct coord *c); /* at the end: answer all */
int coord_durable_step(struct coord *c, uint64_t now, uint64_t *again);
void coord_durable_changed(struct coord *c); /* locked */
/* Locked. Wants a checkpoint whose cut is yet to be made; returns its number,
 * for waiters. @w, with @need and @rq set, is answered when it is durable. */
uint64_t coord_durable_ask(struct coord *c);
void coord_durable_wait(struct coord *c, struct coord_waiter *w);
/* Locked. Somebody waits for the nodes on behalf of a checkpoint; there will
 * never be one again. */
bool coord_durable_waited_for(const struct coord *c);
bool coord_durable_hopeless(const struct coord *c);
/* --- coord_scrub.c: locked ------------------------------------------------ */

/* @works: the asker is the one that scrubs; kept with its connection. */
int coord_scrub(struct coord *c, bool *works, const struct proto_scrub *rq,
		struct proto_scrub *out);
void coord_scrub_gone(struct coord *c); /* who did is gone */
json_t *coord_scrub_json(const struct coord *c);

#endif
