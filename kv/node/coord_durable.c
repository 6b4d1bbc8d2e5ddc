/* kv/node/coord_durable.c - durable checkpoints of a pool with a directory.
 *
 *   IDLE    something changed and it is time, or somebody waits
 *     -> FREEZE  a view with frozen: every client settles what is under way and
 *                begins nothing; all are in it
 *     -> CUT     CUT to every node: what it knows is copied in memory
 *     -> STORE   a view without frozen: clients go on. STORE to every node:
 *                region and cut are written to its disk
 *     -> COMMIT  all have it: the pool file names this cut. From then on a
 *                restart goes back to it, and to no older one
 *     -> IDLE    a view with durable: what only older cuts needed is free
 *
 * Cuts are only made of whole pools: every node up, every shard serving. What
 * a node that is away has lost cannot be had from the disks of the others, for
 * their parity is of another time than the cut.
 *
 * A freeze is short or void. Clients that hear nothing for KV_FREEZE_NS go on
 * by themselves (this process may be dead); so a cut counts only if it is known
 * to be whole within FREEZE_NS of the moment before the view was told. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kv/log.h"
#include "kv/node/coord_impl.h"
#include "kv/node/rounds.h"

#define FREEZE_NS (700 * COORD_MS)
#define RETRY_NS  (200 * COORD_MS)
/* A disk in trouble is tried less and less often: each time clients hold still.
 */
#define TROUBLES_MAX 5u
#define ASKED_NS     (2 * COORD_MS) /* between two that are waited for */
/* What was given out after the last cut is not known after a crash. */
#define EPOCH_JUMP  (UINT64_C(1) << 20)
#define INDEX_JUMP  UINT64_C(64) /* has 24 bits in all: kv/client/insert.c */
#define CLIENT_JUMP 65536u

static bool is_whole(const struct coord *c)
{
	for (uint32_t i = 0; i < c->view.nodes; i++)
		if (c->view.node[i] != VIEW_NODE_UP ||
		    c->view.shard[i] != VIEW_SHARD_SERVING)
			return false;
	return true;
}

/* --- CALLs to all nodes --------------------------------------------------- */

/* Said once; then it is in the status until one is durable again. */
static void note_trouble(struct coord *c, uint32_t at, int status)
{
	struct coord_durable *d = &c->durable;

	if (d->trouble == 0 && at == DURABLE_POOLFILE)
		LOG(LOG_ERROR,
		    "no durable checkpoint can be made: the pool file: %s",
		    strerror(-status));
	else if (d->trouble == 0)
		LOG(LOG_ERROR,
		    "no durable checkpoint can be made: memory node %u: %s", at,
		    strerror(-status));
	d->trouble = status;
	d->trouble_at = at;
	d->troubles++;
}

static void round_end(struct coord *c, struct coord_call *call, int status)
{
	struct coord_durable *d = &c->durable;

	if (call->tag != d->round)
		return;
	d->out &= ~(UINT64_C(1) << call->node);
	if (status != 0) {
		d->failed = true;
		if (d->state == DURABLE_STORE)
			note_trouble(c, call->node, status);
		if (status == -ETIMEDOUT || status == -EHOSTDOWN)
			c->suspect |= UINT64_C(1) << call->node;
	}
	coord_kick(c);
}

static void round_begin(struct coord *c, uint16_t type, uint64_t timeout_ns)
{
	struct coord_durable *d = &c->durable;
	struct coord_call *call;

	d->round++;
	d->failed = false;
	d->out = 0;
	for (uint32_t id = 0; id < c->view.nodes; id++) {
		call = coord_call_new(c, id, type, round_end);
		if (call == NULL) {
			d->failed = true;
			continue;
		}
		call->tag = d->round;
		call->timeout_ns = timeout_ns;
		call->req.cut = (struct proto_cut){
			.epoch = c->view.epoch,
			.number = c->view.cut,
			.slot = d->at.slot ^ 1,
		};
		d->out |= UINT64_C(1) << id;
	}
}

/* --- from state to state: locked ------------------------------------------ */

static void set_frozen(struct coord *c, bool frozen)
{
	c->view.frozen = frozen;
	c->view.epoch++;
	coord_view_changed(c);
}

static void freeze(struct coord *c, uint64_t now)
{
	struct coord_durable *d = &c->durable;

	d->state = DURABLE_FREEZE;
	d->up = view_up(&c->view);
	d->changed = false;
	d->hurried = d->hurry;
	d->hurry = false;
	d->begun_ns = now;
	c->view.cut++;
	set_frozen(c, true);
	d->epoch = c->view.epoch;
}

/* Answers still to come mean nothing now. */
static void give_up(struct coord *c, uint64_t now)
{
	struct coord_durable *d = &c->durable;

	if (c->view.frozen)
		set_frozen(c, false);
	d->round++;
	d->out = 0;
	d->changed = true;
	d->hurry |= d->hurried; /* who asked may not ask again */
	d->last.failed++;
	d->next_ns =
		now + (RETRY_NS << (d->troubles < TROUBLES_MAX ? d->troubles
							       : TROUBLES_MAX));
	d->state = DURABLE_IDLE;
}

static void thaw(struct coord *c, uint64_t now)
{
	struct coord_durable *d = &c->durable;

	d->cut_ns = now;
	d->frozen_ns = now - d->begun_ns;
	set_frozen(c, false);
	d->state = DURABLE_STORE;
	round_begin(c, PROTO_STORE, COORD_LONG_NS);
}

static void answer(struct coord *c, struct coord_waiter *w, int status)
{
	TAILQ_REMOVE(&c->durable.waiters, w, link);
	w->status = status;
	if (w->rq == NULL)
		return; /* its caller's */
	fab_reply(w->rq, status, NULL, 0);
	free(w);
}

static void answer_all(struct coord *c, uint64_t upto, int status)
{
	struct coord_waiter *w, *next;

	for (w = TAILQ_FIRST(&c->durable.waiters); w != NULL; w = next) {
		next = TAILQ_NEXT(w, link);
		if (w->need <= upto)
			answer(c, w, status);
	}
	pthread_cond_broadcast(&c->told);
}

/* --- the commit: a thread's, as it waits for the disk --------------------- */

static struct coord_counters counters_of(const struct coord *c)
{
	return (struct coord_counters){
		.durable = c->view.cut,
		.slot = c->durable.at.slot ^ 1,
		.epoch = c->view.epoch + EPOCH_JUMP,
		.index_version = c->view.index_version + INDEX_JUMP,
		.next_client = c->next_client + CLIENT_JUMP,
	};
}

static void *commit_main(void *arg)
{
	struct coord *c = arg;
	struct coord_counters at;
	int rc;

	pthread_mutex_lock(&c->lock);
	at = counters_of(c);
	pthread_mutex_unlock(&c->lock);
	rc = c->opts.commit(c->opts.arg, &at);
	pthread_mutex_lock(&c->lock);
	c->durable.status = rc;
	c->durable.committed = true;
	coord_kick(c);
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

/* Locked; the lock is let go meanwhile if there are no threads. */
static void commit_begin(struct coord *c)
{
	struct coord_durable *d = &c->durable;

	d->state = DURABLE_COMMIT;
	d->committed = false;
	d->threaded = c->opts.threads &&
		      pthread_create(&d->thread, NULL, commit_main, c) == 0;
	if (d->threaded)
		return;
	pthread_mutex_unlock(&c->lock);
	commit_main(c);
	pthread_mutex_lock(&c->lock);
}

/* If it failed it may be on the disk all the same: nothing but to try it again
 * is safe, as the other file of each node holds the cut before. */
static int commit_end(struct coord *c, uint64_t now)
{
	struct coord_durable *d = &c->durable;

	if (d->threaded)
		pthread_join(d->thread, NULL);
	d->threaded = false;
	d->committed = false;
	if (d->status != 0) {
		note_trouble(c, DURABLE_POOLFILE, d->status);
		d->last.failed++;
		d->next_ns = now + RETRY_NS;
		return 1;
	}
	d->trouble = 0;
	d->troubles = 0;
	d->at = counters_of(c);
	d->last_cut_ns = d->cut_ns;
	d->last = (struct coord_durable_stats){
		.number = c->view.cut,
		.frozen_ns = d->frozen_ns,
		.took_ns = now - d->cut_ns,
		.done = d->last.done + 1,
		.failed = d->last.failed,
	};
	c->view.durable = c->view.cut;
	c->view.epoch++;
	coord_view_changed(c);
	d->state = DURABLE_IDLE;
	answer_all(c, c->view.durable, 0);
	return 1;
}

static int commit_go_on(struct coord *c, uint64_t now, uint64_t *again)
{
	struct coord_durable *d = &c->durable;

	if (d->committed)
		return commit_end(c, now);
	if (d->threaded)
		return 0;
	if (now < d->next_ns) {
		coord_again(again, d->next_ns);
		return 0;
	}
	commit_begin(c);
	return 1;
}

/* --- the step ------------------------------------------------------------- */

static int idle(struct coord *c, uint64_t now, uint64_t *again)
{
	struct coord_durable *d = &c->durable;
	bool asked = d->hurry || !TAILQ_EMPTY(&d->waiters);
	uint64_t at = d->next_ns;

	if (!asked && !d->changed)
		return 0;
	if (!asked && d->last.done + d->last.failed != 0 &&
	    d->begun_ns + c->opts.durable_ms * COORD_MS > at)
		at = d->begun_ns + c->opts.durable_ms * COORD_MS;
	if (asked && d->begun_ns + ASKED_NS > at)
		at = d->begun_ns + ASKED_NS;
	if (now < at) {
		coord_again(again, at);
		return 0;
	}
	if (!is_whole(c))
		return 0; /* a view will say when it is */
	freeze(c, now);
	return 1;
}

static int frozen(struct coord *c, uint64_t now, uint64_t *again)
{
	struct coord_durable *d = &c->durable;

	if (now - d->begun_ns > FREEZE_NS) {
		give_up(c, now);
		return 1;
	}
	coord_again(again, d->begun_ns + FREEZE_NS + 1);
	if (!coord_settled(c, d->epoch))
		return 0;
	d->state = DURABLE_CUT;
	round_begin(c, PROTO_CUT, FREEZE_NS);
	return 1;
}

static int answered(struct coord *c, uint64_t now)
{
	struct coord_durable *d = &c->durable;

	if (d->out != 0)
		return 0;
	if (d->failed)
		give_up(c, now);
	else if (d->state == DURABLE_STORE)
		commit_begin(c);
	else if (fab_now(c->fab) - d->begun_ns > FREEZE_NS)
		give_up(c, now);
	else
		thaw(c, now);
	return 1;
}

static int go_on(struct coord *c, uint64_t now, uint64_t *again)
{
	struct coord_durable *d = &c->durable;

	if ((d->state == DURABLE_FREEZE || d->state == DURABLE_CUT ||
	     d->state == DURABLE_STORE) &&
	    (d->up != view_up(&c->view) || !is_whole(c))) {
		give_up(c, now);
		return 1;
	}
	switch (d->state) {
	case DURABLE_IDLE:
		return idle(c, now, again);
	case DURABLE_FREEZE:
		return frozen(c, now, again);
	case DURABLE_CUT:
	case DURABLE_STORE:
		return answered(c, now);
	default:
		return commit_go_on(c, now, again);
	}
}

int coord_durable_step(struct coord *c, uint64_t now, uint64_t *again)
{
	enum durable_state was;
	bool cut;
	int did;

	if (!c->opts.persistent)
		return 0;
	pthread_mutex_lock(&c->lock);
	was = c->durable.state;
	did = go_on(c, now, again);
	cut = c->durable.state == DURABLE_CUT && was != DURABLE_CUT;
	pthread_mutex_unlock(&c->lock);
	if (cut && c->opts.on_cut != NULL)
		c->opts.on_cut(c->opts.arg);
	return did;
}

/* --- who asks ------------------------------------------------------------- */

void coord_durable_changed(struct coord *c)
{
	c->durable.changed = true;
	coord_kick(c);
}

/* All that was acknowledged before is in the next cut that begins. */
uint64_t coord_durable_ask(struct coord *c)
{
	c->durable.hurry = true;
	coord_kick(c);
	return c->view.cut + 1;
}

void coord_durable_wait(struct coord *c, struct coord_waiter *w)
{
	TAILQ_INSERT_TAIL(&c->durable.waiters, w, link);
	if (c->view.durable >= w->need)
		answer(c, w, 0);
	coord_kick(c);
}

bool coord_durable_waited_for(const struct coord *c)
{
	return c->durable.state != DURABLE_IDLE ||
	       !TAILQ_EMPTY(&c->durable.waiters);
}

/* A shard that is lost stays so, and so does a block that a new node cannot
 * have; and when too much is away there are such, as a rule. */
bool coord_durable_hopeless(const struct coord *c)
{
	for (uint32_t s = 0; s < c->view.nodes; s++)
		if (c->view.shard[s] == VIEW_SHARD_LOST)
			return true;
	for (uint32_t id = 0; id < c->view.nodes; id++)
		if (c->view.node[id] == VIEW_NODE_COMING &&
		    c->node[id].restored.ended)
			return true;
	return view_down(&c->view) > c->view.m;
}

/* Bytes that nodes got back which are not whole yet. */
static uint64_t restored(const struct coord *c)
{
	uint64_t bytes = 0;

	for (uint32_t id = 0; id < c->view.nodes; id++)
		if (c->view.node[id] == VIEW_NODE_COMING)
			bytes += c->node[id].restored.bytes_done;
	return bytes;
}

void coord_durable_stats(struct coord *c, struct coord_durable_stats *out)
{
	uint64_t now = fab_now(c->fab);

	pthread_mutex_lock(&c->lock);
	*out = c->durable.last;
	out->age_ns =
		c->durable.last_cut_ns != 0 ? now - c->durable.last_cut_ns : 0;
	out->restored = restored(c);
	out->under_way =
		c->durable.state != DURABLE_IDLE && now >= c->durable.next_ns;
	pthread_mutex_unlock(&c->lock);
}

/* --- life ----------------------------------------------------------------- */

void coord_durable_open(struct coord *c)
{
	const struct coord_counters *from = &c->opts.counters;

	c->next_client = 1;
	if (!c->opts.persistent)
		return;
	if (c->opts.durable_ms == 0)
		c->opts.durable_ms = COORD_DURABLE_MS;
	c->view.persistent = 1;
	c->durable.at = *from;
	if (from->durable == 0)
		return;
	c->view.cut = c->view.durable = from->durable;
	c->view.epoch = from->epoch;
	c->view.index_version = from->index_version;
	c->next_client = from->next_client;
	coord_sweep_past(c, from->next_client); /* R2 of restart.h */
	/* Images in the nodes' memory are of before: K3 in rounds.h. */
	for (uint32_t s = 0; s < c->view.nodes; s++)
		c->least[s] = from->epoch << ROUNDS_EPOCH_SHIFT;
}

void coord_durable_drop(struct coord *c)
{
	struct coord_durable *d = &c->durable;

	if (d->threaded) {
		pthread_mutex_unlock(&c->lock);
		pthread_join(d->thread, NULL);
		pthread_mutex_lock(&c->lock);
	}
	d->threaded = false;
	answer_all(c, UINT64_MAX, -ECANCELED);
}
