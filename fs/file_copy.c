/* fs/file_copy.c - copy_file_range(2): the bytes go from node to node through
 * this process, not through the application. Pages are not shared: that would
 * need reference counts on them. */
#include <errno.h>
#include <stdlib.h>

#include "fs/file_impl.h"
#include "fs/fs_impl.h"

enum {
	COPY_PIECE_BYTES = 1024 * 1024,
	COPY_BYTES_MAX = 16 * COPY_PIECE_BYTES, /* a request: callers go on */
};

/* No more than @from has now: a copy within one file must not run into what it
 * has itself put behind the end. */
static ssize_t copy_len(struct fs *fs, uint64_t from, uint64_t off, size_t len)
{
	struct fs_inode in;
	int rc;

	rc = fs_inode_load(fs, from, &in);
	if (rc != 0)
		return rc;
	if (len > COPY_BYTES_MAX)
		len = COPY_BYTES_MAX;
	if (off >= in.size)
		return 0;
	return len < in.size - off ? len : in.size - off;
}

static ssize_t copy_in(struct fs *fs, uint64_t ino, void *buf, size_t len,
		       uint64_t off)
{
	struct fs_inode in;
	ssize_t rc;

	fs_inode_lock(fs, ino, false);
	rc = fs_inode_load(fs, ino, &in);
	if (rc == 0)
		rc = fs_file_read(fs, &in, buf, len, off);
	fs_inode_unlock(fs, ino);
	return rc;
}

static ssize_t copy_out(struct fs *fs, uint64_t ino, const void *buf,
			size_t len, uint64_t off)
{
	ssize_t rc;

	fs_inode_lock(fs, ino, true);
	rc = fs_file_write(fs, ino, buf, len, &off, false, true);
	fs_inode_unlock(fs, ino);
	return rc;
}

/* The piece at @done. Returns bytes copied. */
static ssize_t copy_piece(struct fs *fs, uint64_t from, uint64_t from_off,
			  uint64_t to, uint64_t to_off, size_t len, void *buf)
{
	ssize_t got;

	if (len > COPY_PIECE_BYTES)
		len = COPY_PIECE_BYTES;
	got = copy_in(fs, from, buf, len, from_off);
	if (got <= 0)
		return got;
	return copy_out(fs, to, buf, got, to_off);
}

ssize_t fs_file_copy(struct fs *fs, uint64_t from, uint64_t from_off,
		     uint64_t to, uint64_t to_off, size_t len)
{
	ssize_t n = copy_len(fs, from, from_off, len);
	size_t done = 0;
	void *buf;

	if (n <= 0)
		return n;
	len = n;
	buf = malloc(len < COPY_PIECE_BYTES ? len : COPY_PIECE_BYTES);
	if (buf == NULL)
		return -ENOMEM;
	while (done < len) {
		n = copy_piece(fs, from, from_off + done, to, to_off + done,
			       len - done, buf);
		if (n <= 0)
			break;
		done += n;
	}
	free(buf);
	return done > 0 ? (ssize_t)done : n;
}
