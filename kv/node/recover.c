/* kv/node/recover.c - the conductor: which shards are to be brought back here,
 * the replay, and the answers to who asked.
 *
 * All that is asked for when a replay begins is done in that one scan. If the
 * set of nodes changes meanwhile it is given up (-ESTALE): the coordinator asks
 * again in the new view. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kv/node/node_impl.h"
#include "kv/node/replay.h"

struct recover {
	/* under the node's lock: asked for, not begun */
	struct fab_request *asked[FAB_NODES_MAX];
	uint64_t any; /* bit n: asked[n] */
	/* the worker's: under way */
	struct fab_request *rq[FAB_NODES_MAX];
	uint64_t shards; /* bit n: rq[n]; 0: nothing under way */
	uint64_t up;
	struct replay *replay;
};

int recover_open(struct node *n)
{
	n->recover = calloc(1, sizeof(*n->recover));
	return n->recover != NULL ? 0 : -ENOMEM;
}

static void answer_all(struct fab_request **rq, uint64_t *set, int status)
{
	uint32_t s;

	for (s = 0; s < FAB_NODES_MAX; s++)
		if (*set >> s & 1)
			fab_reply(rq[s], status, NULL, 0);
	*set = 0;
}

void recover_close(struct node *n)
{
	struct recover *r = n->recover;

	answer_all(r->asked, &r->any, -ECANCELED);
	answer_all(r->rq, &r->shards, -ECANCELED);
	replay_close(r->replay);
	free(r);
}

int recover_ask(struct node *n, struct fab_request *rq, uint32_t shard)
{
	struct recover *r = n->recover;

	if (r->any >> shard & 1)
		fab_reply(r->asked[shard], -ECANCELED, NULL, 0);
	r->asked[shard] = rq;
	r->any |= UINT64_C(1) << shard;
	return 0;
}

/* --- in the worker -------------------------------------------------------- */

static void publish_progress(struct node *n, uint64_t done, uint64_t total)
{
	pthread_mutex_lock(&n->lock);
	n->rebuild_done = done;
	n->rebuild_total = total;
	pthread_mutex_unlock(&n->lock);
}

static void recover_end(struct node *n, int status)
{
	struct recover *r = n->recover;

	replay_close(r->replay);
	r->replay = NULL;
	publish_progress(n, 0, 0);
	answer_all(r->rq, &r->shards, status);
}

/* Take over what is asked for. */
static bool recover_take(struct node *n)
{
	struct recover *r = n->recover;

	pthread_mutex_lock(&n->lock);
	memcpy(r->rq, r->asked, sizeof(r->rq));
	r->shards = r->any;
	r->any = 0;
	r->up = view_up(&n->view.view);
	pthread_mutex_unlock(&n->lock);
	return r->shards != 0;
}

static void recover_begin(struct node *n)
{
	struct recover *r = n->recover;
	struct replay_opts o = {
		.super = &n->super,
		.code = n->code,
		.fab = n->fab,
		.up = r->up,
		.shards = r->shards,
	};
	int rc = replay_open(&o, &r->replay);

	if (rc != 0)
		recover_end(n, rc);
}

/* The scan is done: build the shards, in rooms that no one looks at yet. */
static int recover_place(struct node *n, uint32_t shard)
{
	const struct layout *l = &n->super.layout;
	uint64_t off = layout_shard_off(l, shard, n->id);
	struct recover *r = n->recover;
	struct proto_rebuilt out;
	int rc;

	fab_region_discard(n->opts.region, n->opts.region_fd, off,
			   l->index_stride);
	rc = replay_place(r->replay, shard, (char *)n->opts.region + off, &out);
	if (rc != 0)
		return rc;
	fab_reply(r->rq[shard], 0, &out, sizeof(out));
	r->shards &= ~(UINT64_C(1) << shard);
	return 0;
}

static void recover_finish(struct node *n)
{
	struct recover *r = n->recover;
	uint32_t s;
	int rc = 0;

	for (s = 0; s < node_group(n)->nodes && rc == 0; s++)
		if (r->shards >> s & 1)
			rc = recover_place(n, s);
	pthread_mutex_lock(&n->lock);
	n->count.at_ns = 0; /* more slots to count now */
	pthread_mutex_unlock(&n->lock);
	recover_end(n, rc);
}

static void recover_step(struct node *n)
{
	struct recover *r = n->recover;
	uint64_t done, total;
	int rc = replay_step(r->replay);

	if (rc > 0) {
		replay_progress(r->replay, &done, &total);
		publish_progress(n, done, total);
	} else if (rc == 0) {
		recover_finish(n);
	} else {
		recover_end(n, rc);
	}
}

int recover_work(struct node *n, uint64_t *again)
{
	struct recover *r = n->recover;
	uint64_t up = node_view_up(n, NULL);

	if (r->shards == 0) {
		if (!recover_take(n))
			return 0;
		up = r->up;
	}
	if (r->up != up) {
		recover_end(n, -ESTALE);
		return 1;
	}
	if ((up & ~n->attached) != 0) { /* peers.c is at it */
		node_again(again, fab_now(n->fab) + NODE_RETRY_NS);
		return 0;
	}
	if (r->replay == NULL)
		recover_begin(n);
	else
		recover_step(n);
	return 1;
}
