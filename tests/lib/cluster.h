/* tests/lib/cluster.h - a whole pool in one process: nodes, coordinator and
 * clients, for integration tests.
 *
 *   CLUSTER_SIM  on tests/lib/sim: one thread, virtual time, all from a seed.
 *                Nodes and the coordinator are fibers; so is the test's own
 *                code (see cluster_run()).
 *   CLUSTER_SHM  on real shared memory and sockets, with real threads.
 *
 *	static void test_body(struct cluster *c, void *arg)
 *	{
 *		struct kv *kv = cluster_client(c);
 *		assert_int_equal(kv_put(kv, "a", 1, "b", 1, NULL), 0);
 *		cluster_kill_node(c, 3);
 *		cluster_settle(c);		// all shards serve again
 *		...
 *	}
 *	...
 *	cluster_run(&(struct cluster_opts){ .mode = CLUSTER_SIM, .seed = 7 },
 *		    test_body, NULL);
 *
 * Failures of the cluster itself (not of operations) abort the test by
 * cmocka's fail(). */
#ifndef ACESO_TESTS_LIB_CLUSTER_H
#define ACESO_TESTS_LIB_CLUSTER_H
#include <stdbool.h>
#include <stdint.h>

#include "kv/kv.h"
#include "kv/node/coord.h"
#include "kv/node/node.h"

struct cluster;
struct mem_disk; /* tests/lib/mem_store.h */
struct sim;

enum cluster_mode { CLUSTER_SIM, CLUSTER_SHM };

struct cluster_opts {
	enum cluster_mode mode;
	uint64_t seed; /* SIM */
	/* SHM: over TCP with this key instead, on loopback; NULL: not */
	const struct fab_key *key;
	const char *rdma;     /* with @key: nodes over verbs at this address */
	uint32_t nodes, k, m; /* 0: 5, 3, 2 */
	uint64_t usable;      /* 0: 32 MiB */
	uint32_t block_bytes; /* 0: 64 KiB */
	uint64_t slots;	      /* 0: 4096 */
	uint32_t clients;     /* of layout_shape; 0: 8 */
	uint32_t lanes;	      /* of each client; 0: 1 in SIM, 2 in SHM */
	uint32_t lease_ms;    /* 0: the default */
	uint32_t settle_ms;   /* of coord_opts; 0: the default */
	uint32_t ckpt_ms;     /* of node_opts; 0: no checkpoints */
	uint32_t rest_ms;     /* of node_opts; 0: sealed is folded at once */
	/* of coord_opts; NULL: late clients cannot be ended */
	int (*kill_client)(void *arg, int32_t pid);
	void *kill_arg;
	uint32_t op_timeout_ms; /* 0: the default */
	uint64_t cache_bytes;	/* 0: the default */
	uint32_t slow_permille; /* SIM: as of sim_opts */
	uint64_t down_ns;	/* SIM: likewise */
	bool mapped;		/* SIM: likewise */
	uint64_t respawn_ns;	/* SIM: dead nodes are replaced after; 0: no */
	/* As of coord_opts: nobody sees who dies, clients are fenced by nodes;
	 * and (SIM) what the coordinator keeps; NULL: nothing. */
	bool remote;
	struct mem_disk *store;
	/* A pool with durable checkpoints: where node @id keeps its own, and
	 * its memory, which the caller gives and has zeroed or restarted
	 * (@keep). NULL: none. */
	const struct disk *(*disk)(void *arg, uint32_t id, void **region);
	int (*commit)(void *arg, const struct coord_counters *at);
	void *disk_arg;
	bool keep;
	struct coord_counters counters;
	uint32_t durable_ms;
	/* SHM: what nodes and the coordinator go by is put around the net that
	 * they would have, which then belongs to *@out. NULL: nothing. */
	int (*wrap)(void *arg, struct fab_net *inner, struct fab_net **out);
	void *wrap_arg;
};

/* rest_ms as @seed says: at once, or after a moment, or longer than the world
 * lasts, so that deaths meet blocks in all states. */
uint32_t cluster_rest_ms(uint64_t seed);

/* Build a pool, run @body, take the pool down. In SIM @body runs in a fiber
 * and may block in store operations. */
void cluster_run(const struct cluster_opts *opts,
		 void (*body)(struct cluster *c, void *arg), void *arg);

/* Or by hand, when cluster_run() does not fit: */
struct cluster *cluster_open(const struct cluster_opts *opts);
void cluster_close(struct cluster *c); /* clients first, if still open */

/* SIM: run another actor beside @body; cluster_join() waits for all of them.
 * SHM: likewise, in a thread. */
void cluster_spawn(struct cluster *c, void (*fn)(void *arg), void *arg);
void cluster_join(struct cluster *c);

/* A new client of the pool (at most 16), closed by cluster_close() if not
 * before. In SIM without background threads: the cluster runs kv_background().
 */
struct kv *cluster_client(struct cluster *c);
void cluster_client_close(struct cluster *c, struct kv *kv);
/* SIM only: it stops dead, its next remote operation included, and is known to
 * be dead by the coordinator. The kv must not be used any more (operations in
 * other fibers end with an error); memory is freed by cluster_close(). */
void cluster_client_kill(struct cluster *c, struct kv *kv);
/* The net under a client, for tests that wrap or count (faulty.h). */
struct fab_net *cluster_client_net(struct cluster *c, struct kv *kv);

/* SIM: the node stays as it is, but answers nothing any more. */
void cluster_hang_node(struct cluster *c, uint32_t id);
/* SIM: the coordinator is gone; nothing else is. */
void cluster_kill_coord(struct cluster *c);
/* Another takes its place, and goes on from the store. */
void cluster_start_coord(struct cluster *c);
/* The node is gone, with its memory. The coordinator is told, if there is one
 * and it is not remote. */
void cluster_kill_node(struct cluster *c, uint32_t id);
/* A new one, with zeroed memory, takes the place of a node that was killed. The
 * coordinator is told. */
void cluster_replace_node(struct cluster *c, uint32_t id);
/* SIM, remote: a node that was given up learns that, and comes back with what
 * is in its memory. */
void cluster_return_node(struct cluster *c, uint32_t id);
/* SIM: from now on dead nodes are replaced after @ns; 0: they stay dead. Only
 * if respawn_ns was not 0 at the beginning. */
void cluster_respawn(struct cluster *c, uint64_t ns);
/* Wait (virtual or real time) until every shard serves again, every node has
 * folded what it had to, and those that were replaced (or are to be, by
 * respawn_ns) are UP and serve their own shards. Fails after 30 s. */
void cluster_settle(struct cluster *c);
/* The same while clients write: what is young rests (ec/fold.h), so there is
 * always something that is not folded yet. */
void cluster_settle_at_work(struct cluster *c);
void cluster_sleep(struct cluster *c, uint64_t ns);

struct node *cluster_node(struct cluster *c, uint32_t id); /* NULL: killed */
void *cluster_region(struct cluster *c, uint32_t id);
const struct layout *cluster_layout(struct cluster *c);
const struct layout_super *cluster_super(struct cluster *c);
struct coord *cluster_coord(struct cluster *c);
struct sim *cluster_sim(struct cluster *c); /* NULL in SHM */
/* SHM: where the coordinator is, for kv_open(); and node @id. */
const char *cluster_address(struct cluster *c);
const char *cluster_node_address(struct cluster *c, uint32_t id);

#endif
