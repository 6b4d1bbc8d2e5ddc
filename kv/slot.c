/* kv/slot.c - which two combined buckets a key may lie in.
 *
 * The shard is chosen by bits 40..63 of the hash and the fingerprint by bits
 * 32..39; what is used here must not depend on them, or the keys of one shard
 * would crowd in few buckets and share few fingerprints. So the first group
 * comes from the low 32 bits, the second from a product of all of them. */
#include "kv/slot.h"

#define GROUP_SLOTS ((uint64_t)BUCKET_GROUP * BUCKET_SLOTS)
#define GOLDEN	    UINT64_C(0x9e3779b97f4a7c15)

/* Of main 0 + overflow (side 0) or overflow + main 1 (side 1). */
static uint64_t pair_first(uint64_t group, uint64_t side)
{
	return group * GROUP_SLOTS + side * BUCKET_SLOTS;
}

void slot_places(uint64_t h, uint32_t groups, uint64_t first[2])
{
	uint64_t low = h & UINT32_MAX;
	uint64_t mix = (low ^ (low << 32)) * GOLDEN;
	uint64_t g0 = low * groups >> 32;
	uint64_t g1;

	mix ^= mix >> 29;
	mix *= GOLDEN;
	if (groups < 2) {
		first[0] = pair_first(0, 0);
		first[1] = pair_first(0, 1);
		return;
	}
	g1 = (mix >> 32) * (groups - 1) >> 32;
	if (g1 >= g0)
		g1++; /* the same group twice would be half the choice */
	first[0] = pair_first(g0, mix & 1);
	first[1] = pair_first(g1, mix >> 1 & 1);
}
