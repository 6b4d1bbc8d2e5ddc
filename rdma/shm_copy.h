/* rdma/shm_copy.h - moves bytes to and from memory that others write.
 *
 * Each aligned 8 bytes of the shared side move in one access, so words are
 * never torn, whatever the length; across words anything may be seen, which
 * is what the checksums above are for. Sanitizers do not look inside: racing
 * on purpose is these functions' trade. */
#ifndef ACESO_RDMA_SHM_COPY_H
#define ACESO_RDMA_SHM_COPY_H
#include <stddef.h>
#include <stdint.h>

/* ThreadSanitizer knows no fences, and gcc warns of that; what they order is
 * moved by code that it does not look into. */
#ifdef __SANITIZE_THREAD__
#define shm_fence(order) __asm__ __volatile__("mfence" ::: "memory")
#else
#define shm_fence(order) __atomic_thread_fence(order)
#endif

void shm_copy_out(void *dst, const void *shared, size_t len);
void shm_copy_in(void *shared, const void *src, size_t len);

/* The same past the caches, for many bytes that nobody reads soon: what lies
 * there is not fetched to be overwritten. @shared and @len are multiples of
 * SHM_PAST_BYTES. Neither passes a write nor is passed by one. */
#define SHM_PAST_BYTES 64u
void shm_copy_past(void *shared, const void *src, size_t len);

#endif
