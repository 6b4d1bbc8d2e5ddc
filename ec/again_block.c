/* ec/again_block.c - every member's part: one block on its way to be opened
 * again, and back. */
#include <errno.h>
#include <string.h>

#include "ec/again.h"
#include "ec/alloc_impl.h"
#include "ec/fold.h"

bool again_may_open(const struct block_rec *rec, uint8_t kind, uint32_t life)
{
	return rec->state == BLOCK_RETIRING &&
	       (rec->flags & BLOCK_F_ZEROED) != 0 && rec->kind == kind &&
	       alloc_next_life(rec->life) == life;
}

int again_look(struct alloc *a, uint64_t stripe, uint32_t role,
	       struct again_view *out)
{
	struct block_rec rec;
	struct alloc_at at;
	int rc = alloc_locate_any(a, stripe, role, &at);

	if (rc != 0)
		return rc;
	block_load(at.rec, &rec);
	out->kind = rec.kind;
	out->life = rec.life;
	out->state = rec.state;
	out->ready = (rec.flags & BLOCK_F_READY) != 0;
	out->zeroed = (rec.flags & BLOCK_F_ZEROED) != 0;
	return 0;
}

/* --- ROWS to PAGES -------------------------------------------------------- */

static int may_split(struct alloc *a, struct alloc_at at, uint32_t n)
{
	struct block_rec rec;

	for (; n > 0; n--, alloc_next(&at)) {
		block_load(at.rec, &rec);
		if (rec.flags & BLOCK_F_TORN)
			return -EUCLEAN;
		if (rec.state != BLOCK_FOLDED)
			return -EAGAIN;
	}
	return 0;
}

/* A ROW that is FOLDED and a PAGES block that is say the same (D1). */
static int split(struct alloc *a, struct alloc_at at)
{
	uint32_t n = alloc_span(a, &at, BLOCK_ROWS);
	struct alloc_at each = at;
	struct block_rec rec;
	int rc = may_split(a, at, n);

	if (rc != 0)
		return rc;
	if (at.parity >= 0)
		bits_put(&a->row[at.parity].victim[0], at.period, false);
	for (uint32_t i = 0; i < n; i++, alloc_next(&each)) {
		block_load(each.rec, &rec);
		rec.kind = BLOCK_PAGES;
		alloc_move(a, &each, &rec);
	}
	for (uint32_t i = 0; i < n; i++, alloc_next(&at))
		alloc_judge(a, &at);
	return 0;
}

int again_split(struct alloc *a, uint64_t stripe, uint32_t role)
{
	struct block_rec rec;
	struct alloc_at at;
	int rc = alloc_locate_any(a, stripe, role, &at);

	if (rc != 0)
		return rc;
	pthread_mutex_lock(&a->lock);
	block_load(at.rec, &rec);
	if (rec.kind == BLOCK_ROWS && rec.state != BLOCK_FREE)
		rc = split(a, at);
	pthread_mutex_unlock(&a->lock);
	return rc;
}

/* --- READY ---------------------------------------------------------------- */

static uint32_t words_of(const struct alloc *a)
{
	return again_map_bytes(a->o.group) / 8;
}

static uint32_t units_of(const struct alloc *a)
{
	return a->o.group->block_bytes / GROUP_UNIT_BYTES;
}

static void map_tail(uint64_t *map, uint32_t from, uint32_t units)
{
	for (uint32_t i = from; i < units; i++)
		map[i / 64] |= UINT64_C(1) << (i % 64);
}

int again_unite(struct alloc *a, uint64_t stripe, uint32_t role, uint32_t life,
		uint64_t *map)
{
	struct block_rec rec;
	struct alloc_at at;
	int rc = alloc_locate(a, stripe, role, &at);

	if (rc != 0)
		return rc;
	pthread_mutex_lock(&a->lock);
	block_load(at.rec, &rec);
	if (rec.life != life || rec.state != BLOCK_RETIRING)
		rc = -ESTALE;
	for (uint32_t i = 0; rc == 0 && i < words_of(a); i++)
		map[i] |= alloc_map_at(a, &at)[i];
	pthread_mutex_unlock(&a->lock);
	if (rc == 0)
		map_tail(map,
			 (rec.used + GROUP_UNIT_BYTES - 1) / GROUP_UNIT_BYTES,
			 units_of(a));
	return rc;
}

static bool is_within(const struct alloc *a, const uint64_t *some,
		      const uint64_t *all)
{
	for (uint32_t i = 0; i < words_of(a); i++)
		if ((some[i] & ~all[i]) != 0)
			return false;
	return true;
}

static uint32_t count(const struct alloc *a, const uint64_t *map)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < words_of(a); i++)
		n += (uint32_t)__builtin_popcountll(map[i]);
	return n;
}

/* Only the next opener may take marks away from here on. Lock held. */
static int freeze(struct alloc *a, const struct alloc_at *at, uint32_t life,
		  const uint64_t *map, bool zero, struct block_rec *rec)
{
	block_load(at->rec, rec);
	if (rec->life != life || rec->state != BLOCK_RETIRING ||
	    rec->kind == BLOCK_ROWS)
		return -ESTALE;
	if (!alloc_is_out(at, rec) || (at->parity >= 0 && rec->delta == 0))
		return -EAGAIN;
	if (!is_within(a, alloc_map_at(a, at), map))
		return -EBUSY;
	memcpy(alloc_map_at(a, at), map, again_map_bytes(a->o.group));
	rec->flags |= BLOCK_F_AGAIN | BLOCK_F_READY;
	if (zero)
		rec->flags |= BLOCK_F_ZEROED;
	rec->dead = count(a, map);
	alloc_move(a, at, rec);
	alloc_judge(a, at);
	return 0;
}

/* The units of @map in the copy that this node has. */
static void zero_units(struct alloc *a, const struct alloc_at *at,
		       const struct block_rec *rec, const uint64_t *map)
{
	const struct group *g = a->o.group;
	char *copy = alloc_region_at(
		a, at->parity < 0 ? group_block_off(g, at->block)
				  : group_delta_off(g, rec->delta - 1));
	uint32_t from = 0, to;

	while (from < units_of(a)) {
		if ((map[from / 64] >> (from % 64) & 1) == 0) {
			from++;
			continue;
		}
		for (to = from;
		     to < units_of(a) && (map[to / 64] >> (to % 64) & 1) != 0;)
			to++;
		memset(copy + (size_t)from * GROUP_UNIT_BYTES, 0,
		       (size_t)(to - from) * GROUP_UNIT_BYTES);
		from = to;
	}
}

int again_ready(struct alloc *a, uint64_t stripe, uint32_t role, uint32_t life,
		const uint64_t *map, bool zero)
{
	struct block_rec rec;
	struct alloc_at at;
	int rc = alloc_locate(a, stripe, role, &at);

	if (rc != 0)
		return rc;
	pthread_mutex_lock(&a->lock);
	rc = freeze(a, &at, life, map, zero, &rec);
	pthread_mutex_unlock(&a->lock);
	if (rc == 0 && zero)
		zero_units(a, &at, &rec, map);
	return rc;
}

/* --- back ----------------------------------------------------------------- */

/* RETIRING, to where it came from. Lock held. */
static int back(struct alloc *a, const struct alloc_at *at,
		struct block_rec *rec, uint32_t life)
{
	bool parity = at->parity >= 0, stays;

	stays = parity && rec->delta == 0 && rec->progress == 0;
	if (parity && !stays && !alloc_is_out(at, rec))
		return -EAGAIN;
	again_unstock(a, at);
	rec->flags &= BLOCK_F_LEFT;
	rec->progress = 0;
	rec->life = life;
	rec->state = stays ? BLOCK_FOLDED : BLOCK_SEALED;
	alloc_move(a, at, rec);
	if (parity && !stays)
		delta_queue(a, rec->delta - 1);
	alloc_judge(a, at);
	return 0;
}

static int resume(struct alloc *a, const struct alloc_at *at, uint32_t life)
{
	struct block_rec rec;

	block_load(at->rec, &rec);
	if (rec.life > life || rec.state == BLOCK_FREE ||
	    rec.state == BLOCK_OPEN)
		return 0;
	if (rec.flags & BLOCK_F_RETIRE) { /* not RETIRING yet */
		rec.flags &= (uint8_t)~BLOCK_F_RETIRE;
		rec.life = life;
		alloc_move(a, at, &rec);
		return 0;
	}
	if (rec.state == BLOCK_RETIRING)
		return back(a, at, &rec, life);
	if (rec.life != life) {
		rec.life = life;
		alloc_move(a, at, &rec);
	}
	return 0;
}

static bool has_leader(const struct alloc *a, uint64_t stripe, uint64_t up)
{
	uint32_t node, block;
	bool any = false;

	for (uint32_t j = 0; j < a->m; j++) {
		group_member(a->o.group, stripe, a->k + j, &node, &block);
		any |= (up >> node & 1) != 0;
	}
	return any;
}

static bool is_on_its_way(const struct block_rec *rec)
{
	return rec->state == BLOCK_RETIRING &&
	       (rec->flags & (BLOCK_F_AGAIN | BLOCK_F_READY)) != 0;
}

void again_leaderless(struct alloc *a)
{
	uint64_t up = __atomic_load_n(&a->up, __ATOMIC_RELAXED);
	struct block_rec rec;
	struct alloc_at at;

	pthread_mutex_lock(&a->lock);
	for (uint32_t b = 0; b < a->o.group->blocks; b++) {
		if (b % a->w >= a->k)
			continue; /* a parity block */
		alloc_at_block(a, b, b % a->w, &at);
		block_load(at.rec, &rec);
		if (is_on_its_way(&rec) && !has_leader(a, at.stripe, up))
			back(a, &at, &rec, rec.life);
	}
	pthread_mutex_unlock(&a->lock);
}

static bool is_anothers(const struct alloc *a, const struct alloc_at *at,
			const struct block_rec *rec)
{
	return (at->parity < 0 || !a->row[at->parity].led) &&
	       is_on_its_way(rec);
}

int again_stray(struct alloc *a, uint32_t *at, uint64_t *stripe, uint32_t *role,
		uint32_t *life)
{
	return alloc_look(a, at, is_anothers, stripe, role, life);
}

int again_resume(struct alloc *a, uint64_t stripe, uint32_t role, uint32_t life)
{
	struct alloc_at at;
	int rc = alloc_locate(a, stripe, role, &at);

	if (rc != 0)
		return rc;
	pthread_mutex_lock(&a->lock);
	rc = resume(a, &at, life);
	pthread_mutex_unlock(&a->lock);
	return rc;
}
