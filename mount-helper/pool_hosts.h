/* mount-helper/pool_hosts.h - a pool over several hosts, seen from one that
 * uses it. Threads: any. */
#ifndef ACESO_MOUNT_HELPER_POOL_HOSTS_H
#define ACESO_MOUNT_HELPER_POOL_HOSTS_H
#include "mount-helper/pool.h"

/* @p's name is that of a pool with a file: fill in where its coordinators are,
 * and its key. On error @error (CONF_ERROR_BYTES_MAX) has a line for people.
 * Errors: -ENOENT there is no such file; those of poolconf_load(). */
int pool_hosts(struct pool_place *p, char *error);

/* The names of such pools: call @each until it returns non-zero (which is
 * returned). */
int pool_hosts_each(int (*each)(void *arg, const char *name), void *arg);

/* Where @p is: for kv_opts, and for hello_net(). */
const char *pool_coords(const struct pool_place *p);

/* Its place on this host is there, for sockets of mounts; and not needed any
 * more: it goes with the last of them. Errors: those of mkdir(2); -EPERM. */
int pool_hosts_enter(const struct pool_place *p);
void pool_hosts_leave(const struct pool_place *p);

#endif
