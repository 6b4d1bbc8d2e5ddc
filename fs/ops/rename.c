#include "fs/names.h"
#include "fs/ops/ops.h"
#include "fs/reply.h"
#include "fs/room.h"

void fs_op_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
		  fuse_ino_t newparent, const char *newname, unsigned int flags)
{
	struct fs_room room = {0};
	int err;

	do
		err = fs_names_rename(fs_of(req), parent, name, newparent,
				      newname, flags);
	while (fs_room_again(fs_of(req), err, &room));
	fs_reply_err(req, err);
}
