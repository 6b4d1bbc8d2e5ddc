/* tests/lib/sim.h - a simulated cluster: a fabric, a clock and dice from one
 * seed, all in one thread. The same seed gives the same run, to the last
 * operation; sim_hash() says so.
 *
 * Nodes are regions of plain memory. A server opens with fab_server_open() at
 * an address "sim:NAME" once a sim exists (one at a time); a net from
 * sim_net_open() attaches there. Each one-sided operation takes effect at a
 * moment of its own, so batches of several clients interleave at the
 * granularity of single operations; long WRITEs and READs even of parts.
 *
 * Who waits. fab_run(), fab_poll() with a timeout and fab_sleep() let virtual
 * time pass: everything else in the simulation goes on meanwhile.
 *  - In a fiber (sim_spawn) they switch to the others: this is how blocking
 *    code becomes an actor. A server's callbacks run in a fiber of the server
 *    (one at a time), so on_call may wait on the node's own net, too.
 *  - Outside of fibers they run the simulation until theirs is complete.
 *  - fab_poll() without timeout does not move time; sim_step() does: so a test
 *    can step state machines in any order it likes.
 * Never wait while holding a mutex that another fiber may want: there is but
 * one thread. */
#ifndef ACESO_TESTS_LIB_SIM_H
#define ACESO_TESTS_LIB_SIM_H
#include <stdbool.h>
#include <stdint.h>

#include "rdma/fabric.h"

struct sim;

/* Sanitizers take their time: loops over seeds and moments do so much less. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SIM_SLOWNESS 10u
#else
#define SIM_SLOWNESS 1u
#endif

/* How the simulated network behaves. 0 takes the default, in brackets. */
struct sim_opts {
	uint64_t seed;
	uint64_t latency_ns;	/* least, one way [1000] */
	uint64_t jitter_ns;	/* added at random, at most [2000] */
	uint64_t down_ns;	/* from a death until others know [100000] */
	uint32_t slow_permille; /* of operations: 100 x latency */
	uint32_t drop_permille; /* of CALLs or their answers: lost */
	bool whole;		/* never split long READs and WRITEs */
	/* A dead node's memory still takes READs, WRITEs and CASes of those who
	 * have not heard of its death: as memory does that is shared. The node
	 * is not to be replaced before all have. */
	bool mapped;
	bool trace; /* every event, to stderr */
};

/* Errors: -ENOMEM; -EBUSY if there is one already. */
int sim_open(const struct sim_opts *opts, struct sim **out);

/* All fibers have ended, all nets and servers are closed. NULL is fine. */
void sim_close(struct sim *s);

/* --- nodes and clients --------------------------------------------------- */

/* A process's view of the simulated nodes, named for traces. */
int sim_net_open(struct sim *s, const char *name, struct fab_net **out);

/* The server at "sim:NAME" dies: its memory answers no more, CALLs under way
 * end with -EHOSTDOWN, no callback of its is entered again (one that waits
 * finds its own nets dead, if sim_net_kill() was called for them). Everyone
 * who is attached learns of it after down_ns. fab_server_close() it later.
 * False if there is none. */
bool sim_server_kill(struct sim *s, const char *address);

/* Nothing reaches it, until resumed; then all that waited does. */
void sim_server_pause(struct sim *s, const char *address);
void sim_server_resume(struct sim *s, const char *address);

/* The client dies: operations that have not arrived never will, every batch
 * under way and later ends at once, statuses -ECANCELED, so that its code can
 * unwind; its servers' on_gone is called after down_ns. fab_net_close() it
 * later. */
void sim_net_kill(struct sim *s, struct fab_net *net);
bool sim_net_killed(struct fab_net *net);

/* --- time ----------------------------------------------------------------- */

uint64_t sim_now(struct sim *s);
/* The dice of the simulation: 0..n-1. */
uint64_t sim_dice(struct sim *s, uint64_t n);
/* Do the next event. False if there is none. Not in a fiber. */
bool sim_step(struct sim *s);
/* Call @fn(arg) in @after_ns, in no fiber: it must not wait. */
void sim_at(struct sim *s, uint64_t after_ns, void (*fn)(void *arg), void *arg);
/* From now on: as drop_permille of sim_opts, but for CALLs of those nets alone
 * whose names begin with @whose. */
void sim_drop(struct sim *s, uint32_t permille, const char *whose);
/* Call @fn(arg, net) before each remote operation takes effect: @net is whose
 * it is. It may kill, but not wait. NULL: no more. */
void sim_on_effect(struct sim *s, void (*fn)(void *arg, struct fab_net *net),
		   void *arg);
/* From now on fn(arg, net, server) says whether anything passes between a net
 * and a server (of these names) now; asked for each way, when it would be
 * there. What does not pass is lost; that an end has gone is learnt later, when
 * the link is whole again. NULL: everything passes. */
void sim_on_link(struct sim *s,
		 bool (*fn)(void *arg, const char *net, const char *server),
		 void *arg);
/* How many events there were, and a hash of them all, in order. */
uint64_t sim_events(struct sim *s);
uint64_t sim_hash(struct sim *s);

/* --- fibers --------------------------------------------------------------- */

/* Run fn(arg) beside all others, beginning at a moment soon. */
int sim_spawn(struct sim *s, const char *name, void (*fn)(void *arg),
	      void *arg);
bool sim_in_fiber(struct sim *s);
/* Let the others go on for @ns (0: those that are due now). */
void sim_pause(struct sim *s, uint64_t ns);
/* Wait until *word is not 0; whoever sets it calls sim_poke(). */
void sim_wait(struct sim *s, const int *word);
void sim_poke(struct sim *s);

/* Run until every fiber of sim_spawn() has ended. Not in a fiber. Errors:
 * -EDEADLK nothing is left to happen, but fibers wait; -ETIME more than
 * @max_ns of virtual time have passed (0: no limit). */
int sim_run(struct sim *s, uint64_t max_ns);
/* The names of the fibers that have not ended, for a message. */
const char *sim_stuck(struct sim *s);

#endif
