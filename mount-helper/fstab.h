/* mount-helper/fstab.h - one line of a file like /etc/fstab: added, replaced or
 * taken out. All other bytes stay as they are; whoever reads the file
 * meanwhile, or after a crash, finds the old one or the new one. Threads: any;
 * of several processes one works after the other. */
#ifndef ACESO_MOUNT_HELPER_FSTAB_H
#define ACESO_MOUNT_HELPER_FSTAB_H
#include <stddef.h>

#define FSTAB_FILE "/etc/fstab"
#define FSTAB_TYPE "aceso"

/* The line of type FSTAB_TYPE for @dir (absolute) in @path becomes "@spec @dir
 * aceso @options 0 0"; added at the end if there is none. A file that is not
 * there is made. On error @error (of @cap bytes) says what to do.
 * Returns 1 if it was changed, 0 if it said so already. Errors: -EEXIST
 * another type is mounted at @dir, or several lines are for it; -EINVAL a word
 * cannot stand in such a file; -EAGAIN somebody else wrote it meanwhile; those
 * of open(2), write(2), rename(2). */
int fstab_put(const char *path, const char *spec, const char *dir,
	      const char *options, char *error, size_t cap);

/* Take the line for @dir out. Returns 1, or 0 if there is none. Likewise. */
int fstab_drop(const char *path, const char *dir, char *error, size_t cap);

#endif
