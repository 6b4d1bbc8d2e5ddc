/* fs/ops/xattr.c - setxattr, getxattr, listxattr, removexattr. */
#include <errno.h>
#include <stdlib.h>

#include "fs/inode.h"
#include "fs/ops/ops.h"
#include "fs/reply.h"
#include "fs/room.h"
#include "fs/xattr.h"

void fs_op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name,
		    const char *value, size_t size, int flags)
{
	struct fs *fs = fs_of(req);
	struct fs_room room = {0};
	int rc;

	do {
		fs_inode_lock(fs, ino, true);
		rc = fs_xattr_set(fs, ino, name, value, size, flags);
		fs_inode_unlock(fs, ino);
	} while (fs_room_again(fs, rc, &room));
	fs_reply_ino_err(req, rc);
}

/* Answer with @len bytes of @buf, or with @len alone if none were asked. */
static void reply_bytes(fuse_req_t req, size_t size, const void *buf,
			size_t len)
{
	if (size == 0)
		fuse_reply_xattr(req, len);
	else
		fuse_reply_buf(req, buf, len);
}

void fs_op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name,
		    size_t size)
{
	struct fs *fs = fs_of(req);
	struct fs_inode in;
	size_t len = 0;
	void *buf = NULL;
	int rc;

	if (size > FS_XATTR_VALUE_MAX)
		size = FS_XATTR_VALUE_MAX;
	if (size > 0 && (buf = malloc(size)) == NULL) {
		fs_reply_err(req, -ENOMEM);
		return;
	}
	rc = fs_inode_load(fs, ino, &in);
	if (rc == 0)
		rc = fs_xattr_get(fs, &in, name, buf, size, &len);
	if (rc == -ERANGE && size == 0)
		rc = 0;
	if (rc != 0)
		fs_reply_ino_err(req, rc);
	else
		reply_bytes(req, size, buf, len);
	free(buf);
}

void fs_op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	bool trusted = fuse_req_ctx(req)->uid == 0;
	char buf[FS_XATTR_INLINE_MAX]; /* the names are shorter than the list */
	struct fs_inode in;
	ssize_t rc;

	rc = fs_inode_load(fs_of(req), ino, &in);
	if (rc == 0)
		rc = fs_xattr_list(&in, buf,
				   size < sizeof(buf) ? size : sizeof(buf),
				   trusted);
	if (rc < 0)
		fs_reply_ino_err(req, rc);
	else
		reply_bytes(req, size, buf, rc);
}

void fs_op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct fs *fs = fs_of(req);
	struct fs_room room = {0};
	int rc;

	do {
		fs_inode_lock(fs, ino, true);
		rc = fs_xattr_remove(fs, ino, name);
		fs_inode_unlock(fs, ino);
	} while (fs_room_again(fs, rc, &room));
	fs_reply_ino_err(req, rc);
}
