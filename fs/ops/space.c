/* fs/ops/space.c - fallocate, lseek, copy_file_range. */
#include <errno.h>

#include "fs/chunk.h"
#include "fs/inode.h"
#include "fs/ops/ops.h"
#include "fs/reply.h"
#include "fs/room.h"

/* 1: there is nothing to clear. */
static int drop_priv(struct fs_inode *in, void *arg)
{
	uint32_t was = in->mode;

	fs_inode_kill_priv(in);
	return in->mode == was;
}

void fs_op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off,
		     off_t len, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct fs_room room = {0};
	int rc;

	if (off < 0 || len <= 0) {
		fs_reply_err(req, -EINVAL);
		return;
	}
	do {
		fs_inode_lock(fs, ino, true);
		rc = fs_file_fallocate(fs, ino, mode, off, len);
		if (rc == 0 && fuse_req_ctx(req)->uid != 0)
			rc = fs_inode_update(fs, ino, drop_priv, NULL, NULL);
		fs_inode_unlock(fs, ino);
	} while (fs_room_again(fs, rc, &room));
	fs_reply_ino_err(req, rc);
}

void fs_op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
		 struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct fs_inode in;
	off_t rc;

	if (fs->opts.cache == FS_CACHE_WRITEBACK) {
		/* What is data the kernel knows better, but asks us without
		 * having written it. ENOSYS: it takes all for data. */
		fs_reply_err(req, -ENOSYS);
		return;
	}
	if (off < 0) {
		fs_reply_err(req, -ENXIO); /* as lseek(2) for both */
		return;
	}
	fs_inode_lock(fs, ino, false);
	rc = fs_inode_load(fs, ino, &in);
	if (rc == 0)
		rc = fs_file_seek(fs, &in, off, whence);
	fs_inode_unlock(fs, ino);
	if (rc < 0)
		fs_reply_ino_err(req, rc);
	else
		fuse_reply_lseek(req, rc);
}

void fs_op_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in,
			   struct fuse_file_info *fi_in, fuse_ino_t ino_out,
			   off_t off_out, struct fuse_file_info *fi_out,
			   size_t len, int flags)
{
	struct fs_room room = {0};
	ssize_t rc;

	if (flags != 0 || off_in < 0 || off_out < 0) {
		fs_reply_err(req, -EINVAL);
		return;
	}
	do
		rc = fs_file_copy(fs_of(req), ino_in, off_in, ino_out, off_out,
				  len);
	while (fs_room_again(fs_of(req), rc, &room));
	if (rc < 0)
		fs_reply_ino_err(req, rc);
	else
		fuse_reply_write(req, rc);
}
