/* kv/node/coord_serve.c - clients and tools: they join, watch, suspect, ask for
 * the status, leave. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kv/node/coord_impl.h"
#include "kv/node/refused.h"

#define WATCH_MS_MAX 60000u

/* Who is at the other end: fab_peer_get(). */
struct coord_peer {
	uint32_t role;
	struct coord_client *client; /* NULL: has not joined, or has left */
	bool scrubs;
	LIST_ENTRY(coord_peer) link;
};

/* --- clients: locked ------------------------------------------------------ */

static void watch_answer(struct coord *c, struct coord_client *cl, int status)
{
	struct fab_request *rq = cl->watch;
	struct proto_view_set out = {.view = *coord_told(c)};

	if (rq == NULL)
		return;
	cl->watch = NULL;
	coord_addresses(c, out.address);
	fab_reply(rq, status, &out, sizeof(out));
}

static void count_clients(struct coord *c, int by)
{
	c->view.clients += (uint32_t)by;
	c->view.epoch++;
	coord_view_changed(c);
}

void coord_client_gone(struct coord *c, struct coord_client *cl)
{
	struct coord_peer *p;

	watch_answer(c, cl, -ECANCELED);
	if (cl->join != NULL)
		fab_reply(cl->join, -ECANCELED, NULL, 0);
	if (cl->peer != NULL) {
		p = fab_peer_get(cl->peer);
		p->client = NULL;
	}
	TAILQ_REMOVE(&c->clients, cl, link);
	coord_orphan_add(c, cl->id);
	coord_durable_changed(c); /* it may have had no time to say so */
	free(cl);
	count_clients(c, -1);
	c->emptied = TAILQ_EMPTY(&c->clients);
}

void coord_client_died(struct coord *c, struct coord_client *cl)
{
	c->sweep.death = true;
	c->sweep.every_ns = COORD_SWEEP_EVERY_NS;
	if (c->sweep.state == SWEEP_IDLE)
		c->sweep.at_ns = 0; /* look at once */
	coord_client_gone(c, cl);
}

struct coord_client *coord_client_find(struct coord *c, uint32_t id)
{
	struct coord_client *cl;

	TAILQ_FOREACH (cl, &c->clients, link)
		if (cl->id == id)
			return cl;
	return NULL;
}

/* Its connection broke, which on another host is no death. */
static void client_away(struct coord *c, struct coord_client *cl)
{
	struct coord_peer *p = fab_peer_get(cl->peer);

	watch_answer(c, cl, -ECANCELED);
	if (cl->join != NULL)
		fab_reply(cl->join, -ECANCELED, NULL, 0);
	cl->join = NULL;
	p->client = NULL;
	cl->peer = NULL;
	cl->away_until = 0;
	coord_kick(c);
}

static struct coord_client *client_new(struct coord *c, struct fab_peer *peer,
				       const struct proto_join *rq)
{
	struct coord_client *cl = calloc(1, sizeof(*cl));

	if (cl == NULL)
		return NULL;
	cl->id = c->next_client++;
	cl->pid = fab_peer_pid(peer);
	cl->peer = peer;
	memcpy(cl->what, rq->what, sizeof(cl->what));
	cl->what[sizeof(cl->what) - 1] = '\0';
	TAILQ_INSERT_TAIL(&c->clients, cl, link);
	c->emptied = false;
	return cl;
}

static void joined_fill(struct coord *c, const struct coord_client *cl,
			struct proto_joined *out)
{
	memset(out, 0, sizeof(*out));
	out->client = cl->id;
	out->lease_ms = c->opts.lease_ms;
	out->leased = c->opts.remote;
	out->super = c->opts.super;
	out->view = *coord_told(c);
	coord_addresses(c, out->address);
}

void coord_join_answer(struct coord *c, struct coord_client *cl)
{
	struct fab_request *rq = cl->join;
	struct proto_joined out;

	if (rq == NULL)
		return;
	cl->join = NULL;
	cl->acked = coord_told(c)->epoch;
	joined_fill(c, cl, &out);
	fab_reply(rq, 0, &out, sizeof(out));
}

struct ask {
	struct coord *c;
	struct fab_request *rq;
	struct fab_peer *peer;
	struct coord_peer *who;
	const void *req;
};

/* Shared memory cannot be taken back from a process. One that could not be
 * ended might hold up the pool, or harm it, for ever [I6]. */
static bool can_be_fenced(struct coord *c, struct fab_peer *peer)
{
	return c->opts.may_end_client == NULL ||
	       c->opts.may_end_client(c->opts.arg, fab_peer_pid(peer));
}

/* Each answers its request, now or later. */

static bool is_full(const struct coord *c)
{
	return c->store.vs != NULL && c->view.clients >= VIEWSTATE_CLIENTS_MAX;
}

static void serve_join(struct ask *a)
{
	const struct proto_join *rq = a->req;
	struct coord *c = a->c;

	if (a->who->role != PROTO_CLIENT) {
		fab_reply(a->rq, -EPERM, NULL, 0);
		return;
	}
	if (a->who->client != NULL) {
		fab_reply(a->rq, -EALREADY, NULL, 0); /* one each */
		return;
	}
	if (!can_be_fenced(c, a->peer)) {
		fab_reply(a->rq, -EACCES, NULL, 0);
		return;
	}
	if (!coord_is_open(c) || is_full(c)) {
		fab_reply(a->rq, is_full(c) ? -EUSERS : -EAGAIN, NULL, 0);
		return;
	}
	a->who->client = client_new(c, a->peer, rq);
	if (a->who->client == NULL) {
		fab_reply(a->rq, -ENOMEM, NULL, 0);
		return;
	}
	count_clients(c, 1);
	a->who->client->join = a->rq;
	a->who->client->acked = c->view.epoch;
	if (c->store.vs == NULL)
		coord_join_answer(c, a->who->client);
}

static void rejoin(struct ask *a, struct coord_client *cl)
{
	const struct proto_rejoin *rq = a->req;
	struct proto_view_set out = {.view = *coord_told(a->c)};
	struct fab_peer *was = cl->peer;

	if (was != NULL) { /* we have yet to hear that it broke */
		client_away(a->c, cl);
		fab_peer_cut(was);
	}
	a->who->client = cl;
	cl->peer = a->peer;
	cl->away_until = 0;
	cl->restored = false;
	if (cl->acked < rq->epoch)
		cl->acked = rq->epoch;
	memcpy(cl->what, rq->what, sizeof(cl->what));
	cl->what[sizeof(cl->what) - 1] = '\0';
	coord_addresses(a->c, out.address);
	fab_reply(a->rq, 0, &out, sizeof(out));
	coord_kick(a->c);
}

/* Before it is known for certain who is a member, nobody is told that he is
 * none. */
static void serve_rejoin(struct ask *a)
{
	const struct proto_rejoin *rq = a->req;
	struct coord_client *cl = coord_client_find(a->c, rq->client);

	if (a->who->role != PROTO_CLIENT)
		fab_reply(a->rq, -EPERM, NULL, 0);
	else if (a->who->client != NULL)
		fab_reply(a->rq, -EALREADY, NULL, 0);
	else if ((a->c->forming && !a->c->anew) || !coord_is_sure(a->c) ||
		 rq->epoch > coord_told(a->c)->epoch)
		fab_reply(a->rq, -EAGAIN, NULL, 0);
	else if (cl == NULL || cl->fenced)
		fab_reply(a->rq, -ESTALE, NULL, 0);
	else
		rejoin(a, cl);
}

static void serve_beat(struct ask *a)
{
	struct proto_beaten out = {.epoch = coord_told(a->c)->epoch,
				   .sure = coord_is_sure(a->c)};
	int rc = a->who->client == NULL	  ? -EPERM
		 : a->who->client->fenced ? -ESTALE
					  : 0;

	fab_reply(a->rq, rc, &out, rc == 0 ? sizeof(out) : 0);
}

/* Who is to be fenced is in the list until it is. */
static void serve_lives(struct ask *a)
{
	const struct proto_lives *rq = a->req;
	bool lives = coord_client_find(a->c, rq->client) != NULL;
	struct proto_lived out = {.lives = lives,
				  .swept = !lives &&
					   coord_sweep_over(a->c, rq->client)};
	int rc = a->who->client == NULL ? -EPERM
		 : !coord_is_open(a->c) ? -EAGAIN
					: 0;

	fab_reply(a->rq, rc, &out, rc == 0 ? sizeof(out) : 0);
}

static void serve_returned(struct ask *a)
{
	const struct proto_returned *rq = a->req;

	if (a->who->client == NULL) {
		fab_reply(a->rq, -EPERM, NULL, 0);
		return;
	}
	a->c->returned.passes++;
	a->c->returned.bytes += rq->bytes;
	fab_reply(a->rq, 0, NULL, 0);
}

/* To watch from an epoch is to have adopted it. Answered by the next step. */
static void serve_watch(struct ask *a)
{
	const struct proto_watch *rq = a->req;
	struct coord_client *cl = a->who->client;
	uint32_t ms = rq->wait_ms < WATCH_MS_MAX ? rq->wait_ms : WATCH_MS_MAX;

	if (cl == NULL || rq->epoch > coord_told(a->c)->epoch) {
		fab_reply(a->rq, cl == NULL ? -EPERM : -EINVAL, NULL, 0);
		return;
	}
	/* Not sure to lead: another may, and let it be looked for. */
	if (cl->fenced || !coord_is_sure(a->c)) {
		fab_reply(a->rq, cl->fenced ? -ESTALE : -EAGAIN, NULL, 0);
		return;
	}
	watch_answer(a->c, cl, 0); /* one at a time */
	if (cl->acked < rq->epoch)
		cl->acked = rq->epoch;
	if (cl->acked >= a->c->barrier)
		cl->stuck = false;
	cl->watch = a->rq;
	cl->watch_epoch = rq->epoch;
	cl->watch_until = 0;
	cl->watch_ms = ms;
	if (rq->epoch < coord_told(a->c)->epoch)
		watch_answer(a->c, cl, 0);
	coord_kick(a->c);
}

static void serve_suspect(struct ask *a)
{
	const struct proto_suspect *rq = a->req;

	if (rq->node < a->c->view.nodes) {
		a->c->suspect |= UINT64_C(1) << rq->node;
		coord_kick(a->c);
	}
	/* It may be no more than its connection that broke: its watcher, which
	 * makes that anew, is not to sit here. */
	if (a->c->opts.remote && a->who->client != NULL)
		watch_answer(a->c, a->who->client, 0);
	fab_reply(a->rq, 0, NULL, 0);
}

static void serve_status(struct ask *a)
{
	struct coord_asker *s = calloc(1, sizeof(*s));

	if (s == NULL) {
		fab_reply(a->rq, -ENOMEM, NULL, 0);
		return;
	}
	s->rq = a->rq;
	coord_status_ask(a->c, s);
}

static void serve_changed(struct ask *a)
{
	coord_durable_changed(a->c);
	fab_reply(a->rq, 0, NULL, 0);
}

static void serve_persist(struct ask *a)
{
	const struct proto_persist *rq = a->req;
	struct coord_waiter *w = NULL;
	uint64_t number;

	if (!a->c->opts.persistent) {
		fab_reply(a->rq, -EOPNOTSUPP, NULL, 0);
		return;
	}
	if (rq->wait != 0) {
		w = calloc(1, sizeof(*w));
		if (w == NULL) {
			fab_reply(a->rq, -ENOMEM, NULL, 0);
			return;
		}
		w->rq = a->rq;
	}
	number = coord_durable_ask(a->c);
	if (w == NULL) {
		fab_reply(a->rq, 0, NULL, 0);
		return;
	}
	w->need = number;
	coord_durable_wait(a->c, w);
}

static void serve_leave(struct ask *a)
{
	if (a->who->client != NULL)
		coord_client_gone(a->c, a->who->client);
	fab_reply(a->rq, 0, NULL, 0);
}

/* Who does not lead knows of no scrub: let the one that does be asked. Who is
 * at work goes on for as long as we are here. */
static void serve_scrub(struct ask *a)
{
	struct proto_scrub out;
	int rc = -EAGAIN;

	if (a->who->scrubs || coord_is_sure(a->c))
		rc = coord_scrub(a->c, &a->who->scrubs, a->req, &out);

	fab_reply(a->rq, rc, &out, rc == 0 ? sizeof(out) : 0);
}

static void serve_come(struct ask *a)
{
	struct proto_came out;
	int rc = -EPERM;

	if (a->who->role == PROTO_NODE)
		rc = coord_come(a->c, a->req, &out);
	fab_reply(a->rq, rc, &out, rc == 0 ? sizeof(out) : 0);
}

static const struct serve {
	uint16_t type;
	size_t req;
	void (*fn)(struct ask *a);
} serves[] = {
	{PROTO_JOIN, sizeof(struct proto_join), serve_join},
	{PROTO_WATCH, sizeof(struct proto_watch), serve_watch},
	{PROTO_SUSPECT, sizeof(struct proto_suspect), serve_suspect},
	{PROTO_STATUS, 0, serve_status},
	{PROTO_LEAVE, 0, serve_leave},
	{PROTO_CHANGED, 0, serve_changed},
	{PROTO_PERSIST, sizeof(struct proto_persist), serve_persist},
	{PROTO_SCRUB, sizeof(struct proto_scrub), serve_scrub},
	{PROTO_REJOIN, sizeof(struct proto_rejoin), serve_rejoin},
	{PROTO_BEAT, 0, serve_beat},
	{PROTO_LIVES, sizeof(struct proto_lives), serve_lives},
	{PROTO_RETURNED, sizeof(struct proto_returned), serve_returned},
	{PROTO_COME, sizeof(struct proto_come), serve_come},
};

/* To be a member, and to look. */
static bool for_readers(uint16_t type)
{
	switch (type) {
	case PROTO_JOIN:
	case PROTO_REJOIN:
	case PROTO_WATCH:
	case PROTO_BEAT:
	case PROTO_LEAVE:
	case PROTO_SUSPECT: /* the coordinator looks for itself */
	case PROTO_STATUS:
		return true;
	default:
		return false;
	}
}

static void on_call(void *arg, struct fab_request *rq, uint16_t type,
		    const void *req, size_t len)
{
	struct ask a = {.c = arg, .rq = rq, .req = req};
	size_t i;

	a.peer = fab_request_peer(rq);
	if (fab_peer_reader(a.peer) && !for_readers(type)) {
		fab_reply(rq, -EROFS, NULL, 0);
		return;
	}
	a.who = fab_peer_get(a.peer);
	for (i = 0; i < sizeof(serves) / sizeof(serves[0]); i++)
		if (serves[i].type == type && serves[i].req == len) {
			pthread_mutex_lock(&a.c->lock);
			serves[i].fn(&a);
			pthread_mutex_unlock(&a.c->lock);
			return;
		}
	fab_reply(rq, -EPROTO, NULL, 0);
}

/* --- watchers that wait --------------------------------------------------- */

static bool watch_due(const struct coord *c, struct coord_client *cl,
		      uint64_t now, uint64_t *again)
{
	if (cl->watch == NULL)
		return false;
	if (cl->watch_epoch < coord_told(c)->epoch)
		return true;
	/* The server's thread has no clock: the wait begins here. */
	if (cl->watch_until == 0)
		cl->watch_until = now + cl->watch_ms * COORD_MS;
	if (now >= cl->watch_until)
		return true;
	coord_again(again, cl->watch_until);
	return false;
}

int coord_watch_step(struct coord *c, uint64_t now, uint64_t *again)
{
	struct coord_client *cl;
	int did = 0;

	pthread_mutex_lock(&c->lock);
	TAILQ_FOREACH (cl, &c->clients, link)
		if (watch_due(c, cl, now, again)) {
			watch_answer(c, cl, 0);
			did = 1;
		}
	pthread_mutex_unlock(&c->lock);
	return did;
}

/* --- connections ---------------------------------------------------------- */

static bool is_zero(const uint8_t uuid[16])
{
	static const uint8_t zero[16];

	return memcmp(uuid, zero, sizeof(zero)) == 0;
}

static int on_hello(void *arg, struct fab_peer *peer, const void *hello,
		    size_t len)
{
	const struct proto_hello *h = hello;
	struct coord *c = arg;
	struct coord_peer *p;

	if (len != sizeof(*h) || h->magic != PROTO_MAGIC ||
	    h->version != PROTO_VERSION)
		return -EPROTO;
	if (h->role != PROTO_CLIENT && h->role != PROTO_TOOL &&
	    h->role != PROTO_NODE)
		return -EPROTO;
	if (!is_zero(h->uuid) &&
	    memcmp(h->uuid, c->opts.super.uuid, sizeof(h->uuid)) != 0)
		return -EACCES;
	p = calloc(1, sizeof(*p));
	if (p == NULL)
		return -ENOMEM;
	p->role = h->role;
	pthread_mutex_lock(&c->lock);
	LIST_INSERT_HEAD(&c->peers, p, link);
	pthread_mutex_unlock(&c->lock);
	fab_peer_set(peer, p);
	return 0;
}

static void on_gone(void *arg, struct fab_peer *peer)
{
	struct coord_peer *p = fab_peer_get(peer);
	struct coord *c = arg;

	pthread_mutex_lock(&c->lock);
	if (p->client != NULL && c->opts.remote)
		client_away(c, p->client);
	else if (p->client != NULL)
		coord_client_died(c, p->client);
	if (p->scrubs)
		coord_scrub_gone(c);
	LIST_REMOVE(p, link);
	pthread_mutex_unlock(&c->lock);
	free(p);
}

int coord_serve_open(struct coord *c)
{
	struct fab_server_opts o = {
		.region_fd = -1,
		.address = c->address,
		.key = c->opts.key,
		.readers = c->opts.readers,
		.arg = c,
		.on_hello = on_hello,
		.on_call = on_call,
		.on_gone = on_gone,
		.on_refused = refused_say,
	};

	return fab_server_open(&o, &c->server);
}

/* Mostly all are gone when the server is: not if it was cut down, as in a
 * simulation. */
void coord_serve_close(struct coord *c)
{
	struct coord_client *cl;
	struct coord_peer *p;

	TAILQ_FOREACH (cl, &c->clients, link) {
		if (cl->watch != NULL)
			fab_reply(cl->watch, -ECANCELED, NULL, 0);
		if (cl->join != NULL)
			fab_reply(cl->join, -ECANCELED, NULL, 0);
		cl->watch = cl->join = NULL;
	}
	while ((p = LIST_FIRST(&c->peers)) != NULL) {
		LIST_REMOVE(p, link);
		free(p);
	}
}
