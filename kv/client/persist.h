/* kv/client/persist.h - this client and the pool's durable checkpoints.
 * Threads: any. */
#ifndef ACESO_KV_CLIENT_PERSIST_H
#define ACESO_KV_CLIENT_PERSIST_H
#include <stdatomic.h>
#include <stdbool.h>

#include "kv/client/client_impl.h"
#include "kv/client/space.h"

/* Something is about to change: the next cut is worth making. */
static inline void persist_touch(struct kv *kv)
{
	if (!kv->persistent ||
	    atomic_load_explicit(&kv->changed, memory_order_relaxed))
		return;
	atomic_store(&kv->changed, true);
	space_wake(kv->space); /* persist_tell() */
}

/* The coordinator has yet to hear of it. */
static inline bool persist_untold(struct kv *kv)
{
	return atomic_load(&kv->changed) && !atomic_load(&kv->changed_told);
}

/* Tell it, if so. */
void persist_tell(struct kv *kv, struct kv_thread *t);

/* A cut is being made: nothing has changed since. */
void persist_cut(struct kv *kv);

/* Have a durable checkpoint made now, whatever becomes of it. */
void persist_hurry(struct kv *kv, struct kv_thread *t);

#endif
