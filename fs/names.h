/* fs/names.h - what changes names: make, link, unlink, rename.
 * A crash between two steps may leave an inode without a name (space that is
 * lost until it is checked for), never a name without an inode. mkdir, rmdir
 * and rename are one step each: nobody sees half of one.
 *
 * Threads: any; the functions take the inode locks they need, so the caller
 * holds none. Errors of all: those of kv.h; -ENOENT if a directory is gone,
 * -ENOTDIR, -ENAMETOOLONG, -EINVAL for "." and ".."; -EBUSY if other mounts
 * were faster FS_RETRIES_MAX times. Permissions are the kernel's business. */
#ifndef ACESO_FS_NAMES_H
#define ACESO_FS_NAMES_H
#include <stdint.h>

#include "fs/inode.h"

#define FS_LINKS_MAX	     2000000000u
#define FS_SYMLINK_BYTES_MAX 4095u

/* What a new inode is to be. A set-gid parent overrides @gid. */
struct fs_make {
	uint32_t mode; /* with the type */
	uint32_t uid, gid;
	uint64_t rdev;	    /* devices */
	const char *target; /* symlinks */
};

/* Make an inode under a name; @out is what was stored. Errors: -EEXIST. */
int fs_names_make(struct fs *fs, uint64_t parent, const char *name,
		  const struct fs_make *how, struct fs_inode *out);

/* Another name for @ino. Errors: -EEXIST; -EPERM for a directory; -EMLINK. */
int fs_names_link(struct fs *fs, uint64_t ino, uint64_t parent,
		  const char *name, struct fs_inode *out);

/* Errors: -EISDIR. Once the name is gone this is a success. */
int fs_names_unlink(struct fs *fs, uint64_t parent, const char *name);

/* Errors: -ENOTEMPTY. */
int fs_names_rmdir(struct fs *fs, uint64_t parent, const char *name);

/* rename(2) with @flags 0, RENAME_NOREPLACE or RENAME_EXCHANGE. Errors: also
 * -EEXIST, -EISDIR, -ENOTEMPTY; -EINVAL for a directory into itself. */
int fs_names_rename(struct fs *fs, uint64_t olddir, const char *oldname,
		    uint64_t newdir, const char *newname, unsigned flags);

/* One name of @ino was removed: count it down; at none, destroy the inode or,
 * if it may be open, make it an orphan. */
int fs_names_unlinked(struct fs *fs, uint64_t ino);

/* An inode as a request to put it if it has not changed (insert it, if it is
 * new); @key and @buf (FS_INODE_BYTES_MAX) live as long as the request. */
struct fs_key;
struct kv_req fs_names_put(const struct fs_inode *in, struct fs_key *key,
			   void *buf);

#endif
