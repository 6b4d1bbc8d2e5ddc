/* fs/attr.h - chmod, chown, utimes, truncate: what setattr may ask for.
 * Threads: any; takes the inode's lock itself. */
#ifndef ACESO_FS_ATTR_H
#define ACESO_FS_ATTR_H
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

struct fs;

/* Apply those fields of @want that @what (FUSE_SET_ATTR_*) names, and fill
 * @out with the result. @privileged: the caller may keep set-id bits.
 * An inode that is gone but still held by the kernel changes in memory.
 * Errors: those of kv.h and of fs_file_truncate(); -ENOENT. */
int fs_attr_set(struct fs *fs, uint64_t ino, const struct stat *want, int what,
		bool privileged, struct stat *out);

/* Errors: -ENOENT if it is gone and not held either. */
int fs_attr_get(struct fs *fs, uint64_t ino, struct stat *out);

#endif
