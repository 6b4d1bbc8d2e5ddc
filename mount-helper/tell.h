/* mount-helper/tell.h - what a mount tells about itself, to ask_status().
 * An object: "pid", "mountpoint", "pool", "seconds" (since it began), "stats"
 * (struct kv_stats by the names of its fields). */
#ifndef ACESO_MOUNT_HELPER_TELL_H
#define ACESO_MOUNT_HELPER_TELL_H
#include "mount-helper/pool.h"

struct kv;
struct tell;

/* Serve at pool_mount_sock(@place, own pid) from now on. @dir and @kv must
 * stay until tell_close(). Errors: as of fab_server_open(); -ENOMEM. */
int tell_open(const struct pool_place *place, const char *dir, struct kv *kv,
	      struct tell **out);

void tell_close(struct tell *t); /* NULL is fine */

#endif
