/* kv/client/marks.h - notes to the nodes: these units are obsolete.
 *
 * Bounded and lossy at the very end only: past MARKS_MAX notes not yet sent, a
 * new one is dropped and counted; its space is found again by a sweep or fsck.
 * Every note goes out with the life of its block, so that a late or repeated
 * one cannot hit the block's next use: a note given without is looked up first,
 * which is right because as long as it was not sent its units are live there,
 * and so is the block.
 * Threads: any. */
#ifndef ACESO_KV_CLIENT_MARKS_H
#define ACESO_KV_CLIENT_MARKS_H
#include <stdint.h>

#include "kv/client/client_impl.h"
#include "kv/proto.h"

#define MARKS_MAX 262144u /* 24 bytes each */

struct marks;

int marks_open(struct kv *kv, struct marks **out);
void marks_close(struct marks *m); /* NULL is fine */

/* Returns how many wait now; 0 if it made one that waits longer.
 * @mark->life 0: look it up. */
uint32_t marks_add(struct marks *m, const struct proto_mark_one *mark);

uint32_t marks_waiting(struct marks *m);
uint64_t marks_dropped(struct marks *m);

/* Send up to PROTO_MARKS_MAX of them to the members of their stripes that are
 * up. Returns 1 if some were sent, 0 if there were none or another thread is
 * at it, -errno if a node could not be told: those wait again. */
int marks_send(struct marks *m, struct kv_thread *t);

#endif
