/* kv/node/coord_view.c - deaths make views, and views are told. */
#include <errno.h>
#include <string.h>

#include "kv/log.h"
#include "kv/node/coord_impl.h"

/* The view has a new epoch: everyone is to hear of it. */
void coord_view_changed(struct coord *c)
{
	c->announce = true;
	coord_kick(c);
}

static bool is_member(const struct coord *c, uint32_t id)
{
	return view_members(&c->view) >> id & 1;
}

void coord_barrier(struct coord *c, uint64_t now)
{
	c->barrier = c->view.epoch;
	c->barrier_at = now + c->opts.lease_ms * COORD_MS;
	coord_view_changed(c);
}

bool coord_settled(struct coord *c, uint64_t epoch)
{
	const struct coord_client *cl;
	uint32_t id;

	for (id = 0; id < c->view.nodes; id++)
		if (is_member(c, id) && c->node[id].acked < epoch)
			return false;
	TAILQ_FOREACH (cl, &c->clients, link)
		if (cl->acked < epoch)
			return false;
	return true;
}

/* --- deaths --------------------------------------------------------------- */

/* The suspects to be looked at now: each at most every COORD_RETRY_NS. */
static uint64_t take_suspects(struct coord *c, uint64_t now, uint64_t *again)
{
	uint64_t set = 0;
	uint32_t id;

	pthread_mutex_lock(&c->lock);
	c->suspect &= view_members(&c->view);
	for (id = 0; id < c->view.nodes; id++) {
		if (!(c->suspect >> id & 1))
			continue;
		if (now < c->node[id].look_at) {
			coord_again(again, c->node[id].look_at);
			continue;
		}
		c->node[id].look_at = now + COORD_RETRY_NS;
		set |= UINT64_C(1) << id;
	}
	c->suspect &= ~set;
	pthread_mutex_unlock(&c->lock);
	return set;
}

/* Ask whoever knows about processes; nobody: the connection tells. */
static bool is_alive(struct coord *c, uint32_t id)
{
	bool up = fab_net_up(c->net, (uint8_t)id);

	if (c->opts.remote) {
		if (!up)
			coord_link_want(c, id);
		return true; /* nobody is certain of the contrary */
	}
	if (c->opts.node_is_alive != NULL)
		return c->opts.node_is_alive(c->opts.arg, id);
	return up;
}

/* It lives and answers, but takes no view: not even asked so often. */
static bool is_hopeless(struct coord *c, uint32_t id)
{
	bool hopeless;

	pthread_mutex_lock(&c->lock);
	hopeless = c->node[id].strikes >= COORD_STRIKES;
	pthread_mutex_unlock(&c->lock);
	return hopeless && coord_node_end(c, id);
}

/* By ourselves: that says nothing of a process that came after it. */
void coord_found_dead(struct coord *c, uint32_t id)
{
	pthread_mutex_lock(&c->lock);
	c->dead |= UINT64_C(1) << id;
	pthread_mutex_unlock(&c->lock);
}

static void look_at_suspects(struct coord *c, uint64_t now, uint64_t *again)
{
	uint64_t set = take_suspects(c, now, again);
	uint32_t id;

	for (id = 0; id < FAB_NODES_MAX; id++)
		if (!(set >> id & 1))
			continue;
		else if (!is_alive(c, id) || is_hopeless(c, id))
			coord_found_dead(c, id);
		else
			coord_ping_now(c, id);
}

static void say_what_is_lost(const struct coord *c)
{
	LOG(LOG_ERROR,
	    "view %llu: %u memory nodes of %u are away, the code bears %u: "
	    "what only they held answers EIO",
	    (unsigned long long)c->view.epoch, coord_away(c), c->view.nodes,
	    c->view.m);
}

static void bury(struct coord *c, uint32_t id, uint64_t now)
{
	if (view_node_dies(&c->view, id) != 0)
		return;
	c->node[id].life++;
	c->rebuild_round++;
	c->rebuilding = 0;
	c->rebuild_at = 0;
	coord_barrier(c, now);
	if (coord_away(c) > c->view.m)
		say_what_is_lost(c);
}

static uint64_t take_dead(struct coord *c, uint64_t now)
{
	uint64_t dead;
	uint32_t id;

	pthread_mutex_lock(&c->lock);
	dead = c->dead & view_members(&c->view);
	c->dead = 0;
	for (id = 0; id < c->view.nodes; id++)
		if (dead >> id & 1)
			bury(c, id, now);
	pthread_mutex_unlock(&c->lock);
	return dead;
}

int coord_deaths_step(struct coord *c, uint64_t now, uint64_t *again)
{
	uint64_t dead;
	uint32_t id;

	look_at_suspects(c, now, again);
	dead = take_dead(c, now);
	for (id = 0; id < FAB_NODES_MAX; id++)
		if (dead >> id & 1)
			fab_net_cut(c->net, (uint8_t)id);
	return dead != 0;
}

/* --- telling the nodes ---------------------------------------------------- */

static void tell_end(struct coord *c, struct coord_call *call, int status)
{
	struct coord_node *node = &c->node[call->node];

	if (call->life != node->life)
		return;
	node->telling = false;
	if (status == 0) {
		node->strikes = 0;
		if (node->acked < call->tag)
			node->acked = call->tag;
		coord_kick(c);
		return;
	}
	if (status == -ETIMEDOUT)
		node->strikes++;
	node->tell_at = fab_now(c->fab) + COORD_RETRY_NS;
	if (status != -EAGAIN) /* that: it is being done */
		c->suspect |= UINT64_C(1) << call->node;
	coord_kick(c);
}

static int tell(struct coord *c, uint32_t id)
{
	struct coord_call *call = coord_call_new(c, id, PROTO_VIEW, tell_end);

	if (call == NULL)
		return -ENOMEM;
	call->tag = coord_told(c)->epoch;
	call->req.view->view = *coord_told(c);
	coord_addresses(c, call->req.view->address);
	c->node[id].telling = true;
	return 0;
}

static void announce(struct coord *c)
{
	struct view v;
	bool due;

	pthread_mutex_lock(&c->lock);
	due = c->announce;
	c->announce = false;
	v = *coord_told(c);
	pthread_mutex_unlock(&c->lock);
	if (due && v.epoch != 0 && c->opts.on_view != NULL)
		c->opts.on_view(c->opts.arg, &v);
}

int coord_tell_step(struct coord *c, uint64_t now, uint64_t *again)
{
	struct coord_node *node;
	uint32_t id;
	int did = 0;

	announce(c);
	pthread_mutex_lock(&c->lock);
	for (id = 0; id < c->view.nodes; id++) {
		node = &c->node[id];
		if (!is_member(c, id) || node->telling ||
		    node->acked >= coord_told(c)->epoch)
			continue;
		if (now >= node->tell_at && tell(c, id) == 0)
			did = 1;
		else
			coord_again(again, now + COORD_RETRY_NS);
	}
	pthread_mutex_unlock(&c->lock);
	return did;
}
