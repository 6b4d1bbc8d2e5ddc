/* kv/layout.c - where everything lies in a node's region. */
#include "kv/layout.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <xxhash.h>

#include "checkpoint/image.h"
#include "ec/code.h"
#include "ec/crc.h"
#include "kv/slot.h"
#include "rdma/fabric.h"

#define SUPER_BYTES	4096u
#define MIB		(UINT64_C(1) << 20)
#define KIB		(UINT64_C(1) << 10)
#define REGION_MAX	(UINT64_C(1) << 38) /* 2^32 units in a slot word */
#define SLOTS_MIN	262144u
#define BYTES_PER_SLOT	2048u
#define GROUPS_MIN	4u
#define CLIENTS_DEFAULT 16u
#define LANE_DELTAS	4u  /* a lane's open blocks, and one being folded */
#define DELTA_SHARE	16u /* and one in so many blocks */
#define RESERVE_SHARE	32u /* kept for urgent changes and fragments */
#define PERIODS_MIN	4u

static uint64_t round_up(uint64_t x, uint64_t to)
{
	return (x + to - 1) / to * to;
}

static uint64_t div_up(uint64_t x, uint64_t by)
{
	return (x + by - 1) / by;
}

static uint32_t pick_block_bytes(uint64_t usable)
{
	if (usable >= 512 * MIB)
		return 2 * MIB;
	if (usable >= 256 * MIB)
		return 1 * MIB;
	if (usable >= 128 * MIB)
		return 512 * KIB;
	return 256 * KIB;
}

/* Blocks of a node: its share of the coded bytes and of the reserve. */
static uint64_t pick_blocks(const struct layout_shape *s, uint32_t block_bytes)
{
	uint32_t w = s->k + s->m;
	uint64_t data = div_up(s->usable, block_bytes);
	uint64_t periods;

	data += div_up(data, RESERVE_SHARE);
	periods = div_up(data, (uint64_t)s->k * s->nodes);
	if (periods < PERIODS_MIN)
		periods = PERIODS_MIN;
	return periods * w;
}

static uint64_t pick_deltas(const struct layout_shape *s, uint64_t blocks)
{
	uint32_t clients = s->clients ? s->clients : CLIENTS_DEFAULT;

	return (uint64_t)clients * LANE_DELTAS + blocks / DELTA_SHARE;
}

/* A quarter more than asked for: a bucket is full before the shard is. */
static uint64_t pick_groups(const struct layout_shape *s)
{
	uint64_t slots = s->slots ? s->slots : s->usable / BYTES_PER_SLOT;
	uint64_t per_shard;

	if (slots < SLOTS_MIN && s->slots == 0)
		slots = SLOTS_MIN;
	per_shard = div_up(slots + slots / 4, s->nodes);
	per_shard = div_up(per_shard, BUCKET_GROUP * BUCKET_SLOTS);
	return per_shard < GROUPS_MIN ? GROUPS_MIN : per_shard;
}

static int shape_check(const struct layout_shape *s)
{
	if (s->k < 1 || s->m < 1 || s->m > CODE_PARITY_MAX ||
	    s->k > CODE_DATA_MAX || s->k + s->m > CODE_WIDTH_MAX)
		return -EINVAL;
	if (s->nodes < s->k + s->m || s->nodes > FAB_NODES_MAX)
		return -EINVAL;
	if (s->usable == 0 || s->clients > 4096)
		return -EINVAL;
	if (s->usable > REGION_MAX * s->nodes || s->slots > REGION_MAX)
		return -EFBIG;
	return 0;
}

uint64_t layout_shard_bytes(const struct layout *l)
{
	return round_up(slot_shard_bytes(l->index_groups), CKPT_PIECE_BYTES);
}

/* Lay the parts out one behind the other. */
static void place(struct layout *l)
{
	struct group *g = &l->group;
	uint64_t at = SUPER_BYTES;

	g->rec_off = at;
	at = round_up(at + group_rec_bytes(g), 4 * KIB);
	g->map_off = at;
	at = round_up(at + group_map_bytes(g), g->block_bytes);
	l->index_off = at;
	l->index_stride =
		round_up(slot_shard_bytes(l->index_groups), g->block_bytes);
	at += l->index_stride * (g->m + 1);
	l->image_off = at;
	l->image_stride = round_up(ckpt_area_bytes(layout_shard_bytes(l)),
				   g->block_bytes);
	at += l->image_stride * g->m;
	g->delta_off = at;
	at += (uint64_t)g->deltas * g->block_bytes;
	g->block_off = at;
	at += (uint64_t)g->blocks * g->block_bytes;
	l->size = at;
}

int layout_of(const struct layout_shape *s, struct layout *out)
{
	struct layout l;
	uint64_t blocks, deltas, groups;
	int rc;

	rc = shape_check(s);
	if (rc != 0)
		return rc;
	memset(&l, 0, sizeof(l));
	l.group.nodes = s->nodes;
	l.group.k = s->k;
	l.group.m = s->m;
	l.group.block_bytes =
		s->block_bytes ? s->block_bytes : pick_block_bytes(s->usable);
	if (l.group.block_bytes < 64 * KIB || l.group.block_bytes > 16 * MIB ||
	    (l.group.block_bytes & (l.group.block_bytes - 1)) != 0)
		return -EINVAL;
	blocks = pick_blocks(s, l.group.block_bytes);
	deltas = pick_deltas(s, blocks);
	groups = pick_groups(s);
	if (blocks > UINT32_MAX / 64 || deltas > UINT32_MAX / 64 ||
	    groups > UINT32_MAX / 64)
		return -EFBIG;
	l.group.blocks = (uint32_t)blocks;
	l.group.deltas = (uint32_t)deltas;
	l.index_groups = (uint32_t)groups;
	place(&l);
	if (l.size > REGION_MAX)
		return -EFBIG;
	rc = group_check(&l.group);
	if (rc != 0)
		return rc;
	*out = l;
	return 0;
}

int layout_within(const struct layout_shape *shape, uint64_t bytes,
		  struct layout *out)
{
	uint64_t low = 0, high = bytes / MIB * shape->nodes;
	struct layout_shape s = *shape;
	struct layout l;

	while (low < high) {
		s.usable = (low + (high - low + 1) / 2) * MIB;
		if (layout_of(&s, &l) == 0 && l.size <= bytes)
			low = s.usable / MIB;
		else
			high = s.usable / MIB - 1;
	}
	if (low == 0) {
		s.usable = MIB;
		return layout_of(&s, &l) != 0 ? -EINVAL : -ENOSPC;
	}
	s.usable = low * MIB;
	return layout_of(&s, out);
}

uint64_t layout_sum(const struct layout *l)
{
	const struct group *g = &l->group;
	uint64_t all[] = {g->nodes,	   g->k,	 g->m,
			  g->block_bytes,  g->blocks,	 g->deltas,
			  g->rec_off,	   g->map_off,	 g->delta_off,
			  g->block_off,	   l->index_off, l->index_groups,
			  l->index_stride, l->image_off, l->image_stride,
			  l->size};

	return XXH3_64bits(all, sizeof(all));
}

uint64_t layout_shard_off(const struct layout *l, uint32_t shard, uint32_t host)
{
	uint32_t n = l->group.nodes, r;

	if (shard >= n || host >= n)
		return UINT64_MAX;
	r = (host + n - shard) % n;
	if (r > l->group.m)
		return UINT64_MAX;
	return l->index_off + r * l->index_stride;
}

uint64_t layout_image_off(const struct layout *l, uint32_t shard,
			  uint32_t holder)
{
	uint32_t n = l->group.nodes, r;

	if (shard >= n || holder >= n)
		return UINT64_MAX;
	r = (holder + n - shard) % n;
	if (r < 1 || r > l->group.m)
		return UINT64_MAX;
	return l->image_off + (r - 1) * l->image_stride;
}

/* --- the superblock ------------------------------------------------------- */

/* As it lies at offset 0; no holes. */
struct super_image {
	uint64_t magic;
	uint32_t version, node;
	uint8_t uuid[16];
	uint64_t secret;
	uint32_t nodes, k, m, block_bytes, blocks, deltas;
	uint64_t rec_off, map_off, delta_off, block_off;
	uint32_t index_groups, pad0;
	uint64_t index_off, index_stride, image_off, image_stride, size;
	uint32_t crc, pad1;
};
_Static_assert(sizeof(struct super_image) == LAYOUT_SUPER_BYTES,
	       "see kv/FORMAT.md");
_Static_assert(offsetof(struct super_image, crc) == 144, "see kv/FORMAT.md");

static uint32_t super_crc(const struct super_image *s)
{
	return crc_of(0, s, offsetof(struct super_image, crc));
}

void layout_super_write(void *region, const struct layout_super *in)
{
	const struct layout *l = &in->layout;
	const struct group *g = &l->group;
	struct super_image s = {
		.magic = LAYOUT_MAGIC,
		.version = LAYOUT_VERSION,
		.node = in->node,
		.secret = in->secret,
		.nodes = g->nodes,
		.k = g->k,
		.m = g->m,
		.block_bytes = g->block_bytes,
		.blocks = g->blocks,
		.deltas = g->deltas,
		.rec_off = g->rec_off,
		.map_off = g->map_off,
		.delta_off = g->delta_off,
		.block_off = g->block_off,
		.index_groups = l->index_groups,
		.index_off = l->index_off,
		.index_stride = l->index_stride,
		.image_off = l->image_off,
		.image_stride = l->image_stride,
		.size = l->size,
	};

	memcpy(s.uuid, in->uuid, sizeof(s.uuid));
	s.crc = super_crc(&s);
	memcpy(region, &s, sizeof(s));
}

static void super_unpack(const struct super_image *s, struct layout_super *out)
{
	memset(out, 0, sizeof(*out));
	out->magic = s->magic;
	out->version = s->version;
	out->node = s->node;
	memcpy(out->uuid, s->uuid, sizeof(out->uuid));
	out->secret = s->secret;
	out->layout.group = (struct group){
		.nodes = s->nodes,
		.k = s->k,
		.m = s->m,
		.block_bytes = s->block_bytes,
		.blocks = s->blocks,
		.deltas = s->deltas,
		.rec_off = s->rec_off,
		.map_off = s->map_off,
		.delta_off = s->delta_off,
		.block_off = s->block_off,
	};
	out->layout.index_groups = s->index_groups;
	out->layout.index_off = s->index_off;
	out->layout.index_stride = s->index_stride;
	out->layout.image_off = s->image_off;
	out->layout.image_stride = s->image_stride;
	out->layout.size = s->size;
	out->crc = s->crc;
}

int layout_super_read(const void *region, struct layout_super *out)
{
	struct super_image s;

	memcpy(&s, region, sizeof(s));
	if (s.magic != LAYOUT_MAGIC || s.version != LAYOUT_VERSION)
		return -EPROTO;
	if (s.crc != super_crc(&s))
		return -EBADMSG;
	super_unpack(&s, out);
	if (group_check(&out->layout.group) != 0 ||
	    out->layout.index_groups == 0 || out->node >= s.nodes)
		return -EBADMSG;
	return 0;
}
