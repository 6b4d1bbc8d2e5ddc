/* tests/lib/kv_model_impl.h - private to tests/lib/kv_model*.c. */
#ifndef ACESO_TESTS_LIB_KV_MODEL_IMPL_H
#define ACESO_TESTS_LIB_KV_MODEL_IMPL_H
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "kv/kv.h"

#define BUCKETS	 (1u << 17)
#define NO_LIMIT ((uint64_t)1 << 40)

struct cell {
	struct cell *next;
	uint64_t version;
	uint32_t klen, vlen;
	uint8_t bytes[]; /* key, value */
};

struct page {
	struct page *next;
	uint64_t addr;
	uint32_t writer; /* the client */
	uint8_t bytes[KV_PAGE_BYTES];
};

struct pool {
	struct pool *next;
	char *name;
	pthread_mutex_t lock;
	struct cell *cells[BUCKETS];
	struct page *page_at[BUCKETS];
	uint64_t keys, pages, limit;
	uint64_t clock;	 /* versions and page addresses: never used twice */
	uint64_t passed; /* seconds the wall clock is ahead of the host's */
	uint32_t client_last;
	unsigned clients;
	struct kv *client; /* all there are */
};

struct kv {
	struct kv *next;
	struct pool *pool;
	uint32_t id;
	bool dead;
	uint64_t changes, calls;
	_Atomic int areas;	      /* registered */
	uint64_t crash_at, meddle_at; /* in terms of changes; 0: never */
	void (*meddle)(void *arg);
	void *meddle_arg;
};

/* Take the lock for a call; before a change, die or be meddled with if it is
 * time to. Returns 0 with the lock held, or -EIO without. */
int model_begin(struct kv *kv, bool change);
void model_end(struct kv *kv);

#endif
