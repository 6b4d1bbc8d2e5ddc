#include "ec/block.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

_Static_assert(__BYTE_ORDER == __LITTLE_ENDIAN,
	       "records lie in memory as they are: little-endian");
_Static_assert(offsetof(struct block_rec, state) == 8, "state at 8");
_Static_assert(offsetof(struct block_rec, owner) == 12, "owner at 12");
_Static_assert(offsetof(struct block_rec, progress) == 24, "progress at 24");
_Static_assert(offsetof(struct block_rec, life) == 36, "life at 36");
_Static_assert(offsetof(struct block_rec, opened) == 40, "opened at 40");
_Static_assert(offsetof(struct block_rec, sealed) == 48, "sealed at 48");

#define REC_WORDS (sizeof(struct block_rec) / 8)

static const char *const state_names[] = {
	[BLOCK_FREE] = "free",	   [BLOCK_OPEN] = "open",
	[BLOCK_SEALED] = "sealed", [BLOCK_FOLDING] = "folding",
	[BLOCK_FOLDED] = "folded", [BLOCK_RETIRING] = "retiring",
};
#define STATES (sizeof(state_names) / sizeof(state_names[0]))

/* Bit t of moves[f]: from f to t. */
#define TO(s) (1u << (s))
static const uint8_t moves[STATES] = {
	[BLOCK_FREE] = TO(BLOCK_OPEN),
	/* FREE: cancelled, or sealed empty; FOLDED: a ROW */
	[BLOCK_OPEN] = TO(BLOCK_FREE) | TO(BLOCK_SEALED) | TO(BLOCK_FOLDED),
	/* FREE: on the data node */
	[BLOCK_SEALED] =
		TO(BLOCK_FOLDING) | TO(BLOCK_RETIRING) | TO(BLOCK_FREE),
	[BLOCK_FOLDING] = TO(BLOCK_FOLDED) | TO(BLOCK_RETIRING),
	[BLOCK_FOLDED] = TO(BLOCK_RETIRING),
	/* OPEN: again; SEALED, FOLDED: given up, see again.h */
	[BLOCK_RETIRING] = TO(BLOCK_FREE) | TO(BLOCK_OPEN) | TO(BLOCK_SEALED) |
			   TO(BLOCK_FOLDED),
};

const char *block_state_name(uint8_t state)
{
	return state < STATES ? state_names[state] : "unknown";
}

bool block_may_move(uint8_t from, uint8_t to)
{
	return from < STATES && to < STATES && (moves[from] & TO(to)) != 0;
}

/* A sequence lock over 8 words. The words are copied one by one as atomics, so
 * that a reader on this node never sees half a word, and a remote one at worst
 * half a record, which the seq then tells. */
void block_load(const struct block_rec *rec, struct block_rec *out)
{
	const uint64_t *from = (const uint64_t *)rec;
	uint64_t *to = (uint64_t *)out;
	uint64_t seq;

	do {
		seq = __atomic_load_n(&from[0], __ATOMIC_ACQUIRE);
		for (size_t i = 1; i < REC_WORDS; i++)
			to[i] = __atomic_load_n(&from[i], __ATOMIC_ACQUIRE);
		to[0] = __atomic_load_n(&from[0], __ATOMIC_RELAXED);
	} while (seq != to[0] || seq % 2 != 0);
}

void block_publish(struct block_rec *rec, const struct block_rec *in)
{
	const uint64_t *from = (const uint64_t *)in;
	uint64_t *to = (uint64_t *)rec;
	uint64_t seq = __atomic_load_n(&to[0], __ATOMIC_RELAXED);

	assert(seq % 2 == 0); /* one writer */
	__atomic_store_n(&to[0], seq + 1, __ATOMIC_RELAXED);
	for (size_t i = 1; i < REC_WORDS; i++)
		__atomic_store_n(&to[i], from[i], __ATOMIC_RELEASE);
	/* What the change stands for (bytes of a parity) comes before it, and
	 * what follows must not come before it either: the next step's bytes
	 * are written only once all can see that they are in flux. So this is
	 * an exchange, which nothing passes. (No fences: tsan knows none.) */
	__atomic_exchange_n(&to[0], seq + 2, __ATOMIC_SEQ_CST);
}

bool block_in_parity(const struct block_rec *rec, uint32_t *lo, uint32_t *hi)
{
	uint32_t p = rec->progress;

	if (rec->kind == BLOCK_ROWS && rec->state != BLOCK_FREE)
		return *lo < *hi; /* its writer made the parity */
	switch (rec->state) {
	case BLOCK_FOLDED:
		break;
	case BLOCK_FOLDING:
		*hi = *hi < p ? *hi : p;
		break;
	case BLOCK_RETIRING:
		*lo = *lo > p ? *lo : p;
		break;
	default:
		*hi = *lo;
	}
	if (*hi < *lo)
		*hi = *lo;
	return *lo < *hi;
}

bool block_in_flux(const struct block_rec *rec, uint32_t lo, uint32_t hi)
{
	uint32_t from = rec->progress;
	uint32_t to = from + rec->busy * BLOCK_FOLD_STEP;

	if (rec->busy == 0)
		return false;
	return lo < to && from < hi;
}

static bool rec_sane(const struct group *g, const struct block_rec *rec)
{
	if (rec->state >= STATES || rec->kind > BLOCK_ROWS)
		return false;
	if (rec->state != BLOCK_FREE && rec->kind == 0)
		return false;
	if (rec->used > g->block_bytes || rec->progress > g->block_bytes ||
	    rec->progress % BLOCK_FOLD_STEP != 0)
		return false;
	if (rec->delta > g->deltas)
		return false;
	return rec->dead <= g->block_bytes / GROUP_UNIT_BYTES;
}

int block_rec_check(const struct group *g, const struct block_rec *rec)
{
	return rec_sane(g, rec) ? 0 : -EBADMSG;
}
