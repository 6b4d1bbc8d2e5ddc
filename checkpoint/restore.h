/* checkpoint/restore.h - find the newest whole image of a region among its
 * peers and bring it home.
 *
 *   read all heads -> the newest -> its table -> its bytes, checked -> home
 *                        ^            | wrong       | wrong, or its node fails
 *                        +--- next ---+-------------+
 *
 * Only one-sided READs: the peers' processors are not asked. An older version
 * is taken when nothing newer is whole; the caller sees which it was.
 *
 * Threads: one at a time per struct. */
#ifndef ACESO_CHECKPOINT_RESTORE_H
#define ACESO_CHECKPOINT_RESTORE_H
#include <stdint.h>

#include "checkpoint/round.h"

struct ckpt_restore;

struct ckpt_restore_opts {
	uint64_t size;	 /* of the region */
	uint32_t region; /* its number */
	uint32_t n_peers;
	struct ckpt_peer peer[CKPT_PEERS_MAX]; /* those alive */
	uint64_t least;	     /* pass over versions with a lower note */
	uint64_t timeout_ns; /* for a batch; 0: CKPT_ROUND_NS */
	struct fab *fab;     /* for the clock alone */
	void *to; /* @size bytes, aligned to 8, looked at by nobody */
};

struct ckpt_restored {
	uint64_t version, note;
	uint32_t peer;	  /* from which */
	uint32_t refused; /* newer ones that were damaged or out of reach */
	uint64_t bytes;	  /* read */
};

/* Errors: -EINVAL, -ENOMEM. */
int ckpt_restore_open(const struct ckpt_restore_opts *opts,
		      struct ckpt_restore **out);
void ckpt_restore_close(struct ckpt_restore *r); /* no batch under way */

enum ckpt_step ckpt_restore_step(struct ckpt_restore *r,
				 struct fab_batch **next);

/* When it is done. Errors: -ENODATA there is no whole image (and @to holds
 * anything); -EHOSTDOWN the same, but a peer could not be asked. */
int ckpt_restore_result(const struct ckpt_restore *r,
			struct ckpt_restored *out);

/* Step to the end, waiting on @f; the result. */
int ckpt_restore_run(struct ckpt_restore *r, struct fab *f,
		     struct ckpt_restored *out);

#endif
