/* fs/chunk.h - a file's bytes: offset -> chunk of 64 KiB -> page of 4 KiB.
 * A chunk's value is a node of 16 page pointers with CRCs (cnode.h); an absent
 * chunk or page is a hole and reads as zeros. Where chunks may be, region.h
 * remembers. A small file has no chunks: its bytes lie in the inode
 * (is_inline) until it grows past FS_INLINE_BYTES_MAX.
 *
 * B1. Bytes at or beyond the end of the file are garbage that nobody reads;
 *     whoever moves the end outwards makes what he adds read as zeros first.
 *     So a crash between a chunk and its inode harms nothing.
 * B2. A page is given back only after the change that dropped its last name
 *     was acknowledged; one that was never named, at once. After -ETIMEDOUT
 *     neither is known, and the page is left to fsck.
 *
 * Threads: callers hold the inode's lock as each function says; it orders the
 * requests of this mount. Other mounts are met by conditional stores.
 * Errors of all: those of kv.h; -EBADMSG for a record that does not parse;
 * -ENOENT if the inode is gone; -EBUSY if other mounts were faster
 * FS_RETRIES_MAX times. */
#ifndef ACESO_FS_CHUNK_H
#define ACESO_FS_CHUNK_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "kv/kv.h"

struct fs;
struct fs_inode;

#define FS_CHUNK_BYTES (64u * 1024)
#define FS_PAGE_BYTES  4096u
#define FS_CHUNK_PAGES (FS_CHUNK_BYTES / FS_PAGE_BYTES)
#define FS_FILE_BYTES_MAX                                                      \
	((uint64_t)1 << 56) /* as large as off_t is useful                     \
			     */

/* Read at most @size bytes at @off into @buf; returns the bytes read (short
 * only at the end of the file) or -errno. Lock: shared. */
ssize_t fs_file_read(struct fs *fs, const struct fs_inode *in, void *buf,
		     size_t size, uint64_t off);

/* Write @size bytes at *@off, or at the end if @append (*@off then tells
 * where: no two appends overlap, on any mounts). Grows the file, moves mtime
 * and ctime, drops file capabilities, and the set-id bits if @kill_priv.
 * All or nothing per MiB unless nodes give out. A grown file is in the store
 * when this returns; times alone may be pending (itable.h).
 * Returns bytes written or -errno: -EFBIG, -ENOSPC. Lock: exclusive. */
ssize_t fs_file_write(struct fs *fs, uint64_t ino, const void *buf, size_t size,
		      uint64_t *off, bool append, bool kill_priv);

/* The same within the file as it is, so that its size stays: writers of other
 * bytes and readers of other chunks go on meanwhile. @in gets the inode as it
 * was found. Lock: shared.
 * Errors: -EAGAIN if these bytes are not within it, or it is a small file. */
ssize_t fs_file_overwrite(struct fs *fs, uint64_t ino, const void *buf,
			  size_t size, uint64_t off, bool kill_priv,
			  struct fs_inode *in);

struct fs_overwrite {
	uint64_t ino;
	uint64_t off;
	size_t size;
	const void *buf;
	bool kill_priv; /* drops set-id bits */
	ssize_t done;	/* out: of fs_file_overwrite_many() */
};

#define FS_OVERWRITES_MAX 32u

/* Several overwrites at once, each of whole pages within one chunk, for the
 * round trips of one and with the rows of large writes (kv_pages_write()). Each
 * @done becomes its size or -errno, or -EAGAIN if nothing of it was written and
 * it is to be done alone: as it is not within the file as it is, changes more
 * of the inode than its times, goes into a hole, or would have to wait for a
 * lock; or as all together failed. Writers of one chunk have no order among
 * each other here.
 * @n <= FS_OVERWRITES_MAX, and no more than KV_PAGES_MAX pages in all. Lock:
 * none is held; those that it takes, it does not wait for. */
void fs_file_overwrite_many(struct fs *fs, struct fs_overwrite *write,
			    size_t n);

/* fs_file_overwrite() into a small file that stays one, by the copy @in that
 * overwrite left, without another look: one put, on condition that it is the
 * newest. Edits @in. Lock: exclusive. Errors: -ESTALE if it is not the newest,
 * -EAGAIN if it is no small file or would be none: fs_file_write() is to do it.
 */
ssize_t fs_file_write_small(struct fs *fs, struct fs_inode *in, const void *buf,
			    size_t size, uint64_t off, bool kill_priv);

/* Set the size; what is cut off is given back, what is added reads as zeros.
 * Edits and stores @in, with what the caller changed in it, and moves mtime
 * and ctime; set-id bits are the caller's.
 * Errors: -ESTALE if @in was changed since it was loaded: load it again;
 * -EFBIG. Lock: exclusive. */
int fs_file_truncate(struct fs *fs, struct fs_inode *in, uint64_t size);

/* fallocate(2): mode 0, KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE; -EOPNOTSUPP else.
 * Reserving is not possible where every write goes to a new place: mode 0
 * extends the size and says -ENOSPC if the pool could not hold @len bytes now;
 * later writes may still meet a full pool. Set-id bits are the caller's.
 * Lock: exclusive. */
int fs_file_fallocate(struct fs *fs, uint64_t ino, int mode, uint64_t off,
		      uint64_t len);

/* lseek(2) for SEEK_DATA and SEEK_HOLE, exact to a page: offset or -ENXIO.
 * Lock: shared. */
off_t fs_file_seek(struct fs *fs, const struct fs_inode *in, uint64_t off,
		   int whence);

/* copy_file_range(2): bytes copied (perhaps fewer than @len; 0 at the end of
 * @from) or -errno. Takes the inode locks itself, one at a time. */
ssize_t fs_file_copy(struct fs *fs, uint64_t from, uint64_t from_off,
		     uint64_t to, uint64_t to_off, size_t len);

/* Give back every chunk and page of @in (which is about to be destroyed).
 * Lock: exclusive. */
int fs_file_clear(struct fs *fs, struct fs_inode *in);

/* For fs_explain(): call @each for every chunk's key, @page (may be NULL) for
 * every page, in the order of the file, until one returns non-zero, which is
 * then returned. */
int fs_file_explain(struct fs *fs, const struct fs_inode *in,
		    int (*each)(void *arg, const char *what, const void *key,
				unsigned klen),
		    int (*page)(void *arg, uint64_t offset,
				struct kv_page page),
		    void *arg);

/* Pending times that writes left in memory, into the inode record: at flush,
 * fsync, release and once a second. */
int fs_file_settle(struct fs *fs, uint64_t ino);

#endif
