/* kv/node/coord_store.c - nobody is told what is not stored.
 *
 *   the state changed -> PUT, in a thread of its own -> it is stored
 *        -> the stored view is the one that is told, joins are answered,
 *           FENCE is sent
 *
 * So who leads next knows all that anybody acts on. A put that fails is tried
 * again, and meanwhile nothing is told; one that finds another's bytes means
 * that another leads: this one tells nothing to anyone any more.
 *
 * C1. What a view says has taken effect nowhere before it is stored: steps that
 *     follow from a view wait for its acknowledgement (coord_settled()), and
 *     only what is stored is told and so acknowledged. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kv/log.h"
#include "kv/node/coord_impl.h"
#include "kv/node/rounds.h"

#define RETRY_NS (200 * COORD_MS)

/* --- what there is to store: locked --------------------------------------- */

void coord_addresses(const struct coord *c, char to[][PROTO_ADDRESS_BYTES])
{
	if (c->store.vs != NULL) {
		memcpy(to, c->store.told.address,
		       sizeof(c->store.told.address));
		return;
	}
	for (uint32_t i = 0; i < c->view.nodes; i++)
		memcpy(to[i], c->node[i].address, PROTO_ADDRESS_BYTES);
}

static void take_people(const struct coord *c, struct viewstate *s)
{
	const struct coord_client *cl;
	const struct coord_orphan *o;

	TAILQ_FOREACH (cl, &c->clients, link)
		s->client[s->clients++] = (struct viewstate_client){
			.id = cl->id, .fenced = cl->fenced};
	TAILQ_FOREACH (o, &c->orphans, link)
		if (s->orphans < VIEWSTATE_ORPHANS_MAX)
			s->orphan[s->orphans++] = o->owner;
}

static void take_state(const struct coord *c, struct viewstate *s)
{
	memset(s, 0, sizeof(*s));
	memcpy(s->uuid, c->opts.super.uuid, sizeof(s->uuid));
	s->set.view = c->view;
	for (uint32_t i = 0; i < c->view.nodes; i++)
		memcpy(s->set.address[i], c->node[i].address,
		       PROTO_ADDRESS_BYTES);
	memcpy(s->least, c->least, sizeof(s->least));
	s->next_client = c->next_client;
	take_people(c, s);
}

/* --- it is stored: locked ------------------------------------------------- */

static const struct viewstate_client *state_client(const struct viewstate *s,
						   uint32_t id)
{
	for (uint32_t i = 0; i < s->clients; i++)
		if (s->client[i].id == id)
			return &s->client[i];
	return NULL;
}

/* Who is to adopt a view has its lease from when he could hear of it. */
static void barrier_stored(struct coord *c, uint64_t was, uint64_t now)
{
	if (was < c->barrier && c->store.told.view.epoch >= c->barrier)
		c->barrier_at = now + c->opts.lease_ms * COORD_MS;
}

static void stored(struct coord *c, uint64_t now)
{
	uint64_t was = c->store.told.view.epoch;
	const struct viewstate *s = c->store.state;
	const struct viewstate_client *sc;
	struct coord_client *cl;

	c->store.told = s->set;
	barrier_stored(c, was, now);
	TAILQ_FOREACH (cl, &c->clients, link) {
		sc = state_client(s, cl->id);
		if (sc == NULL)
			continue;
		cl->fence_stored = sc->fenced != 0;
		coord_join_answer(c, cl);
	}
	c->announce = true;
}

static void lost(struct coord *c)
{
	LOG(LOG_ERROR, "another coordinator leads pool %s: this one leaves off",
	    c->pool);
	c->store.deposed = true;
	c->store.due = true;
}

static void put_end(struct coord *c, uint64_t now)
{
	struct coord_store *st = &c->store;
	uint8_t *was = st->last;

	st->putting = false;
	if (st->status == -ESTALE) {
		if (!st->deposed)
			lost(c);
	} else if (st->status != 0) {
		if (!st->failing)
			LOG(LOG_ERROR,
			    "the view of pool %s cannot be stored: %s; trying "
			    "again",
			    c->pool, strerror(-st->status));
		st->failing = true;
		st->again_ns = now + RETRY_NS;
	} else {
		st->failing = false;
		st->last = st->next;
		st->next = was;
		st->last_len = st->next_len;
		stored(c, now);
	}
}

/* --- putting -------------------------------------------------------------- */

static void *put_main(void *arg)
{
	struct coord *c = arg;
	struct coord_store *st = &c->store;
	int rc = viewstore_put(st->vs, st->next, st->next_len);

	pthread_mutex_lock(&c->lock);
	st->status = rc;
	st->done = true;
	coord_kick(c);
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

static void put_begin(struct coord *c)
{
	struct coord_store *st = &c->store;

	st->putting = true;
	st->done = false;
	pthread_mutex_unlock(&c->lock);
	st->threaded = c->opts.threads &&
		       pthread_create(&st->thread, NULL, put_main, c) == 0;
	if (!st->threaded)
		put_main(c);
	pthread_mutex_lock(&c->lock);
}

static bool put_due(struct coord *c, uint64_t now, uint64_t *again)
{
	struct coord_store *st = &c->store;

	if (st->deposed)
		return false;
	if (now < st->again_ns) {
		coord_again(again, st->again_ns);
		return false;
	}
	take_state(c, st->state);
	st->next_len = viewstate_write(st->state, st->next);
	return st->next_len != st->last_len ||
	       memcmp(st->next, st->last, st->next_len) != 0;
}

static bool put_ended(struct coord_store *st)
{
	if (!st->putting || !st->done)
		return false;
	if (st->threaded)
		pthread_join(st->thread, NULL);
	st->threaded = false;
	return true;
}

static void tell_deposed(struct coord *c)
{
	bool due;

	pthread_mutex_lock(&c->lock);
	due = c->store.due;
	c->store.due = false;
	pthread_mutex_unlock(&c->lock);
	if (due && c->opts.on_deposed != NULL)
		c->opts.on_deposed(c->opts.arg);
}

int coord_store_step(struct coord *c, uint64_t now, uint64_t *again)
{
	struct coord_store *st = &c->store;
	int did = 0;

	if (st->vs == NULL)
		return 0;
	pthread_mutex_lock(&c->lock);
	if (!st->deposed && viewstore_lost(st->vs))
		lost(c);
	if (put_ended(st)) {
		put_end(c, now);
		did = 1;
	}
	if (c->restored && c->barrier == 0)
		coord_barrier(c, now); /* all are to say where they are */
	if (!st->putting && !c->forming && put_due(c, now, again)) {
		put_begin(c);
		did = 1;
	}
	pthread_mutex_unlock(&c->lock);
	tell_deposed(c);
	return did;
}

bool coord_is_sure(const struct coord *c)
{
	return c->store.vs == NULL ||
	       (!c->store.deposed && viewstore_sure(c->store.vs));
}

bool coord_is_open(const struct coord *c)
{
	return !c->forming && !c->anew && coord_is_sure(c);
}

/* --- going on from what is stored ----------------------------------------- */

static int client_restore(struct coord *c, const struct viewstate_client *sc)
{
	struct coord_client *cl = calloc(1, sizeof(*cl));

	if (cl == NULL)
		return -ENOMEM;
	cl->id = sc->id;
	strcpy(cl->what, "not heard from yet");
	cl->restored = true;
	TAILQ_INSERT_TAIL(&c->clients, cl, link);
	if (sc->fenced)
		coord_fence_begin(c, cl, "was fenced before");
	return 0;
}

/* A new epoch: all are to say where they are, and images of shards that may be
 * of before a sweep's end are not used (K3 in rounds.h). */
static int take_over(struct coord *c, const struct viewstate *s)
{
	int rc = 0;

	c->view = s->set.view;
	c->view.epoch++;
	for (uint32_t i = 0; i < c->view.nodes; i++) {
		memcpy(c->node[i].address, s->set.address[i],
		       PROTO_ADDRESS_BYTES);
		c->least[i] = c->view.epoch << ROUNDS_EPOCH_SHIFT;
	}
	c->next_client = s->next_client;
	c->sweep.begun = true; /* by the one before, it may be */
	c->sweep.death = true; /* that it had heard of, it may be */
	c->sweep.round = c->view.epoch << 16;
	for (uint32_t i = 0; rc == 0 && i < s->clients; i++)
		rc = client_restore(c, &s->client[i]);
	for (uint32_t i = 0; i < s->orphans; i++)
		coord_orphan_add(c, s->orphan[i]);
	c->suspect = view_members(&c->view);
	c->restored = true;
	return rc;
}

static int check_ours(const struct coord *c, const struct viewstate *s)
{
	const struct group *g = coord_group(c);
	const struct view *v = &s->set.view;

	if (memcmp(s->uuid, c->opts.super.uuid, sizeof(s->uuid)) != 0)
		return -EACCES; /* another pool's */
	return v->nodes == g->nodes && v->k == g->k && v->m == g->m ? 0
								    : -EBADMSG;
}

static int load(struct coord *c)
{
	struct coord_store *st = &c->store;
	int rc;

	rc = viewstore_load(st->vs, st->last, viewstate_bytes_max(),
			    &st->last_len);
	if (rc != 0 || st->last_len == 0)
		return rc;
	rc = viewstate_read(st->last, st->last_len, st->state);
	if (rc == 0)
		rc = check_ours(c, st->state);
	return rc == 0 ? take_over(c, st->state) : rc;
}

int coord_store_open(struct coord *c)
{
	struct coord_store *st = &c->store;

	st->vs = c->opts.store;
	if (st->vs == NULL)
		return 0;
	st->state = calloc(1, sizeof(*st->state));
	st->last = malloc(viewstate_bytes_max());
	st->next = malloc(viewstate_bytes_max());
	if (st->state == NULL || st->last == NULL || st->next == NULL)
		return -ENOMEM;
	return load(c);
}

/* A put that is under way is waited for. */
void coord_store_stop(struct coord *c)
{
	if (c->store.threaded)
		pthread_join(c->store.thread, NULL);
	c->store.threaded = false;
}

void coord_store_close(struct coord *c)
{
	struct coord_client *cl;

	while ((cl = TAILQ_FIRST(&c->clients)) != NULL) {
		TAILQ_REMOVE(&c->clients, cl, link); /* those away */
		free(cl);
	}
	free(c->store.state);
	free(c->store.last);
	free(c->store.next);
}
