/* kv/node/again.c - the leader drives a partly obsolete block to where it can
 * be opened again, or back: ec/again.h has the picture.
 *
 *   pick ---> RETIRE all ---> unite marks ---> READY all ---> stock
 *     |          | a member has it FREE: so shall it be     |  | nobody came,
 *     |          | one has a later life, or it will not go  |  | or they died
 *     +--stale---+------------> RESUME all <----------------+--+
 *
 * With durable checkpoints, READY twice: first nothing is zeroed, and it waits
 * in the stock until a cut is durable in which all that is free was obsolete.
 *
 * One at a time; every step may be repeated, and a new leader begins where its
 * own records stand. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ec/again.h"
#include "ec/fold.h"
#include "kv/node/node_impl.h"

#define AGAIN_POLL_NS	  UINT64_C(200000) /* first wait for the others */
#define AGAIN_POLL_MAX_NS UINT64_C(20000000)
#define AGAIN_STOCK_NS	  UINT64_C(2000000000) /* not asked for: given up */
#define AGAIN_LOOK_NS	  UINT64_C(500000000)
#define AGAIN_TRIES	  200u /* then it is left alone for a while */

int again_open(struct node *n)
{
	n->again.msg = calloc(1, sizeof(*n->again.msg) +
					 again_map_bytes(node_group(n)));
	return n->again.msg != NULL ? 0 : -ENOMEM;
}

void again_close(struct node *n)
{
	free(n->again.msg);
}

/* --- what the members say ------------------------------------------------- */

/* What all of them said. */
struct answers {
	bool all;	/* retired */
	bool all_ready; /* and READY; so with the same units */
	bool freed, ready;
	bool zeroed;   /* by one at least: so shall it be by all */
	bool behind;   /* one has not retired it, and says so */
	uint32_t life; /* the highest */
};

static void hear(struct again *g, struct answers *s,
		 const struct proto_retired *one)
{
	if (one->life > s->life)
		s->life = one->life;
	s->freed |= one->state == BLOCK_FREE && one->life == g->life;
	s->ready |= one->ready != 0;
	s->all_ready &= one->ready != 0;
	s->zeroed |= one->zeroed != 0;
	s->all &= one->done != 0;
	s->behind |= one->done == 0;
}

/* No other nodes than when it was begun? Who came since takes what is here for
 * its own, and must not do so from before a change that it was not told of. */
static bool as_begun(const struct node *n)
{
	const struct view *v = &n->view.view;

	return n->again.up == view_up(v) && n->again.all == view_members(v);
}

static void ask_here(struct node *n, struct answers *s)
{
	struct again *g = &n->again;
	struct proto_retired one = {0};
	struct again_view v = {0};

	pthread_mutex_lock(&n->lock);
	if (as_begun(n)) {
		again_split(n->alloc, g->stripe, g->role);
		if (fold_retire(n->alloc, g->stripe, g->role, g->life, true) ==
		    0)
			one.done = fold_retired(n->alloc, g->stripe, g->role,
						g->life);
	}
	again_look(n->alloc, g->stripe, g->role, &v);
	pthread_mutex_unlock(&n->lock);
	one.life = v.life;
	one.ready = v.ready;
	one.zeroed = v.zeroed;
	one.state = v.state;
	hear(g, s, &one);
}

static void ask(struct node *n, uint64_t members, struct answers *s)
{
	struct again *g = &n->again;
	struct proto_retire rq = {
		.stripe = g->stripe,
		.role = g->role,
		.life = g->life,
		.again = 1,
		.kind = BLOCK_PAGES,
	};
	struct proto_retired one;
	uint32_t id;

	*s = (struct answers){.all = true, .all_ready = true, .life = g->life};
	node_view_up(n, &rq.epoch);
	ask_here(n, s);
	for (id = 0; id < node_group(n)->nodes; id++) {
		if (id == n->id || !(members >> id & 1))
			continue;
		memset(&one, 0, sizeof(one));
		if (peer_call(n, id, PROTO_RETIRE, &rq, sizeof(rq), &one,
			      sizeof(one)) != 0)
			s->all = false;
		else
			hear(g, s, &one);
	}
}

/* --- READY ---------------------------------------------------------------- */

/* The bitmap that node @id keeps for the block. */
static uint64_t map_of(const struct node *n, uint32_t id)
{
	const struct group *g = node_group(n);
	uint32_t r, node = 0, block = 0;

	for (r = 0; r < group_width(g); r++) {
		if (r < g->k && r != n->again.role)
			continue;
		group_member(g, n->again.stripe, r, &node, &block);
		if (node == id)
			break;
	}
	return group_map_off(g, block, n->again.role);
}

/* All that any member has marked. A read that fails: another time. */
static int unite(struct node *n, uint64_t members)
{
	const struct group *g = node_group(n);
	size_t bytes = again_map_bytes(g);
	struct again *job = &n->again;
	uint64_t *map = job->msg->map, *buf;
	struct fab_op ops[CODE_WIDTH_MAX];
	struct fab_batch b = {.ops = ops};
	uint32_t id;
	int rc;

	buf = malloc(CODE_WIDTH_MAX * bytes);
	if (buf == NULL)
		return -ENOMEM;
	memset(map, 0, bytes);
	for (id = 0; id < g->nodes; id++)
		if (id != n->id && (members >> id & 1)) {
			fab_read(&ops[b.n], (uint8_t)id, map_of(n, id),
				 buf + b.n * (bytes / 8), (uint32_t)bytes);
			b.n++;
		}
	rc = fab_run(n->fab, &b);
	for (uint32_t i = 0; rc == 0 && i < b.n; i++) {
		rc = ops[i].status; /* cppcheck-suppress uninitvar */
		for (size_t w = 0; rc == 0 && w < bytes / 8; w++)
			map[w] |= buf[i * (bytes / 8) + w];
	}
	free(buf);
	pthread_mutex_lock(&n->lock);
	if (rc == 0)
		rc = again_unite(n->alloc, job->stripe, job->role, job->life,
				 map);
	pthread_mutex_unlock(&n->lock);
	return rc;
}

/* A6. What one has zeroed was allowed by a cut that its leader knew of. */
static bool may_zero(struct node *n, const struct answers *s)
{
	const struct again *g = &n->again;

	if (n->opts.disk == NULL)
		return true;
	return s->all_ready &&
	       (s->zeroed ||
		alloc_cut_allows(n->alloc, g->stripe, g->role, g->msg->map));
}

/* A member that has more marked than we knew says -EBUSY: unite again then. */
static int make_ready(struct node *n, uint64_t members, const struct answers *s)
{
	struct again *g = &n->again;
	struct proto_ready *rq = g->msg;
	uint32_t id,
		len = (uint32_t)sizeof(*rq) + again_map_bytes(node_group(n));
	int rc = unite(n, members);

	rq->stripe = g->stripe;
	rq->role = g->role;
	rq->life = g->life;
	rq->zero = may_zero(n, s);
	node_view_up(n, &rq->epoch);
	for (id = 0; id < node_group(n)->nodes && rc == 0; id++)
		if (id != n->id && (members >> id & 1))
			rc = peer_call(n, id, PROTO_READY, rq, len, NULL, 0);
	if (rc != 0)
		return rc;
	pthread_mutex_lock(&n->lock);
	rc = again_ready(n->alloc, g->stripe, g->role, g->life, rq->map,
			 rq->zero != 0);
	pthread_mutex_unlock(&n->lock);
	return rc;
}

/* --- back ----------------------------------------------------------------- */

static int resume_all(struct node *n, uint64_t members)
{
	struct again *g = &n->again;
	struct proto_retire rq = {
		.stripe = g->stripe, .role = g->role, .life = g->life};
	uint32_t id;
	int rc = 0, one;

	node_view_up(n, &rq.epoch);
	for (id = 0; id < node_group(n)->nodes; id++) {
		if (id == n->id || !(members >> id & 1))
			continue;
		one = peer_call(n, id, PROTO_RESUME, &rq, sizeof(rq), NULL, 0);
		rc = one != 0 ? one : rc;
	}
	if (rc != 0)
		return rc;
	pthread_mutex_lock(&n->lock);
	rc = again_resume(n->alloc, g->stripe, g->role, g->life);
	pthread_mutex_unlock(&n->lock);
	return rc;
}

/* --- step by step --------------------------------------------------------- */

static void begin(struct node *n, const struct again_job *job, bool back)
{
	n->again.active = true;
	n->again.back = back;
	n->again.stripe = job->stripe;
	n->again.role = job->role;
	n->again.life = job->life;
	n->again.asked = 0;
	n->again.again_ns = 0;
	n->again.split = n->opts.disk == NULL;
}

static bool pick(struct node *n, uint64_t *again)
{
	uint64_t now = fab_now(n->fab);
	bool found = false, back = false;
	struct again_job job;

	pthread_mutex_lock(&n->lock);
	if (n->view.view.epoch != 0) {
		found = again_stale(n->alloc, now, AGAIN_STOCK_NS, &job) == 0;
		back = found;
		if (!found)
			found = again_waited(n->alloc, &job) == 0;
		if (!found)
			found = again_victim(n->alloc, &job) == 0;
		if (again_stocked(n->alloc) != 0)
			node_again(again, now + AGAIN_LOOK_NS);
	}
	pthread_mutex_unlock(&n->lock);
	if (found)
		begin(n, &job, back);
	return found;
}

/* Another member has given it back already: it was wholly obsolete. So is it
 * here, and retire.c goes on with it. */
static void wholly_obsolete(struct node *n)
{
	struct again *g = &n->again;

	pthread_mutex_lock(&n->lock);
	alloc_mark(n->alloc, g->stripe, g->role, g->life, 0,
		   node_group(n)->block_bytes / GROUP_UNIT_BYTES);
	pthread_mutex_unlock(&n->lock);
	g->active = false;
}

static void give_up(struct node *n, uint32_t life)
{
	struct again *g = &n->again;

	g->back = true;
	g->life = life;
	g->asked = 0;
	g->again_ns = 0;
}

static void into_stock(struct node *n)
{
	struct again *g = &n->again;
	int rc;

	pthread_mutex_lock(&n->lock);
	rc = again_stock(n->alloc, g->stripe, g->role, g->life);
	pthread_mutex_unlock(&n->lock);
	if (rc != 0)
		give_up(n, g->life);
	else
		g->active = false;
}

/* A7: tell the data nodes of all roles. */
static bool split_all(struct node *n)
{
	struct again *g = &n->again;
	uint64_t members =
		node_members(node_group(n), g->stripe, g->role, true) & g->up;
	struct proto_retire rq = {
		.stripe = g->stripe, .kind = BLOCK_PAGES, .split = 1};
	struct again_view v = {0};
	struct proto_retired one;
	uint32_t node, block;

	pthread_mutex_lock(&n->lock);
	again_look(n->alloc, g->stripe, g->role, &v);
	pthread_mutex_unlock(&n->lock);
	node_view_up(n, &rq.epoch);
	for (rq.role = 0; rq.role < node_group(n)->k; rq.role++) {
		group_member(node_group(n), g->stripe, rq.role, &node, &block);
		if (v.kind == BLOCK_ROWS && (members >> node & 1) &&
		    peer_call(n, node, PROTO_RETIRE, &rq, sizeof(rq), &one,
			      sizeof(one)) != 0)
			return false;
	}
	return true;
}

/* A5: a member is being rebuilt, and waits for this block to be at rest. */
static bool is_waited_for(const struct node *n)
{
	const struct again *g = &n->again;

	return (node_members(node_group(n), g->stripe, g->role, false) &
		g->all & ~g->up) != 0;
}

/* 1 if it went on, 0 if it must wait. */
static int forward(struct node *n, uint64_t members)
{
	struct again *g = &n->again;
	struct answers s;

	if (!g->split)
		g->split = split_all(n);
	if (!g->split) {
		if (g->asked > AGAIN_TRIES)
			give_up(n, g->life);
		return g->back;
	}
	ask(n, members, &s);
	if (s.freed) {
		wholly_obsolete(n);
		return 1;
	}
	if (s.life > g->life) {
		give_up(n, s.life);
		return 1;
	}
	/* A6: who is not READY was brought to rest, after all had agreed. */
	if (s.zeroed && !s.all_ready && n->opts.disk != NULL) {
		give_up(n, g->life);
		return 1;
	}
	if (s.all && make_ready(n, members, &s) == 0) {
		into_stock(n);
		return 1;
	}
	/* If any is READY all had retired it: who has not any more was brought
	 * to rest, and agreed with the others before (A4). So may they be; if
	 * the data node has died since, nobody could retire it again. */
	if ((g->asked > AGAIN_TRIES || is_waited_for(n)) &&
	    (!s.ready || s.behind)) {
		give_up(n, g->life);
		return 1;
	}
	return 0;
}

static void skip(struct node *n)
{
	pthread_mutex_lock(&n->lock);
	again_skip(n->alloc, n->again.stripe, n->again.role);
	pthread_mutex_unlock(&n->lock);
	n->again.active = false;
}

static int backward(struct node *n, uint64_t members)
{
	if (resume_all(n, members) == 0 || n->again.asked > AGAIN_TRIES) {
		skip(n);
		return 1;
	}
	return 0;
}

static void later(struct node *n)
{
	struct again *g = &n->again;
	uint64_t wait = AGAIN_POLL_NS << (g->asked < 7 ? g->asked : 7);

	g->asked++;
	g->again_ns = fab_now(n->fab) +
		      (wait < AGAIN_POLL_MAX_NS ? wait : AGAIN_POLL_MAX_NS);
}

/* Another view, other members: all in stock is given up, so that no restored
 * member finds blocks on their way, and what was under way is picked anew. */
static void new_view(struct node *n)
{
	struct again *g = &n->again;
	uint64_t up = node_view_up(n, NULL), all = node_view_members(n);

	if (g->up == up && g->all == all)
		return;
	g->up = up;
	g->all = all;
	g->active = false;
	pthread_mutex_lock(&n->lock);
	again_clear(n->alloc);
	again_leaderless(n->alloc);
	pthread_mutex_unlock(&n->lock);
}

int again_work(struct node *n, uint64_t *again)
{
	struct again *g = &n->again;
	uint64_t members;
	int did;

	new_view(n);
	if (!g->active && !pick(n, again))
		return 0;
	if (fab_now(n->fab) < g->again_ns) {
		node_again(again, g->again_ns);
		return 0;
	}
	members =
		node_members(node_group(n), g->stripe, g->role, false) & g->up;
	did = g->back ? backward(n, members) : forward(n, members);
	if (did)
		return 1;
	later(n);
	node_again(again, g->again_ns);
	return 0;
}
