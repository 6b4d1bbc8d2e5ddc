#include <errno.h>
#include <string.h>

#include "fs/inode.h"
#include "fs/names.h"
#include "fs/ops/ops.h"
#include "fs/reply.h"
#include "fs/room.h"

void fs_op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent,
		const char *newname)
{
	struct fs_inode in;
	struct fs_room room = {0};
	int err;

	do
		err = fs_names_link(fs_of(req), ino, newparent, newname, &in);
	while (fs_room_again(fs_of(req), err, &room));
	if (err == 0)
		fs_reply_entry(req, &in);
	else
		fs_reply_err(req, err);
}

void fs_op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	char target[FS_SYMLINK_BYTES_MAX + 1];
	struct fs_inode in;
	int err = fs_inode_load(fs_of(req), ino, &in);

	if (err == 0 &&
	    (!S_ISLNK(in.mode) || in.data_len > FS_SYMLINK_BYTES_MAX))
		err = -EINVAL;
	if (err != 0) {
		fs_reply_ino_err(req, err);
		return;
	}
	memcpy(target, in.body, in.data_len);
	target[in.data_len] = '\0';
	fuse_reply_readlink(req, target);
}
