/* kv/node/coord_sweep.c - when to sweep (kv/node/sweep.c), and step by step.
 *
 *   SNAPSHOT  every index host notes the tombstones it has now
 *   WAIT      what began before is over
 *   MARK      every node marks the leftovers in the blocks it answers for
 *   ADOPT     index version + 1, adopted by all: what is inserted from now on
 *             has a higher version than anything before
 *   DROP      the tombstones that are still as they were go
 *
 * It begins when tombstones take much of what is used or a client died, which
 * may have left records that no slot names; and backs off when it
 * gains little. A death ends it; nothing of it needs to be undone. What a node
 * has under way then goes on a little: it must not when an index moves to
 * another node though its last one lives, so STOP tells all to leave off. */
#include <errno.h>

#include "kv/node/coord_impl.h"
#include "kv/node/rounds.h"

#define SWEEP_TOMBS_MIN	 64u
#define SWEEP_TOMBS_MANY 4096u
#define SWEEP_SHARE	 4u /* of the slots in use: one in so many */

enum { PHASE_STOP, PHASE_SNAPSHOT, PHASE_MARK, PHASE_DROP };

/* --- CALLs: locked -------------------------------------------------------- */

static void sweep_call(struct coord *c, uint32_t id, uint32_t phase);

static void sweep_end(struct coord *c, struct coord_call *call, int status)
{
	struct coord_sweep *s = &c->sweep;

	if (call->tag != s->round)
		return;
	s->out &= ~(UINT64_C(1) << call->node);
	if (status == -ETIMEDOUT)
		sweep_call(c, call->node, call->req.sweep.phase);
	else if (status != 0)
		s->failed = true;
	else if (s->state == SWEEP_SNAPSHOT)
		s->found += call->reply.swept.tombs;
	else if (s->state == SWEEP_MARK)
		s->left += call->reply.swept.tombs;
	else if (s->state == SWEEP_DROP)
		s->dropped += call->reply.swept.tombs;
	coord_kick(c);
}

/* What a client that lives has written is its own, whatever it is connected
 * to just now. */
static void tell_living(const struct coord *c, struct proto_sweep *rq)
{
	const struct coord_client *cl;

	rq->next = c->next_client;
	TAILQ_FOREACH (cl, &c->clients, link) {
		if (rq->lives < PROTO_SWEEP_LIVES_MAX)
			rq->life[rq->lives] = cl->id;
		rq->lives++;
	}
}

static void sweep_call(struct coord *c, uint32_t id, uint32_t phase)
{
	struct coord_call *call = coord_call_new(c, id, PROTO_SWEEP, sweep_end);

	if (call == NULL) {
		c->sweep.failed = true;
		return;
	}
	call->tag = c->sweep.round;
	call->timeout_ns = COORD_ASK_NS;
	call->req.sweep = (struct proto_sweep){.epoch = c->view.epoch,
					       .round = c->sweep.round,
					       .phase = phase};
	tell_living(c, &call->req.sweep);
	c->sweep.out |= UINT64_C(1) << id;
}

static void sweep_phase(struct coord *c, enum sweep_state state, uint32_t phase)
{
	uint32_t id;

	c->sweep.state = state;
	c->sweep.round++;
	c->sweep.out = 0;
	for (id = 0; id < c->view.nodes; id++)
		if (c->sweep.up >> id & 1)
			sweep_call(c, id, phase);
}

/* --- when ----------------------------------------------------------------- */

/* Nor do they wait to go home. */
static bool all_serve(const struct coord *c)
{
	uint32_t s;

	for (s = 0; s < c->view.nodes; s++)
		if (c->view.node[s] == VIEW_NODE_COMING ||
		    (c->view.node[s] == VIEW_NODE_UP && c->view.host[s] != s) ||
		    c->view.shard[s] == VIEW_SHARD_REBUILDING ||
		    c->view.shard[s] == VIEW_SHARD_SETTLING)
			return false;
	return true;
}

static bool worth_it(const struct coord *c)
{
	uint64_t used = 0, tombs = 0;
	uint32_t id;

	for (id = 0; id < c->view.nodes; id++)
		if (c->view.node[id] == VIEW_NODE_UP) {
			used += c->node[id].stats.slots_used;
			tombs += c->node[id].stats.tombs;
		}
	if (!all_serve(c))
		return false;
	return c->sweep.death ||
	       (tombs >= SWEEP_TOMBS_MIN &&
		(tombs >= SWEEP_TOMBS_MANY || tombs >= used / SWEEP_SHARE));
}

/* --- who was there -------------------------------------------------------- */

/* Without memory nobody counts as having been gone. */
static void ids_take(struct coord_ids *ids, const struct coord *c)
{
	const struct coord_client *cl;
	uint32_t n = 0;

	TAILQ_FOREACH (cl, &c->clients, link)
		n++;
	free(ids->in);
	*ids = (struct coord_ids){.in = calloc(n + 1, sizeof(*ids->in))};
	if (ids->in == NULL)
		return;
	TAILQ_FOREACH (cl, &c->clients, link)
		ids->in[ids->n++] = cl->id;
	ids->next = c->next_client;
}

static void ids_move(struct coord_ids *to, struct coord_ids *from)
{
	free(to->in);
	*to = *from;
	*from = (struct coord_ids){0};
}

bool coord_sweep_over(const struct coord *c, uint32_t id)
{
	const struct coord_ids *ids = &c->sweep.swept;

	if (id >= ids->next)
		return false;
	for (uint32_t i = 0; i < ids->n; i++)
		if (ids->in[i] == id)
			return false;
	return true;
}

void coord_sweep_past(struct coord *c, uint32_t next)
{
	c->sweep.swept.next = next;
}

void coord_sweep_close(struct coord *c)
{
	free(c->sweep.begun_ids.in);
	free(c->sweep.swept.in);
}

/* --- step by step --------------------------------------------------------- */

static void sweep_begin(struct coord *c)
{
	ids_take(&c->sweep.begun_ids, c);
	c->sweep.for_death = c->sweep.death;
	c->sweep.up = view_members(&c->view);
	c->sweep.begun = true;
	c->sweep.found = 0;
	c->sweep.dropped = 0;
	c->sweep.left = 0;
	c->sweep.failed = false;
	c->sweep.death = false;
	sweep_phase(c, SWEEP_SNAPSHOT, PHASE_SNAPSHOT);
}

/* K3 of rounds.h: no image from before this is used again, as it may have a key
 * whose tombstone is gone. A node that still drops, late, finds itself in a new
 * epoch and stops. */
static void sweep_dropped(struct coord *c)
{
	uint32_t s;

	c->view.epoch++;
	for (s = 0; s < c->view.nodes; s++)
		c->least[s] = c->view.epoch << ROUNDS_EPOCH_SHIFT;
	coord_view_changed(c);
}

/* What a death left is still to be found. */
static void sweep_ended(struct coord_sweep *s)
{
	if (s->state == SWEEP_DROP && !s->failed && s->left == 0)
		ids_move(&s->swept, &s->begun_ids);
	else
		s->death |= s->for_death;
	s->for_death = false;
}

/* Little gained: they are held up by blocks that are still open; look again
 * later and later. */
static void sweep_over(struct coord *c, uint64_t now)
{
	struct coord_sweep *s = &c->sweep;
	bool good = !s->failed && s->dropped >= s->found / 2;

	if (s->state == SWEEP_DROP && (s->failed || s->dropped > 0))
		sweep_dropped(c);
	sweep_ended(s);
	s->state = SWEEP_IDLE;
	s->every_ns = good ? COORD_SWEEP_EVERY_NS : s->every_ns * 2;
	if (s->every_ns > COORD_SWEEP_EVERY_MAX_NS)
		s->every_ns = COORD_SWEEP_EVERY_MAX_NS;
	/* Who died meanwhile is not to wait for long. */
	s->at_ns = s->death && !s->failed ? now : now + s->every_ns;
}

static void look_end(struct coord *c, struct coord_call *call, int status)
{
	if (status == 0)
		c->node[call->node].stats = call->reply.stats;
	c->sweep.looking &= ~(UINT64_C(1) << call->node);
	if (c->sweep.looking == 0 && c->sweep.state == SWEEP_IDLE &&
	    worth_it(c))
		sweep_begin(c);
	coord_kick(c);
}

/* Nobody is there to delete anything: nothing to look at. */
static int sweep_look(struct coord *c, uint64_t now)
{
	uint32_t id;

	c->sweep.at_ns = now + c->sweep.every_ns;
	if (TAILQ_EMPTY(&c->clients) || c->sweep.looking != 0)
		return 0;
	for (id = 0; id < c->view.nodes; id++)
		if (c->view.node[id] == VIEW_NODE_UP &&
		    coord_call_new(c, id, PROTO_STATS, look_end) != NULL)
			c->sweep.looking |= UINT64_C(1) << id;
	return 1;
}

static void sweep_adopt(struct coord *c)
{
	c->sweep.state = SWEEP_ADOPT;
	c->view.index_version++;
	c->view.epoch++;
	c->sweep.epoch = c->view.epoch;
	coord_view_changed(c);
}

bool coord_sweep_stopped(struct coord *c)
{
	struct coord_sweep *s = &c->sweep;

	if (!s->begun)
		return true;
	if (s->state != SWEEP_STOP) {
		if (s->state == SWEEP_DROP)
			sweep_dropped(c);
		s->up = view_members(&c->view);
		s->failed = true;
		sweep_ended(s);
		s->failed = false;
		sweep_phase(c, SWEEP_STOP, PHASE_STOP);
	}
	return false;
}

/* All have left off; or some are to be told again. */
static void stop_next(struct coord *c, uint64_t now)
{
	struct coord_sweep *s = &c->sweep;

	s->begun = s->failed;
	s->state = SWEEP_IDLE;
	s->at_ns = now + s->every_ns;
	coord_kick(c);
}

/* The CALLs of a phase have ended. */
static void sweep_next(struct coord *c, uint64_t now)
{
	struct coord_sweep *s = &c->sweep;

	if (s->state == SWEEP_STOP) {
		stop_next(c, now);
	} else if (s->failed || s->state == SWEEP_DROP ||
		   (s->state == SWEEP_SNAPSHOT && s->found == 0 &&
		    !s->for_death)) {
		sweep_over(c, now);
	} else if (s->state == SWEEP_SNAPSHOT) {
		s->state = SWEEP_WAIT;
		s->at_ns = now + c->opts.settle_ms * COORD_MS;
	} else {
		sweep_adopt(c);
	}
}

static int sweep_go_on(struct coord *c, uint64_t now, uint64_t *again)
{
	struct coord_sweep *s = &c->sweep;

	switch (s->state) {
	case SWEEP_IDLE:
	case SWEEP_WAIT:
		if (now < s->at_ns) {
			coord_again(again, s->at_ns);
			return 0;
		}
		if (s->state == SWEEP_IDLE)
			return sweep_look(c, now);
		sweep_phase(c, SWEEP_MARK, PHASE_MARK);
		return 1;
	case SWEEP_ADOPT:
		if (!coord_settled(c, s->epoch))
			return 0;
		sweep_phase(c, SWEEP_DROP, PHASE_DROP);
		return 1;
	default:
		if (s->out != 0)
			return 0;
		sweep_next(c, now);
		return 1;
	}
}

int coord_sweep_step(struct coord *c, uint64_t now, uint64_t *again)
{
	int did;

	pthread_mutex_lock(&c->lock);
	if (c->sweep.state != SWEEP_IDLE &&
	    c->sweep.up != view_members(&c->view)) {
		c->sweep.round++; /* answers to come mean nothing now */
		c->sweep.failed = true;
		sweep_over(c, now);
	}
	did = sweep_go_on(c, now, again);
	pthread_mutex_unlock(&c->lock);
	return did;
}
