/* kv/node/sweep.c - what deletes leave behind, and how it goes.
 *
 * A deleted key's slot names a tombstone record, so that a replay does not
 * bring older records of the key back. It may go when none of those is left:
 *   1 each index host notes the tombstones in its shards, and what inserts have
 *     planted there tentatively
 *   2 each node goes through the records of its blocks (and of those on dead
 *     nodes whose stripe it leads) and marks all that are left over, with every
 *     member of the stripe: a replay passes over what is marked. Where it may
 *     not mark (open blocks), it has the tombstone kept.
 *   3 each host takes those of its noted tombstones that nobody wants kept, and
 *     that are still there, out of their slots, and marks their records.
 *     Likewise tentative words, if their client is gone.
 * The coordinator says when (coord_sweep.c); between 2 and 3 all clients adopt
 * a new index version. One slice at a time, in the worker. STOP ends what is
 * under way; when it is answered, nothing is.
 *
 * T1. A tombstone leaves its slot only after every older record of its key is
 *     marked with all members that are up.
 *     Who is no client any more, as the coordinator says with each phase, and
 *     wrote something before, will not touch it: ids are never used twice. Who
 *     is only not connected here just now may.
 * T2. No mark is set on units that may be written again under the same life. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kv/node/sweep_impl.h"
#include "kv/slot.h"

enum { PHASE_STOP, PHASE_NOTE, PHASE_MARK, PHASE_DROP };

int sweep_open(struct node *n)
{
	struct sweep *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return -ENOMEM;
	s->record = malloc(OBJECT_BYTES_MAX);
	if (s->record == NULL) {
		free(s);
		return -ENOMEM;
	}
	n->sweep = s;
	return 0;
}

/* Free what phase 2 needs. */
static void scan_end(struct node *n)
{
	struct sweep *s = n->sweep;

	walk_close(s->walk);
	image_close(s->image);
	s->walk = NULL;
	s->image = NULL;
	node_marks_drop(&n->sweep->marks);
}

void sweep_close(struct node *n)
{
	struct sweep *s = n->sweep;

	if (s->asked != NULL)
		fab_reply(s->asked, -ECANCELED, NULL, 0);
	if (s->rq != NULL)
		fab_reply(s->rq, -ECANCELED, NULL, 0);
	scan_end(n);
	free(s->tomb);
	free(s->record);
	free(s);
}

/* --- in the server's thread, locked --------------------------------------- */

/* It was asked for before: the last to ask is told. */
static bool asked_again(struct sweep *s, struct fab_request *rq, uint64_t round)
{
	if (round != s->round)
		return false;
	if (s->rq == NULL) {
		fab_reply(rq, s->ended, &s->out,
			  s->ended == 0 ? sizeof(s->out) : 0);
		return true;
	}
	fab_reply(s->rq, -ECANCELED, NULL, 0);
	s->rq = rq;
	return true;
}

int sweep_ask(struct node *n, struct fab_request *rq,
	      const struct proto_sweep *what)
{
	struct sweep *s = n->sweep;

	if (what->phase > PHASE_DROP || what->round == 0)
		return -EINVAL;
	if (asked_again(s, rq, what->round))
		return 0;
	if (s->asked != NULL)
		fab_reply(s->asked, -ECANCELED, NULL, 0);
	s->asked = rq;
	s->what = *what;
	return 0;
}

static int tomb_cmp(const void *a, const void *b)
{
	const struct sweep_tomb *x = a, *y = b;

	if (x->shard != y->shard)
		return x->shard < y->shard ? -1 : 1;
	return x->slot < y->slot ? -1 : x->slot > y->slot;
}

int sweep_keep(struct node *n, const struct proto_keep *rq)
{
	struct sweep *s = n->sweep;
	struct sweep_tomb *t;
	uint32_t i;

	for (i = 0; i < rq->n && s->tombs > 0; i++) {
		struct sweep_tomb key = {.shard = rq->shard,
					 .slot = rq->slot[i]};

		t = bsearch(&key, s->tomb, s->tombs, sizeof(*t), tomb_cmp);
		if (t != NULL)
			t->keep = true;
	}
	return 0;
}

/* --- phase 1 -------------------------------------------------------------- */

static int note_shard(struct node *n, uint32_t shard, struct sweep_tomb *tomb,
		      size_t *tombs)
{
	const char *base = (const char *)n->opts.region +
			   sweep_slot_off(n, shard, n->id, 0);
	uint32_t slot, slots;
	uint64_t word;

	slots = n->super.layout.index_groups * BUCKET_GROUP * BUCKET_SLOTS;
	for (slot = 0; slot < slots && *tombs < SWEEP_TOMBS_MAX; slot++) {
		word = __atomic_load_n(
			(const uint64_t *)(base + slot * sizeof(struct slot)),
			__ATOMIC_RELAXED);
		if (!(word & (SLOT_TOMB | SLOT_TENTATIVE)))
			continue;
		tomb[(*tombs)++] = (struct sweep_tomb){
			.word = word, .shard = shard, .slot = slot};
	}
	return 0;
}

static int note(struct node *n)
{
	struct sweep *s = n->sweep;
	struct sweep_tomb *tomb = malloc(SWEEP_TOMBS_MAX * sizeof(*tomb)), *fit;
	uint32_t shard;
	size_t tombs = 0;

	if (tomb == NULL)
		return -ENOMEM;
	for (shard = 0; shard < s->view.nodes; shard++)
		if (s->view.host[shard] == n->id &&
		    s->view.shard[shard] == VIEW_SHARD_SERVING)
			note_shard(n, shard, tomb, &tombs);
	fit = realloc(tomb, (tombs + 1) * sizeof(*tomb));
	pthread_mutex_lock(&n->lock);
	free(s->tomb);
	s->tomb = fit != NULL ? fit : tomb;
	s->tombs = tombs;
	pthread_mutex_unlock(&n->lock);
	s->up = view_up(&s->view);
	s->members = view_members(&s->view);
	s->out.tombs = tombs;
	return 0;
}

/* --- phase 2 -------------------------------------------------------------- */

/* Does this node answer for the block? */
static bool is_mine(const struct node *n, const struct walk_block *wb)
{
	if (wb->rec.kind != BLOCK_RECORDS)
		return false;
	if (wb->up)
		return wb->node == n->id;
	return node_leader(node_group(n), wb->stripe, n->sweep->up) ==
	       (int)n->id;
}

/* The record of (stripe, role) in this very node, as it is now. */
static void load_rec(struct node *n, struct walk_block *wb)
{
	const struct group *g = node_group(n);
	uint32_t r, node, block;

	for (r = 0; r < group_width(g); r++) {
		if (r < g->k && r != wb->role)
			continue;
		group_member(g, wb->stripe, r, &node, &block);
		if (node != n->id)
			continue;
		block_load((const struct block_rec *)((char *)n->opts.region +
						      group_rec_off(g, block,
								    wb->role)),
			   &wb->rec);
		return;
	}
}

/* T2: the record is looked at before the bytes: what is in a block that is not
 * open any more stays there as long as its life does. */
static int mark_block(struct node *n, struct walk_block *wb)
{
	struct sweep *s = n->sweep;
	int rc;

	load_rec(n, wb);
	if (wb->rec.state == BLOCK_FREE)
		return 0;
	rc = image_start(s->image, n->fab, s->up, wb);
	if (rc == 0)
		rc = image_finish(s->image, n->fab);
	if (rc == -ENODATA)
		return 0;
	return rc != 0 ? rc : sweep_look(n);
}

/* Refused: the block is on its way to be opened again. A moment later it is
 * READY or has its new life, and can be dealt with as such. */
static int mark_again(struct node *n, const struct walk_block *wb)
{
	struct sweep *s = n->sweep;

	node_marks_drop(&n->sweep->marks);
	if (s->tries++ >= SWEEP_TRIES)
		return -EAGAIN;
	s->redo = *wb;
	s->redoing = true;
	s->again_ns = fab_now(n->fab) + SWEEP_AGAIN_NS;
	return 1;
}

static int mark_begin(struct node *n)
{
	struct sweep *s = n->sweep;
	int rc;

	rc = walk_open(node_group(n), s->up, false, &s->walk);
	if (rc == 0)
		rc = image_open(node_group(n), n->code, &s->image);
	return rc != 0 ? rc : 1;
}

static int mark_step(struct node *n)
{
	struct walk_block wb;
	int rc;

	if (n->sweep->walk == NULL)
		return mark_begin(n);
	if (n->sweep->redoing) {
		wb = n->sweep->redo;
		n->sweep->redoing = false;
	} else {
		do {
			rc = walk_next(n->sweep->walk, n->fab, &wb);
			if (rc <= 0)
				return rc;
		} while (!is_mine(n, &wb));
		n->sweep->tries = 0;
	}
	rc = mark_block(n, &wb);
	if (rc == -EAGAIN)
		return mark_again(n, &wb);
	return rc != 0 ? rc : 1;
}

/* --- phase 3 -------------------------------------------------------------- */

static int cas_out(struct node *n, const struct sweep_tomb *t, bool *won)
{
	struct fab_op op;
	struct fab_batch b = {.ops = &op, .n = 1};
	int rc;

	fab_cas(&op, (uint8_t)n->id,
		sweep_slot_off(n, t->shard, n->id, t->slot), t->word, 0);
	rc = fab_run(n->fab, &b);
	if (rc == 0)
		rc = op.status;
	*won = rc == 0 && op.old == t->word;
	return rc;
}

/* The life of the block by which a record in it is marked; read before the
 * record is, see ec/again.h, A3. */
static int life_of(struct node *n, uint64_t stripe, uint32_t role,
		   uint32_t *life)
{
	const struct group *g = node_group(n);
	uint32_t node, block, r = g->k;
	struct block_rec rec;
	struct fab_op op;
	struct fab_batch b = {.ops = &op, .n = 1};
	int rc;

	group_member(g, stripe, role, &node, &block);
	while (!(n->sweep->up >> node & 1) && r < group_width(g))
		group_member(g, stripe, r++, &node, &block);
	fab_read(&op, (uint8_t)node, group_rec_off(g, block, role), &rec,
		 sizeof(rec));
	rc = fab_run(n->fab, &b);
	if (rc == 0)
		rc = op.status;
	*life = rec.life;
	return rc;
}

/* What it says of itself is read before it goes; whoever takes it out of the
 * slot, and only that one, marks it. */
static int drop(struct node *n, const struct sweep_tomb *t)
{
	uint64_t stripe;
	uint32_t role, at, life;
	struct object o;
	bool won;
	int rc;

	if (group_locate(node_group(n), slot_addr(t->word), &stripe, &role,
			 &at) != 0)
		return 0;
	rc = life_of(n, stripe, role, &life);
	if (rc == 0)
		rc = sweep_fetch(n, t->word, &o);
	if (rc == -EBADMSG || rc == -ENODATA)
		return 0; /* replaced meanwhile */
	if (rc == 0 && t->word & SLOT_TENTATIVE && !sweep_owner_gone(n, &o))
		return 0; /* it will be firm, or go, by itself */
	if (rc == 0)
		rc = cas_out(n, t, &won);
	if (rc != 0 || !won)
		return rc;
	n->sweep->out.tombs++;
	return sweep_mark(n, stripe, role, life, at / GROUP_UNIT_BYTES,
			  o.hdr.units);
}

static bool next_tomb(struct node *n, struct sweep_tomb *out)
{
	struct sweep *s = n->sweep;
	bool found = false;

	pthread_mutex_lock(&n->lock);
	while (s->at < s->tombs && s->tomb[s->at].keep)
		s->at++;
	found = s->at < s->tombs;
	if (found)
		*out = s->tomb[s->at++];
	pthread_mutex_unlock(&n->lock);
	return found;
}

/* A mark that is refused leaves a few units behind, no more. */
static int drop_step(struct node *n)
{
	struct sweep_tomb t;
	uint32_t i;
	int rc = 0;

	for (i = 0; i < SWEEP_SLICE && (rc == 0 || rc == -EAGAIN); i++) {
		if (!next_tomb(n, &t)) {
			rc = node_marks_flush(n, &n->sweep->marks);
			return rc == -EAGAIN ? 0 : rc;
		}
		rc = drop(n, &t);
	}
	return rc != 0 && rc != -EAGAIN ? rc : 1;
}

/* --- in the worker -------------------------------------------------------- */

static bool sweep_take(struct node *n)
{
	struct sweep *s = n->sweep;

	bool found;

	pthread_mutex_lock(&n->lock);
	found = s->asked != NULL;
	if (found) {
		s->rq = s->asked;
		s->phase = s->what.phase;
		s->round = s->what.round;
		s->epoch = s->what.epoch;
		s->asked = NULL;
		s->at = 0;
		s->redoing = false;
		s->again_ns = 0;
		s->out = (struct proto_swept){0};
	}
	pthread_mutex_unlock(&n->lock);
	return found;
}

static bool is_busy(struct node *n)
{
	bool busy;

	pthread_mutex_lock(&n->lock);
	busy = n->sweep->rq != NULL;
	pthread_mutex_unlock(&n->lock);
	return busy;
}

static void sweep_end(struct node *n, int rc)
{
	struct sweep *s = n->sweep;

	scan_end(n);
	if (rc != 0 || s->phase == PHASE_DROP)
		s->up = 0; /* the next one begins anew */
	pthread_mutex_lock(&n->lock);
	s->ended = rc;
	fab_reply(s->rq, rc, &s->out, rc == 0 ? sizeof(s->out) : 0);
	s->rq = NULL;
	pthread_mutex_unlock(&n->lock);
}

static int sweep_step(struct node *n)
{
	struct sweep *s = n->sweep;

	if (s->phase == PHASE_STOP)
		return 0;
	if (s->stop)
		return -ECANCELED;
	if (s->phase == PHASE_NOTE)
		return note(n);
	if (s->up != view_up(&s->view) || s->members != view_members(&s->view))
		return -ESTALE; /* a death since: T1 would not hold */
	if (s->phase == PHASE_MARK)
		return mark_step(n);
	/* A later epoch says that nothing is dropped any more: K3, rounds.h. */
	return s->epoch == s->view.epoch ? drop_step(n) : -ESTALE;
}

int sweep_work(struct node *n, uint64_t *again)
{
	struct sweep *s = n->sweep;
	int rc;

	if (!is_busy(n) && !sweep_take(n))
		return 0;
	if (fab_now(n->fab) < s->again_ns) {
		node_again(again, s->again_ns);
		return 0;
	}
	pthread_mutex_lock(&n->lock);
	s->view = n->view.view;
	s->stop = s->asked != NULL; /* something else is wanted now */
	pthread_mutex_unlock(&n->lock);
	rc = sweep_step(n);
	if (rc <= 0)
		sweep_end(n, rc);
	return 1;
}
