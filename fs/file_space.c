/* fs/file_space.c - fallocate and lseek: what is there, and what shall be. */
#include <errno.h>
#include <linux/falloc.h>
#include <string.h>
#include <unistd.h>

#include "fs/file_impl.h"
#include "fs/fs_impl.h"
#include "fs/region.h"
#include "fs/xattr.h"

/* --- lseek --- */

/* The first page >= @page within the @n nodes, counted from the first of
 * them, that is data (or a hole). FS_CHUNK_PAGES * n if none. */
static uint64_t find_page(const struct fs_cnode *node, uint32_t n,
			  uint64_t page, bool data)
{
	for (; page < n * (uint64_t)FS_CHUNK_PAGES; page++)
		if ((node[page / FS_CHUNK_PAGES]
			     .page[page % FS_CHUNK_PAGES]
			     .addr != 0) == data)
			break;
	return page;
}

/* Search the chunks @first .. + @n - 1 from offset @off; *@at is the offset
 * found, or the end of the run. */
static int find_in_run(struct fs *fs, uint64_t ino, uint64_t first, uint32_t n,
		       uint64_t off, bool data, uint64_t *at)
{
	uint64_t base = first * FS_CHUNK_BYTES, page = 0;
	struct fs_cnode node[FS_CNODES_MAX];
	int rc;

	rc = fs_cnode_load(fs, ino, first, n, node);
	if (rc != 0)
		return rc;
	if (off > base)
		page = (off - base) / FS_PAGE_BYTES;
	*at = base + find_page(node, n, page, data) * FS_PAGE_BYTES;
	if (*at < off)
		*at = off;
	return 0;
}

static off_t seek_data(struct fs *fs, const struct fs_inode *in, uint64_t off)
{
	uint64_t next = off / FS_CHUNK_BYTES, first, at;
	uint64_t end = (in->size - 1) / FS_CHUNK_BYTES + 1;
	uint32_t n;
	int rc;

	while ((rc = fs_region_next(fs, in->ino, next, end, &first, &n)) == 1) {
		rc = find_in_run(fs, in->ino, first, n, off, true, &at);
		if (rc != 0)
			return rc;
		next = first + n;
		if (at < next * FS_CHUNK_BYTES)
			return at < in->size ? (off_t)at : -ENXIO;
	}
	return rc < 0 ? rc : -ENXIO;
}

static off_t seek_hole(struct fs *fs, const struct fs_inode *in, uint64_t off)
{
	uint64_t next = off / FS_CHUNK_BYTES, at = off;
	int rc;

	for (; next * FS_CHUNK_BYTES < in->size; next += FS_CNODES_MAX) {
		rc = find_in_run(fs, in->ino, next, FS_CNODES_MAX, off, false,
				 &at);
		if (rc != 0)
			return rc;
		if (at < (next + FS_CNODES_MAX) * FS_CHUNK_BYTES)
			break;
	}
	return at < in->size ? at : in->size;
}

off_t fs_file_seek(struct fs *fs, const struct fs_inode *in, uint64_t off,
		   int whence)
{
	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return -EINVAL;
	if (off >= in->size)
		return -ENXIO;
	if (in->is_inline)
		return whence == SEEK_DATA ? off : in->size;
	return whence == SEEK_DATA ? seek_data(fs, in, off)
				   : seek_hole(fs, in, off);
}

/* --- fallocate --- */

/* How many pages of [@from, @to) the file holds. */
static int held_pages(struct fs *fs, uint64_t ino, uint64_t from, uint64_t to,
		      uint64_t *held)
{
	struct fs_cnode node[FS_CNODES_MAX];
	uint64_t next = from / FS_CHUNK_BYTES, first;
	uint64_t end = (to - 1) / FS_CHUNK_BYTES + 1;
	uint32_t n;
	int rc;

	*held = 0;
	while ((rc = fs_region_next(fs, ino, next, end, &first, &n)) == 1) {
		rc = fs_cnode_load(fs, ino, first, n, node);
		if (rc != 0)
			return rc;
		for (uint32_t i = 0; i < n; i++)
			*held += fs_cnode_count(&node[i]);
		next = first + n;
	}
	return rc;
}

/* Could the pool hold what [@off, @off + @len) lacks? -ENOSPC if not. */
static int room_for(struct fs *fs, const struct fs_inode *in, uint64_t off,
		    uint64_t len)
{
	struct kv_space space;
	uint64_t held;
	int rc;

	rc = kv_space(fs->kv, &space);
	if (rc != 0 || len <= space.available)
		return rc;
	if (in->is_inline)
		return -ENOSPC;
	rc = held_pages(fs, in->ino, off, off + len, &held);
	if (rc != 0)
		return rc;
	if (held * FS_PAGE_BYTES + space.available < len)
		return -ENOSPC;
	return 0;
}

struct punched {
	struct fs *fs;
	uint64_t freed;
};

static int note_punch(struct fs_inode *in, void *arg)
{
	struct punched *p = arg;

	fs_file_uncount(in, p->freed);
	fs_file_stamp(p->fs, in);
	fs_xattr_kill_caps(in);
	return 0;
}

/* Zero what of [@off, @end) is within the file; the size stays. */
static int punch(struct fs *fs, struct fs_inode *in, uint64_t off, uint64_t end)
{
	struct punched p = {.fs = fs};
	int rc;

	if (end > in->size)
		end = in->size;
	if (off >= end)
		return 0;
	if (in->is_inline) {
		memset(in->body + off, 0, end - off);
		note_punch(in, &p);
		return fs_inode_store(fs, in);
	}
	rc = fs_file_zero(fs, in->ino, off, end, &p.freed);
	if (rc != 0 && p.freed == 0)
		return rc;
	/* Pages went, even if not all: the count must follow. */
	return fs_inode_update(fs, in->ino, note_punch, &p, in) ?: rc;
}

static int allocate_once(struct fs *fs, uint64_t ino, int mode, uint64_t off,
			 uint64_t end)
{
	struct fs_inode in;
	int rc;

	rc = fs_inode_load(fs, ino, &in);
	if (rc != 0)
		return rc;
	if (!S_ISREG(in.mode))
		return -ENODEV;
	if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		rc = punch(fs, &in, off, end);
	else
		rc = room_for(fs, &in, off, end - off);
	if (rc != 0 || (mode & FALLOC_FL_KEEP_SIZE) || end <= in.size)
		return rc;
	return fs_file_truncate(fs, &in, end);
}

static bool mode_known(int mode)
{
	switch (mode) {
	case 0:
	case FALLOC_FL_KEEP_SIZE:
	case FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE:
	case FALLOC_FL_ZERO_RANGE:
	case FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE:
		return true;
	default:
		return false;
	}
}

int fs_file_fallocate(struct fs *fs, uint64_t ino, int mode, uint64_t off,
		      uint64_t len)
{
	int rc = -ESTALE;

	if (!mode_known(mode))
		return -EOPNOTSUPP;
	if (len == 0)
		return -EINVAL;
	if (off > FS_FILE_BYTES_MAX || len > FS_FILE_BYTES_MAX - off)
		return -EFBIG;
	for (int i = 0; rc == -ESTALE && i < FS_RETRIES_MAX; i++)
		rc = allocate_once(fs, ino, mode, off, off + len);
	return rc == -ESTALE ? -EBUSY : rc;
}
