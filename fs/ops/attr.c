#include "fs/attr.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "fs/ops/ops.h"
#include "fs/reply.h"
#include "fs/room.h"

#define GROUPS_MAX 256 /* of the caller, looked at by access() */

void fs_op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;
	int err = fs_attr_get(fs_of(req), ino, &st);

	if (err == 0)
		fs_reply_attr(req, &st);
	else
		fs_reply_ino_err(req, err);
}

void fs_op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr,
		   int to_set, struct fuse_file_info *fi)
{
	bool privileged = fuse_req_ctx(req)->uid == 0;
	struct fs_room room = {0};
	struct stat st;
	int err;

	do
		err = fs_attr_set(fs_of(req), ino, attr, to_set, privileged,
				  &st);
	while (fs_room_again(fs_of(req), err, &room));
	if (err == 0)
		fs_reply_attr(req, &st);
	else
		fs_reply_ino_err(req, err);
}

static bool in_group(fuse_req_t req, gid_t gid)
{
	gid_t list[GROUPS_MAX];
	int n;

	if (fuse_req_ctx(req)->gid == gid)
		return true;
	n = fuse_req_getgroups(req, GROUPS_MAX, list);
	for (int i = 0; i < n && i < GROUPS_MAX; i++)
		if (list[i] == gid)
			return true;
	return false;
}

static unsigned bits_for(fuse_req_t req, const struct stat *st)
{
	uid_t uid = fuse_req_ctx(req)->uid;

	if (uid == 0) /* all but to execute what nobody may */
		return R_OK | W_OK |
		       (S_ISDIR(st->st_mode) || (st->st_mode & 0111) ? X_OK
								     : 0);
	if (uid == st->st_uid)
		return st->st_mode >> 6 & 7;
	if (in_group(req, st->st_gid))
		return st->st_mode >> 3 & 7;
	return st->st_mode & 7;
}

/* Asked only without default_permissions. */
void fs_op_access(fuse_req_t req, fuse_ino_t ino, int mask)
{
	struct stat st;
	int err = fs_attr_get(fs_of(req), ino, &st);

	if (err == 0 && (mask & ~bits_for(req, &st)) != 0)
		err = -EACCES;
	fs_reply_ino_err(req, err);
}
