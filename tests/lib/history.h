/* tests/lib/history.h - what clients did to a store and were told, in time,
 * and whether one store at one place could have told the same [I9].
 *
 * A change of several keys is one act. An act whose answer never came (its
 * client died, or it timed out) may have taken place, at any time since, or
 * not; all of it or nothing. So what is checked is strict serializability of
 * everything that was recorded.
 *
 * A value is told by a number of its own, never 0. Of versions it is known:
 * they only grow; a put takes the next one; an act of several keys may take
 * more, whether it succeeds or not: a key that such an act names may change
 * its version, not its value, at any time (kv/client/txn.h, T3). So may one
 * that was written last by an act of unknown end: others commit it again in a
 * dead client's place (kv/client/decide.c).
 *
 * One thread. */
#ifndef ACESO_TESTS_LIB_HISTORY_H
#define ACESO_TESTS_LIB_HISTORY_H
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "kv/kv.h"

#define HISTORY_KEYS_MAX  256u
#define HISTORY_PARTS_MAX 4u

/* One key of an act: what was asked and what was told of it. */
struct history_part {
	uint8_t kind;	  /* enum kv_kind */
	uint32_t key;	  /* < HISTORY_KEYS_MAX */
	uint64_t value;	  /* written, or told by a GET */
	uint64_t expect;  /* PUT_IF, DEL; in a txn also GET */
	uint64_t version; /* told on success; 0: was not */
	int status;	  /* of its own, in a txn */
};

struct history;

struct history *history_new(void);
void history_free(struct history *h);

/* An act begins at @now: returns its number. */
uint32_t history_begin(struct history *h, uint32_t who, uint64_t now,
		       const struct history_part *part, uint32_t n, bool txn);

/* It ended with @rc, and what was told (GET: value; versions; statuses) is in
 * @part, as many as it began with. */
void history_end(struct history *h, uint32_t act, uint64_t now, int rc,
		 const struct history_part *part);

/* It ended, but nobody knows how; also what never ends. */
void history_unknown(struct history *h, uint32_t act);

/* It did nothing, for a reason that does not lie in the keys. */
void history_void(struct history *h, uint32_t act);

/* How many acts there are, and how many of them nobody knows the end of. */
uint32_t history_acts(const struct history *h);
uint32_t history_unknowns(const struct history *h);

/* True if there is an order. If not, the acts around where none could be found
 * are written to @to (may be NULL). */
bool history_check(const struct history *h, FILE *to);

#endif
