/* kv/node/restore.c - see restore.h.
 *
 * How fast: a slice of NODE_SLICE_BYTES, then the other work, then the next. If
 * clients have asked this node for anything in the last BUSY_NS, a slice that
 * took t is followed by a pause of IDLE_PART * t. Fresh pages, which ahead.c
 * takes meanwhile, cost about as much again: so both have a quarter of one
 * processor at most. */
#include "kv/node/restore.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "ec/rebuild.h"
#include "kv/log.h"
#include "kv/node/ahead.h"
#include "kv/node/node_impl.h"

#define RESTORE_RETRY_NS UINT64_C(5000000) /* what must wait: next try */
/* What is lost: nobody but a member that comes to be up can change that, and
 * then it is tried at once. */
#define RESTORE_LOST_NS UINT64_C(2000000000)
#define BUSY_NS		UINT64_C(100000000)
#define IDLE_PART	7u

struct restore {
	/* under the node's lock */
	bool asked, done;
	bool ended;		 /* nothing more can be had from who is up */
	struct rebuild *rebuild; /* made and closed by the worker */
	struct rebuild_progress sum;
	uint64_t asks; /* of clients, counted */
	/* the worker's */
	struct ahead *ahead; /* NULL: none */
	uint64_t up;
	uint64_t again_ns;
	uint64_t asks_seen, busy_ns; /* when that had last changed */
	uint64_t read;		     /* bytes, when last looked */
};

int restore_open(struct node *n)
{
	n->restore = calloc(1, sizeof(*n->restore));
	return n->restore != NULL ? 0 : -ENOMEM;
}

void restore_close(struct node *n)
{
	ahead_close(n->restore->ahead);
	rebuild_close(n->restore->rebuild);
	free(n->restore);
}

/* --- asked ---------------------------------------------------------------- */

int restore_ask(struct node *n, const struct proto_restore *rq,
		struct proto_restored *out)
{
	const struct view *v = &n->view.view;
	struct restore *r = n->restore;

	if (rq->epoch > v->epoch)
		return -EAGAIN;
	if (v->node[n->id] == VIEW_NODE_COMING)
		r->asked = true;
	else if (v->node[n->id] != VIEW_NODE_UP)
		return -EINVAL;
	node_kick(n);
	*out = (struct proto_restored){
		.done = r->done || v->node[n->id] == VIEW_NODE_UP,
		.ended = r->ended,
		.bytes_done = r->sum.done_bytes,
		.bytes_total = r->sum.total_bytes,
		.bytes_kept = r->sum.kept_bytes,
		.bytes_lost = r->sum.lost_bytes,
		.blocks_lost = (uint32_t)r->sum.lost_blocks,
		.blocks_unknown = (uint32_t)r->sum.unknown_blocks,
	};
	return 0;
}

void restore_sum(struct node *n, struct rebuild_progress *out)
{
	*out = n->restore->sum;
}

void restore_want(struct node *n, const struct proto_want *rq)
{
	if (n->restore->rebuild != NULL)
		rebuild_want(n->restore->rebuild, rq->stripe, rq->role);
}

void restore_busy(struct node *n)
{
	n->restore->asks++;
}

/* --- in the worker -------------------------------------------------------- */

/* Is there anything to do, and who is up? */
static bool restore_goes(struct node *n)
{
	struct restore *r = n->restore;
	uint64_t up = r->up;
	bool goes;

	pthread_mutex_lock(&n->lock);
	goes = r->asked && !r->done;
	r->up = goes ? view_up(&n->view.view) : 0;
	if (r->up != up) {
		r->again_ns = 0;
		r->ended = false;
	}
	if (r->rebuild != NULL && goes)
		rebuild_set_up(r->rebuild, r->up);
	pthread_mutex_unlock(&n->lock);
	return goes;
}

static int restore_begin(struct node *n)
{
	struct restore *r = n->restore;
	struct rebuild *rebuild;
	int rc;

	if (r->rebuild != NULL)
		return 0;
	rc = rebuild_open(n->alloc, n->fab, r->up, &rebuild);
	if (rc != 0)
		return rc;
	if (n->opts.threads)
		(void)ahead_open(rebuild, &r->ahead);
	pthread_mutex_lock(&n->lock);
	r->rebuild = rebuild;
	pthread_mutex_unlock(&n->lock);
	return 0;
}

static void restore_publish(struct node *n, bool done)
{
	struct restore *r = n->restore;

	ahead_go(r->ahead);
	if (done) {
		ahead_close(r->ahead);
		r->ahead = NULL;
	}
	pthread_mutex_lock(&n->lock);
	rebuild_progress(r->rebuild, &r->sum);
	if (done) {
		r->done = true;
		rebuild_close(r->rebuild);
		r->rebuild = NULL;
	}
	pthread_mutex_unlock(&n->lock);
	if (done && n->opts.former != NULL)
		LOG(LOG_INFO,
		    "memory node %u is caught up: %" PRIu64
		    " MiB kept, %" PRIu64 " MiB fetched",
		    n->id, r->sum.kept_bytes >> 20,
		    (r->sum.done_bytes - r->sum.kept_bytes) >> 20);
}

/* Have clients asked for anything lately? */
static bool restore_is_busy(struct node *n, uint64_t now)
{
	struct restore *r = n->restore;
	uint64_t asks;

	pthread_mutex_lock(&n->lock);
	asks = r->asks;
	pthread_mutex_unlock(&n->lock);
	if (asks != r->asks_seen)
		r->busy_ns = now;
	r->asks_seen = asks;
	return r->busy_ns != 0 && now - r->busy_ns < BUSY_NS;
}

/* When the next slice may begin, after one that began at @from. */
static uint64_t restore_pause(struct node *n, uint64_t from)
{
	struct restore *r = n->restore;
	uint64_t now = fab_now(n->fab), rate = n->opts.restore_bytes;
	uint64_t bytes = r->sum.read_bytes - r->read;
	uint64_t wait = 0;

	r->read = r->sum.read_bytes;
	if (bytes == 0)
		return now;
	if (restore_is_busy(n, now))
		wait = IDLE_PART * (now - from);
	if (rate != 0 && from + bytes * 1000000000 / rate > now + wait)
		return from + bytes * 1000000000 / rate;
	return now + wait;
}

/* Said once, and kept for who asks. */
static void restore_ends(struct node *n)
{
	struct restore *r = n->restore;

	if (!r->ended)
		LOG(LOG_ERROR,
		    "memory node %u: what can be had is brought back; %" PRIu64
		    " MiB in %" PRIu64 " blocks cannot, and of %" PRIu64
		    " nobody knows what they held: too many members are away",
		    n->id, (r->sum.lost_bytes + (1 << 20) - 1) >> 20,
		    r->sum.lost_blocks, r->sum.unknown_blocks);
	pthread_mutex_lock(&n->lock);
	r->ended = true;
	pthread_mutex_unlock(&n->lock);
}

/* When it is to be tried again. */
static uint64_t restore_wait(int why)
{
	return why == -EIO ? RESTORE_LOST_NS : RESTORE_RETRY_NS;
}

static int restore_slice(struct node *n)
{
	struct restore *r = n->restore;
	uint64_t from = fab_now(n->fab);
	int rc;

	rc = restore_begin(n);
	if (rc == 0)
		rc = rebuild_work(r->rebuild, NODE_SLICE_BYTES);
	if (r->rebuild != NULL)
		restore_publish(n, rc == 0);
	if (rc == -EIO)
		restore_ends(n);
	r->again_ns = rc < 0 ? fab_now(n->fab) + restore_wait(rc)
			     : restore_pause(n, from);
	return rc;
}

int restore_work(struct node *n, uint64_t *again)
{
	struct restore *r = n->restore;
	uint64_t now;

	if (!restore_goes(n))
		return 0;
	now = fab_now(n->fab);
	if ((r->up & ~n->attached) != 0) { /* peers.c is at it */
		node_again(again, now + NODE_RETRY_NS);
		return 0;
	}
	if (now < r->again_ns) {
		node_again(again, r->again_ns);
		return 0;
	}
	if (restore_slice(n) >= 0)
		return 1;
	node_again(again, r->again_ns);
	return 0;
}
