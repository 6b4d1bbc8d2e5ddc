/* mount-helper/persist.h - the last durable checkpoint of a pool that ends.
 *
 * It needs every node: those that died are to be replaced meanwhile, which is
 * the supervisor's, and are given back what they held. That is waited for as
 * long as it gets on, and half a minute longer; a checkpoint that is being
 * written may take two minutes in all. Then, or at once if too much is lost, it
 * is given up: the directory stays as of the checkpoint before, in which all is
 * that was acknowledged as durable. Both are said.
 * Threads: the supervisor's. Plain data, nothing to free. */
#ifndef ACESO_MOUNT_HELPER_PERSIST_H
#define ACESO_MOUNT_HELPER_PERSIST_H
#include <stdint.h>

#include "kv/node/coord.h"

#define PERSIST_STUCK_MS   30000  /* so long nothing moved */
#define PERSIST_LONGEST_MS 120000 /* while it is written to the disk */

struct persist {
	struct coord *coord;
	const char *dir;
	uint64_t number; /* of the checkpoint that is waited for */
	uint64_t restored;
	int64_t begun_ms, moved_ms, say_ms;
};

/* @dir, for people, must stay. */
void persist_begin(struct persist *p, struct coord *coord, const char *dir);

/* Wait for a few milliseconds. -EINPROGRESS: again, please; 0: all that was
 * acknowledged before persist_begin() is on the disk; else it never will be:
 * -ETIMEDOUT, -EIO too much is lost. */
int persist_step(struct persist *p);

/* Tell what is not on the disk, and why: @rc was persist_step()'s. */
void persist_say_lost(const struct persist *p, int rc);

#endif
