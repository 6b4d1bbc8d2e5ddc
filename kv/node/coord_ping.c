/* kv/node/coord_ping.c - does every node answer?
 *
 * A stopped or hung node cannot be told from a dead one by who waits for it,
 * and shared memory of a stopped one stays within reach: so it is ended first,
 * and only then taken over from [I6]. With hysteresis:
 *
 *   answers -- a PING is owed --> silent --+-- stopped, 0.75 s --+
 *      ^                             |     +-- 2 leases ---------+--> ended
 *      +------- any answer ----------+     +-- too much is gone -----> spared
 *
 * Spared: to end it would take the pool beyond what its code bears. When others
 * answer again so that it would not, its clock starts anew; so do all clocks
 * after a pause of the coordinator itself. Without clients and without a
 * durable checkpoint to be made nobody waits for a node, and only a sweep asks.
 */
#include <errno.h>

#include "kv/log.h"
#include "kv/node/coord_impl.h"

static void ping_end(struct coord *c, struct coord_call *call, int status)
{
	struct coord_node *node = &c->node[call->node];

	if (call->life != node->life)
		return;
	node->pinging = false;
	if (status != 0) {
		node->ping_at = fab_now(c->fab) + COORD_RETRY_NS;
		c->suspect |= UINT64_C(1) << call->node;
		coord_kick(c);
		return;
	}
	if (node->spared)
		LOG(LOG_INFO, "memory node %u answers again", call->node);
	node->spared = false;
	node->silent = 0;
	node->ping_at = fab_now(c->fab) + COORD_PING_NS;
}

static int ping(struct coord *c, uint32_t id, uint64_t now)
{
	struct coord_call *call;

	if (c->node[id].pinging)
		return 0;
	call = coord_call_new(c, id, PROTO_PING, ping_end);
	if (call == NULL)
		return 0;
	call->timeout_ns = COORD_PING_LATE_NS;
	c->node[id].pinging = true;
	if (c->node[id].silent == 0)
		c->node[id].silent = now;
	return 1;
}

void coord_ping_now(struct coord *c, uint32_t id)
{
	pthread_mutex_lock(&c->lock);
	ping(c, id, fab_now(c->fab));
	pthread_mutex_unlock(&c->lock);
}

static int ping_all(struct coord *c, uint64_t now, uint64_t *again)
{
	struct coord_node *node;
	uint32_t id;
	int did = 0;

	for (id = 0; id < c->view.nodes; id++) {
		node = &c->node[id];
		if (!(view_members(&c->view) >> id & 1) || node->pinging)
			continue;
		if (now >= node->ping_at)
			did |= ping(c, id, now);
		else
			coord_again(again, node->ping_at);
	}
	return did;
}

bool coord_node_silent(const struct coord *c, uint32_t id, uint64_t now)
{
	uint64_t since = c->node[id].silent;

	return since != 0 && now >= since + COORD_SILENT_NS;
}

/* Those that owe an answer for too long. If we were away ourselves, answers
 * may lie in our mailbox. */
static uint64_t silent_ones(struct coord *c, uint64_t now)
{
	bool away = now > c->stepped_at + COORD_AWAY_NS;
	uint64_t set = 0;
	uint32_t id;

	c->stepped_at = now;
	for (id = 0; id < c->view.nodes; id++) {
		if (away && c->node[id].silent != 0)
			c->node[id].silent = now;
		if (view_members(&c->view) >> id & 1 &&
		    coord_node_silent(c, id, now))
			set |= UINT64_C(1) << id;
	}
	return set;
}

/* Without those that owe an answer more than m would be gone. They are asked in
 * turn: the last may be judged a while after the first. */
static bool too_many(struct coord *c, uint64_t now)
{
	unsigned gone = coord_away(c);
	uint32_t id;

	for (id = 0; id < c->view.nodes; id++)
		if (c->view.node[id] == VIEW_NODE_UP &&
		    c->node[id].silent != 0 &&
		    now > c->node[id].silent + COORD_DOUBT_NS)
			gone++;
	return gone > c->view.m;
}

/* The others are back: it may need as long as they did. */
static uint64_t judge_anew(struct coord *c, uint64_t silent, uint64_t now)
{
	uint32_t id;

	for (id = 0; id < c->view.nodes; id++)
		if (c->node[id].spared) {
			c->node[id].spared = false;
			c->node[id].silent = now;
			silent &= ~(UINT64_C(1) << id);
		}
	return silent;
}

static void spare(struct coord *c, uint32_t id)
{
	pthread_mutex_lock(&c->lock);
	if (!c->node[id].spared)
		LOG(LOG_ERROR,
		    "memory node %u does not answer; it is not ended, for "
		    "without it data would be lost",
		    id);
	c->node[id].spared = true;
	pthread_mutex_unlock(&c->lock);
}

bool coord_node_end(struct coord *c, uint32_t id)
{
	/* Of another host: everybody cuts it before he is in the next view. */
	return c->opts.remote || (c->opts.kill_node != NULL &&
				  c->opts.kill_node(c->opts.arg, id) == 0);
}

static bool is_beyond_hope(struct coord *c, uint32_t id, uint64_t now)
{
	if (now >= c->node[id].silent + 2 * c->opts.lease_ms * COORD_MS)
		return true;
	return !c->opts.remote && c->opts.node_is_stopped != NULL &&
	       c->opts.node_is_stopped(c->opts.arg, id);
}

int coord_ping_step(struct coord *c, uint64_t now, uint64_t *again)
{
	uint64_t silent;
	bool spared;
	uint32_t id;
	int did = 0;

	pthread_mutex_lock(&c->lock);
	if (!TAILQ_EMPTY(&c->clients) || coord_durable_waited_for(c))
		did = ping_all(c, now, again);
	silent = silent_ones(c, now);
	spared = too_many(c, now);
	if (!spared)
		silent = judge_anew(c, silent, now);
	pthread_mutex_unlock(&c->lock);
	for (id = 0; id < FAB_NODES_MAX; id++) {
		if (!(silent >> id & 1) || !is_beyond_hope(c, id, now))
			continue;
		if (spared)
			spare(c, id);
		else if (coord_node_end(c, id))
			coord_found_dead(c, id);
	}
	return did;
}
