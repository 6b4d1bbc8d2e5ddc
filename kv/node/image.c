/* kv/node/image.c - see image.h. */
#include "kv/node/image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ec/stripe.h"

/* Read in pieces, so that a decode has less to repeat when a fold or a write
 * gets in its way, and others' operations come in between. */
#define IMAGE_PIECE	 (256u * 1024)
#define IMAGE_PIECES_MAX ((16u << 20) / IMAGE_PIECE)
#define IMAGE_MAPS_MAX	 (1 + CODE_PARITY_MAX)
#define IMAGE_NS	 UINT64_C(5000000000) /* for one block */

struct image {
	const struct group *g;
	const struct code *code;
	struct walk_block wb;
	uint64_t up;
	uint32_t bytes; /* of the block that may hold something */
	size_t map_bytes;
	char *buf;
	uint8_t *map; /* IMAGE_MAPS_MAX of them; [0] their union, later */
	uint32_t maps;
	struct fab_op ops[IMAGE_PIECES_MAX + IMAGE_MAPS_MAX];
	struct fab_batch batch;
	bool started, done;
};

int image_open(const struct group *g, const struct code *c, struct image **out)
{
	struct image *img = calloc(1, sizeof(*img));

	if (img == NULL)
		return -ENOMEM;
	img->g = g;
	img->code = c;
	img->map_bytes = g->block_bytes / GROUP_UNIT_BYTES / 8;
	img->buf = malloc(g->block_bytes);
	img->map = malloc(IMAGE_MAPS_MAX * img->map_bytes);
	if (img->buf == NULL || img->map == NULL) {
		image_close(img);
		return -ENOMEM;
	}
	*out = img;
	return 0;
}

void image_close(struct image *img)
{
	if (img == NULL)
		return;
	free(img->map);
	free(img->buf);
	free(img);
}

/* --- reading -------------------------------------------------------------- */

static uint32_t image_extent(const struct group *g, const struct block_rec *rec)
{
	uint32_t used = rec->used;

	if (rec->state == BLOCK_OPEN || used == 0 || used > g->block_bytes)
		return g->block_bytes;
	return (used + GROUP_UNIT_BYTES - 1) / GROUP_UNIT_BYTES *
	       GROUP_UNIT_BYTES;
}

static uint32_t piece_len(const struct image *img, uint32_t at)
{
	uint32_t left = img->bytes - at;

	return left < IMAGE_PIECE ? left : IMAGE_PIECE;
}

static void add_pieces(struct image *img)
{
	fab_addr a = group_addr(img->g, img->wb.stripe, img->wb.role, 0);
	uint32_t at;

	for (at = 0; at < img->bytes; at += IMAGE_PIECE)
		fab_read(&img->ops[img->batch.n++], fab_addr_node(a),
			 fab_addr_offset(a) + at, img->buf + at,
			 piece_len(img, at));
}

static void add_map(struct image *img, uint32_t role)
{
	uint32_t node, block;

	group_member(img->g, img->wb.stripe, role, &node, &block);
	if (!(img->up >> node & 1))
		return;
	fab_read(&img->ops[img->batch.n++], (uint8_t)node,
		 group_map_off(img->g, block, img->wb.role),
		 img->map + img->maps * img->map_bytes,
		 (uint32_t)img->map_bytes);
	img->maps++;
}

int image_start(struct image *img, struct fab *f, uint64_t up,
		const struct walk_block *wb)
{
	uint32_t r;
	int rc;

	img->wb = *wb;
	img->up = up;
	img->bytes = image_extent(img->g, &wb->rec);
	img->maps = 0;
	img->done = false;
	img->batch = (struct fab_batch){.ops = img->ops, .user = img};
	img->batch.deadline_ns = fab_now(f) + IMAGE_NS;
	/* Marks before bytes (ec/again.h, A1). What is read of another node may
	 * be younger: that adds marks of the same life, or takes none away that
	 * the data node's bytes need. */
	add_map(img, wb->role);
	if (wb->up)
		add_pieces(img);
	for (r = img->g->k; r < group_width(img->g); r++)
		add_map(img, r);
	rc = fab_post(f, &img->batch);
	img->started = rc == 0;
	return rc;
}

static void image_wait(struct image *img, struct fab *f)
{
	struct fab_batch *done;

	while (!img->done)
		if (fab_poll(f, &done, 1, IMAGE_NS) == 1)
			((struct image *)done->user)->done = true;
}

static int image_status(const struct image *img)
{
	uint32_t i;

	for (i = 0; i < img->batch.n; i++)
		if (img->ops[i].status != 0)
			return img->ops[i].status;
	return 0;
}

/* More is marked with some than with others while marks are on their way. */
static void unite_maps(struct image *img)
{
	uint32_t i;

	if (img->maps == 0)
		memset(img->map, 0, img->map_bytes);
	for (i = 1; i < img->maps; i++)
		for (size_t b = 0; b < img->map_bytes; b++)
			img->map[b] |= img->map[i * img->map_bytes + b];
}

static int image_decode(struct image *img, struct fab *f)
{
	uint64_t deadline = fab_now(f) + IMAGE_NS;
	uint32_t at;
	int rc = 0;

	for (at = 0; at < img->bytes && rc == 0; at += IMAGE_PIECE)
		rc = stripe_read_run(
			f, img->g, img->code,
			group_addr(img->g, img->wb.stripe, img->wb.role, at),
			piece_len(img, at), img->up, img->buf + at, deadline);
	return rc;
}

int image_finish(struct image *img, struct fab *f)
{
	int rc;

	if (!img->started)
		return -EINVAL;
	img->started = false;
	image_wait(img, f);
	rc = image_status(img);
	if (rc != 0)
		return rc;
	unite_maps(img);
	return img->wb.up ? 0 : image_decode(img, f);
}

/* --- looking -------------------------------------------------------------- */

const struct walk_block *image_block(const struct image *img)
{
	return &img->wb;
}

uint32_t image_bytes(const struct image *img)
{
	return img->bytes;
}

bool image_next(const struct image *img, uint64_t secret, uint32_t *at,
		uint32_t *unit, struct object *out)
{
	uint32_t end = img->bytes / GROUP_UNIT_BYTES, u, byte;

	for (u = *at; u < end; u++) {
		byte = u * GROUP_UNIT_BYTES;
		if (object_decode(img->buf + byte, img->bytes - byte, secret,
				  group_addr(img->g, img->wb.stripe,
					     img->wb.role, byte),
				  out) != 0)
			continue;
		*unit = u;
		*at = u + out->hdr.units;
		return true;
	}
	*at = end;
	return false;
}

bool image_dead(const struct image *img, uint32_t unit, uint32_t units)
{
	uint32_t u;

	for (u = unit; u < unit + units; u++)
		if (!(img->map[u / 8] >> (u % 8) & 1))
			return false;
	return true;
}
