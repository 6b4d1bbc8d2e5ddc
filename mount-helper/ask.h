/* mount-helper/ask.h - ask a running process of a pool about itself: the
 * coordinator, or a mount. Threads: any. */
#ifndef ACESO_MOUNT_HELPER_ASK_H
#define ACESO_MOUNT_HELPER_ASK_H
#include <jansson.h>

#include "mount-helper/pool.h"

/* Send PROTO_STATUS to the server at socket @sock; *@out is its answer, the
 * caller's. Errors: -ENOENT, -ECONNREFUSED nobody there; -EPROTO another
 * version of us, or no JSON; -ETIMEDOUT; -ENOMEM. */
int ask_status(const char *sock, json_t **out);

/* The same of @p's coordinator; of its public socket if @p is not ours. Also
 * those of pool_key_find(), and -EACCES: pool_key_why(). */
int ask_pool(const struct pool_place *p, json_t **out);

/* The same of a coordinator: @coords and @key as of kv_opts. */
int ask_coords(const char *coords, const struct fab_key *key, json_t **out);

#endif
