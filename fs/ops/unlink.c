#include "fs/names.h"
#include "fs/ops/ops.h"
#include "fs/reply.h"

void fs_op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	fs_reply_err(req, fs_names_unlink(fs_of(req), parent, name));
}

void fs_op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	fs_reply_err(req, fs_names_rmdir(fs_of(req), parent, name));
}
