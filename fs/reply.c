#include "fs/reply.h"

#include <errno.h>

#include "fs/inode.h"
#include "fs/itable.h"
#include "fs/orphan.h"

#define AUTO_TIMEOUT	  1.0 /* seconds another mount's change may go unseen */
#define WRITEBACK_TIMEOUT 60.0 /* the kernel's word counts, and it is alone */

/* @wish as the user gave it, or what the cache mode asks for. */
static double timeout_of(const struct fs *fs, double wish)
{
	if (wish >= 0)
		return wish;
	switch (fs->opts.cache) {
	case FS_CACHE_NONE:
		return 0;
	case FS_CACHE_WRITEBACK:
		return WRITEBACK_TIMEOUT;
	default:
		return AUTO_TIMEOUT;
	}
}

/* Missing names are not remembered by default: a file that another mount has
 * just made must be found. */
static double negative_timeout_of(const struct fs *fs)
{
	return fs->opts.negative_timeout < 0 ? 0 : fs->opts.negative_timeout;
}

/* What no system call may say, as what it means to the caller. */
static int errno_of(int err)
{
	switch (-err) {
	case EBADMSG:
	case EPROTO:
		return EIO;
	case EAGAIN:
		return EBUSY;
	default:
		return -err;
	}
}

void fs_reply_err(fuse_req_t req, int err)
{
	fuse_reply_err(req, errno_of(err));
}

void fs_reply_ino_err(fuse_req_t req, int err)
{
	fuse_reply_err(req, err == -ENOENT ? ESTALE : errno_of(err));
}

void fs_reply_attr(fuse_req_t req, const struct stat *st)
{
	struct fs *fs = fs_of(req);

	fuse_reply_attr(req, st, timeout_of(fs, fs->opts.attr_timeout));
}

void fs_reply_fill(struct fs *fs, const struct fs_inode *in,
		   struct fuse_entry_param *e)
{
	*e = (struct fuse_entry_param){
		.ino = in->ino,
		.generation = in->generation,
		.attr_timeout = timeout_of(fs, fs->opts.attr_timeout),
		.entry_timeout = timeout_of(fs, fs->opts.entry_timeout),
	};
	fs_inode_stat(in, &e->attr);
}

void fs_reply_entry(fuse_req_t req, const struct fs_inode *in)
{
	struct fs *fs = fs_of(req);
	struct fuse_entry_param e;
	int err = fs_itable_hold(fs, in->ino);

	if (err != 0) {
		fs_reply_err(req, err);
		return;
	}
	fs_reply_fill(fs, in, &e);
	if (fuse_reply_entry(req, &e) != 0) /* nobody waits for it any more */
		fs_itable_forget(fs, in->ino, 1);
}

static void uncreate(struct fs *fs, uint64_t ino)
{
	fs_inode_lock(fs, ino, true);
	if (fs_itable_released(fs, ino) == 0)
		(void)fs_orphan_release(fs, ino);
	fs_inode_unlock(fs, ino);
	fs_itable_forget(fs, ino, 1);
}

void fs_reply_create(fuse_req_t req, const struct fs_inode *in,
		     struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct fuse_entry_param e;
	int err = fs_itable_hold(fs, in->ino);

	if (err != 0) {
		fs_itable_released(fs, in->ino);
		fs_reply_err(req, err);
		return;
	}
	fs_reply_fill(fs, in, &e);
	if (fuse_reply_create(req, &e, fi) != 0)
		uncreate(fs, in->ino);
}

void fs_reply_missing(fuse_req_t req)
{
	struct fs *fs = fs_of(req);
	struct fuse_entry_param e = {.entry_timeout = negative_timeout_of(fs)};

	if (e.entry_timeout > 0)
		fuse_reply_entry(req, &e);
	else
		fuse_reply_err(req, ENOENT);
}
