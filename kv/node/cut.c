/* kv/node/cut.c - see cut.h. The body is packed in pieces, each behind its
 * length; one that does not get smaller is kept as it is. */
#include "kv/node/cut.h"

#include <errno.h>
#include <lz4.h>
#include <stdlib.h>
#include <string.h>

#include "ec/block.h"
#include "ec/crc.h"
#include "kv/slot.h"

#define PIECE	    (256u * 1024)
#define PIECE_PLAIN 0x80000000u /* in its length: not packed */
#define RAW_MAX	    (UINT64_C(1) << 40)

_Static_assert(sizeof(struct cut_head) == 80, "cut_head is 80 bytes");
_Static_assert(offsetof(struct cut_head, crc) == 72, "cut_head.crc");
_Static_assert(sizeof(struct cut_block) == 24, "cut_block is 24 bytes");
_Static_assert(sizeof(struct cut_shard) == 16, "cut_shard is 16 bytes");

/* --- making one ----------------------------------------------------------- */

void cut_begin(struct cut *c, const struct layout_super *super, uint64_t number)
{
	c->head = (struct cut_head){
		.magic = CUT_MAGIC,
		.version = CUT_VERSION,
		.node = super->node,
		.number = number,
	};
	memcpy(c->head.uuid, super->uuid, sizeof(c->head.uuid));
	c->len = 0;
	c->failed = 0;
}

static void add(struct cut *c, const void *buf, size_t len)
{
	size_t cap = c->cap != 0 ? c->cap : 64 * 1024;
	char *more;

	while (cap - c->len < len)
		cap *= 2;
	if (cap != c->cap) {
		more = realloc(c->body, cap);
		if (more == NULL) {
			c->failed = -ENOMEM;
			return;
		}
		c->body = more;
		c->cap = cap;
	}
	memcpy(c->body + c->len, buf, len);
	c->len += len;
}

void cut_add_block(struct cut *c, const struct cut_block *b, const void *map,
		   size_t map_bytes)
{
	c->head.blocks++;
	add(c, b, sizeof(*b));
	if (b->state != BLOCK_FREE)
		add(c, map, map_bytes);
}

void cut_add_shard(struct cut *c, uint32_t shard, const void *slots,
		   uint64_t bytes)
{
	struct cut_shard s = {.shard = shard, .bytes = bytes};

	c->head.shards++;
	add(c, &s, sizeof(s));
	add(c, slots, bytes);
}

void cut_free(struct cut *c)
{
	free(c->body);
	c->body = NULL;
	c->len = c->cap = 0;
}

/* One piece, behind its length; returns the bytes it took. */
static size_t pack_piece(const char *in, uint32_t len, char *out)
{
	int n = LZ4_compress_default(in, out + sizeof(uint32_t), (int)len,
				     LZ4_COMPRESSBOUND(PIECE));
	uint32_t word = (uint32_t)n;

	if (n <= 0 || (uint32_t)n >= len) {
		memcpy(out + sizeof(word), in, len);
		word = len | PIECE_PLAIN;
		n = (int)len;
	}
	memcpy(out, &word, sizeof(word));
	return sizeof(word) + (size_t)n;
}

int cut_pack(struct cut *c, void **file, size_t *len)
{
	size_t pieces = c->len / PIECE + 1, at, done = sizeof(c->head);
	char *out;

	if (c->failed != 0)
		return c->failed;
	out = malloc(done + pieces * (sizeof(uint32_t) +
				      (size_t)LZ4_COMPRESSBOUND(PIECE)));
	if (out == NULL)
		return -ENOMEM;
	for (at = 0; at < c->len; at += PIECE)
		done += pack_piece(c->body + at,
				   c->len - at < PIECE ? (uint32_t)(c->len - at)
						       : PIECE,
				   out + done);
	c->head.raw = c->len;
	c->head.raw_crc = crc_of(0, c->body, c->len);
	c->head.packed = done - sizeof(c->head);
	c->head.packed_crc = crc_of(0, out + sizeof(c->head), c->head.packed);
	c->head.crc = crc_of(0, &c->head, offsetof(struct cut_head, crc));
	memcpy(out, &c->head, sizeof(c->head));
	*file = out;
	*len = done;
	return 0;
}

/* --- reading one ---------------------------------------------------------- */

static int check_head(const struct cut_head *h, size_t len,
		      const struct layout_super *super, uint64_t number)
{
	if (h->magic != CUT_MAGIC || h->version != CUT_VERSION)
		return -EPROTO;
	if (h->crc != crc_of(0, h, offsetof(struct cut_head, crc)) ||
	    h->pad != 0 || h->raw > RAW_MAX || h->packed != len - sizeof(*h))
		return -EBADMSG;
	if (memcmp(h->uuid, super->uuid, sizeof(h->uuid)) != 0 ||
	    h->node != super->node || h->number != number)
		return -ESTALE;
	return 0;
}

/* Returns how many bytes of @in the piece took, or -EBADMSG. */
static long unpack_piece(const char *in, size_t left, char *out, uint32_t len)
{
	uint32_t word, n;

	if (left < sizeof(word))
		return -EBADMSG;
	memcpy(&word, in, sizeof(word));
	n = word & ~PIECE_PLAIN;
	if (n > left - sizeof(word))
		return -EBADMSG;
	if (word & PIECE_PLAIN) {
		if (n != len)
			return -EBADMSG;
		memcpy(out, in + sizeof(word), n);
	} else if (LZ4_decompress_safe(in + sizeof(word), out, (int)n,
				       (int)len) != (int)len) {
		return -EBADMSG;
	}
	return (long)(sizeof(word) + n);
}

static int unpack_body(struct cut *c, const char *in)
{
	size_t at, from = 0;
	uint32_t len;
	long n;

	for (at = 0; at < c->head.raw; at += len) {
		len = c->head.raw - at < PIECE ? (uint32_t)(c->head.raw - at)
					       : PIECE;
		n = unpack_piece(in + from, c->head.packed - from, c->body + at,
				 len);
		if (n < 0)
			return -EBADMSG;
		from += (size_t)n;
	}
	if (from != c->head.packed ||
	    crc_of(0, c->body, c->head.raw) != c->head.raw_crc)
		return -EBADMSG;
	c->len = c->head.raw;
	return 0;
}

int cut_unpack(const void *file, size_t len, const struct layout_super *super,
	       uint64_t number, struct cut *c)
{
	const char *body = (const char *)file + sizeof(c->head);
	int rc;

	*c = (struct cut){0};
	if (len < sizeof(c->head))
		return -EPROTO;
	memcpy(&c->head, file, sizeof(c->head));
	rc = check_head(&c->head, len, super, number);
	if (rc != 0)
		return rc;
	if (crc_of(0, body, c->head.packed) != c->head.packed_crc)
		return -EBADMSG;
	c->cap = c->head.raw + 1;
	c->body = malloc(c->cap);
	if (c->body == NULL)
		return -ENOMEM;
	rc = unpack_body(c, body);
	if (rc != 0)
		cut_free(c);
	return rc;
}

/* The next @len bytes of the body, NULL if there are not so many. */
static const void *take(struct cut_reader *r, uint64_t len)
{
	const char *p = r->cut->body + r->at;

	if (len > r->cut->len - r->at)
		return NULL;
	r->at += len;
	return p;
}

static int check_block(const struct cut_block *b, const struct layout *l)
{
	const struct group *g = &l->group;

	if (b->block >= g->blocks || b->block % group_width(g) >= g->k ||
	    b->state > BLOCK_RETIRING || b->used > g->block_bytes)
		return -EBADMSG;
	if (b->state != BLOCK_FREE &&
	    (b->kind < BLOCK_RECORDS || b->kind > BLOCK_ROWS || b->life == 0))
		return -EBADMSG;
	return 0;
}

int cut_next_block(struct cut_reader *r, struct cut_block *out,
		   const void **map)
{
	size_t bytes = r->layout->group.block_bytes / GROUP_UNIT_BYTES / 8;
	const void *p;

	if (r->blocks == r->cut->head.blocks)
		return 0;
	p = take(r, sizeof(*out));
	if (p == NULL)
		return -EBADMSG;
	memcpy(out, p, sizeof(*out));
	if (check_block(out, r->layout) != 0)
		return -EBADMSG;
	r->blocks++;
	*map = NULL;
	if (out->state == BLOCK_FREE)
		return 1;
	*map = take(r, bytes);
	return *map != NULL ? 1 : -EBADMSG;
}

int cut_next_shard(struct cut_reader *r, struct cut_shard *out,
		   const void **slots)
{
	const struct layout *l = r->layout;
	const void *p;

	if (r->shards == r->cut->head.shards)
		return r->at == r->cut->len ? 0 : -EBADMSG;
	p = take(r, sizeof(*out));
	if (p == NULL)
		return -EBADMSG;
	memcpy(out, p, sizeof(*out));
	if (out->shard >= l->group.nodes ||
	    out->bytes != slot_shard_bytes(l->index_groups))
		return -EBADMSG;
	r->shards++;
	*slots = take(r, out->bytes);
	return *slots != NULL ? 1 : -EBADMSG;
}
