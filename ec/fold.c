/* ec/fold.c - the parity node's background work, a piece at a time.
 *
 *   P ^= g * delta   for a sealed block (into the parity)
 *   P ^= g * delta   for a retiring one (out of it: the same sum), once its
 *                    delta block holds a copy of the data again
 *
 * A window is opened (busy) and closed (progress) in the record; in between,
 * and only then, the parity's bytes are neither. */
#include "ec/fold.h"

#include <assert.h>
#include <errno.h>

#include "ec/alloc_impl.h"

#define FOLD_WINDOW (16u * BLOCK_FOLD_STEP)

/* Into FOLDING; from now on the parity block counts as not zero. */
static void begin(struct alloc *a, const struct alloc_at *at,
		  struct block_rec *rec)
{
	rec->state = BLOCK_FOLDING;
	rec->progress = 0;
	bits_put(&a->row[at->parity].coded, at->period, true);
}

/* All is in the parity; the delta is of no more use, unless the block is to
 * leave at once. */
static void end_fold(struct alloc *a, const struct alloc_at *at,
		     struct block_rec *rec)
{
	uint32_t delta = rec->delta;

	delta_unqueue(a, delta - 1);
	rec->progress = 0;
	if (rec->flags & BLOCK_F_RETIRE) {
		rec->state = BLOCK_RETIRING;
	} else {
		rec->state = BLOCK_FOLDED;
		rec->delta = 0;
	}
	rec->flags = 0;
	alloc_move(a, at, rec);
	if (rec->delta == 0)
		delta_drop(a, delta - 1, alloc_fold_end(rec));
	a->folds++;
}

static uint32_t open_window(struct alloc *a, const struct alloc_at *at,
			    struct block_rec *rec)
{
	uint32_t left, n;

	pthread_mutex_lock(&a->lock);
	block_load(at->rec, rec);
	left = alloc_fold_end(rec) - rec->progress;
	n = left < FOLD_WINDOW ? left : FOLD_WINDOW;
	rec->busy = (uint8_t)(n / BLOCK_FOLD_STEP);
	alloc_move(a, at, rec);
	pthread_mutex_unlock(&a->lock);
	return n;
}

static void close_window(struct alloc *a, const struct alloc_at *at, uint32_t n)
{
	struct block_rec rec;

	pthread_mutex_lock(&a->lock);
	block_load(at->rec, &rec); /* marks may have come meanwhile */
	rec.busy = 0;
	rec.progress += n;
	if (rec.progress < alloc_fold_end(&rec)) {
		alloc_move(a, at, &rec);
	} else if (rec.state == BLOCK_FOLDING) {
		end_fold(a, at, &rec);
	} else {
		alloc_move(a, at, &rec);
		a->retires++;
	}
	pthread_mutex_unlock(&a->lock);
}

/* The next window of @at's delta: into or out of the parity. */
static uint32_t fold_window(struct alloc *a, const struct alloc_at *at)
{
	const struct group *g = a->o.group;
	struct block_rec rec;
	uint32_t n;

	pthread_mutex_lock(&a->work);
	n = open_window(a, at, &rec);
	code_fold(a->o.code, (unsigned)at->parity, at->role, n,
		  alloc_region_at(a, group_delta_off(g, rec.delta - 1) +
					     rec.progress),
		  alloc_region_at(a, group_block_off(g, at->block) +
					     rec.progress));
	close_window(a, at, n);
	pthread_mutex_unlock(&a->work);
	return n;
}

/* The state in which @at's windows may go on. */
static bool goes_on(const struct alloc_at *at, uint8_t state)
{
	struct block_rec rec;

	block_load(at->rec, &rec);
	return rec.state == state && !alloc_is_out(at, &rec);
}

static void fold_windows(struct alloc *a, const struct alloc_at *at,
			 uint8_t state, uint32_t bytes)
{
	uint32_t done = 0;

	do
		done += fold_window(a, at);
	while (done < bytes && goes_on(at, state));
}

/* --- what rests (fold.h); lock held --------------------------------------- */

/* Sealed by its owner and not begun: the others are waited for. */
static bool may_rest(const struct alloc *a, const struct alloc_delta *d)
{
	struct block_rec rec;
	struct alloc_at at;

	alloc_at_block(a, d->block, d->role, &at);
	block_load(at.rec, &rec);
	return rec.state == BLOCK_SEALED &&
	       (rec.flags & (BLOCK_F_ALIGN | BLOCK_F_HELD)) == 0;
}

/* Those that were queued since the last time are at the end. */
static void note_time(struct alloc *a, uint64_t now)
{
	struct alloc_delta *d;

	TAILQ_FOREACH_REVERSE(d, &a->queue, alloc_deltas, link)
	{
		if (d->since != 0)
			return;
		d->since = now;
	}
}

/* As fold_due(), of the queue alone. */
static uint64_t queue_due(struct alloc *a, uint64_t now)
{
	struct alloc_delta *d;
	uint64_t first = UINT64_MAX;

	if (TAILQ_EMPTY(&a->queue))
		return UINT64_MAX;
	if (a->queued > a->o.rest ||
	    a->free_deltas <= a->kept + a->o.group->deltas / 4)
		return 0;
	note_time(a, now);
	TAILQ_FOREACH (d, &a->queue, link) {
		if (!may_rest(a, d))
			return 0;
		if (d->since < first)
			first = d->since;
	}
	return first + a->o.rest_ns <= now ? 0 : first + a->o.rest_ns;
}

/* The oldest sealed block. */
static bool next_fold(struct alloc *a, struct alloc_at *at,
		      struct block_rec *rec)
{
	struct alloc_delta *d;

	pthread_mutex_lock(&a->lock);
	d = TAILQ_FIRST(&a->queue);
	if (d != NULL) {
		alloc_at_block(a, d->block, d->role, at);
		block_load(at->rec, rec);
		/* In hand now, no longer to be had by fold_retire(). */
		if (rec->state == BLOCK_SEALED &&
		    (rec->flags & (BLOCK_F_ALIGN | BLOCK_F_HELD)) == 0) {
			begin(a, at, rec);
			alloc_move(a, at, rec);
		}
	}
	pthread_mutex_unlock(&a->lock);
	return d != NULL;
}

static void rotate(struct alloc *a)
{
	pthread_mutex_lock(&a->lock);
	delta_rotate(a);
	pthread_mutex_unlock(&a->lock);
}

static int fold_first(struct alloc *a, struct fab *f, uint32_t bytes)
{
	struct block_rec rec;
	struct alloc_at at;
	int rc;

	if (!next_fold(a, &at, &rec))
		return 0;
	if (rec.state == BLOCK_SEALED) {
		rc = (rec.flags & BLOCK_F_ALIGN) != 0
			     ? copy_orphan(a, f, &at, bytes)
			     : copy_release(a, f, &at);
		return rc < 0 ? rc : 1;
	}
	fold_windows(a, &at, BLOCK_FOLDING, bytes);
	return 1;
}

/* Orphans may have to wait for other nodes; the rest need not wait for them. */
static int fold_some(struct alloc *a, struct fab *f, uint32_t bytes)
{
	int64_t tries;
	bool rests;
	int rc;

	pthread_mutex_lock(&a->lock);
	tries = a->queued;
	rests = queue_due(a, a->o.rest != 0 ? fab_now(f) : 0) != 0;
	pthread_mutex_unlock(&a->lock);
	if (rests)
		return 0;
	do {
		rc = fold_first(a, f, bytes);
		if (rc < 0)
			rotate(a);
	} while (rc < 0 && tries-- > 1);
	return rc;
}

/* Is there a delta block for it? Those that are to be opened again leave the
 * last ones to those that are to be freed. */
static bool may_copy(const struct alloc *a, const struct block_rec *rec)
{
	return (rec->flags & BLOCK_F_AGAIN) == 0 || a->free_deltas > a->kept;
}

/* A block to leave that can: its data can be had, or is here already. One whose
 * data is being fetched comes first, or none would ever be fetched whole. */
static bool next_leaving(struct alloc *a, struct alloc_at *at,
			 struct block_rec *rec)
{
	if (copy_next(a, at, rec))
		return true;
	for (uint32_t j = 0; j < a->m; j++) {
		struct alloc_row *row = &a->row[j];

		for (uint32_t i = 0; i < a->k; i++) {
			uint32_t p = bits_next(&row->leaving[i], 0);

			for (; p != BITS_NONE;
			     p = bits_next(&row->leaving[i], p + 1)) {
				alloc_at_block(a, p * a->w + a->k + j, i, at);
				block_load(at->rec, rec);
				if (rec->delta != 0 ||
				    ((row->role_up >> i & 1) != 0 &&
				     may_copy(a, rec)))
					return true;
			}
		}
	}
	return false;
}

static int retire_some(struct alloc *a, struct fab *f, uint32_t bytes)
{
	struct block_rec rec;
	struct alloc_at at;
	bool found;
	int rc;

	pthread_mutex_lock(&a->lock);
	found = next_leaving(a, &at, &rec);
	pthread_mutex_unlock(&a->lock);
	if (!found)
		return 0;
	if (rec.delta == 0) {
		rc = copy_retiring(a, f, &at, bytes);
		return rc < 0 ? rc : 1;
	}
	fold_windows(a, &at, BLOCK_RETIRING, bytes);
	return 1;
}

int fold_work(struct alloc *a, struct fab *f, uint32_t bytes)
{
	int first, second;

	assert(bytes > 0);
	if (delta_scrub(a))
		return 1; /* what writers wait for, if they wait */
	a->turn = !a->turn;
	first = a->turn ? fold_some(a, f, bytes) : retire_some(a, f, bytes);
	if (first > 0)
		return 1;
	second = a->turn ? retire_some(a, f, bytes) : fold_some(a, f, bytes);
	return second != 0 ? second : first;
}

uint64_t fold_due(struct alloc *a, uint64_t now)
{
	struct block_rec rec;
	struct alloc_at at;
	uint64_t due;

	pthread_mutex_lock(&a->lock);
	if (!TAILQ_EMPTY(&a->dirty) || next_leaving(a, &at, &rec))
		due = 0;
	else
		due = queue_due(a, now);
	pthread_mutex_unlock(&a->lock);
	return due;
}
