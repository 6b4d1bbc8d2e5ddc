/* tests/unit/rdma_copy_test.c - copies to and from shared memory: every length
 * at every alignment, and not a byte besides; addresses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "rdma/addr.h"
#include "rdma/shm_copy.h"

#define LEN_MAX 200u

static void fill(uint8_t *p, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(seed += 37 + (unsigned)i);
}

static void check(void (*copy)(void *, const void *, size_t), size_t d_off,
		  size_t s_off, size_t len)
{
	_Alignas(64) uint8_t src[LEN_MAX + 64], dst[LEN_MAX + 64];
	uint8_t want[sizeof(dst)];

	fill(src, sizeof(src), (unsigned)len);
	memset(dst, 0x5c, sizeof(dst));
	memcpy(want, dst, sizeof(dst));
	memcpy(want + d_off, src + s_off, len);
	copy(dst + d_off, src + s_off, len);
	assert_memory_equal(dst, want, sizeof(dst));
}

static void every_length_at_every_alignment(void **state)
{
	for (size_t len = 0; len <= LEN_MAX; len++)
		for (size_t d = 0; d < 17; d++)
			for (size_t s = 0; s < 17; s += 1 + len % 3) {
				check(shm_copy_out, d, s, len);
				check(shm_copy_in, d, s, len);
			}
}

static void past_the_caches_too(void **state)
{
	for (size_t len = 0; len <= 192; len += 64)
		for (size_t s = 0; s < 17; s++)
			check(shm_copy_past, 0, s, len);
	check(shm_copy_past, 64, 3, 128);
}

static void an_address_is_node_and_offset(void **state)
{
	fab_addr a = fab_addr_make(62, FAB_ADDR_OFFSET_MAX);

	assert_int_equal(fab_addr_node(a), 62);
	assert_true(fab_addr_offset(a) == FAB_ADDR_OFFSET_MAX);
	a = fab_addr_make(0, 1);
	assert_int_equal(fab_addr_node(a), 0);
	assert_int_equal(fab_addr_offset(a), 1);
	assert_int_equal(fab_addr_make(0, 0), 0); /* no address */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_length_at_every_alignment),
		cmocka_unit_test(past_the_caches_too),
		cmocka_unit_test(an_address_is_node_and_offset),
	};

	return cmocka_run_group_tests_name("copy", tests, NULL, NULL);
}
