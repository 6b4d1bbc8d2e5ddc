/* tests/fuzz/diff.c - a checkpoint's message, as a peer ships it, and the head
 * of an image. The CRCs are made right first, or nothing would get past. */
#include <stdlib.h>
#include <string.h>

#include "checkpoint/diff.h"
#include "checkpoint/image.h"
#include "checkpoint/piece.h"
#include "ec/crc.h"
#include "tests/lib/fuzz.h"
#include "tests/lib/must.h"

#define REGION	     2u
#define REGION_BYTES (UINT64_C(64) * CKPT_PIECE_BYTES)

static void mend_diff(uint8_t *msg, size_t size)
{
	struct ckpt_diff_head h;

	if (size < sizeof(h))
		return;
	memcpy(&h, msg, sizeof(h));
	h.magic = CKPT_DIFF_MAGIC;
	h.format = CKPT_DIFF_FORMAT;
	h.packed = (uint32_t)(size - sizeof(h));
	h.crc = 0;
	memcpy(msg, &h, sizeof(h));
	h.crc = crc_of(0, msg, size);
	memcpy(msg, &h, sizeof(h));
}

static void look_diff(const uint8_t *msg, size_t size)
{
	static uint64_t scratch[CKPT_DIFF_RAW_MAX / 8 + 1];
	struct ckpt_diff d;
	uint64_t sum = 0;

	if (ckpt_diff_decode(msg, size, scratch, &d) != 0)
		return;
	must(ckpt_size_check(d.head.size) == 0);
	must(d.head.to > d.head.from);
	for (uint32_t i = 0; i < d.head.pieces; i++) {
		must(d.number[i] < ckpt_pieces(d.head.size));
		must(i == 0 || d.number[i] > d.number[i - 1]);
		for (size_t w = 0; w < CKPT_PIECE_BYTES / 8; w++)
			sum += d.bytes[i * (CKPT_PIECE_BYTES / 8) + w];
	}
	must(sum + 1 != 0 || d.head.pieces > 0);
}

/* A region's number and size are known before its image is looked for. */
static void look_head(const uint8_t *data, size_t size)
{
	struct ckpt_image_head h = {.magic = 0};

	memcpy(&h, data, size < sizeof(h) ? size : sizeof(h));
	if (ckpt_head_check(&h, REGION, REGION_BYTES) == 0)
		must(h.region == REGION && h.size == REGION_BYTES &&
		     h.version >= 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy;

	look_head(data, size);
	look_diff(data, size);
	copy = malloc(size + 1);
	if (copy == NULL)
		return 0;
	memcpy(copy, data, size);
	mend_diff(copy, size);
	look_diff(copy, size);
	free(copy);
	return 0;
}

void fuzz_seeds(void)
{
	uint64_t was[CKPT_PIECE_BYTES / 8] = {0};
	uint64_t is[CKPT_PIECE_BYTES / 8] = {1, 2, 3};
	struct ckpt_diff_head h = {.flags = CKPT_DIFF_LAST,
				   .region = REGION,
				   .size = REGION_BYTES,
				   .from = 3,
				   .to = 4};
	struct ckpt_image_head head;
	uint8_t *msg = malloc(CKPT_DIFF_BYTES_MAX);
	struct ckpt_pack *p;

	if (msg == NULL || ckpt_pack_open(&p) != 0)
		abort();
	ckpt_pack_add(p, 3, was, is);
	fuzz_seed(msg, ckpt_pack_end(p, &h, msg));
	ckpt_pack_add(p, 5, was, is);
	ckpt_pack_add(p, 9, NULL, is);
	ckpt_pack_add(p, 63, NULL, is);
	h.flags = 0;
	fuzz_seed(msg, ckpt_pack_end(p, &h, msg));
	ckpt_pack_close(p);
	free(msg);
	ckpt_head_write(&head, REGION, REGION_BYTES, 7, 8, 9);
	fuzz_seed(&head, sizeof(head));
}
