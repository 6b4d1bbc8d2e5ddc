/* ec/alloc_cut.c - what durable checkpoints need of blocks.
 *
 *	cut N durable    cut N+1 made      its bytes      N+1 durable
 *	     |                |            are written        |
 *	 ----+----------------+---------------+---------------+--->
 *	     need ............................................|
 *	                      need_new .......................| becomes need
 *
 * After a crash the pool goes back to N or, from some moment on, to N+1: until
 * it is known that this moment has passed, both are needed. A block that was
 * wholly obsolete at a cut is named by nothing in it, whatever its image says.
 * A cut of which nobody said that it is durable may be so all the same: when
 * the next one is made, it counts as the older ones do.
 * ROWS leave together: their roles are needed as one. */
#include <stdlib.h>
#include <string.h>

#include "ec/alloc_impl.h"

static bool is_dead(const struct alloc_row *row, const struct alloc_at *at,
		    const struct block_rec *rec)
{
	uint32_t role = rec->kind == BLOCK_ROWS ? 0 : at->role;

	return bits_has(&row->victim[role], at->period);
}

static size_t map_words(const struct alloc *a)
{
	return a->o.group->block_bytes / GROUP_UNIT_BYTES / 64;
}

/* Without memory it is as if none were obsolete. */
static void note_dead(struct alloc *a, const struct alloc_at *at,
		      const struct block_rec *rec)
{
	struct alloc_row *row = &a->row[at->parity];
	uint64_t **to = &row->dead_new[at->role * a->periods + at->period];
	size_t bytes = map_words(a) * sizeof(uint64_t);

	if (rec->state == BLOCK_FREE || rec->dead == 0) {
		free(*to);
		*to = NULL;
		return;
	}
	if (*to == NULL)
		*to = malloc(bytes);
	if (*to != NULL)
		memcpy(*to,
		       alloc_region_at(a, group_map_off(a->o.group, at->block,
							at->role)),
		       bytes);
}

/* What is obsolete in @by, too, stays so. */
static void and_map(uint64_t *map, const uint64_t *by, size_t words)
{
	for (size_t w = 0; map != NULL && w < words; w++)
		map[w] &= by != NULL ? by[w] : 0;
}

/* The cut before was not said to be durable: what it needs is needed as what
 * the older ones need is, and obsolete is what was so in all of them. */
static void need_both(struct alloc *a, const struct alloc_at *at)
{
	struct alloc_row *row = &a->row[at->parity];
	size_t i = (size_t)at->role * a->periods + at->period;
	uint64_t *was = row->dead[i];

	if (!bits_has(&row->need_new[at->role], at->period))
		return;
	if (bits_has(&row->need[at->role], at->period)) {
		and_map(was, row->dead_new[i], map_words(a));
		return;
	}
	bits_put(&row->need[at->role], at->period, true);
	row->dead[i] = row->dead_new[i];
	row->dead_new[i] = was;
}

static void note_need(struct alloc *a, const struct alloc_at *at)
{
	struct alloc_row *row = &a->row[at->parity];
	struct block_rec rec;

	need_both(a, at);
	block_load(at->rec, &rec);
	bits_put(&row->need_new[at->role], at->period,
		 rec.state != BLOCK_FREE && !is_dead(row, at, &rec));
	note_dead(a, at, &rec);
}

void alloc_cut(struct alloc *a,
	       void (*each)(void *arg, uint32_t block,
			    const struct block_rec *rec, const void *map),
	       void *arg)
{
	const struct group *g = a->o.group;
	struct block_rec rec;
	struct alloc_at at;

	pthread_mutex_lock(&a->lock);
	for (uint32_t b = 0; b < g->blocks; b++) {
		uint32_t mine = b % a->w;

		alloc_at_block(a, b, mine < a->k ? mine : 0, &at);
		for (uint32_t n = at.parity < 0 ? 0 : a->k; n > 0;
		     n--, alloc_next(&at))
			note_need(a, &at);
		if (at.parity >= 0)
			continue;
		block_load(at.rec, &rec);
		each(arg, b, &rec,
		     rec.state == BLOCK_FREE
			     ? NULL
			     : alloc_region_at(a, group_map_off(g, b, mine)));
	}
	pthread_mutex_unlock(&a->lock);
}

void alloc_cut_durable(struct alloc *a)
{
	struct bits *was;
	uint64_t **dead;

	pthread_mutex_lock(&a->lock);
	for (uint32_t j = 0; j < a->m; j++) {
		dead = a->row[j].dead; /* stale, but younger ones come */
		a->row[j].dead = a->row[j].dead_new;
		a->row[j].dead_new = dead;
		was = a->row[j].need;
		a->row[j].need = a->row[j].need_new;
		a->row[j].need_new = was;
		for (uint32_t i = 0; i < a->k; i++)
			for (uint32_t p = 0; p < a->periods; p++)
				bits_put(&was[i], p, false);
	}
	pthread_mutex_unlock(&a->lock);
}

void alloc_cut_unknown(struct alloc *a)
{
	pthread_mutex_lock(&a->lock);
	for (uint32_t j = 0; j < a->m; j++)
		for (uint32_t i = 0; i < a->k; i++)
			for (uint32_t p = 0; p < a->periods; p++)
				bits_put(&a->row[j].need[i], p, true);
	pthread_mutex_unlock(&a->lock);
}

bool alloc_is_needed(const struct alloc *a, uint32_t j, uint32_t role,
		     uint32_t period)
{
	const struct alloc_row *row = &a->row[j];

	return a->o.hold && (bits_has(&row->need[role], period) ||
			     bits_has(&row->need_new[role], period));
}

/* Is all of @map obsolete in @dead (NULL: nothing is)? */
static bool is_dead_in(const uint64_t *map, const uint64_t *dead, size_t words)
{
	for (size_t w = 0; w < words; w++)
		if ((map[w] & ~(dead != NULL ? dead[w] : 0)) != 0)
			return false;
	return true;
}

bool alloc_cut_may(const struct alloc *a, const struct alloc_at *at,
		   const uint64_t *map)
{
	const struct alloc_row *row = &a->row[at->parity];
	size_t i = (size_t)at->role * a->periods + at->period;

	if (!a->o.hold)
		return true;
	return (!bits_has(&row->need[at->role], at->period) ||
		is_dead_in(map, row->dead[i], map_words(a))) &&
	       (!bits_has(&row->need_new[at->role], at->period) ||
		is_dead_in(map, row->dead_new[i], map_words(a)));
}

bool alloc_cut_allows(struct alloc *a, uint64_t stripe, uint32_t role,
		      const uint64_t *map)
{
	struct alloc_at at;
	bool may;

	if (alloc_locate(a, stripe, role, &at) != 0 || at.parity < 0)
		return false;
	pthread_mutex_lock(&a->lock);
	may = alloc_cut_may(a, &at, map);
	pthread_mutex_unlock(&a->lock);
	return may;
}

bool alloc_is_held(const struct alloc *a)
{
	if (!a->o.hold)
		return false;
	for (uint32_t j = 0; j < a->m; j++)
		for (uint32_t i = 0; a->row[j].led && i < a->k; i++)
			if (a->row[j].role_up >> i & 1 &&
			    a->row[j].victim[i].n != 0)
				return true;
	return again_waits(a);
}

bool alloc_held(struct alloc *a)
{
	bool held;

	pthread_mutex_lock(&a->lock);
	held = alloc_is_held(a);
	pthread_mutex_unlock(&a->lock);
	return held;
}
