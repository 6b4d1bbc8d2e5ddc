/* kv/node/homing.c - see homing.h. */
#include "kv/node/homing.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "kv/slot.h"

#define PIECE_BYTES (256u * 1024)
#define PAGE_BYTES  4096u
#define READ_NS	    UINT64_C(500000000)

struct homing {
	struct fab *fab;
	uint8_t source;
	uint64_t from; /* in the source's region */
	char *to;
	uint64_t bytes, at;
	uint64_t keys;
	char piece[PIECE_BYTES];
};

int homing_open(const struct layout *l, struct fab *f, uint32_t id,
		uint32_t shard, uint32_t source, void *region,
		struct homing **out)
{
	uint64_t to = layout_shard_off(l, shard, id);
	uint64_t from = layout_shard_off(l, shard, source);
	struct homing *h;

	if (to == UINT64_MAX || from == UINT64_MAX)
		return -EINVAL;
	h = aligned_alloc(64, (sizeof(*h) + 63) / 64 * 64);
	if (h == NULL)
		return -ENOMEM;
	h->fab = f;
	h->source = (uint8_t)source;
	h->from = from;
	h->to = (char *)region + to;
	h->bytes = slot_shard_bytes(l->index_groups);
	h->at = 0;
	h->keys = 0;
	*out = h;
	return 0;
}

void homing_close(struct homing *h)
{
	free(h);
}

static bool is_zero(const char *p, size_t len)
{
	return p[0] == 0 && memcmp(p, p + 1, len - 1) == 0;
}

/* The room is zeroed: what holds nothing takes no memory. */
static void put_piece(struct homing *h, size_t len)
{
	for (size_t at = 0; at < len; at += PAGE_BYTES) {
		size_t part = len - at < PAGE_BYTES ? len - at : PAGE_BYTES;

		if (!is_zero(h->piece + at, part))
			memcpy(h->to + h->at + at, h->piece + at, part);
	}
	for (size_t at = 0; at < len; at += sizeof(struct slot)) {
		struct slot slot;

		memcpy(&slot, h->piece + at, sizeof(slot));
		h->keys += slot.word != 0;
	}
}

int homing_step(struct homing *h, struct proto_rebuilt *out)
{
	uint64_t left = h->bytes - h->at;
	uint32_t len = left < PIECE_BYTES ? (uint32_t)left : PIECE_BYTES;
	struct fab_op op;
	struct fab_batch b = {.ops = &op, .n = 1};

	b.deadline_ns = fab_now(h->fab) + READ_NS;
	fab_read(&op, h->source, h->from + h->at, h->piece, len);
	if (fab_run(h->fab, &b) != 0 || op.status != 0)
		return -ESTALE;
	put_piece(h, len);
	h->at += len;
	if (h->at < h->bytes)
		return 1;
	*out = (struct proto_rebuilt){.bytes = h->bytes, .keys = h->keys};
	return 0;
}
