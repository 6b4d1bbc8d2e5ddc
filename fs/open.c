#include "fs/open.h"

#include <errno.h>
#include <fcntl.h>

#include "fs/chunk.h"
#include "fs/inode.h"
#include "fs/itable.h"
#include "fs/orphan.h"
#include "fs/session.h"

/* A write to the page cache is sent page by page where the pages are not there
 * yet, and kept at the end that this kernel knows. With other mounts about,
 * both are wrong for an append, which is to be one request at the true end. */
static bool appends_shared(struct fs *fs, const struct fuse_file_info *fi)
{
	return (fi->flags & O_APPEND) != 0 && kv_clients(fs->kv) > 1;
}

/* Close-to-open: the kernel keeps its pages of the file if nobody but this
 * mount changed it since they were read. What was written is in the store when
 * write(2) returns, so close(2) need not wait for a flush; but what was written
 * through a mapping must be there for the next open on another mount. */
static void set_caching(struct fs *fs, bool unchanged,
			struct fuse_file_info *fi)
{
	fi->direct_io =
		fs->opts.cache == FS_CACHE_NONE || appends_shared(fs, fi);
	fi->keep_cache = fs->opts.cache == FS_CACHE_WRITEBACK || unchanged;
	fi->noflush =
		fs->opts.cache != FS_CACHE_WRITEBACK && kv_clients(fs->kv) == 1;
}

/* Close-to-open, for attributes too: a size from before another mount's write
 * would end each read too early until it times out. */
static void look_again(struct fs *fs, const struct fs_inode *in,
		       struct fuse_file_info *fi)
{
	bool unchanged = fs_itable_unchanged(fs, in);

	if (!unchanged && kv_clients(fs->kv) > 1)
		fs_session_doubt_attr(fs, in->ino);
	set_caching(fs, unchanged, fi);
}

/* Lock: exclusive. */
static int truncate_now(struct fs *fs, struct fs_inode *in, bool privileged)
{
	int err = -ESTALE;

	for (int i = 0; err == -ESTALE && i < FS_RETRIES_MAX; i++) {
		err = fs_inode_load(fs, in->ino, in);
		if (err != 0)
			return err;
		if (!privileged)
			fs_inode_kill_priv(in);
		err = fs_file_truncate(fs, in, 0);
	}
	return err == -ESTALE ? -EBUSY : err;
}

/* Count a handle, then look: so who asks whether the file is open here, or
 * removes it, is either seen by this or sees it (B2 in board.h). */
static int count_and_look(struct fs *fs, uint64_t ino, struct fs_inode *in)
{
	int err = fs_itable_opened(fs, ino);

	if (err != 0)
		return err;
	err = fs_inode_load(fs, ino, in);
	if (err == 0)
		return fs_itable_confirm(fs, ino, in->nlink > 0);
	if (fs_itable_confirm(fs, ino, false) == 0)
		fs_itable_released(fs, ino);
	return err;
}

/* Lock: held, exclusive to truncate. */
static int open_locked(struct fs *fs, uint64_t ino, struct fuse_file_info *fi,
		       bool privileged)
{
	struct fs_inode in = {.ino = ino};
	int err = count_and_look(fs, ino, &in);

	if (err != 0)
		return err;
	if ((fi->flags & O_TRUNC) != 0)
		err = truncate_now(fs, &in, privileged);
	if (err == 0)
		look_again(fs, &in, fi);
	else
		fs_itable_released(fs, ino);
	return err;
}

int fs_open_file(struct fs *fs, uint64_t ino, struct fuse_file_info *fi,
		 bool privileged)
{
	int err;

	fs_inode_lock(fs, ino, (fi->flags & O_TRUNC) != 0);
	err = open_locked(fs, ino, fi, privileged);
	fs_inode_unlock(fs, ino);
	return err;
}

/* -ENOENT would be the answer to another question: the kernel is to look the
 * name up again. */
int fs_open_made(struct fs *fs, const struct fs_inode *in,
		 struct fuse_file_info *fi)
{
	struct fs_inode now;
	int err;

	/* its name may be gone again already */
	if (kv_clients(fs->kv) > 1)
		err = count_and_look(fs, in->ino, &now);
	else if ((err = fs_itable_opened(fs, in->ino)) == 0)
		err = fs_itable_confirm(fs, in->ino, true);
	if (err == 0)
		set_caching(fs, fs_itable_unchanged(fs, in), fi);
	return err == -ENOENT ? -ESTALE : err;
}

void fs_open_release(struct fs *fs, uint64_t ino)
{
	(void)fs_itable_settle(fs, ino); /* else the timer tries */
	fs_inode_lock(fs, ino, true);
	if (fs_itable_released(fs, ino) == 0)
		(void)fs_orphan_release(fs, ino); /* else the next mount does */
	fs_inode_unlock(fs, ino);
}
