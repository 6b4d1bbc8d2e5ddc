/* kv/node/coord_recovery.c - what is being brought back and how fast: the part
 * of the status that docs/status.md calls the recovery. */
#include <jansson.h>

#include "kv/node/coord_impl.h"

struct recovery {
	uint64_t done, total, rate; /* bytes; a second */
	uint64_t lost, unknown;	    /* bytes */
};

static void add_recovery(struct recovery *sum, const struct recovery *r)
{
	sum->done += r->done;
	sum->total += r->total;
	sum->rate += r->rate;
	sum->lost += r->lost;
	sum->unknown += r->unknown;
}

static struct recovery node_recovery(const struct coord *c, uint32_t id)
{
	const struct coord_node *node = &c->node[id];
	const struct proto_restored *is = &node->restored;

	if (c->view.node[id] != VIEW_NODE_COMING)
		return (struct recovery){0};
	return (struct recovery){
		.done = is->bytes_done,
		.total = is->bytes_total,
		.rate = is->ended ? 0 : node->rate,
		.lost = is->bytes_lost,
		.unknown = (uint64_t)is->blocks_unknown *
			   coord_group(c)->block_bytes,
	};
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
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "done",
			 (json_int_t)r->done, "total", (json_int_t)r->total,
			 "rate", (json_int_t)r->rate, "seconds_left",
			 time_left(r), "lost", (json_int_t)r->lost, "unknown",
			 (json_int_t)r->unknown);
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

/* Of some node that is coming there is more to be had, or it is not known. */
static bool blocks_are_away(const struct coord *c)
{
	for (uint32_t id = 0; id < c->view.nodes; id++)
		if (c->view.node[id] == VIEW_NODE_COMING &&
		    !c->node[id].restored.ended)
			return true;
	return false;
}

json_t *coord_restored_json(const struct coord *c, uint32_t id)
{
	const struct proto_restored *is = &c->node[id].restored;

	return json_pack("{s:I, s:I}", "kept", (json_int_t)is->bytes_kept,
			 "fetched",
			 (json_int_t)(is->bytes_done - is->bytes_kept));
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
	} else {
		tier = blocks_are_away(c) ? "blocks" : "none";
		for (uint32_t id = 0; id < c->view.nodes; id++) {
			struct recovery one = node_recovery(c, id);

			add_recovery(&sum, &one);
		}
	}
	o = recovery_json(&sum);
	json_object_set_new(o, "tier", json_string(tier));
	return o;
}
