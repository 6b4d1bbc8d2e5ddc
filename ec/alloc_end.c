/* ec/alloc_end.c - the end of an open block, and obsolete units. */
#include <errno.h>

#include "ec/alloc_impl.h"

static bool is_open_of(const struct block_rec *rec, uint32_t owner,
		       uint32_t life)
{
	return rec->state == BLOCK_OPEN && rec->owner == owner &&
	       rec->life == life;
}

static bool is_done(const struct block_rec *rec, uint32_t life)
{
	return rec->state != BLOCK_OPEN && rec->life == life;
}

static void shun(struct alloc *a, const struct alloc_at *at)
{
	pthread_mutex_lock(&a->lock);
	a->shunned[a->next_shunned++ % ALLOC_SHUNNED] = at->rec;
	pthread_mutex_unlock(&a->lock);
}

/* No more writes; @flags for what is to be folded. Lock held. */
static void seal_rec(struct alloc *a, const struct alloc_at *at, uint32_t used,
		     uint64_t sealed, uint8_t flags)
{
	struct block_rec rec;

	block_load(at->rec, &rec);
	rec.state = rec.kind == BLOCK_ROWS ? BLOCK_FOLDED : BLOCK_SEALED;
	if (rec.kept)
		rec.owner = 0; /* others wrote what was in it before */
	rec.kept = 0;
	rec.used = used;
	rec.sealed = sealed;
	if (rec.delta != 0)
		rec.flags = flags;
	else if (rec.kind == BLOCK_ROWS && flags != 0)
		rec.flags = BLOCK_F_TORN;
	else if (at->parity < 0 && flags != 0)
		rec.flags = BLOCK_F_LEFT;
	alloc_move(a, at, &rec);
	if (rec.delta != 0)
		delta_queue(a, rec.delta - 1);
}

static void seal_all(struct alloc *a, struct alloc_at at, uint32_t used,
		     uint64_t sealed, uint8_t flags)
{
	struct alloc_at first;
	struct block_rec rec;
	uint32_t n;

	pthread_mutex_lock(&a->lock);
	block_load(at.rec, &rec);
	n = alloc_span(a, &at, rec.kind);
	first = at;
	for (uint32_t i = 0; i < n; i++, alloc_next(&at))
		seal_rec(a, &at, used, sealed, flags);
	for (uint32_t i = 0; i < n; i++, alloc_next(&first))
		alloc_judge(a, &first);
	pthread_mutex_unlock(&a->lock);
}

/* Nobody tells when: later than anything that bounds a replay. */
#define SEALED_LATE (UINT64_MAX - 1)

/* It was granted to be opened again, and opening failed on the way: the leader
 * brings all members back (again.h). */
static int give_up(struct alloc *a, const struct alloc_at *at, uint32_t owner)
{
	struct alloc_stock *s;

	pthread_mutex_lock(&a->lock);
	s = again_find(a, at);
	if (s != NULL && s->owner == owner)
		s->undo = true;
	pthread_mutex_unlock(&a->lock);
	return 0;
}

int alloc_cancel(struct alloc *a, uint64_t stripe, uint32_t role,
		 uint32_t owner, uint32_t life)
{
	struct block_rec rec;
	struct alloc_at at;
	int rc = alloc_locate_any(a, stripe, role, &at);

	if (rc != 0)
		return rc;
	block_load(at.rec, &rec);
	if (rec.state == BLOCK_FREE && rec.life == life)
		return 0;
	if (again_may_open(&rec, rec.kind, life))
		return give_up(a, &at, owner);
	if (!is_open_of(&rec, owner, life))
		return -EINVAL;
	shun(a, &at);
	if (rec.kept)
		seal_all(a, at, a->o.group->block_bytes, SEALED_LATE, 0);
	else
		alloc_clear(a, &at);
	return 0;
}

static uint8_t rows_torn(const struct block_rec *rec, bool torn)
{
	return rec->kind == BLOCK_ROWS && torn ? BLOCK_F_TORN : 0;
}

int alloc_seal(struct alloc *a, uint64_t stripe, uint32_t role, uint32_t owner,
	       uint32_t life, uint32_t used, uint64_t sealed, bool torn)
{
	struct block_rec rec;
	struct alloc_at at;
	int rc = alloc_locate_any(a, stripe, role, &at);

	if (rc != 0)
		return rc;
	block_load(at.rec, &rec);
	if (is_done(&rec, life))
		return 0;
	if (again_may_open(&rec, rec.kind, life))
		return give_up(a, &at, owner);
	if (!is_open_of(&rec, owner, life) || used > a->o.group->block_bytes)
		return -EINVAL;
	if (used == 0 && !rec.kept)
		alloc_clear(a, &at);
	else
		seal_all(a, at, rec.kept ? a->o.group->block_bytes : used,
			 sealed, rows_torn(&rec, torn));
	return 0;
}

int alloc_orphan(struct alloc *a, uint64_t stripe, uint32_t role, uint32_t life,
		 uint64_t sealed)
{
	struct block_rec rec;
	struct alloc_at at;
	int rc = alloc_locate_any(a, stripe, role, &at);

	if (rc != 0)
		return rc;
	block_load(at.rec, &rec);
	if (rec.life != life)
		return -ESTALE;
	if (rec.state == BLOCK_OPEN)
		seal_all(a, at, a->o.group->block_bytes, sealed, BLOCK_F_ALIGN);
	return 0;
}

static int mark_early(struct alloc *a, const struct alloc_at *at, uint32_t life,
		      const struct alloc_run *run, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (early_mark(a, at, life, run[i].at, run[i].len) != 0)
			return -EAGAIN;
	return 0;
}

static int mark(struct alloc *a, const struct alloc_at *at, uint32_t life,
		const struct alloc_run *run, uint32_t n)
{
	uint64_t *map = alloc_map_at(a, at);
	struct block_rec rec;
	uint32_t added = 0;
	bool ready;

	block_load(at->rec, &rec);
	if (early_expects(a, &rec, life))
		return mark_early(a, at, life, run, n);
	ready = rec.state != BLOCK_FREE && (rec.flags & BLOCK_F_READY) != 0;
	if (ready && life == alloc_next_life(rec.life))
		return -EBUSY; /* others are OPEN: not they alone (A3) */
	if (rec.state == BLOCK_FREE || (life != 0 && rec.life != life))
		return -ESTALE;
	if (ready)
		return -EBUSY;
	for (uint32_t i = 0; i < n; i++)
		added += alloc_map_set(map, run[i].at, run[i].len);
	if (added == 0)
		return 0;
	rec.dead += added;
	alloc_move(a, at, &rec);
	alloc_judge(a, at);
	return 0;
}

int alloc_mark(struct alloc *a, uint64_t stripe, uint32_t role, uint32_t life,
	       uint32_t at, uint32_t len)
{
	const struct alloc_run run = {.at = at, .len = len};

	return alloc_mark_runs(a, stripe, role, life, &run, 1);
}

int alloc_mark_runs(struct alloc *a, uint64_t stripe, uint32_t role,
		    uint32_t life, const struct alloc_run *run, uint32_t n)
{
	uint32_t units = a->o.group->block_bytes / GROUP_UNIT_BYTES;
	struct alloc_at where;
	int rc = alloc_locate(a, stripe, role, &where);

	if (rc != 0)
		return rc;
	for (uint32_t i = 0; i < n; i++)
		if (run[i].at > units || run[i].len > units - run[i].at)
			return -EINVAL;
	pthread_mutex_lock(&a->lock);
	rc = mark(a, &where, life, run, n);
	pthread_mutex_unlock(&a->lock);
	return rc;
}
