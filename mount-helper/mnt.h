/* mount-helper/mnt.h - mount points: may we mount here, what is mounted, who
 * keeps it busy. Threads: any. */
#ifndef ACESO_MOUNT_HELPER_MNT_H
#define ACESO_MOUNT_HELPER_MNT_H
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define MNT_TYPE "fuse.aceso"

/* See that @dir can be mounted on, as its absolute path *@out (free() it). A
 * dead mount of ours on it is taken away first. On error @error (of @cap bytes)
 * says the cause and the remedy. Errors: -errno that fits. */
int mnt_check(const char *dir, char **out, char *error, size_t cap);

/* See that /dev/fuse can be opened. Likewise. */
int mnt_check_fuse(char *error, size_t cap);

/* See that allow_other is open to us: to root, or by /etc/fuse.conf. */
int mnt_check_allow_other(char *error, size_t cap);

/* Is a file system of ours mounted at absolute path @dir? */
bool mnt_is_ours(const char *dir);

/* Call @each with every mount of ours, until it returns non-zero. */
int mnt_each(int (*each)(void *arg, const char *dir, const char *source),
	     void *arg);

/* Unmount @dir; @lazy: also while it is busy. As root by umount2(2), else with
 * fusermount3. Errors: -EBUSY, -EPERM, -EINVAL not mounted. */
int mnt_unmount(const char *dir, bool lazy);

/* Call @each with every process that we can see using something under @dir:
 * as its working directory, root, program or open file @what. */
int mnt_holders(const char *dir,
		int (*each)(void *arg, pid_t pid, const char *name,
			    const char *what),
		void *arg);

#endif
