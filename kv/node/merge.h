/* kv/node/merge.h - an image of a shard (checkpoint/restore.h) and the records
 * that a replay found make the shard as it was.
 *
 * Let the image have note c and its round have begun at T (rounds.h). The
 * replay reads every block of records that is OPEN, or whose stamp is >= c, and
 * passes over the others, which are KEPT: they are as they were at T.
 *
 * I1. A key whose slot changed after T has its newest record in a block that
 *     the replay reads: that follows from K1. It is found as in a full replay
 *     (newest.h): the winner of its key.
 * I2. A firm slot of the image that names a record in a KEPT block is right,
 *     but if its key has a newer winner: the record is whole and where it was,
 *     as nothing was written into the block since T. So each winner looks for
 *     its key among the slots where it may be: those with its fingerprint are
 *     fetched. Whichever record has the higher version counts; one that was in
 *     a slot counts as COMMITTED.
 * I3. A firm slot of the image that names a block which was read is given up:
 *     if its record still counts, the replay has found it, else its successor.
 *     Likewise one that names a FREE block: its record was superseded.
 * Tentative slots are given up as well, if their records were read. I5. One in
 * a KEPT block, of a client that died or gave up long ago, may say COMMITTED
 * (N3 in kv/client/insert.c), and be taken by a later replay: then all is read
 * now, -ESTALE. I4. So for each firm slot given up there is a winner with its
 * fingerprint that belongs there. If there is none the image caught a swing
 * that was undone (C4 in client/commit.c), and what was there before is not
 * known: -ESTALE, and all is read after all.
 *
 * An image is of no single moment; that does no harm: a slot that changed while
 * it was made changed after T. */
#ifndef ACESO_KV_NODE_MERGE_H
#define ACESO_KV_NODE_MERGE_H
#include <stdint.h>

#include "kv/layout.h"
#include "kv/node/fetch.h"
#include "kv/node/newest.h"
#include "kv/node/place.h"
#include "kv/slot.h"

struct merge_opts {
	const struct layout *layout;
	uint32_t shard;
	const struct slot *image; /* of the shard */
	/* By stripe * k + role: the life of a KEPT block; 0: it was read, or is
	 * FREE, or holds no records. */
	const uint32_t *kept;
	const struct fetch *fetch;
	struct newest *winners; /* of the replay; learns from the image */
};

/* What is to be done with each winner, by its place in the table. */
#define MERGE_ANYWHERE UINT32_MAX	/* place it */
#define MERGE_IS_THERE (UINT32_MAX - 1) /* the image has it */
/* else the slot to prefer */

/* Pin the slots that hold on to @p. *where: for each of newest_room() places,
 * the caller's to free. Errors: -ESTALE the image cannot be used (I4, I5);
 * -EBADMSG it makes no sense: likewise; -ENOMEM; those of fetch_record(). */
int merge_image(const struct merge_opts *o, struct place *p, uint32_t **where,
		uint64_t *pinned);

#endif
