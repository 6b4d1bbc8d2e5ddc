/* kv/slot.h - the 16 bytes of the index for one key, and the buckets.
 *
 * word, the only one that is CASed; 0 is empty:
 *     63        62     61..54  53..46   45..38     37..32   31..0
 *     tentative tomb   print   version  units      node     unit
 *                              low 8    (0: > 255) of the record
 * version: all 64 bits, written after the CAS by the winner: a hint, true or a
 * little late; what counts is in the record.
 *
 * A shard is groups of three buckets of 8 slots, as in RACE (ATC'21, 3):
 *
 *     group:  | main 0 | overflow | main 1 |      128 bytes each
 *
 * A key may lie in two combined buckets: main + the overflow beside it, 256
 * contiguous bytes; the two are chosen by two parts of its hash and lie in
 * different groups (if there is more than one). */
#ifndef ACESO_KV_SLOT_H
#define ACESO_KV_SLOT_H
#include <stdbool.h>
#include <stdint.h>

#include "ec/group.h"
#include "rdma/addr.h"

struct slot {
	uint64_t word;
	uint64_t version;
};
_Static_assert(sizeof(struct slot) == 16, "slot is 16 bytes");

#define SLOT_TENTATIVE (UINT64_C(1) << 63)
#define SLOT_TOMB      (UINT64_C(1) << 62)
#define SLOT_UNITS_MAX 255u

#define BUCKET_SLOTS	  8u
#define BUCKET_BYTES	  (BUCKET_SLOTS * sizeof(struct slot))
#define BUCKET_GROUP	  3u /* buckets in a group */
#define BUCKET_PAIR_SLOTS (2 * BUCKET_SLOTS)
#define BUCKET_PAIR_BYTES (2 * BUCKET_BYTES)

static inline uint64_t slot_word(fab_addr addr, uint32_t units,
				 uint64_t version, uint8_t print,
				 uint64_t flags)
{
	return flags | (uint64_t)print << 54 | (version & 0xff) << 46 |
	       (uint64_t)(units <= SLOT_UNITS_MAX ? units : 0) << 38 |
	       (uint64_t)(fab_addr_node(addr) & 0x3f) << 32 |
	       (fab_addr_offset(addr) / GROUP_UNIT_BYTES & UINT32_MAX);
}

static inline fab_addr slot_addr(uint64_t word)
{
	return fab_addr_make((uint8_t)(word >> 32 & 0x3f),
			     (word & UINT32_MAX) * GROUP_UNIT_BYTES);
}

static inline uint32_t slot_units(uint64_t word)
{
	return (uint32_t)(word >> 38 & 0xff); /* 0: read the header first */
}

static inline uint8_t slot_version8(uint64_t word)
{
	return (uint8_t)(word >> 46);
}

static inline uint8_t slot_print(uint64_t word)
{
	return (uint8_t)(word >> 54 & 0xff);
}

static inline bool slot_taken(uint64_t word) /* and not only tentatively */
{
	return word != 0 && !(word & SLOT_TENTATIVE);
}

/* The two combined buckets of hash @h in a shard of @groups groups: the number
 * of the first slot of each, within the shard. Each spans BUCKET_PAIR_SLOTS. */
void slot_places(uint64_t h, uint32_t groups, uint64_t first[2]);

static inline uint64_t slot_shard_bytes(uint32_t groups)
{
	return (uint64_t)groups * BUCKET_GROUP * BUCKET_BYTES;
}
#endif
