/* ec/stripe_impl.h - a degraded read under way. Private to stripe*.c. */
#ifndef ACESO_EC_STRIPE_IMPL_H
#define ACESO_EC_STRIPE_IMPL_H
#include "ec/stripe.h"

#define STRIPE_SLICE_BYTES (128u << 10) /* decoded at a time */

/* One parity node that is up. */
struct stripe_peer {
	uint32_t row;	/* which parity: 0..m-1 */
	uint32_t block; /* of its node */
	uint8_t node;
	bool asked; /* the plan reads something there */
	struct block_rec rec[CODE_DATA_MAX];	/* what the plan stands on */
	struct block_rec before[CODE_DATA_MAX]; /* as read around the ranges */
	struct block_rec after[CODE_DATA_MAX];
};

enum stripe_source { SOURCE_NONE, SOURCE_NODE, SOURCE_COPY, SOURCE_ZEROS };

/* How the bytes [lo, hi) of the block come about. */
struct stripe_plan {
	uint32_t lo, hi;
	bool any_copy; /* also those that are overruled (S6) */
	int copy;      /* peer whose delta is the answer, or -1 */
	uint32_t bare; /* bit i: role i is known to be zeros (S7) */
	uint32_t neq;  /* else: equations = unknowns; 0: it is bare itself */
	uint32_t eq[CODE_PARITY_MAX];	/* peer of each */
	unsigned lost[CODE_PARITY_MAX]; /* roles; [0] is the one wanted */
	uint8_t source[CODE_DATA_MAX];	/* of the other roles */
	uint8_t source_peer[CODE_DATA_MAX];
	void *data[CODE_DATA_MAX];
	void *rhs[CODE_PARITY_MAX];
	void *x[CODE_PARITY_MAX];
};

enum stripe_phase {
	STRIPE_START,
	STRIPE_RECORDS,
	STRIPE_RANGES,
	STRIPE_CONFIRM, /* the records once more */
};

struct stripe_read {
	const struct group *g;
	const struct code *c;
	uint64_t stripe;
	uint32_t role, at, len;
	uint64_t up;
	char *buf;
	bool surely; /* always look at the records again */

	enum stripe_phase phase;
	uint32_t done; /* bytes of the range */
	uint32_t tries;
	uint32_t npeers;
	struct stripe_peer peer[CODE_PARITY_MAX];
	struct stripe_plan plan;
	struct fab_op *ops;
	struct fab_batch batch;
	char *scratch;
};

/* Plan the next slice. 0; -EAGAIN: something is in flux; -EIO, -ENODATA. */
int stripe_plan_make(struct stripe_read *sr);

/* Fill the batch that fetches what the plan needs. */
void stripe_plan_ops(struct stripe_read *sr);

/* Could a role whose data came from its node have left the stripe before that
 * was read? Then the records must be looked at again. */
bool stripe_plan_doubts(const struct stripe_read *sr);

/* Fill the batch that reads them. */
void stripe_plan_confirm(struct stripe_read *sr);

/* All is there and stood still: compute the slice. */
void stripe_plan_solve(struct stripe_read *sr);

#endif
