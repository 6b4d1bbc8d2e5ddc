/* tests/lib/sim_server.c - simulated nodes: a server's callbacks run in a
 * fiber of its own, fed by a queue of messages. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/sim_impl.h"

struct sim_request {
	struct fab_request rq;
	struct sim_op *op; /* holds a reference to its batch */
};

/* Something that arrived while the server was paused. */
struct sim_late {
	STAILQ_ENTRY(sim_late) link;
	void (*fn)(struct sim *s, void *arg);
	void *arg;
};

/* --- messages ------------------------------------------------------------- */

struct sim_msg *sim_msg_new(enum sim_msg_type type, struct sim_peer *peer,
			    const void *data, size_t len)
{
	struct sim_msg *m = sim_alloc(sizeof(*m) + len);

	m->type = type;
	m->peer = peer;
	if (peer != NULL)
		peer->refs++;
	m->len = len;
	if (len > 0)
		memcpy(m->data, data, len);
	return m;
}

static void msg_free(struct sim_msg *m)
{
	if (m->op != NULL)
		sim_batch_put(m->op->batch);
	if (m->peer != NULL)
		sim_peer_put(m->peer);
	free(m);
}

void sim_server_send(struct sim_server *v, struct sim_msg *m)
{
	if (v->dead) {
		msg_free(m);
		return;
	}
	STAILQ_INSERT_TAIL(&v->msgs, m, link);
	sim_fiber_wake(v->sim, v->fiber);
}

struct sim_peer *sim_peer_new(struct sim_server *v, struct sim_net *net,
			      uint8_t id)
{
	struct sim_peer *p = sim_alloc(sizeof(*p));

	p->peer.ops = v->server.ops;
	p->server = v;
	p->net = net;
	p->id = id;
	p->refs = 1;
	TAILQ_INSERT_TAIL(&v->sim->peers, p, all);
	return p;
}

void sim_peer_put(struct sim_peer *p)
{
	if (--p->refs > 0)
		return;
	TAILQ_REMOVE(&p->server->sim->peers, p, all);
	free(p);
}

/* --- the server's fiber --------------------------------------------------- */

static void hello_back(struct sim *s, void *arg)
{
	struct sim_peer *p = arg;

	p->said = true;
	sim_poke(s);
	sim_peer_put(p);
}

static void handle_hello(struct sim_server *v, struct sim_msg *m)
{
	struct sim_peer *p = m->peer;

	if (v->closing || p->gone)
		p->status = -ECONNREFUSED;
	else if (v->o.on_hello != NULL)
		p->status = v->o.on_hello(v->o.arg, &p->peer, m->data, m->len);
	sim_note(v->sim, "hello", v->address, p->id, 0, p->status);
	if (p->status == 0) {
		p->accepted = true;
		p->refs++;
		TAILQ_INSERT_TAIL(&v->peers, p, link);
	}
	p->refs++;
	sim_schedule(v->sim, sim_latency(v->sim), hello_back, p);
}

static void handle_gone(struct sim_server *v, struct sim_peer *p)
{
	if (p->gone)
		return;
	p->gone = true;
	if (!p->accepted)
		return;
	sim_note(v->sim, "gone", v->address, p->id, 0, 0);
	TAILQ_REMOVE(&v->peers, p, link);
	if (v->o.on_gone != NULL)
		v->o.on_gone(v->o.arg, &p->peer);
	sim_peer_put(p);
}

static void handle_call(struct sim_server *v, struct sim_msg *m)
{
	struct sim_request *r;

	if (v->closing || m->peer == NULL || m->peer->gone || m->peer->cut)
		return;
	r = sim_alloc(sizeof(*r));
	r->rq.ops = v->server.ops;
	r->rq.peer = &m->peer->peer;
	m->peer->refs++;
	r->op = m->op;
	m->op = NULL; /* its reference is the request's */
	sim_note(v->sim, "call", v->address, m->call, m->len, 0);
	v->o.on_call(v->o.arg, &r->rq, m->call, m->data, m->len);
}

static void handle(struct sim_server *v, struct sim_msg *m)
{
	switch (m->type) {
	case SIM_HELLO:
		handle_hello(v, m);
		break;
	case SIM_GONE:
		handle_gone(v, m->peer);
		break;
	default:
		handle_call(v, m);
	}
}

static void serve(void *arg)
{
	struct sim_server *v = arg;
	struct sim_msg *m;

	for (;;) {
		m = STAILQ_FIRST(&v->msgs);
		if (v->dead || (v->closing && m == NULL))
			return;
		if (m == NULL) {
			sim_fiber_block(v->sim);
			continue;
		}
		STAILQ_REMOVE_HEAD(&v->msgs, link);
		handle(v, m);
		msg_free(m);
	}
}

/* --- answers ------------------------------------------------------------- */

static void answer_return(struct sim *s, void *arg)
{
	struct sim_op *o = arg;
	struct fab_op *op = o->op;
	int status = o->status;

	if (!o->ended && sim_passes(o->batch->net, o->server)) {
		op->reply_len = (uint32_t)o->answer_len;
		if (o->answer_len > op->reply_cap)
			status = -EMSGSIZE;
		else if (o->answer_len > 0)
			memcpy(op->reply, o->answer, o->answer_len);
		o->batch->fab->fab.count.bytes_called += o->answer_len;
		sim_op_end(o, status);
	}
	sim_batch_put(o->batch);
}

static void server_reply(struct fab_request *rq, int status, const void *data,
			 size_t len)
{
	struct sim_request *r = (struct sim_request *)rq;
	struct sim_peer *p = (struct sim_peer *)rq->peer;
	struct sim_server *v = p->server;
	struct sim *s = v->sim;
	struct sim_op *o = r->op;

	free(r);
	sim_note(s, "reply", v->address, len, 0, status);
	if (v->dead || p->cut || o->ended || sim_loses(o->batch->net)) {
		sim_batch_put(o->batch);
	} else {
		o->status = status;
		o->answer_len = len;
		if (len > 0) {
			o->answer = sim_alloc(len);
			memcpy(o->answer, data, len);
		}
		sim_schedule(s, sim_latency(s), answer_return, o);
	}
	sim_peer_put(p);
}

/* --- peers --------------------------------------------------------------- */

static void gone_event(struct sim *s, void *arg)
{
	struct sim_peer *p = arg;

	/* A server that has hung up itself need not be told. */
	if (!p->cut && !p->server->dead && !p->server->closing &&
	    !sim_passes(p->net, p->server)) {
		sim_schedule(s, SIM_LINK_NS, gone_event, p);
		return;
	}
	sim_server_send(p->server, sim_msg_new(SIM_GONE, p, NULL, 0));
	sim_peer_put(p);
}

void sim_peer_gone(struct sim_peer *p, uint64_t after)
{
	p->refs++;
	sim_schedule(p->server->sim, after, gone_event, p);
}

static void server_peer_cut(struct fab_peer *peer)
{
	struct sim_peer *p = (struct sim_peer *)peer;

	if (p->cut)
		return;
	p->cut = true;
	sim_ops_end(p->net, p->server, 0, true);
	sim_peer_gone(p, 0);
	sim_net_down(p->net, p->server, sim_latency(p->server->sim));
}

/* --- pausing and killing -------------------------------------------------- */

void sim_arrive(struct sim_server *v, void (*fn)(struct sim *s, void *arg),
		void *arg)
{
	struct sim_late *l;

	if (!v->paused || v->dead) {
		fn(v->sim, arg);
		return;
	}
	l = sim_alloc(sizeof(*l));
	l->fn = fn;
	l->arg = arg;
	STAILQ_INSERT_TAIL(&v->stalled, l, link);
}

static void unstall(struct sim_server *v)
{
	struct sim_late *l;

	while ((l = STAILQ_FIRST(&v->stalled)) != NULL) {
		STAILQ_REMOVE_HEAD(&v->stalled, link);
		l->fn(v->sim, l->arg);
		free(l);
	}
}

void sim_server_pause(struct sim *s, const char *address)
{
	struct sim_server *v = sim_server_find(s, address);

	if (v != NULL)
		v->paused = true;
}

void sim_server_resume(struct sim *s, const char *address)
{
	struct sim_server *v = sim_server_find(s, address);

	if (v == NULL || !v->paused)
		return;
	v->paused = false;
	unstall(v);
}

static void drop_msgs(struct sim_server *v)
{
	struct sim_msg *m;

	while ((m = STAILQ_FIRST(&v->msgs)) != NULL) {
		STAILQ_REMOVE_HEAD(&v->msgs, link);
		msg_free(m);
	}
}

static void die(struct sim_server *v)
{
	struct sim_peer *p;

	v->dead = true;
	v->paused = false;
	unstall(v); /* what is dead lets all pass, without effect */
	drop_msgs(v);
	sim_nets_down(v);
	while ((p = TAILQ_FIRST(&v->peers)) != NULL) {
		TAILQ_REMOVE(&v->peers, p, link);
		p->gone = true;
		sim_peer_put(p);
	}
	sim_fiber_wake(v->sim, v->fiber);
}

bool sim_server_kill(struct sim *s, const char *address)
{
	struct sim_server *v = sim_server_find(s, address);

	if (v == NULL)
		return false;
	sim_note(s, "kill", v->address, 0, 0, 0);
	die(v);
	return true;
}

/* --- its life ------------------------------------------------------------ */

struct sim_server *sim_server_find(struct sim *s, const char *address)
{
	struct sim_server *v;

	TAILQ_FOREACH (v, &s->servers, link)
		if (!v->dead && !v->closing && strcmp(v->address, address) == 0)
			return v;
	return NULL;
}

static bool fiber_ended(void *arg)
{
	return sim_fiber_ended(arg);
}

static void server_close(struct fab_server *server)
{
	struct sim_server *v = (struct sim_server *)server;
	struct sim_peer *p;

	v->closing = true;
	TAILQ_FOREACH (p, &v->peers, link)
		sim_server_send(v, sim_msg_new(SIM_GONE, p, NULL, 0));
	sim_fiber_wake(v->sim, v->fiber);
	sim_wait_for(v->sim, fiber_ended, v->fiber, UINT64_MAX);
	if (!v->dead)
		die(v);
}

static uint64_t server_malformed(const struct fab_server *server)
{
	return 0;
}

static const struct fab_server_ops sim_server_ops = {
	.close = server_close,
	.reply = server_reply,
	.peer_cut = server_peer_cut,
	.malformed = server_malformed,
};

int sim_server_open(const struct fab_server_opts *o, struct fab_server **out)
{
	struct sim *s = sim_the_one();
	struct sim_server *v;

	if (sim_server_find(s, o->address) != NULL)
		return -EADDRINUSE;
	v = sim_alloc(sizeof(*v));
	v->server.ops = &sim_server_ops;
	v->sim = s;
	v->o = *o;
	v->address = strdup(o->address);
	if (v->address == NULL)
		abort();
	STAILQ_INIT(&v->msgs);
	STAILQ_INIT(&v->stalled);
	TAILQ_INIT(&v->peers);
	v->fiber = sim_fiber_new(s, v->address, serve, v, true);
	TAILQ_INSERT_TAIL(&s->servers, v, link);
	*out = &v->server;
	return 0;
}

void sim_server_free(struct sim_server *v)
{
	assert(v->dead);
	drop_msgs(v);
	free(v->address);
	free(v);
}
