/* Directory nodes that are none: tests/fuzz/leaf.c, from right ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/fuzz/leaf.c"

static void nodes_that_are_none(void **state)
{
	static struct fs_node few, none, inner;
	struct fuzz_sample s[3];

	fs_node_init(&few, FS_NODE_LEAF, 0);
	for (uint64_t i = 1; i <= 12; i++) {
		struct fs_dentry d = {.hash = i / 2 * 1000,
				      .ino = i,
				      .name = "abcdefghijklmnop" + i,
				      .nlen = (uint8_t)(16 - i),
				      .type = 8};

		assert_int_equal(fs_leaf_add(&few, &d), 0);
	}
	fs_node_init(&none, FS_NODE_LEAF, 0);
	fs_node_init(&inner, FS_NODE_INNER, 9);
	s[0] = (struct fuzz_sample){few.bytes, few.len};
	s[1] = (struct fuzz_sample){none.bytes, none.len};
	s[2] = (struct fuzz_sample){inner.bytes, inner.len};
	fuzz_run(s, 3, 200000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nodes_that_are_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
