/* fs/cnode.h - the node of one chunk: which pages hold its 64 KiB, and where.
 * This is all the store keeps for a chunk; an absent one is a hole of 64 KiB.
 * Threads: the caller owns its copies; stores are conditional, so that two
 * mounts never overwrite each other's change unseen. */
#ifndef ACESO_FS_CNODE_H
#define ACESO_FS_CNODE_H
#include <stddef.h>
#include <stdint.h>

#include "fs/chunk.h"
#include "kv/kv.h"

struct fs;

#define FS_CNODES_MAX	   64u /* in one load or store */
#define FS_CNODE_BYTES_MAX (4u + 12u * FS_CHUNK_PAGES)

struct fs_cnode {
	uint64_t version; /* of the key; 0: the chunk is absent */
	struct kv_page page[FS_CHUNK_PAGES];
};

/* The value's bytes (see FORMAT.md); returns how many. */
size_t fs_cnode_encode(const struct fs_cnode *node,
		       uint8_t out[FS_CNODE_BYTES_MAX]);

/* Fills the pages of @out, not its version. Errors: -EBADMSG. */
int fs_cnode_decode(const void *val, size_t len, struct fs_cnode *out);

/* How many of its pages are not holes. */
unsigned fs_cnode_count(const struct fs_cnode *node);

/* A chunk of a file. */
struct fs_cnode_at {
	uint64_t ino, chunk;
};

/* Load the nodes of chunks that may be of different files, @n <= FS_CNODES_MAX,
 * in one go; each @status as fs_cnode_load() would return it. */
void fs_cnode_load_each(struct fs *fs, const struct fs_cnode_at *at, size_t n,
			struct fs_cnode *out, int *status);

/* Load chunks @first .. @first + @n - 1 in one go; absent ones get version 0
 * and no pages. Errors: -EBADMSG, those of kv.h. */
int fs_cnode_load(struct fs *fs, uint64_t ino, uint64_t first, size_t n,
		  struct fs_cnode *out);

/* Store those of @node[0..n-1] whose @status is non-zero, each only if it is
 * still at its version (0: still absent), side by side; a node without pages
 * is removed. Each @status becomes 0 (and the version moves on), -ESTALE if
 * another was faster, or what kv.h says. Returns 0 or the first that is not.
 * @flags: KV_URGENT when the change frees space. */
int fs_cnode_store(struct fs *fs, uint64_t ino, uint64_t first, size_t n,
		   struct fs_cnode *node, int *status, unsigned flags);

/* The same for chunks that may be of different files. */
int fs_cnode_store_each(struct fs *fs, const struct fs_cnode_at *at, size_t n,
			struct fs_cnode *node, int *status, unsigned flags);

/* Store @node, likewise, but only together with @with: a change or a check of
 * another key. Errors: -ESTALE, and nothing was changed: one of the two was not
 * as expected; with->status is 0 if it was @node. */
int fs_cnode_store_with(struct fs *fs, uint64_t ino, uint64_t chunk,
			struct fs_cnode *node, struct kv_req *with);

/* Give back the pages of @old that @new does not name any more. */
void fs_cnode_free(struct fs *fs, const struct fs_cnode *old,
		   const struct fs_cnode *new);

#endif
