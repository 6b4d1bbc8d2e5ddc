/* kv/client/insert.c - give a key its first slot: of many callers one wins
 * [I4].
 *
 *   1 {READ both pairs, WRITE record}
 *       | the key is there: -EEXIST, or commit over its tombstone
 *   2 {CAS an empty slot: 0 -> word + TENTATIVE, READ both pairs}
 *       | look for the key in other slots
 *       |   firm:       withdraw (CAS own slot to 0), go to 1
 *       |   tentative, in a higher slot: kill it (CAS it to 0), go on
 *       |   tentative, in a lower slot: withdraw, wait a little, go to 1;
 *       |       still there the next time: its owner is dead, kill it
 *   3 CAS own slot: tentative -> word      fails if it was killed: go to 1
 *   4 fate (commit.c)
 *
 * N1. Of two that overlap, the one whose CAS in step 2 came later sees the
 *     other, so not both get past step 2 in peace; and step 3 fails for whom
 *     the other has killed. Two firm slots of one key cannot be.
 * N2. Readers pass over tentative slots: an insert is seen from step 3 on. */
#include <errno.h>

#include "kv/client/addr_cache.h"
#include "kv/client/member.h"
#include "kv/client/op.h"
#include "kv/client/txn.h"

static op_state insert_read, insert_found, insert_again, insert_reread,
	insert_reread_done, insert_exists, insert_full, insert_planted,
	insert_rivals, insert_rival_seen, insert_rival_killed, insert_withdrawn,
	insert_firm, insert_put, insert_resolve, insert_decide;

int insert_start(struct op *op)
{
	uint64_t version = member_index_version(op->kv->member) << 40 | 1;
	uint32_t n;
	int rc = op_locate(op, insert_start);

	if (rc != OP_AGAIN)
		return rc;
	op->seen = (struct op_seen){.there = false};
	op->was = op->seen;
	op->lost = insert_again;
	rc = op_record(op, version, 2, &n, insert_start);
	if (rc != OP_AGAIN)
		return rc;
	op->written = op->epoch;
	op_read_pairs(op, 0);
	return op_post(op, 2 + n, insert_read);
}

static int insert_again(struct op *op)
{
	return op_sleep(op, insert_start);
}

static int insert_read(struct op *op)
{
	if (op_failed(op, 0, op->batch.n) != 0)
		return op_unsure(op, insert_again);
	return op_find_read(op, insert_found);
}

/* The record is written already. If the shard moved while we waited, replay
 * may have found it: that is for commit.c to find out. */
static int insert_reread(struct op *op)
{
	if (op_moved(op))
		return op_find_out(op, insert_again);
	op_read_pairs(op, 0);
	return op_post(op, 2, insert_reread_done);
}

static int insert_reread_done(struct op *op)
{
	if (op_failed(op, 0, 2) != 0)
		return op_unsure(op, insert_again);
	return op_find_read(op, insert_found);
}

/* --- what was in the way -------------------------------------------------- */

static int insert_exists(struct op *op)
{
	return op_end(op, -EEXIST);
}

static int insert_full(struct op *op)
{
	return op_end(op, -ENOSPC);
}

static int insert_put(struct op *op)
{
	return op_goto(op, put_again);
}

static int insert_resolve(struct op *op)
{
	return op_intent_resolve(op, insert_start);
}

static int insert_decide(struct op *op)
{
	return op_find(op, insert_start);
}

static int insert_tomb(struct op *op)
{
	if (op->seen.version < op->version)
		return op_swing(op, insert_again);
	return op_commit(op, op->seen.version + 1, insert_again);
}

static int insert_choose(struct op *op);

/* Looking at others' records may have taken until the next view. Then replay
 * may have made our own the slot's, as in insert_reread(). */
static int insert_found(struct op *op)
{
	if (op->epoch != op->written)
		return op_find_out(op, insert_again);
	if (!op->seen.there)
		return insert_choose(op);
	if (op_undecided(op))
		return op_kill(op, insert_decide);
	if (op->seen.type == OBJECT_TOMB)
		return insert_tomb(op);
	if (op->seen.type == OBJECT_INTENT && !op->raw)
		return op_kill(op, insert_resolve);
	if (op->kind == OP_PUT)
		return op_kill(op, insert_put);
	return op_kill(op, insert_exists);
}

/* --- 2: plant ------------------------------------------------------------- */

/* A pair's main bucket is the one that it does not share with the other pair
 * of its group: the first if the pair begins the group. */
static uint32_t main_of(const struct op *op, uint32_t p)
{
	return op->place[p] % (BUCKET_GROUP * BUCKET_SLOTS) == 0 ? 0
								 : BUCKET_SLOTS;
}

static uint32_t empty_in(const struct op *op, uint32_t p, uint32_t from,
			 uint32_t *first)
{
	uint32_t n = 0;

	for (uint32_t i = from + BUCKET_SLOTS; i-- > from;) {
		if (op->pair[p][i].word != 0)
			continue;
		*first = i;
		n++;
	}
	return n;
}

/* The emptier main bucket, else an overflow bucket (RACE, 3.2). */
static bool choose(const struct op *op, uint32_t *pair, uint32_t *at)
{
	uint32_t first[2] = {0, 0}, n[2];

	for (uint32_t p = 0; p < 2; p++)
		n[p] = empty_in(op, p, main_of(op, p), &first[p]);
	if (n[0] == 0 && n[1] == 0)
		for (uint32_t p = 0; p < 2; p++)
			n[p] = empty_in(op, p, BUCKET_SLOTS - main_of(op, p),
					&first[p]);
	*pair = n[1] > n[0];
	*at = first[*pair];
	return n[*pair] > 0;
}

static int insert_choose(struct op *op)
{
	uint32_t p, i;

	if (!choose(op, &p, &i))
		return op_kill(op, insert_full);
	op->mine = op->place[p] + i;
	op->hint = op->pair[p][i].version;
	fab_cas(&op->ops[0], op->host, op_slot_off(op, op->mine), 0,
		op->word | SLOT_TENTATIVE);
	op_read_pairs(op, 1);
	return op_post(op, 3, insert_planted);
}

static int insert_planted(struct op *op)
{
	if (op_failed(op, 0, 3) != 0)
		return op_unsure(op, insert_again);
	if (op->ops[0].old != 0)
		return op_goto(op, insert_reread);
	op->cand = 0;
	return op_goto(op, insert_rivals);
}

/* --- rivals --------------------------------------------------------------- */

static int withdraw(struct op *op)
{
	fab_cas(&op->ops[0], op->host, op_slot_off(op, op->mine),
		op->word | SLOT_TENTATIVE, 0);
	return op_post(op, 1, insert_withdrawn);
}

static int insert_withdrawn(struct op *op)
{
	if (op_failed(op, 0, 1) != 0)
		return op_unsure(op, insert_again);
	return op_sleep(op, insert_reread);
}

static int confirm(struct op *op)
{
	fab_cas(&op->ops[0], op->host, op_slot_off(op, op->mine),
		op->word | SLOT_TENTATIVE, op->word);
	return op_post(op, 1, insert_firm);
}

static int insert_rivals(struct op *op)
{
	while (op->cand < 2 * BUCKET_PAIR_SLOTS) {
		uint32_t p = op->cand / BUCKET_PAIR_SLOTS;
		uint32_t i = op->cand % BUCKET_PAIR_SLOTS;
		const struct slot *s = &op->pair[p][i];

		op->cand++;
		if (s->word == 0 || slot_print(s->word) != op->print ||
		    op->place[p] + i == op->mine)
			continue;
		op->seen.slot = op->place[p] + i;
		op->seen.word = s->word;
		op->seen.hint = s->version;
		return op_fetch(op, insert_rival_seen);
	}
	op->seen.there = false;
	return confirm(op);
}

static int kill_rival(struct op *op)
{
	fab_cas(&op->ops[0], op->host, op_slot_off(op, op->seen.slot),
		op->seen.word, 0);
	return op_post(op, 1, insert_rival_killed);
}

static int insert_rival_seen(struct op *op)
{
	if (op_moved(op))
		return op_find_out(op, insert_again);
	if (op->fetched == -EBADMSG)
		return kill_rival(op); /* of a client long dead */
	if (op->fetched == -ENOENT)
		return op_goto(op, insert_rivals);
	if (op->fetched != 0 || !(op->seen.word & SLOT_TENTATIVE))
		return withdraw(op);
	if (op->seen.slot > op->mine || op->rival == op->seen.word)
		return kill_rival(op);
	op->rival = op->seen.word;
	return withdraw(op);
}

static int insert_rival_killed(struct op *op)
{
	if (op_failed(op, 0, 1) != 0)
		return op_unsure(op, insert_again);
	if (op->ops[0].old != op->seen.word)
		return withdraw(op); /* firm by now, or gone */
	return op_goto(op, insert_rivals);
}

static int insert_firm(struct op *op)
{
	if (op_failed(op, 0, 1) != 0)
		return op_unsure(op, insert_again);
	if (op->ops[0].old != (op->word | SLOT_TENTATIVE))
		return op_goto(op, insert_reread);
	op->was.there = false;
	return op_won(op);
}
