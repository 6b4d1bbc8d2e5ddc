#include "fs/names.h"
#include "fs/ops/ops.h"
#include "fs/reply.h"

void fs_op_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
		  fuse_ino_t newparent, const char *newname, unsigned int flags)
{
	fs_reply_err(req, fs_names_rename(fs_of(req), parent, name, newparent,
					  newname, flags));
}
