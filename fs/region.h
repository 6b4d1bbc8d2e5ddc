/* fs/region.h - which parts of a file may hold chunks, so that nobody has to
 * ask for each chunk of a sparse TiB. A region is 1 MiB: 16 chunks.
 *
 * The first FS_DIRECT_CHUNKS chunks are always worth asking for. For those
 * behind, a bit says that a chunk of the region may be there:
 *
 *	level 3   one node: a bit for each 16 TiB
 *	level 2   a node for each 16 TiB: a bit for each 4 GiB
 *	level 1   a node for each 4 GiB: a bit for each MiB
 *
 * R1. Before a chunk is inserted its bit is set, and the bits above it.
 * R2. Bits are never cleared while the file lives: a set bit may be wrong, a
 *     clear one never is. So no order between mounts is needed, and a crash
 *     between bit and chunk is harmless.
 * Threads: any, no locks; changes are conditional. */
#ifndef ACESO_FS_REGION_H
#define ACESO_FS_REGION_H
#include <stddef.h>
#include <stdint.h>

#include "fs/chunk.h"

struct fs;

#define FS_REGION_CHUNKS 16u
#define FS_DIRECT_CHUNKS 64u /* 4 MiB */
#define FS_CHUNKS_MAX	 (FS_FILE_BYTES_MAX / FS_CHUNK_BYTES)

/* A chunk is about to be inserted at @chunk: R1. A chunk of the direct part
 * costs nothing, one whose bit is set a read. Errors: those of kv.h. */
int fs_region_mark(struct fs *fs, uint64_t ino, uint64_t chunk);

/* The first run of chunks in [@from, @to) that may be there: *@first and *@n,
 * at most FS_CNODES_MAX. Returns 1 if there is one, 0 if none, -errno. */
int fs_region_next(struct fs *fs, uint64_t ino, uint64_t from, uint64_t to,
		   uint64_t *first, uint32_t *n);

/* Has the file any bits? 1, 0 or -errno. */
int fs_region_any(struct fs *fs, uint64_t ino);

/* For fsck: the bits of a chunk that is there, above it as well. */
int fs_region_mend(struct fs *fs, uint64_t ino, uint64_t chunk);

/* For fsck: is @val, of @len bytes, a node of @level? Errors: -EBADMSG. */
int fs_region_check(const void *val, size_t len, unsigned level);

/* The file is gone, its chunks too: remove the bits. */
int fs_region_drop(struct fs *fs, uint64_t ino);

#endif
