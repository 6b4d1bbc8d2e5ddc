/* kv/node/coord_recovery.c - what is being brought back and how fast: the part
 * of the status that docs/status.md calls the recovery. */
#include <jansson.h>

#include "kv/node/coord_impl.h"

struct recovery {
	uint64_t done, total, rate; /* bytes; a second */
};

static void add_recovery(struct recovery *sum, const struct recovery *r)
{
	sum->done += r->done;
	sum->total += r->total;
	sum->rate += r->rate;
}

static struct recovery node_recovery(const struct coord *c, uint32_t id)
{
	const struct coord_node *node = &c->node[id];

	if (c->view.node[id] != VIEW_NODE_COMING)
		return (struct recovery){0};
	return (struct recovery){.done = node->restored.bytes_done,
				 .total = node->restored.bytes_total,
				 .rate = node->rate};
}

/* Seconds until it is done; -1: nobody knows. */
static json_int_t time_left(const struct recovery *r)
{
	if (r->done >= r->total)
		return r->total == 0 ? -1 : 0;
	if (r->rate == 0)
		return -1;
	return (json_int_t)((r->total - r->done + r->rate - 1) / r->rate);
}

static json_t *recovery_json(const struct recovery *r)
{
	return json_pack("{s:I, s:I, s:I, s:I}", "done", (json_int_t)r->done,
			 "total", (json_int_t)r->total, "rate",
			 (json_int_t)r->rate, "seconds_left", time_left(r));
}

static bool index_is_away(const struct coord *c, struct recovery *sum)
{
	bool away = false;

	for (uint32_t s = 0; s < c->view.nodes; s++) {
		const struct proto_stats *st = &c->node[c->view.host[s]].stats;

		if (c->view.shard[s] == VIEW_SHARD_SETTLING)
			away = true;
		if (c->view.shard[s] != VIEW_SHARD_REBUILDING)
			continue;
		away = true;
		sum->done += st->rebuild_done;
		sum->total += st->rebuild_total;
	}
	return away;
}

json_t *coord_coming_json(const struct coord *c, uint32_t id)
{
	struct recovery r = node_recovery(c, id);

	return recovery_json(&r);
}

json_t *coord_recovery_json(const struct coord *c)
{
	struct recovery sum = {0};
	const char *tier = "none";
	json_t *o;

	if (index_is_away(c, &sum)) {
		tier = "index";
	} else if (view_members(&c->view) != view_up(&c->view)) {
		tier = "blocks";
		for (uint32_t id = 0; id < c->view.nodes; id++) {
			struct recovery one = node_recovery(c, id);

			add_recovery(&sum, &one);
		}
	}
	o = recovery_json(&sum);
	json_object_set_new(o, "tier", json_string(tier));
	return o;
}
