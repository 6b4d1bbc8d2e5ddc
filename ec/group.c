#include "ec/group.h"

#include <errno.h>
#include <stddef.h>

#include "ec/block.h"
#include "rdma/fabric.h"

#define ALIGN_BYTES	4096u
#define BLOCK_BYTES_MIN (64u << 10)
#define BLOCK_BYTES_MAX (16u << 20)

static uint32_t map_bytes(const struct group *g)
{
	return g->block_bytes / GROUP_UNIT_BYTES / 8;
}

static int check_shape(const struct group *g)
{
	uint32_t b = g->block_bytes;

	if (g->k < 1 || g->m < 1 || g->k > 31 || g->m > 4 || g->k + g->m > 32)
		return -EINVAL;
	if (g->nodes < group_width(g) || g->nodes > FAB_NODES_MAX)
		return -EINVAL;
	if (b < BLOCK_BYTES_MIN || b > BLOCK_BYTES_MAX || (b & (b - 1)) != 0)
		return -EINVAL;
	if (g->blocks == 0 || g->blocks % group_width(g) != 0)
		return -EINVAL;
	return g->deltas == 0 ? -EINVAL : 0;
}

struct area {
	uint64_t off, len;
};

static bool areas_clash(const struct area *a, const struct area *b)
{
	return a->off < b->off + b->len && b->off < a->off + a->len;
}

int group_check(const struct group *g)
{
	const struct area area[] = {
		{g->rec_off, group_rec_bytes(g)},
		{g->map_off, group_map_bytes(g)},
		{g->delta_off, (uint64_t)g->deltas * g->block_bytes},
		{g->block_off, (uint64_t)g->blocks * g->block_bytes},
	};
	const size_t n = sizeof(area) / sizeof(area[0]);

	if (check_shape(g) != 0)
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		if (area[i].off == 0 || area[i].off % ALIGN_BYTES != 0 ||
		    area[i].off > FAB_ADDR_OFFSET_MAX ||
		    area[i].len > FAB_ADDR_OFFSET_MAX - area[i].off)
			return -EINVAL;
		for (size_t j = 0; j < i; j++)
			if (areas_clash(&area[i], &area[j]))
				return -EINVAL;
	}
	return 0;
}

void group_of_block(const struct group *g, uint32_t node, uint32_t block,
		    uint64_t *stripe, uint32_t *role)
{
	uint32_t w = group_width(g), j = block % w;

	*stripe = (uint64_t)(block / w) * g->nodes +
		  (node + g->nodes - j) % g->nodes;
	*role = j;
}

void group_member(const struct group *g, uint64_t stripe, uint32_t role,
		  uint32_t *node, uint32_t *block)
{
	*node = (uint32_t)((stripe + role) % g->nodes);
	*block = (uint32_t)(stripe / g->nodes) * group_width(g) + role;
}

fab_addr group_addr(const struct group *g, uint64_t stripe, uint32_t role,
		    uint32_t at)
{
	uint32_t node, block;

	group_member(g, stripe, role, &node, &block);
	return fab_addr_make((uint8_t)node, group_block_off(g, block) + at);
}

int group_locate(const struct group *g, fab_addr addr, uint64_t *stripe,
		 uint32_t *role, uint32_t *at)
{
	uint64_t off = fab_addr_offset(addr);
	uint32_t node = fab_addr_node(addr);

	if (node >= g->nodes || off < g->block_off)
		return -ERANGE;
	off -= g->block_off;
	if (off / g->block_bytes >= g->blocks)
		return -ERANGE;
	group_of_block(g, node, (uint32_t)(off / g->block_bytes), stripe, role);
	*at = (uint32_t)(off % g->block_bytes);
	return 0;
}

uint64_t group_rec_off(const struct group *g, uint32_t block, uint32_t role)
{
	uint64_t slot = (uint64_t)block * g->k + role;

	return g->rec_off + slot * sizeof(struct block_rec);
}

uint64_t group_map_off(const struct group *g, uint32_t block, uint32_t role)
{
	return g->map_off + ((uint64_t)block * g->k + role) * map_bytes(g);
}

uint64_t group_delta_off(const struct group *g, uint32_t delta)
{
	return g->delta_off + (uint64_t)delta * g->block_bytes;
}

uint64_t group_block_off(const struct group *g, uint32_t block)
{
	return g->block_off + (uint64_t)block * g->block_bytes;
}

uint64_t group_rec_bytes(const struct group *g)
{
	return (uint64_t)g->blocks * g->k * sizeof(struct block_rec);
}

uint64_t group_map_bytes(const struct group *g)
{
	return (uint64_t)g->blocks * g->k * map_bytes(g);
}
