/* tests/lib/space_pool.h - nodes without kv/node: a region and a struct alloc
 * each, all in this process, and a fabric that executes at once; for tests of
 * a client's space and pages. Time passes only in fab_now() and fab_sleep();
 * while one sleeps the nodes fold.
 *
 * Threads: any may use the client; calls to the nodes are one at a time. */
#ifndef ACESO_TESTS_LIB_SPACE_POOL_H
#define ACESO_TESTS_LIB_SPACE_POOL_H
#include <pthread.h>
#include <stdatomic.h>

#include "ec/alloc.h"
#include "ec/fold.h"
#include "kv/client/client.h"
#include "kv/proto.h"
#include "rdma/fabric_impl.h"

struct space_pool {
	struct fab_net net; /* first */
	struct layout layout;
	struct code *code;
	void *region[FAB_NODES_MAX];
	int fd[FAB_NODES_MAX];
	struct alloc *a[FAB_NODES_MAX];
	struct view view;
	struct kv kv;
	struct client client;
	pthread_mutex_t lock; /* of the allocs, during a CALL */
	_Atomic uint64_t now;
	_Atomic uint64_t up;   /* nodes that answer */
	_Atomic uint64_t hung; /* nodes that let everything time out */
	_Atomic uint32_t ops, calls[64];
	bool no_fold; /* sleeping does not fold */
	/* Before each operation: 0, or the status it fails with, not done. */
	int (*before)(struct space_pool *p, const struct fab_op *op);
	/* While one sleeps, beside folding. */
	void (*asleep)(struct space_pool *p);
	void *arg;
};

struct spool_shape {
	uint32_t nodes, k, m; /* 0: 5, 3, 2 */
	uint64_t usable;      /* 0: 4 MiB */
	uint32_t block_bytes; /* 0: 64 KiB */
	uint32_t reserve;     /* blocks of each node, for urgent asks */
	uint32_t lanes;	      /* 0: 1 */
	uint32_t clients;     /* of layout_shape; 0: 8 */
};

/* The pool and one client on it, whose space is open. */
void spool_open(struct space_pool *p, const struct spool_shape *shape);
void spool_close(struct space_pool *p); /* the client leaves first */

/* The calling thread's context, now on lane @lane. */
struct kv_thread *spool_thread(struct space_pool *p, uint32_t lane);

/* Node @id answers no more (its memory is overwritten); the view knows. */
void spool_kill(struct space_pool *p, uint32_t id);
void spool_adopt(struct space_pool *p); /* that view: client and nodes */

/* The record of (stripe, role) at @node, which is a member. */
struct block_rec spool_rec(struct space_pool *p, uint32_t node, uint64_t stripe,
			   uint32_t role);
uint32_t spool_node(struct space_pool *p, uint64_t stripe, uint32_t role);
void *spool_mem(struct space_pool *p, fab_addr addr);

void spool_fold(struct space_pool *p);	     /* until nothing is left */
unsigned spool_retire(struct space_pool *p); /* all victims; how many */

#endif
