/* kv/client/block_seal.c - a full or forsaken block goes back to the nodes.
 *
 *	1. units that may be torn, or hold nothing any more, are made alike in
 *	   all copies (block_mend.c)
 *	2. MARK the units that hold nothing, then SEAL, to every member that is
 *	   up; a block never written is CANCELed instead
 * A member that could not be told is told again later; messages bear being
 * repeated, the first step does not: who has heard the seal, though its answer
 * was lost, may have folded the block since, and given its delta block away.
 * A member that is DOWN has nothing to be told.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kv/client/member.h"
#include "kv/client/space_impl.h"
#include "kv/proto.h"
#include "kv/stats.h"

struct sealing {
	struct space *sp;
	struct kv_thread *t;
	struct space_block *b;
	uint64_t untold; /* members that are up and not yet told */
	struct proto_mark *marks;
	uint32_t marks_len;
	/* What is refused is of no use to us: it cannot be, in an open block.
	 */
	struct proto_marked marked[CODE_WIDTH_MAX];
};

/* --- messages to the members --------------------------------------------- */

static bool told(struct sealing *s, const struct fab_op *op)
{
	if (op->status == 0)
		return true;
	if (op->status == -EHOSTDOWN || op->status == -ETIMEDOUT)
		member_suspect(s->sp->kv->member, s->t, op->node);
	if (op->status == -ESTALE || op->status == -EAGAIN)
		return false; /* of another epoch: soon */
	/* It may have heard us before, and the block be somebody else's. */
	if (op->status == -EINVAL && s->b->tries != 0)
		return true;
	if (s->b->tries < SPACE_SEAL_TRIES)
		return false;
	doubt_node(s->sp, op->node);
	return true;
}

/* Post up to two messages to each member to be told; those that took all are
 * in *done. @seal NULL: only the marks. */
static int tell(struct sealing *s, const struct proto_seal *seal, uint16_t type,
		uint64_t *done)
{
	struct fab_op ops[2 * CODE_WIDTH_MAX];
	struct fab_batch batch = {
		.ops = ops,
		.deadline_ns = fab_now(s->t->fab) + SPACE_CALL_NS,
	};
	const struct space_block *b = s->b;
	int rc;

	*done = 0;
	for (uint32_t i = 0; i < b->members; i++) {
		uint8_t node = b->member[i].node;

		if (!(s->untold >> node & 1))
			continue;
		*done |= UINT64_C(1) << node;
		if (s->marks_len != 0)
			fab_call(&ops[batch.n++], node, PROTO_MARK, s->marks,
				 s->marks_len, &s->marked[i],
				 sizeof(s->marked[i]));
		if (seal != NULL)
			fab_call(&ops[batch.n++], node, type, seal,
				 sizeof(*seal), NULL, 0);
	}
	rc = fab_run(s->t->fab, &batch);
	for (uint32_t i = 0; i < batch.n; i++)
		if (rc != 0 || !told(s, &ops[i]))
			*done &= ~(UINT64_C(1) << ops[i].node);
	return rc;
}

/* The runs from *from on, as many as go in one message. True if more are. */
static bool fill_marks(struct sealing *s, uint32_t *from)
{
	struct units_run run;

	s->marks->n = 0;
	s->marks->epoch = member_epoch(s->sp->kv->member);
	while (units_next_given(&s->b->units, *from, &run)) {
		if (s->marks->n == PROTO_MARKS_MAX)
			return true;
		s->marks->mark[s->marks->n++] = (struct proto_mark_one){
			.stripe = s->b->stripe,
			.role = s->b->role,
			.life = s->b->life,
			.at = run.at,
			.len = run.len,
		};
		*from = run.at + run.len;
	}
	s->marks_len =
		s->marks->n == 0
			? 0
			: (uint32_t)(sizeof(*s->marks) +
				     s->marks->n * sizeof(s->marks->mark[0]));
	return false;
}

static int seal_written(struct sealing *s, const struct proto_seal *seal)
{
	uint32_t from = 0;
	uint64_t done;
	int rc = -ENOMEM;

	s->marks = malloc(sizeof(*s->marks) +
			  PROTO_MARKS_MAX * sizeof(s->marks->mark[0]));
	if (s->marks == NULL)
		return rc;
	while (fill_marks(s, &from)) {
		s->marks_len =
			(uint32_t)(sizeof(*s->marks) +
				   PROTO_MARKS_MAX * sizeof(s->marks->mark[0]));
		rc = tell(s, NULL, 0, &done);
		if (rc != 0 || done != s->untold) {
			rc = -EAGAIN;
			goto out;
		}
	}
	rc = tell(s, seal, PROTO_SEAL, &done);
	s->b->sealed |= done;
	s->untold &= ~done;
out:
	free(s->marks);
	return rc != 0 ? rc : s->untold != 0 ? -EAGAIN : 0;
}

/* Nothing was written: the leader frees it last. */
static int seal_empty(struct sealing *s, const struct proto_seal *seal)
{
	uint64_t leader = s->untold & UINT64_C(1) << s->b->leader, done;
	int rc;

	s->untold &= ~leader;
	rc = tell(s, seal, PROTO_CANCEL, &done);
	s->b->sealed |= done;
	if (rc != 0 || done != s->untold)
		return -EAGAIN;
	s->untold = leader;
	rc = tell(s, seal, PROTO_CANCEL, &done);
	s->b->sealed |= done;
	return rc != 0 || done != s->untold ? -EAGAIN : 0;
}

static uint64_t members_up(const struct sealing *s)
{
	uint64_t nodes = 0;

	for (uint32_t i = 0; i < s->b->members; i++)
		if (space_member_holds(s->sp, s->b, i))
			nodes |= UINT64_C(1) << s->b->member[i].node;
	return nodes;
}

/* Told once: of a member that does not hear it doubt.c takes care. */
void block_return(struct space *sp, struct kv_thread *t, struct space_block *b)
{
	struct sealing s = {.sp = sp, .t = t, .b = b};
	struct proto_seal seal = {
		.epoch = member_epoch(sp->kv->member),
		.stripe = b->stripe,
		.role = b->role,
		.owner = sp->kv->id,
		.life = b->life,
		.used = sp->total * GROUP_UNIT_BYTES,
	};

	s.untold = members_up(&s);
	seal_written(&s, &seal);
	for (uint32_t i = 0; i < b->members; i++)
		if (s.untold >> b->member[i].node & 1)
			doubt_node(sp, b->member[i].node);
	b->sealed = 0;
}

static int seal_now(struct space *sp, struct kv_thread *t,
		    struct space_block *b)
{
	struct sealing s = {.sp = sp, .t = t, .b = b};
	struct proto_seal seal = {
		.epoch = member_epoch(sp->kv->member),
		.stripe = b->stripe,
		.role = b->role,
		.owner = sp->kv->id,
		.life = b->life,
		.used = b->units.bump * GROUP_UNIT_BYTES,
		.torn = b->torn,
	};
	int rc;

	s.untold = members_up(&s) & ~b->sealed;
	if (b->units.bump == 0)
		return seal_empty(&s, &seal);
	rc = block_mend(sp, t, b, s.untold & ~b->mended);
	if (rc != 0)
		return rc;
	b->mended |= s.untold; /* from here on they may have heard the seal */
	return seal_written(&s, &seal);
}

/* --- whose turn it is ---------------------------------------------------- */

/* Make @b SEALING if it is quiet, and be the one thread that works on it. */
static bool claim(struct space *sp, struct space_block *b)
{
	struct space_lane *lane = space_lane_of(sp, atomic_load(&b->lane));
	uint8_t state;
	bool mine = false;

	pthread_mutex_lock(&lane->lock);
	state = atomic_load(&b->state);
	if (space_lane_of(sp, atomic_load(&b->lane)) != lane)
		state = SPACE_UNUSED; /* it has moved on to another life */
	if (state == SPACE_CLOSING && atomic_load(&b->inflight) == 0) {
		if (b->kind != BLOCK_ROWS)
			atomic_store(space_open_at(sp, b), 0);
		units_hold_end(&b->units);
		atomic_store(&b->state, SPACE_SEALING);
		mine = true;
	} else if (state == SPACE_SEALING && !b->busy) {
		mine = true;
	}
	if (mine)
		b->busy = true;
	pthread_mutex_unlock(&lane->lock);
	return mine;
}

int block_seal(struct space *sp, struct kv_thread *t, struct space_block *b)
{
	struct space_lane *lane;
	uint8_t state = atomic_load(&b->state);
	int rc;

	if (state != SPACE_CLOSING && state != SPACE_SEALING)
		return 0;
	if (!claim(sp, b))
		return 0;
	rc = seal_now(sp, t, b);
	if (rc == 0) {
		stat_add(&t->stats.blocks_sealed, 1);
		block_put(sp, b);
		return 1;
	}
	lane = space_lane_of(sp, atomic_load(&b->lane));
	pthread_mutex_lock(&lane->lock);
	b->busy = false;
	b->tries++;
	pthread_mutex_unlock(&lane->lock);
	return rc;
}
