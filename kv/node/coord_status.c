/* kv/node/coord_status.c - the pool's state as JSON: docs/status.md.
 *
 * A round asks all nodes that are up for their numbers; whoever asks for the
 * status meanwhile waits for the next round. A node that does not answer in
 * time is shown with the last numbers it gave. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "kv/node/coord_impl.h"

#ifndef ACESO_VERSION
#define ACESO_VERSION "unknown"
#endif

/* All clients have one way, and the answer, FAB_CALL_BYTES_MAX, is for others,
 * too: not said of each where there are more. */
#define CLIENT_WAYS_MAX 128u

/* --- JSON ----------------------------------------------------------------- */

struct sums {
	uint64_t capacity, used, raw_capacity, raw_used;
	uint64_t slots, slots_used, tombs, backlog, dead;
};

static void add_node(struct sums *sum, const struct proto_stats *s)
{
	sum->capacity += s->data_total * s->block_bytes;
	sum->used += (s->data_total - s->data_free) * s->block_bytes;
	sum->raw_capacity += s->capacity;
	sum->raw_used += s->used;
	sum->slots += s->slots;
	sum->slots_used += s->slots_used;
	sum->tombs += s->tombs;
	sum->backlog += s->fold_backlog;
	sum->dead += s->dead_bytes;
}

/* Not in the view, or spared: as good as lost, unless they come back. */
static unsigned nodes_away(const struct coord *c)
{
	uint64_t up = view_up(&c->view);
	unsigned away = 0;

	for (uint32_t id = 0; id < c->view.nodes; id++)
		away += !(up >> id & 1) || c->node[id].spared;
	return away;
}

static const char *redundancy(const struct coord *c)
{
	const struct view *v = &c->view;
	uint32_t s;
	unsigned away = nodes_away(c);
	bool full = away == 0;

	if (c->forming || c->anew)
		return "forming";
	for (s = 0; s < v->nodes; s++) {
		if (v->shard[s] == VIEW_SHARD_LOST)
			return "lost";
		if (v->shard[s] != VIEW_SHARD_SERVING)
			full = false;
	}
	if (away > v->m)
		return "lost";
	return full ? "full" : "degraded";
}

/* While it forms: nodes that have not reported. When it is lost: those that may
 * have their memory still, and do not answer. */
static bool is_waited_for(const struct coord *c, uint32_t id)
{
	if (c->forming || c->anew)
		return !c->node[id].came;
	return view_up(&c->view) >> id & 1 && nodes_away(c) > c->view.m &&
	       coord_node_silent(c, id, fab_now(c->fab));
}

static json_t *waited_for_json(const struct coord *c)
{
	json_t *list = json_array();

	for (uint32_t id = 0; id < c->view.nodes; id++)
		if (is_waited_for(c, id))
			json_array_append_new(list, json_integer(id));
	return list;
}

/* --- nodes, shards, clients ----------------------------------------------- */

static const char *node_state(const struct coord *c, uint32_t id)
{
	if ((c->forming || c->anew) && c->node[id].came)
		return "coming";
	switch (c->view.node[id]) {
	case VIEW_NODE_UP:
		return "up";
	case VIEW_NODE_COMING:
		return "coming";
	default:
		return "down";
	}
}

static json_t *node_json(const struct coord *c, uint32_t id)
{
	const struct coord_node *node = &c->node[id];
	bool up = view_members(&c->view) >> id & 1;
	const struct proto_stats *s = &node->stats;
	json_t *o;

	o = json_pack("{s:i, s:i, s:s, s:b, s:I, s:I, s:I, s:I, s:I}", "id",
		      (int)id, "pid", (int)node->pid, "state",
		      node_state(c, id), "answers",
		      up && !coord_node_silent(c, id, fab_now(c->fab)),
		      "capacity", (json_int_t)(up ? s->capacity : 0), "used",
		      (json_int_t)(up ? s->used : 0), "fold_backlog",
		      (json_int_t)(up ? s->fold_backlog : 0), "dead",
		      (json_int_t)(up ? s->dead_bytes : 0), "rss_beyond",
		      (json_int_t)(up ? s->rss_beyond : 0));
	coord_ways_node(c, id, o);
	if (c->view.node[id] == VIEW_NODE_COMING)
		json_object_set_new(o, "recovery", coord_coming_json(c, id));
	else if (up && node->restored.done)
		json_object_set_new(o, "restored", coord_restored_json(c, id));
	return o;
}

static json_t *nodes_json(const struct coord *c, struct sums *sum)
{
	json_t *list = json_array();
	uint32_t id;

	for (id = 0; id < c->view.nodes; id++) {
		json_array_append_new(list, node_json(c, id));
		if (view_members(&c->view) >> id & 1)
			add_node(sum, &c->node[id].stats);
	}
	return list;
}

static json_t *shard_json(const struct coord *c, uint32_t shard)
{
	static const char *const names[] = {"none", "serving", "rebuilding",
					    "lost", "settling"};
	uint8_t state = c->view.shard[shard];
	uint32_t host = c->view.host[shard];
	const struct proto_stats *s = &c->node[host].stats;
	bool going = c->view.shard[shard] == VIEW_SHARD_REBUILDING;

	return json_pack("{s:i, s:i, s:s, s:I, s:I}", "id", (int)shard, "host",
			 (int)host, "state",
			 names[state <= VIEW_SHARD_SETTLING ? state : 0],
			 "done", (json_int_t)(going ? s->rebuild_done : 0),
			 "total", (json_int_t)(going ? s->rebuild_total : 0));
}

static json_t *shards_json(const struct coord *c)
{
	json_t *list = json_array();
	uint32_t s;

	for (s = 0; s < c->view.nodes; s++)
		json_array_append_new(list, shard_json(c, s));
	return list;
}

static void put_int(json_t *o, const char *name, uint64_t value)
{
	json_object_set_new(o, name, json_integer((json_int_t)value));
}

static void add_ckpt(struct proto_ckpt_stats *sum,
		     const struct proto_ckpt_stats *s)
{
	sum->rounds += s->rounds;
	sum->skipped += s->skipped;
	sum->scanned += s->scanned;
	sum->changed += s->changed;
	sum->sent += s->sent;
	sum->failed += s->failed;
	sum->work_ns += s->work_ns;
	sum->folded_ns += s->folded_ns;
	sum->shards += s->shards;
	sum->imaged += s->imaged;
	sum->restores += s->restores;
	sum->replays += s->replays;
	sum->replayed += s->replayed;
	if (s->age_ns > sum->age_ns)
		sum->age_ns = s->age_ns;
}

static json_t *checkpoint_json(const struct coord *c)
{
	struct proto_ckpt_stats s = {0};
	json_t *o = json_object();
	uint32_t id;

	for (id = 0; id < c->view.nodes; id++)
		if (c->view.node[id] == VIEW_NODE_UP)
			add_ckpt(&s, &c->node[id].stats.ckpt);
	put_int(o, "age_ms", s.age_ns / COORD_MS);
	put_int(o, "shards", s.shards);
	put_int(o, "imaged", s.imaged);
	put_int(o, "rounds", s.rounds);
	put_int(o, "unchanged", s.skipped);
	put_int(o, "scanned", s.scanned);
	put_int(o, "changed", s.changed);
	put_int(o, "bytes", s.sent);
	put_int(o, "failed", s.failed);
	put_int(o, "cpu_us", (s.work_ns + s.folded_ns) / 1000);
	put_int(o, "restores", s.restores);
	put_int(o, "replays", s.replays);
	put_int(o, "replayed", s.replayed);
	return o;
}

static const char *client_state(const struct coord *c,
				const struct coord_client *cl)
{
	if (cl->stuck)
		return "stuck";
	return cl->acked < c->barrier ? "late" : "current";
}

static json_t *client_json(const struct coord *c, const struct coord_client *cl,
			   json_t *way)
{
	json_t *o = json_pack("{s:I, s:i, s:o, s:s}", "id", (json_int_t)cl->id,
			      "pid", (int)cl->pid, "what",
			      coord_said(cl->what, strlen(cl->what)), "state",
			      client_state(c, cl));

	if (c->view.clients <= CLIENT_WAYS_MAX)
		coord_ways_client(c, way, o);
	return o;
}

static json_t *clients_json(const struct coord *c, json_t *way)
{
	json_t *list = json_array();
	const struct coord_client *cl;

	TAILQ_FOREACH (cl, &c->clients, link)
		json_array_append_new(list, client_json(c, cl, way));
	return list;
}

static void put_sums(json_t *o, const struct sums *sum)
{
	put_int(o, "capacity", sum->capacity);
	put_int(o, "used", sum->used);
	put_int(o, "raw_capacity", sum->raw_capacity);
	put_int(o, "raw_used", sum->raw_used);
	put_int(o, "slots", sum->slots);
	put_int(o, "slots_used", sum->slots_used);
	put_int(o, "tombstones", sum->tombs);
	put_int(o, "fold_backlog", sum->backlog);
	put_int(o, "dead", sum->dead);
}

/* Who could not write the last one, and why; null: nobody. */
static json_t *trouble_json(const struct coord_durable *d)
{
	if (d->trouble == 0)
		return json_null();
	if (d->trouble_at == DURABLE_POOLFILE)
		return json_sprintf("the pool file: %s", strerror(-d->trouble));
	return json_sprintf("memory node %u: %s", d->trouble_at,
			    strerror(-d->trouble));
}

/* null: the pool is in memory only. */
static json_t *durable_json(const struct coord *c)
{
	const struct coord_durable *d = &c->durable;
	const struct coord_durable_stats *s = &d->last;
	uint64_t now = fab_now(c->fab);
	json_t *o;

	if (!c->opts.persistent)
		return json_null();
	o = json_pack("{s:s, s:b}", "dir",
		      c->opts.dir != NULL ? c->opts.dir : "", "under_way",
		      d->state != DURABLE_IDLE);
	put_int(o, "version", c->view.durable);
	put_int(o, "age_ms",
		d->last_cut_ns != 0 ? (now - d->last_cut_ns) / COORD_MS : 0);
	put_int(o, "frozen_us", s->frozen_ns / 1000);
	put_int(o, "took_ms", s->took_ns / COORD_MS);
	put_int(o, "done", s->done);
	put_int(o, "failed", s->failed);
	json_object_set_new(o, "trouble", trouble_json(d));
	json_object_set_new(o, "current",
			    json_boolean(!d->changed &&
					 d->state == DURABLE_IDLE &&
					 c->view.durable != 0));
	return o;
}

/* Locked. free() it; NULL: no memory. */
static char *status_json(const struct coord *c)
{
	const struct group *g = coord_group(c);
	struct sums sum = {0};
	json_t *nodes = nodes_json(c, &sum), *way = coord_ways_nodes(c);
	char code[32], *text;
	json_t *o;

	snprintf(code, sizeof(code), "%u+%u", g->k, g->m);
	o = json_pack("{s:s, s:s, s:s, s:s, s:s}", "pool", c->pool, "version",
		      ACESO_VERSION, "code", code, "redundancy", redundancy(c),
		      "transport", c->transport);
	put_sums(o, &sum);
	put_int(o, "block_bytes", g->block_bytes);
	json_object_set_new(o, "durable", durable_json(c));
	put_int(o, "epoch", c->view.epoch);
	json_object_set_new(o, "leads", json_boolean(coord_is_sure(c)));
	put_int(o, "index_version", c->view.index_version);
	json_object_set_new(o, "recovery", coord_recovery_json(c));
	json_object_set_new(o, "waits_for", waited_for_json(c));
	json_object_set_new(o, "nodes", nodes);
	json_object_set_new(o, "returned",
			    json_pack("{s:I, s:I}", "passes",
				      (json_int_t)c->returned.passes, "bytes",
				      (json_int_t)c->returned.bytes));
	json_object_set_new(o, "scrub", coord_scrub_json(c));
	json_object_set_new(o, "shards", shards_json(c));
	json_object_set_new(o, "clients", clients_json(c, way));
	json_object_set_new(o, "nodes_transport", way);
	json_object_set_new(o, "coordinators", coord_ways_coordinators(c));
	json_object_set_new(o, "checkpoint", checkpoint_json(c));
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	return text;
}

/* --- rounds: locked ------------------------------------------------------- */

void coord_status_ask(struct coord *c, struct coord_asker *a)
{
	TAILQ_INSERT_TAIL(&c->askers, a, link);
	coord_kick(c);
}

static void answer(struct coord *c, struct coord_asker *a, int status)
{
	char *json = status == 0 ? status_json(c) : NULL;

	if (status == 0 && json == NULL)
		status = -ENOMEM;
	if (a->rq == NULL) { /* coord_status() waits, and frees it */
		a->json = json;
		a->status = status;
		pthread_cond_broadcast(&c->told);
		return;
	}
	if (status == 0 && strlen(json) > FAB_CALL_BYTES_MAX)
		status = -EMSGSIZE;
	fab_reply(a->rq, status, json, status == 0 ? strlen(json) : 0);
	free(json);
	free(a);
}

static void answer_all(struct coord *c, struct coord_askers *list, int status)
{
	struct coord_asker *a;

	while ((a = TAILQ_FIRST(list)) != NULL) {
		TAILQ_REMOVE(list, a, link);
		answer(c, a, status);
	}
}

void coord_status_drop(struct coord *c)
{
	answer_all(c, &c->asking, -ECANCELED);
	answer_all(c, &c->askers, -ECANCELED);
}

static void stats_end(struct coord *c, struct coord_call *call, int status)
{
	c->stats_out &= ~(UINT64_C(1) << call->node);
	if (status == 0)
		c->node[call->node].stats = call->reply.stats;
	else /* nobody else may be asking it anything */
		c->suspect |= UINT64_C(1) << call->node;
	if (c->stats_out == 0)
		answer_all(c, &c->asking, 0);
}

static void stats_ask(struct coord *c, uint32_t id)
{
	struct coord_call *call = coord_call_new(c, id, PROTO_STATS, stats_end);

	if (call == NULL)
		return;
	call->timeout_ns = COORD_STATS_NS;
	c->stats_out |= UINT64_C(1) << id;
}

int coord_status_step(struct coord *c, uint64_t now)
{
	uint32_t id;
	int did = 0;

	pthread_mutex_lock(&c->lock);
	if (c->stats_out == 0 && !TAILQ_EMPTY(&c->askers)) {
		TAILQ_CONCAT(&c->asking, &c->askers, link);
		for (id = 0; id < c->view.nodes; id++)
			if (view_members(&c->view) >> id & 1)
				stats_ask(c, id);
		if (c->stats_out == 0)
			answer_all(c, &c->asking, 0);
		did = 1;
	}
	pthread_mutex_unlock(&c->lock);
	return did;
}
