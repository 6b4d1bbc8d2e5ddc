/* fs/scrub.h - every page of every file, for whoever verifies them: which a
 * chunk's node names now, and whether it does still.
 * Threads: as kv.h. */
#ifndef ACESO_FS_SCRUB_H
#define ACESO_FS_SCRUB_H
#include <stddef.h>
#include <stdint.h>

#include "kv/kv.h"

/* Call @page for each page, until it returns other than 0, which is returned.
 * @still(@mark) is for the length of the call: is the page named still: 1, 0,
 * or -errno. Errors: those of kv.h. */
int fs_scrub(struct kv *kv,
	     int (*page)(void *arg, uint64_t ino, uint64_t offset,
			 struct kv_page page, int (*still)(void *mark),
			 void *mark),
	     void *arg);

/* A path of inode @ino into @out, by looking through the whole tree: for what
 * is seldom asked. Errors: -ENOENT no name leads to it; those of kv.h. */
int fs_scrub_path(struct kv *kv, uint64_t ino, char *out, size_t size);

#endif
