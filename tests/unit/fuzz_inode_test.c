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

static size_t pack_xattr(uint8_t *at, const char *name, uint8_t where,
			 uint32_t len)
{
	size_t n = strlen(name), stored = where ? 8 : len;

	at[0] = (uint8_t)n;
	at[1] = where;
	memcpy(at + 2, &len, 4);
	memcpy(at + 6, name, n);
	memset(at + 6 + n, 7, stored);
	return 6 + n + stored;
}

static void inodes_that_are_none(void **state)
{
	static uint8_t file[FS_INODE_BYTES_MAX], big[FS_INODE_BYTES_MAX];
	static struct fs_inode in;
	uint8_t chunk[FS_CNODE_BYTES_MAX];
	struct fs_cnode node = {.page[3] = {64, 5}, .page[9] = {4160, 6}};
	struct fuzz_sample s[3];

	in.mode = S_IFREG | 0644;
	in.is_inline = true;
	in.size = in.data_len = 100;
	in.xattr_len = pack_xattr(in.body + 100, "user.a", 0, 30);
	in.xattr_len += pack_xattr(in.body + 100 + in.xattr_len,
				   "security.capability", 1, 3000);
	s[0] = (struct fuzz_sample){file, fs_inode_encode(&in, file)};
	in.is_inline = false;
	in.size = 1 << 30;
	s[1] = (struct fuzz_sample){big, fs_inode_encode(&in, big)};
	s[2] = (struct fuzz_sample){chunk, fs_cnode_encode(&node, chunk)};
	fuzz_run(s, 3, 200000);
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
