/* kv/node/durable.h - private to the node: its part in durable checkpoints.
 *
 *   CUT n     all clients hold still: what the node knows of blocks, and the
 *             index shards it hosts, are copied in memory. Milliseconds.
 *   STORE n   in the background: the region is synced, then the cut is written
 *             to the file that does not hold the last durable one; answered
 *             when both are on the disk.
 *   a view with durable n: older cuts need no block any more.
 *
 * Threads: the first three locked, in the server's thread. */
#ifndef ACESO_KV_NODE_DURABLE_H
#define ACESO_KV_NODE_DURABLE_H
#include "kv/node/node_impl.h"

int durable_open(struct node *n);
void durable_close(struct node *n); /* waits for what is being written */

/* Make cut @number. Errors: -EINVAL no disk; -EBUSY one is being written;
 * -ENOMEM. */
int durable_cut(struct node *n, uint64_t number);

/* Write cut @number to file @slot (0, 1); @rq is answered at the end. Errors:
 * -ESTALE it is not the last one made; -EBUSY. */
int durable_store(struct node *n, struct fab_request *rq, uint64_t number,
		  uint32_t slot);

/* A view was adopted in which cut @number is the newest durable one. */
void durable_view(struct node *n, uint64_t number);

/* A slice of the worker's, for nodes without threads. */
int durable_work(struct node *n, uint64_t *again);

#endif
