/* fs/file_size.c - the end of a file: truncation, and the bytes of small files.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "fs/file_impl.h"
#include "fs/fs_impl.h"
#include "fs/itable.h"
#include "fs/key.h"
#include "fs/names.h"
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

/* Store @in, not inline any more, and its first page. -EAGAIN: another mount
 * changed what garbage there is in the chunk. */
static int spill_once(struct fs *fs, struct fs_inode *in,
		      const struct kv_page *page)
{
	uint8_t buf[FS_INODE_BYTES_MAX];
	struct fs_cnode old, new;
	struct fs_key key;
	struct kv_req req;
	int rc;

	rc = fs_cnode_load(fs, in->ino, 0, 1, &old);
	if (rc != 0)
		return rc;
	new = old;
	new.page[0] = *page;
	req = fs_names_put(in, &key, buf);
	rc = fs_cnode_store_with(fs, in->ino, 0, &new, &req);
	if (rc == -ESTALE && req.status == 0)
		return -EAGAIN;
	if (rc != 0)
		return rc;
	fs_inode_stored(fs, in, req.version);
	fs_cnode_free(fs, &old, &new);
	return 0;
}

static void unline(struct fs_inode *in)
{
	uint64_t size = in->size;

	fs_file_inline_resize(in, 0);
	in->is_inline = false;
	in->size = size;
}

static int spill_page(struct fs *fs, struct fs_inode *in)
{
	uint8_t bytes[FS_PAGE_BYTES] = {0};
	const void *data = bytes;
	struct kv_page page;
	int rc;

	memcpy(bytes, in->body, in->data_len);
	rc = kv_pages_write(fs->kv, &data, 1, &page);
	if (rc != 0)
		return rc;
	unline(in);
	in->pages++;
	rc = -EAGAIN;
	for (int i = 0; rc == -EAGAIN && i < FS_RETRIES_MAX; i++)
		rc = spill_once(fs, in, &page);
	if (rc != 0 && rc != -ETIMEDOUT)
		kv_pages_free(fs->kv, &page, 1);
	return rc == -EAGAIN ? -EBUSY : rc;
}

int fs_file_spill(struct fs *fs, struct fs_inode *in)
{
	assert(in->is_inline);
	if (in->data_len > 0)
		return spill_page(fs, in);
	unline(in);
	return 0;
}

static int uncount(struct fs_inode *in, void *arg)
{
	fs_file_uncount(in, *(uint64_t *)arg);
	return 0;
}

static void set_end(struct fs_inode *in, uint64_t size)
{
	in->size = size;
	if (size == 0) {
		in->is_inline = true;
		in->data_len = 0;
	}
}

/* With other mounts about, what lies behind the new end may be theirs as soon
 * as the size is stored: so the bytes go first, and only those that the file
 * had. Who writes there meanwhile comes before the cut, and is cut too. */
static int cut_shared(struct fs *fs, struct fs_inode *in, uint64_t size)
{
	uint64_t freed = 0;
	int rc = 0;

	if (!in->is_inline && in->pages > 0)
		rc = fs_file_zero(fs, in->ino, size, in->size, &freed);
	fs_file_uncount(in, freed);
	set_end(in, size);
	if (rc == 0)
		rc = fs_inode_store(fs, in);
	if (rc != 0 && freed > 0)
		fs_inode_update(fs, in->ino, uncount, &freed, NULL);
	return rc;
}

/* The size first, then the bytes: a crash between leaves garbage beyond the
 * end (B1) and a count that makes fs_file_clear() look for it. The zeros in
 * the last page are not needed for B1: they keep old bytes from other mounts
 * that grow the file. */
static int cut_alone(struct fs *fs, struct fs_inode *in, uint64_t size)
{
	uint64_t was = in->size, freed = 0;
	bool had = !in->is_inline && in->pages > 0;
	int rc;

	set_end(in, size);
	rc = fs_inode_store(fs, in);
	if (rc != 0 || !had)
		return rc;
	fs_file_zero(fs, in->ino, size, was + -was % FS_CHUNK_BYTES, &freed);
	if (freed > 0)
		fs_inode_update(fs, in->ino, uncount, &freed, in);
	return 0; /* the size is set: what failed since is only untidy */
}

static int cut(struct fs *fs, struct fs_inode *in, uint64_t size)
{
	return kv_clients(fs->kv) > 1 ? cut_shared(fs, in, size)
				      : cut_alone(fs, in, size);
}

static int grow(struct fs *fs, struct fs_inode *in, uint64_t size)
{
	int rc = in->is_inline ? fs_file_spill(fs, in) : 0;

	if (rc == 0)
		rc = fs_file_zero_beyond(fs, in, size);
	if (rc != 0)
		return rc;
	in->size = size;
	return fs_inode_store(fs, in);
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
