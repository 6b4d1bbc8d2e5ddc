/* ec/alloc_bits.h - a set of small numbers with its size and a first member
 * found quickly. Private to alloc and fold; under alloc's lock. */
#ifndef ACESO_EC_ALLOC_BITS_H
#define ACESO_EC_ALLOC_BITS_H
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#define BITS_NONE UINT32_MAX

struct bits {
	uint64_t *word;
	uint32_t words;
	uint32_t low; /* no word below has a bit set */
	uint64_t n;   /* bits set */
};

static inline int bits_open(struct bits *b, uint32_t size)
{
	b->words = size / 64 + 1;
	b->low = 0;
	b->n = 0;
	b->word = calloc(b->words, sizeof(uint64_t));
	return b->word != NULL ? 0 : -ENOMEM;
}

static inline void bits_close(struct bits *b)
{
	free(b->word);
}

static inline bool bits_has(const struct bits *b, uint32_t i)
{
	return (b->word[i / 64] >> (i % 64) & 1) != 0;
}

static inline void bits_put(struct bits *b, uint32_t i, bool in)
{
	uint64_t bit = UINT64_C(1) << (i % 64);

	if (bits_has(b, i) == in)
		return;
	b->word[i / 64] ^= bit;
	b->n += in ? 1 : (uint64_t)-1;
	if (in && i / 64 < b->low)
		b->low = i / 64;
}

/* The first member that is >= @from. */
static inline uint32_t bits_next(struct bits *b, uint32_t from)
{
	uint32_t i = from / 64;
	uint64_t w;

	while (b->low < b->words && b->word[b->low] == 0)
		b->low++;
	if (i < b->low) {
		i = b->low;
		from = i * 64;
	}
	for (; i < b->words; i++, from = i * 64) {
		w = b->word[i] & (UINT64_MAX << (from % 64));
		if (w != 0)
			return i * 64 + (uint32_t)__builtin_ctzll(w);
	}
	return BITS_NONE;
}

/* The last member that is < @end. */
static inline uint32_t bits_last(const struct bits *b, uint32_t end)
{
	uint32_t i = (end + 63) / 64;
	uint64_t w;

	while (b->n != 0 && i-- > 0) {
		w = b->word[i];
		if (end - i * 64 < 64)
			w &= (UINT64_C(1) << (end - i * 64)) - 1;
		if (w != 0)
			return i * 64 + 63 - (uint32_t)__builtin_clzll(w);
	}
	return BITS_NONE;
}

#endif
