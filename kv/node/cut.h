/* kv/node/cut.h - a cut: what one node remembers of the pool at one instant,
 * and the file it becomes (kv/FORMAT.md). The bytes of blocks are not in it:
 * they lie in the region and are not changed while a cut needs them.
 *
 *   head | block, bitmap if in use | block ... | shard, its slots | shard ...
 *
 * A data block is told by its own node alone; parity is made again from data.
 * Threads: one at a time per struct. */
#ifndef ACESO_KV_NODE_CUT_H
#define ACESO_KV_NODE_CUT_H
#include <stddef.h>
#include <stdint.h>

#include "kv/layout.h"

#define CUT_MAGIC   UINT64_C(0x3130545543454341) /* "ACECUT01" */
#define CUT_VERSION 1u

/* What comes first in the file; its CRC covers what is before it. */
struct cut_head {
	uint64_t magic;
	uint32_t version;
	uint32_t node;
	uint8_t uuid[16]; /* of the pool */
	uint64_t number;  /* of the cut: the same on all nodes */
	uint64_t raw;	  /* bytes of the body */
	uint64_t packed;  /* of the body as it is in the file */
	uint32_t blocks;  /* told of in it */
	uint32_t shards;
	uint32_t raw_crc, packed_crc;
	uint32_t crc;
	uint32_t pad;
};

struct cut_block {
	uint32_t block; /* of this node */
	uint32_t life;
	uint32_t used;
	uint8_t state; /* enum block_state; FREE: no bitmap follows */
	uint8_t kind;
	uint16_t pad;
	uint64_t sealed;
};

struct cut_shard {
	uint32_t shard, pad;
	uint64_t bytes; /* that follow */
};

/* Of the two files of a node: "meta-0", "meta-1". */
static inline const char *cut_name(uint32_t slot)
{
	return slot == 0 ? "meta-0" : "meta-1";
}

/* --- making one ----------------------------------------------------------- */

struct cut {
	struct cut_head head; /* node, uuid, number are the maker's */
	char *body;
	size_t len, cap;
	int failed; /* -ENOMEM */
};

/* Room for what was put in the last one is kept. */
void cut_begin(struct cut *c, const struct layout_super *super,
	       uint64_t number);
void cut_add_block(struct cut *c, const struct cut_block *b, const void *map,
		   size_t map_bytes);
void cut_add_shard(struct cut *c, uint32_t shard, const void *slots,
		   uint64_t bytes);
void cut_free(struct cut *c);

/* As a file; free() it. Errors: -ENOMEM. */
int cut_pack(struct cut *c, void **file, size_t *len);

/* --- reading one ---------------------------------------------------------- */

/* The body of @file into @c. Errors: -EPROTO it is none, or of another version;
 * -EBADMSG damaged; -ESTALE another pool's, node's or cut's than
 * @super, @number say; -ENOMEM. */
int cut_unpack(const void *file, size_t len, const struct layout_super *super,
	       uint64_t number, struct cut *c);

/* Going through it: all blocks, then all shards. */
struct cut_reader {
	const struct cut *cut;
	const struct layout *layout;
	size_t at;
	uint32_t blocks, shards; /* gone past */
};

/* Each returns 1; 0 when there are no more; -EBADMSG. What they point to lies
 * in the cut. */
int cut_next_block(struct cut_reader *r, struct cut_block *out,
		   const void **map);
int cut_next_shard(struct cut_reader *r, struct cut_shard *out,
		   const void **slots);

#endif
