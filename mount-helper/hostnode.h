/* mount-helper/hostnode.h - a memory node of a pool over several hosts: what
 * the pool's file makes of it on this host. Threads: one at a time. */
#ifndef ACESO_MOUNT_HELPER_HOSTNODE_H
#define ACESO_MOUNT_HELPER_HOSTNODE_H
#include <stdbool.h>
#include <stdint.h>

#include "kv/node/come.h"
#include "mount-helper/poolconf.h"

struct hostnode {
	struct poolconf conf;
	struct layout_super super; /* with the node's number */
	char listen[PROTO_ADDRESS_BYTES];
	bool verbs;
	char coords[POOLCONF_LIST_BYTES];
	struct proto_come come; /* what it reports, complete */
};

/* Of node @id of pool @pool. On error @error (CONF_ERROR_BYTES_MAX) has a line
 * for people. Errors: those of poolconf_load(), poolconf_super(); -ENOENT it
 * has no such node; -ENAMETOOLONG; -ENODEV no RDMA where its file wants it, or
 * where the nodes that serve already have it. */
int hostnode_make(const char *pool, uint32_t id, struct hostnode *out,
		  char *error);

/* It begins once more in the same process, and is told from what it was: a new
 * instance. Errors: -ENAMETOOLONG; those of getrandom(). */
int hostnode_again(struct hostnode *h, uint32_t id);

#endif
