/* tests/lib/kv_model.h - a store that is obviously right: kv.h in memory.
 * One mutex, one hash table, one copy. Links in place of the real store, so
 * that fs/ can be tested without it. kv_opts.pool names a pool; it is made by
 * the first kv_open() and lives until kv_model_drop(), so a test may unmount
 * and mount again, or mount one pool twice. */
#ifndef ACESO_TESTS_LIB_KV_MODEL_H
#define ACESO_TESTS_LIB_KV_MODEL_H
#include <stddef.h>
#include <stdint.h>

struct kv;

/* Forget a pool and its contents. Its clients must be closed. */
void kv_model_drop(const char *pool);

/* Let the pool hold at most @pages pages and as many keys (default: 2^40). */
void kv_model_limit(struct kv *kv, uint64_t pages);

/* The client dies just before its @n-th change from here (1: the next one):
 * that one and all later calls say -EIO. 0 takes it back. */
void kv_model_crash_at(struct kv *kv, uint64_t n);

/* Just before the @n-th change from here, call @meddle(arg) once, unlocked:
 * what another mount might do at the worst moment. 0 takes it back. */
void kv_model_meddle_at(struct kv *kv, uint64_t n, void (*meddle)(void *arg),
			void *arg);

/* Let @seconds pass on the pool's clock. */
void kv_model_pass(struct kv *kv, unsigned seconds);

/* Changes this client made, changes and reads, and what the pool holds. */
uint64_t kv_model_changes(struct kv *kv);
uint64_t kv_model_calls(struct kv *kv);
uint64_t kv_model_keys(struct kv *kv);
uint64_t kv_model_pages(struct kv *kv);

#endif
