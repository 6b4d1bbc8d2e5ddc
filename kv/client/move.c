/* kv/client/move.c - the same value, or tombstone, in another place: clean.h.
 *
 *   start -> find -+-> it is where it was: a change to what it has
 *     ^            +-> -ESTALE: that record is not the key's any more
 *     +--- another was quicker                                          */
#include <errno.h>

#include "kv/client/addr_cache.h"
#include "kv/client/op.h"

static op_state move_found, move_again;

int move_start(struct op *op)
{
	return op_find(op, move_found);
}

/* The request has the value as it was read: of the record at that address with
 * that version, so it is still that. Transactions take their intents along. */
static int move_found(struct op *op)
{
	const struct op_seen *s = &op->seen;

	if (!s->there || slot_addr(s->word) != op->expect ||
	    s->version != op->rq->version)
		return op_end(op, -ESTALE);
	if (s->type == OBJECT_INTENT)
		return op_end(op, -EBUSY);
	op->type = s->type;
	return op_commit(op, s->version + 1, move_again);
}

static int move_again(struct op *op)
{
	cache_drop(op->kv->cache, op->hash, op->rq->key, op->rq->klen);
	return op_sleep(op, move_start);
}
