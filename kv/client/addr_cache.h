/* kv/client/addr_cache.h - where a key's slot was, what it held, and small
 * values themselves. A hint, never an authority: whoever uses an entry reads
 * the slot again and compares word and version (client.h tells why both).
 * Bounded in bytes; what was not used for a round of the clock's hand goes.
 * Threads: any; locked in pieces. */
#ifndef ACESO_KV_CLIENT_ADDR_CACHE_H
#define ACESO_KV_CLIENT_ADDR_CACHE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CACHE_VALUE_MAX 4160u /* longer values: only where they are */

struct cache;

struct cache_entry {
	uint64_t slot; /* number within the shard */
	uint64_t word;
	uint64_t version; /* of the record; what slot.version must be */
	uint32_t units;
	uint32_t life;
	uint32_t val_len;
	bool inlined; /* its value is here */
};

int cache_open(uint64_t bytes, struct cache **out); /* -ENOMEM */
void cache_close(struct cache *c);		    /* NULL is fine */

/* True if @key is here. Copies its value to @buf if it is inlined and @cap is
 * enough (else *@out's inlined is false). */
bool cache_get(struct cache *c, uint64_t hash, const void *key, size_t klen,
	       struct cache_entry *out, void *buf, size_t cap);

/* Set; @val NULL: no value. An entry of a higher version stays. No memory: the
 * key is dropped. */
void cache_put(struct cache *c, uint64_t hash, const void *key, size_t klen,
	       const struct cache_entry *e, const void *val);

void cache_drop(struct cache *c, uint64_t hash, const void *key, size_t klen);

/* Forget all: the index moved. */
void cache_clear(struct cache *c);

uint64_t cache_bytes(struct cache *c);

#endif
