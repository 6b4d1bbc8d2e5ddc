/* mount-helper/host_own.h - which names are this host. Threads: any. */
#ifndef ACESO_MOUNT_HELPER_HOST_OWN_H
#define ACESO_MOUNT_HELPER_HOST_OWN_H

/* @name is this host's, or an address of it. 1, 0, or -ENOENT: nobody knows
 * it. Asks the resolver, which may take its time. */
int host_owns(const char *name);

#endif
