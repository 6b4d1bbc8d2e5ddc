/* rdma/shm_copy.c - see shm_copy.h.
 *
 * The wide step is 16 bytes, aligned on the shared side: processors move each
 * aligned half of such an access whole (on x86-64 with AVX even the pair).
 * memcpy() would do as well as a rule, but does not promise it: it may go
 * bytewise at the ends, or align on the other side. */
#include "rdma/shm_copy.h"

#include <assert.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

typedef uint64_t v16 __attribute__((vector_size(16), may_alias));
typedef uint64_t v16u __attribute__((vector_size(16), may_alias, aligned(1)));
typedef uint64_t w8 __attribute__((may_alias));
typedef uint64_t w8u __attribute__((may_alias, aligned(1)));

#define RACY                                                                   \
	__attribute__((no_sanitize("thread")))                                 \
	__attribute__((no_sanitize("alignment")))

RACY static void bytes(unsigned char *d, const volatile unsigned char *s,
		       size_t n)
{
	while (n-- > 0)
		*d++ = *s++;
}

RACY static void bytes_in(volatile unsigned char *d, const unsigned char *s,
			  size_t n)
{
	while (n-- > 0)
		*d++ = *s++;
}

static size_t to_align(const void *p, size_t align, size_t len)
{
	size_t n = -(uintptr_t)p & (align - 1);

	return n < len ? n : len;
}

RACY void shm_copy_out(void *dst, const void *shared, size_t len)
{
	unsigned char *d = dst;
	const unsigned char *s = shared;
	size_t n = to_align(s, 8, len);

	bytes(d, s, n);
	d += n, s += n, len -= n;
	if (((uintptr_t)s & 8) != 0 && len >= 8) {
		*(w8u *)d = *(const volatile w8 *)s;
		d += 8, s += 8, len -= 8;
	}
	for (; len >= 64; d += 64, s += 64, len -= 64) {
		v16 a = *(const volatile v16 *)s;
		v16 b = *(const volatile v16 *)(s + 16);
		v16 c = *(const volatile v16 *)(s + 32);
		v16 e = *(const volatile v16 *)(s + 48);

		*(v16u *)d = a;
		*(v16u *)(d + 16) = b;
		*(v16u *)(d + 32) = c;
		*(v16u *)(d + 48) = e;
	}
	for (; len >= 8; d += 8, s += 8, len -= 8)
		*(w8u *)d = *(const volatile w8 *)s;
	bytes(d, s, len);
}

RACY void shm_copy_in(void *shared, const void *src, size_t len)
{
	unsigned char *d = shared;
	const unsigned char *s = src;
	size_t n = to_align(d, 8, len);

	bytes_in(d, s, n);
	d += n, s += n, len -= n;
	if (((uintptr_t)d & 8) != 0 && len >= 8) {
		*(volatile w8 *)d = *(const w8u *)s;
		d += 8, s += 8, len -= 8;
	}
	for (; len >= 64; d += 64, s += 64, len -= 64) {
		v16 a = *(const v16u *)s;
		v16 b = *(const v16u *)(s + 16);
		v16 c = *(const v16u *)(s + 32);
		v16 e = *(const v16u *)(s + 48);

		*(volatile v16 *)d = a;
		*(volatile v16 *)(d + 16) = b;
		*(volatile v16 *)(d + 32) = c;
		*(volatile v16 *)(d + 48) = e;
	}
	for (; len >= 8; d += 8, s += 8, len -= 8)
		*(volatile w8 *)d = *(const w8u *)s;
	bytes_in(d, s, len);
}

#ifdef __SSE2__
/* sfence: such stores keep to no order among others, on either side. */
RACY void shm_copy_past(void *shared, const void *src, size_t len)
{
	char *d = shared;
	const char *s = src;

	assert(((uintptr_t)d | len) % SHM_PAST_BYTES == 0);
	_mm_sfence();
	for (; len > 0; d += 64, s += 64, len -= 64) {
		__m128i a = _mm_loadu_si128((const __m128i *)s);
		__m128i b = _mm_loadu_si128((const __m128i *)(s + 16));
		__m128i c = _mm_loadu_si128((const __m128i *)(s + 32));
		__m128i e = _mm_loadu_si128((const __m128i *)(s + 48));

		_mm_stream_si128((__m128i *)d, a);
		_mm_stream_si128((__m128i *)(d + 16), b);
		_mm_stream_si128((__m128i *)(d + 32), c);
		_mm_stream_si128((__m128i *)(d + 48), e);
	}
	_mm_sfence();
}
#else
void shm_copy_past(void *shared, const void *src, size_t len)
{
	shm_copy_in(shared, src, len);
}
#endif
