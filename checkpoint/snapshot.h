/* checkpoint/snapshot.h - a copy of a live region, brought up to date piece by
 * piece while others CAS the original.
 *
 * Aligned words of 8 bytes are never torn; beyond that the copy is of no one
 * moment: a word that changes while a pass goes on may be in it or not. What
 * was there when the pass began, and has not changed since, is in it.
 *
 * Threads: one at a time per snapshot. */
#ifndef ACESO_CHECKPOINT_SNAPSHOT_H
#define ACESO_CHECKPOINT_SNAPSHOT_H
#include <stdint.h>

#include "checkpoint/piece.h"

struct ckpt_snap;

/* A copy of @size bytes of zeros. Sets *@out on success only.
 * Errors: -EINVAL for a bad @size; -ENOMEM. */
int ckpt_snap_open(uint64_t size, struct ckpt_snap **out);
void ckpt_snap_close(struct ckpt_snap *s); /* NULL is fine */

/* Look for the first piece in [@from, @to) where @live (aligned to 8) and the
 * copy differ; the copy of it is then as the original is now, and *@was what it
 * was (valid until the next call). Returns its number, or @to: there is none.
 * Costs a read of both up to there; no more. */
uint32_t ckpt_snap_next(struct ckpt_snap *s, const void *live, uint32_t from,
			uint32_t to, const uint64_t **was);

uint64_t ckpt_snap_size(const struct ckpt_snap *s);
const uint64_t *ckpt_snap_piece(const struct ckpt_snap *s, uint32_t piece);

/* The sum of the copy as it is now (piece.h). */
uint32_t ckpt_snap_sum(const struct ckpt_snap *s);

#endif
