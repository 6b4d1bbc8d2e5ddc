/* ec/alloc_delta.c - the delta blocks of a node.
 *
 *   FREE ---take---> USED ---queue---> QUEUED ---.
 *    ^                 |                         |
 *    |                 +----------drop-----------+
 *    +---scrub--- DIRTY <------------------------+
 *
 * A FREE one is all zeros, so that what its owner does not write is the delta
 * of a data block that was zero, too. Clearing is left to the thread that
 * folds: no request waits for it. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "ec/alloc_impl.h"
#include "rdma/fabric.h"

int delta_open(struct alloc *a)
{
	uint32_t n = a->o.group->deltas;

	TAILQ_INIT(&a->free);
	TAILQ_INIT(&a->queue);
	TAILQ_INIT(&a->dirty);
	/* Retiring must go on when writers hold all the rest: it is what gives
	 * space back. One retirement per leader, so m at a time here. */
	a->kept = a->m < n / 4 ? a->m : n / 4;
	a->delta = calloc(n, sizeof(*a->delta));
	return a->delta != NULL ? 0 : -ENOMEM;
}

void delta_close(struct alloc *a)
{
	free(a->delta);
}

void delta_adopt(struct alloc *a, const struct alloc_at *at,
		 const struct block_rec *rec)
{
	struct alloc_delta *d = &a->delta[rec->delta - 1];

	d->place = DELTA_USED;
	d->block = at->block;
	d->role = at->role;
	if (rec->state == BLOCK_SEALED || rec->state == BLOCK_FOLDING)
		delta_queue(a, rec->delta - 1);
}

static void to_free(struct alloc *a, struct alloc_delta *d, bool warm)
{
	d->place = DELTA_FREE;
	d->warm = warm;
	a->free_deltas++;
	if (warm) {
		a->warm_deltas++;
		TAILQ_INSERT_HEAD(&a->free, d, link);
	} else {
		TAILQ_INSERT_TAIL(&a->free, d, link);
	}
}

static void to_dirty(struct alloc *a, struct alloc_delta *d, uint32_t dirty)
{
	d->place = DELTA_DIRTY;
	d->dirty = dirty;
	TAILQ_INSERT_TAIL(&a->dirty, d, link);
}

void delta_adopted(struct alloc *a, bool fresh)
{
	for (uint32_t i = 0; i < a->o.group->deltas; i++) {
		struct alloc_delta *d = &a->delta[i];

		if (d->place != DELTA_FREE)
			continue;
		if (fresh)
			to_free(a, d, false);
		else
			to_dirty(a, d, a->o.group->block_bytes);
	}
}

uint32_t delta_take(struct alloc *a, const struct alloc_at *at, bool retiring)
{
	struct alloc_delta *d;

	if (a->free_deltas <= (retiring ? 0 : a->kept))
		return 0;
	d = TAILQ_FIRST(&a->free);
	TAILQ_REMOVE(&a->free, d, link);
	a->free_deltas--;
	a->warm_deltas -= d->warm;
	d->place = DELTA_USED;
	d->block = at->block;
	d->role = at->role;
	return (uint32_t)(d - a->delta) + 1;
}

void delta_queue(struct alloc *a, uint32_t delta)
{
	struct alloc_delta *d = &a->delta[delta];

	assert(d->place == DELTA_USED);
	d->place = DELTA_QUEUED;
	d->since = 0;
	TAILQ_INSERT_TAIL(&a->queue, d, link);
	a->queued++;
}

void delta_unqueue(struct alloc *a, uint32_t delta)
{
	struct alloc_delta *d = &a->delta[delta];

	assert(d->place == DELTA_QUEUED);
	d->place = DELTA_USED;
	TAILQ_REMOVE(&a->queue, d, link);
	a->queued--;
}

void delta_rotate(struct alloc *a)
{
	struct alloc_delta *d = TAILQ_FIRST(&a->queue);

	if (d == NULL)
		return; /* the last one was taken out meanwhile */
	TAILQ_REMOVE(&a->queue, d, link);
	TAILQ_INSERT_TAIL(&a->queue, d, link);
}

void delta_drop(struct alloc *a, uint32_t delta, uint32_t dirty)
{
	struct alloc_delta *d = &a->delta[delta];

	if (d->place == DELTA_QUEUED)
		delta_unqueue(a, delta);
	assert(d->place == DELTA_USED);
	to_dirty(a, d, dirty);
}

static uint64_t offset_of(const struct alloc *a, const struct alloc_delta *d)
{
	return group_delta_off(a->o.group, (uint32_t)(d - a->delta));
}

static void give_back(struct alloc *a, const struct alloc_delta *d)
{
	fab_region_discard(a->o.region, a->o.region_fd, offset_of(a, d),
			   a->o.group->block_bytes);
}

bool delta_scrub(struct alloc *a)
{
	struct alloc_delta *d;
	bool warm;

	pthread_mutex_lock(&a->lock);
	d = TAILQ_FIRST(&a->dirty);
	if (d != NULL)
		TAILQ_REMOVE(&a->dirty, d, link);
	warm = a->warm_deltas < ALLOC_WARM_DELTAS + a->o.rest;
	pthread_mutex_unlock(&a->lock);
	if (d == NULL)
		return false;

	if (warm)
		memset(alloc_region_at(a, offset_of(a, d)), 0, d->dirty);
	else
		give_back(a, d);
	pthread_mutex_lock(&a->lock);
	to_free(a, d, warm);
	pthread_mutex_unlock(&a->lock);
	return true;
}

bool delta_cool(struct alloc *a)
{
	struct alloc_delta *d;

	if (a->warm_deltas <= ALLOC_WARM_DELTAS)
		return false;
	d = TAILQ_FIRST(&a->free); /* those that are warm come first */
	TAILQ_REMOVE(&a->free, d, link);
	a->free_deltas--;
	a->warm_deltas--;
	give_back(a, d);
	to_free(a, d, false);
	return true;
}
