/* kv/client/find.c - which slot has a key: read both combined buckets, then
 * the records that bear its fingerprint, one after the other (mostly one, as
 * one fingerprint in 255 is another's). */
#include <errno.h>

#include "kv/client/addr_cache.h"
#include "kv/client/op.h"

static op_state find_start, find_read, find_next, find_fetched;

int op_find(struct op *op, op_state *then)
{
	op->then = then;
	op->looks = false;
	return op_goto(op, find_start);
}

int op_look(struct op *op, op_state *then)
{
	op->then = then;
	op->looks = true;
	return op_goto(op, find_start);
}

void op_take_cached(struct op *op, const struct cache_entry *e)
{
	op->seen = (struct op_seen){
		.there = true,
		.type = e->word & SLOT_TOMB ? OBJECT_TOMB : OBJECT_PUT,
		.slot = e->slot,
		.word = e->word,
		.hint = e->version,
		.version = e->version,
		.units = (uint16_t)e->units,
		.life = e->life,
		.val_len = e->val_len,
		.fate = OBJECT_COMMITTED,
	};
}

int op_find_again(struct op *op)
{
	return find_start(op);
}

static int find_all(struct op *op)
{
	op->cand = 0;
	op->seen.there = false;
	return op_goto(op, find_next);
}

int op_find_read(struct op *op, op_state *then)
{
	op->then = then;
	op->looks = true;
	return find_all(op);
}

static int find_start(struct op *op)
{
	int rc = op_locate(op, find_start);

	if (rc != OP_AGAIN)
		return rc;
	op_read_pairs(op, 0);
	return op_post(op, 2, find_read);
}

static int find_read(struct op *op)
{
	if (op_failed(op, 0, 2) != 0)
		return op_park(op, find_start);
	return find_all(op);
}

static int find_next(struct op *op)
{
	while (op->cand < 2 * BUCKET_PAIR_SLOTS) {
		uint32_t p = op->cand / BUCKET_PAIR_SLOTS;
		uint32_t i = op->cand % BUCKET_PAIR_SLOTS;
		const struct slot *s = &op->pair[p][i];

		op->cand++;
		if (!slot_taken(s->word) || slot_print(s->word) != op->print)
			continue;
		op->seen.slot = op->place[p] + i;
		op->seen.word = s->word;
		op->seen.hint = s->version;
		return op_fetch(op, find_fetched);
	}
	op->seen.there = false;
	return op_goto(op, op->then);
}

static int find_fetched(struct op *op)
{
	if (op->fetched == 0) {
		op->seen.there = true;
		if (!op->looks && op_undecided(op))
			return op_decide(op);
		return op_goto(op, op->then);
	}
	if (op->fetched == -ENOENT)
		return op_goto(op, find_next);
	return op_sleep(op, find_start); /* the slot moved on meanwhile */
}
