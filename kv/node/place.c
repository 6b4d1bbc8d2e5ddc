/* kv/node/place.c - see place.h. */
#include "kv/node/place.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define CHOICES (2 * BUCKET_PAIR_SLOTS)
#define NOWHERE UINT32_MAX

struct item {
	uint64_t hash, word, version;
	bool pinned;
};

struct place {
	uint32_t groups, slots;
	struct item *item;
	uint32_t items, room;
	uint32_t *holds; /* slot -> item + 1; 0: free */
	/* of the search for a path: */
	uint32_t *from;	 /* slot -> the slot whose item would move here */
	uint32_t *seen;	 /* slot -> number of the search that met it */
	uint32_t *queue; /* slots met, in order */
	uint32_t search;
};

int place_open(uint32_t groups, struct place **out)
{
	struct place *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return -ENOMEM;
	p->groups = groups;
	p->slots = groups * BUCKET_GROUP * BUCKET_SLOTS;
	p->holds = calloc(p->slots, sizeof(*p->holds));
	p->from = calloc(p->slots, sizeof(*p->from));
	p->seen = calloc(p->slots, sizeof(*p->seen));
	p->queue = calloc(p->slots, sizeof(*p->queue));
	if (p->holds == NULL || p->from == NULL || p->seen == NULL ||
	    p->queue == NULL) {
		place_close(p);
		return -ENOMEM;
	}
	*out = p;
	return 0;
}

void place_close(struct place *p)
{
	if (p == NULL)
		return;
	free(p->queue);
	free(p->seen);
	free(p->from);
	free(p->holds);
	free(p->item);
	free(p);
}

/* --- legal slots ---------------------------------------------------------- */

/* The slots of a key: main bucket of the emptier pair first, then the other
 * main bucket, then the overflows. As in slot.h, a pair that begins at a
 * group's first slot has its main bucket first, the other kind has it last. */
static uint32_t main_of(uint64_t pair)
{
	bool first = pair % (BUCKET_GROUP * BUCKET_SLOTS) == 0;

	return (uint32_t)pair + (first ? 0 : BUCKET_SLOTS);
}

static uint32_t overflow_of(uint64_t pair)
{
	bool first = pair % (BUCKET_GROUP * BUCKET_SLOTS) == 0;

	return (uint32_t)pair + (first ? BUCKET_SLOTS : 0);
}

static uint32_t bucket_load(const struct place *p, uint32_t bucket)
{
	uint32_t i, n = 0;

	for (i = 0; i < BUCKET_SLOTS; i++)
		n += p->holds[bucket + i] != 0;
	return n;
}

static void choices(const struct place *p, uint64_t hash, uint32_t out[CHOICES])
{
	uint64_t pair[2], swap;
	uint32_t bucket[4], i, b;

	slot_places(hash, p->groups, pair);
	if (bucket_load(p, main_of(pair[1])) <
	    bucket_load(p, main_of(pair[0]))) {
		swap = pair[0];
		pair[0] = pair[1];
		pair[1] = swap;
	}
	bucket[0] = main_of(pair[0]);
	bucket[1] = main_of(pair[1]);
	bucket[2] = overflow_of(pair[0]);
	bucket[3] = overflow_of(pair[1]);
	for (b = 0; b < 4; b++)
		for (i = 0; i < BUCKET_SLOTS; i++)
			out[b * BUCKET_SLOTS + i] = bucket[b] + i;
}

static uint32_t free_choice(const struct place *p,
			    const uint32_t choice[CHOICES], uint32_t hint)
{
	uint32_t i, first = NOWHERE;

	for (i = 0; i < CHOICES; i++) {
		if (p->holds[choice[i]] != 0)
			continue;
		if (choice[i] == hint)
			return hint;
		if (first == NOWHERE)
			first = choice[i];
	}
	return first;
}

/* --- making room (P1) ----------------------------------------------------- */

static bool meet(struct place *p, uint32_t slot, uint32_t from, uint32_t *n)
{
	if (p->seen[slot] == p->search)
		return false;
	p->seen[slot] = p->search;
	p->from[slot] = from;
	p->queue[(*n)++] = slot;
	return p->holds[slot] == 0;
}

/* A free slot that can be reached from one of @choice by moves; p->from leads
 * back. NOWHERE if there is none. */
static uint32_t find_path(struct place *p, const uint32_t choice[CHOICES])
{
	uint32_t next[CHOICES], i, at, n = 0;

	p->search++;
	for (i = 0; i < CHOICES; i++)
		if (meet(p, choice[i], NOWHERE, &n))
			return choice[i];
	for (at = 0; at < n; at++) {
		uint32_t slot = p->queue[at];
		const struct item *it = &p->item[p->holds[slot] - 1];

		if (it->pinned)
			continue;
		choices(p, it->hash, next);
		for (i = 0; i < CHOICES; i++)
			if (meet(p, next[i], slot, &n))
				return next[i];
	}
	return NOWHERE;
}

/* Move along the path, so that its first slot is free: that one. */
static uint32_t shift_path(struct place *p, uint32_t slot)
{
	while (p->from[slot] != NOWHERE) {
		p->holds[slot] = p->holds[p->from[slot]];
		slot = p->from[slot];
	}
	return slot;
}

/* --- adding --------------------------------------------------------------- */

static int item_add(struct place *p, const struct item *it)
{
	struct item *more;

	if (p->items == p->room) {
		p->room = p->room ? 2 * p->room : 256;
		more = realloc(p->item, p->room * sizeof(*more));
		if (more == NULL) {
			p->room = p->items;
			return -ENOMEM;
		}
		p->item = more;
	}
	p->item[p->items++] = *it;
	return 0;
}

int place_add(struct place *p, uint64_t hash, uint64_t word, uint64_t version,
	      uint32_t hint)
{
	struct item it = {.hash = hash, .word = word, .version = version};
	uint32_t choice[CHOICES], slot;
	int rc;

	choices(p, hash, choice);
	slot = free_choice(p, choice, hint);
	if (slot == NOWHERE) {
		slot = find_path(p, choice);
		if (slot == NOWHERE)
			return -ENOSPC;
		slot = shift_path(p, slot);
	}
	rc = item_add(p, &it);
	p->holds[slot] = rc == 0 ? p->items : 0;
	return rc;
}

int place_pin(struct place *p, uint32_t slot, uint64_t word, uint64_t version)
{
	struct item it = {.word = word, .version = version, .pinned = true};
	int rc;

	assert(slot < p->slots && p->holds[slot] == 0);
	rc = item_add(p, &it);
	if (rc == 0)
		p->holds[slot] = p->items;
	return rc;
}

void place_write(const struct place *p, struct slot *room)
{
	uint32_t s;

	for (s = 0; s < p->slots; s++) {
		const struct item *it;

		if (p->holds[s] == 0)
			continue;
		it = &p->item[p->holds[s] - 1];
		__atomic_store_n(&room[s].version, it->version,
				 __ATOMIC_RELAXED);
		__atomic_store_n(&room[s].word, it->word, __ATOMIC_RELEASE);
	}
}
