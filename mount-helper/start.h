/* mount-helper/start.h - join a pool of this host, or make it first. */
#ifndef ACESO_MOUNT_HELPER_START_H
#define ACESO_MOUNT_HELPER_START_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mount-helper/conf.h"
#include "mount-helper/pool.h"

struct start {
	const struct pool_place *place;
	struct conf_pool *pool; /* its size is settled if it is made */
	const struct kv_opts *kv;
	bool named;	 /* join a living pool of that name; else it must end */
	bool boot;	 /* a pool over several hosts may take a minute */
	bool foreground; /* the supervisor then says things to stderr */
	char *error;	 /* out: the cause and the remedy, one line */
	size_t cap;	 /* of error */
	bool made;	 /* out: it was made, not joined */
	int64_t until;	 /* of a pool over several hosts; 0: not begun */
};

/* Open the pool, which the caller closes. If it is made, its supervisor lives
 * on until the last client has left.
 * Errors: -EBUSY; -ENOMEM; -EPROTO; -EIO; those of kv_open(). */
int start_pool(struct start *s, struct kv **out);

/* What the caller then did with the pool, which is closed again, failed with
 * @rc. True: it is one over several hosts that may not have been whole: another
 * start_pool() is worth it, and a moment has passed. */
bool start_again(const struct start *s, int rc);

#endif
