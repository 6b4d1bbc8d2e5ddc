#include <sys/statvfs.h>

#include "fs/chunk.h"
#include "fs/leaf.h"
#include "fs/ops/ops.h"
#include "fs/reply.h"

/* Gathered node by node, so @used may be the later of the two. */
static uint64_t free_of(uint64_t all, uint64_t used)
{
	return used < all ? all - used : 0;
}

/* Blocks are what a user can store, after coding; files are index slots. */
void fs_op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct kv_space space;
	struct statvfs st;
	int err = kv_space(fs_of(req)->kv, &space);

	if (err != 0) {
		fs_reply_err(req, err);
		return;
	}
	st = (struct statvfs){
		.f_bsize = FS_PAGE_BYTES,
		.f_frsize = FS_PAGE_BYTES,
		.f_blocks = space.capacity / FS_PAGE_BYTES,
		.f_bfree = free_of(space.capacity, space.used) / FS_PAGE_BYTES,
		.f_bavail = space.available / FS_PAGE_BYTES,
		.f_files = space.slots,
		.f_ffree = free_of(space.slots, space.slots_used),
		.f_favail = free_of(space.slots, space.slots_used),
		.f_namemax = FS_NAME_BYTES_MAX,
	};
	fuse_reply_statfs(req, &st);
}
