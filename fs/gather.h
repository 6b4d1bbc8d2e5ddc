/* fs/gather.h - small overwrites that a thread has read and not answered: they
 * wait for those that are queued behind them, and are carried out together
 * (fs_file_overwrite_many()). Nothing waits for what has not come yet: as soon
 * as the queue is empty, the thread does what it has (intake.h).
 *
 * Threads: each has its own; every function is of the calling thread's. What a
 * thread that is ended leaves is answered with -ENOTCONN. */
#ifndef ACESO_FS_GATHER_H
#define ACESO_FS_GATHER_H
#include <stdbool.h>

#include "fs/chunk.h"
#include "fs/fs_impl.h"

/* What is longer goes alone: it has a row's worth of pages by itself. */
#define FS_GATHER_BYTES_MAX (4u * FS_PAGE_BYTES)

/* Requests are waiting, as it seems: what comes now may be gathered. */
void fs_gather_expect(bool more);

/* Take over @req, which is @write (its bytes are copied; buf is of the
 * caller's), and answer it later; @alone then does it if it cannot be done with
 * others, and answers. False: it is not for gathering, or nothing waits behind
 * it; the caller does it now. */
bool fs_gather_take(fuse_req_t req, const struct fs_overwrite *write,
		    void (*alone)(fuse_req_t req,
				  const struct fs_overwrite *write));

/* How many have been taken. */
unsigned fs_gather_count(void);

/* Carry out and answer all. */
void fs_gather_flush(void);

#endif
