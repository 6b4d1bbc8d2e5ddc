/* kv/client/commit.c - write a record, swing a slot to it, and say in the
 * record how that ended [I4]. The picture, with the round trips:
 *
 *   1 record: WRITE all copies, PENDING
 *        | all there                       | a node failed
 *   2 swing: {READ hint, CAS word} ------> unsure: PARK for the next view,
 *        | won          | lost             |  find the key
 *        |              |                  |
 *   3 fate: COMMITTED   kill: KILLED <-----+ another is the slot's
 *     in all copies,    in all copies      |
 *     hint -> version      |               +-> is the slot's: to 3
 *        |                 v
 *        v                lost
 *      done
 *
 * The only client writes SOLO for PENDING, swings with {CAS word, CAS hint},
 * and is done: two round trips (alone.h).
 *
 * C1. A record is whole in all its copies before any slot names it.
 * C2. Nobody is told of success before COMMITTED (or SOLO) is in every copy
 *     that lives, nor of failure, nor is a retry begun, before KILLED is.
 * C3. Outcomes that a failed host left open are not guessed: replay rolls a
 *     lone PENDING record forward, and while the shard is SETTLING only
 *     operations that have a record written may use it. So what they find is
 *     what replay made of it, and nobody has built on it yet.
 * C4. The hint only ever follows its word, by CAS, and it is 64 bits: a word
 *     that is equal by accident (its version has 8 bits, and space is used
 *     again) shows by a hint that ran ahead, and the swing is undone.
 * C5, C6: while it says PENDING nobody is told of it: decide.c. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "kv/client/addr_cache.h"
#include "kv/client/alone.h"
#include "kv/client/member.h"
#include "kv/client/op.h"

/* Of its time, what an operation spends waiting for room in a full pool. */
#define ROOM_SHARE 2u

static const uint64_t committed = OBJECT_COMMITTED;
static const uint64_t killed = OBJECT_KILLED;

/* --- 1: the record -------------------------------------------------------- */

static uint32_t value_len(const struct op *op)
{
	return op->type == OBJECT_TOMB ? 0 : op->rq->len;
}

/* Others' records are being moved, for which nobody waits who is at it. */
static int wait_for_room(struct op *op, op_state *again)
{
	if (op->kind == OP_MOVE ||
	    op_waited_ns(op) > kv_timeout_ns(op->kv) / ROOM_SHARE)
		return op_end(op, -ENOSPC);
	return op_sleep(op, again);
}

static int take_spot(struct op *op, op_state *again)
{
	enum space_class class =
		op->rq->flags & KV_HOT ? SPACE_HOT : SPACE_COLD;
	bool urgent = op->rq->flags & KV_URGENT || op->type == OBJECT_TOMB;
	uint32_t units = object_units(op->rq->klen, value_len(op));
	int rc;

	if (op_room(&op->rec, &op->rec_cap, (size_t)units * GROUP_UNIT_BYTES) !=
	    0)
		return op_end(op, -ENOMEM);
	rc = space_take(op->kv->space, op->t, class, units, urgent,
			op_slice(op), &op->spot);
	if (rc == -ENOBUFS)
		return wait_for_room(op, again);
	if (rc == -ETIMEDOUT || rc == -EAGAIN)
		return op_sleep(op, again); /* folding makes room */
	if (rc == -EHOSTDOWN)
		return op_park(op, again);
	if (rc != 0)
		return op_end(op, rc);
	op->has_spot = true;
	return OP_AGAIN;
}

static op_state fate_start, kill_start, kill_done;

static void encode(struct op *op)
{
	struct kv *kv = op->kv;
	uint32_t seq =
		atomic_fetch_add_explicit(&kv->op_seq, 1, memory_order_relaxed);
	struct object o = {
		.hdr = {.fate = op->solo ? OBJECT_SOLO : OBJECT_PENDING,
			.version = op->version,
			.slot = op->seen.slot << 8 | op->shard,
			.tag = (uint64_t)kv->id << 32 | seq,
			.hash = op->hash,
			.val_len = value_len(op),
			.key_len = (uint8_t)op->rq->klen,
			.type = op->type,
			.life = op->spot.life},
		.key = op->rq->key,
		.val = op->rq->val,
	};

	object_encode(op->rec, kv->secret, op->spot.addr, &o);
	op->word =
		slot_word(op->spot.addr, op->spot.units, op->version, op->print,
			  op->type == OBJECT_TOMB ? SLOT_TOMB : 0);
}

int op_record(struct op *op, uint64_t version, uint32_t at, uint32_t *n,
	      op_state *again)
{
	int rc;

	if (!op->has_spot) {
		rc = take_spot(op, again);
		if (rc != OP_AGAIN)
			return rc;
	}
	op->version = version;
	if (!space_trim(op->kv->space, &op->spot)) {
		op->kill_then = again; /* what an earlier try wrote, if any */
		return kill_start(op);
	}
	encode(op);
	*n = op->spot.copies;
	for (uint32_t i = 0; i < *n; i++)
		fab_write(&op->ops[at + i], op->spot.copy[i].node,
			  op->spot.copy[i].offset, op->rec,
			  op->spot.units * GROUP_UNIT_BYTES);
	return OP_AGAIN;
}

/* Above a tombstone's, or the first of this index version: above all that this
 * key ever had, of which anything may be left. */
uint64_t op_version_after(const struct op *op)
{
	uint64_t first =
		object_first_version(member_index_version(op->kv->member), 0);
	uint64_t next = op->seen.version + 1;

	return op->seen.type == OBJECT_TOMB && next < first ? first : next;
}

static op_state commit_start, commit_wrote, swung, undone;

int op_commit(struct op *op, uint64_t version, op_state *lost)
{
	op->lost = lost;
	op->version = version;
	/* Also if it ends in op_unsure() before it comes to a swing. */
	op->was = op->seen;
	op->mine = op->seen.slot;
	return op_goto(op, commit_start);
}

/* A change of a value: what came before it was the slot's, and its key stays in
 * the index whatever becomes of this (replay.c, place_fate()). The hint must
 * not go back. */
static bool may_be_solo(const struct op *op)
{
	return !op->raw && op->seen.there && op->seen.type == OBJECT_PUT &&
	       op->seen.hint <= op->seen.version;
}

/* Waiting for space is waiting outside of the view: find the key again then,
 * as its slot may be elsewhere. A claim is not held meanwhile. */
static int commit_start(struct op *op)
{
	uint32_t n;
	int rc;

	if (!op->has_spot) {
		rc = take_spot(op, op->lost);
		if (rc != OP_AGAIN)
			return rc;
	}
	assert(!op->solo);
	op->solo = may_be_solo(op) && alone_claim(op->kv->alone, op->hash);
	rc = op_record(op, op->version, 0, &n, op->lost);
	if (rc != OP_AGAIN)
		return rc;
	rc = op_post(op, n, commit_wrote);
	op->batch.soon = op_slot_off(op, op->seen.slot);
	op->batch.soon_node = op->host;
	return rc;
}

static int commit_wrote(struct op *op)
{
	if (op_failed(op, 0, op->batch.n) != 0)
		return op_unsure(op, op->lost);
	return op_swing(op, op->lost);
}

/* --- 2: the slot ---------------------------------------------------------- */

static op_state swung_solo;

/* The hint follows in the same batch. If the word's CAS fails, whoever was
 * quicker has a version at least as high as ours: the hint still follows. */
static int swing_solo(struct op *op, uint64_t off)
{
	fab_cas(&op->ops[0], op->host, off, op->seen.word, op->word);
	fab_cas(&op->ops[1], op->host, off + offsetof(struct slot, version),
		op->seen.hint, op->version);
	return op_post(op, 2, swung_solo);
}

int op_swing(struct op *op, op_state *lost)
{
	uint64_t off = op_slot_off(op, op->seen.slot);

	op->lost = lost;
	op->was = op->seen;
	op->mine = op->seen.slot;
	if (op->solo)
		return swing_solo(op, off);
	fab_read(&op->ops[0], op->host, off + offsetof(struct slot, version),
		 &op->hint, sizeof(op->hint));
	fab_cas(&op->ops[1], op->host, off, op->seen.word, op->word);
	return op_post(op, 2, swung);
}

/* C4: the word was equal, the version is not. */
static int undo(struct op *op)
{
	fab_cas(&op->ops[0], op->host, op_slot_off(op, op->mine), op->word,
		op->was.word);
	return op_post(op, 1, undone);
}

static int swung(struct op *op)
{
	if (op_failed(op, 0, 2) != 0)
		return op_unsure(op, op->lost);
	if (op->ops[1].old != op->was.word)
		return op_kill(op, op->lost);
	if (op->hint == op->was.hint || op->hint <= op->was.version)
		return op_won(op);
	return undo(op);
}

static void remember(struct op *op);

static int swung_solo(struct op *op)
{
	if (op_failed(op, 0, 2) != 0)
		return op_unsure(op, op->lost);
	if (op->ops[0].old != op->was.word)
		return op_kill(op, op->lost);
	op->hint = op->ops[1].old;
	if (op->hint == op->was.hint) {
		remember(op);
		return op_end(op, 0);
	}
	if (op->hint <= op->was.version)
		return op_won(op); /* the hint lags: there it catches up */
	return undo(op);
}

static int undone(struct op *op)
{
	if (op_failed(op, 0, 1) != 0)
		return op_unsure(op, op->lost);
	if (op->ops[0].old != op->word)
		return op_won(op); /* somebody builds on it already */
	return op_kill(op, op->lost);
}

/* --- 3: the fate ---------------------------------------------------------- */

/* The data, which is what others read, comes last: over shared memory, where
 * operations are done in their order, all copies say what one was seen to. */
static uint32_t fill_fate(struct op *op, const uint64_t *fate)
{
	uint32_t n;

	space_trim(op->kv->space, &op->spot);
	n = op->spot.copies;
	for (uint32_t i = 0; i < n; i++)
		fab_write(&op->ops[n - 1 - i], op->spot.copy[i].node,
			  op->spot.copy[i].offset + OBJECT_FATE_OFFSET, fate,
			  sizeof(*fate));
	return n;
}

/* A broken connection to a node of another host is no death of it. */
static bool may_live(struct op *op, uint32_t node)
{
	return op->kv->lease != NULL && member_all(op->kv->member) >> node & 1;
}

/* How the copies took it: 0 if each did, or is on a node that is down for
 * good; else another try is due. *@up: how many did. */
static int fate_status(struct op *op, uint32_t *up)
{
	int bad = 0;

	*up = 0;
	for (uint32_t i = 0; i < op->spot.copies; i++) {
		int rc = op_failed(op, i, i + 1);

		if (rc == 0)
			(*up)++;
		else if (rc != -EHOSTDOWN || may_live(op, op->ops[i].node))
			bad = rc;
	}
	return bad;
}

int op_won(struct op *op)
{
	return op_goto(op, fate_start);
}

uint32_t op_fill_committed(struct op *op)
{
	return fill_fate(op, &committed);
}

static int fate_start(struct op *op)
{
	uint32_t n = op_fill_committed(op);

	fab_cas(&op->ops[n], op->host,
		op_slot_off(op, op->mine) + offsetof(struct slot, version),
		op->hint, op->version);
	return op_post(op, n + 1, op_said);
}

/* What it replaced is free, what it wrote is known; a tombstone as well, as the
 * key may soon be inserted again. */
static void remember(struct op *op)
{
	struct kv *kv = op->kv;
	struct cache_entry e = {
		.slot = op->mine,
		.word = op->word,
		.version = op->version,
		.units = op->spot.units,
		.life = op->spot.life,
		.val_len = value_len(op),
		.inlined = true,
	};

	space_settle(kv->space, &op->spot);
	op->has_spot = false;
	op_release(op);
	if (op->was.there)
		space_obsolete(kv->space, op->t, slot_addr(op->was.word),
			       op->was.units, op->was.life);
	if (op->type != OBJECT_INTENT)
		cache_put(kv->cache, op->hash, op->rq->key, op->rq->klen, &e,
			  op->rq->val);
	else
		cache_drop(kv->cache, op->hash, op->rq->key, op->rq->klen);
	op_yield(op);
	op->rq->version = op->version;
}

int op_said(struct op *op)
{
	const struct fab_op *hint = &op->ops[op->batch.n - 1];
	uint32_t up;

	if (fate_status(op, &up) != 0)
		return op_sleep(op, fate_start);
	if (up == 0)
		return op_end(op,
			      -EIO); /* more nodes gone than the code bears */
	if (hint->status == 0 && hint->old != op->hint &&
	    hint->old < op->version && op->tries < 8) {
		op->hint = hint->old;
		op->tries++;
		return op_goto(op, fate_start);
	}
	remember(op);
	return op_end(op, 0);
}

int op_kill(struct op *op, op_state *then)
{
	op->kill_then = then;
	if (!op->has_spot)
		return op_goto(op, then);
	return op_goto(op, kill_start);
}

static int kill_start(struct op *op)
{
	return op_post(op, fill_fate(op, &killed), kill_done);
}

static int kill_done(struct op *op)
{
	uint32_t up;

	if (fate_status(op, &up) != 0)
		return op->passed ? op_unsure(op, op->kill_then)
				  : op_sleep(op, kill_start);
	space_abandon(op->kv->space, &op->spot);
	op->has_spot = false;
	op_yield(op);
	op_release(op);
	return op_goto(op, op->kill_then);
}

/* --- who won, when a node failed in the middle ---------------------------- */

static op_state unsure_begin, unsure_found, unsure_lost, unsure_withdrawn;

int op_unsure(struct op *op, op_state *lost)
{
	op->lost = lost;
	return op_park(op, unsure_begin);
}

int op_find_out(struct op *op, op_state *lost)
{
	op->lost = lost;
	return op_goto(op, unsure_begin);
}

static int unsure_begin(struct op *op)
{
	return op_look(op, unsure_found);
}

static int unsure_found(struct op *op)
{
	if (!op->seen.there || op->seen.version != op->version ||
	    slot_addr(op->seen.word) != op->spot.addr)
		return unsure_lost(op);
	op->mine = op->seen.slot;
	op->word = op->seen.word;
	op->hint = op->seen.hint;
	return op_won(op);
}

/* C6: others may have committed our value once more by now. A clock that ran
 * since it waited first has run for half of what they wait. */
static bool may_be_taken(struct op *op)
{
	return op->seen.there && op->seen.version > op->version &&
	       op_waited_ns(op) >= kv_timeout_ns(op->kv) / 2;
}

/* A tentative slot of ours that is still there must go before its record; or it
 * has put others' out of the way, and must not (insert.c, N3). */
static int unsure_lost(struct op *op)
{
	uint64_t planted = op->word | SLOT_TENTATIVE;

	if (may_be_taken(op))
		return op_end(op, -ETIMEDOUT);
	for (uint32_t i = 0; i < 2 * BUCKET_PAIR_SLOTS; i++) {
		uint32_t p = i / BUCKET_PAIR_SLOTS, at = i % BUCKET_PAIR_SLOTS;

		if (op->pair[p][at].word != planted)
			continue;
		if (op->passed)
			return op_goto(op, insert_resume);
		fab_cas(&op->ops[0], op->host,
			op_slot_off(op, op->place[p] + at), planted, 0);
		return op_post(op, 1, unsure_withdrawn);
	}
	return op_kill(op, op->lost);
}

static int unsure_withdrawn(struct op *op)
{
	if (op_failed(op, 0, 1) != 0)
		return op_unsure(op, op->lost);
	return op_kill(op, op->lost);
}
