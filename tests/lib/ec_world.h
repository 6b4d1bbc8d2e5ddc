/* tests/lib/ec_world.h - an ec_pool in which clients open, write, close and
 * give back blocks at random, while nodes die, are replaced and rebuilt: one
 * step at a time, all from a seed. Failures abort the test by cmocka's asserts.
 */
#ifndef ACESO_TESTS_LIB_EC_WORLD_H
#define ACESO_TESTS_LIB_EC_WORLD_H
#include <stdbool.h>
#include <stdint.h>

#include "ec/rebuild.h"
#include "kv/node/ahead.h"
#include "tests/lib/ec_pool.h"

#define WORLD_BLOCK  (64u << 10)
#define WORLD_LIVING 64u

enum place { NONE, OPEN, STOPPED, SEALED }; /* STOPPED: open, not written */

struct world {
	struct ec_pool p;
	struct ec_block b[WORLD_LIVING];
	uint8_t place[WORLD_LIVING];
	uint32_t used[WORLD_LIVING];
	uint64_t seed;
	bool returns;  /* nodes come back with their memory, most of them */
	uint64_t kept; /* bytes that these had */
	/* the rebuild under way */
	struct rebuild *r;
	struct ahead *ahead; /* a thread beside it, or NULL */
	uint32_t node;
	unsigned
		traffic; /* one step of others in so many operations; 0: none */
	unsigned ops, stop_at;
	void (*stop)(struct world *w);
	/* a mark that the leader is still to hear of */
	bool late;
	struct ec_block late_b;
	uint32_t late_role, late_at;
	/* what happened */
	unsigned retired, waits, restarts, deaths, lates, early;
};

/* A pool of @n nodes in which something has been done. */
void world_begin(struct world *w, uint32_t n, uint32_t k, uint32_t m,
		 uint64_t seed);
/* Closes and gives back all there is, and sees that nothing is left. */
void world_end(struct world *w);

uint64_t world_dice(struct world *w, uint64_t n);
/* A block in that place, or WORLD_LIVING. */
uint32_t world_pick(struct world *w, uint8_t place);
void world_step(struct world *w);
void world_close_one(struct world *w, uint32_t i);

/* Clients give up open blocks that are on it; of others its delta. */
void world_die(struct world *w, uint32_t node);
/* What lacks a delta on the new node is closed; its seal may come later. */
void world_replace(struct world *w, uint32_t node);

void world_rebuild_begin(struct world *w, uint32_t node);
int world_rebuild_one(struct world *w);
/* A @stop that has whoever drives the rebuild end it there. */
void world_count_stop(struct world *w);
/* It waits for something that others do. */
void world_let_others(struct world *w, int why);
void world_rebuild_all(struct world *w);
/* It is whole: as the others have it, and readable without any m others. */
void world_back(struct world *w);
void world_read_all(struct world *w);

#endif
