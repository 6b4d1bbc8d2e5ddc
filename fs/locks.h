/* fs/locks.h - the in-process locks behind fs_inode_lock(), see inode.h. */
#ifndef ACESO_FS_LOCKS_H
#define ACESO_FS_LOCKS_H

struct fs_locks;

int fs_locks_new(struct fs_locks **out);    /* -ENOMEM */
void fs_locks_free(struct fs_locks *locks); /* NULL is fine */

#endif
