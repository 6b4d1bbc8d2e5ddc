/* kv/node/newest.h - of all records met in a scan, which one each key's slot
 * should name. Plain memory; one thread at a time.
 *
 * N1. Per key the highest version counts; among equals COMMITTED before SOLO
 *     before PENDING; among SOLO the latest client's, and of its own the first
 *     (kv/client/alone.h); then the lower address; never KILLED.
 * N2. But a PENDING record that began a key anew (an insert:
 *     object_begins()) does not count beside a COMMITTED one that is
 *     live: it was written by an insert that found the key there and had no
 *     time to kill it. Had it been in the slot, what is live would be dead.
 * A lone PENDING record is rolled forward: see kv/object.h.
 *
 * Keys are told apart by 128 bits of keyed hash (the pool's secret), so that
 * none of their bytes is kept: no two keys of a pool collide but by a chance
 * that is less than that of a wrong CRC by far. */
#ifndef ACESO_KV_NODE_NEWEST_H
#define ACESO_KV_NODE_NEWEST_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kv/object.h"

struct newest;

#define NEWEST_NO_SLOT UINT32_MAX

struct newest_rec {
	uint64_t version;
	uint64_t word; /* for the slot; 0: there is none */
	uint64_t tag;  /* who wrote it: client << 32 | its operation */
	uint32_t slot; /* its number in the shard as the record knew it */
	uint32_t solo; /* 1: it says SOLO */
};

struct newest_key {
	uint64_t id[2];
	uint64_t hash;
	struct newest_rec committed; /* the best of COMMITTED and SOLO */
	struct newest_rec pending;
};

int newest_open(uint64_t secret, struct newest **out);
void newest_close(struct newest *t); /* NULL is fine */

/* Take the record @o, lying at @addr, into account. Errors: -ENOMEM. */
int newest_add(struct newest *t, fab_addr addr, const struct object *o);

/* Take the record @o, lying at @addr, into account if it is of the @i-th key:
 * then true. It was in the index for certain: it counts as COMMITTED. */
bool newest_firm(struct newest *t, size_t i, fab_addr addr,
		 const struct object *o);

/* How many keys there are, and the @i-th: NULL if i is in a gap of the table,
 * of newest_room() places. */
size_t newest_keys(const struct newest *t);
size_t newest_room(const struct newest *t);
const struct newest_key *newest_at(const struct newest *t, size_t i);

/* The record that counts, by N1 and N2; NULL: none. */
const struct newest_rec *newest_choose(const struct newest_key *k);

#endif
