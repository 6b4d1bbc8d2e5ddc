/* kv/node/recover.c - the conductor: which shards are to be brought back here,
 * from where, and the answers to who asked.
 *
 *   asked --> wanted --> under way --> done: told, and told again
 *     ^                     |          until a view says something else of it
 *     +---------------------+ failed: told, and forgotten
 *
 * A shard whose last host lives is copied from there (homing.c). For the others
 * images are restored, and what is younger is replayed, for all that are wanted
 * when it begins in one scan; if one has no image, or it cannot be used after
 * all (merge.h), everything is replayed for all of them. If the set of nodes
 * changes meanwhile it is given up (-ESTALE): the coordinator asks again in the
 * new view. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/restore.h"
#include "kv/node/homing.h"
#include "kv/node/node_impl.h"
#include "kv/node/replay.h"

/* Parity nodes are at the blocks of dead clients: next look. */
#define ORPHANS_RETRY_NS UINT64_C(1000000)

struct recover {
	/* under the node's lock: */
	struct fab_request *rq[FAB_NODES_MAX]; /* who is to be told, or NULL */
	uint64_t wanted;		       /* bit n: asked for, not begun */
	uint64_t least[FAB_NODES_MAX]; /* of the notes of images to be used */
	uint64_t shards;	       /* under way; worker changes it */
	uint64_t done;		       /* out[n] says how */
	struct proto_rebuilt out[FAB_NODES_MAX];
	/* the worker's: */
	uint64_t up;
	bool full; /* without images */
	struct slot *image[FAB_NODES_MAX];
	struct replay *replay;
	struct homing *homing;
	uint32_t homing_of; /* the shard */
};

int recover_open(struct node *n)
{
	n->recover = calloc(1, sizeof(*n->recover));
	return n->recover != NULL ? 0 : -ENOMEM;
}

/* --- answers: locked ------------------------------------------------------ */

static void tell(struct recover *r, uint32_t shard, int status)
{
	struct fab_request *rq = r->rq[shard];

	r->rq[shard] = NULL;
	if (rq != NULL)
		fab_reply(rq, status, &r->out[shard],
			  status == 0 ? sizeof(r->out[shard]) : 0);
}

static void tell_all(struct recover *r, uint64_t shards, int status)
{
	for (uint32_t s = 0; s < FAB_NODES_MAX; s++)
		if (shards >> s & 1)
			tell(r, s, status);
}

static void free_images(struct recover *r)
{
	uint32_t s;

	for (s = 0; s < FAB_NODES_MAX; s++) {
		free(r->image[s]);
		r->image[s] = NULL;
	}
}

void recover_close(struct node *n)
{
	struct recover *r = n->recover;

	tell_all(r, ~UINT64_C(0), -ECANCELED);
	replay_close(r->replay);
	homing_close(r->homing);
	free_images(r);
	free(r);
}

void recover_ask(struct node *n, struct fab_request *rq, uint32_t shard,
		 uint64_t least)
{
	struct recover *r = n->recover;
	uint64_t bit = UINT64_C(1) << shard;

	tell(r, shard, -ECANCELED);
	r->rq[shard] = rq;
	r->least[shard] = least;
	if (r->done & bit)
		tell(r, shard, 0);
	else if (!(r->shards & bit))
		r->wanted |= bit;
}

/* What is done stays so while nobody may have changed it. */
void recover_view(struct node *n)
{
	const struct view *v = &n->view.view;
	struct recover *r = n->recover;

	for (uint32_t s = 0; s < v->nodes; s++)
		if (v->host[s] != n->id || v->shard[s] != VIEW_SHARD_REBUILDING)
			r->done &= ~(UINT64_C(1) << s);
}

/* --- in the worker -------------------------------------------------------- */

static void publish_progress(struct node *n, uint64_t done, uint64_t total)
{
	pthread_mutex_lock(&n->lock);
	n->rebuild_done = done;
	n->rebuild_total = total;
	pthread_mutex_unlock(&n->lock);
}

/* Whatever is under way has ended. */
static void recover_end(struct node *n, int status)
{
	struct recover *r = n->recover;

	replay_close(r->replay);
	homing_close(r->homing);
	r->replay = NULL;
	r->homing = NULL;
	free_images(r);
	publish_progress(n, 0, 0);
	pthread_mutex_lock(&n->lock);
	tell_all(r, r->shards, status);
	r->shards = 0;
	pthread_mutex_unlock(&n->lock);
}

static void recover_done(struct node *n, uint32_t shard,
			 const struct proto_rebuilt *out)
{
	struct recover *r = n->recover;

	pthread_mutex_lock(&n->lock);
	r->out[shard] = *out;
	r->done |= UINT64_C(1) << shard;
	r->shards &= ~(UINT64_C(1) << shard);
	n->count.at_ns = 0; /* more slots to count now */
	tell(r, shard, 0);
	pthread_mutex_unlock(&n->lock);
}

/* Take over what is wanted: one to be copied, or all to be replayed. */
static bool recover_take(struct node *n)
{
	struct recover *r = n->recover;
	const struct view *v = &n->view.view;
	uint64_t take;

	pthread_mutex_lock(&n->lock);
	take = r->wanted;
	for (uint32_t s = 0; s < v->nodes; s++)
		if (r->wanted >> s & 1 && v->source[s] != 0)
			take = UINT64_C(1) << s;
	r->wanted &= ~take;
	r->full = false;
	r->shards = take;
	r->up = view_up(v);
	pthread_mutex_unlock(&n->lock);
	return take != 0;
}

/* The source of a shard that is to be copied, + 1. */
static uint32_t recover_source(struct node *n)
{
	struct recover *r = n->recover;
	uint32_t source;

	r->homing_of = (uint32_t)__builtin_ctzll(r->shards);
	pthread_mutex_lock(&n->lock);
	source = n->view.view.source[r->homing_of];
	pthread_mutex_unlock(&n->lock);
	return source;
}

/* A room that no one looks at yet, and that may hold an earlier try. */
static void clear_room(struct node *n, uint32_t shard)
{
	const struct layout *l = &n->super.layout;

	fab_region_discard(n->opts.region, n->opts.region_fd,
			   layout_shard_off(l, shard, n->id), l->index_stride);
}

static int homing_begin(struct node *n, uint32_t source)
{
	struct recover *r = n->recover;

	clear_room(n, r->homing_of);
	return homing_open(&n->super.layout, n->fab, n->id, r->homing_of,
			   source, n->opts.region, &r->homing);
}

/* --- images --------------------------------------------------------------- */

/* Bring the newest usable image of @shard home. Errors: as
 * ckpt_restore_result(); -ENOMEM. */
static int restore(struct node *n, uint32_t shard, uint64_t *note)
{
	const struct layout *l = &n->super.layout;
	struct recover *r = n->recover;
	struct ckpt_restore_opts o = {
		.size = layout_shard_bytes(l),
		.region = shard,
		.least = r->least[shard],
		.fab = n->fab,
	};
	struct ckpt_restored out = {0};
	struct ckpt_restore *rs;
	uint32_t i, id;
	int rc;

	for (i = 1; i <= l->group.m; i++) {
		id = (shard + i) % l->group.nodes;
		if (r->up >> id & 1)
			o.peer[o.n_peers++] = (struct ckpt_peer){
				.node = (uint8_t)id,
				.area = layout_image_off(l, shard, id)};
	}
	r->image[shard] = malloc(o.size);
	o.to = r->image[shard];
	rc = o.to != NULL ? ckpt_restore_open(&o, &rs) : -ENOMEM;
	if (rc != 0)
		return rc;
	rc = ckpt_restore_run(rs, n->fab, &out);
	ckpt_restore_close(rs);
	*note = out.note;
	return rc;
}

/* The lowest note of the images of all shards that are asked for; 0 if one has
 * none: then they are all found in one full scan. */
static uint64_t restore_all(struct node *n)
{
	struct recover *r = n->recover;
	uint64_t note = 0, since = UINT64_MAX;
	uint32_t s;

	for (s = 0; s < node_group(n)->nodes; s++) {
		if (!(r->shards >> s & 1))
			continue;
		if (r->full || restore(n, s, &note) != 0) {
			free_images(r);
			return 0;
		}
		if (note < since)
			since = note;
	}
	return since;
}

static int replay_begin(struct node *n)
{
	struct recover *r = n->recover;
	struct replay_opts o = {
		.super = &n->super,
		.code = n->code,
		.fab = n->fab,
		.up = r->up,
		.shards = r->shards,
		.since = restore_all(n),
	};

	memcpy(o.image, r->image, sizeof(r->image));
	return replay_open(&o, &r->replay);
}

static void recover_begin(struct node *n)
{
	uint32_t source = recover_source(n);
	int rc;

	if (source != 0)
		rc = homing_begin(n, source - 1);
	else
		rc = replay_begin(n);
	if (rc != 0)
		recover_end(n, rc);
}

/* --- placing -------------------------------------------------------------- */

static void count(struct node *n, const struct proto_rebuilt *out)
{
	pthread_mutex_lock(&n->lock);
	if (out->note != 0)
		n->ckpt.restores++;
	else
		n->ckpt.replays++;
	n->ckpt.replayed += out->bytes;
	pthread_mutex_unlock(&n->lock);
}

/* The scan is done: build the shards. */
static int recover_place(struct node *n, uint32_t shard)
{
	uint64_t off = layout_shard_off(&n->super.layout, shard, n->id);
	struct recover *r = n->recover;
	struct proto_rebuilt out;
	int rc;

	clear_room(n, shard);
	rc = replay_place(r->replay, shard, (char *)n->opts.region + off, &out);
	if (rc != 0)
		return rc;
	count(n, &out);
	recover_done(n, shard, &out);
	return 0;
}

/* An image cannot be used after all: begin again without any. */
static void recover_fully(struct node *n)
{
	struct recover *r = n->recover;

	replay_close(r->replay);
	r->replay = NULL;
	free_images(r);
	r->full = true;
}

static void recover_finish(struct node *n)
{
	struct recover *r = n->recover;
	uint64_t shards = r->shards;
	uint32_t s;
	int rc = 0;

	for (s = 0; s < node_group(n)->nodes && rc == 0; s++)
		if (shards >> s & 1)
			rc = recover_place(n, s);
	if (rc == -ESTALE && !r->full)
		recover_fully(n);
	else
		recover_end(n, rc);
}

/* 0: not now. */
static int recover_step(struct node *n, uint64_t *again)
{
	struct recover *r = n->recover;
	uint64_t done, total;
	int rc = replay_step(r->replay);

	if (rc == -EAGAIN) {
		node_again(again, fab_now(n->fab) + ORPHANS_RETRY_NS);
		return 0;
	}
	if (rc > 0) {
		replay_progress(r->replay, &done, &total);
		publish_progress(n, done, total);
	} else if (rc == 0) {
		recover_finish(n);
	} else {
		recover_end(n, rc);
	}
	return 1;
}

static void homing_go_on(struct node *n)
{
	struct recover *r = n->recover;
	struct proto_rebuilt out = {0};
	int rc = homing_step(r->homing, &out);

	if (rc > 0)
		return;
	if (rc == 0)
		recover_done(n, r->homing_of, &out);
	recover_end(n, rc);
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
	if (r->homing == NULL && r->replay != NULL)
		return recover_step(n, again);
	if (r->homing != NULL)
		homing_go_on(n);
	else
		recover_begin(n);
	return 1;
}
