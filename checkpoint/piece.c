/* checkpoint/piece.c - see piece.h. */
#include "checkpoint/piece.h"

#include <errno.h>

#include "ec/crc.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	       "formats are little-endian and used as they are");

int ckpt_size_check(uint64_t size)
{
	if (size == 0 || size % CKPT_PIECE_BYTES != 0)
		return -EINVAL;
	return size <= CKPT_REGION_BYTES_MAX ? 0 : -EINVAL;
}

uint32_t ckpt_piece_crc(const void *piece)
{
	return crc_of(0, piece, CKPT_PIECE_BYTES);
}

void ckpt_table_zero(uint32_t *table, uint32_t pieces)
{
	static const char zero[CKPT_PIECE_BYTES];
	uint32_t crc = ckpt_piece_crc(zero), i;

	for (i = 0; i < pieces; i++)
		table[i] = crc;
}

uint32_t ckpt_table_sum(const uint32_t *table, uint32_t pieces)
{
	return crc_of(0, table, pieces * sizeof(*table));
}
