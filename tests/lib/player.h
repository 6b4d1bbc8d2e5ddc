/* tests/lib/player.h - clients that do things to a few keys, remember in a
 * history what they did and were told, and look closely at what they read:
 * every value tells by its number what all its bytes, and those of its pages,
 * must be. What cannot be right at all fails the test at once; the rest
 * history_check() finds.
 *
 * Keys from STAGE_PAGES_FROM on have values with pages, and are changed as a
 * file system does it: by insert, put_if and del at a version alone; pages are
 * given back when nobody names them any more. */
#ifndef ACESO_TESTS_LIB_PLAYER_H
#define ACESO_TESTS_LIB_PLAYER_H
#include "tests/lib/cluster.h"
#include "tests/lib/history.h"

#define STAGE_KEYS_MAX	 256u
#define STAGE_PAGES_FROM 64u /* keys with pages */
#define STAGE_PAGES_MAX	 16u /* of a value */

/* What all players share. */
struct stage {
	struct cluster *c;
	struct history *h;
	uint64_t serial;      /* the last value */
	uint32_t value_max;   /* bytes; 0: 1000 */
	uint32_t pages_least; /* of values that have any */
	uint32_t refused_for_space;
	uint32_t looked_twice; /* pages that were gone when they were read */
};

/* The newest value that a player knows of a key. */
struct player_note {
	uint64_t version, value; /* value 0: none known */
	uint32_t pages;
	struct kv_page page[STAGE_PAGES_MAX];
};

struct player {
	struct stage *stage;
	struct kv *kv;
	uint32_t id;
	bool dead; /* set it with cluster_client_kill() */
	struct player_note note[STAGE_KEYS_MAX];
};

void player_init(struct player *p, struct stage *s, uint32_t id);

/* One change or read of @key. PUT_IF, and DEL of keys with pages, are at the
 * version that this player knows (if it knows none it reads instead). The
 * value is a new one. Returns what the store said. */
int player_do(struct player *p, uint8_t kind, uint32_t key);

/* Several at once: kinds PUT_IF, INSERT, DEL, GET (as a check), at the known
 * versions. Keys without pages. */
int player_txn(struct player *p, const uint8_t *kind, const uint32_t *key,
	       uint32_t n);

/* Several side by side (kv_run), each an act of its own; no pages. */
void player_run(struct player *p, const uint8_t *kind, const uint32_t *key,
		uint32_t n);

/* Read all keys below @n (and those with pages below STAGE_PAGES_FROM + @n). */
void player_read_all(struct player *p, uint32_t keys, uint32_t page_keys);

#endif
