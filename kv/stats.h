/* kv/stats.h - counters: added up by one thread each, read by any. */
#ifndef ACESO_KV_STATS_H
#define ACESO_KV_STATS_H
#include <stdint.h>
#include <stdio.h>

#include "kv/kv.h"

/* The owning thread adds; others may read meanwhile. */
static inline void stat_add(uint64_t *c, uint64_t n)
{
	uint64_t v = __atomic_load_n(c, __ATOMIC_RELAXED);

	__atomic_store_n(c, v + n, __ATOMIC_RELAXED);
}

/* @sum += @s, which another thread may be counting in. */
void stats_add(struct kv_stats *sum, const struct kv_stats *s);
/* @now -= @then. */
void stats_sub(struct kv_stats *now, const struct kv_stats *then);
/* A table for people. */
void stats_print(FILE *f, const struct kv_stats *s);

#endif
