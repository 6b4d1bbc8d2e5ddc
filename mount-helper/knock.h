/* mount-helper/knock.h - does anybody listen at a pool's places? At all of them
 * at once: a host that is away costs its time only once. Threads: one. */
#ifndef ACESO_MOUNT_HELPER_KNOCK_H
#define ACESO_MOUNT_HELPER_KNOCK_H
#include <stdint.h>
#include <sys/types.h>

#include "mount-helper/poolconf.h"

struct knock {
	const struct poolconf_place *place;
	/* 0: somebody does. -ENOENT the name leads nowhere; -ECONNREFUSED the
	 * host is there, and nobody listens; others: it cannot be reached. */
	int rc;
};

#define KNOCK_MS 2000 /* for all of them together */

/* By TCP: at any of the addresses where the place is met (rdma/loopback.h). */
void knock_tcp(struct knock *k, unsigned n);

/* By RDMA, at the pool's memory nodes, with its key: in a process of its own,
 * as adapters and their manager have time-outs of their own. */
struct knock_rdma {
	pid_t pid;
	int fd;
	int64_t until_ms;
	uint64_t heard;	       /* bit n: node n's is known: */
	int rc[FAB_NODES_MAX]; /* as above; -ENODEV no device leads there */
};

/* Begin; nothing else runs in this process. Errors: those of fork(), pipe(). */
int knock_rdma_begin(const struct poolconf *c, const struct fab_key *key,
		     struct knock_rdma *out);
/* Wait for those that are @wanted (bits), KNOCK_MS from the beginning at most:
 * then it is -ETIMEDOUT. Ends it. */
void knock_rdma_end(struct knock_rdma *k, uint64_t wanted);

#endif
