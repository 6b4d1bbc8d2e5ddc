/* mount-helper/public.h - what anybody on this host may know of a pool: its
 * status. It has a socket of its own, so that strangers cannot get near the
 * one where clients join, nor use up its connections.
 * Threads: its own; @coord answers from any. */
#ifndef ACESO_MOUNT_HELPER_PUBLIC_H
#define ACESO_MOUNT_HELPER_PUBLIC_H
#include "mount-helper/pool.h"

struct coord;
struct public;

/* Answer ask_status() of every user at pool_public_sock(@place) from now on.
 * @coord must stay until public_close(). Errors: as of fab_server_open();
 * -ENOMEM. */
int public_open(const struct pool_place *place, struct coord *coord,
		struct public **out);

void public_close(struct public *p); /* NULL is fine */

#endif
