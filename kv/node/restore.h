/* kv/node/restore.h - a node that is COMING gets its blocks back: what the
 * coordinator asks for and how it goes; the work itself is ec/rebuild.
 *
 * It shares the worker with folding, a slice at a time. While clients are busy
 * here it leaves most of the time to them; opts.restore_bytes bounds it
 * altogether. If the view changes (another node dies or comes) it goes on with
 * those that are up then. */
#ifndef ACESO_KV_NODE_RESTORE_H
#define ACESO_KV_NODE_RESTORE_H
#include <stdint.h>

#include "kv/proto.h"

struct node;
struct rebuild_progress;

int restore_open(struct node *n); /* -ENOMEM */
void restore_close(struct node *n);

/* In the server's thread, the node's lock held: */

/* Begin if it has not begun; how far is it? Asked again and again. A node that
 * is UP is done. Errors: -EAGAIN this node has no such view yet; -EINVAL it is
 * no member. */
int restore_ask(struct node *n, const struct proto_restore *rq,
		struct proto_restored *out);
/* Somebody waits for this block. */
void restore_want(struct node *n, const struct proto_want *rq);
/* A client asked something of this node: it is not idle. */
void restore_busy(struct node *n);

/* What was done so far. Locked. */
void restore_sum(struct node *n, struct rebuild_progress *out);

/* In the worker, as the slices of node_impl.h. */
int restore_work(struct node *n, uint64_t *again);

#endif
