/* kv/client/clean_impl.h - private to clean.c, clean_block.c and
 * clean_pages.c. */
#ifndef ACESO_KV_CLIENT_CLEAN_IMPL_H
#define ACESO_KV_CLIENT_CLEAN_IMPL_H
#include <pthread.h>
#include <stdatomic.h>

#include "ec/block.h"
#include "kv/client/clean.h"

#define CLEAN_PICKS	  64u /* found by one look at all blocks */
#define CLEAN_PAST	  64u /* not to be tried again at once */
#define CLEAN_SHARE_LEAST 16u /* of a block, to be had: else not worth it */

struct clean_pick {
	uint64_t stripe;
	uint32_t role, life;
	uint32_t gain; /* units that come to be free, and were not of use */
};

struct clean {
	pthread_mutex_t lock; /* of stop; for wake */
	pthread_cond_t wake;
	pthread_t thread;
	bool stop;
	_Atomic bool started;
	_Atomic int wanted;	     /* enum clean_want */
	uint32_t stuck;		     /* rounds that gained nothing, in a row */
	_Atomic uint64_t dry_ns;     /* when nothing was worth it; 0: not so */
	pthread_mutex_t vacate_lock; /* while it is called, too */
	kv_vacate *vacate;
	void *vacate_arg;
	uint32_t vacate_most; /* blocks at once */
	/* clean_block()'s: */
	struct clean_pick pick[CLEAN_PICKS]; /* the best last */
	uint32_t picks;
	uint64_t looked_ns; /* when they were */
	struct clean_pick past[CLEAN_PAST];
	uint32_t next_past;
	struct block_rec *recs; /* of one node */
	char *image;		/* of one block, and what may hang over */
	uint64_t *dead;		/* its obsolete units */
};

/* A round for pages: as clean_block(). */
int clean_pages(struct kv *kv, struct kv_thread *t);

#endif
