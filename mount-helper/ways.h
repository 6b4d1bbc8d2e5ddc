/* mount-helper/ways.h - over what the memory nodes of a pool over several hosts
 * are reached, as its coordinator says. Threads: any. */
#ifndef ACESO_MOUNT_HELPER_WAYS_H
#define ACESO_MOUNT_HELPER_WAYS_H
#include <stdint.h>

#include "mount-helper/poolconf.h"

/* Bit n: node n serves, or is about to, and listens so. */
struct ways {
	uint64_t tcp, verbs;
};

/* With @key. Errors: those of ask_pool(). */
int ways_ask(const struct poolconf *c, const struct fab_key *key,
	     struct ways *out);

#endif
