/* The inode's record: its bytes, and what is not one. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "fs/inode.h"

static struct fs_inode sample(void)
{
	return (struct fs_inode){
		.mode = S_IFREG | 0644,
		.uid = 1,
		.gid = 2,
		.nlink = 3,
		.size = 2,
		.pages = 4,
		.rdev = 5,
		.parent = 6,
		.generation = 7,
		.atime_ns = 8,
		.mtime_ns = -1,
		.ctime_ns = 10,
		.btime_ns = 11,
		.is_inline = true,
		.data_len = 2,
		.xattr_len = 1,
		.body = "hix",
	};
}

static void records_have_golden_bytes(void **state)
{
	static const uint8_t golden[] = {
		1,    1,    2,	  0,  1, 0, 0,	  0,	0xa4, 0x81, 0,
		0,    1,    0,	  0,  0, 2, 0,	  0,	0,    3,    0,
		0,    0,    2,	  0,  0, 0, 0,	  0,	0,    0,    4,
		0,    0,    0,	  0,  0, 0, 0,	  5,	0,    0,    0,
		0,    0,    0,	  0,  6, 0, 0,	  0,	0,    0,    0,
		0,    7,    0,	  0,  0, 0, 0,	  0,	0,    8,    0,
		0,    0,    0,	  0,  0, 0, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff, 0xff, 10, 0, 0, 0,	  0,	0,    0,    0,
		11,   0,    0,	  0,  0, 0, 0,	  0,	'h',  'i',  'x'};
	struct fs_inode in = sample(), out;
	uint8_t buf[FS_INODE_BYTES_MAX];

	assert_int_equal(fs_inode_encode(&in, buf), sizeof(golden));
	assert_memory_equal(buf, golden, sizeof(golden));
	assert_int_equal(fs_inode_decode(buf, sizeof(golden), &out), 0);
	assert_int_equal(out.mtime_ns, -1);
	assert_int_equal(out.generation, 7);
	assert_memory_equal(out.body, "hix", 3);
	assert_int_equal(fs_inode_encode(&out, buf), sizeof(golden));
	assert_memory_equal(buf, golden, sizeof(golden));
}

static void what_is_no_inode_is_refused(void **state)
{
	struct fs_inode in = sample(), out;
	uint8_t buf[FS_INODE_BYTES_MAX];
	size_t len = fs_inode_encode(&in, buf);
	/* version, flags, lengths, zero, a size that is not the data's */
	static const unsigned at[] = {0, 1, 2, 3, 4, 5, 6, 24};

	for (size_t n = 0; n < len; n++)
		assert_int_equal(fs_inode_decode(buf, n, &out), -EBADMSG);
	for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		buf[at[i]] ^= 0x82;
		assert_int_equal(fs_inode_decode(buf, len, &out), -EBADMSG);
		buf[at[i]] ^= 0x82;
	}
	assert_int_equal(fs_inode_decode(buf, len, &out), 0);
}

static void times_before_1970_are_shown(void **state)
{
	struct fs_inode in = sample();
	struct stat st;

	in.mtime_ns = -1500000000;
	fs_inode_stat(&in, &st);
	assert_int_equal(st.st_mtim.tv_sec, -2);
	assert_int_equal(st.st_mtim.tv_nsec, 500000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_have_golden_bytes),
		cmocka_unit_test(what_is_no_inode_is_refused),
		cmocka_unit_test(times_before_1970_are_shown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
