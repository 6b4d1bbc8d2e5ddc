/* fs/dentry.h - the names in a directory.
 * Names are found by a 64-bit hash with the pool's seed; a listing goes in the
 * order of hashes, so a cookie made of the hash stays valid whatever is added
 * or removed meanwhile, on any mount.
 * Threads: any; nothing here takes a lock, every change is conditional. */
#ifndef ACESO_FS_DENTRY_H
#define ACESO_FS_DENTRY_H
#include "fs/trie.h"

struct fs;

#define FS_COOKIE_DOT	 1u
#define FS_COOKIE_DOTDOT 2u
#define FS_COOKIE_FIRST	 3u /* entries have this or more */

/* Fill @out for @name (which it points to): hash and length.
 * Errors: -ENAMETOOLONG; -EINVAL for "", ".", ".." and names with a slash. */
int fs_dentry_name(struct fs *fs, const char *name, struct fs_dentry *out);

/* The cookie of an entry: where a listing goes on behind it. */
uint64_t fs_dentry_cookie(uint64_t hash);

/* Errors: -ENOENT (also if the directory is gone), -ENAMETOOLONG. */
int fs_dentry_lookup(struct fs *fs, uint64_t dir, const char *name,
		     uint64_t *ino, uint8_t *type);

/* Find the leaf of @d->name. seek finds the entry too (-ENOENT if it is not
 * there) and fills @d; vacancy is for one who adds it: room is made if it is
 * not there; if it is, @d is filled as by seek (-EEXIST). */
int fs_dentry_seek(struct fs *fs, uint64_t dir, struct fs_dentry *d,
		   struct fs_spot *spot);
int fs_dentry_vacancy(struct fs *fs, uint64_t dir, struct fs_dentry *d,
		      struct fs_spot *spot);

/* Add @d where vacancy found room for it, some time ago: what was changed there
 * since is seen, and then it is looked for again. Errors: as add. */
int fs_dentry_fill(struct fs *fs, uint64_t dir, struct fs_dentry *d,
		   struct fs_spot *spot);

/* Add a name. Errors: -EEXIST; -ENOENT if the directory is gone; -ENOSPC. */
int fs_dentry_add(struct fs *fs, uint64_t dir, const char *name, uint64_t ino,
		  uint8_t type);

/* Remove a name of inode @ino. Errors: -ENOENT if it is not there, or names
 * another inode. */
int fs_dentry_remove(struct fs *fs, uint64_t dir, const char *name,
		     uint64_t ino);

/* Call @each with the entries whose cookies are greater than @after, in order,
 * until it returns non-zero, which is returned. The name ends with a 0.
 * What is added or removed meanwhile is met or not; all else is met once. */
typedef int fs_dentry_each(void *arg, const struct fs_dentry *d,
			   uint64_t cookie);
int fs_dentry_list(struct fs *fs, uint64_t dir, uint64_t after,
		   fs_dentry_each *each, void *arg);

/* st_mode to d_type. */
uint8_t fs_dentry_type(uint32_t mode);

#endif
