/* checkpoint/image.c - see image.h. */
#include "checkpoint/image.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define IMAGE_NONE 2u /* no buffer: version 0, all zeros */

/* A diff on its way in. */
struct fold {
	bool active;
	uint64_t from, to, note;
	uint32_t next;	 /* seq of the message that comes next */
	uint32_t beyond; /* the next message's pieces are from here on */
	uint32_t to_buf;
	uint8_t *has; /* by piece: it is in what came so far */
};

struct ckpt_image {
	char *area;
	uint32_t region;
	uint64_t size;
	uint32_t newest;	     /* buffer; IMAGE_NONE */
	struct ckpt_image_head head; /* of that; zeros if there is none */
	uint32_t zero_sum;	     /* of version 0 */
	uint8_t *stale; /* by piece: may differ between the two buffers */
	struct fold fold;
	struct ckpt_image_stats stats;
	char *message; /* the one that landed, where nobody can change it */
	uint64_t *scratch;
};

static struct ckpt_image_head *head_at(const struct ckpt_image *img, uint32_t b)
{
	return (struct ckpt_image_head *)(img->area + ckpt_area_head(b));
}

static uint32_t *table_at(const struct ckpt_image *img, uint32_t b)
{
	return (uint32_t *)(img->area + ckpt_area_table(img->size, b));
}

static uint64_t *piece_at(const struct ckpt_image *img, uint32_t b, uint32_t p)
{
	return (uint64_t *)(img->area + ckpt_area_buffer(img->size, b) +
			    (uint64_t)p * CKPT_PIECE_BYTES);
}

/* --- open and close ------------------------------------------------------ */

static void name_newest(struct ckpt_image *img, uint32_t b)
{
	img->newest = b;
	if (b == IMAGE_NONE)
		memset(&img->head, 0, sizeof(img->head));
	else
		img->head = *head_at(img, b);
}

static bool head_right(const struct ckpt_image *img, uint32_t b)
{
	return ckpt_head_check(head_at(img, b), img->region, img->size) == 0;
}

static uint32_t find_newest(const struct ckpt_image *img)
{
	bool right[2] = {head_right(img, 0), head_right(img, 1)};

	if (right[0] && right[1])
		return head_at(img, 1)->version > head_at(img, 0)->version;
	if (right[0])
		return 0;
	return right[1] ? 1 : IMAGE_NONE;
}

/* Of what was there before nobody knows where the two buffers differ. */
static int image_load(struct ckpt_image *img)
{
	uint32_t pieces = ckpt_pieces(img->size);
	uint32_t *table = malloc(pieces * sizeof(*table));

	if (table == NULL)
		return -ENOMEM;
	ckpt_table_zero(table, pieces);
	img->zero_sum = ckpt_table_sum(table, pieces);
	free(table);
	memset(img->stale, 1, pieces);
	name_newest(img, find_newest(img));
	return 0;
}

static int image_alloc(struct ckpt_image *img)
{
	img->stale = malloc(ckpt_pieces(img->size));
	img->fold.has = malloc(ckpt_pieces(img->size));
	img->message = malloc(CKPT_DIFF_BYTES_MAX);
	img->scratch = malloc(CKPT_DIFF_RAW_MAX);
	if (img->stale == NULL || img->fold.has == NULL)
		return -ENOMEM;
	return img->message != NULL && img->scratch != NULL ? 0 : -ENOMEM;
}

int ckpt_image_open(void *area, uint32_t region, uint64_t size,
		    struct ckpt_image **out)
{
	struct ckpt_image *img;
	int rc = ckpt_size_check(size);

	if (rc != 0)
		return rc;
	img = calloc(1, sizeof(*img));
	if (img == NULL)
		return -ENOMEM;
	img->area = area;
	img->region = region;
	img->size = size;
	rc = image_alloc(img);
	if (rc == 0)
		rc = image_load(img);
	if (rc != 0) {
		ckpt_image_close(img);
		return rc;
	}
	*out = img;
	return 0;
}

void ckpt_image_close(struct ckpt_image *img)
{
	if (img == NULL)
		return;
	free(img->scratch);
	free(img->message);
	free(img->fold.has);
	free(img->stale);
	free(img);
}

/* --- damage -------------------------------------------------------------- */

static bool table_right(const struct ckpt_image *img, uint32_t b)
{
	return ckpt_table_sum(table_at(img, b), ckpt_pieces(img->size)) ==
	       head_at(img, b)->sum;
}

static bool buffer_right(const struct ckpt_image *img, uint32_t b)
{
	uint32_t p;

	if (!head_right(img, b) || !table_right(img, b))
		return false;
	for (p = 0; p < ckpt_pieces(img->size); p++)
		if (ckpt_piece_crc(piece_at(img, b, p)) != table_at(img, b)[p])
			return false;
	return true;
}

/* Whoever finds the newest damaged calls this: it is never the newest again. */
static void image_damaged(struct ckpt_image *img)
{
	uint32_t other = 1 - img->newest;

	img->stats.damaged++;
	img->fold.active = false;
	ckpt_head_clear(head_at(img, img->newest));
	memset(img->stale, 1, ckpt_pieces(img->size));
	if (buffer_right(img, other)) {
		name_newest(img, other);
		return;
	}
	ckpt_head_clear(head_at(img, other));
	name_newest(img, IMAGE_NONE);
}

int ckpt_image_verify(struct ckpt_image *img)
{
	if (img->newest == IMAGE_NONE || buffer_right(img, img->newest))
		return 0;
	image_damaged(img);
	return -EBADMSG;
}

/* --- folding ------------------------------------------------------------- */

static uint32_t image_sum(const struct ckpt_image *img)
{
	return img->newest == IMAGE_NONE ? img->zero_sum : img->head.sum;
}

static bool follows(const struct ckpt_image *img,
		    const struct ckpt_diff_head *h)
{
	if (h->from == 0)
		return h->to > img->head.version;
	return h->from == img->head.version && h->from_sum == img->head.sum;
}

/* The first message: whatever was on its way is given up. */
static int fold_begin(struct ckpt_image *img, const struct ckpt_diff_head *h)
{
	struct fold *f = &img->fold;

	if (!follows(img, h))
		return -ESTALE;
	f->active = true;
	f->from = h->from;
	f->to = h->to;
	f->note = h->note;
	f->next = 0;
	f->beyond = 0;
	f->to_buf = img->newest == 0 ? 1 : 0;
	memset(f->has, 0, ckpt_pieces(img->size));
	ckpt_head_clear(head_at(img, f->to_buf));
	return 0;
}

/* 1: it has been folded before, its answer was lost. */
static int fold_place(struct ckpt_image *img, const struct ckpt_diff_head *h)
{
	const struct fold *f = &img->fold;

	if ((h->flags & CKPT_DIFF_LAST) && h->to == img->head.version &&
	    h->to_sum == img->head.sum)
		return 1;
	if (h->seq == 0 && !(f->active && f->to == h->to && f->next == 1 &&
			     f->from == h->from))
		return fold_begin(img, h);
	if (!f->active || h->to != f->to || h->from != f->from)
		return -ESTALE;
	if (h->seq + 1 == f->next)
		return 1;
	return h->seq == f->next ? 0 : -ESTALE;
}

/* A piece that rotted must not be given a right CRC by folding over it. */
static const uint64_t *fold_base(struct ckpt_image *img, uint32_t p)
{
	static const uint64_t zero[CKPT_PIECE_WORDS];
	const uint64_t *base;

	if (img->fold.from == 0)
		return zero;
	base = piece_at(img, img->newest, p);
	return ckpt_piece_crc(base) == table_at(img, img->newest)[p] ? base
								     : NULL;
}

static int fold_piece(struct ckpt_image *img, uint32_t p, const uint64_t *diff)
{
	const uint64_t *base = fold_base(img, p);
	struct fold *f = &img->fold;
	uint64_t *to = piece_at(img, f->to_buf, p);
	uint32_t i;

	if (base == NULL) {
		image_damaged(img);
		return -ESTALE;
	}
	for (i = 0; i < CKPT_PIECE_WORDS; i++)
		to[i] = base[i] ^ diff[i];
	table_at(img, f->to_buf)[p] = ckpt_piece_crc(to);
	img->stale[p] = 1;
	f->has[p] = 1;
	return 0;
}

static int fold_pieces(struct ckpt_image *img, const struct ckpt_diff *d)
{
	struct fold *f = &img->fold;
	uint32_t i;
	int rc = 0;

	if (d->head.pieces > 0 && d->number[0] < f->beyond) {
		f->active = false;
		return -ESTALE;
	}
	for (i = 0; i < d->head.pieces && rc == 0; i++)
		rc = fold_piece(img, d->number[i],
				d->bytes + (size_t)i * CKPT_PIECE_WORDS);
	if (rc == 0 && d->head.pieces > 0)
		f->beyond = d->number[d->head.pieces - 1] + 1;
	return rc;
}

/* Pieces that the diff does not have are as in the version it is against. */
static void fold_rest(struct ckpt_image *img)
{
	struct fold *f = &img->fold;
	bool zero = f->from == 0;
	uint32_t p;

	for (p = 0; p < ckpt_pieces(img->size); p++) {
		if (f->has[p] || (!zero && !img->stale[p]))
			continue;
		if (zero) {
			memset(piece_at(img, f->to_buf, p), 0,
			       CKPT_PIECE_BYTES);
			ckpt_table_zero(&table_at(img, f->to_buf)[p], 1);
			continue;
		}
		memcpy(piece_at(img, f->to_buf, p),
		       piece_at(img, img->newest, p), CKPT_PIECE_BYTES);
		table_at(img, f->to_buf)[p] = table_at(img, img->newest)[p];
	}
}

static void fold_stale(struct ckpt_image *img)
{
	uint32_t pieces = ckpt_pieces(img->size);

	if (img->fold.from == 0)
		memset(img->stale, 1, pieces);
	else
		memcpy(img->stale, img->fold.has, pieces);
}

static int fold_commit(struct ckpt_image *img, uint32_t to_sum)
{
	struct fold *f = &img->fold;
	uint32_t pieces = ckpt_pieces(img->size), sum;

	fold_rest(img);
	f->active = false;
	sum = ckpt_table_sum(table_at(img, f->to_buf), pieces);
	if (sum != to_sum) { /* M2 */
		memset(img->stale, 1, pieces);
		return -ESTALE;
	}
	fold_stale(img);
	ckpt_head_write(head_at(img, f->to_buf), img->region, img->size, f->to,
			f->note, sum);
	name_newest(img, f->to_buf);
	if (f->from == 0)
		img->stats.fulls++;
	else
		img->stats.diffs++;
	return 0;
}

static int fold_message(struct ckpt_image *img, const struct ckpt_diff *d)
{
	int rc = fold_place(img, &d->head);

	if (rc != 0)
		return rc == 1 ? 0 : rc;
	rc = fold_pieces(img, d);
	if (rc != 0)
		return rc;
	img->fold.next++;
	if (d->head.flags & CKPT_DIFF_LAST)
		return fold_commit(img, d->head.to_sum);
	return 0;
}

static int fold_decode(struct ckpt_image *img, uint32_t len,
		       struct ckpt_diff *out)
{
	int rc;

	if (len > CKPT_DIFF_BYTES_MAX)
		return -EBADMSG;
	memcpy(img->message, img->area + ckpt_area_land(img->size), len);
	rc = ckpt_diff_decode(img->message, len, img->scratch, out);
	if (rc != 0)
		return rc;
	if (out->head.region != img->region || out->head.size != img->size)
		return -EBADMSG;
	return 0;
}

int ckpt_image_fold(struct ckpt_image *img, uint32_t len)
{
	struct ckpt_diff d;
	int rc = fold_decode(img, len, &d);

	if (rc == 0)
		rc = fold_message(img, &d);
	if (rc == 0)
		img->stats.messages++;
	else if (rc == -EBADMSG)
		img->stats.bad++;
	else
		img->stats.stale++;
	return rc;
}

void ckpt_image_serve(struct ckpt_image *img, const struct ckpt_req *req,
		      struct ckpt_ack *out)
{
	memset(out, 0, sizeof(*out));
	if (req->len != 0)
		out->status = ckpt_image_fold(img, req->len);
	out->version = img->head.version;
	out->note = img->head.note;
	out->sum = image_sum(img);
}

uint64_t ckpt_image_version(const struct ckpt_image *img)
{
	return img->head.version;
}

uint64_t ckpt_image_note(const struct ckpt_image *img)
{
	return img->head.note;
}

const void *ckpt_image_bytes(const struct ckpt_image *img)
{
	if (img->newest == IMAGE_NONE)
		return NULL;
	return img->area + ckpt_area_buffer(img->size, img->newest);
}

void ckpt_image_stats(const struct ckpt_image *img,
		      struct ckpt_image_stats *out)
{
	*out = img->stats;
}
