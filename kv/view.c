/* kv/view.c - the legal moves of a view. */
#include "kv/view.h"

#include <errno.h>
#include <string.h>

_Static_assert(sizeof(struct view) == 312, "a view travels as it is");

void view_first(struct view *v, uint32_t nodes, uint32_t k, uint32_t m)
{
	memset(v, 0, sizeof(*v));
	v->epoch = 1;
	v->index_version = 1;
	v->nodes = nodes;
	v->k = k;
	v->m = m;
	for (uint32_t i = 0; i < nodes; i++) {
		v->node[i] = VIEW_NODE_UP;
		v->shard[i] = VIEW_SHARD_SERVING;
		v->host[i] = (uint8_t)i;
	}
}

uint64_t view_up(const struct view *v)
{
	uint64_t up = 0;

	for (uint32_t i = 0; i < v->nodes; i++)
		if (v->node[i] == VIEW_NODE_UP)
			up |= UINT64_C(1) << i;
	return up;
}

uint64_t view_members(const struct view *v)
{
	uint64_t set = view_up(v);

	for (uint32_t i = 0; i < v->nodes; i++)
		if (v->node[i] == VIEW_NODE_COMING)
			set |= UINT64_C(1) << i;
	return set;
}

unsigned view_down(const struct view *v)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < v->nodes; i++)
		n += v->node[i] == VIEW_NODE_DOWN;
	return n;
}

/* Which of a shard's m + 1 hosts @host is: 0 the own one. */
static uint32_t host_rank(const struct view *v, uint32_t shard, uint32_t host)
{
	return (host + v->nodes - shard) % v->nodes;
}

/* The shard's host died: where it was last if that lives, for then nothing of
 * it has changed there; else the next host that lives, or none. */
static void shard_moves(struct view *v, uint32_t shard)
{
	uint32_t own = host_rank(v, shard, v->host[shard]);
	uint8_t source = v->source[shard];

	v->source[shard] = 0;
	if (source != 0 && v->shard[shard] == VIEW_SHARD_REBUILDING) {
		v->host[shard] = source - 1;
		v->shard[shard] = VIEW_SHARD_SETTLING;
		return;
	}
	for (uint32_t i = 1; i <= v->m; i++) {
		uint32_t r = (own + i) % (v->m + 1);
		uint32_t host = (shard + r) % v->nodes;

		if (v->node[host] == VIEW_NODE_UP) {
			v->host[shard] = (uint8_t)host;
			v->shard[shard] = VIEW_SHARD_REBUILDING;
			return;
		}
	}
	v->shard[shard] = VIEW_SHARD_LOST;
}

int view_node_dies(struct view *v, uint32_t id)
{
	if (id >= v->nodes)
		return -EINVAL;
	if (v->node[id] == VIEW_NODE_DOWN)
		return -EALREADY;
	v->node[id] = VIEW_NODE_DOWN;
	for (uint32_t s = 0; s < v->nodes; s++) {
		if (v->source[s] == id + 1)
			v->source[s] = 0; /* to be replayed, then */
		if (v->host[s] == id && v->shard[s] != VIEW_SHARD_LOST)
			shard_moves(v, s);
	}
	v->epoch++;
	return 0;
}

int view_node_comes(struct view *v, uint32_t id)
{
	if (id >= v->nodes || v->node[id] != VIEW_NODE_DOWN)
		return -EINVAL;
	v->node[id] = VIEW_NODE_COMING;
	v->epoch++;
	return 0;
}

int view_node_is_up(struct view *v, uint32_t id)
{
	if (id >= v->nodes || v->node[id] != VIEW_NODE_COMING)
		return -EINVAL;
	v->node[id] = VIEW_NODE_UP;
	v->epoch++;
	return 0;
}

int view_shard_goes_home(struct view *v, uint32_t shard)
{
	if (shard >= v->nodes || v->node[shard] != VIEW_NODE_UP)
		return -EINVAL;
	if (v->host[shard] == shard)
		return -EALREADY;
	if (v->shard[shard] != VIEW_SHARD_SERVING)
		return -EINVAL;
	v->shard[shard] = VIEW_SHARD_REBUILDING;
	v->source[shard] = v->host[shard] + 1;
	v->host[shard] = (uint8_t)shard;
	v->epoch++;
	return 0;
}

int view_shard_settles(struct view *v, uint32_t shard)
{
	if (shard >= v->nodes || v->shard[shard] != VIEW_SHARD_REBUILDING)
		return -EINVAL;
	v->shard[shard] = VIEW_SHARD_SETTLING;
	v->source[shard] = 0;
	v->epoch++;
	return 0;
}

int view_shard_serves(struct view *v, uint32_t shard)
{
	if (shard >= v->nodes)
		return -EINVAL;
	if (v->shard[shard] == VIEW_SHARD_SERVING)
		return -EALREADY;
	if (v->shard[shard] != VIEW_SHARD_REBUILDING &&
	    v->shard[shard] != VIEW_SHARD_SETTLING)
		return -EINVAL;
	v->shard[shard] = VIEW_SHARD_SERVING;
	v->source[shard] = 0;
	v->epoch++;
	return 0;
}

/* Only a shard under way has a source: another of its hosts, which is UP. */
static bool source_makes_sense(const struct view *v, uint32_t s)
{
	uint32_t source = v->source[s];

	if (source == 0)
		return true;
	source--;
	return v->shard[s] == VIEW_SHARD_REBUILDING && source < v->nodes &&
	       source != v->host[s] && host_rank(v, s, source) <= v->m &&
	       v->node[source] == VIEW_NODE_UP;
}

static bool shard_makes_sense(const struct view *v, uint32_t s)
{
	if (!source_makes_sense(v, s))
		return false;
	if (v->shard[s] == VIEW_SHARD_LOST)
		return true;
	return (v->shard[s] == VIEW_SHARD_SERVING ||
		v->shard[s] == VIEW_SHARD_REBUILDING ||
		v->shard[s] == VIEW_SHARD_SETTLING) &&
	       v->host[s] < v->nodes && host_rank(v, s, v->host[s]) <= v->m &&
	       v->node[v->host[s]] == VIEW_NODE_UP;
}

int view_check(const struct view *v)
{
	if (v->epoch == 0 || v->index_version == 0 || v->nodes == 0 ||
	    v->nodes > FAB_NODES_MAX || v->k == 0 || v->m == 0 ||
	    v->k > v->nodes || v->m > v->nodes || v->k + v->m > v->nodes)
		return -EBADMSG;
	if (v->durable > v->cut || v->persistent > 1 || v->frozen > 1)
		return -EBADMSG;
	for (uint32_t i = 0; i < v->nodes; i++) {
		if (v->node[i] != VIEW_NODE_UP &&
		    v->node[i] != VIEW_NODE_DOWN &&
		    v->node[i] != VIEW_NODE_COMING)
			return -EBADMSG;
		if (!shard_makes_sense(v, i))
			return -EBADMSG;
	}
	return 0;
}
