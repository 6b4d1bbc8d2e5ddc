/* kv/client/alone.h - when this client is the only one of its pool: its records
 * may say from the start that they are as good as COMMITTED (object.h, SOLO),
 * so that a change needs no third round trip.
 *
 * A1. A key's SOLO records are written one after the other: who writes one has
 *     claimed the key (a share of the hashes), and yields it when the record is
 *     the slot's, or KILLED. So of those of one version and client that are
 *     not KILLED, only the first can have been in the slot.
 * A2. What they build on was read while the client was alone: whoever becomes
 *     alone forgets what it knew. So of those of one version, a later client's
 *     is the one that can have been in the slot.
 * A3. Should one stay undecided after its operation has ended (a deadline),
 *     A1 is gone, and with it SOLO, for the rest of this client's life.
 * Who cannot claim writes PENDING and then COMMITTED, as always.
 * Threads: any; alone_set() one at a time. */
#ifndef ACESO_KV_CLIENT_ALONE_H
#define ACESO_KV_CLIENT_ALONE_H
#include <stdbool.h>
#include <stdint.h>

struct alone;

int alone_open(bool alone, struct alone **out); /* -ENOMEM */
void alone_close(struct alone *a);		/* NULL is fine */

/* The view says so. Before @alone is true, A2 is seen to. */
void alone_set(struct alone *a, bool alone);

/* True: write SOLO, and yield later. */
bool alone_claim(struct alone *a, uint64_t hash);
void alone_yield(struct alone *a, uint64_t hash);

/* What was claimed will never be decided: A3. Before the yield. */
void alone_doubt(struct alone *a);

#endif
