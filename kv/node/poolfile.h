/* kv/node/poolfile.h - the file that says what a pool with a directory is, and
 * which durable cut a restart goes by (kv/FORMAT.md). Pure. Threads: any. */
#ifndef ACESO_KV_NODE_POOLFILE_H
#define ACESO_KV_NODE_POOLFILE_H
#include <stddef.h>
#include <stdint.h>

#include "kv/layout.h"
#include "kv/node/coord.h"

#define POOLFILE_VERSION 1u
#define POOLFILE_BYTES	 464u

struct poolfile {
	struct layout_super super; /* its node is not looked at */
	struct coord_counters at;  /* durable 0: nothing to restart from */
	/* Which region file of each node is meant: a node that was replaced
	 * writes a new one, until a cut of it is durable. */
	uint32_t region[64];
};

void poolfile_write(const struct poolfile *in, void *buf);

/* Errors: -ENOTUNIQ it is no such file; -EPROTO of another version (*@version
 * says which); -EBADMSG damaged. */
int poolfile_read(const void *buf, size_t len, struct poolfile *out,
		  uint32_t *version);

#endif
