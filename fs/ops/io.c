/* fs/ops/io.c - read, write, flush, fsync. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "fs/buffer.h"
#include "fs/chunk.h"
#include "fs/door.h"
#include "fs/gather.h"
#include "fs/inode.h"
#include "fs/itable.h"
#include "fs/ops/ops.h"
#include "fs/reply.h"
#include "fs/room.h"

/* Who is at so many bytes keeps nobody from taking the next request: that costs
 * a wake-up, and the bytes a hundred times as much. */
#define LONG_BYTES (256u * 1024)

/* The kernel asks for at most max_read bytes; it is never told less than this
 * by us. More would only mean a larger buffer. */
static void *buf_of_thread(struct fs *fs, size_t size)
{
	return size <= FS_BUFFER_BYTES ? fs_buffer_for_answers(fs->buffers)
				       : NULL;
}

/* relatime: a read moves atime if it is not younger than the last change, or
 * a day old. */
static void touch_atime(struct fs *fs, const struct fs_inode *in)
{
	const int64_t day_ns = 24 * 3600 * 1000000000ll;

	if (fs->opts.check)
		return; /* it may not change anything */
	if (in->atime_ns <= in->mtime_ns || in->atime_ns <= in->ctime_ns ||
	    in->atime_ns + day_ns <= (int64_t)kv_wall_ns(fs->kv))
		fs_itable_touch(fs, in->ino, FS_TOUCH_ATIME);
}

static ssize_t read_locked(struct fs *fs, fuse_ino_t ino, void *buf,
			   size_t size, uint64_t off, bool atime)
{
	struct fs_inode in;
	ssize_t rc;

	fs_inode_lock(fs, ino, false);
	rc = fs_inode_load(fs, ino, &in);
	if (rc == 0)
		rc = fs_file_read(fs, &in, buf, size, off);
	fs_inode_unlock(fs, ino);
	if (rc >= 0 && atime)
		touch_atime(fs, &in);
	return rc;
}

void fs_op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		struct fuse_file_info *fi)
{
	bool atime = fi == NULL || (fi->flags & O_NOATIME) == 0;
	void *own = buf_of_thread(fs_of(req), size), *buf = own;
	ssize_t rc;

	if (size >= LONG_BYTES)
		door_leave(fs_of(req)->door);
	if (buf == NULL)
		buf = malloc(size);
	if (buf == NULL) {
		fs_reply_err(req, -ENOMEM);
		return;
	}
	rc = read_locked(fs_of(req), ino, buf, size, off, atime);
	if (rc < 0)
		fs_reply_ino_err(req, rc);
	else
		fuse_reply_buf(req, buf, rc);
	if (own == NULL)
		free(buf);
}

static ssize_t append_locked(struct fs *fs, fuse_ino_t ino, const char *buf,
			     size_t size, bool kill_priv)
{
	uint64_t off = 0;
	ssize_t rc;

	fs_inode_lock(fs, ino, true);
	rc = fs_file_write(fs, ino, buf, size, &off, true, kill_priv);
	fs_inode_unlock(fs, ino);
	return rc;
}

/* What keeps others out least, first. */
static ssize_t write_locked(struct fs *fs, fuse_ino_t ino, const char *buf,
			    size_t size, uint64_t off, bool kill_priv)
{
	struct fs_inode in;
	ssize_t rc;

	fs_inode_lock(fs, ino, false);
	rc = fs_file_overwrite(fs, ino, buf, size, off, kill_priv, &in);
	fs_inode_unlock(fs, ino);
	if (rc != -EAGAIN)
		return rc;
	fs_inode_lock(fs, ino, true);
	rc = fs_file_write_small(fs, &in, buf, size, off, kill_priv);
	if (rc == -EAGAIN || rc == -ESTALE)
		rc = fs_file_write(fs, ino, buf, size, &off, false, kill_priv);
	fs_inode_unlock(fs, ino);
	return rc;
}

static void answer_write(fuse_req_t req, ssize_t rc)
{
	if (rc < 0)
		fs_reply_ino_err(req, rc);
	else
		fuse_reply_write(req, rc);
}

static void append(fuse_req_t req, const struct fs_overwrite *w)
{
	struct fs *fs = fs_of(req);
	struct fs_room room = {0};
	ssize_t rc;

	do
		rc = append_locked(fs, w->ino, w->buf, w->size, w->kill_priv);
	while (fs_room_again(fs, rc, &room));
	answer_write(req, rc);
}

static void write_alone(fuse_req_t req, const struct fs_overwrite *w)
{
	struct fs *fs = fs_of(req);
	struct fs_room room = {0};
	ssize_t rc;

	do
		rc = write_locked(fs, w->ino, w->buf, w->size, w->off,
				  w->kill_priv);
	while (fs_room_again(fs, rc, &room));
	answer_write(req, rc);
}

/* A page that the kernel writes back carries no writer: its privileges were
 * dropped when it was made dirty, and it has an offset of its own. */
void fs_op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size,
		 off_t off, struct fuse_file_info *fi)
{
	bool appends = (fi->flags & O_APPEND) != 0 && !fi->writepage;
	struct fs_overwrite w = {
		.ino = ino,
		.off = off,
		.size = size,
		.buf = buf,
		.kill_priv = fuse_req_ctx(req)->uid != 0 && !fi->writepage,
	};

	if (!appends && fs_gather_take(req, &w, write_alone))
		return;
	fs_gather_flush(); /* which is not to wait for this one */
	if (size >= LONG_BYTES)
		door_leave(fs_of(req)->door);
	if (appends)
		append(req, &w);
	else
		write_alone(req, &w);
}

/* Bytes are in the store when a write returns; what close(2) and fsync(2)
 * find pending are times. */
void fs_op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	fs_reply_ino_err(req, fs_file_settle(fs_of(req), ino));
}

/* What is written is in k + m memories when the write returns. Who wants more
 * waits until it is on the pool's disks, all of it, times included. */
static void sync_ino(fuse_req_t req, fuse_ino_t ino, int datasync)
{
	struct fs *fs = fs_of(req);
	int rc = 0;

	if (!datasync || fs->opts.persist)
		rc = fs_file_settle(fs, ino);
	if (rc == 0 && fs->opts.persist) {
		door_leave(fs->door);
		rc = kv_persist(fs->kv);
	}
	fs_reply_ino_err(req, rc);
}

void fs_op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync,
		 struct fuse_file_info *fi)
{
	sync_ino(req, ino, datasync);
}

void fs_op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync,
		    struct fuse_file_info *fi)
{
	sync_ino(req, ino, datasync);
}
