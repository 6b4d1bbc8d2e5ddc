/* kv/client/alone.c - two flags, and a byte for each share of the hashes. */
#include "kv/client/alone.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#define ALONE_SHARES 4096u

struct alone {
	_Atomic bool alone;
	_Atomic bool doubt;
	_Atomic bool claimed[ALONE_SHARES];
};

int alone_open(bool alone, struct alone **out)
{
	struct alone *a = calloc(1, sizeof(*a));

	if (a == NULL)
		return -ENOMEM;
	alone_set(a, alone);
	*out = a;
	return 0;
}

void alone_close(struct alone *a)
{
	free(a);
}

void alone_set(struct alone *a, bool alone)
{
	atomic_store(&a->alone, alone);
}

/* Other bits than those that choose a bucket or a part of the cache. */
static _Atomic bool *share_of(struct alone *a, uint64_t hash)
{
	return &a->claimed[(hash >> 44) % ALONE_SHARES];
}

/* The doubt is looked at under the claim: it was raised under it. */
bool alone_claim(struct alone *a, uint64_t hash)
{
	if (!atomic_load_explicit(&a->alone, memory_order_acquire) ||
	    atomic_exchange(share_of(a, hash), true))
		return false;
	if (!atomic_load_explicit(&a->doubt, memory_order_acquire))
		return true;
	alone_yield(a, hash);
	return false;
}

void alone_yield(struct alone *a, uint64_t hash)
{
	atomic_store_explicit(share_of(a, hash), false, memory_order_release);
}

void alone_doubt(struct alone *a)
{
	atomic_store(&a->doubt, true);
}
