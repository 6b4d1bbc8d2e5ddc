/* fs/file_piece.h - private to file_*.c: at most a MiB of a file, written
 * through to its chunks. Knows nothing of the inode.
 * Threads: the inode's lock, exclusive; or shared, and the range's. */
#ifndef ACESO_FS_FILE_PIECE_H
#define ACESO_FS_FILE_PIECE_H
#include <stddef.h>
#include <stdint.h>

struct fs;

struct fs_piece_target {
	struct fs *fs;
	uint64_t ino;
	uint64_t held;	/* the file's size before: pages that begin there or
			 * later are garbage (B1), not read. UINT64_MAX if
			 * other mounts may have grown it since */
	int64_t gained; /* out: pages more than before, summed up */
};

/* Write @len bytes at @off; they touch at most KV_PAGES_MAX pages. On error
 * every chunk is as it was, and @t->gained untouched, unless other mounts or
 * dying nodes came between: then some chunks may have the new bytes.
 * Errors: -ENOSPC, -EBUSY, those of kv.h. */
int fs_piece_write(struct fs_piece_target *t, const uint8_t *buf, size_t len,
		   uint64_t off);

#endif
