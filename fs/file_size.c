/* fs/file_size.c - the end of a file: truncation, and the bytes of small files.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "fs/file_impl.h"
#include "fs/fs_impl.h"
#include "fs/itable.h"
#include "fs/xattr.h"

void fs_file_stamp(struct fs *fs, struct fs_inode *in)
{
	in->mtime_ns = in->ctime_ns = kv_wall_ns(fs->kv);
}

void fs_file_uncount(struct fs_inode *in, uint64_t freed)
{
	in->pages -= freed < in->pages ? freed : in->pages;
}

void fs_file_inline_resize(struct fs_inode *in, size_t len)
{
	assert(len <= FS_INLINE_BYTES_MAX);
	memmove(in->body + len, in->body + in->data_len, in->xattr_len);
	if (len > in->data_len)
		memset(in->body + in->data_len, 0, len - in->data_len);
	in->data_len = len;
	in->size = len;
}

/* One try; another mount may hold chunk 0 in its hands too. */
static int spill_once(struct fs *fs, const struct fs_inode *in,
		      const struct kv_page *page)
{
	struct fs_cnode old, new;
	int rc, status = 1;

	rc = fs_cnode_load(fs, in->ino, 0, 1, &old);
	if (rc != 0)
		return rc;
	new = old;
	new.page[0] = *page;
	rc = fs_cnode_store(fs, in->ino, 0, 1, &new, &status, 0);
	if (rc == 0)
		fs_cnode_free(fs, &old, &new);
	return rc;
}

static int spill_page(struct fs *fs, const struct fs_inode *in)
{
	uint8_t bytes[FS_PAGE_BYTES] = {0};
	const void *data = bytes;
	struct kv_page page;
	int rc;

	memcpy(bytes, in->body, in->data_len);
	rc = kv_pages_write(fs->kv, &data, 1, &page);
	if (rc != 0)
		return rc;
	do
		rc = spill_once(fs, in, &page);
	while (rc == -ESTALE);
	if (rc != 0 && rc != -ETIMEDOUT)
		kv_pages_free(fs->kv, &page, 1);
	return rc;
}

int fs_file_spill(struct fs *fs, struct fs_inode *in)
{
	uint64_t size = in->size;
	int rc;

	assert(in->is_inline);
	if (in->data_len > 0) {
		rc = spill_page(fs, in);
		if (rc != 0)
			return rc;
		in->pages++;
	}
	fs_file_inline_resize(in, 0);
	in->is_inline = false;
	in->size = size;
	return 0;
}

void fs_file_unspill(struct fs *fs, uint64_t ino)
{
	uint64_t freed = 0;

	fs_file_zero(fs, ino, 0, FS_CHUNK_BYTES, &freed);
}

static int uncount(struct fs_inode *in, void *arg)
{
	fs_file_uncount(in, *(uint64_t *)arg);
	return 0;
}

/* The size first, then the bytes: a crash between leaves garbage beyond the
 * end (B1) and a count that makes fs_file_clear() look for it. The zeros in
 * the last page are not needed for B1: they keep old bytes from other mounts
 * that grow the file. */
static int cut(struct fs *fs, struct fs_inode *in, uint64_t size)
{
	uint64_t was = in->size, freed = 0;
	bool had = !in->is_inline && in->pages > 0;
	int rc;

	in->size = size;
	if (size == 0) {
		in->is_inline = true;
		in->data_len = 0;
	}
	rc = fs_inode_store(fs, in);
	if (rc != 0 || !had)
		return rc;
	fs_file_zero(fs, in->ino, size, was + -was % FS_CHUNK_BYTES, &freed);
	if (freed > 0)
		fs_inode_update(fs, in->ino, uncount, &freed, in);
	return 0; /* the size is set: what failed since is only untidy */
}

/* With other mounts about, the new bytes are ours only once the size says so:
 * then the size goes first. */
static int grow(struct fs *fs, struct fs_inode *in, uint64_t size)
{
	uint64_t was = in->size, freed = 0;
	bool shared = kv_clients(fs->kv) > 1, spilled = in->is_inline;
	int rc;

	if (in->is_inline) {
		rc = fs_file_spill(fs, in);
		if (rc != 0)
			return rc;
	}
	in->size = size;
	if (shared) {
		rc = fs_inode_store(fs, in);
		if (rc == 0)
			rc = fs_file_zero(fs, in->ino, was, size, &freed);
		return rc;
	}
	rc = fs_file_zero(fs, in->ino, was, size, &freed);
	if (rc == 0)
		rc = fs_inode_store(fs, in);
	if (rc != 0 && spilled)
		fs_file_unspill(fs, in->ino);
	return rc;
}

int fs_file_truncate(struct fs *fs, struct fs_inode *in, uint64_t size)
{
	if (size > FS_FILE_BYTES_MAX)
		return -EFBIG;
	fs_file_stamp(fs, in);
	fs_xattr_kill_caps(in);
	if (in->size == 0 && size <= FS_INLINE_BYTES_MAX)
		in->is_inline = true;
	if (in->is_inline && size <= FS_INLINE_BYTES_MAX) {
		fs_file_inline_resize(in, size);
		return fs_inode_store(fs, in);
	}
	if (size < in->size)
		return cut(fs, in, size);
	if (size > in->size)
		return grow(fs, in, size);
	return fs_inode_store(fs, in);
}

int fs_file_settle(struct fs *fs, uint64_t ino)
{
	return fs_itable_settle(fs, ino);
}
