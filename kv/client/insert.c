/* kv/client/insert.c - give a key its first slot: of many callers one wins
 * [I4].
 *
 *   a tombstone of it is known? commit over that: 3 round trips; else, or if
 *       | it is not there any more:
 *   1 {READ both pairs, WRITE record}
 *       | the key is there: -EEXIST, or commit over its tombstone (5 trips)
 *   2 {CAS an empty slot: 0 -> word + TENTATIVE, READ both pairs}
 *       | look for the key in other slots
 *       |   firm, or tentative with a version at least ours: withdraw (CAS own
 *       |       slot to 0), KILLED, wait a little, go to 1 with a version above
 *       |   all others passed; those left are tentative with versions below
 *       |       ours: kill them (CAS to 0; one that got firm: withdraw)
 *   3 {WRITE fate: COMMITTED, CAS own slot: tentative -> word, its hint}
 *       | it was killed: KILLED, go to 1
 *      done
 *
 * N1. Of two that overlap, the one whose CAS in step 2 came later sees the
 *     other, so not both get past step 2 in peace; and step 3 fails for whom
 *     the other has killed. Two firm slots of one key cannot be.
 * N2. Readers pass over tentative slots: an insert is seen from step 3 on.
 * N3. A record may say COMMITTED, and its word be killed, or its client dead
 *     before it was firm. A replay that takes it must not take it for one that
 *     was acknowledged. So it is killed by a higher version only, which goes
 *     before it in a replay; and who has passed (op->passed) and so may have
 *     killed one does not withdraw any more, but for one that is firm, and
 *     would be of a higher version yet: it stays in its slot till it is firm,
 *     or a higher one kills it, or a replay has begun, which reads all records.
 *     Who dies leaves it there; the sweep that takes it out marks its record
 *     and has the index version grow before. */
#include <errno.h>

#include "kv/client/addr_cache.h"
#include "kv/client/member.h"
#include "kv/client/op.h"
#include "kv/client/txn.h"

static op_state insert_read, insert_found, insert_again, insert_reread,
	insert_reread_done, insert_exists, insert_full, insert_planted,
	insert_resumed, insert_rivals, insert_rival_seen, insert_rival_killed,
	insert_withdrawn, insert_firm, insert_put, insert_resolve,
	insert_decide;

static uint64_t version_above(const struct op *op)
{
	uint64_t first =
		object_first_version(member_index_version(op->kv->member), 0);

	return first > op->above ? first : object_first_above(op->above);
}

/* It was deleted, as far as is known here: over the tombstone at once. */
static bool is_known_tomb(struct op *op, struct cache_entry *e)
{
	return !op->raw && op->above == 0 &&
	       cache_get(op->kv->cache, op->hash, op->rq->key, op->rq->klen, e,
			 NULL, 0) &&
	       e->word & SLOT_TOMB;
}

static int insert_unknown(struct op *op)
{
	cache_drop(op->kv->cache, op->hash, op->rq->key, op->rq->klen);
	return op_sleep(op, insert_start);
}

int insert_start(struct op *op)
{
	uint64_t version = version_above(op);
	struct cache_entry e;
	uint32_t n;
	int rc = op_locate(op, insert_start);

	if (rc != OP_AGAIN)
		return rc;
	if (is_known_tomb(op, &e)) {
		op_take_cached(op, &e);
		return op_commit(op, op_version_after(op), insert_unknown);
	}
	op->passed = false;
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

static int insert_look_round(struct op *op)
{
	op->cand = 0;
	op->lower = 0;
	return op_goto(op, insert_rivals);
}

static int insert_planted(struct op *op)
{
	if (op_failed(op, 0, 3) != 0)
		return op_unsure(op, insert_again);
	if (op->ops[0].old != 0)
		return op_goto(op, insert_reread);
	return insert_look_round(op);
}

/* From commit.c: it had passed when something failed; its word, which was seen
 * again in slot op->mine, is tentative still. */
int insert_resume(struct op *op)
{
	op_read_pairs(op, 0);
	return op_post(op, 2, insert_resumed);
}

static int insert_resumed(struct op *op)
{
	if (op_failed(op, 0, 2) != 0)
		return op_unsure(op, insert_again);
	return insert_look_round(op);
}

/* --- rivals --------------------------------------------------------------- */

static int withdraw(struct op *op)
{
	op->passed = false;
	fab_cas(&op->ops[0], op->host, op_slot_off(op, op->mine),
		op->word | SLOT_TENTATIVE, 0);
	return op_post(op, 1, insert_withdrawn);
}

static int insert_withdrawn(struct op *op)
{
	if (op_failed(op, 0, 1) != 0)
		return op_unsure(op, insert_again);
	return op_kill(op, insert_again);
}

static struct slot *cand_slot(struct op *op, uint32_t cand)
{
	return &op->pair[cand / BUCKET_PAIR_SLOTS][cand % BUCKET_PAIR_SLOTS];
}

static uint64_t cand_number(const struct op *op, uint32_t cand)
{
	return op->place[cand / BUCKET_PAIR_SLOTS] + cand % BUCKET_PAIR_SLOTS;
}

static int insert_pass(struct op *op);

static int insert_rivals(struct op *op)
{
	while (op->cand < 2 * BUCKET_PAIR_SLOTS) {
		uint64_t number = cand_number(op, op->cand);
		const struct slot *s = cand_slot(op, op->cand);

		op->cand++;
		if (s->word == 0 || slot_print(s->word) != op->print ||
		    number == op->mine)
			continue;
		op->seen.slot = number;
		op->seen.word = s->word;
		op->seen.hint = s->version;
		return op_fetch(op, insert_rival_seen);
	}
	op->seen.there = false;
	op->passed = true;
	return insert_pass(op);
}

/* Seen as slot op->cand - 1. */
static int is_lower(struct op *op)
{
	cand_slot(op, op->cand - 1)->word = op->seen.word;
	op->lower |= UINT32_C(1) << (op->cand - 1);
	return op_goto(op, insert_rivals);
}

static int insert_rival_seen(struct op *op)
{
	if (op_moved(op))
		return op_find_out(op, insert_again);
	if (op->fetched == -EBADMSG)
		return is_lower(op); /* of a client long dead */
	if (op->fetched == -ENOENT)
		return op_goto(op, insert_rivals);
	if (op->fetched != 0 && op->passed)
		return op_unsure(op, insert_again); /* to look again */
	if (op->fetched != 0 || !(op->seen.word & SLOT_TENTATIVE))
		return withdraw(op);
	if (op->seen.version < op->version)
		return is_lower(op);
	if (op->passed) /* it came later, and sees us */
		return op_goto(op, insert_rivals);
	op->above = op->seen.version;
	return withdraw(op);
}

/* --- past all others ------------------------------------------------------ */

static int confirm(struct op *op)
{
	uint64_t off = op_slot_off(op, op->mine);
	uint32_t n = op_fill_committed(op);

	fab_cas(&op->ops[n], op->host, off, op->word | SLOT_TENTATIVE,
		op->word);
	fab_cas(&op->ops[n + 1], op->host, off + offsetof(struct slot, version),
		op->hint, op->version);
	return op_post(op, n + 2, insert_firm);
}

static int insert_pass(struct op *op)
{
	uint32_t cand;

	if (op->lower == 0)
		return confirm(op);
	cand = (uint32_t)__builtin_ctz(op->lower);
	fab_cas(&op->ops[0], op->host, op_slot_off(op, cand_number(op, cand)),
		cand_slot(op, cand)->word, 0);
	return op_post(op, 1, insert_rival_killed);
}

/* Was it quicker? What else may be there came after us, and sees us. */
static int insert_rival_killed(struct op *op)
{
	uint64_t word = cand_slot(op, (uint32_t)__builtin_ctz(op->lower))->word;

	if (op_failed(op, 0, 1) != 0)
		return op_unsure(op, insert_again);
	if (op->ops[0].old == (word & ~SLOT_TENTATIVE))
		return withdraw(op);
	op->lower &= op->lower - 1;
	return insert_pass(op);
}

/* The copies are looked at by op_said(), once it is known to have won. */
static int insert_firm(struct op *op)
{
	const struct fab_op *cas = &op->ops[op->spot.copies];

	if (op_failed(op, op->spot.copies, op->spot.copies + 1) != 0)
		return op_unsure(op, insert_again);
	if (cas->old != (op->word | SLOT_TENTATIVE))
		return op_kill(op, insert_again);
	op->was.there = false;
	return op_goto(op, op_said);
}
