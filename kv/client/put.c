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

static bool cache_serves(const struct op *op, const struct cache_entry *e)
{
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
	op->seen = (struct op_seen){
		.there = true,
		.type = OBJECT_PUT,
		.slot = e.slot,
		.word = e.word,
		.hint = e.version,
		.version = e.version,
		.units = (uint16_t)e.units,
		.life = e.life,
		.fate = OBJECT_COMMITTED,
	};
	return op_commit(op, e.version + 1, put_again);
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

/* A tombstone's version, or the first of this index version: above all that
 * this key ever had, of which anything may be left. */
static uint64_t version_after(const struct op *op)
{
	uint64_t first =
		object_first_version(member_index_version(op->kv->member), 0);
	uint64_t next = op->seen.version + 1;

	return op->seen.type == OBJECT_TOMB && next < first ? first : next;
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
	return op_commit(op, version_after(op), put_again);
}
