/* kv/node/place.h - building an index shard from nothing: which key goes into
 * which slot. Plain memory; one thread at a time.
 *
 * P1. Keys that once lay in a shard together find room together again, in
 *     whatever order they are placed: where no legal slot of a key is free,
 *     others are moved along until one is (an augmenting path of a bipartite
 *     matching: it exists whenever a matching does). Those that are pinned
 *     are where they were then, so a matching of the others exists without
 *     their slots. */
#ifndef ACESO_KV_NODE_PLACE_H
#define ACESO_KV_NODE_PLACE_H
#include <stdint.h>

#include "kv/slot.h"

struct place;

/* For a shard of @groups bucket groups. Errors: -ENOMEM. */
int place_open(uint32_t groups, struct place **out);
void place_close(struct place *p); /* NULL is fine */

/* Place a key. @hint is a slot number to prefer, if it is a legal one and free;
 * any number will do. Errors: -ENOSPC; -ENOMEM. */
int place_add(struct place *p, uint64_t hash, uint64_t word, uint64_t version,
	      uint32_t hint);

/* Put @word and @version into @slot, which is free: they stay there, whoever is
 * moved. Errors: -ENOMEM. */
int place_pin(struct place *p, uint32_t slot, uint64_t word, uint64_t version);

/* Write the shard to @room, which is zeroed: slot_shard_bytes(). */
void place_write(const struct place *p, struct slot *room);

#endif
