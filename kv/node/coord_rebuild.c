/* kv/node/coord_rebuild.c - what follows a death: shards are brought back, and
 * the blocks of dead clients closed. */
#include <errno.h>
#include <stdlib.h>

#include "kv/node/coord_impl.h"
#include "kv/node/rounds.h"

/* --- shards --------------------------------------------------------------- */

/* More than the code bears is gone: better no answer than a wrong one. */
static void shard_lost(struct coord *c, uint32_t shard)
{
	c->view.shard[shard] = VIEW_SHARD_LOST;
	c->view.epoch++;
	coord_view_changed(c);
}

/* Now for what the death interrupted; a client that does not settle it is
 * fenced as one that does not adopt a view. */
static void rebuilt(struct coord *c, uint32_t shard)
{
	bool replayed = c->view.source[shard] == 0;

	if (view_shard_settles(&c->view, shard) != 0)
		return;
	if (replayed)
		c->least[shard] = c->view.epoch << ROUNDS_EPOCH_SHIFT;
	coord_barrier(c, fab_now(c->fab));
}

/* What is told later than COORD_ASK_NS is waited for by asking again, and a
 * look at whether the node is there still. A copy's source may be what failed.
 */
static void rebuild_again(struct coord *c, struct coord_call *call,
			  uint32_t shard)
{
	uint32_t source = c->view.source[shard];

	c->rebuild_at = fab_now(c->fab) + COORD_RETRY_NS;
	c->suspect |= UINT64_C(1) << call->node;
	if (source != 0)
		c->suspect |= UINT64_C(1) << (source - 1);
	coord_kick(c);
}

static void rebuild_end(struct coord *c, struct coord_call *call, int status)
{
	uint32_t shard = call->req.rebuild.shard;

	if (call->tag != c->rebuild_round)
		return; /* of another view; asked again in this one */
	c->rebuilding &= ~(UINT64_C(1) << shard);
	if (status == 0) {
		rebuilt(c, shard);
		return;
	}
	if (status == -EIO || status == -ENOSPC) {
		shard_lost(c, shard);
		return;
	}
	rebuild_again(c, call, shard);
}

static int rebuild(struct coord *c, uint32_t shard)
{
	struct coord_call *call = coord_call_new(c, c->view.host[shard],
						 PROTO_REBUILD, rebuild_end);

	if (call == NULL)
		return -ENOMEM;
	call->tag = c->rebuild_round;
	call->timeout_ns = COORD_ASK_NS;
	call->req.rebuild = (struct proto_rebuild){.epoch = c->view.epoch,
						   .shard = shard,
						   .least = c->least[shard]};
	c->rebuilding |= UINT64_C(1) << shard;
	return 0;
}

/* Those that want it and whose REBUILD is not out. */
static uint64_t to_rebuild(const struct coord *c)
{
	uint64_t set = 0;
	uint32_t s;

	for (s = 0; s < c->view.nodes; s++)
		if (c->view.shard[s] == VIEW_SHARD_REBUILDING)
			set |= UINT64_C(1) << s;
	return set & ~c->rebuilding;
}

/* All clients are in a view that says SETTLING and have nothing open. */
static int serve_settled(struct coord *c)
{
	int did = 0;

	if (!coord_settled(c, c->barrier))
		return 0;
	for (uint32_t s = 0; s < c->view.nodes; s++)
		if (c->view.shard[s] == VIEW_SHARD_SETTLING &&
		    view_shard_serves(&c->view, s) == 0)
			did = 1;
	if (did)
		coord_view_changed(c);
	return did;
}

/* Nobody writes to the shards any more, and all nodes know which blocks have
 * lost their writer: a replay waits for these (R3 in replay.h). */
static bool may_rebuild(struct coord *c)
{
	return coord_settled(c, c->barrier) && TAILQ_EMPTY(&c->orphans);
}

int coord_rebuild_step(struct coord *c, uint64_t now, uint64_t *again)
{
	uint64_t lost;
	uint32_t s;
	int did = 0;

	pthread_mutex_lock(&c->lock);
	did = serve_settled(c);
	lost = to_rebuild(c);
	if (lost != 0 && now < c->rebuild_at)
		coord_again(again, c->rebuild_at);
	else if (lost != 0 && may_rebuild(c))
		for (s = 0; s < c->view.nodes; s++)
			if (lost >> s & 1 && rebuild(c, s) == 0)
				did = 1;
	pthread_mutex_unlock(&c->lock);
	return did;
}

/* --- the blocks of clients that are gone ---------------------------------- */

/* Without memory its blocks stay open: space is lost, nothing else. */
void coord_orphan_add(struct coord *c, uint32_t owner)
{
	struct coord_orphan *o = calloc(1, sizeof(*o));

	if (o == NULL)
		return;
	o->owner = owner;
	o->untold = view_members(&c->view);
	TAILQ_INSERT_TAIL(&c->orphans, o, link);
	coord_kick(c);
}

static struct coord_orphan *orphan_find(struct coord *c, uint64_t owner)
{
	struct coord_orphan *o;

	TAILQ_FOREACH (o, &c->orphans, link)
		if (o->owner == owner)
			return o;
	return NULL;
}

static void orphan_end(struct coord *c, struct coord_call *call, int status)
{
	struct coord_orphan *o = orphan_find(c, call->tag);

	if (o == NULL)
		return;
	o->out &= ~(UINT64_C(1) << call->node);
	if (status == 0)
		o->untold &= ~(UINT64_C(1) << call->node);
	else
		o->again_ns = fab_now(c->fab) + COORD_RETRY_NS;
	coord_kick(c);
}

static void orphan_tell(struct coord *c, struct coord_orphan *o, uint32_t id)
{
	struct coord_call *call =
		coord_call_new(c, id, PROTO_ORPHANS, orphan_end);

	if (call == NULL)
		return;
	call->tag = o->owner;
	call->req.orphans = (struct proto_orphans){.epoch = c->view.epoch,
						   .owner = o->owner};
	o->out |= UINT64_C(1) << id;
}

static int orphan_go_on(struct coord *c, struct coord_orphan *o, uint64_t now,
			uint64_t *again)
{
	uint64_t due;
	uint32_t id;

	o->untold &= view_members(&c->view);
	if (o->untold == 0 && o->out == 0) {
		TAILQ_REMOVE(&c->orphans, o, link);
		free(o);
		return 0;
	}
	if (now < o->again_ns) {
		coord_again(again, o->again_ns);
		return 0;
	}
	due = o->untold & ~o->out;
	for (id = 0; id < c->view.nodes; id++)
		if (due >> id & 1)
			orphan_tell(c, o, id);
	return due != 0;
}

int coord_orphans_step(struct coord *c, uint64_t now, uint64_t *again)
{
	struct coord_orphan *o, *next;
	int did = 0;

	pthread_mutex_lock(&c->lock);
	for (o = TAILQ_FIRST(&c->orphans); o != NULL; o = next) {
		next = TAILQ_NEXT(o, link);
		did |= orphan_go_on(c, o, now, again);
	}
	pthread_mutex_unlock(&c->lock);
	return did;
}
