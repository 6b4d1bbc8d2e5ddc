/* kv/node/rounds.c - see rounds.h.
 *
 * In the worker, but on a queue of its own: while a batch is out the worker
 * does other things, so that a node that does not answer holds up nothing but
 * its image. */
#include "kv/node/rounds.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checkpoint/round.h"
#include "kv/node/node_impl.h"

#define ROUNDS_POLL_NS UINT64_C(500000) /* while a batch is out */
#define ROUNDS_TICK_NS UINT64_C(500000000)
#define ROUNDS_STEPS   8u /* in a slice */
#define MS	       UINT64_C(1000000)

_Static_assert(CODE_PARITY_MAX <= CKPT_PEERS_MAX, "each successor is a peer");

enum rounds_state { ROUNDS_REST, ROUNDS_TICK, ROUNDS_ROUND };

struct rounds {
	struct fab *fab;
	struct ckpt_round *round[FAB_NODES_MAX]; /* by shard; NULL: none yet */
	enum rounds_state state;
	bool posted; /* a batch is out */
	struct fab_batch *batch;
	int lost; /* it could not be posted */
	/* this pass: */
	struct view view;
	uint64_t note, began_ns, changed;
	uint64_t unimaged; /* bit s: shard s is still to be imaged */
	uint32_t shard;	   /* whose round it is */
	/* ticks: */
	struct proto_clock tick, heard[FAB_NODES_MAX];
	struct fab_op ops[FAB_NODES_MAX];
	struct fab_batch ticks;
	/* when: */
	uint64_t last_ns, retry_ns;
	uint32_t rest;	       /* ckpt_ms, times this, to the next pass */
	uint64_t moves, epoch; /* as of the last pass */
};

int rounds_open(struct node *n)
{
	n->rounds = calloc(1, sizeof(*n->rounds));
	if (n->rounds == NULL)
		return -ENOMEM;
	n->rounds->rest = 1;
	return 0;
}

/* --- posting -------------------------------------------------------------- */

static void post(struct rounds *r, struct fab_batch *b)
{
	r->batch = b;
	r->lost = fab_post(r->fab, b);
	r->posted = r->lost == 0;
	for (uint32_t i = 0; r->lost != 0 && i < b->n; i++)
		b->ops[i].status = r->lost;
}

/* True while the batch is out. */
static bool is_out(struct rounds *r, uint64_t wait_ns)
{
	struct fab_batch *done;

	if (r->posted && fab_poll(r->fab, &done, 1, wait_ns) == 1)
		r->posted = false;
	return r->posted;
}

void rounds_close(struct node *n)
{
	struct rounds *r = n->rounds;
	uint32_t s;

	while (r->fab != NULL && is_out(r, ROUNDS_TICK_NS))
		;
	for (s = 0; s < FAB_NODES_MAX; s++)
		ckpt_round_close(r->round[s]);
	fab_close(r->fab);
	free(r);
}

/* --- whose rounds --------------------------------------------------------- */

static bool is_mine(const struct node *n, const struct view *v, uint32_t shard)
{
	return v->host[shard] == n->id &&
	       (v->shard[shard] == VIEW_SHARD_SERVING ||
		v->shard[shard] == VIEW_SHARD_SETTLING);
}

/* The successors of @shard that may keep its image, and which of them are up.
 */
static uint32_t peers_of(const struct node *n, const struct view *v,
			 uint32_t shard, struct ckpt_peer *peer,
			 uint64_t *alive)
{
	uint64_t up = view_members(v) & n->attached;
	uint32_t r, id, peers = 0;

	*alive = 0;
	for (r = 1; r <= v->m; r++) {
		id = (shard + r) % v->nodes;
		if (id == n->id)
			continue;
		if (up >> id & 1)
			*alive |= UINT64_C(1) << peers;
		peer[peers++] = (struct ckpt_peer){
			.node = (uint8_t)id,
			.area = layout_image_off(&n->super.layout, shard, id)};
	}
	return peers;
}

static int round_open(struct node *n, uint32_t shard)
{
	const struct layout *l = &n->super.layout;
	struct rounds *r = n->rounds;
	struct ckpt_round_opts o = {
		.live = (char *)n->opts.region +
			layout_shard_off(l, shard, n->id),
		.size = layout_shard_bytes(l),
		.region = shard,
		.call = PROTO_CKPT,
		.fab = r->fab,
	};
	uint64_t alive;

	if (r->round[shard] != NULL)
		return 0;
	o.n_peers = peers_of(n, &r->view, shard, o.peer, &alive);
	return ckpt_round_open(&o, &r->round[shard]);
}

/* Shards that have moved on take no memory here. */
static void close_moved(struct node *n)
{
	struct rounds *r = n->rounds;
	uint32_t s;

	for (s = 0; s < r->view.nodes; s++)
		if (r->round[s] != NULL && !is_mine(n, &r->view, s)) {
			ckpt_round_close(r->round[s]);
			r->round[s] = NULL;
		}
}

/* Whether anything was ever there: a look at it would take memory for it. */
static bool is_touched(const struct node *n, uint32_t shard)
{
	const struct layout *l = &n->super.layout;
	uint64_t off = layout_shard_off(l, shard, n->id);
	off_t data;

	if (n->opts.region_fd < 0 || n->rounds->round[shard] != NULL)
		return true;
	data = lseek(n->opts.region_fd, (off_t)off, SEEK_DATA);
	return data >= 0 && (uint64_t)data < off + l->index_stride;
}

/* Those that are served here and have a peer that is up. */
static uint64_t shards_due(const struct node *n, const struct view *v)
{
	struct ckpt_peer peer[CKPT_PEERS_MAX];
	uint64_t due = 0, alive;
	uint32_t s;

	for (s = 0; s < v->nodes; s++) {
		if (!is_mine(n, v, s))
			continue;
		peers_of(n, v, s, peer, &alive);
		if (alive != 0 && is_touched(n, s))
			due |= UINT64_C(1) << s;
	}
	return due;
}

/* --- rest ----------------------------------------------------------------- */

/* When the next pass is due; NODE_NEVER: nothing can have changed. */
static uint64_t due_at(struct node *n)
{
	struct rounds *r = n->rounds;
	uint64_t moves = alloc_moves(n->alloc), at;
	unsigned users;

	pthread_mutex_lock(&n->lock);
	users = n->users;
	if (moves != r->moves || n->view.view.epoch != r->epoch)
		r->rest = 1;
	pthread_mutex_unlock(&n->lock);
	if (users == 0 && r->rest > 1)
		return NODE_NEVER;
	at = r->last_ns + n->opts.ckpt_ms * MS * r->rest;
	return at > r->retry_ns ? at : r->retry_ns;
}

static void rest(struct rounds *r, uint64_t until_ns)
{
	r->state = ROUNDS_REST;
	r->retry_ns = until_ns;
}

/* It did not come to a round: a view is changing, or a node is away. */
static void rest_shortly(struct node *n, uint64_t now)
{
	uint64_t ns = n->opts.ckpt_ms * MS;

	rest(n->rounds, now + (ns < NODE_RETRY_NS ? ns : NODE_RETRY_NS));
}

/* The pass is over. */
static void pass_end(struct rounds *r)
{
	r->last_ns = r->began_ns;
	r->epoch = r->view.epoch;
	if (r->changed != 0)
		r->rest = 1;
	else if (r->rest < ROUNDS_REST_MAX)
		r->rest *= 2;
	rest(r, 0);
}

/* --- the tick ------------------------------------------------------------- */

/* K2: a clock of a later epoch than ours has been heard of: wait for the view.
 */
static bool move_clock(struct node *n)
{
	struct rounds *r = n->rounds;
	bool ours;

	pthread_mutex_lock(&n->lock);
	r->view = n->view.view;
	ours = node_clock(n) >> ROUNDS_EPOCH_SHIFT == r->view.epoch;
	if (ours)
		r->note = ++n->clock;
	r->moves = alloc_moves(n->alloc);
	pthread_mutex_unlock(&n->lock);
	return ours;
}

static void tick_post(struct node *n)
{
	struct rounds *r = n->rounds;
	/* Whoever may seal a block in this view, UP or not quite yet. */
	uint64_t members = view_members(&r->view) & ~(UINT64_C(1) << n->id);
	uint32_t id;

	r->tick =
		(struct proto_clock){.epoch = r->view.epoch, .clock = r->note};
	r->ticks = (struct fab_batch){
		.ops = r->ops, .deadline_ns = r->began_ns + ROUNDS_TICK_NS};
	for (id = 0; id < r->view.nodes; id++)
		if (members >> id & 1)
			fab_call(&r->ops[r->ticks.n++], (uint8_t)id,
				 PROTO_CLOCK, &r->tick, sizeof(r->tick),
				 &r->heard[id], sizeof(r->heard[id]));
	r->state = ROUNDS_TICK;
	post(r, &r->ticks);
}

static bool all_ticked(const struct rounds *r)
{
	const struct fab_op *op = r->ops;
	uint64_t clock;

	for (; op < r->ops + r->ticks.n; op++) {
		if (op->status != 0 || op->reply_len != sizeof(r->heard[0]))
			return false;
		clock = r->heard[op->node].clock;
		if (clock < r->note ||
		    clock >> ROUNDS_EPOCH_SHIFT != r->view.epoch)
			return false;
	}
	return true;
}

/* --- rounds --------------------------------------------------------------- */

/* T of K1 is now; K2 must hold now. */
static bool still_mine(struct node *n, uint32_t shard)
{
	struct rounds *r = n->rounds;
	bool mine;

	pthread_mutex_lock(&n->lock);
	mine = n->view.view.epoch == r->view.epoch;
	pthread_mutex_unlock(&n->lock);
	return mine && is_mine(n, &r->view, shard);
}

/* Begin the round of the next shard to be imaged. */
static int round_begin(struct node *n)
{
	struct ckpt_peer peer[CKPT_PEERS_MAX];
	struct rounds *r = n->rounds;
	struct ckpt_plan plan = {.changed = true};
	int rc;

	r->shard = (uint32_t)__builtin_ctzll(r->unimaged);
	r->unimaged &= r->unimaged - 1;
	if (!still_mine(n, r->shard))
		return -ESTALE;
	rc = round_open(n, r->shard);
	if (rc != 0)
		return rc;
	peers_of(n, &r->view, r->shard, peer, &plan.alive);
	plan.note = r->note;
	plan.word = r->view.epoch;
	ckpt_round_begin(r->round[r->shard], &plan);
	r->state = ROUNDS_ROUND;
	return 0;
}

static void count(struct node *n)
{
	struct rounds *r = n->rounds;
	struct ckpt_outcome out;
	struct ckpt_cost c;

	ckpt_round_cost(r->round[r->shard], &c, NULL);
	ckpt_round_outcome(r->round[r->shard], &out);
	r->changed += c.changed;
	pthread_mutex_lock(&n->lock);
	n->ckpt.rounds++;
	n->ckpt.skipped += c.changed == 0;
	n->ckpt.scanned += c.scanned;
	n->ckpt.changed += c.changed;
	n->ckpt.sent += c.sent;
	n->ckpt.failed += c.failed;
	n->ckpt.work_ns += c.work_ns;
	if (out.has != 0)
		n->ckpt_at[r->shard] = r->began_ns;
	pthread_mutex_unlock(&n->lock);
}

static void next_round(struct node *n, uint64_t now)
{
	struct rounds *r = n->rounds;

	if (r->unimaged == 0)
		pass_end(r);
	else if (round_begin(n) != 0)
		rest_shortly(n, now);
}

static void round_go_on(struct node *n, uint64_t now)
{
	struct rounds *r = n->rounds;
	struct fab_batch *b;
	uint32_t i;

	for (i = 0; i < ROUNDS_STEPS && !r->posted; i++)
		switch (ckpt_round_step(r->round[r->shard], &b)) {
		case CKPT_POST:
			post(r, b);
			break;
		case CKPT_DONE:
			count(n);
			next_round(n, now);
			return;
		case CKPT_MORE:
			break;
		}
}

/* --- the work ------------------------------------------------------------- */

static void pass_begin(struct node *n, uint64_t now)
{
	struct rounds *r = n->rounds;

	r->began_ns = now;
	r->changed = 0;
	if (!move_clock(n)) {
		rest_shortly(n, now);
		return;
	}
	close_moved(n);
	r->unimaged = shards_due(n, &r->view);
	if (r->unimaged == 0)
		pass_end(r);
	else
		tick_post(n);
}

static void tick_end(struct node *n, uint64_t now)
{
	if (all_ticked(n->rounds))
		next_round(n, now);
	else
		rest_shortly(n, now);
}

static bool rounds_ready(struct node *n, uint64_t now, uint64_t *again)
{
	struct rounds *r = n->rounds;
	uint64_t at;

	if (is_out(r, 0)) {
		node_again(again, now + ROUNDS_POLL_NS);
		return false;
	}
	if (r->state != ROUNDS_REST)
		return true;
	at = due_at(n);
	node_again(again, at);
	return now >= at;
}

int rounds_work(struct node *n, uint64_t *again)
{
	struct rounds *r = n->rounds;
	uint64_t now = fab_now(n->fab);

	if (n->opts.ckpt_ms == 0 || n->seen_epoch == 0)
		return 0; /* none wanted; no view yet */
	if (r->fab == NULL && fab_open(n->net, &r->fab) != 0)
		return 0;
	if (!rounds_ready(n, now, again))
		return 0;
	switch (r->state) {
	case ROUNDS_REST:
		pass_begin(n, now);
		break;
	case ROUNDS_TICK:
		tick_end(n, now);
		break;
	case ROUNDS_ROUND:
		round_go_on(n, now);
		break;
	}
	return 1;
}

/* --- counters ------------------------------------------------------------- */

static uint64_t age_of(const struct node *n, uint32_t shard, uint64_t now)
{
	uint64_t at = n->ckpt_at[shard];

	return now > at ? now - at : 0;
}

void rounds_stats(struct node *n, uint64_t now, struct proto_ckpt_stats *out)
{
	const struct view *v = &n->view.view;
	uint64_t age;
	uint32_t s;

	*out = n->ckpt;
	for (s = 0; s < v->nodes; s++) {
		if (!is_mine(n, v, s))
			continue;
		out->shards++;
		if (n->ckpt_at[s] == 0)
			continue;
		out->imaged++;
		age = age_of(n, s, now);
		if (age > out->age_ns)
			out->age_ns = age;
	}
}
