/* fs/reply.h - the one place where results become answers to the kernel.
 * Threads: each request is answered once, by any thread. */
#ifndef ACESO_FS_REPLY_H
#define ACESO_FS_REPLY_H
#include "fs/fs_impl.h"

struct fs_inode;

/* Answer with @err (0 or -errno). Errors of the store that no system call may
 * return are translated here: -EBADMSG -> EIO, -ESTALE stays. */
void fs_reply_err(fuse_req_t req, int err);

/* As above, for a request that names an inode by number: -ENOENT then means
 * that it is gone, and is answered ESTALE, which makes the kernel walk again.
 */
void fs_reply_ino_err(fuse_req_t req, int err);

/* Answer with attributes, a new entry (which the kernel then holds), a new
 * entry and an open handle. On a failed delivery the hold and, for create,
 * the open count are taken back. */
void fs_reply_attr(fuse_req_t req, const struct stat *st);
void fs_reply_entry(fuse_req_t req, const struct fs_inode *in);
void fs_reply_create(fuse_req_t req, const struct fs_inode *in,
		     struct fuse_file_info *fi);

/* The name is not there: an entry the kernel may remember as missing. */
void fs_reply_missing(fuse_req_t req);

/* Fill @e from @in; takes no hold. */
void fs_reply_fill(struct fs *fs, const struct fs_inode *in,
		   struct fuse_entry_param *e);

#endif
