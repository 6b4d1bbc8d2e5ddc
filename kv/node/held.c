/* kv/node/held.c - images of other nodes' shards that are kept here
 * (checkpoint/image.h): messages are folded in the worker, one after another.
 *
 * Only the host of a shard, in the view that holds here, is listened to: who
 * was declared dead cannot change what a member will read [I6]. That its view
 * (ckpt_req.word) is another one, before or after ours, does no harm then. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kv/node/node_impl.h"

struct held_one {
	/* under the node's lock: */
	struct fab_request *rq; /* to be answered; NULL: none */
	struct ckpt_req what;
	/* the worker's: */
	struct ckpt_image *img; /* made when first asked for */
};

struct held {
	struct held_one one[CODE_PARITY_MAX]; /* area r is one[r - 1] */
	uint32_t next;			      /* where to look first */
};

int held_open(struct node *n)
{
	n->held = calloc(1, sizeof(*n->held));
	return n->held != NULL ? 0 : -ENOMEM;
}

void held_close(struct node *n)
{
	struct held *h = n->held;
	uint32_t i;

	for (i = 0; i < node_group(n)->m; i++) {
		if (h->one[i].rq != NULL)
			fab_reply(h->one[i].rq, -ECANCELED, NULL, 0);
		ckpt_image_close(h->one[i].img);
	}
	free(h);
}

static bool is_host(const struct view *v, uint32_t shard, uint32_t id)
{
	return (v->shard[shard] == VIEW_SHARD_SERVING ||
		v->shard[shard] == VIEW_SHARD_SETTLING) &&
	       v->host[shard] == id;
}

int held_ask(struct node *n, struct fab_request *rq,
	     const struct ckpt_req *what, uint32_t from)
{
	const struct view *v = &n->view.view;
	struct held_one *o;
	uint32_t r;

	if (what->region >= v->nodes)
		return -EINVAL;
	if (!is_host(v, what->region, from))
		return -ESTALE;
	r = (n->id + v->nodes - what->region) % v->nodes;
	if (r < 1 || r > v->m)
		return -EINVAL;
	o = &n->held->one[r - 1];
	if (o->rq != NULL)
		fab_reply(o->rq, -ECANCELED, NULL, 0);
	o->rq = rq;
	o->what = *what;
	return 0;
}

/* --- in the worker -------------------------------------------------------- */

/* The next one that was asked for, as it was: *@out. */
static struct held_one *held_take(struct node *n, struct held_one *out)
{
	uint32_t i, m = node_group(n)->m;
	struct held *h = n->held;
	struct held_one *o;

	for (i = 0; i < m; i++) {
		o = &h->one[h->next++ % m];
		if (o->rq == NULL)
			continue;
		*out = *o;
		o->rq = NULL;
		return o;
	}
	return NULL;
}

static int held_image(struct node *n, struct held_one *o, uint32_t shard)
{
	const struct layout *l = &n->super.layout;
	char *area = n->opts.region;

	if (o->img != NULL)
		return 0;
	area += layout_image_off(l, shard, n->id);
	return ckpt_image_open(area, shard, layout_shard_bytes(l), &o->img);
}

static void held_count(struct node *n, uint64_t ns)
{
	pthread_mutex_lock(&n->lock);
	n->ckpt.folded_ns += ns;
	pthread_mutex_unlock(&n->lock);
}

int held_work(struct node *n)
{
	uint64_t begin = fab_now(n->fab);
	struct held_one what, *o;
	struct ckpt_ack ack = {0};
	int rc;

	pthread_mutex_lock(&n->lock);
	o = held_take(n, &what);
	pthread_mutex_unlock(&n->lock);
	if (o == NULL)
		return 0;
	rc = held_image(n, o, what.what.region);
	if (rc == 0)
		ckpt_image_serve(o->img, &what.what, &ack);
	fab_reply(what.rq, rc, &ack, rc == 0 ? sizeof(ack) : 0);
	held_count(n, fab_now(n->fab) - begin);
	return 1;
}
