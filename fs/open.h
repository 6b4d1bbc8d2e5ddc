/* fs/open.h - handles: what must hold between open and release.
 * Threads: any; takes the inode's lock itself. */
#ifndef ACESO_FS_OPEN_H
#define ACESO_FS_OPEN_H
#include "fs/fs_impl.h"

struct fs_inode;

/* Count a handle of @ino, truncate if @fi->flags say so, and set the caching
 * flags of @fi. Errors: -ENOENT if it is gone; -ESTALE if its last name is, and
 * it is not open here (the kernel looks the name up again, then); those of
 * fs_file_truncate(). */
int fs_open_file(struct fs *fs, uint64_t ino, struct fuse_file_info *fi,
		 bool privileged);

/* The same for one that was just made here. Errors: -ENOMEM; -ESTALE another
 * mount has removed it already. */
int fs_open_made(struct fs *fs, const struct fs_inode *in,
		 struct fuse_file_info *fi);

/* A handle is gone: settle times, destroy an orphan at the last one. */
void fs_open_release(struct fs *fs, uint64_t ino);

#endif
