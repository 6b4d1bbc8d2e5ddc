/* fs/xattr.h - extended attributes: names and small values packed in the
 * inode's record, large values each under a key of its own.
 *
 * A large value is written under a fresh random id before the inode names it,
 * and the old one removed after: a reader sees the old value or the new, and
 * a crash can only leave a key that nobody names.
 * Threads: conditional stores order all; the inode's lock is not needed, but
 * exclusive spares retries. */
#ifndef ACESO_FS_XATTR_H
#define ACESO_FS_XATTR_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct fs;
struct fs_inode;

#define FS_XATTR_NAME_MAX  255u /* as the kernel's XATTR_NAME_MAX */
#define FS_XATTR_VALUE_MAX 65536u
#define FS_XATTR_SMALL_MAX 256u /* a larger value gets a key */

/* The value of @name, at most @cap bytes of room; *@len is its length, also
 * with -ERANGE. @in is read again if the value went away meanwhile.
 * Errors: -ENODATA, -ERANGE, -EOPNOTSUPP for a namespace we do not have. */
int fs_xattr_get(struct fs *fs, struct fs_inode *in, const char *name,
		 void *buf, size_t cap, size_t *len);

/* setxattr(2); @flags 0, XATTR_CREATE or XATTR_REPLACE. Moves ctime.
 * Errors: -EEXIST, -ENODATA, -E2BIG, -ERANGE (the name), -EOPNOTSUPP, -EINVAL,
 * -ENOSPC also if the names of this inode need more than
 * FS_XATTR_INLINE_MAX bytes. */
int fs_xattr_set(struct fs *fs, uint64_t ino, const char *name,
		 const void *value, size_t size, int flags);

/* Errors: -ENODATA, -EOPNOTSUPP. */
int fs_xattr_remove(struct fs *fs, uint64_t ino, const char *name);

/* All names, each with its 0, into @buf; @trusted: those too that only the
 * superuser sees. Returns the length (also if @cap is 0), -ERANGE, -EBADMSG. */
ssize_t fs_xattr_list(const struct fs_inode *in, char *buf, size_t cap,
		      bool trusted);

/* File capabilities do not outlive a change of the file: drop them, in the
 * copy alone. */
bool fs_xattr_has_caps(const struct fs_inode *in);
void fs_xattr_kill_caps(struct fs_inode *in);

/* For fsck: call @each with the number of every value of @in that has a key of
 * its own, until it returns non-zero, which is returned. Errors: -EBADMSG if
 * the list does not parse. */
int fs_xattr_each_value(const struct fs_inode *in,
			int (*each)(void *arg, uint64_t ino, uint64_t number),
			void *arg);

/* Likewise: drop the attribute whose value has the key @number, in the copy
 * alone; false: there is none. */
bool fs_xattr_drop_value(struct fs_inode *in, uint64_t number);

/* Remove the large values of @in, which is about to be destroyed. */
int fs_xattr_clear(struct fs *fs, const struct fs_inode *in);

#endif
