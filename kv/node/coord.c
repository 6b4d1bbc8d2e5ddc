/* kv/node/coord.c - the coordinator's life: reach the nodes, serve, go through
 * the steps, stop. */
#include "kv/node/coord.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kv/hello.h"
#include "kv/log.h"
#include "kv/node/coord_impl.h"

/* fab_now() is a clock, in every transport: any thread may look at it. */
#define STATUS_WAIT_NS (3000 * COORD_MS)

void coord_kick(struct coord *c)
{
	c->kicks++;
	pthread_cond_signal(&c->wake);
}

/* --- the steps ------------------------------------------------------------ */

static int last_gone_step(struct coord *c)
{
	bool emptied;

	pthread_mutex_lock(&c->lock);
	emptied = c->emptied;
	c->emptied = false;
	pthread_mutex_unlock(&c->lock);
	if (emptied && c->opts.on_last_client_gone != NULL)
		c->opts.on_last_client_gone(c->opts.arg);
	return emptied;
}

static bool is_forming(struct coord *c)
{
	bool forming;

	pthread_mutex_lock(&c->lock);
	forming = c->forming;
	pthread_mutex_unlock(&c->lock);
	return forming;
}

static int work(struct coord *c, uint64_t *again, uint64_t wait_ns)
{
	uint64_t now = fab_now(c->fab);
	int did = 0;

	did |= coord_store_step(c, now, again);
	if (is_forming(c)) {
		did |= coord_form_step(c);
		did |= coord_status_step(c, now);
		return did | coord_calls_run(c, did ? 0 : wait_ns);
	}
	did |= coord_ping_step(c, now, again);
	did |= coord_deaths_step(c, now, again);
	did |= coord_anew_step(c);
	did |= coord_tell_step(c, now, again);
	did |= coord_watch_step(c, now, again);
	did |= coord_fence_step(c, now, again);
	did |= coord_nodefence_step(c, now, again);
	did |= coord_come_step(c, now, again);
	did |= coord_rebuild_step(c, now, again);
	did |= coord_orphans_step(c, now, again);
	did |= coord_status_step(c, now);
	did |= coord_sweep_step(c, now, again);
	did |= coord_durable_step(c, now, again);
	did |= last_gone_step(c);
	did |= coord_calls_run(c, did ? 0 : wait_ns);
	return did;
}

int coord_work(struct coord *c, uint64_t *again_ns)
{
	uint64_t again = COORD_NEVER;
	int did = work(c, &again, 0);

	if (c->calls_out > 0)
		coord_again(&again, fab_now(c->fab) + COORD_POLL_NS);
	if (again_ns != NULL)
		*again_ns = again;
	return did;
}

/* Sleep until kicked after @seen was read, or until @again. */
static void work_wait(struct coord *c, uint64_t seen, uint64_t again)
{
	struct timespec ts = {.tv_sec = (time_t)(again / 1000000000u),
			      .tv_nsec = (long)(again % 1000000000u)};

	pthread_mutex_lock(&c->lock);
	while (!c->stop && c->kicks == seen)
		if (again == COORD_NEVER)
			pthread_cond_wait(&c->wake, &c->lock);
		else if (pthread_cond_clockwait(&c->wake, &c->lock,
						CLOCK_MONOTONIC, &ts) != 0)
			break;
	pthread_mutex_unlock(&c->lock);
}

static bool work_goes_on(struct coord *c, uint64_t *seen)
{
	bool stop;

	pthread_mutex_lock(&c->lock);
	stop = c->stop;
	*seen = c->kicks;
	pthread_mutex_unlock(&c->lock);
	return !stop;
}

/* While CALLs are out it waits for their ends, and looks around now and then;
 * else for a kick or a time. */
static void *work_main(void *arg)
{
	struct coord *c = arg;
	uint64_t seen, again;

	while (work_goes_on(c, &seen)) {
		again = COORD_NEVER;
		if (work(c, &again, COORD_POLL_NS) == 0 && c->calls_out == 0)
			work_wait(c, seen, again);
	}
	return NULL;
}

/* --- open ----------------------------------------------------------------- */

/* Once for each node, until there is a way. */
static void no_way(struct coord *c, uint32_t id, const char *address)
{
	uint64_t bit = UINT64_C(1) << id;
	char words[HELLO_WORDS_BYTES];

	if (!(atomic_fetch_or(&c->no_way, bit) & bit))
		LOG(LOG_ERROR, "coordinator: %s",
		    hello_no_rdma(id, address, words));
}

int coord_attach(struct coord *c, uint32_t id, const char *address)
{
	struct proto_hello hello;
	int rc;

	hello_fill(&hello, PROTO_COORD, c->opts.super.uuid);
	rc = hello_attach(c->net, (uint8_t)id, address, &hello);
	if (rc == -ENODEV)
		no_way(c, id, address);
	else if (rc == 0)
		atomic_fetch_and(&c->no_way, ~(UINT64_C(1) << id));
	return rc;
}

static int attach_all(struct coord *c)
{
	uint32_t id;
	int rc = 0;

	/* Those that a store names are looked for as suspects are. */
	for (id = 0;
	     id < c->view.nodes && rc == 0 && !c->restored && !c->forming; id++)
		rc = coord_attach(c, id, c->node[id].address);
	return rc;
}

/* From some thread of the transport: the connection to node @id broke. */
static void on_down(void *arg, uint8_t id)
{
	struct coord *c = arg;

	pthread_mutex_lock(&c->lock);
	c->suspect |= UINT64_C(1) << id;
	coord_kick(c);
	pthread_mutex_unlock(&c->lock);
}

static int copy_nodes(struct coord *c)
{
	uint32_t id;

	for (id = 0; id < c->view.nodes && !c->restored; id++) {
		const char *address = c->opts.node_address[id];

		if (strlen(address) >= PROTO_ADDRESS_BYTES)
			return -ENAMETOOLONG;
		strcpy(c->node[id].address, address);
		if (c->opts.node_pid != NULL)
			c->node[id].pid = c->opts.node_pid[id];
	}
	return 0;
}

static int copy_opts(struct coord *c, const struct coord_opts *opts)
{
	const struct group *g = &opts->super.layout.group;
	int rc;

	c->opts = *opts;
	if (c->opts.lease_ms == 0)
		c->opts.lease_ms = COORD_LEASE_MS;
	if (c->opts.settle_ms == 0)
		c->opts.settle_ms = COORD_SETTLE_MS;
	view_first(&c->view, g->nodes, g->k, g->m);
	coord_durable_open(c);
	c->pool = strdup(opts->pool);
	c->transport = strdup(opts->transport);
	c->address = strdup(opts->address);
	c->coords = strdup(opts->coords != NULL ? opts->coords : opts->address);
	if (c->pool == NULL || c->transport == NULL || c->address == NULL ||
	    c->coords == NULL)
		return -ENOMEM;
	rc = coord_store_open(c);
	if (rc == 0 && !c->restored && opts->node_address == NULL)
		coord_form_begin(c);
	return rc == 0 && !c->forming ? copy_nodes(c) : rc;
}

static void init(struct coord *c)
{
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->wake, NULL);
	pthread_cond_init(&c->told, NULL);
	pthread_cond_init(&c->link_wake, NULL);
	TAILQ_INIT(&c->clients);
	TAILQ_INIT(&c->orphans);
	TAILQ_INIT(&c->askers);
	TAILQ_INIT(&c->asking);
	TAILQ_INIT(&c->outbox);
	TAILQ_INIT(&c->durable.waiters);
	c->announce = true;
	c->sweep.every_ns = COORD_SWEEP_EVERY_NS;
}

static void free_coord(struct coord *c)
{
	struct coord_orphan *o;

	while ((o = TAILQ_FIRST(&c->orphans)) != NULL) {
		TAILQ_REMOVE(&c->orphans, o, link);
		free(o);
	}
	coord_store_close(c);
	coord_sweep_close(c);
	pthread_cond_destroy(&c->link_wake);
	pthread_cond_destroy(&c->told);
	pthread_cond_destroy(&c->wake);
	pthread_mutex_destroy(&c->lock);
	free(c->coords);
	free(c->address);
	free(c->transport);
	free(c->pool);
	free(c);
}

static int check(const struct coord_opts *o)
{
	if (o->pool == NULL || o->transport == NULL || o->address == NULL ||
	    o->net == NULL || (o->persistent && o->commit == NULL))
		return -EINVAL;
	return group_check(&o->super.layout.group);
}

static int reach_nodes(struct coord *c)
{
	int rc;

	rc = c->opts.net(c->opts.arg, &c->net);
	if (rc != 0)
		return rc;
	rc = fab_open(c->net, &c->fab);
	if (rc != 0)
		goto err_net;
	fab_net_on_down(c->net, on_down, c);
	rc = attach_all(c);
	if (rc != 0)
		goto err_fab;
	return 0;

err_fab:
	fab_close(c->fab);
err_net:
	fab_net_close(c->net);
	return rc;
}

/* The queue was made in the caller's thread and is handed to the coordinator's,
 * which alone uses it from then on. */
static int start(struct coord *c)
{
	int rc;

	rc = coord_serve_open(c);
	if (rc != 0)
		return rc;
	if (!c->opts.threads)
		return 0;
	rc = coord_link_start(c);
	if (rc != 0)
		goto err_server;
	rc = -pthread_create(&c->thread, NULL, work_main, c);
	if (rc != 0)
		goto err_link;
	c->threaded = true;
	return 0;

err_link:
	c->stop = true;
	coord_link_stop(c);
err_server:
	fab_server_close(c->server);
	return rc;
}

int coord_open(const struct coord_opts *opts, struct coord **out)
{
	struct coord *c;
	int rc;

	assert(opts != NULL && out != NULL);
	rc = check(opts);
	if (rc != 0)
		return rc;
	c = calloc(1, sizeof(*c));
	if (c == NULL)
		return -ENOMEM;
	init(c);
	rc = copy_opts(c, opts);
	if (rc != 0)
		goto err_coord;
	rc = reach_nodes(c);
	if (rc != 0)
		goto err_coord;
	rc = start(c);
	if (rc != 0)
		goto err_net;
	*out = c;
	return 0;

err_net:
	fab_close(c->fab);
	fab_net_close(c->net);
err_coord:
	free_coord(c);
	return rc;
}

/* --- close ---------------------------------------------------------------- */

static void stop_thread(struct coord *c)
{
	pthread_mutex_lock(&c->lock);
	c->stop = true;
	coord_kick(c);
	pthread_mutex_unlock(&c->lock);
	if (c->threaded)
		pthread_join(c->thread, NULL);
	c->threaded = false;
	coord_link_stop(c);
	coord_store_stop(c);
}

static void cut_all(struct coord *c)
{
	uint32_t id;

	for (id = 0; id < c->view.nodes; id++)
		fab_net_cut(c->net, (uint8_t)id);
}

void coord_close(struct coord *c)
{
	if (c == NULL)
		return;
	stop_thread(c);
	fab_server_close(c->server); /* clients go by on_gone */
	coord_serve_close(c);
	cut_all(c);
	coord_calls_drop(c);
	pthread_mutex_lock(&c->lock);
	coord_status_drop(c);
	coord_durable_drop(c);
	pthread_mutex_unlock(&c->lock);
	fab_close(c->fab);
	fab_net_close(c->net);
	free_coord(c);
}

/* --- from outside --------------------------------------------------------- */

void coord_node_died(struct coord *c, uint32_t id)
{
	assert(id < FAB_NODES_MAX);
	pthread_mutex_lock(&c->lock);
	c->dead |= UINT64_C(1) << id;
	c->node[id].came = false; /* that was the one that died */
	coord_kick(c);
	pthread_mutex_unlock(&c->lock);
}

void coord_node_came(struct coord *c, uint32_t id, const char *address,
		     int32_t pid)
{
	struct coord_node *node = &c->node[id];

	assert(id < FAB_NODES_MAX && strlen(address) < PROTO_ADDRESS_BYTES);
	pthread_mutex_lock(&c->lock);
	strcpy(node->came_address, address);
	node->came_pid = pid;
	node->came_at = 0;
	node->came_tries = 0;
	node->came = true;
	coord_kick(c);
	pthread_mutex_unlock(&c->lock);
}

void coord_view(struct coord *c, struct view *out)
{
	pthread_mutex_lock(&c->lock);
	*out = c->view;
	pthread_mutex_unlock(&c->lock);
}

unsigned coord_clients(struct coord *c)
{
	struct view v;

	coord_view(c, &v);
	return v.clients;
}

/* Also how coord_stop_nodes() knows that all have answered. */
static void stop_end(struct coord *c, struct coord_call *call, int status)
{
	c->stopping &= ~(UINT64_C(1) << call->node);
	pthread_cond_broadcast(&c->told);
}

static void stop_ask(struct coord *c)
{
	uint32_t id;

	for (id = 0; id < c->view.nodes; id++)
		if (view_members(&c->view) >> id & 1 &&
		    coord_call_new(c, id, PROTO_STOP, stop_end) != NULL)
			c->stopping |= UINT64_C(1) << id;
	coord_kick(c);
}

/* Wait for c->told, or drive the coordinator if it has no thread. Locked; the
 * lock is let go meanwhile. */
static void wait_told(struct coord *c, const struct timespec *until)
{
	if (c->threaded) {
		pthread_cond_clockwait(&c->told, &c->lock, CLOCK_MONOTONIC,
				       until);
		return;
	}
	pthread_mutex_unlock(&c->lock);
	if (coord_work(c, NULL) == 0)
		fab_sleep(c->fab, COORD_MS / 10);
	pthread_mutex_lock(&c->lock);
}

static struct timespec until_of(uint64_t ns)
{
	return (struct timespec){.tv_sec = (time_t)(ns / 1000000000u),
				 .tv_nsec = (long)(ns % 1000000000u)};
}

void coord_stop_nodes(struct coord *c, uint32_t timeout_ms)
{
	uint64_t end = fab_now(c->fab) + timeout_ms * COORD_MS;
	struct timespec until = until_of(end);

	pthread_mutex_lock(&c->lock);
	stop_ask(c);
	while (c->stopping != 0 && fab_now(c->fab) < end)
		wait_told(c, &until);
	pthread_mutex_unlock(&c->lock);
}

static int persist_end(struct coord *c, struct coord_waiter *w)
{
	if (w->status != -EINPROGRESS)
		return w->status;
	TAILQ_REMOVE(&c->durable.waiters, w, link);
	return -ETIMEDOUT;
}

uint64_t coord_persist(struct coord *c)
{
	uint64_t number = 0;

	pthread_mutex_lock(&c->lock);
	if (c->opts.persistent)
		number = coord_durable_ask(c);
	pthread_mutex_unlock(&c->lock);
	return number;
}

int coord_persist_wait(struct coord *c, uint64_t number, uint32_t timeout_ms)
{
	uint64_t end = fab_now(c->fab) + timeout_ms * COORD_MS;
	struct coord_waiter w = {.status = -EINPROGRESS, .need = number};
	struct timespec until = until_of(end);
	int rc;

	pthread_mutex_lock(&c->lock);
	coord_durable_wait(c, &w);
	while (w.status == -EINPROGRESS && fab_now(c->fab) < end)
		wait_told(c, &until);
	rc = persist_end(c, &w);
	if (rc == -ETIMEDOUT && coord_durable_hopeless(c))
		rc = -EIO;
	pthread_mutex_unlock(&c->lock);
	return rc;
}

/* If it was not answered in time it may be answered still: take it back. */
static int status_end(struct coord *c, struct coord_asker *a)
{
	struct coord_asker *x;

	TAILQ_FOREACH (x, &c->askers, link)
		if (x == a) {
			TAILQ_REMOVE(&c->askers, a, link);
			return -ETIMEDOUT;
		}
	TAILQ_FOREACH (x, &c->asking, link)
		if (x == a) {
			TAILQ_REMOVE(&c->asking, a, link);
			return -ETIMEDOUT;
		}
	return a->status;
}

int coord_status(struct coord *c, char **json)
{
	uint64_t end = fab_now(c->fab) + STATUS_WAIT_NS;
	struct coord_asker a = {.status = -EINPROGRESS};
	struct timespec until = until_of(end);
	int rc;

	pthread_mutex_lock(&c->lock);
	coord_status_ask(c, &a);
	while (a.status == -EINPROGRESS && fab_now(c->fab) < end)
		wait_told(c, &until);
	rc = status_end(c, &a);
	pthread_mutex_unlock(&c->lock);
	if (rc == 0)
		*json = a.json;
	return rc;
}
