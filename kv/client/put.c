/* kv/client/put.c - change a key that has a slot: put, put_if, del.
 *
 *   cached? --yes--> commit from the cached word: 3 round trips
 *      | no            | lost: somebody changed it
 *      v               v
 *     find (2) <----- again
 *      | absent: put goes to insert.c; the others -ENOENT
 *      | an intent: resolve it, find again
 *      | not the version expected: -ESTALE
 *      v
 *    commit (3)                                                          */
#include <errno.h>

#include "kv/client/addr_cache.h"
#include "kv/client/member.h"
#include "kv/client/op.h"
#include "kv/client/txn.h"
#include "kv/stats.h"

static op_state put_find, put_found;

/* That there is nothing to be changed or deleted is not for a hint to say. */
static bool cache_serves(const struct op *op, const struct cache_entry *e)
{
	if (e->word & SLOT_TOMB)
		return op->kind == OP_PUT;
	return op->expect == 0 || op->expect == e->version;
}

int put_start(struct op *op)
{
	struct cache_entry e;
	int rc;

	if (op->raw ||
	    !cache_get(op->kv->cache, op->hash, op->rq->key, op->rq->klen, &e,
		       NULL, 0) ||
	    !cache_serves(op, &e))
		return op_goto(op, put_find);
	rc = op_locate(op, put_find);
	if (rc != OP_AGAIN)
		return rc;
	op_take_cached(op, &e);
	return op_commit(op, op_version_after(op), put_again);
}

static int put_find(struct op *op)
{
	return op_find(op, put_found);
}

int put_again(struct op *op)
{
	cache_drop(op->kv->cache, op->hash, op->rq->key, op->rq->klen);
	return op_sleep(op, put_find);
}

static int put_found(struct op *op)
{
	const struct op_seen *s = &op->seen;

	if (s->there && s->type == OBJECT_INTENT && !op->raw)
		return op_intent_resolve(op, put_find);
	if (!s->there || s->type == OBJECT_TOMB) {
		if (op->kind != OP_PUT)
			return op_end(op, -ENOENT);
		if (!s->there)
			return op_goto(op, insert_start);
	} else if (op->expect != 0 && op->expect != s->version) {
		return op_end(op, -ESTALE);
	}
	return op_commit(op, op_version_after(op), put_again);
}
