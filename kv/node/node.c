/* kv/node/node.c - the node's life: format, serve, work, stop. */
#include "kv/node/node.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kv/node/durable.h"
#include "kv/node/node_impl.h"
#include "kv/node/restore.h"
#include "kv/node/rounds.h"

void node_kick(struct node *n)
{
	n->kicks++;
	pthread_cond_signal(&n->wake);
}

uint64_t node_view_up(struct node *n, uint64_t *epoch)
{
	uint64_t up;

	pthread_mutex_lock(&n->lock);
	up = n->view.view.epoch != 0 ? view_up(&n->view.view) : 0;
	if (epoch != NULL)
		*epoch = n->view.view.epoch;
	pthread_mutex_unlock(&n->lock);
	return up;
}

uint64_t node_view_members(struct node *n)
{
	uint64_t members;

	pthread_mutex_lock(&n->lock);
	members = n->view.view.epoch != 0 ? view_members(&n->view.view) : 0;
	pthread_mutex_unlock(&n->lock);
	return members;
}

uint64_t node_clock(struct node *n)
{
	uint64_t first = n->view.view.epoch << ROUNDS_EPOCH_SHIFT;

	if (n->clock < first)
		n->clock = first;
	return n->clock;
}

uint64_t node_epoch(struct node *n)
{
	uint64_t epoch;

	node_view_up(n, &epoch);
	return epoch;
}

uint64_t node_members(const struct group *g, uint64_t stripe, uint32_t role,
		      bool rows)
{
	uint64_t bits = 0;
	uint32_t r, node, block;

	for (r = 0; r < group_width(g); r++) {
		if (r < g->k && r != role && !rows)
			continue;
		group_member(g, stripe, r, &node, &block);
		bits |= UINT64_C(1) << node;
	}
	return bits;
}

int node_leader(const struct group *g, uint64_t stripe, uint64_t up)
{
	uint32_t r, node, block;

	for (r = g->k; r < group_width(g); r++) {
		group_member(g, stripe, r, &node, &block);
		if (up >> node & 1)
			return (int)node;
	}
	return -1;
}

bool node_lonely(struct node *n)
{
	bool lonely;

	pthread_mutex_lock(&n->lock);
	lonely = n->coords == 0 && n->users == 0;
	pthread_mutex_unlock(&n->lock);
	return lonely;
}

/* --- the worker ----------------------------------------------------------- */

/* A queue belongs to the thread that uses it, so it is made here. */
static int work_fab(struct node *n)
{
	return n->fab != NULL ? 0 : fab_open(n->net, &n->fab);
}

int node_work(struct node *n, uint64_t *again_ns)
{
	uint64_t again = NODE_NEVER;
	int did = 0;

	if (work_fab(n) == 0) {
		did |= peers_work(n, &again);
		did |= recover_work(n, &again);
		did |= restore_work(n, &again);
		did |= held_work(n);
		did |= rounds_work(n, &again);
		did |= fold_slice(n, &again);
		did |= retire_work(n, &again);
		did |= again_work(n, &again);
		did |= stray_work(n, &again);
		did |= sweep_work(n, &again);
		did |= leftover_work(n, &again);
		did |= check_work(n);
		did |= durable_work(n, &again);
		if (did == 0)
			did = cool_slice(n, &again);
	}
	if (again_ns != NULL)
		*again_ns = again;
	return did;
}

/* Sleep until kicked after @seen was read, or until @again. */
static void work_wait(struct node *n, uint64_t seen, uint64_t again)
{
	struct timespec ts = {.tv_sec = (time_t)(again / 1000000000u),
			      .tv_nsec = (long)(again % 1000000000u)};

	pthread_mutex_lock(&n->lock);
	while (!n->stop && n->kicks == seen)
		if (again == NODE_NEVER)
			pthread_cond_wait(&n->wake, &n->lock);
		else if (pthread_cond_clockwait(&n->wake, &n->lock,
						CLOCK_MONOTONIC, &ts) != 0)
			break;
	pthread_mutex_unlock(&n->lock);
}

/* Kicks so far are seen by the round of work that follows. */
static bool work_goes_on(struct node *n, uint64_t *seen)
{
	bool stop;

	pthread_mutex_lock(&n->lock);
	stop = n->stop;
	*seen = n->kicks;
	pthread_mutex_unlock(&n->lock);
	return !stop;
}

static void *work_main(void *arg)
{
	struct node *n = arg;
	uint64_t seen, again;

	while (work_goes_on(n, &seen))
		if (node_work(n, &again) == 0)
			work_wait(n, seen, again);
	return NULL;
}

/* --- open and close ------------------------------------------------------- */

/* Blocks kept for changes that in the end free some: of those it leads. */
static uint32_t reserve_of(const struct group *g)
{
	uint64_t led = group_stripes(g) * g->k / g->nodes;
	uint64_t reserve = led / 64 + 2;

	return (uint32_t)(reserve < led / 4 ? reserve : led / 4);
}

static uint32_t rest_of(const struct node *n)
{
	uint32_t part = node_group(n)->deltas / 2;

	if (n->opts.rest_ms == 0)
		return 0;
	return part < NODE_REST_BLOCKS ? part : NODE_REST_BLOCKS;
}

static int open_alloc(struct node *n)
{
	struct alloc_opts o = {
		.group = node_group(n),
		.code = n->code,
		.node = n->id,
		.region = n->opts.region,
		.region_fd = n->opts.region_fd,
		.reserve = n->reserve,
		.hold = n->opts.disk != NULL,
		.former = n->opts.former,
		.rest = rest_of(n),
		.rest_ns = n->opts.rest_ms * UINT64_C(1000000),
	};

	return alloc_open(&o, &n->alloc);
}

/* A region that was used before: by this node of this pool. */
static int open_kept(struct node *n)
{
	struct layout_super old;

	if (layout_super_read(n->opts.region, &old) != 0 || old.node != n->id ||
	    old.secret != n->super.secret ||
	    memcmp(old.uuid, n->super.uuid, sizeof(old.uuid)) != 0 ||
	    memcmp(&old.layout, &n->super.layout, sizeof(old.layout)) != 0)
		return -EINVAL;
	return 0;
}

static int open_format(struct node *n)
{
	struct layout_super old;
	int rc;

	if (n->opts.keep)
		return open_kept(n);

	/* Zeroed memory carries no magic: anything else is another's. */
	rc = layout_super_read(n->opts.region, &old);
	if (rc != -EPROTO)
		return -EINVAL;
	n->super.magic = LAYOUT_MAGIC;
	n->super.version = LAYOUT_VERSION;
	layout_super_write(n->opts.region, &n->super);
	return 0;
}

static int open_check(const struct node_opts *o)
{
	const struct layout *l = &o->super.layout;

	if (o->region == NULL || o->address == NULL || o->net == NULL)
		return -EINVAL;
	if (o->super.node >= l->group.nodes)
		return -EINVAL;
	return group_check(&l->group);
}

static int open_parts(struct node *n)
{
	const struct group *g = node_group(n);
	int rc;

	rc = code_open(g->k, g->m, &n->code);
	if (rc != 0)
		return rc;
	rc = open_alloc(n);
	if (rc != 0)
		goto err_code;
	rc = recover_open(n);
	if (rc != 0)
		goto err_alloc;
	rc = restore_open(n);
	if (rc != 0)
		goto err_recover;
	rc = sweep_open(n);
	if (rc != 0)
		goto err_restore;
	rc = check_open(n);
	if (rc != 0)
		goto err_sweep;
	rc = again_open(n);
	if (rc != 0)
		goto err_check;
	rc = durable_open(n);
	if (rc != 0)
		goto err_again;
	rc = held_open(n);
	if (rc != 0)
		goto err_durable;
	rc = leftover_open(n);
	if (rc != 0)
		goto err_held;
	rc = rounds_open(n);
	if (rc != 0)
		goto err_leftover;
	rc = n->opts.net(n->opts.arg, &n->net);
	if (rc != 0)
		goto err_rounds;
	return 0;

err_rounds:
	rounds_close(n);
err_leftover:
	leftover_close(n);
err_held:
	held_close(n);
err_durable:
	durable_close(n);
err_again:
	again_close(n);
err_check:
	check_close(n);
err_sweep:
	sweep_close(n);
	fenced_close(n);
err_restore:
	restore_close(n);
err_recover:
	recover_close(n);
err_alloc:
	alloc_close(n->alloc);
err_code:
	code_close(n->code);
	return rc;
}

static void close_parts(struct node *n)
{
	rounds_close(n);
	leftover_close(n);
	held_close(n);
	durable_close(n);
	check_close(n);
	again_close(n);
	sweep_close(n);
	fenced_close(n);
	restore_close(n);
	recover_close(n);
	fab_close(n->fab);
	fab_net_close(n->net);
	alloc_close(n->alloc);
	code_close(n->code);
}

static void close_thread(struct node *n)
{
	pthread_mutex_lock(&n->lock);
	n->stop = true;
	node_kick(n);
	pthread_mutex_unlock(&n->lock);
	if (n->threaded)
		pthread_join(n->thread, NULL);
}

static void free_node(struct node *n)
{
	pthread_cond_destroy(&n->wake);
	pthread_mutex_destroy(&n->lock);
	free((char *)n->opts.address);
	free(n);
}

static int new_node(const struct node_opts *opts, struct node **out)
{
	struct node *n = calloc(1, sizeof(*n));

	if (n == NULL)
		return -ENOMEM;
	n->opts = *opts;
	n->opts.address = strdup(opts->address);
	if (n->opts.address == NULL) {
		free(n);
		return -ENOMEM;
	}
	n->super = opts->super;
	n->id = opts->super.node;
	n->reserve = reserve_of(node_group(n));
	pthread_mutex_init(&n->lock, NULL);
	pthread_cond_init(&n->wake, NULL);
	LIST_INIT(&n->peers);
	*out = n;
	return 0;
}

int node_open(const struct node_opts *opts, struct node **out)
{
	struct node *n;
	int rc;

	assert(opts != NULL && out != NULL);
	rc = open_check(opts);
	if (rc != 0)
		return rc;
	rc = new_node(opts, &n);
	if (rc != 0)
		return rc;
	rc = open_format(n);
	if (rc != 0)
		goto err_node;
	rc = open_parts(n);
	if (rc != 0)
		goto err_node;
	rc = serve_open(n);
	if (rc != 0)
		goto err_parts;
	if (opts->threads) {
		rc = -pthread_create(&n->thread, NULL, work_main, n);
		if (rc != 0)
			goto err_server;
		n->threaded = true;
	}
	*out = n;
	return 0;

err_server:
	serve_close(n);
err_parts:
	close_parts(n);
err_node:
	free_node(n);
	return rc;
}

/* Requests that wait for the worker are answered by close_parts(): a request
 * may outlive its server. */
void node_close(struct node *n)
{
	if (n == NULL)
		return;
	close_thread(n);
	serve_close(n);
	close_parts(n);
	free_node(n);
}
