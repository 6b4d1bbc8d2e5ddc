#include <errno.h>

#include "fs/inode.h"
#include "fs/names.h"
#include "fs/open.h"
#include "fs/ops/ops.h"
#include "fs/reply.h"
#include "fs/room.h"

static int make(fuse_req_t req, uint64_t parent, const char *name,
		struct fs_make how, struct fs_inode *out)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct fs_room room = {0};
	int err;

	how.uid = ctx->uid;
	how.gid = ctx->gid;
	do
		err = fs_names_make(fs_of(req), parent, name, &how, out);
	while (fs_room_again(fs_of(req), err, &room));
	return err;
}

static void make_and_reply(fuse_req_t req, uint64_t parent, const char *name,
			   struct fs_make how)
{
	struct fs_inode in;
	int err = make(req, parent, name, how, &in);

	if (err == 0)
		fs_reply_entry(req, &in);
	else
		fs_reply_err(req, err);
}

void fs_op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name,
		 mode_t mode, dev_t rdev)
{
	make_and_reply(req, parent, name,
		       (struct fs_make){.mode = mode, .rdev = rdev});
}

void fs_op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name,
		 mode_t mode)
{
	mode_t plain = mode & ~S_IFMT;

	make_and_reply(req, parent, name,
		       (struct fs_make){.mode = plain | S_IFDIR});
}

void fs_op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent,
		   const char *name)
{
	make_and_reply(
		req, parent, name,
		(struct fs_make){.mode = S_IFLNK | 0777, .target = target});
}

void fs_op_create(fuse_req_t req, fuse_ino_t parent, const char *name,
		  mode_t mode, struct fuse_file_info *fi)
{
	struct fs_make how = {.mode = (mode & ~S_IFMT) | S_IFREG};
	struct fs_inode in;
	int err = make(req, parent, name, how, &in);

	if (err == 0)
		err = fs_open_made(fs_of(req), &in, fi);
	if (err == 0)
		fs_reply_create(req, &in, fi);
	else
		fs_reply_err(req, err);
}
