#include "fs/attr.h"

#include <errno.h>

#include "fs/chunk.h"
#include "fs/fs_impl.h"
#include "fs/inode.h"
#include "fs/itable.h"

struct attr_set {
	const struct stat *want;
	int what;
	bool privileged;
	int64_t now;
};

static int64_t ns_of(struct timespec ts)
{
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void set_mode(struct fs_inode *in, const struct attr_set *a)
{
	if ((a->what & FUSE_SET_ATTR_MODE) != 0)
		in->mode = (in->mode & S_IFMT) | (a->want->st_mode & ~S_IFMT);
}

/* A new owner or group takes set-id bits from a file, whoever asks. */
static void set_owner(struct fs_inode *in, const struct attr_set *a)
{
	if ((a->what & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) == 0)
		return;
	if ((a->what & FUSE_SET_ATTR_UID) != 0)
		in->uid = a->want->st_uid;
	if ((a->what & FUSE_SET_ATTR_GID) != 0)
		in->gid = a->want->st_gid;
	if (!S_ISDIR(in->mode) && (a->what & FUSE_SET_ATTR_MODE) == 0)
		fs_inode_kill_priv(in);
}

static void set_times(struct fs_inode *in, const struct attr_set *a)
{
	if ((a->what & FUSE_SET_ATTR_ATIME_NOW) != 0)
		in->atime_ns = a->now;
	else if ((a->what & FUSE_SET_ATTR_ATIME) != 0)
		in->atime_ns = ns_of(a->want->st_atim);
	if ((a->what & FUSE_SET_ATTR_MTIME_NOW) != 0)
		in->mtime_ns = a->now;
	else if ((a->what & FUSE_SET_ATTR_MTIME) != 0)
		in->mtime_ns = ns_of(a->want->st_mtim);
	/* the writeback cache alone sends a ctime of its own */
	in->ctime_ns = (a->what & FUSE_SET_ATTR_CTIME) != 0
			       ? ns_of(a->want->st_ctim)
			       : a->now;
}

static int set_size(struct fs *fs, struct fs_inode *in,
		    const struct attr_set *a)
{
	if (S_ISDIR(in->mode))
		return -EISDIR;
	if (!S_ISREG(in->mode) || a->want->st_size < 0)
		return -EINVAL;
	if (!a->privileged)
		fs_inode_kill_priv(in);
	return fs_file_truncate(fs, in, a->want->st_size);
}

/* Load, edit, store once. The size first: truncate stores, and moves times
 * that the caller may want otherwise. Lock: exclusive. */
static int set_once(struct fs *fs, uint64_t ino, const struct attr_set *a,
		    struct fs_inode *in)
{
	int rest = a->what & ~FUSE_SET_ATTR_SIZE;
	int err = fs_inode_load(fs, ino, in);

	if (err != 0)
		return err;
	if ((a->what & FUSE_SET_ATTR_SIZE) != 0) {
		err = set_size(fs, in, a);
		if (err != 0 || rest == 0)
			return err;
	}
	set_owner(in, a);
	set_mode(in, a);
	set_times(in, a);
	return fs_inode_store(fs, in);
}

/* Gone from the store, but a descriptor or a working directory still shows it:
 * its attributes change where they are. */
static int set_ghost(struct fs *fs, uint64_t ino, const struct attr_set *a,
		     struct stat *st)
{
	if (!fs_itable_ghost_get(fs, ino, st))
		return -ENOENT;
	if ((a->what & FUSE_SET_ATTR_MODE) != 0)
		st->st_mode =
			(st->st_mode & S_IFMT) | (a->want->st_mode & ~S_IFMT);
	if ((a->what & FUSE_SET_ATTR_UID) != 0)
		st->st_uid = a->want->st_uid;
	if ((a->what & FUSE_SET_ATTR_GID) != 0)
		st->st_gid = a->want->st_gid;
	if ((a->what & FUSE_SET_ATTR_ATIME) != 0)
		st->st_atim = a->want->st_atim;
	if ((a->what & FUSE_SET_ATTR_MTIME) != 0)
		st->st_mtim = a->want->st_mtim;
	fs_itable_ghost_set(fs, ino, st);
	return 0;
}

int fs_attr_set(struct fs *fs, uint64_t ino, const struct stat *want, int what,
		bool privileged, struct stat *out)
{
	struct attr_set a = {.want = want,
			     .what = what,
			     .privileged = privileged,
			     .now = kv_wall_ns(fs->kv)};
	struct fs_inode in;
	int err = -ESTALE;

	fs_inode_lock(fs, ino, true);
	for (int i = 0; err == -ESTALE && i < FS_RETRIES_MAX; i++)
		err = set_once(fs, ino, &a, &in);
	fs_inode_unlock(fs, ino);
	if (err == -ENOENT)
		return set_ghost(fs, ino, &a, out);
	if (err == 0)
		fs_inode_stat(&in, out);
	return err == -ESTALE ? -EBUSY : err;
}

int fs_attr_get(struct fs *fs, uint64_t ino, struct stat *out)
{
	struct fs_inode in;
	int err = fs_inode_load(fs, ino, &in);

	if (err == -ENOENT && fs_itable_ghost_get(fs, ino, out))
		return 0;
	if (err == 0)
		fs_inode_stat(&in, out);
	return err;
}
