/* tests/lib/sim_net.c - a simulated client's view: its nodes, its queues. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/sim_impl.h"

#define WALL_AT_0 UINT64_C(1700000000000000000)
#define ATTACH_NS UINT64_C(1000000000) /* to somebody out of reach */

static struct sim_net *sim_net(struct fab_net *n)
{
	return (struct sim_net *)n;
}

/* --- death, as a client meets it ------------------------------------------ */

static void forget(struct sim_net *net, uint8_t id, uint64_t gone_after)
{
	struct sim_node *node = &net->node[id];
	struct sim_peer *p = node->peer;

	if (p == NULL)
		return;
	*node = (struct sim_node){.server = NULL};
	sim_peer_gone(p, gone_after);
	sim_peer_put(p);
}

struct down {
	struct sim_net *net;
	struct sim_peer *peer;
};

static void down_now(struct sim *s, struct down d)
{
	struct sim_node *node = &d.net->node[d.peer->id];
	uint8_t id = d.peer->id;
	bool meant = node->peer == d.peer && node->up;

	sim_peer_put(d.peer);
	if (!meant || d.net->killed || d.net->closed)
		return;
	node->up = false;
	sim_note(s, "down", d.net->name, id, 0, 0);
	sim_ops_end(d.net, node->server, -EHOSTDOWN, false);
	if (d.net->down != NULL)
		d.net->down(d.net->down_arg, id);
}

static void down_event(struct sim *s, void *arg)
{
	struct down d = *(struct down *)arg;

	if (d.net->node[d.peer->id].peer == d.peer && !d.net->closed &&
	    !d.net->killed && !sim_passes(d.net, d.peer->server)) {
		sim_schedule(s, SIM_LINK_NS, down_event, arg)->owns_arg = true;
		return;
	}
	down_now(s, d);
	free(arg);
}

void sim_net_down(struct sim_net *net, struct sim_server *v, uint64_t after)
{
	for (int i = 0; i <= (int)FAB_NODE_COORD; i++) {
		struct sim_node *node = &net->node[i];
		struct down *d;

		if (node->server != v || !node->up)
			continue;
		d = sim_alloc(sizeof(*d));
		d->net = net;
		d->peer = node->peer;
		d->peer->refs++;
		sim_schedule(net->sim, after, down_event, d)->owns_arg = true;
	}
}

void sim_nets_down(struct sim_server *v)
{
	struct sim *s = v->sim;
	struct sim_net *n;

	TAILQ_FOREACH (n, &s->nets, link)
		sim_net_down(n, v, s->o.down_ns + sim_dice(s, s->o.down_ns));
}

void sim_net_kill(struct sim *s, struct fab_net *n)
{
	struct sim_net *net = sim_net(n);

	if (net->killed)
		return;
	net->killed = true;
	sim_note(s, "kill", net->name, 0, 0, 0);
	sim_ops_end(net, NULL, -ECANCELED, true);
	for (int i = 0; i <= (int)FAB_NODE_COORD; i++)
		forget(net, (uint8_t)i, s->o.down_ns);
}

bool sim_net_killed(struct fab_net *n)
{
	return sim_net(n)->killed;
}

/* --- the net's table ------------------------------------------------------ */

static bool peer_said(void *arg)
{
	return ((struct sim_peer *)arg)->said;
}

static struct sim_peer *hello(struct sim_net *net, struct sim_server *v,
			      uint8_t id, const void *data, size_t len)
{
	struct sim_peer *p = sim_peer_new(v, net, id);

	sim_server_send(v, sim_msg_new(SIM_HELLO, p, data, len));
	sim_wait_for(net->sim, peer_said, p, net->sim->now + FAB_TIMEOUT_NS);
	return p;
}

static bool never(void *arg)
{
	return false;
}

static int net_attach(struct fab_net *n, uint8_t id, const char *address,
		      const void *data, size_t len)
{
	struct sim_net *net = sim_net(n);
	struct sim_server *v = sim_server_find(net->sim, address);
	struct sim_peer *p;
	int rc;

	if (net->node[id].up)
		return -EALREADY;
	if (v == NULL || net->killed)
		return -ENOENT;
	if (!sim_passes(net, v)) {
		sim_wait_for(net->sim, never, NULL, net->sim->now + ATTACH_NS);
		return -ETIMEDOUT;
	}
	if ((v->o.region == NULL) != (id == FAB_NODE_COORD))
		return -EPROTO;
	forget(net, id, 0);
	p = hello(net, v, id, data, len);
	rc = !p->said ? -ETIMEDOUT : p->status;
	if (rc == 0 && (v->dead || net->killed))
		rc = -ECONNREFUSED;
	if (rc != 0) {
		sim_peer_gone(p, 0);
		sim_peer_put(p);
		return rc;
	}
	net->node[id] = (struct sim_node){.server = v, .peer = p, .up = true};
	return 0;
}

static void net_cut(struct fab_net *n, uint8_t id)
{
	struct sim_net *net = sim_net(n);
	struct sim_server *v = net->node[id].server;

	if (v == NULL)
		return;
	net->node[id].up = false;
	sim_ops_end(net, v, -EHOSTDOWN, true);
	forget(net, id, sim_latency(net->sim));
}

static bool net_up(struct fab_net *n, uint8_t id)
{
	return sim_net(n)->node[id].up;
}

static uint64_t net_size(struct fab_net *n, uint8_t id)
{
	struct sim_server *v = sim_net(n)->node[id].server;

	return v != NULL ? v->o.size : 0;
}

static void net_on_down(struct fab_net *n, void (*down)(void *arg, uint8_t id),
			void *arg)
{
	sim_net(n)->down = down;
	sim_net(n)->down_arg = arg;
}

/* The structure stays for events that still know it. */
static void net_close(struct fab_net *n)
{
	struct sim_net *net = sim_net(n);

	net->closed = true;
	sim_ops_end(net, NULL, -ECANCELED, true);
	for (int i = 0; i <= (int)FAB_NODE_COORD; i++)
		forget(net, (uint8_t)i, sim_latency(net->sim));
}

/* --- queues -------------------------------------------------------------- */

struct waiter {
	struct fab *f;
	uint64_t completions; /* when it began to wait */
};

static bool has_completed(void *arg)
{
	struct waiter *w = arg;

	return w->f->completions != w->completions;
}

static void progress(struct fab *f, uint64_t until)
{
	struct waiter w = {f, f->completions};

	if (until != 0)
		sim_wait_for(((struct sim_fab *)f)->net->sim, has_completed, &w,
			     until);
}

static uint64_t now(struct fab *f)
{
	return ((struct sim_fab *)f)->net->sim->now;
}

static uint64_t wall(struct fab *f)
{
	return WALL_AT_0 + now(f);
}

static uint64_t dice(struct fab *f)
{
	return sim_dice(((struct sim_fab *)f)->net->sim, UINT64_MAX);
}

static void sleep_(struct fab *f, uint64_t ns)
{
	sim_pause(((struct sim_fab *)f)->net->sim, ns);
}

static void fab_free(struct fab *f)
{
	free(f);
}

static const struct fab_ops sim_fab_ops = {
	.close = fab_free,
	.post = sim_post,
	.progress = progress,
	.now = now,
	.wall = wall,
	.random = dice,
	.sleep = sleep_,
};

static int net_fab_open(struct fab_net *n, struct fab **out)
{
	struct sim_fab *f = sim_alloc(sizeof(*f));

	fab_init(&f->fab, &sim_fab_ops);
	f->net = sim_net(n);
	*out = &f->fab;
	return 0;
}

static const struct fab_net_ops sim_net_ops = {
	.open = net_fab_open,
	.attach = net_attach,
	.cut = net_cut,
	.up = net_up,
	.size = net_size,
	.on_down = net_on_down,
	.close = net_close,
};

int sim_net_open(struct sim *s, const char *name, struct fab_net **out)
{
	struct sim_net *net = sim_alloc(sizeof(*net));

	net->net.ops = &sim_net_ops;
	net->sim = s;
	snprintf(net->name, sizeof(net->name), "%s", name);
	TAILQ_INSERT_TAIL(&s->nets, net, link);
	*out = &net->net;
	return 0;
}
