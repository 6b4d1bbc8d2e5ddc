/* kv/node/disk.h - what a node and the coordinator ask of stable storage: a
 * table, so that tests can put a disk there that loses what was not synced.
 *
 * A node's directory holds its region and small files beside it. A small file
 * is written whole or not at all; a region is written by whoever maps it, and
 * any part of that may reach the disk at any time, in any order: only sync()
 * says that all of it did.
 * Threads: one call at a time per struct. */
#ifndef ACESO_KV_NODE_DISK_H
#define ACESO_KV_NODE_DISK_H
#include <stddef.h>
#include <stdint.h>

struct disk {
	void *arg;
	/* All that was written to the region before is durable. */
	int (*sync)(void *arg);
	/* File @name is these bytes, durably; or, on error or after a crash
	 * within, what it was before. */
	int (*write)(void *arg, const char *name, const void *buf, size_t len);
	/* All of file @name; free() it. -ENOENT; -EFBIG more than @max. */
	int (*read)(void *arg, const char *name, size_t max, void **buf,
		    size_t *len);
};

/* The disk that is a directory: @dirfd, and the region's file (-1: none). Both
 * stay the caller's and must outlive it. */
struct disk_dir {
	int dirfd;
	int region_fd;
};
void disk_of_dir(struct disk_dir *dir, struct disk *out);

#endif
