/* ec/alloc_early.c - obsolete units of blocks that are still to be rebuilt
 * here.
 *
 * Whoever marks units tells all members of the stripe, this one too, be the
 * block here or not. Those of a block that is not are kept aside, or bits that
 * reach the others only after this node has copied their bitmap were lost, and
 * the block never wholly obsolete. Marks name the life of their block. A lower
 * one than has been seen is late, for no life begins before the one before it
 * has ended; so of each block only the highest need be kept. */
#include <errno.h>

#include "ec/alloc_impl.h"

struct alloc_early {
	uint32_t life;
	uint64_t *named; /* marks of @life; */
	uint64_t *any;	 /* of no life: what is in use now is meant */
};

uint32_t alloc_map_set(uint64_t *map, uint32_t at, uint32_t len)
{
	uint32_t added = 0;

	while (len > 0) {
		uint32_t shift = at % 64;
		uint32_t n = len < 64 - shift ? len : 64 - shift;
		uint64_t mask = (n == 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1)
				<< shift;

		added += (uint32_t)__builtin_popcountll(mask & ~map[at / 64]);
		map[at / 64] |= mask;
		at += n;
		len -= n;
	}
	return added;
}

static uint32_t map_words(const struct alloc *a)
{
	return a->o.group->block_bytes / GROUP_UNIT_BYTES / 64;
}

static struct alloc_early **early_of(const struct alloc *a,
				     const struct alloc_at *at)
{
	return &a->early[(size_t)at->block * a->k + at->role];
}

int early_open(struct alloc *a)
{
	size_t n = (size_t)a->o.group->blocks * a->k;

	a->early = calloc(n, sizeof(struct alloc_early *));
	if (a->early == NULL)
		return -ENOMEM;
	return bits_open(&a->wanted, a->o.group->blocks);
}

static void early_free(struct alloc_early *e)
{
	if (e == NULL)
		return;
	free(e->named);
	free(e->any);
	free(e);
}

void early_close(struct alloc *a)
{
	size_t n = (size_t)a->o.group->blocks * a->k;

	for (size_t i = 0; a->early != NULL && i < n; i++)
		early_free(a->early[i]);
	free(a->early);
	bits_close(&a->wanted);
}

bool early_expects(const struct alloc *a, const struct block_rec *rec,
		   uint32_t life)
{
	return a->rebuilding && rec->state == BLOCK_FREE &&
	       (life == 0 || life > rec->life);
}

/* The bits that a mark of @life goes to; NULL: no memory. */
static uint64_t *bits_for(struct alloc *a, struct alloc_early *e, uint32_t life)
{
	uint64_t **map = life == 0 ? &e->any : &e->named;

	if (life > e->life) {
		free(e->named);
		e->named = NULL;
		e->life = life;
	}
	if (*map == NULL)
		*map = calloc(map_words(a), sizeof(uint64_t));
	return *map;
}

int early_mark(struct alloc *a, const struct alloc_at *at, uint32_t life,
	       uint32_t from, uint32_t len)
{
	struct alloc_early **e = early_of(a, at);
	uint64_t *map;

	if (*e == NULL)
		*e = calloc(1, sizeof(**e));
	if (*e == NULL)
		return -ENOMEM;
	if (life != 0 && life < (*e)->life)
		return 0; /* late */
	map = bits_for(a, *e, life);
	if (map == NULL)
		return -ENOMEM;
	alloc_map_set(map, from, len);
	return 0;
}

void early_merge(struct alloc *a, const struct alloc_at *at, uint32_t life,
		 uint64_t *map)
{
	const struct alloc_early *e = *early_of(a, at);

	for (uint32_t i = 0; e != NULL && i < map_words(a); i++) {
		if (e->any != NULL)
			map[i] |= e->any[i];
		if (e->named != NULL && e->life == life)
			map[i] |= e->named[i];
	}
	early_drop(a, at);
}

void early_drop(struct alloc *a, const struct alloc_at *at)
{
	struct alloc_early **e = early_of(a, at);

	early_free(*e);
	*e = NULL;
}
