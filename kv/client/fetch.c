/* kv/client/fetch.c - the record that a slot names: read, verified [I1], and
 * known to have been the slot's at some time since the slot was read.
 *
 * Between the two reads the record may have been superseded and its space used
 * again. Wrong bytes show by their CRC. A right record of the same key there
 * was the slot's if it says COMMITTED, or if its version is the one the slot's
 * hint tells (both are written only after a CAS that won). Anything else, and
 * another key's record above all, which may just have come to lie there while
 * our key lives on elsewhere, is settled by a second look at the slot: the word
 * is the same, so it was the slot's all the time.
 *
 *   start -> read -> check -+-> right
 *     ^       |             +-> look again -+-> the same word: right, or wrong:
 *     |       +-> doubt ----+               |   read again, then decode [I1]
 *     +---------------------- another word <+ */
#include <errno.h>
#include <string.h>

#include "kv/client/degraded.h"
#include "kv/client/member.h"
#include "kv/client/op.h"
#include "kv/hash.h"
#include "kv/stats.h"

static op_state fetch_start, fetch_read, fetch_looked, fetch_moved;

int op_fetch(struct op *op, op_state *then)
{
	op->fetch_then = then;
	op->doubts = 0;
	op->seen.units = (uint16_t)slot_units(op->seen.word);
	return op_goto(op, fetch_start);
}

static int fetch_end(struct op *op, int fetched)
{
	op->fetched = fetched;
	return op_goto(op, op->fetch_then);
}

/* After a wait outside of the view nothing that was located holds. */
static int fetch_moved(struct op *op)
{
	return fetch_end(op, -ESTALE);
}

/* Long records: the header first, which tells how long. */
static uint32_t fetch_len(const struct op *op)
{
	return op->seen.units ? op->seen.units * GROUP_UNIT_BYTES
			      : (uint32_t)sizeof(struct object_hdr);
}

static int fetch_look(struct op *op)
{
	fab_read(&op->ops[0], op->host, op_slot_off(op, op->seen.slot),
		 &op->look, sizeof(op->look));
	return op_post(op, 1, fetch_looked);
}

static bool same_key(const struct op *op, const struct object *o)
{
	return o->hdr.hash == op->hash && o->hdr.key_len == op->rq->klen &&
	       memcmp(o->key, op->rq->key, op->rq->klen) == 0;
}

/* True if the record's version is the one that the slot's word and hint name,
 * or it says itself that it was the slot's (but for one that begins a key:
 * insert.c, N3). */
static bool was_the_slots(const struct op *op, const struct object_hdr *h)
{
	if ((uint8_t)h->version != slot_version8(op->seen.word))
		return false;
	return h->version == op->seen.hint ||
	       (h->fate == OBJECT_COMMITTED && !object_begins(h->version));
}

static void take_seen(struct op *op, const struct object *o)
{
	op->seen.type = o->hdr.type;
	op->seen.units = o->hdr.units;
	op->seen.life = o->hdr.life;
	op->seen.version = o->hdr.version;
	op->seen.fate = o->hdr.fate;
	op->seen.tag = o->hdr.tag;
	op->seen.val = o->val;
	op->seen.val_len = o->hdr.val_len;
}

static int fetch_check(struct op *op)
{
	struct object o;
	bool mine;
	int rc;

	rc = object_decode(op->rd, fetch_len(op), op->kv->secret,
			   slot_addr(op->seen.word), &o);
	if (rc == -ERANGE) {
		op->seen.units = o.hdr.units;
		return op_goto(op, fetch_start);
	}
	if (rc != 0 || (uint8_t)o.hdr.version != slot_version8(op->seen.word)) {
		op->fetched = -EBADMSG;
		return fetch_look(op);
	}
	mine = same_key(op, &o);
	take_seen(op, &o);
	op->fetched = mine ? 0 : -ENOENT;
	if (mine && was_the_slots(op, &o.hdr))
		return op_goto(op, op->fetch_then);
	return fetch_look(op);
}

/* Its bytes are wrong, though the slot names them: 0 they were mended. */
static int fetch_mend(struct op *op)
{
	struct object o;
	int rc;

	stat_add(&op->t->stats.degraded_reads, 1);
	if (op_room(&op->rd, &op->rd_cap, OBJECT_BYTES_MAX) != 0)
		return op_end(op, -ENOMEM);
	rc = degraded_record(op->kv, op->t, op->seen.word, op->rd,
			     OBJECT_BYTES_MAX, &o, op_slice(op));
	if (rc == -ENODATA)
		return fetch_end(op, -ESTALE);
	if (rc == -ETIMEDOUT)
		return op_park(op, fetch_moved);
	if (rc == -EBADMSG)
		return op_goto(op, fetch_start); /* a few times more */
	if (rc != 0)
		return op_end(op, rc);
	op->seen.units = o.hdr.units;
	return fetch_check(op);
}

/* Its node is away, or its bytes are wrong. */
static int fetch_degraded(struct op *op, bool force)
{
	int rc;

	stat_add(&op->t->stats.degraded_reads, 1);
	rc = degraded_read(op->kv, op->t, slot_addr(op->seen.word),
			   fetch_len(op), op->rd, force, op_slice(op));
	if (rc == 0)
		return fetch_check(op);
	if (rc == -ENODATA)
		return fetch_end(op, -ESTALE);
	if (rc == -ETIMEDOUT)
		return op_park(op, fetch_moved);
	return op_end(op, rc);
}

static int fetch_start(struct op *op)
{
	fab_addr addr = slot_addr(op->seen.word);
	uint8_t node = fab_addr_node(addr);

	if (op_room(&op->rd, &op->rd_cap, fetch_len(op)) != 0)
		return op_end(op, -ENOMEM);
	if (!(member_up(op->kv->member) >> node & 1))
		return fetch_degraded(op, false);
	fab_read(&op->ops[0], node, fab_addr_offset(addr), op->rd,
		 fetch_len(op));
	return op_post(op, 1, fetch_read);
}

static int fetch_read(struct op *op)
{
	int rc = op_failed(op, 0, 1);

	if (rc == 0)
		return fetch_check(op);
	if (rc == -EHOSTDOWN)
		return fetch_degraded(op, true);
	if (rc == -ETIMEDOUT)
		return op_park(op, fetch_moved);
	return fetch_end(op, -ESTALE); /* a word that names no place */
}

/* The word is the same, and what it names is not right: as often as a writer
 * might be in the way, then from the rest of the stripe. */
static int fetch_wrong(struct op *op)
{
	stat_add(&op->t->stats.crc_errors, 1);
	op->seen.units = (uint16_t)slot_units(op->seen.word);
	if (op->doubts++ < OP_DOUBTS_MAX)
		return op_goto(op, fetch_start);
	if (op->seen.word & SLOT_TENTATIVE)
		return fetch_end(op, -EBADMSG); /* nobody's value */
	if (op->doubts > 2 * OP_DOUBTS_MAX)
		return op_end(op, -EIO);
	return fetch_mend(op);
}

static int fetch_looked(struct op *op)
{
	if (op_failed(op, 0, 1) != 0)
		return op_park(op, fetch_moved);
	op->seen.hint = op->look.version;
	if (op->look.word == op->seen.word) {
		if (op->fetched == -EBADMSG)
			return fetch_wrong(op);
		return op_goto(op, op->fetch_then);
	}
	if (!slot_taken(op->look.word) ||
	    slot_print(op->look.word) != op->print)
		return fetch_end(op, -ESTALE);
	op->seen.word = op->look.word;
	op->seen.units = (uint16_t)slot_units(op->seen.word);
	op->doubts = 0;
	return op_goto(op, fetch_start);
}
