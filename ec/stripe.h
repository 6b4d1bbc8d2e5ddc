/* ec/stripe.h - read any range of a block whose node is away, from the other
 * members of its stripe, while writers and folds go on.
 *
 * One range in one block, as a state machine that yields batches:
 *   1. the records of the stripe's data roles, from every parity node up
 *   2. {records, the ranges needed, records} of the same nodes: the records
 *      before and after must be equal and even (block.h), else again from 1
 *   3. (only if some of a role that was read from its node is obsolete, so that
 *      it may be leaving) the records once more
 * Then: a role not folded at some parity that is up: its delta there IS the
 * data (D1, and S6 of README.md: but for a copy that is to be made equal to
 * another's); else solve the parities
 * for the lost folded roles, with the live folded roles folded out. Fresh
 * blocks are no part of it (the write hole, [I5]), and what was never opened
 * everywhere is zeros (S7). What is read is not trusted
 * until its CRC was checked by the caller, who may run it again on a mismatch.
 *
 * Threads: one at a time per struct. */
#ifndef ACESO_EC_STRIPE_H
#define ACESO_EC_STRIPE_H
#include <stdint.h>

#include "ec/block.h"
#include "ec/code.h"
#include "ec/group.h"
#include "rdma/fabric.h"

struct stripe_read;

/* @up: bit n set if node n may be asked. @len <= block size; the range must
 * not cross the block. The result goes to @buf. The group and the code must
 * outlive it. Errors: -EINVAL; -ENOMEM. */
int stripe_read_open(const struct group *g, const struct code *c,
		     uint64_t stripe, uint32_t role, uint32_t at, uint32_t len,
		     uint64_t up, void *buf, struct stripe_read **out);

/* Go on: digest the last batch (complete) and give the next one.
 * Returns 1 with *batch to post; 0 when @buf is filled; or
 *   -EAGAIN  the stripe kept changing for too many tries: sleep and go on
 *            stepping
 *   -EIO     more members are away than the code can bear
 *   -EHOSTDOWN  a node failed meanwhile: learn the view, open a new one
 *   -ENODATA    the block is FREE: there is nothing there (any more)
 *   -EBADMSG    a record makes no sense. */
int stripe_read_step(struct stripe_read *sr, struct fab_batch **batch);

void stripe_read_close(struct stripe_read *sr); /* NULL is fine */

/* The above to its end, on @f. @deadline_ns by fab_now(); adds -ETIMEDOUT. */
int stripe_read_run(struct fab *f, const struct group *g, const struct code *c,
		    fab_addr addr, uint32_t len, uint64_t up, void *buf,
		    uint64_t deadline_ns);

/* Likewise, for what no CRC will tell: 3. is done always. In one batch a block
 * may become obsolete, leave the parity and be zeroed, all of it after the
 * records and before its own bytes are read. */
int stripe_read_surely(struct fab *f, const struct group *g,
		       const struct code *c, fab_addr addr, uint32_t len,
		       uint64_t up, void *buf, uint64_t deadline_ns);

#endif
