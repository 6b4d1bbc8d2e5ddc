/* kv/client/units.c - a bitmap of units given back and an index of runs. */
#include "kv/client/units.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WORD_BITS 64u
#define LOOK_PART 64u /* of a block */

static size_t map_bytes(const struct units *u)
{
	return u->total / 8;
}

int units_open(struct units *u, uint32_t total)
{
	assert(total != 0 && total % WORD_BITS == 0);
	if (u->given != NULL) {
		assert(u->total == total);
		return 0;
	}
	u->given = calloc(1, total / 8);
	if (u->given == NULL)
		goto err;
	u->torn = calloc(1, total / 8);
	if (u->torn == NULL)
		goto err_free_given;
	u->old = calloc(1, total / 8);
	if (u->old == NULL)
		goto err_free_torn;
	u->total = total;
	return 0;

err_free_torn:
	free(u->torn);
	u->torn = NULL;
err_free_given:
	free(u->given);
	u->given = NULL;
err:
	return -ENOMEM;
}

void units_clear(struct units *u)
{
	/* Most blocks leave few bits; a clean bitmap is not touched. */
	if (u->free != 0)
		memset(u->given, 0, map_bytes(u));
	if (u->torn_n != 0)
		memset(u->torn, 0, map_bytes(u));
	units_hold_clear(u);
	if (u->again)
		memset(u->old, 0, map_bytes(u));
	u->again = false;
	u->bump = 0;
	u->free = 0;
	u->torn_n = 0;
	u->nruns = 0;
	u->more = false;
	u->longest = 0;
	u->since = 0;
}

void units_close(struct units *u)
{
	units_hold_close(u);
	free(u->given);
	free(u->torn);
	free(u->old);
	u->given = NULL;
	u->torn = NULL;
	u->old = NULL;
}

/* --- the bitmap ---------------------------------------------------------- */

/* The bits of word @w that lie in [at, end). */
static uint64_t mask_of(uint32_t w, uint32_t at, uint32_t end)
{
	uint32_t lo = w * WORD_BITS;
	uint64_t m = UINT64_MAX;

	if (at > lo)
		m &= UINT64_MAX << (at - lo);
	if (end < lo + WORD_BITS)
		m &= UINT64_MAX >> (lo + WORD_BITS - end);
	return m;
}

void units_map_set(uint64_t *map, uint32_t at, uint32_t len)
{
	uint32_t end = at + len;

	for (uint32_t w = at / WORD_BITS; w <= (end - 1) / WORD_BITS; w++)
		map[w] |= mask_of(w, at, end);
}

/* Returns how many were set. */
uint32_t units_map_unset(uint64_t *map, uint32_t at, uint32_t len)
{
	uint32_t end = at + len, n = 0;

	for (uint32_t w = at / WORD_BITS; w <= (end - 1) / WORD_BITS; w++) {
		uint64_t m = mask_of(w, at, end);

		n += (uint32_t)__builtin_popcountll(map[w] & m);
		map[w] &= ~m;
	}
	return n;
}

bool units_map_any(const uint64_t *map, uint32_t at, uint32_t len)
{
	uint32_t end = at + len;

	for (uint32_t w = at / WORD_BITS; w <= (end - 1) / WORD_BITS; w++)
		if (map[w] & mask_of(w, at, end))
			return true;
	return false;
}

/* The first bit at or after @from that is @set, or @end. */
static uint32_t map_find(const uint64_t *map, uint32_t from, uint32_t end,
			 bool set)
{
	while (from < end) {
		uint64_t w = map[from / WORD_BITS];

		w = (set ? w : ~w) >> (from % WORD_BITS);
		if (w != 0) {
			from += (uint32_t)__builtin_ctzll(w);
			return from < end ? from : end;
		}
		from = (from / WORD_BITS + 1) * WORD_BITS;
	}
	return end;
}

bool units_map_next(const uint64_t *map, uint32_t from, uint32_t end,
		    struct units_run *out)
{
	out->at = map_find(map, from, end, true);
	if (out->at == end)
		return false;
	out->len = map_find(map, out->at, end, false) - out->at;
	return true;
}

bool units_next_given(const struct units *u, uint32_t from,
		      struct units_run *out)
{
	return u->free != 0 && units_map_next(u->given, from, u->bump, out);
}

bool units_next_torn(const struct units *u, uint32_t from,
		     struct units_run *out)
{
	return u->torn_n != 0 && units_map_next(u->torn, from, u->bump, out);
}

void units_mend(struct units *u)
{
	if (u->torn_n != 0)
		memset(u->torn, 0, map_bytes(u));
	u->torn_n = 0;
}

/* --- the list of runs ---------------------------------------------------- */

static uint32_t runs_shortest(const struct units *u)
{
	uint32_t least = 0;

	for (uint32_t i = 1; i < u->nruns; i++)
		if (u->run[i].len < u->run[least].len)
			least = i;
	return least;
}

/* Build the list anew from the bitmap: the longest runs that fit in it. */
static void runs_refill(struct units *u)
{
	struct units_run r = {0, 0};
	uint32_t least = 0;

	u->nruns = 0;
	u->more = false;
	for (uint32_t from = 0; units_next_given(u, from, &r);
	     from = r.at + r.len) {
		if (u->nruns < UNITS_RUNS_MAX) {
			u->run[u->nruns++] = r;
			least = runs_shortest(u);
			continue;
		}
		u->more = true;
		if (r.len <= u->run[least].len)
			continue;
		u->run[least] = r;
		least = runs_shortest(u);
	}
}

/* The list has nothing of @want units; if the bitmap may, look there. A look is
 * dear, so what it found of the longest is believed until much more was given
 * back (a run that is long by itself gets into the list at once). */
static bool look(struct units *u, uint32_t want)
{
	if (!u->more || (want > u->longest && u->since < u->total / LOOK_PART))
		return false;
	runs_refill(u);
	u->since = 0;
	u->longest = u->more ? u->run[runs_shortest(u)].len : 0;
	return true;
}

/* The smallest run of at least @want; else the largest of at least @min; else
 * nruns. */
static uint32_t runs_fit(const struct units *u, uint32_t min, uint32_t want)
{
	uint32_t best = u->nruns, big = u->nruns;

	for (uint32_t i = 0; i < u->nruns; i++) {
		uint32_t len = u->run[i].len;

		if (len == want)
			return i;
		if (len > want && (best == u->nruns || len < u->run[best].len))
			best = i;
		if (len >= min && (big == u->nruns || len > u->run[big].len))
			big = i;
	}
	return best != u->nruns ? best : big;
}

static void runs_cut(struct units *u, uint32_t i, uint32_t len)
{
	u->run[i].at += len;
	u->run[i].len -= len;
	if (u->run[i].len == 0)
		u->run[i] = u->run[--u->nruns];
}

/* The list is full: the shortest, or [@at, + @len), is only in the bitmap. */
static void runs_overflow(struct units *u, uint32_t at, uint32_t len)
{
	struct units_run *least = &u->run[runs_shortest(u)];
	uint32_t out = len;

	if (len > least->len) {
		out = least->len;
		*least = (struct units_run){at, len};
	}
	if (!u->more || out > u->longest)
		u->longest = out;
	u->more = true;
}

static void runs_add(struct units *u, uint32_t at, uint32_t len)
{
	for (uint32_t i = 0; i < u->nruns;) {
		struct units_run r = u->run[i];

		if (r.at + r.len != at && at + len != r.at) {
			i++;
			continue;
		}
		/* Beside it: make them one. */
		at = at < r.at ? at : r.at;
		len += r.len;
		u->run[i] = u->run[--u->nruns];
	}
	if (u->nruns < UNITS_RUNS_MAX)
		u->run[u->nruns++] = (struct units_run){at, len};
	else
		runs_overflow(u, at, len);
}

void units_again(struct units *u, const uint64_t *map)
{
	u->again = true;
	u->bump = u->total;
	for (uint32_t w = 0; w < u->total / WORD_BITS; w++) {
		u->given[w] = map[w];
		u->old[w] = ~map[w];
		u->free += (uint32_t)__builtin_popcountll(map[w]);
	}
	runs_refill(u);
	u->longest = u->more ? u->run[runs_shortest(u)].len : 0;
}

bool units_is_old(const struct units *u, uint32_t at, uint32_t len)
{
	return u->again && len != 0 && at < u->total && len <= u->total - at &&
	       units_map_any(u->old, at, len);
}

/* --- taking and giving --------------------------------------------------- */

static uint32_t no_more_than(uint32_t have, uint32_t min, uint32_t want)
{
	if (have >= want)
		return want;
	return want % min == 0 ? have - have % min : have;
}

static bool take_given(struct units *u, uint32_t min, uint32_t want,
		       struct units_run *out)
{
	uint32_t i = runs_fit(u, min, want);

	if (i == u->nruns)
		return false;
	out->at = u->run[i].at;
	out->len = no_more_than(u->run[i].len, min, want);
	runs_cut(u, i, out->len);
	u->free -= out->len;
	units_map_unset(u->given, out->at, out->len);
	if (u->torn_n != 0)
		u->torn_n -= units_map_unset(u->torn, out->at, out->len);
	return true;
}

static bool take_new(struct units *u, uint32_t min, uint32_t want,
		     struct units_run *out)
{
	uint32_t left = u->total - u->bump;

	if (left < min)
		return false;
	out->at = u->bump;
	out->len = no_more_than(left, min, want);
	u->bump += out->len;
	return true;
}

bool units_take(struct units *u, uint32_t min, uint32_t want,
		struct units_run *out)
{
	assert(min != 0 && min <= want);
	/* Whole first: a piece that is too short only when nothing else is. */
	if (u->nruns != 0 && take_given(u, want, want, out))
		return true;
	if (u->total - u->bump >= want)
		return take_new(u, min, want, out);
	if (look(u, want) && take_given(u, want, want, out))
		return true;
	if (take_given(u, min, want, out) || take_new(u, min, want, out))
		return true;
	return min < want && look(u, min) && take_given(u, min, want, out);
}

void units_add_free(struct units *u, uint32_t at, uint32_t len)
{
	units_map_set(u->given, at, len);
	u->free += len;
	u->since += len;
	runs_add(u, at, len);
}

bool units_give(struct units *u, uint32_t at, uint32_t len, bool torn)
{
	if (len == 0 || at > u->bump || len > u->bump - at ||
	    units_map_any(u->given, at, len) || units_hold_any(u, at, len) ||
	    units_is_old(u, at, len))
		return false;
	if (torn) {
		units_map_set(u->torn, at, len);
		u->torn_n += len;
	}
	if (!units_hold_give(u, at, len))
		units_add_free(u, at, len);
	return true;
}
