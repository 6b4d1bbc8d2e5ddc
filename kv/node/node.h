/* kv/node/node.h - one memory node: a region of memory that others read and
 * write one-sidedly, and the little that needs its processor: who may use
 * which block, folding deltas into parity, giving space back, and bringing an
 * index shard back that was lost with another node.
 *
 * Threads: a node serves CALLs in its server's thread and works in one thread
 * of its own, which sleeps when there is nothing to do. The functions below
 * may be called from any thread, but open and close once. */
#ifndef ACESO_KV_NODE_NODE_H
#define ACESO_KV_NODE_NODE_H
#include <stdbool.h>
#include <stdint.h>

#include "kv/layout.h"
#include "kv/proto.h"
#include "rdma/fabric.h"

struct node;
struct former;
struct disk; /* kv/node/disk.h */

struct node_opts {
	/* node (this one's id), uuid, secret and layout are taken; the rest is
	 * filled in. */
	struct layout_super super;
	void *region; /* zeroed; layout.size bytes; the caller's */
	bool keep;    /* not zeroed: what restart.h has left there */
	/* Zeroed but for this (ec/former.h); NULL: all of it. The caller's;
	 * outlives the node. */
	struct former *former;
	/* Where durable checkpoints go; NULL: there are none. The caller's. */
	const struct disk *disk;
	int region_fd; /* as from fab_region_open(); -1: none, or not to be used
			* to give memory back (RDMA) */
	const char *address;	   /* where to serve */
	uint32_t readers;	   /* fab_server_opts.readers */
	const struct fab_key *key; /* the pool's; NULL: none. Copied */
	uint64_t instance; /* of this process: kv/hello.h; 0: it has none */
	/* Opens the net over which this node reaches the others (and itself):
	 * fab_shm_open() in effect. The node closes it. */
	int (*net)(void *arg, struct fab_net **out);
	void *arg; /* for the calls below too; each may be NULL */
	/* There was a coordinator or a client, and now there is neither (again
	 * with every change that leaves it so). In the server's thread: do not
	 * close the node from it. */
	void (*on_lonely)(void *arg);
	/* The coordinator asks it to end. Likewise. */
	void (*on_stop)(void *arg);
	/* It was let in to a pool with nodes that listen by RDMA, and no device
	 * of this host leads there (which it has said): it is of no use, and is
	 * to end. In its worker: likewise. */
	void (*on_no_way)(void *arg);
	bool threads; /* false: the caller calls node_work() */
	/* Bytes a second that it reads at most to have its own blocks back;
	 * 0: as many as leave most of the time to clients. */
	uint64_t restore_bytes;
	/* The least time from a checkpoint of a shard to the next; 0: none are
	 * made (but others' are kept). */
	uint32_t ckpt_ms;
	/* How long sealed blocks rest before they are folded (ec/fold.h), if
	 * they are not many; 0: they do not. */
	uint32_t rest_ms;
};
#define NODE_REST_MS 1000u /* rest_ms, where nobody says otherwise */

/* Format the region, or take it as it is, and serve it. Errors: -EINVAL the
 * layout makes no sense or the region is not as was said; those of
 * alloc_open(); those of fab_server_open(); -ENOMEM. */
int node_open(const struct node_opts *opts, struct node **out);

/* Stop serving and free all but the region. NULL is fine. */
void node_close(struct node *n);

/* Without threads: do a slice of the background work, about a millisecond.
 * Returns 1 if there was something, 0 if not; *again_ns (may be NULL) is when
 * to call again by the node's clock at the latest, UINT64_MAX if only when a
 * CALL has come. May block in CALLs to other nodes. */
int node_work(struct node *n, uint64_t *again_ns);

/* True if neither a coordinator nor a client is connected. */
bool node_lonely(struct node *n);

/* What PROTO_STATS answers. */
void node_stats(struct node *n, struct proto_stats *out);

/* The epoch of the view it goes by; 0 before the first. */
uint64_t node_epoch(struct node *n);

#endif
