/* tests/lib/sim_impl.h - private to tests/lib/sim*.c. One thread. */
#ifndef ACESO_TESTS_LIB_SIM_IMPL_H
#define ACESO_TESTS_LIB_SIM_IMPL_H
#include <sys/queue.h>

#include "rdma/fabric_impl.h"
#include "tests/lib/sim.h"

/* --- events: sim.c -------------------------------------------------------- */

struct sim_event {
	uint64_t time, tie, serial; /* what happens first */
	void (*fn)(struct sim *s, void *arg);
	void *arg;
	bool cancelled;
	bool owns_arg; /* free(arg) if it never happens */
};

#define SIM_LINK_NS UINT64_C(10000000) /* a link that is cut is tried again */

struct sim {
	struct sim_opts o;
	uint64_t now, dice, serial, events, hash;
	struct sim_event **heap;
	size_t heap_n, heap_cap;
	size_t cancelled; /* of those in the heap */
	struct fab_listener listener;
	/* Kept until sim_close(), so that late events may look at them. */
	TAILQ_HEAD(sim_fiber_list, sim_fiber) fibers;
	TAILQ_HEAD(sim_server_list, sim_server) servers;
	TAILQ_HEAD(sim_net_list, sim_net) nets;
	TAILQ_HEAD(sim_batch_list, sim_batch) batches;
	TAILQ_HEAD(sim_all_peers, sim_peer) peers;
	struct sim_fiber *current; /* NULL: the scheduler, or the test itself */
	struct sim_sched *sched;   /* sim_fiber.c's own */
	char stuck[512];
	char drop_of[16];
	void (*on_effect)(void *arg, struct fab_net *net);
	void *on_effect_arg;
	bool (*on_link)(void *arg, const char *net, const char *server);
	void *on_link_arg;
};

/* Do fn(s, arg) in @after. The event is the caller's to cancel until it has
 * happened. Never NULL. */
struct sim_event *sim_schedule(struct sim *s, uint64_t after,
			       void (*fn)(struct sim *s, void *arg), void *arg);
void sim_cancel(struct sim *s, struct sim_event *e); /* NULL is fine */
/* When the next event is due; UINT64_MAX if there is none. */
uint64_t sim_next(struct sim *s);
/* A way through the network, one way. */
uint64_t sim_latency(struct sim *s);
/* Something of note has happened: into the hash, and the trace. */
void sim_note(struct sim *s, const char *what, const char *who, uint64_t a,
	      uint64_t b, int64_t c);
/* Outside fibers: let events happen until *done(arg) or it is @until. */
void sim_spin(struct sim *s, bool (*done)(void *arg), void *arg,
	      uint64_t until);
void *sim_alloc(size_t size); /* zeroed; never NULL */

/* --- fibers: sim_fiber.c -------------------------------------------------- */

struct sim_fiber;

int sim_fibers_open(struct sim *s);
void sim_fibers_close(struct sim *s);
/* As sim_spawn(); @daemon: sim_run() does not wait for it. Never NULL. */
struct sim_fiber *sim_fiber_new(struct sim *s, const char *name,
				void (*fn)(void *arg), void *arg, bool daemon);
bool sim_fiber_ended(const struct sim_fiber *f);
/* In a fiber: let others go on until somebody wakes it (or did already). */
void sim_fiber_block(struct sim *s);
void sim_fiber_wake(struct sim *s, struct sim_fiber *f); /* NULL is fine */
/* Wait until done(arg): wherever it is called. Whoever makes it true calls
 * sim_poke(). @until: by the clock; UINT64_MAX. */
void sim_wait_for(struct sim *s, bool (*done)(void *arg), void *arg,
		  uint64_t until);

/* --- servers: sim_server.c ------------------------------------------------ */

struct sim_peer {
	struct fab_peer peer;
	struct sim_server *server;
	struct sim_net *net;
	uint8_t id; /* what the net calls the server */
	bool said;  /* on_hello has answered, and @status is that */
	int status;
	bool accepted;	/* on_hello said 0 */
	bool cut, gone; /* gone: on_gone was called */
	unsigned refs;
	TAILQ_ENTRY(sim_peer) link; /* while accepted and not gone */
	TAILQ_ENTRY(sim_peer) all;  /* in the sim's */
};

enum sim_msg_type { SIM_HELLO, SIM_CALL, SIM_GONE };

struct sim_msg {
	STAILQ_ENTRY(sim_msg) link;
	enum sim_msg_type type;
	struct sim_peer *peer;
	struct sim_op *op; /* CALL: holds a reference to its batch */
	uint16_t call;
	size_t len;
	uint8_t data[];
};

struct sim_server {
	struct fab_server server;
	struct sim *sim;
	struct fab_server_opts o;
	char *address;
	bool dead; /* killed or closed: its region may be gone */
	bool closing, paused;
	struct sim_fiber *fiber;
	STAILQ_HEAD(sim_msg_list, sim_msg) msgs;
	STAILQ_HEAD(sim_late_list, sim_late)
	stalled; /* arrivals while it is paused */
	TAILQ_HEAD(sim_peer_list, sim_peer) peers;
	TAILQ_ENTRY(sim_server) link;
};

struct sim *sim_the_one(void);
int sim_server_open(const struct fab_server_opts *o, struct fab_server **out);
void sim_server_free(struct sim_server *v);
struct sim_server *sim_server_find(struct sim *s, const char *address);
void sim_server_send(struct sim_server *v, struct sim_msg *m);
struct sim_msg *sim_msg_new(enum sim_msg_type type, struct sim_peer *peer,
			    const void *data, size_t len);
/* The net behind @p has gone, or will have in @after. */
void sim_peer_gone(struct sim_peer *p, uint64_t after);
struct sim_peer *sim_peer_new(struct sim_server *v, struct sim_net *net,
			      uint8_t id);
void sim_peer_put(struct sim_peer *p);
/* Do fn(s, arg) when @v is not paused: now, or on resume. */
void sim_arrive(struct sim_server *v, void (*fn)(struct sim *s, void *arg),
		void *arg);

/* --- clients: sim_net.c, sim_op.c ----------------------------------------- */

struct sim_node {
	struct sim_server *server; /* NULL: never attached, or cut */
	struct sim_peer *peer;
	bool up;
};

struct sim_net {
	struct fab_net net;
	struct sim *sim;
	char name[32];
	bool killed, closed;
	void (*down)(void *arg, uint8_t id);
	void *down_arg;
	struct sim_node node[FAB_NODE_COORD + 1];
	TAILQ_ENTRY(sim_net) link;
};

struct sim_fab {
	struct fab fab;
	struct sim_net *net;
};

/* One operation on its way. */
struct sim_op {
	struct sim_batch *batch;
	struct fab_op *op;  /* the poster's; only while !ended */
	struct fab_op copy; /* survives it: a late write takes effect */
	struct sim_server *server;
	uint8_t *data;	 /* WRITE, CALL: a copy of the bytes */
	uint8_t *answer; /* CALL */
	size_t answer_len;
	uint32_t cut; /* where it is split in two; 0: it is not */
	bool tail_first, half_done;
	int status;
	bool ended;  /* completed, from the poster's view */
	bool voided; /* must never take effect any more */
};

/* Freed when the last event that knows it has happened. */
struct sim_batch {
	struct fab_batch *batch; /* NULL once complete */
	struct sim_fab *fab;	 /* only while batch */
	struct sim_net *net;
	struct sim_event *deadline;
	uint64_t failed; /* a bit per node */
	unsigned refs;
	uint32_t n;
	TAILQ_ENTRY(sim_batch) link;
	struct sim_op op[];
};

/* Does anything pass between them now? */
bool sim_passes(const struct sim_net *net, const struct sim_server *v);
/* Is this CALL of @net's, or its answer, lost? */
bool sim_loses(const struct sim_net *net);
int sim_post(struct fab *f, struct fab_batch *b); /* sim_op.c */
void sim_batch_put(struct sim_batch *sb);
void sim_op_end(struct sim_op *o, int status);
/* Operations of @net to @server (NULL: to any) end with @status (0: they do
 * not, yet); @void_: from now on none takes effect, be it only late. */
void sim_ops_end(struct sim_net *net, struct sim_server *server, int status,
		 bool void_);
/* @net learns in @after that @v is dead to it. */
void sim_net_down(struct sim_net *net, struct sim_server *v, uint64_t after);
/* So do all. */
void sim_nets_down(struct sim_server *v);

#endif
