/* mount-helper/scrub_link.h - a connection to the coordinator about scrubbing.
 * Whoever scrubs keeps it open: when it ends, the scrub has. Threads: one. */
#ifndef ACESO_MOUNT_HELPER_SCRUB_LINK_H
#define ACESO_MOUNT_HELPER_SCRUB_LINK_H
#include "kv/proto.h"
#include "mount-helper/pool.h"

struct scrub_link;

/* To the one that leads. Errors: -ENOENT, -ECONNREFUSED nobody there; -EAGAIN
 * nobody leads; -EROFS we are a reader; -EPROTO; -ENOMEM. */
int scrub_link_open(const struct pool_place *p, struct scrub_link **out);
void scrub_link_close(struct scrub_link *l);

/* Ask; @out may be @rq. Errors: what coord_scrub.c says; -ETIMEDOUT. */
int scrub_link_call(struct scrub_link *l, const struct proto_scrub *rq,
		    struct proto_scrub *out);

#endif
