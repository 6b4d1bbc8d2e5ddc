/* kv/hash.c - key -> 64 bits. */
#include "kv/hash.h"

#include <xxhash.h>

uint64_t hash_of(const void *key, size_t klen)
{
	return XXH3_64bits(key, klen);
}
