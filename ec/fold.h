/* ec/fold.h - the parity node's work in the background: sealed deltas into the
 * parity (P ^= g * delta), wholly obsolete blocks out of it again.
 *
 * Steps of BLOCK_FOLD_STEP bytes; the record's progress moves with each, so
 * that degraded reads know which bytes are on which side (D1), and the step in
 * flight has its old parity bytes kept aside, so that redoing it is harmless.
 * What is young rests: most of what is written over soon is written over very
 * soon, and a block that becomes wholly obsolete before it is folded needs
 * neither to be folded nor to be folded out again (fold_retire.c). Its delta is
 * a full copy meanwhile (D1), so it is as safe as one that is folded; it takes
 * one block more at each parity. A few blocks rest, while delta blocks are
 * plenty, and none for long (alloc.h, rest).
 * Threads: one caller at a time; may run beside alloc.h's functions of the
 * same struct alloc in another thread (they share its lock, held only briefly,
 * never during a 2 MiB fold). */
#ifndef ACESO_EC_FOLD_H
#define ACESO_EC_FOLD_H
#include <stdbool.h>
#include <stdint.h>

#include "ec/alloc.h"
#include "rdma/fabric.h"

/* Do the next piece of folding, at most @bytes of it. Returns 1 if there was
 * something and more may be, 0 if nothing is to be done, -errno if all that is
 * left must wait: a remote read failed (retiring and orphans need the data
 * block; @f reads it), no delta block is free for a copy, or another parity
 * node must settle an orphan first (-EAGAIN): try later. */
int fold_work(struct alloc *a, struct fab *f, uint32_t bytes);

/* When fold_work() finds something, if nothing changes meanwhile: 0 now; a time
 * by the clock of @now, which is fab_now()'s; UINT64_MAX: never. Any thread. */
uint64_t fold_due(struct alloc *a, uint64_t now);

/* Begin to fold a wholly obsolete block out of the parity here (fold_work()
 * goes on with it), or mark it RETIRING on its data node; then: is it done?
 * The leader does so here, asks the others (RETIRE) until all are done, and
 * then all to fold_free(), see fold_retire.c. @again: to be opened again
 * (again.h). Asking again is harmless.
 * Errors: -EAGAIN it is still open here: ask again; -ESTALE another life;
 * -EINVAL. */
int fold_retire(struct alloc *a, uint64_t stripe, uint32_t role, uint32_t life,
		bool again);
bool fold_retired(struct alloc *a, uint64_t stripe, uint32_t role,
		  uint32_t life);

/* Wholly obsolete, sealed and folded blocks that this node leads: the next one
 * to retire, first of all one whose retirement was begun, so that one is under
 * way at a time and a new leader goes on where the old one stopped. -ENOENT if
 * none. ROWS: a stripe all of whose roles are. Never one that lies on a node
 * which is down. */
int fold_victim(struct alloc *a, uint64_t *stripe, uint32_t *role,
		uint8_t *kind, uint32_t *life);

/* Left over: retired here, in a stripe that another node leads. That is so
 * while a retirement goes on. But should leadership change at its very end, the
 * new leader may have freed the block already, and would never ask again:
 * whoever finds its record FREE, of this life or a later one, calls fold_free()
 * here. Once with each view is enough. Goes on from *@at (0: the first).
 * -ENOENT: no more. */
int fold_stray(struct alloc *a, uint32_t *at, uint64_t *stripe, uint32_t *role,
	       uint32_t *life);

/* All members agreed: zero the block if it is here, FREE in the record; data
 * nodes first, the leader last. Frees all roles for ROWS; the parity of a
 * stripe that is wholly free then is zeroed too. Freed already: 0. Errors:
 * -EAGAIN not retired here yet; -ESTALE another life; -EINVAL. */
int fold_free(struct alloc *a, uint64_t stripe, uint32_t role, uint32_t life);

#endif
