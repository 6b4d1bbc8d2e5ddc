/* tests/lib/op_pool.h - space_pool.h's pool with all that operations need, and
 * several of them side by side: each one's steps in the order a test says. */
#ifndef ACESO_TESTS_LIB_OP_POOL_H
#define ACESO_TESTS_LIB_OP_POOL_H
#include "kv/client/op.h"
#include "kv/client/txn.h"
#include "tests/lib/space_pool.h"

void opool_open(struct space_pool *p);
void opool_close(struct space_pool *p);

/* An operation and where it stands. */
struct actor {
	struct space_pool *p;
	struct kv_req rq;
	char val[64], buf[256];
	struct op *op;
	struct fab_batch *batch; /* not posted yet */
	unsigned batches;
	bool done;
};

/* Begin @kind of @key; @val is a string. Ends all by actor_free(). */
void actor_begin(struct space_pool *p, struct actor *a, enum kv_kind kind,
		 const char *key, const char *val, uint64_t expect);
void actor_txn(struct space_pool *p, struct actor *a, struct kv_req *reqs,
	       uint32_t n);
/* Post the batch at hand and step to the next; sleeps and parks count as one
 * step too (time goes on). False if it was done already. */
bool actor_step(struct actor *a);
void actor_run(struct actor *a);
/* Done, or stopped for ever: what it wrote stays. */
void actor_free(struct actor *a);

/* What lies in the index for @key, checked: at most one firm slot (N1), and how
 * many tentative ones of its fingerprint. Returns the firm word or 0. */
uint64_t opool_slot(struct space_pool *p, const char *key, unsigned *tentative);
/* The record that @word names. */
struct object opool_record(struct space_pool *p, uint64_t word);
/* Its fate in copy @j (0: data; 1..m: deltas), by the block's records. */
uint64_t opool_fate(struct space_pool *p, fab_addr addr, uint32_t j);

#endif
