/* checkpoint/diff.c - see diff.h. */
#include "checkpoint/diff.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <lz4.h>

#include "ec/crc.h"

/* Whatever was added, a message fits where it lands. */
_Static_assert(sizeof(struct ckpt_diff_head) +
			       LZ4_COMPRESSBOUND(CKPT_DIFF_RAW_MAX) <=
		       CKPT_DIFF_BYTES_MAX,
	       "a full message is within its limit");

struct ckpt_pack {
	uint32_t pieces;
	uint32_t number[CKPT_DIFF_PIECES_MAX];
	uint64_t raw[CKPT_DIFF_RAW_MAX / 8];
	char lz4[]; /* LZ4_sizeofState() bytes, after an 8-byte field */
};

int ckpt_pack_open(struct ckpt_pack **out)
{
	struct ckpt_pack *p = malloc(sizeof(*p) + (size_t)LZ4_sizeofState());

	if (p == NULL)
		return -ENOMEM;
	p->pieces = 0;
	*out = p;
	return 0;
}

void ckpt_pack_close(struct ckpt_pack *p)
{
	free(p);
}

bool ckpt_pack_full(const struct ckpt_pack *p)
{
	return p->pieces == CKPT_DIFF_PIECES_MAX;
}

uint32_t ckpt_pack_pieces(const struct ckpt_pack *p)
{
	return p->pieces;
}

void ckpt_pack_clear(struct ckpt_pack *p)
{
	p->pieces = 0;
}

void ckpt_pack_add(struct ckpt_pack *p, uint32_t piece, const uint64_t *was,
		   const uint64_t *is)
{
	uint64_t *to = p->raw + (size_t)p->pieces * CKPT_PIECE_WORDS;
	uint32_t i;

	assert(!ckpt_pack_full(p));
	assert(p->pieces == 0 || p->number[p->pieces - 1] < piece);
	for (i = 0; i < CKPT_PIECE_WORDS; i++)
		to[i] = is[i] ^ (was != NULL ? was[i] : 0);
	p->number[p->pieces++] = piece;
}

static uint32_t raw_bytes(uint32_t pieces)
{
	return pieces * (CKPT_PIECE_BYTES + (uint32_t)sizeof(uint32_t));
}

static uint32_t message_crc(const struct ckpt_diff_head *head,
			    const void *payload)
{
	struct ckpt_diff_head h = *head;

	h.crc = 0;
	return crc_of(crc_of(0, &h, sizeof(h)), payload, h.packed);
}

/* Numbers follow the pieces: small, and alike from message to message. */
static uint32_t pack_payload(struct ckpt_pack *p, char *out)
{
	int room = (int)(CKPT_DIFF_BYTES_MAX - sizeof(struct ckpt_diff_head));
	int n;

	if (p->pieces == 0)
		return 0;
	memcpy((char *)p->raw + (size_t)p->pieces * CKPT_PIECE_BYTES, p->number,
	       p->pieces * sizeof(p->number[0]));
	n = LZ4_compress_fast_extState(p->lz4, (const char *)p->raw, out,
				       (int)raw_bytes(p->pieces), room, 1);
	assert(n > 0); /* the bound is asserted above */
	return (uint32_t)n;
}

size_t ckpt_pack_end(struct ckpt_pack *p, const struct ckpt_diff_head *head,
		     void *out)
{
	char *payload = (char *)out + sizeof(*head);
	struct ckpt_diff_head h = *head;

	h.magic = CKPT_DIFF_MAGIC;
	h.format = CKPT_DIFF_FORMAT;
	h.pieces = p->pieces;
	h.raw = raw_bytes(p->pieces);
	h.packed = pack_payload(p, payload);
	h.crc = message_crc(&h, payload);
	memcpy(out, &h, sizeof(h));
	p->pieces = 0;
	return sizeof(h) + h.packed;
}

/* --- reading ------------------------------------------------------------- */

static bool versions_right(const struct ckpt_diff_head *h)
{
	if (h->to <= h->from)
		return false;
	if (h->from == 0 && h->from_sum != 0)
		return false;
	return (h->flags & CKPT_DIFF_LAST) || h->to_sum == 0;
}

static bool head_right(const struct ckpt_diff_head *h, size_t len)
{
	if (h->magic != CKPT_DIFF_MAGIC || h->format != CKPT_DIFF_FORMAT)
		return false;
	if (h->flags & ~(uint32_t)CKPT_DIFF_LAST)
		return false;
	if (ckpt_size_check(h->size) != 0 || !versions_right(h))
		return false;
	if (h->pieces > CKPT_DIFF_PIECES_MAX || h->raw != raw_bytes(h->pieces))
		return false;
	if (h->pieces == 0 && !(h->flags & CKPT_DIFF_LAST))
		return false;
	return h->packed == len - sizeof(*h);
}

static bool numbers_right(const struct ckpt_diff *d)
{
	uint32_t i;

	for (i = 1; i < d->head.pieces; i++)
		if (d->number[i] <= d->number[i - 1])
			return false;
	return i > d->head.pieces || /* there are none */
	       d->number[i - 1] < ckpt_pieces(d->head.size);
}

static int unpack(const struct ckpt_diff_head *h, const char *payload,
		  void *scratch)
{
	int n;

	if (h->pieces == 0)
		return h->packed == 0 ? 0 : -EBADMSG;
	n = LZ4_decompress_safe(payload, scratch, (int)h->packed,
				(int)CKPT_DIFF_RAW_MAX);
	return n >= 0 && (uint32_t)n == h->raw ? 0 : -EBADMSG;
}

int ckpt_diff_decode(const void *msg, size_t len, void *scratch,
		     struct ckpt_diff *out)
{
	const char *payload = (const char *)msg + sizeof(out->head);
	struct ckpt_diff_head *h = &out->head;

	if (len < sizeof(*h) || len > CKPT_DIFF_BYTES_MAX)
		return -EBADMSG;
	memcpy(h, msg, sizeof(*h));
	if (!head_right(h, len) || message_crc(h, payload) != h->crc)
		return -EBADMSG;
	if (unpack(h, payload, scratch) != 0)
		return -EBADMSG;
	out->bytes = scratch;
	out->number = (const uint32_t *)((const char *)scratch +
					 h->pieces * CKPT_PIECE_BYTES);
	return numbers_right(out) ? 0 : -EBADMSG;
}
