/* mount-helper/pooldir_lock.h - one pool at a time has a directory: the file
 * "lock" in it, with a line that says who. Threads: one at a time. */
#ifndef ACESO_MOUNT_HELPER_POOLDIR_LOCK_H
#define ACESO_MOUNT_HELPER_POOLDIR_LOCK_H
#include <stdbool.h>

#define POOLDIR_WHO_BYTES 160

/* Take the lock of the directory @dirfd for pool @name; *@out is held until it
 * is closed. Another pool that has it may have been unmounted just now, as
 * umount(8) does not wait for its processes: it is waited for, some seconds, or
 * as long as it says that it is ending (minutes at most); not while the table
 * of mounts has one of its.
 * Errors: -EBUSY, @who then tells who has it; those of open(2). */
int pooldir_lock(int dirfd, const char *name, int *out,
		 char who[POOLDIR_WHO_BYTES]);

/* Let others know whether pool @name, which has the lock, is ending. */
void pooldir_lock_say(int fd, const char *name, bool ending);

#endif
