/* checkpoint/snapshot.c - see snapshot.h. */
#include "checkpoint/snapshot.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct ckpt_snap {
	uint64_t size;
	uint64_t *copy;
	uint32_t *table; /* CRCs of the copy's pieces */
	uint64_t was[CKPT_PIECE_WORDS];
};

int ckpt_snap_open(uint64_t size, struct ckpt_snap **out)
{
	struct ckpt_snap *s;
	int rc = ckpt_size_check(size);

	if (rc != 0)
		return rc;
	s = calloc(1, sizeof(*s));
	if (s == NULL)
		return -ENOMEM;
	s->size = size;
	s->copy = calloc(1, size); /* from the system when first written */
	if (s->copy == NULL)
		goto err_free_snap;
	s->table = malloc(ckpt_pieces(size) * sizeof(*s->table));
	if (s->table == NULL)
		goto err_free_copy;
	ckpt_table_zero(s->table, ckpt_pieces(size));
	*out = s;
	return 0;

err_free_copy:
	free(s->copy);
err_free_snap:
	free(s);
	return -ENOMEM;
}

void ckpt_snap_close(struct ckpt_snap *s)
{
	if (s == NULL)
		return;
	free(s->table);
	free(s->copy);
	free(s);
}

/* Others write the original with atomic operations of other processes, or of a
 * network card: each word is loaded once and whole. */
static inline uint64_t live_word(const uint64_t *w)
{
	return __atomic_load_n(w, __ATOMIC_RELAXED);
}

static bool piece_differs(const uint64_t *live, const uint64_t *copy)
{
	uint64_t diff;
	uint32_t i, j;

	for (i = 0; i < CKPT_PIECE_WORDS; i += 8) {
		diff = 0;
		for (j = i; j < i + 8; j++)
			diff |= live_word(&live[j]) ^ copy[j];
		if (diff != 0)
			return true;
	}
	return false;
}

static void piece_take(struct ckpt_snap *s, const uint64_t *live,
		       uint32_t piece)
{
	uint64_t *copy = s->copy + (size_t)piece * CKPT_PIECE_WORDS;
	uint32_t i;

	memcpy(s->was, copy, sizeof(s->was));
	for (i = 0; i < CKPT_PIECE_WORDS; i++)
		copy[i] = live_word(&live[i]);
	s->table[piece] = ckpt_piece_crc(copy);
}

uint32_t ckpt_snap_next(struct ckpt_snap *s, const void *live, uint32_t from,
			uint32_t to, const uint64_t **was)
{
	const uint64_t *words = live;
	uint32_t p;

	assert(to <= ckpt_pieces(s->size));
	for (p = from; p < to; p++) {
		const uint64_t *at = words + (size_t)p * CKPT_PIECE_WORDS;

		if (!piece_differs(at, ckpt_snap_piece(s, p)))
			continue;
		piece_take(s, at, p);
		*was = s->was;
		return p;
	}
	return to;
}

uint64_t ckpt_snap_size(const struct ckpt_snap *s)
{
	return s->size;
}

const uint64_t *ckpt_snap_piece(const struct ckpt_snap *s, uint32_t piece)
{
	return s->copy + (size_t)piece * CKPT_PIECE_WORDS;
}

uint32_t ckpt_snap_sum(const struct ckpt_snap *s)
{
	return ckpt_table_sum(s->table, ckpt_pieces(s->size));
}
