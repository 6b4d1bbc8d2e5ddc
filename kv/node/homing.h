/* kv/node/homing.h - an index shard moves home from the host that stood in for
 * it: copied by READs, as it is, so that each slot keeps its number.
 *
 * Nobody changes the shard meanwhile: it is REBUILDING, every client has left
 * it, no sweep goes on. Threads: one at a time per struct. */
#ifndef ACESO_KV_NODE_HOMING_H
#define ACESO_KV_NODE_HOMING_H
#include <stdint.h>

#include "kv/layout.h"
#include "kv/proto.h"
#include "rdma/fabric.h"

struct homing;

/* Copy @shard from the room that node @source has for it to the one in @region,
 * which is node @id's and zeroed. Errors: -ENOMEM; -EINVAL no host of it. */
int homing_open(const struct layout *l, struct fab *f, uint32_t id,
		uint32_t shard, uint32_t source, void *region,
		struct homing **out);
void homing_close(struct homing *h); /* NULL is fine */

/* Go on, for a piece. Returns 1 if there is more to do, 0 at the end, with
 * @out filled in; -ESTALE if the source did not give it: look at the view. */
int homing_step(struct homing *h, struct proto_rebuilt *out);

#endif
