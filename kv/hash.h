/* kv/hash.h - where a key lives. Pure; any thread. */
#ifndef ACESO_KV_HASH_H
#define ACESO_KV_HASH_H
#include <stddef.h>
#include <stdint.h>

uint64_t hash_of(const void *key, size_t klen); /* XXH3, 64 bits */

/* The shard (home node id) of a key, of @nodes. */
static inline uint32_t hash_shard(uint64_t h, uint32_t nodes)
{
	return (uint32_t)(((h >> 40 & 0xffffff) * nodes) >> 24);
}

/* The fingerprint in the slot; never 0. */
static inline uint8_t hash_print(uint64_t h)
{
	uint8_t fp = (uint8_t)(h >> 32);

	return fp != 0 ? fp : 1;
}
#endif
