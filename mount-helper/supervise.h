/* mount-helper/supervise.h - the supervisor of an embedded pool: starts its
 * memory nodes, sees them die, is its coordinator, ends it.
 *
 * It begins as a child of the first mount (its starter) and lives until
 *  - the starter's link has hung up and the pool has had no client for
 *    @grace_ms: the last mount left, or was killed, or never came; or
 *  - SIGTERM or SIGINT comes.
 * If it dies itself, nothing stops while there are clients: nodes end when
 * their last one leaves. */
#ifndef ACESO_MOUNT_HELPER_SUPERVISE_H
#define ACESO_MOUNT_HELPER_SUPERVISE_H
#include <stdint.h>

#include "mount-helper/conf.h"

struct supervise_opts {
	struct conf_pool pool; /* complete: name, size, code, nodes */
	uint32_t grace_ms;
	bool foreground; /* say things to stderr, not to syslog */
};

/* Run until the pool ends. On PROGRAM_LINK_FD the starter reads one line:
 * "ready", "busy" (that pool is there already, or is just ending) or
 * "error CAUSE". Returns an exit code. */
int supervise(const struct supervise_opts *opts);

#endif
