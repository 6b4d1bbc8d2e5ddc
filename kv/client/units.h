/* kv/client/units.h - which units of one open block may be written next.
 *
 *      0        bump                total
 *      |uuuu..uu|                   |      u taken   . given back, free again
 *
 * The bitmap of units given back is the truth; a short list of runs is an
 * index into part of it, so that taking costs a glance at most times. Units
 * that may differ between the copies of the block (a write that was given up)
 * are remembered as torn until they are taken, that is written, again.
 *
 * In a pool with durable checkpoints a unit that was taken at a cut may be
 * what a restart will read. Given back after the cut it is held: neither free
 * nor in use, until a later cut is durable.
 * Of a block that was opened again all units count as taken but those that were
 * obsolete; what was in it before is old: that is never given back here.
 * Pure. Threads: one at a time per struct. */
#ifndef ACESO_KV_CLIENT_UNITS_H
#define ACESO_KV_CLIENT_UNITS_H
#include <stdbool.h>
#include <stdint.h>

#define UNITS_RUNS_MAX 32u

struct units_run {
	uint32_t at, len;
};

struct units {
	uint32_t total;
	uint32_t bump;	 /* units never taken begin here */
	uint32_t free;	 /* given back, below bump */
	uint32_t torn_n; /* of these, torn */
	uint32_t nruns;
	bool more;	  /* the bitmap knows runs that the list does not: */
	uint32_t longest; /* of these, when last looked */
	uint32_t since;	  /* units given back since then */
	struct units_run run[UNITS_RUNS_MAX];
	uint64_t *given; /* bitmaps of @total bits, owned */
	uint64_t *torn;
	struct units_hold *hold; /* NULL: nothing is held back; units_hold.c */
	uint64_t *old;
	bool again; /* some are old */
};

/* A block of @total units (a multiple of 64), none taken. The struct is zeroed
 * or was cleared by units_clear() with the same @total. Errors: -ENOMEM. */
int units_open(struct units *u, uint32_t total);
void units_clear(struct units *u); /* as new; keeps its memory */
void units_close(struct units *u);

/* Of a new struct: a block opened again, whose free units are set in @map. */
void units_again(struct units *u, const uint64_t *map);

/* Take between @min and @want contiguous units, rather many, all multiples of
 * @min if @want is one: units given back first, the best fit of them. */
bool units_take(struct units *u, uint32_t min, uint32_t want,
		struct units_run *out);

/* Is any of [@at, + @len) old? */
bool units_is_old(const struct units *u, uint32_t at, uint32_t len);

/* Give back [@at, + @len). False, and nothing is done, if not all of it is
 * taken now, by this opener. */
bool units_give(struct units *u, uint32_t at, uint32_t len, bool torn);

/* How many units could be taken, in pieces. */
static inline uint32_t units_room(const struct units *u)
{
	return u->total - u->bump + u->free;
}

/* The next run of units given back (torn ones), at or after @from. */
bool units_next_given(const struct units *u, uint32_t from,
		      struct units_run *out);
bool units_next_torn(const struct units *u, uint32_t from,
		     struct units_run *out);

/* --- units_hold.c: all but the first do nothing without a hold ------------ */

/* Hold from now on. Once per struct; units_close() undoes. Errors: -ENOMEM. */
int units_hold_open(struct units *u);
void units_hold_close(struct units *u);
void units_hold_clear(struct units *u);

/* A cut is being made: nobody takes or gives. */
void units_hold_cut(struct units *u);
/* The last cut is durable: what was held before it is free. */
void units_hold_durable(struct units *u);
/* The block is closed: what is held is free, for none of it is taken again. */
void units_hold_end(struct units *u);
/* Some of [@at, + @len) was taken at the last cut. */
bool units_hold_cuts(const struct units *u, uint32_t at, uint32_t len);
/* Hold [@at, + @len), which is taken, if a cut may need it. */
bool units_hold_give(struct units *u, uint32_t at, uint32_t len);
/* Some of [@at, + @len) is held. */
bool units_hold_any(const struct units *u, uint32_t at, uint32_t len);

/* They were written alike in all copies. */
void units_mend(struct units *u);

/* Bitmaps of units, for units_hold.c: mark, unmark (returns how many were),
 * look. */
void units_map_set(uint64_t *map, uint32_t at, uint32_t len);
uint32_t units_map_unset(uint64_t *map, uint32_t at, uint32_t len);
bool units_map_any(const uint64_t *map, uint32_t at, uint32_t len);
bool units_map_next(const uint64_t *map, uint32_t from, uint32_t end,
		    struct units_run *out);
/* Given back for good. */
void units_add_free(struct units *u, uint32_t at, uint32_t len);

#endif
