/* mount-helper/exitcode.h - what our programs end with: mount(8)'s numbers. */
#ifndef ACESO_MOUNT_HELPER_EXITCODE_H
#define ACESO_MOUNT_HELPER_EXITCODE_H

#define EXIT_OK	   0
#define EXIT_USAGE 1  /* wrong options, or not permitted */
#define EXIT_SYS   2  /* the system cannot: no memory, no /dev/fuse, a bug */
#define EXIT_MOUNT 32 /* the mount failed */

#endif
