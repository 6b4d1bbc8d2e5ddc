#include <errno.h>

#include "fs/dentry.h"
#include "fs/inode.h"
#include "fs/itable.h"
#include "fs/ops/ops.h"
#include "fs/reply.h"

void fs_op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs *fs = fs_of(req);
	struct fs_inode in;
	uint64_t ino;
	int err = fs_dentry_lookup(fs, parent, name, &ino, NULL);

	if (err == 0)
		err = fs_inode_load(fs, ino, &in); /* -ENOENT: just removed */
	if (err == 0)
		fs_reply_entry(req, &in);
	else if (err == -ENOENT)
		fs_reply_missing(req);
	else
		fs_reply_err(req, err);
}

void fs_op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
	fs_itable_forget(fs_of(req), ino, nlookup);
	fuse_reply_none(req);
}

void fs_op_forget_multi(fuse_req_t req, size_t count,
			struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		fs_itable_forget(fs_of(req), forgets[i].ino,
				 forgets[i].nlookup);
	fuse_reply_none(req);
}
