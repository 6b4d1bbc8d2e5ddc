/* Inodes and chunk nodes that are none: tests/fuzz/inode.c, from right ones.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/fuzz/inode.c"

static void inodes_that_are_none(void **state)
{
	fuzz_run(200000);
}

/* Lengths that each fit the body, but not what is done with them. */
static void lengths_beyond_their_own_limits(void **state)
{
	static uint8_t buf[FS_INODE_BYTES_MAX];
	static struct fs_inode in, out;
	size_t n;

	in.is_inline = true;
	in.size = in.data_len = FS_INLINE_BYTES_MAX + 1;
	n = fs_inode_encode(&in, buf);
	assert_int_equal(fs_inode_decode(buf, n, &out), -EBADMSG);
	in.size = in.data_len = 10;
	in.xattr_len = FS_XATTR_INLINE_MAX + 1;
	n = fs_inode_encode(&in, buf);
	assert_int_equal(fs_inode_decode(buf, n, &out), -EBADMSG);
	in.is_inline = false;
	in.xattr_len = 0;
	in.size = FS_FILE_BYTES_MAX + 1;
	n = fs_inode_encode(&in, buf);
	assert_int_equal(fs_inode_decode(buf, n, &out), -EBADMSG);
	in.size = FS_FILE_BYTES_MAX;
	n = fs_inode_encode(&in, buf);
	assert_int_equal(fs_inode_decode(buf, n, &out), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(inodes_that_are_none),
		cmocka_unit_test(lengths_beyond_their_own_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
