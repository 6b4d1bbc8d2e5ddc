#include "fs/open.h"
#include "fs/ops/ops.h"
#include "fs/reply.h"

void fs_op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	bool privileged = fuse_req_ctx(req)->uid == 0;
	int err = fs_open_file(fs_of(req), ino, fi, privileged);

	if (err != 0)
		fs_reply_ino_err(req, err);
	else if (fuse_reply_open(req, fi) != 0) /* nobody waits any more */
		fs_open_release(fs_of(req), ino);
}

void fs_op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	fs_open_release(fs_of(req), ino);
	fs_reply_err(req, 0);
}
