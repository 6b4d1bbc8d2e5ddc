/* kv/node/ahead.h - a thread that takes the memory of the blocks which a
 * rebuild comes to next, so that the worker need not wait for it: half of what
 * a rebuild costs is fresh pages, and a node that comes has a processor to
 * spare for them or its worker is slowed down anyway.
 *
 * Threads: the worker, which owns it. */
#ifndef ACESO_KV_NODE_AHEAD_H
#define ACESO_KV_NODE_AHEAD_H

struct ahead;
struct rebuild;

/* @r must outlive it. Errors: -ENOMEM, -EAGAIN no thread. A rebuild without one
 * is slower and nothing else. */
int ahead_open(struct rebuild *r, struct ahead **out);
void ahead_close(struct ahead *a); /* NULL is fine; waits for a block at most */

/* The rebuild got on: there may be something to do. NULL is fine. */
void ahead_go(struct ahead *a);

#endif
