/* kv/node/coord_form.c - nodes of other hosts report, and a pool begins.
 *
 * A node says COME once a second for as long as it lives. While the pool is
 * *forming* (it never was before) they are only noted; when all have reported
 * and let us in, the first view is made. Later a COME tells that
 *   - the process of the view lives: nothing to do;
 *   - another process serves that place: so the one of the view is dead, and
 *     the new one waits to be let in (coord_come.c);
 *   - a process lives that was taken for dead: it is to end itself, as others
 *     have taken over what it had.
 * When nobody is left of the last view it is formed again: coord_anew.c. */
#include <errno.h>
#include <string.h>

#include "kv/hello.h"
#include "kv/log.h"
#include "kv/node/coord_impl.h"

/* --- COME ----------------------------------------------------------------- */

static bool is_text(const char *text, size_t cap)
{
	return memchr(text, '\0', cap) != NULL;
}

static int check(const struct coord *c, const struct proto_come *rq)
{
	char bare[PROTO_ADDRESS_BYTES];
	uint64_t instance;

	if (!is_text(rq->address, sizeof(rq->address)) ||
	    !is_text(rq->host, sizeof(rq->host)) ||
	    !is_text(rq->why, sizeof(rq->why)))
		return -EPROTO;
	if (memcmp(rq->uuid, c->opts.super.uuid, sizeof(rq->uuid)) != 0)
		return -EACCES;
	if (rq->id >= c->view.nodes ||
	    rq->shape != layout_sum(&c->opts.super.layout) ||
	    hello_split(rq->address, bare, &instance) != 0 ||
	    instance != rq->instance || instance == 0)
		return -EINVAL;
	return 0;
}

/* Both serve one port: the other one cannot live any more. */
static bool same_place(const char *a, const char *b)
{
	char at[2][PROTO_ADDRESS_BYTES];
	uint64_t ignored;

	return hello_split(a, at[0], &ignored) == 0 &&
	       hello_split(b, at[1], &ignored) == 0 &&
	       strcmp(at[0], at[1]) == 0;
}

static void note(struct coord *c, const struct proto_come *rq)
{
	struct coord_node *node = &c->node[rq->id];

	if (node->came && strcmp(node->came_address, rq->address) == 0)
		return;
	memcpy(node->came_address, rq->address, sizeof(rq->address));
	memcpy(node->came_host, rq->host, sizeof(rq->host));
	memcpy(node->came_why, rq->why, sizeof(rq->why));
	node->came_pid = rq->pid;
	node->came_at = 0;
	node->came_tries = 0;
	node->came = true;
	coord_kick(c);
}

/* A node that was in a view has memory that counts: it is nothing to begin
 * with. */
static int come_early(struct coord *c, const struct proto_come *rq)
{
	if (rq->epoch != 0 || rq->former) {
		LOG(LOG_ERROR,
		    "memory node %u was part of this pool already: the "
		    "coordinator has lost what it knew, and begins nothing new",
		    rq->id);
		return -EBUSY;
	}
	note(c, rq);
	return 0;
}

static int come_late(struct coord *c, const struct proto_come *rq)
{
	struct coord_node *node = &c->node[rq->id];
	bool member = view_members(&c->view) >> rq->id & 1;

	if (strcmp(node->address, rq->address) == 0) {
		memcpy(node->host, rq->host, sizeof(rq->host));
		memcpy(node->why, rq->why, sizeof(rq->why));
		node->pid = rq->pid;
		return member ? 0 : -ESTALE;
	}
	if (member && same_place(node->address, rq->address)) {
		c->dead |= UINT64_C(1) << rq->id;
		coord_kick(c);
	}
	note(c, rq);
	return 0;
}

int coord_come(struct coord *c, const struct proto_come *rq,
	       struct proto_came *out)
{
	struct coord_node *node;
	int rc = check(c, rq);

	if (rc == 0 && !coord_is_sure(c))
		rc = -EAGAIN; /* another may lead */
	if (rc == 0 && coord_anew_refuses(c, rq))
		rc = -ESTALE;
	if (rc == 0)
		rc = c->forming ? come_early(c, rq) : come_late(c, rq);
	if (rc != 0)
		return rc;
	node = &c->node[rq->id];
	*out = (struct proto_came){
		.state = !c->forming && view_members(&c->view) >> rq->id & 1 &&
					 strcmp(node->address, rq->address) == 0
				 ? PROTO_CAME_MEMBER
				 : PROTO_CAME_WAITS,
		.lease_ms = c->opts.lease_ms,
		.epoch = c->forming ? 0 : c->view.epoch,
	};
	return 0;
}

/* --- forming -------------------------------------------------------------- */

void coord_form_begin(struct coord *c)
{
	c->forming = true;
	memset(c->view.node, VIEW_NODE_DOWN, c->view.nodes);
}

void coord_came(struct coord_node *node)
{
	memcpy(node->address, node->came_address, sizeof(node->address));
	memcpy(node->host, node->came_host, sizeof(node->host));
	memcpy(node->why, node->came_why, sizeof(node->why));
	node->pid = node->came_pid;
	node->came = false;
	node->life++;
	node->acked = 0;
	node->telling = node->pinging = node->restoring = false;
	node->tell_at = node->look_at = node->restore_at = 0;
	node->strikes = 0;
	node->ping_at = node->silent = 0;
	node->spared = false;
	node->stats = (struct proto_stats){0};
	node->restored = (struct proto_restored){0};
	node->restore_wait = COORD_RESTORE_NS;
	node->rate = node->rate_at = node->rate_bytes = 0;
}

static bool all_came(struct coord *c)
{
	bool all = true;
	uint32_t id;

	pthread_mutex_lock(&c->lock);
	for (id = 0; id < c->view.nodes; id++)
		all = all && c->node[id].came;
	pthread_mutex_unlock(&c->lock);
	return all;
}

/* It may have died since it reported: it will again, or another. */
static int reach(struct coord *c, uint32_t id)
{
	char address[PROTO_ADDRESS_BYTES];
	int rc;

	pthread_mutex_lock(&c->lock);
	memcpy(address, c->node[id].came_address, sizeof(address));
	pthread_mutex_unlock(&c->lock);
	rc = coord_attach(c, id, address);
	pthread_mutex_lock(&c->lock);
	if (rc == 0 && strcmp(address, c->node[id].came_address) != 0)
		rc = -ESTALE;
	if (rc != 0)
		c->node[id].came = false;
	pthread_mutex_unlock(&c->lock);
	return rc;
}

static int reach_all(struct coord *c)
{
	uint32_t id, tried;
	int rc = 0;

	for (tried = 0; tried < c->view.nodes && rc == 0; tried++)
		rc = reach(c, tried);
	for (id = 0; rc != 0 && id < tried; id++)
		fab_net_cut(c->net, (uint8_t)id);
	return rc;
}

static void begin(struct coord *c)
{
	const struct group *g = coord_group(c);
	struct view last;
	uint32_t id;

	pthread_mutex_lock(&c->lock);
	last = c->view;
	view_first(&c->view, g->nodes, g->k, g->m);
	if (c->anew)
		coord_anew_view(c, &last);
	for (id = 0; id < c->view.nodes; id++)
		coord_came(&c->node[id]);
	c->forming = false;
	coord_view_changed(c);
	pthread_mutex_unlock(&c->lock);
	LOG(LOG_INFO, "all %u memory nodes have reported: the pool begins",
	    c->view.nodes);
}

int coord_form_step(struct coord *c)
{
	if (!all_came(c) || reach_all(c) != 0)
		return 0;
	begin(c);
	return 1;
}
