/* kv/node/coord_come.c - a new process takes a dead node's place.
 *
 *   it came -> the death is over with: attach -> COMING, told to all
 *           -> all are in that view, no index is being brought back: RESTORE,
 *              asked again until it says done -> UP
 *           -> no sweep goes on anywhere: its shard moves home (REBUILDING from
 *              its present host; coord_rebuild.c does the rest)
 *
 * Nobody sees two processes of an id as one: each client and node says that it
 * is in a view where the last one is DOWN before the next one is let in. When
 * more nodes are away than the code bears, new ones are let in all the same:
 * not every stripe has all of them, and what is written now is on them. They
 * stay COMING while there is a block that they cannot have (-EIO in
 * ec/rebuild.h), and say how much that is. */
#include <errno.h>
#include <string.h>

#include "kv/node/coord_impl.h"

#define CAME_TRIES 3u /* to attach to it; then it is ended */
#define RATE_NS	   (250 * COORD_MS)

unsigned coord_away(const struct coord *c)
{
	return c->view.nodes -
	       (unsigned)__builtin_popcountll(view_up(&c->view));
}

/* --- letting it in -------------------------------------------------------- */

static bool may_come(struct coord *c, uint32_t id)
{
	return c->node[id].came && c->view.node[id] == VIEW_NODE_DOWN &&
	       !c->anew && coord_settled(c, c->barrier);
}

/* Whose turn it is, and where it is; false: nobody's. */
static bool next_to_come(struct coord *c, uint64_t now, uint64_t *again,
			 uint32_t *id, char *address)
{
	bool found = false;

	pthread_mutex_lock(&c->lock);
	for (*id = 0; *id < c->view.nodes; ++*id) {
		if (!may_come(c, *id))
			continue;
		if (now < c->node[*id].came_at) {
			coord_again(again, c->node[*id].came_at);
			continue;
		}
		memcpy(address, c->node[*id].came_address, PROTO_ADDRESS_BYTES);
		found = true;
		break;
	}
	pthread_mutex_unlock(&c->lock);
	return found;
}

static void came_in(struct coord *c, uint32_t id, uint64_t now)
{
	if (view_node_comes(&c->view, id) != 0)
		return;
	coord_came(&c->node[id]);
	coord_barrier(c, now);
}

/* It does not let us in: whoever started it will start another. */
static bool came_in_vain(struct coord *c, uint32_t id, uint64_t now)
{
	struct coord_node *node = &c->node[id];

	node->came_at = now + COORD_RETRY_NS;
	if (++node->came_tries < CAME_TRIES)
		return false;
	node->came_tries = 0;
	return true;
}

static int let_in(struct coord *c, uint64_t now, uint64_t *again)
{
	char address[PROTO_ADDRESS_BYTES];
	bool same, hopeless = false;
	uint32_t id;
	int rc;

	if (!next_to_come(c, now, again, &id, address))
		return 0;
	rc = coord_attach(c, id, address);
	pthread_mutex_lock(&c->lock);
	same = may_come(c, id) &&
	       strcmp(address, c->node[id].came_address) == 0;
	if (same && rc == 0)
		came_in(c, id, now);
	else if (same)
		hopeless = came_in_vain(c, id, now);
	pthread_mutex_unlock(&c->lock);
	if (rc == 0 && !same)
		fab_net_cut(c->net, (uint8_t)id);
	if (hopeless && c->opts.kill_node != NULL)
		c->opts.kill_node(c->opts.arg, id);
	return 1;
}

/* --- its blocks: locked --------------------------------------------------- */

/* The index is what everybody waits for: it comes first. */
static bool index_is_back(const struct coord *c)
{
	for (uint32_t s = 0; s < c->view.nodes; s++)
		if (c->view.shard[s] == VIEW_SHARD_REBUILDING ||
		    c->view.shard[s] == VIEW_SHARD_SETTLING)
			return false;
	return true;
}

static void measure(struct coord_node *node, uint64_t now)
{
	uint64_t bytes = node->restored.bytes_done;

	if (node->rate_at == 0) {
		node->rate_at = now;
		node->rate_bytes = bytes;
	} else if (now - node->rate_at >= RATE_NS) {
		node->rate = (bytes - node->rate_bytes) * 1000 /
			     ((now - node->rate_at) / COORD_MS);
		node->rate_at = now;
		node->rate_bytes = bytes;
	}
}

static void restore_end(struct coord *c, struct coord_call *call, int status)
{
	struct coord_node *node = &c->node[call->node];
	uint64_t now = fab_now(c->fab);

	if (call->life != node->life)
		return;
	node->restoring = false;
	if (status != 0) {
		node->restore_at = now + COORD_RETRY_NS;
		c->suspect |= UINT64_C(1) << call->node;
	} else {
		node->restored = call->reply.restored;
		measure(node, now);
		node->restore_at = now + node->restore_wait;
		if (node->restore_wait < COORD_RESTORE_MAX_NS)
			node->restore_wait *= 2;
		if (node->restored.done &&
		    view_node_is_up(&c->view, call->node) == 0)
			coord_view_changed(c);
	}
	coord_kick(c);
}

static int restore(struct coord *c, uint32_t id)
{
	struct coord_call *call =
		coord_call_new(c, id, PROTO_RESTORE, restore_end);

	if (call == NULL)
		return -ENOMEM;
	call->req.restore = (struct proto_restore){.epoch = c->view.epoch};
	c->node[id].restoring = true;
	return 0;
}

static bool restore_due(const struct coord *c, uint32_t id)
{
	return c->view.node[id] == VIEW_NODE_COMING && !c->node[id].restoring;
}

static int restore_all(struct coord *c, uint64_t now, uint64_t *again)
{
	int did = 0;

	if (!coord_settled(c, c->barrier) || !index_is_back(c))
		return 0;
	for (uint32_t id = 0; id < c->view.nodes; id++) {
		if (!restore_due(c, id))
			continue;
		if (now < c->node[id].restore_at)
			coord_again(again, c->node[id].restore_at);
		else if (restore(c, id) == 0)
			did = 1;
	}
	return did;
}

/* --- its shard: locked ---------------------------------------------------- */

static bool is_abroad(const struct coord *c, uint32_t s)
{
	return c->view.node[s] == VIEW_NODE_UP && c->view.host[s] != s &&
	       c->view.shard[s] == VIEW_SHARD_SERVING;
}

static int go_home(struct coord *c, uint64_t now)
{
	uint64_t abroad = 0;
	uint32_t s;

	for (s = 0; s < c->view.nodes; s++)
		if (is_abroad(c, s))
			abroad |= UINT64_C(1) << s;
	if (abroad == 0 || !coord_settled(c, c->barrier) ||
	    !coord_sweep_stopped(c))
		return 0;
	for (s = 0; s < c->view.nodes; s++)
		if (abroad >> s & 1)
			view_shard_goes_home(&c->view, s);
	coord_barrier(c, now);
	return 1;
}

int coord_come_step(struct coord *c, uint64_t now, uint64_t *again)
{
	int did = let_in(c, now, again);

	pthread_mutex_lock(&c->lock);
	did |= restore_all(c, now, again);
	did |= go_home(c, now);
	pthread_mutex_unlock(&c->lock);
	return did;
}
