/* kv/node/coord.h - the coordinator: who is a member of the pool, and which
 * view holds. Never on the data path; its loss stops nothing while nothing
 * else fails.
 *
 *   a node dies:  epoch + 1 (node DOWN, its shards REBUILDING elsewhere)
 *     -> told to all nodes and clients (VIEW, answers to WATCH)
 *     -> every client acks by watching from the new epoch, or is fenced
 *        (kill -9, its death waited for) after lease_ms; after half a second
 *        if it is stopped
 *     -> REBUILD to the new host of each shard -> epoch + 1 (SETTLING)
 *     -> acked by every client, as above -> epoch + 1 (SERVING)
 *   a new process took its id: epoch + 1 (COMING), acked by all as above
 *     -> RESTORE to it until it says done -> epoch + 1 (UP)
 *     -> epoch + 1: its own shard REBUILDING there, from its present host
 *   another death in between: begins again, with all that is to be rebuilt
 *   a client joins or leaves: epoch + 1 (the count of clients)
 *   a node that does not answer, though it lives, is ended: coord_ping.c
 *
 * Over several hosts (@remote) nobody can be ended: clients are fenced by the
 * nodes (coord_nodefence.c) and hold themselves meanwhile (kv/client/lease.h),
 * nodes are dead after two leases of silence, and everybody cuts them before
 * he is in the view that says so. With a @store nothing is told before it is
 * there, and the next coordinator goes on from it (coord_store.c).
 *   a client dies: also ORPHANS to all nodes, which close its open blocks
 *
 * Threads: CALLs are served in its server's thread, the rest is done in one
 * thread of its own, which never waits for anyone in particular. The functions
 * below may be called from any thread, open and close once. Callbacks come
 * from the coordinator's threads and must not call coord_close(). */
#ifndef ACESO_KV_NODE_COORD_H
#define ACESO_KV_NODE_COORD_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kv/kv.h"
#include "kv/layout.h"
#include "kv/view.h"
#include "rdma/fabric.h"

#define COORD_LEASE_MS	 2000u
#define COORD_DURABLE_MS 5000u
#define COORD_SETTLE_MS	 (KV_OP_TIMEOUT_MS + 2000u)

struct coord;
struct viewstore; /* kv/node/viewstore.h */

/* What a pool with a directory must not forget. Written, fixed-width, into
 * its pool file (kv/FORMAT.md). */
struct coord_counters {
	uint64_t durable; /* the cut that is; 0: none yet */
	uint64_t epoch, index_version;
	uint32_t next_client;
	uint32_t slot; /* which file of each node holds that cut */
};

struct coord_opts {
	const char *pool;	   /* its name, for people */
	const char *transport;	   /* "shm", ...: likewise */
	struct layout_super super; /* uuid, secret, layout are taken */
	const char *address;	   /* where clients find it */
	/* All of the pool's coordinators, as kv_opts.pool, for people. Copied.
	 * NULL: it alone */
	const char *coords;
	uint32_t readers;	   /* fab_server_opts.readers */
	const struct fab_key *key; /* the pool's; NULL: none. Copied */
	/* of the layout.group.nodes nodes, by id. NULL: they report themselves
	 * (PROTO_COME), and there is no view until all have: coord_form.c */
	const char *const *node_address;
	const int32_t *node_pid;
	uint32_t lease_ms; /* 0: COORD_LEASE_MS */
	/* Longer than any operation of a client takes; only sweeping waits for
	 * it. 0: COORD_SETTLE_MS */
	uint32_t settle_ms;
	bool threads; /* false: the caller calls coord_work() */

	/* Nodes and clients are of other hosts: a connection that breaks is no
	 * death. The callbacks that end processes are not asked then. */
	bool remote;
	/* What it must not forget; the caller's, until it has closed. If there
	 * is something in it, @node_address may be NULL. NULL: none. */
	struct viewstore *store;
	/* Another leads: this one tells nothing any more, and is to be closed.
	 */
	void (*on_deposed)(void *arg);
	/* Nodes of the view listen by RDMA, and no device of this host leads
	 * there (which it has said): another is to lead. Likewise; and again
	 * with each attempt. */
	void (*on_no_way)(void *arg);

	/* A pool with a directory: makes durable checkpoints (see
	 * coord_durable.c) when something changed, at most every @durable_ms,
	 * and at once when asked. */
	bool persistent;
	const char *dir;		/* it, for people; may be NULL */
	uint32_t durable_ms;		/* 0: COORD_DURABLE_MS */
	struct coord_counters counters; /* to go on from; zeros: a new pool */
	/* Make @at the pool's durable state: what a restart goes by. 0 when it
	 * is on the disk; else it is tried again. Any thread, one at a time. */
	int (*commit)(void *arg, const struct coord_counters *at);
	/* The next commit, if any, is about the nodes as they are now: should
	 * one die and be replaced before it, that does not count. NULL: fine */
	void (*on_cut)(void *arg);

	/* Opens the net over which it reaches the nodes. */
	int (*net)(void *arg, struct fab_net **out);
	void *arg; /* for all of these; the ones below may be NULL */
	/* Node @id is suspected. True: its process lives. False only when it is
	 * certain that it is dead. NULL: a broken connection is taken as death.
	 */
	bool (*node_is_alive)(void *arg, uint32_t id);
	/* Node @id does not answer though it lives: end it (kill -9), wait
	 * until it is dead, return 0; else it is tried again. */
	int (*kill_node)(void *arg, uint32_t id);
	/* The same for a client that did not adopt a view in lease_ms. */
	int (*kill_client)(void *arg, int32_t pid);
	/* Node @id, or that client, is a stopped process (SIGSTOP): it will not
	 * answer however long it is waited for. */
	bool (*node_is_stopped)(void *arg, uint32_t id);
	bool (*client_is_stopped)(void *arg, int32_t pid);
	/* Could kill_client() end this process? Who could not be fenced is not
	 * let in. Quick: called in the server's thread. */
	bool (*may_end_client)(void *arg, int32_t pid);
	/* The last client of at least one has left or died. */
	void (*on_last_client_gone)(void *arg);
	void (*on_view)(void *arg, const struct view *v); /* a new view holds */
};

/* Attach to all nodes that are known and serve. Errors: those of
 * fab_net_attach() and fab_server_open(); -EINVAL; -ENOMEM. */
int coord_open(const struct coord_opts *opts, struct coord **out);

/* Hang up on everyone and free; nodes are not told to stop. NULL is fine. */
void coord_close(struct coord *c);

/* Node @id is dead, for certain (the supervisor saw it). */
void coord_node_died(struct coord *c, uint32_t id);

/* A new process serves as node @id at @address, with zeroed memory: it is let
 * in when the death of the last one has been dealt with. After
 * coord_node_died(), and again after each. */
void coord_node_came(struct coord *c, uint32_t id, const char *address,
		     int32_t pid);

/* Ask every node that is up to end (PROTO_STOP), waiting at most @timeout_ms
 * for their answers. */
void coord_stop_nodes(struct coord *c, uint32_t timeout_ms);

/* Make durable all that was acknowledged before, with or without clients.
 * Returns the number of the checkpoint that will have it (0: the pool is not
 * persistent): it, or a later one, can be waited for in pieces.
 * Errors of waiting: -ETIMEDOUT not yet; -EIO never, too much is lost;
 * -ECANCELED the coordinator closes. */
uint64_t coord_persist(struct coord *c);
int coord_persist_wait(struct coord *c, uint64_t number, uint32_t timeout_ms);

void coord_view(struct coord *c, struct view *out);
unsigned coord_clients(struct coord *c);

/* How the last durable checkpoint went, for tests and the status. */
struct coord_durable_stats {
	uint64_t number;    /* of it; 0: none */
	uint64_t age_ns;    /* since its cut */
	uint64_t frozen_ns; /* how long clients held still for it, at most */
	uint64_t took_ns;   /* from its cut until it was durable */
	uint64_t done, failed;
	uint64_t restored; /* bytes, of nodes that must be UP before the next */
	bool under_way;	   /* not: it failed, and is tried again later */
};
void coord_durable_stats(struct coord *c, struct coord_durable_stats *out);

/* The answer to PROTO_STATUS: JSON, see docs/status.md; free() it. Waits for
 * the nodes' numbers, shortly. Without threads: from within a fiber or so, as
 * it blocks while others must run. Errors: -ENOMEM, -ETIMEDOUT. */
int coord_status(struct coord *c, char **json);

/* Without threads: do what can be done now, never blocking. Returns 1 if there
 * was something; *again_ns as of node_work(). */
int coord_work(struct coord *c, uint64_t *again_ns);
/* Likewise, if @remote, in a fiber of its own, as it may block: attach again to
 * a node whose connection broke. */
int coord_link_work(struct coord *c);

#endif
