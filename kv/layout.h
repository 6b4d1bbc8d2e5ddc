/* kv/layout.h - a node's memory, computed from the pool's shape once.
 *
 *   0        superblock (4 KiB)
 *   rec_off  block records          map_off  obsolete bitmaps
 *   index    own shard, then @m rooms: room r (1..m) is for shard (id - r)
 *   image    @m areas for checkpoints: area r (1..m) is for shard (id - r)
 *   delta    delta blocks           block    stripe blocks
 *
 * All starts are multiples of the block size from index on (4 KiB before). */
#ifndef ACESO_KV_LAYOUT_H
#define ACESO_KV_LAYOUT_H
#include <stdbool.h>
#include <stdint.h>

#include "ec/group.h"

#define LAYOUT_MAGIC	   UINT64_C(0x3130534f43455341) /* "ASECOS01" */
#define LAYOUT_VERSION	   2u
#define LAYOUT_SUPER_BYTES 152u /* of a superblock */

struct layout {
	struct group group;
	uint32_t index_groups; /* bucket groups in a shard */
	uint64_t index_off;    /* of the own shard; rooms follow */
	uint64_t index_stride; /* from a shard to the next room */
	uint64_t image_off;    /* of area 1; the others follow */
	uint64_t image_stride; /* from an area to the next */
	uint64_t size;	       /* of the whole region */
};

struct layout_shape {
	uint32_t nodes, k, m;
	uint64_t usable;      /* bytes a user wants to store in the pool */
	uint32_t block_bytes; /* 0: chosen from @usable */
	uint64_t slots;	  /* in the whole pool; 0: one per 2 KiB, >= 262144 */
	uint32_t clients; /* lanes' worth of delta blocks; 0: 16 */
};

/* Compute the layout. Errors: -EINVAL if the code does not fit the nodes or
 * the sizes do not make sense; -EFBIG past what a slot can address. */
int layout_of(const struct layout_shape *shape, struct layout *out);

/* The largest pool whose nodes have at most @bytes each, to the MiB; @shape's
 * usable is ignored. Errors: those of layout_of(); -ENOSPC there is none. */
int layout_within(const struct layout_shape *shape, uint64_t bytes,
		  struct layout *out);

/* A number that two layouts share if they are the same. */
uint64_t layout_sum(const struct layout *l);

/* Offset of shard @shard in the region of @host: its own, or room
 * r = (host - shard) mod N if that is <= m; else UINT64_MAX. */
uint64_t layout_shard_off(const struct layout *l, uint32_t shard,
			  uint32_t host);

/* Bytes of a shard as checkpoints see it: whole pieces (checkpoint/piece.h). */
uint64_t layout_shard_bytes(const struct layout *l);

/* Offset of the image of @shard in the region of @holder: area
 * r = (holder - shard) mod N if that is 1..m; else UINT64_MAX. */
uint64_t layout_image_off(const struct layout *l, uint32_t shard,
			  uint32_t holder);

/* The superblock: what a node tells of itself; little-endian, CRC at the end
 * of its fixed part. */
struct layout_super {
	uint64_t magic;
	uint32_t version;
	uint32_t node;
	uint8_t uuid[16]; /* of the pool */
	uint64_t secret;  /* seeds the CRC of records */
	struct layout layout;
	uint32_t crc;
	uint32_t pad;
};

void layout_super_write(void *region, const struct layout_super *in);
/* Errors: -EPROTO not ours or another version; -EBADMSG damaged. */
int layout_super_read(const void *region, struct layout_super *out);

#endif
