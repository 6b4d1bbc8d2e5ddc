/* kv/client/addr_cache.c - shards of a hash table of pointers (linear probing,
 * deletion by shifting back), each with its lock, its bytes and a CLOCK hand
 * that walks the table. */
#include "kv/client/addr_cache.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define CACHE_SHARDS	64u
#define CACHE_SLOTS	64u /* of a shard's table, at first */
#define CACHE_BYTES_MIN (CACHE_SHARDS * 16384u)

struct item {
	struct cache_entry e;
	uint32_t bytes;	  /* of this item */
	uint32_t val_cap; /* room for a value */
	uint8_t klen;
	bool used;  /* since the hand came by */
	char key[]; /* then the value */
};

/* The hash beside the pointer: a probe that misses touches nothing else. */
struct cell {
	uint64_t hash;
	struct item *item; /* NULL: free */
};

struct shard {
	pthread_mutex_t lock;
	struct cell *slot;
	uint32_t slots; /* power of two */
	uint32_t items;
	uint32_t hand;
	uint64_t bytes, limit;
} __attribute__((aligned(64)));

struct cache {
	struct shard shard[CACHE_SHARDS];
};

static int shard_open(struct shard *s, uint64_t limit)
{
	s->slot = calloc(CACHE_SLOTS, sizeof(*s->slot));
	if (s->slot == NULL)
		return -ENOMEM;
	s->slots = CACHE_SLOTS;
	s->limit = limit;
	pthread_mutex_init(&s->lock, NULL);
	return 0;
}

static void shard_empty(struct shard *s)
{
	for (uint32_t i = 0; i < s->slots; i++) {
		free(s->slot[i].item);
		s->slot[i].item = NULL;
	}
	s->items = 0;
	s->bytes = 0;
}

int cache_open(uint64_t bytes, struct cache **out)
{
	struct cache *c;

	if (bytes < CACHE_BYTES_MIN)
		bytes = CACHE_BYTES_MIN;
	c = aligned_alloc(64, sizeof(*c));
	if (c == NULL)
		return -ENOMEM;
	memset(c, 0, sizeof(*c));
	for (uint32_t i = 0; i < CACHE_SHARDS; i++) {
		if (shard_open(&c->shard[i], bytes / CACHE_SHARDS) != 0) {
			cache_close(c);
			return -ENOMEM;
		}
	}
	*out = c;
	return 0;
}

void cache_close(struct cache *c)
{
	if (c == NULL)
		return;
	for (uint32_t i = 0; i < CACHE_SHARDS; i++) {
		struct shard *s = &c->shard[i];

		if (s->slot == NULL)
			continue;
		shard_empty(s);
		free(s->slot);
		pthread_mutex_destroy(&s->lock);
	}
	free(c);
}

/* --- one shard's table ---------------------------------------------------- */

static struct shard *shard_of(struct cache *c, uint64_t hash)
{
	return &c->shard[hash >> 58];
}

static uint32_t home_of(const struct shard *s, uint64_t hash)
{
	return (uint32_t)(hash >> 8) & (s->slots - 1);
}

/* The slot that has the key, or the empty one where it would go. */
static uint32_t slot_of(const struct shard *s, uint64_t hash, const void *key,
			size_t klen)
{
	uint32_t i = home_of(s, hash);
	const struct item *it;

	while ((it = s->slot[i].item) != NULL) {
		if (s->slot[i].hash == hash && it->klen == klen &&
		    memcmp(it->key, key, klen) == 0)
			break;
		i = (i + 1) & (s->slots - 1);
	}
	return i;
}

/* Take the item out of slot @i; those behind it move up. */
static void take_out(struct shard *s, uint32_t i)
{
	uint32_t mask = s->slots - 1, hole = i, j = i;

	s->bytes -= s->slot[i].item->bytes;
	s->items--;
	free(s->slot[i].item);
	s->slot[i].item = NULL;
	for (;;) {
		uint32_t home;

		j = (j + 1) & mask;
		if (s->slot[j].item == NULL)
			return;
		home = home_of(s, s->slot[j].hash);
		if (((j - home) & mask) < ((j - hole) & mask))
			continue; /* it must not go before its home */
		s->slot[hole] = s->slot[j];
		s->slot[j].item = NULL;
		hole = j;
	}
}

static void grow(struct shard *s)
{
	uint32_t old = s->slots;
	struct cell *from = s->slot, *to = calloc(old * 2, sizeof(*to));

	if (to == NULL)
		return; /* it stays crowded, then evicts */
	s->slot = to;
	s->slots = old * 2;
	for (uint32_t i = 0; i < old; i++) {
		uint32_t j;

		if (from[i].item == NULL)
			continue;
		j = home_of(s, from[i].hash);
		while (to[j].item != NULL)
			j = (j + 1) & (s->slots - 1);
		to[j] = from[i];
	}
	free(from);
}

/* Turn the hand until @bytes more fit. */
static void make_room(struct shard *s, uint64_t bytes)
{
	while (s->items > 0 &&
	       (s->bytes + bytes > s->limit || s->items + 1 >= s->slots)) {
		struct item *it = s->slot[s->hand &= s->slots - 1].item;

		if (it == NULL || it->used) {
			if (it != NULL)
				it->used = false;
			s->hand++;
		} else {
			take_out(s, s->hand);
		}
	}
}

static struct item *item_new(const void *key, size_t klen, uint32_t val_cap)
{
	size_t bytes = sizeof(struct item) + klen + val_cap;
	struct item *it = malloc(bytes);

	if (it == NULL)
		return NULL;
	it->klen = (uint8_t)klen;
	it->val_cap = val_cap;
	it->bytes = (uint32_t)bytes;
	memcpy(it->key, key, klen);
	return it;
}

static void item_set(struct item *it, const struct cache_entry *e,
		     const void *val, bool inlined)
{
	it->e = *e;
	it->e.inlined = inlined;
	if (inlined && e->val_len > 0)
		memcpy(it->key + it->klen, val, e->val_len);
}

static void add(struct shard *s, uint64_t hash, const void *key, size_t klen,
		const struct cache_entry *e, const void *val, bool inlined)
{
	struct item *it = item_new(key, klen, inlined ? e->val_len : 0);
	uint32_t i;

	if (it == NULL)
		return;
	if (it->bytes > s->limit / 2) {
		free(it);
		return;
	}
	if (s->items * 4 >= s->slots * 3)
		grow(s);
	make_room(s, it->bytes);
	i = slot_of(s, hash, key, klen);
	it->used = false; /* a key met once must not push out those in use */
	item_set(it, e, val, inlined);
	s->slot[i] = (struct cell){.hash = hash, .item = it};
	s->items++;
	s->bytes += it->bytes;
}

/* --- the calls ------------------------------------------------------------ */

bool cache_get(struct cache *c, uint64_t hash, const void *key, size_t klen,
	       struct cache_entry *out, void *buf, size_t cap)
{
	struct shard *s = shard_of(c, hash);
	struct item *it;

	pthread_mutex_lock(&s->lock);
	it = s->slot[slot_of(s, hash, key, klen)].item;
	if (it == NULL) {
		pthread_mutex_unlock(&s->lock);
		return false;
	}
	it->used = true;
	*out = it->e;
	out->inlined = it->e.inlined && it->e.val_len <= cap;
	if (out->inlined && it->e.val_len > 0)
		memcpy(buf, it->key + klen, it->e.val_len);
	pthread_mutex_unlock(&s->lock);
	return true;
}

void cache_put(struct cache *c, uint64_t hash, const void *key, size_t klen,
	       const struct cache_entry *e, const void *val)
{
	bool inlined = e->inlined && e->val_len <= CACHE_VALUE_MAX;
	uint32_t need = inlined ? e->val_len : 0, i;
	struct shard *s = shard_of(c, hash);
	struct item *it;

	pthread_mutex_lock(&s->lock);
	i = slot_of(s, hash, key, klen);
	it = s->slot[i].item;
	if (it == NULL) {
		add(s, hash, key, klen, e, val, inlined);
	} else if (it->e.version > e->version) {
		/* an older one, late */
	} else if (it->val_cap >= need && it->val_cap <= 2 * need + 64) {
		it->used = true;
		item_set(it, e, val, inlined);
	} else {
		take_out(s, i);
		add(s, hash, key, klen, e, val, inlined);
	}
	pthread_mutex_unlock(&s->lock);
}

void cache_drop(struct cache *c, uint64_t hash, const void *key, size_t klen)
{
	struct shard *s = shard_of(c, hash);
	uint32_t i;

	pthread_mutex_lock(&s->lock);
	i = slot_of(s, hash, key, klen);
	if (s->slot[i].item != NULL)
		take_out(s, i);
	pthread_mutex_unlock(&s->lock);
}

void cache_clear(struct cache *c)
{
	for (uint32_t i = 0; i < CACHE_SHARDS; i++) {
		struct shard *s = &c->shard[i];

		pthread_mutex_lock(&s->lock);
		shard_empty(s);
		pthread_mutex_unlock(&s->lock);
	}
}

uint64_t cache_bytes(struct cache *c)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < CACHE_SHARDS; i++) {
		struct shard *s = &c->shard[i];

		pthread_mutex_lock(&s->lock);
		n += s->bytes;
		pthread_mutex_unlock(&s->lock);
	}
	return n;
}
