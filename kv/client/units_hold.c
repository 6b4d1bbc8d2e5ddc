/* kv/client/units_hold.c - units that a durable checkpoint may need.
 *
 *	 taken at the cut --give--> held --next cut--> old --durable--> free
 *	 taken after it   --give-----------------------------------> free
 *
 * What is in @held or @old at a cut is dead in it. Before that one is durable a
 * restart may go back to an earlier one, in which it was alive. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kv/client/units.h"

struct units_hold {
	uint64_t *cut;	/* taken at the last cut */
	uint64_t *held; /* of these, given back since */
	uint64_t *old;	/* held when the last cut was made */
	bool any;	/* of the three has a bit set */
};

int units_hold_open(struct units *u)
{
	size_t bytes = u->total / 8;
	struct units_hold *h;

	if (u->hold != NULL)
		return 0;
	h = calloc(1, sizeof(*h) + 3 * bytes);
	if (h == NULL)
		return -ENOMEM;
	h->cut = (uint64_t *)(h + 1);
	h->held = h->cut + bytes / 8;
	h->old = h->held + bytes / 8;
	u->hold = h;
	return 0;
}

void units_hold_close(struct units *u)
{
	free(u->hold);
	u->hold = NULL;
}

void units_hold_clear(struct units *u)
{
	struct units_hold *h = u->hold;

	if (h == NULL || !h->any)
		return;
	memset(h->cut, 0, 3 * (size_t)(u->total / 8));
	h->any = false;
}

void units_hold_cut(struct units *u)
{
	struct units_hold *h = u->hold;

	if (h == NULL || u->bump == 0)
		return;
	for (uint32_t w = 0; w < u->total / 64; w++) {
		h->old[w] |= h->held[w];
		h->held[w] = 0;
		h->cut[w] = 0;
	}
	units_map_set(h->cut, 0, u->bump);
	for (uint32_t w = 0; w < u->total / 64; w++)
		h->cut[w] &= ~(u->given[w] | h->old[w]);
	h->any = true;
}

static void release(struct units *u, uint64_t *map)
{
	struct units_run run = {0, 0};

	while (units_map_next(map, run.at + run.len, u->bump, &run)) {
		units_map_unset(map, run.at, run.len);
		units_add_free(u, run.at, run.len);
	}
}

void units_hold_durable(struct units *u)
{
	if (u->hold != NULL && u->hold->any)
		release(u, u->hold->old);
}

void units_hold_end(struct units *u)
{
	if (u->hold == NULL || !u->hold->any)
		return;
	release(u, u->hold->old);
	release(u, u->hold->held);
}

bool units_hold_cuts(const struct units *u, uint32_t at, uint32_t len)
{
	const struct units_hold *h = u->hold;

	return h != NULL && h->any && units_map_any(h->cut, at, len);
}

bool units_hold_give(struct units *u, uint32_t at, uint32_t len)
{
	if (!units_hold_cuts(u, at, len))
		return false;
	units_map_set(u->hold->held, at, len);
	return true;
}

bool units_hold_any(const struct units *u, uint32_t at, uint32_t len)
{
	const struct units_hold *h = u->hold;

	return h != NULL && h->any &&
	       (units_map_any(h->held, at, len) ||
		units_map_any(h->old, at, len));
}
