/* kv/node/serve.c - who may ask what, and the answers: each a thin call.
 *
 * Epochs: ALLOC and OPEN must come from the very view this node goes by, as
 * leaders follow from it: -ESTALE tells a client to adopt the next view first,
 * -EAGAIN that this node has yet to. The others say what stays true in any
 * view (owner and life guard them). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ec/again.h"
#include "ec/fold.h"
#include "kv/node/durable.h"
#include "kv/node/node_impl.h"
#include "kv/node/refused.h"
#include "kv/node/restore.h"

#define BIT(role)   (1u << (role))
#define SERVE_LATER 1 /* whoever took the request answers it */

union answer {
	struct proto_grant grant;
	struct proto_opened opened;
	struct proto_stats stats;
	struct proto_retired retired;
	struct proto_restored restored;
	struct proto_clock clock;
	struct proto_marked marked;
};

struct ask {
	struct node *n;
	struct node_peer *peer;
	struct fab_request *rq;
	const void *req;
	size_t len;
	union answer out;
};

/* --- blocks: locked ------------------------------------------------------- */

static int epoch_check(struct node *n, uint64_t epoch)
{
	if (epoch < n->view.view.epoch)
		return -ESTALE;
	return epoch > n->view.view.epoch ? -EAGAIN : 0;
}

/* A client asks for itself only. */
static int owner_check(struct ask *a, uint32_t owner)
{
	if (owner == 0)
		return -EINVAL;
	if (a->peer->role == PROTO_CLIENT && a->peer->client != owner)
		return -EPERM;
	return 0;
}

/* Its asker has given it up, and been told what that may have left behind. */
static bool comes_late(const struct ask *a, uint64_t ticket)
{
	return ticket != 0 && ticket <= a->peer->over;
}

static int serve_alloc(struct ask *a)
{
	const struct proto_alloc *rq = a->req;
	struct node *n = a->n;
	uint64_t iv = n->view.view.index_version;
	struct alloc_grant grant;
	int rc;

	rc = epoch_check(n, rq->epoch);
	if (rc == 0)
		rc = owner_check(a, rq->owner);
	if (rc == 0 && comes_late(a, rq->ticket))
		rc = -ESTALE;
	if (rc != 0)
		return rc;
	rc = alloc_block(n->alloc, rq->kind, rq->owner, (uint32_t)rq->epoch, iv,
			 rq->urgent != 0, rq->avoid, rq->run, &grant);
	node_kick(n); /* more may be wanted, see ec/again.h */
	if (rc == -ENOSPC && alloc_held(n->alloc))
		return -EINPROGRESS; /* not before they are durable */
	if (rc != 0)
		return rc;
	a->out.grant = (struct proto_grant){
		.stripe = grant.stripe,
		.opened = iv,
		.role = grant.role,
		.delta = grant.delta,
		.life = grant.life,
		.again = grant.again,
	};
	return 0;
}

static int serve_open_block(struct ask *a)
{
	const struct proto_open *rq = a->req;
	struct node *n = a->n;
	int rc;

	rc = epoch_check(n, rq->epoch);
	if (rc == 0)
		rc = owner_check(a, rq->owner);
	if (rc == 0 && comes_late(a, rq->ticket))
		rc = -ESTALE;
	if (rc != 0)
		return rc;
	a->out.opened = (struct proto_opened){0};
	rc = alloc_open_block(n->alloc, rq->stripe, rq->role, rq->kind,
			      rq->owner, (uint32_t)rq->epoch, rq->opened,
			      rq->life, &a->out.opened.delta);
	if (rc == -EAGAIN)
		node_kick(n);
	return rc;
}

static int serve_cancel(struct ask *a)
{
	const struct proto_seal *rq = a->req;
	int rc;

	rc = owner_check(a, rq->owner);
	if (rc != 0)
		return rc;
	node_kick(a->n);
	return alloc_cancel(a->n->alloc, rq->stripe, rq->role, rq->owner,
			    rq->life);
}

static int serve_seal(struct ask *a)
{
	const struct proto_seal *rq = a->req;
	int rc;

	rc = owner_check(a, rq->owner);
	if (rc != 0)
		return rc;
	node_kick(a->n);
	return alloc_seal(a->n->alloc, rq->stripe, rq->role, rq->owner,
			  rq->life, rq->used, node_clock(a->n), rq->torn != 0);
}

static int serve_owned(struct ask *a)
{
	const struct proto_owned *rq = a->req;
	struct proto_owns *owns;
	int rc = owner_check(a, rq->owner);

	if (rc != 0)
		return rc;
	owns = calloc(1, sizeof(*owns));
	if (owns == NULL)
		return -ENOMEM;
	if (rq->over > a->peer->over)
		a->peer->over = rq->over;
	owned_list(a->n, rq->owner, owns);
	fab_reply(a->rq, 0, owns, PROTO_OWNS_BYTES(owns->n));
	free(owns);
	return SERVE_LATER;
}

static int serve_forsake(struct ask *a)
{
	const struct proto_seal *rq = a->req;
	int rc = owner_check(a, rq->owner);

	return rc != 0 ? rc : owned_forsake(a->n, rq);
}

#define MARK_RUNS 64u /* of one block, at a time */

static bool same_use(const struct proto_mark_one *a,
		     const struct proto_mark_one *b)
{
	return a->stripe == b->stripe && a->role == b->role &&
	       a->life == b->life;
}

/* Marks @i and those behind it that are of the same use of one block, at most
 * @max: how many were dealt with; *@rc: how. */
static uint32_t mark_some(struct ask *a, uint32_t i, uint32_t max, int *rc)
{
	const struct proto_mark *rq = a->req;
	const struct proto_mark_one *m = &rq->mark[i];
	struct alloc_run run[MARK_RUNS];
	uint32_t n = 0;

	for (; n < max && i + n < rq->n && same_use(&m[n], m); n++)
		run[n] = (struct alloc_run){.at = m[n].at, .len = m[n].len};
	*rc = alloc_mark_runs(a->n->alloc, m->stripe, m->role, m->life, run, n);
	return n;
}

static void mark_refused(struct proto_marked *out, uint32_t i, int rc)
{
	uint64_t *map = rc == -EBUSY || rc == -EAGAIN ? out->busy : out->stale;

	if (rc != 0)
		map[i / 64] |= UINT64_C(1) << (i % 64);
}

/* What is stale or makes no sense is passed over and told: the rest of them
 * should not be lost. Clients sort them by block. The epochs are those of
 * senders who tell all members: whom it tells follows from it. */
static int serve_mark(struct ask *a)
{
	const struct proto_mark *rq = a->req;
	uint64_t gains = alloc_gains(a->n->alloc);
	uint32_t i, n;
	int rc;

	if (rq->n > PROTO_MARKS_MAX ||
	    a->len != sizeof(*rq) + rq->n * sizeof(rq->mark[0]))
		return -EPROTO;
	rc = epoch_check(a->n, rq->epoch);
	if (rc != 0)
		return rc;
	memset(&a->out.marked, 0, sizeof(a->out.marked));
	for (i = 0; i < rq->n; i += n) {
		n = mark_some(a, i, MARK_RUNS, &rc);
		if (rc == -EINVAL && n > 1)
			n = mark_some(a, i, 1, &rc);
		for (uint32_t j = i; j < i + n; j++)
			mark_refused(&a->out.marked, j, rc);
	}
	if (alloc_gains(a->n->alloc) != gains)
		node_kick(a->n);
	return 0;
}

/* --- retirement, between nodes: locked ------------------------------------ */

/* How the block stands here. */
static int retired_view(struct ask *a, const struct proto_retire *rq)
{
	struct node *n = a->n;
	struct again_view v;
	int rc = again_look(n->alloc, rq->stripe, rq->role, &v);

	if (rc != 0)
		return rc;
	a->out.retired = (struct proto_retired){
		.done = fold_retired(n->alloc, rq->stripe, rq->role, rq->life),
		.life = v.life,
		.state = v.state,
		.ready = v.ready,
		.zeroed = v.zeroed,
		.kind = v.kind,
	};
	if (!a->out.retired.done)
		node_kick(n);
	return 0;
}

static int serve_retire(struct ask *a)
{
	const struct proto_retire *rq = a->req;
	struct node *n = a->n;
	int rc;

	/* A node that is new knows nothing before it has its view. */
	if (rq->epoch > n->view.view.epoch)
		return -EAGAIN;
	if (rq->kind == BLOCK_PAGES) {
		rc = again_split(n->alloc, rq->stripe, rq->role);
		if (rc == 0 && rq->split)
			a->out.retired = (struct proto_retired){0};
		if (rc != 0 || rq->split)
			return rc;
	}
	rc = fold_retire(n->alloc, rq->stripe, rq->role, rq->life,
			 rq->again != 0);
	if (rc != 0 && rc != -ESTALE)
		return rc;
	return retired_view(a, rq);
}

static int serve_ready(struct ask *a)
{
	const struct proto_ready *rq = a->req;

	if (a->len != sizeof(*rq) + again_map_bytes(node_group(a->n)))
		return -EPROTO;
	return again_ready(a->n->alloc, rq->stripe, rq->role, rq->life, rq->map,
			   rq->zero != 0);
}

static int serve_resume(struct ask *a)
{
	const struct proto_retire *rq = a->req;

	node_kick(a->n);
	return again_resume(a->n->alloc, rq->stripe, rq->role, rq->life);
}

static int serve_free(struct ask *a)
{
	const struct proto_retire *rq = a->req;

	if (rq->epoch > a->n->view.view.epoch)
		return -EAGAIN;
	node_kick(a->n); /* memory to give back, some day */
	return fold_free(a->n->alloc, rq->stripe, rq->role, rq->life);
}

static int serve_want(struct ask *a)
{
	restore_want(a->n, a->req);
	return 0;
}

/* --- from the coordinator: locked ----------------------------------------- */

static int serve_view(struct ask *a)
{
	const struct proto_view_set *rq = a->req;
	const struct group *g = node_group(a->n);
	struct node *n = a->n;

	if (view_check(&rq->view) != 0 || rq->view.nodes != g->nodes ||
	    rq->view.k != g->k || rq->view.m != g->m)
		return -EINVAL;
	if (rq->view.epoch <= n->view.view.epoch)
		return fenced_view(n);
	n->view = *rq;
	alloc_set_view(n->alloc, view_up(&rq->view), view_members(&rq->view));
	recover_view(n);
	durable_view(n, rq->view.durable);
	node_kick(n);
	return fenced_view(n);
}

static int serve_fence(struct ask *a)
{
	const struct proto_fence *rq = a->req;

	return rq->client != 0 ? fenced_client(a->n, rq->client) : -EINVAL;
}

static int serve_rebuild(struct ask *a)
{
	const struct proto_rebuild *rq = a->req;
	const struct view *v = &a->n->view.view;

	if (rq->epoch > v->epoch)
		return -EAGAIN;
	if (rq->shard >= v->nodes || v->host[rq->shard] != a->n->id ||
	    v->shard[rq->shard] != VIEW_SHARD_REBUILDING)
		return -EINVAL;
	recover_ask(a->n, a->rq, rq->shard, rq->least);
	node_kick(a->n);
	return SERVE_LATER;
}

static int serve_sweep(struct ask *a)
{
	const struct proto_sweep *rq = a->req;
	int rc;

	rc = sweep_ask(a->n, a->rq, rq);
	if (rc != 0)
		return rc;
	node_kick(a->n);
	return SERVE_LATER;
}

static int serve_check_stripe(struct ask *a)
{
	int rc = check_ask(a->n, a->rq, a->req);

	if (rc != 0)
		return rc;
	node_kick(a->n);
	return SERVE_LATER;
}

static int serve_cut(struct ask *a)
{
	const struct proto_cut *rq = a->req;

	return durable_cut(a->n, rq->number);
}

static int serve_store(struct ask *a)
{
	const struct proto_cut *rq = a->req;
	int rc = durable_store(a->n, a->rq, rq->number, rq->slot);

	if (rc != 0)
		return rc;
	node_kick(a->n);
	return SERVE_LATER;
}

static int serve_keep(struct ask *a)
{
	const struct proto_keep *rq = a->req;

	if (rq->n > PROTO_KEEPS_MAX ||
	    a->len != sizeof(*rq) + rq->n * sizeof(rq->slot[0]))
		return -EPROTO;
	return sweep_keep(a->n, rq);
}

static int serve_restore(struct ask *a)
{
	return restore_ask(a->n, a->req, &a->out.restored);
}

/* --- checkpoints, between nodes: locked ----------------------------------- */

static int serve_clock(struct ask *a)
{
	const struct proto_clock *rq = a->req;
	struct node *n = a->n;

	if (n->clock < rq->clock)
		n->clock = rq->clock;
	a->out.clock = (struct proto_clock){.epoch = n->view.view.epoch,
					    .clock = node_clock(n)};
	return 0;
}

static int serve_ckpt(struct ask *a)
{
	int rc = held_ask(a->n, a->rq, a->req, a->peer->client);

	if (rc != 0)
		return rc;
	node_kick(a->n);
	return SERVE_LATER;
}

static int serve_zeros(struct ask *a)
{
	return leftover_zeros(a->n, a->req);
}

static int serve_orphans(struct ask *a)
{
	const struct proto_orphans *rq = a->req;

	return rq->owner != 0 ? owned_orphans(a->n, rq->owner) : -EINVAL;
}

/* --- not locked ----------------------------------------------------------- */

static int serve_stats(struct ask *a)
{
	node_stats(a->n, &a->out.stats);
	return 0;
}

static int serve_stop(struct ask *a)
{
	if (a->n->opts.on_stop != NULL)
		a->n->opts.on_stop(a->n->opts.arg);
	return 0;
}

/* To answer is all that is asked. */
static int serve_ping(struct ask *a)
{
	return 0;
}

/* --- dispatch ------------------------------------------------------------- */

#define ANY_USER (BIT(PROTO_CLIENT) | BIT(PROTO_TOOL))

static const struct serve {
	int (*fn)(struct ask *a);
	unsigned roles; /* who may ask */
	size_t req;	/* its size; @more: at least */
	size_t reply;
	bool more, unlocked;
} serves[] = {
	[PROTO_ALLOC] = {serve_alloc, ANY_USER, sizeof(struct proto_alloc),
			 sizeof(struct proto_grant), false, false},
	[PROTO_OPEN] = {serve_open_block, ANY_USER, sizeof(struct proto_open),
			sizeof(struct proto_opened), false, false},
	[PROTO_CANCEL] = {serve_cancel, ANY_USER, sizeof(struct proto_seal), 0,
			  false, false},
	[PROTO_SEAL] = {serve_seal, ANY_USER, sizeof(struct proto_seal), 0,
			false, false},
	[PROTO_MARK] = {serve_mark, ANY_USER | BIT(PROTO_NODE),
			sizeof(struct proto_mark), sizeof(struct proto_marked),
			true, false},
	[PROTO_STATS] = {serve_stats, ANY_USER | BIT(PROTO_COORD), 0,
			 sizeof(struct proto_stats), false, true},
	[PROTO_VIEW] = {serve_view, BIT(PROTO_COORD),
			sizeof(struct proto_view_set), 0, false, false},
	[PROTO_REBUILD] = {serve_rebuild, BIT(PROTO_COORD),
			   sizeof(struct proto_rebuild), 0, false, false},
	[PROTO_RETIRE] = {serve_retire, BIT(PROTO_NODE),
			  sizeof(struct proto_retire),
			  sizeof(struct proto_retired), false, false},
	[PROTO_FREE] = {serve_free, BIT(PROTO_NODE),
			sizeof(struct proto_retire), 0, false, false},
	[PROTO_CUT] = {serve_cut, BIT(PROTO_COORD), sizeof(struct proto_cut), 0,
		       false, false},
	[PROTO_STORE] = {serve_store, BIT(PROTO_COORD),
			 sizeof(struct proto_cut), 0, false, false},
	[PROTO_STOP] = {serve_stop, BIT(PROTO_COORD), 0, 0, false, true},
	[PROTO_SWEEP] = {serve_sweep, BIT(PROTO_COORD),
			 sizeof(struct proto_sweep), 0, false, false},
	[PROTO_ORPHANS] = {serve_orphans, BIT(PROTO_COORD),
			   sizeof(struct proto_orphans), 0, false, false},
	[PROTO_RESTORE] = {serve_restore, BIT(PROTO_COORD),
			   sizeof(struct proto_restore),
			   sizeof(struct proto_restored), false, false},
	[PROTO_WANT] = {serve_want, ANY_USER, sizeof(struct proto_want), 0,
			false, false},
	[PROTO_CHECK] = {serve_check_stripe, ANY_USER,
			 sizeof(struct proto_check), 0, false, false},
	[PROTO_CLOCK] = {serve_clock, BIT(PROTO_NODE),
			 sizeof(struct proto_clock), sizeof(struct proto_clock),
			 false, false},
	[PROTO_CKPT] = {serve_ckpt, BIT(PROTO_NODE), sizeof(struct ckpt_req), 0,
			false, false},
	[PROTO_READY] = {serve_ready, BIT(PROTO_NODE),
			 sizeof(struct proto_ready), 0, true, false},
	[PROTO_RESUME] = {serve_resume, BIT(PROTO_NODE),
			  sizeof(struct proto_retire), 0, false, false},
	[PROTO_ZEROS] = {serve_zeros, ANY_USER, sizeof(struct proto_zeros), 0,
			 false, false},
	[PROTO_KEEP] = {serve_keep, BIT(PROTO_NODE), sizeof(struct proto_keep),
			0, true, false},
	[PROTO_PING] = {serve_ping, ANY_USER | BIT(PROTO_COORD), 0, 0, false,
			true},
	[PROTO_FENCE] = {serve_fence, BIT(PROTO_COORD),
			 sizeof(struct proto_fence), 0, false, false},
	[PROTO_OWNED] = {serve_owned, ANY_USER, sizeof(struct proto_owned), 0,
			 false, false},
	[PROTO_FORSAKE] = {serve_forsake, ANY_USER, sizeof(struct proto_seal),
			   0, false, false},
};

/* What changes nothing that others see. */
static bool for_readers(uint16_t type)
{
	return type == PROTO_STATS || type == PROTO_PING || type == PROTO_WANT;
}

static int serve_check(const struct serve *s, const struct node_peer *peer,
		       size_t len)
{
	if (!(s->roles & BIT(peer->role)))
		return -EPERM;
	if (s->more ? len < s->req : len != s->req)
		return -EPROTO;
	return 0;
}

static int serve_do(const struct serve *s, struct ask *a)
{
	int rc;

	if (s->unlocked)
		return s->fn(a);
	pthread_mutex_lock(&a->n->lock);
	if (a->peer->role == PROTO_CLIENT)
		restore_busy(a->n);
	rc = s->fn(a);
	pthread_mutex_unlock(&a->n->lock);
	return rc;
}

static void on_call(void *arg, struct fab_request *rq, uint16_t type,
		    const void *req, size_t len)
{
	struct ask a = {.n = arg, .rq = rq, .req = req, .len = len};
	const struct serve *s = NULL;
	int rc = -EPROTO;

	a.peer = fab_peer_get(fab_request_peer(rq));
	if (fab_peer_reader(fab_request_peer(rq)) && !for_readers(type)) {
		fab_reply(rq, -EROFS, NULL, 0);
		return;
	}
	if (type < sizeof(serves) / sizeof(serves[0]) &&
	    serves[type].fn != NULL)
		s = &serves[type];
	if (s != NULL)
		rc = serve_check(s, a.peer, len);
	if (rc == 0)
		rc = serve_do(s, &a);
	if (rc != SERVE_LATER)
		fab_reply(rq, rc, &a.out, rc == 0 ? s->reply : 0);
}

/* --- connections ---------------------------------------------------------- */

static int hello_check(struct node *n, struct fab_peer *peer,
		       const struct proto_hello *h, size_t len)
{
	if (len != sizeof(*h) || h->magic != PROTO_MAGIC ||
	    h->version != PROTO_VERSION)
		return -EPROTO;
	if (memcmp(h->uuid, n->super.uuid, sizeof(h->uuid)) != 0)
		return -EACCES;
	if (h->role < PROTO_CLIENT || h->role > PROTO_TOOL)
		return -EPROTO;
	if (h->instance != n->opts.instance)
		return -ESTALE;
	/* Orders are not for readers to give, nor what nodes say. */
	if (fab_peer_reader(peer) && (BIT(h->role) & ANY_USER) == 0)
		return -EACCES;
	/* On one host, only the pool's own user gives orders. */
	if (h->role == PROTO_COORD && fab_peer_pid(peer) != 0 &&
	    fab_peer_uid(peer) != geteuid())
		return -EACCES;
	return 0;
}

static void peer_count(struct node *n, uint32_t role, int by)
{
	if (role == PROTO_COORD)
		n->coords += (unsigned)by;
	else if (role != PROTO_NODE)
		n->users += (unsigned)by;
}

static int on_hello(void *arg, struct fab_peer *peer, const void *hello,
		    size_t len)
{
	const struct proto_hello *h = hello;
	struct node *n = arg;
	struct node_peer *p;
	int rc;

	rc = hello_check(n, peer, h, len);
	if (rc != 0)
		return rc;
	p = malloc(sizeof(*p));
	if (p == NULL)
		return -ENOMEM;
	*p = (struct node_peer){
		.role = h->role, .client = h->client, .peer = peer};
	pthread_mutex_lock(&n->lock);
	rc = fenced_hello(n, p, h->self);
	if (rc != 0) {
		pthread_mutex_unlock(&n->lock);
		free(p);
		return rc;
	}
	fab_peer_set(peer, p);
	LIST_INSERT_HEAD(&n->peers, p, link);
	peer_count(n, p->role, 1);
	node_kick(n); /* checkpoints are made while anyone is there */
	pthread_mutex_unlock(&n->lock);
	return 0;
}

static void on_gone(void *arg, struct fab_peer *peer)
{
	struct node_peer *p = fab_peer_get(peer);
	struct node *n = arg;
	bool lonely;

	pthread_mutex_lock(&n->lock);
	LIST_REMOVE(p, link);
	peer_count(n, p->role, -1);
	lonely = n->coords == 0 && n->users == 0 && p->role != PROTO_NODE &&
		 !n->stop;
	pthread_mutex_unlock(&n->lock);
	free(p);
	if (lonely && n->opts.on_lonely != NULL)
		n->opts.on_lonely(n->opts.arg);
}

int serve_open(struct node *n)
{
	struct fab_server_opts o = {
		.region = n->opts.region,
		.size = n->super.layout.size,
		.region_fd = n->opts.region_fd,
		.address = n->opts.address,
		.key = n->opts.key,
		.readers = n->opts.readers,
		.arg = n,
		.on_hello = on_hello,
		.on_call = on_call,
		.on_gone = on_gone,
		.on_refused = refused_say,
	};

	return fab_server_open(&o, &n->server);
}

/* Mostly everyone is gone when the server is: not if it was cut down, as in a
 * simulation. */
void serve_close(struct node *n)
{
	struct node_peer *p;

	fab_server_close(n->server);
	while ((p = LIST_FIRST(&n->peers)) != NULL) {
		LIST_REMOVE(p, link);
		free(p);
	}
}
