/* ec/group.h - geometry: which block of which node plays which role in which
 * stripe, and where it lies. Pure functions of the pool's shape; the only copy
 * of this arithmetic.
 *
 * N nodes, code k+m, w = k + m <= N. Each node has @blocks blocks (a multiple
 * of w). Block b of node n has role j = b mod w, in period p = b div w:
 *
 *     stripe s = p * N + ((n - j) mod N)     so role j of s is on (s + j) mod N
 *
 *     w = N = 5      n0  n1  n2  n3  n4        role 0..k-1 data, k.. parity
 *     block 0         0   1   2   3   4  <- role 0 of stripes 0..4
 *     block 1         4   0   1   2   3  <- role 1
 *     block 2         3   4   0   1   2  <- role 2
 *     block 3 (P)     2   3   4   0   1  <- role 3, the first parity
 *     block 4 (Q)     1   2   3   4   0  <- role 4
 *
 * so every node carries the same share of data and parity (Cocytus). */
#ifndef ACESO_EC_GROUP_H
#define ACESO_EC_GROUP_H
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

#include "rdma/addr.h"

struct group {
	uint32_t nodes; /* N */
	uint32_t k, m;
	uint32_t block_bytes; /* power of two, 64 KiB .. 16 MiB */
	uint32_t blocks;      /* per node; multiple of k + m */
	uint32_t deltas;      /* delta blocks per node */
	uint64_t rec_off;     /* of block records in a node's region */
	uint64_t map_off;     /* of bitmaps of obsolete units */
	uint64_t delta_off;   /* of delta blocks */
	uint64_t block_off;   /* of blocks */
};

#define GROUP_UNIT_BYTES 64u /* allocation granule inside a block */

/* Errors: -EINVAL for a shape that breaks a rule above. Offsets are checked
 * for 4 KiB alignment and overlap. */
int group_check(const struct group *g);

static inline uint32_t group_width(const struct group *g)
{
	return g->k + g->m;
}

static inline uint64_t group_stripes(const struct group *g)
{
	return (uint64_t)g->blocks / group_width(g) * g->nodes;
}

/* Which stripe and role block @block of node @node has. */
void group_of_block(const struct group *g, uint32_t node, uint32_t block,
		    uint64_t *stripe, uint32_t *role);

/* Which node and block play @role in @stripe. */
/* (glibc has another group_member(), in <unistd.h>.) */
#define group_member group_member_at
void group_member(const struct group *g, uint64_t stripe, uint32_t role,
		  uint32_t *node, uint32_t *block);

/* The address of byte @at of role @role's block in @stripe. */
fab_addr group_addr(const struct group *g, uint64_t stripe, uint32_t role,
		    uint32_t at);

/* The reverse: -ERANGE if @addr lies in no stripe block. */
int group_locate(const struct group *g, fab_addr addr, uint64_t *stripe,
		 uint32_t *role, uint32_t *at);

/* Offsets in any node's region. A block's records: k of them, see block.h. */
uint64_t group_rec_off(const struct group *g, uint32_t block, uint32_t role);
uint64_t group_map_off(const struct group *g, uint32_t block, uint32_t role);
uint64_t group_delta_off(const struct group *g, uint32_t delta);
uint64_t group_block_off(const struct group *g, uint32_t block);

/* Bytes that the record, bitmap, delta and block areas need. */
uint64_t group_rec_bytes(const struct group *g);
uint64_t group_map_bytes(const struct group *g);

#endif
