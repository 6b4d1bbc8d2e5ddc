/* checkpoint/piece.h - a region is looked at in pieces; a sum over the CRCs of
 * all pieces names its whole content. Pure; any thread. */
#ifndef ACESO_CHECKPOINT_PIECE_H
#define ACESO_CHECKPOINT_PIECE_H
#include <stdint.h>

#define CKPT_PIECE_BYTES 4096u
#define CKPT_PIECE_WORDS (CKPT_PIECE_BYTES / 8)
/* 2^24 pieces: numbers and loops stay far from 32 bits' end. */
#define CKPT_REGION_BYTES_MAX (UINT64_C(1) << 36)

/* 0, or -EINVAL for a size that no region has: 0, not a multiple of
 * CKPT_PIECE_BYTES, beyond CKPT_REGION_BYTES_MAX. */
int ckpt_size_check(uint64_t size);

static inline uint32_t ckpt_pieces(uint64_t size)
{
	return (uint32_t)(size / CKPT_PIECE_BYTES);
}

uint32_t ckpt_piece_crc(const void *piece);

/* Fill the table of a region of @pieces zeroed pieces. */
void ckpt_table_zero(uint32_t *table, uint32_t pieces);

/* The region's sum, from the CRCs of its pieces. */
uint32_t ckpt_table_sum(const uint32_t *table, uint32_t pieces);

#endif
