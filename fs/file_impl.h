/* fs/file_impl.h - private to the files behind chunk.h: file_*.c. */
#ifndef ACESO_FS_FILE_IMPL_H
#define ACESO_FS_FILE_IMPL_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/cnode.h"
#include "fs/inode.h"

/* A page that is not what its pointer says is asked for this often, with the
 * pointer read again each time, before it is called bad. */
#define FS_PAGE_TRIES 8

/* One piece of a read or write: at most KV_PAGES_MAX pages. */
#define FS_PIECE_CHUNKS_MAX (KV_PAGES_MAX / FS_CHUNK_PAGES + 1)

/* How much of [@off, @off + @size) is the first piece. */
static inline size_t fs_piece(uint64_t off, size_t size)
{
	size_t most = KV_PAGES_MAX * FS_PAGE_BYTES - off % FS_PAGE_BYTES;

	return size < most ? size : most;
}

/* Make [@from, @to) read as zeros: pages inside are given back, those on the
 * edges are written anew if they hold anything there. Adds to *@freed how many
 * pages fewer the file has. Lock: exclusive. */
int fs_file_zero(struct fs *fs, uint64_t ino, uint64_t from, uint64_t to,
		 uint64_t *freed);

/* The same between the end of @in and @to, before the end moves outwards. With
 * other mounts about, one of them may have moved it already and the bytes be
 * its own: so each chunk is changed only if the inode still is @in (whose
 * version may move on). -ESTALE if it is not. */
int fs_file_zero_beyond(struct fs *fs, struct fs_inode *in, uint64_t to);

/* Set the length of an inline file, at most FS_INLINE_BYTES_MAX, in the copy
 * alone; what is added is zeros. */
void fs_file_inline_resize(struct fs_inode *in, size_t len);

/* Put the bytes of an inline file into its first page. If it has any, chunk and
 * inode are stored together: no other mount can have its bytes in the one while
 * the other says that they are elsewhere. The size stays.
 * Errors: -ESTALE if @in was changed since. On errors @in is spoilt. */
int fs_file_spill(struct fs *fs, struct fs_inode *in);

/* The file's data changed now: times, in the copy alone. */
void fs_file_stamp(struct fs *fs, struct fs_inode *in);

/* @in->pages loses @freed: a count that a crash left wrong stops at 0. */
void fs_file_uncount(struct fs_inode *in, uint64_t freed);

#endif
