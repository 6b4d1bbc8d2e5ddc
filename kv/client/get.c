/* kv/client/get.c - read one key.
 *
 *   cached? --yes--> READ slot (|| READ record, if its value is not here)
 *      | no             | word and version are the cached ones: done, 1 trip
 *      v                v
 *     find (2 trips)   fetch what the slot names now (1 more), or find
 *      | an intent: read its transaction's state; that decides (txn.h)
 *      v
 *     done                                                               */
#include <errno.h>
#include <string.h>

#include "kv/client/addr_cache.h"
#include "kv/client/member.h"
#include "kv/client/op.h"
#include "kv/client/txn.h"
#include "kv/stats.h"

static op_state get_checked, get_found, get_refetched;

/* --- the end -------------------------------------------------------------- */

static int deliver(struct op *op, const void *val, uint32_t len)
{
	struct kv_req *rq = op->rq;

	rq->len = len;
	if (rq->cap < len)
		return -ERANGE;
	if (len > 0 && rq->buf != val)
		memcpy(rq->buf, val, len);
	return 0;
}

int op_get_end(struct op *op, const void *val, uint32_t len, uint64_t version)
{
	int rc = op->raw ? 0 : deliver(op, val, len);

	op->rq->version = version;
	return op_end(op, rc);
}

/* Not what is only just being committed: an entry's record is COMMITTED, or as
 * good as that, which its slot's hint must confirm. */
static bool is_decided(const struct op_seen *s)
{
	return s->fate == OBJECT_COMMITTED ||
	       (s->fate == OBJECT_SOLO && s->hint == s->version);
}

static void get_remember(struct op *op)
{
	const struct op_seen *s = &op->seen;
	struct cache_entry e = {
		.slot = s->slot,
		.word = s->word,
		.version = s->version,
		.units = s->units,
		.life = s->life,
		.val_len = s->val_len,
		.inlined = true,
	};

	if (!is_decided(s))
		return;
	cache_put(op->kv->cache, op->hash, op->rq->key, op->rq->klen, &e,
		  s->val);
}

static int get_found(struct op *op)
{
	struct op_seen *s = &op->seen;

	if (!s->there)
		return op_end(op, -ENOENT);
	if (s->type == OBJECT_INTENT)
		return op->raw ? op_end(op, 0) : op_intent_read(op);
	get_remember(op);
	if (s->type == OBJECT_TOMB)
		return op_end(op, -ENOENT);
	return op_get_end(op, s->val, s->val_len, s->version);
}

/* --- from the index ------------------------------------------------------- */

int get_again(struct op *op)
{
	return op_find(op, get_found);
}

static int get_refetched(struct op *op)
{
	op->seen.there = op->fetched == 0;
	if (op->fetched != 0 || op_undecided(op))
		return op_goto(op, get_again);
	return op_goto(op, get_found);
}

/* --- from the cache ------------------------------------------------------- */

static bool read_record_too(const struct op *op, const struct cache_entry *e)
{
	uint8_t node = fab_addr_node(slot_addr(e->word));

	return !e->inlined && (member_up(op->kv->member) >> node & 1);
}

/* Only the cached record's own bytes count: of its version, verified. */
static bool record_serves(struct op *op)
{
	struct object o;

	if (op->ops[1].status != 0 ||
	    object_decode(op->rd, op->ops[1].len, op->kv->secret,
			  slot_addr(op->seen.word), &o) != 0 ||
	    o.hdr.version != op->seen.version || o.hdr.hash != op->hash)
		return false;
	op->seen.val = o.val;
	op->seen.val_len = o.hdr.val_len;
	return true;
}

int get_start(struct op *op)
{
	struct kv_req *rq = op->rq;
	struct cache_entry e;
	void *to = rq->buf;
	uint32_t cap = rq->cap, n = 1;
	int rc;

	if (op->raw) {
		cap = CACHE_VALUE_MAX;
		if (op_room(&op->rd, &op->rd_cap, cap) != 0)
			return op_end(op, -ENOMEM);
		to = op->rd;
	}
	if (!cache_get(op->kv->cache, op->hash, rq->key, rq->klen, &e, to,
		       cap)) {
		stat_add(&op->t->stats.cache_misses, 1);
		return op_goto(op, get_again);
	}
	rc = op_locate(op, get_again);
	if (rc != OP_AGAIN)
		return rc;
	op_take_cached(op, &e);
	op->seen.there = e.inlined;
	op->seen.val = to;
	fab_read(&op->ops[0], op->host, op_slot_off(op, e.slot), &op->look,
		 sizeof(op->look));
	if (read_record_too(op, &e)) {
		fab_addr addr = slot_addr(e.word);
		uint32_t len = e.units * GROUP_UNIT_BYTES;

		if (op_room(&op->rd, &op->rd_cap, len) != 0)
			return op_end(op, -ENOMEM);
		fab_read(&op->ops[n++], fab_addr_node(addr),
			 fab_addr_offset(addr), op->rd, len);
	}
	return op_post(op, n, get_checked);
}

/* What the slot names now, if it still looks like this key's. */
static int get_changed(struct op *op)
{
	if (!slot_taken(op->look.word) ||
	    slot_print(op->look.word) != op->print)
		return op_goto(op, get_again);
	op->seen.word = op->look.word;
	op->seen.hint = op->look.version;
	return op_fetch(op, get_refetched);
}

static int get_checked(struct op *op)
{
	struct op_seen *s = &op->seen;

	if (op_failed(op, 0, 1) != 0)
		return op_park(op, get_again);
	if (op->look.word != s->word || op->look.version != s->version ||
	    (!s->there && (op->batch.n < 2 || !record_serves(op)))) {
		stat_add(&op->t->stats.cache_misses, 1);
		return get_changed(op);
	}
	stat_add(&op->t->stats.cache_hits, 1);
	s->there = true;
	if (s->type == OBJECT_TOMB)
		return op_end(op, -ENOENT);
	return op_get_end(op, s->val, s->val_len, s->version);
}
