/* kv/node/fetch.h - one record, as a slot names it: read from its node, or
 * decoded from the rest of its stripe.
 *
 * Threads: one at a time per struct; it blocks. */
#ifndef ACESO_KV_NODE_FETCH_H
#define ACESO_KV_NODE_FETCH_H
#include <stdint.h>

#include "ec/code.h"
#include "kv/object.h"
#include "rdma/fabric.h"

struct fetch {
	struct fab *fab;
	const struct group *g;
	const struct code *code;
	uint64_t secret; /* of the pool */
	uint64_t up;	 /* nodes that may be asked, bit n */
	char *record;	 /* room for one: OBJECT_BYTES_MAX */
};

/* Read the record that @word names into f->record. Errors: -EBADMSG it is no
 * right one (any more); -ENODATA its block is FREE by now; else a node failed,
 * or more is lost than the code bears. */
int fetch_record(const struct fetch *f, uint64_t word, struct object *out);

#endif
