/* mount-helper/pool_key.h - the key of a pool of this host. It is drawn when
 * the pool's processes start, and lies beside its socket for as long as they
 * live:
 *
 *	pool.key      the pool's: its owner's, mode 0600
 *	readers.key   the reader's, mode 0640, of the group of readers=, if any
 *
 * Whoever attaches finds it by itself. A pool with a directory has another one
 * each time: what it keeps on the disk is not bound to it.
 * Threads: any. */
#ifndef ACESO_MOUNT_HELPER_POOL_KEY_H
#define ACESO_MOUNT_HELPER_POOL_KEY_H
#include "mount-helper/pool.h"

#define POOL_KEY	 FAB_KEY_FILE
#define POOL_KEY_READERS FAB_KEY_FILE_READERS

/* Draw the key of the pool whose place @p has been taken, and put it there;
 * also the reader's, for group @readers (0: nobody). They go with the place:
 * pool_remove(). Errors: those of poolkey_draw(), poolkey_put(). */
int pool_key_make(const struct pool_place *p, uint32_t readers,
		  struct fab_key *out);

/* The pool's own. Errors: those of fab_key_load(). */
int pool_key_own(const struct pool_place *p, struct fab_key *out);

/* What to come to @p with: its own key, or the reader's if that is all that we
 * may read; of a pool over several hosts, what its file led to. Errors: -ENOKEY
 * it listens, but has no key; -ENOENT nor does it listen; -EKEYREJECTED what
 * is there is no key, or others may read it; -EACCES we may not. */
int pool_key_find(const struct pool_place *p, struct fab_key *out);

/* Why we are not let in, and what to do; @rc is of pool_key_find(), or the
 * -EACCES of who answered. NULL: it has nothing to do with keys. */
const char *pool_key_why(const struct pool_place *p, int rc);

#endif
