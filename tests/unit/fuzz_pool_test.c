/* Pools that are none: tests/fuzz/pool.c, from a right superblock and view. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/fuzz/pool.c"

static void pools_that_are_none(void **state)
{
	struct layout_shape shape = {
		.nodes = 5, .k = 3, .m = 2, .usable = 64u << 20};
	struct layout_super super = {.node = 1, .secret = 3};
	static uint8_t region[SUPER_BYTES];
	struct fuzz_sample s[2];
	struct view v;

	assert_int_equal(layout_of(&shape, &super.layout), 0);
	layout_super_write(region, &super);
	view_first(&v, 5, 3, 2);
	s[0] = (struct fuzz_sample){region, 160};
	s[1] = (struct fuzz_sample){&v, sizeof(v)};
	fuzz_run(s, 2, 200000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pools_that_are_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
