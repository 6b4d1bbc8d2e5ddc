/* mount-helper/memnode.h - one memory node as a process. */
#ifndef ACESO_MOUNT_HELPER_MEMNODE_H
#define ACESO_MOUNT_HELPER_MEMNODE_H
#include <stdbool.h>
#include <stdint.h>

struct memnode_opts {
	const char *pool; /* its name */
	uint32_t id;
	uint32_t life; /* how many had this id before it */
	/* Of a pool with a directory: this node's, and its memory's file in it,
	 * which is to be taken as it is (@keep) or is zeroed. NULL: none. */
	const char *dir, *region;
	bool keep;
	uint32_t readers; /* the group that may look; 0: none */
	/* Between checkpoints of a shard; 0: none. Not with @hosts. */
	uint32_t ckpt_ms;
	/* As of node_opts.restore_bytes; likewise. */
	uint64_t rebuild_rate;
	bool foreground; /* say things to stderr, not to syslog */
	/* Of a pool over several hosts: its file says all, and where it is to
	 * report. */
	bool hosts;
	bool linked; /* there is a PROGRAM_LINK_FD */
};

/* Read a struct layout_super from PROGRAM_LINK_FD, or the pool's file, serve
 * that node, say "ready" or "error CAUSE" there, and run until told to stop:
 * by a signal, by the coordinator, or, of a pool over several hosts, by the end
 * of whoever started it; else until there is neither a coordinator nor a
 * client. Returns an exit code. */
int memnode(const struct memnode_opts *opts);

#endif
