/* kv/node/restart.h - a pool comes back from its disks: the regions of all
 * nodes, as a crash left them, become what they were at a durable cut.
 *
 * In a region anything that was written after the cut may be there or not, page
 * by page; but what the cut names was not changed. So:
 *   R1. A data block that the cut calls FREE is zeroed.
 *   R2. In a block of records all that no slot of the cut names is zeroed and
 *       obsolete: no later replay finds what never came to be.
 *   R3. Parity is made again from data, deltas are zeroed; every block is
 *       closed, as if its owner had died.
 *   R4. A slot that was tentative at the cut is empty: its writer is gone.
 * All of it may be repeated: a crash in here leaves what the next one begins
 * with. Index and records of blocks are written anew from the cuts.
 *
 * Before the nodes are started, by one process that sees all their regions.
 * Threads: one at a time. */
#ifndef ACESO_KV_NODE_RESTART_H
#define ACESO_KV_NODE_RESTART_H
#include <stdint.h>

#include "kv/layout.h"
#include "kv/node/cut.h"

struct restart_opts {
	const struct layout_super *super; /* .node is not looked at */
	/* of the layout.group.nodes nodes, by id */
	void *const *region;
	const int *region_fd; /* for fab_region_discard(); -1: none */
	const struct cut *cut;
	uint64_t index_version; /* from now on */
	/* May be NULL: so many bytes of data are gone past, of so many. */
	void (*progress)(void *arg, uint64_t done, uint64_t total);
	void *arg;
};

struct restart_report {
	uint64_t keys;	  /* slots that name a record */
	uint64_t damaged; /* of these: it is not there, or wrong */
	uint64_t lost;	  /* records zeroed: written after the cut, or dead */
	uint64_t blocks;  /* data blocks in use */
};

/* Errors: -EBADMSG the cuts do not fit each other or the layout; -ENOMEM.
 * Damaged records are counted, not repaired: who reads them gets EIO. */
int restart_run(const struct restart_opts *opts, struct restart_report *out);

#endif
