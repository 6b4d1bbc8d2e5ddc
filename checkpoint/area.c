/* checkpoint/area.c - where an image's parts lie, and its heads: image.h. */
#include <errno.h>
#include <string.h>

#include "checkpoint/image.h"
#include "ec/crc.h"

#define AREA_HEADS_BYTES 4096u
#define AREA_HEAD_STRIDE 1024u /* a torn page harms both, a torn sector one */

static uint64_t table_bytes(uint64_t size)
{
	uint64_t bytes = ckpt_pieces(size) * sizeof(uint32_t);

	return (bytes + CKPT_PIECE_BYTES - 1) / CKPT_PIECE_BYTES *
	       CKPT_PIECE_BYTES;
}

uint64_t ckpt_area_head(uint32_t buffer)
{
	return (uint64_t)buffer * AREA_HEAD_STRIDE;
}

uint64_t ckpt_area_table(uint64_t size, uint32_t buffer)
{
	return AREA_HEADS_BYTES + buffer * table_bytes(size);
}

uint64_t ckpt_area_buffer(uint64_t size, uint32_t buffer)
{
	return ckpt_area_table(size, 2) + buffer * size;
}

uint64_t ckpt_area_land(uint64_t size)
{
	return ckpt_area_buffer(size, 2);
}

uint64_t ckpt_area_bytes(uint64_t size)
{
	return ckpt_area_land(size) + CKPT_DIFF_BYTES_MAX;
}

static uint32_t head_crc(const struct ckpt_image_head *h)
{
	struct ckpt_image_head copy = *h;

	copy.crc = 0;
	return crc_of(0, &copy, sizeof(copy));
}

void ckpt_head_write(struct ckpt_image_head *to, uint32_t region, uint64_t size,
		     uint64_t version, uint64_t note, uint32_t sum)
{
	struct ckpt_image_head h = {
		.magic = CKPT_IMAGE_MAGIC,
		.format = CKPT_IMAGE_FORMAT,
		.region = region,
		.size = size,
		.version = version,
		.note = note,
		.sum = sum,
	};

	h.crc = head_crc(&h);
	h.magic = 0;
	memcpy(to, &h, sizeof(h));
	/* after the bytes and the rest of the head: M1 */
	__atomic_store_n(&to->magic, CKPT_IMAGE_MAGIC, __ATOMIC_RELEASE);
}

void ckpt_head_clear(struct ckpt_image_head *h)
{
	/* before what follows: M1 */
	__atomic_exchange_n(&h->magic, 0, __ATOMIC_SEQ_CST);
}

int ckpt_head_check(const struct ckpt_image_head *h, uint32_t region,
		    uint64_t size)
{
	if (h->magic != CKPT_IMAGE_MAGIC || h->format != CKPT_IMAGE_FORMAT)
		return -EBADMSG;
	if (h->region != region || h->size != size || h->version == 0)
		return -EBADMSG;
	return h->crc == head_crc(h) ? 0 : -EBADMSG;
}
