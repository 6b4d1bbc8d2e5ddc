/* ec/check.h - the parity node's side of scrubbing: is the parity that it
 * keeps the code of the data that is in it (S1), and is the copy of a sealed
 * block what its data is (D1)?
 *
 * Only what is at rest is judged: where a fold, a retirement or a writer is at
 * work, -EAGAIN says so. Mending makes the parity, or the copy, anew from the
 * data, so the data must have been verified before by who knows its CRCs. A
 * stripe of rows whose writer died in the middle of one (it is in nobody's
 * value) is found wrong here, too, and made right.
 * Threads: the one that calls fold_work(), so that no fold is under way. */
#ifndef ACESO_EC_CHECK_H
#define ACESO_EC_CHECK_H
#include <stdbool.h>
#include <stdint.h>

#include "ec/alloc.h"
#include "rdma/fabric.h"

struct check_found {
	uint64_t bytes; /* looked at, of data and parity */
	uint64_t wrong; /* of parity and copies, each time they were read */
	bool mended;
};

/* Check what this node keeps as parity @parity of @stripe. Errors: -EINVAL it
 * keeps none; -EAGAIN not at rest; -EHOSTDOWN a data node is; -ETIMEDOUT;
 * -ENOMEM. */
int check_stripe(struct alloc *a, struct fab *f, uint64_t stripe,
		 uint32_t parity, bool mend, struct check_found *out);

#endif
