/* kv/client/clean.h - where little is free, it is free in pieces: between
 * records that stay there is no room for longer ones. So those of a block of
 * which much is obsolete are written again elsewhere, short ones into pieces,
 * long ones into the reserve; then it is wholly obsolete, and given back.
 *
 *     lane.c                          this client's cleaner
 *     no room --clean_want()--------> clean_block(): the blocks that are worth
 *        ^                             it, the best first; each record that is
 *        |                             its key's is moved (move.c)
 *        +--clean_helps(): ask again    | nothing is worth it: full
 *                                       v
 *                                     dry, for a while
 *
 * W1. A move is a change of a key to what it has, with a version of its own: so
 *     a replay knows which of the two records counts, and whoever is changing
 *     the key meanwhile wins or begins again. Only keys whose users bear that
 *     are moved (kv_opts.movable), and tombstones with them; what belongs to a
 *     transaction stays.
 * W2. Moves may take the reserve (KV_URGENT): each block that empties gives
 *     back more than its records took, and before more is taken.
 * Threads: any. */
#ifndef ACESO_KV_CLIENT_CLEAN_H
#define ACESO_KV_CLIENT_CLEAN_H
#include <stdbool.h>

#include "kv/client/client_impl.h"

int clean_open(struct clean **out); /* -ENOMEM */
void clean_close(struct clean *c);  /* stopped; NULL is fine */

/* The thread that cleans when it is wanted. Stop waits for the block that it
 * is at. @kv without a struct clean: fine, there is none. */
int clean_start(struct kv *kv); /* -EAGAIN */
void clean_stop(struct kv *kv);

/* How badly room is wanted. */
enum clean_want {
	CLEAN_NOT,
	CLEAN_TIGHT, /* a block was had that was in use: some more, if cheap */
	CLEAN_FULL,  /* a record found no room */
};

void clean_want(struct clean *c, enum clean_want want); /* NULL is fine */
/* Room may come to be in a moment: a block was worth it, as far as is known.
 * Else the pool is full, or nobody cleans (NULL is fine). */
bool clean_helps(struct clean *c, uint64_t now);

/* One round, by the caller: move what may be of one block, or close one of this
 * client's own that is full of pieces. 1: did; 0: none is worth it; -ENOSPC;
 * -ENOMEM; -EAGAIN nodes do not answer. One at a time. */
int clean_block(struct kv *kv, struct kv_thread *t, enum clean_want want);

#endif
