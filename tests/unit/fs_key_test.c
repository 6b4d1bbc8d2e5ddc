/* Keys are as FORMAT.md says, and come apart again. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "fs/key.h"

static void check(struct fs_key key, const char *golden, size_t len,
		  struct fs_key_parts want)
{
	struct fs_key_parts got;

	assert_int_equal(key.len, len);
	assert_memory_equal(key.byte, golden, len);
	assert_int_equal(fs_key_parse(key.byte, key.len, &got), 0);
	assert_int_equal(got.kind, want.kind);
	assert_int_equal(got.ino, want.ino);
	assert_int_equal(got.gen, want.gen);
	assert_int_equal(got.level, want.level);
	assert_int_equal(got.number, want.number);
}

static void keys_have_golden_bytes(void **state)
{
	const uint64_t ino = 0x0102030405060708, n = 0x1112131415161718;

#define INO "\1\2\3\4\5\6\7\10"
#define N   "\x11\x12\x13\x14\x15\x16\x17\x18"
	check(fs_key_super(), "\1S", 2,
	      (struct fs_key_parts){.kind = FS_KEY_SUPER});
	check(fs_key_moves(), "\1M", 2,
	      (struct fs_key_parts){.kind = FS_KEY_MOVES});
	check(fs_key_inode(ino), "\1I" INO, 10,
	      (struct fs_key_parts){.kind = FS_KEY_INODE, .ino = ino});
	check(fs_key_orphan(ino), "\1O" INO, 10,
	      (struct fs_key_parts){.kind = FS_KEY_ORPHAN, .ino = ino});
	check(fs_key_board(), "\1B", 2,
	      (struct fs_key_parts){.kind = FS_KEY_BOARD});
	check(fs_key_question(0x05060708), "\1Q\0\0\0\0\5\6\7\10", 10,
	      (struct fs_key_parts){.kind = FS_KEY_QUESTION,
				    .ino = 0x05060708});
	check(fs_key_answer(0x05060708, 9),
	      "\1R\0\0\0\0\5\6\7\10\0\0\0\0\0\0\0\11", 18,
	      (struct fs_key_parts){
		      .kind = FS_KEY_ANSWER, .ino = 0x05060708, .number = 9});
	check(fs_key_xattr(ino, n), "\1X" INO N, 18,
	      (struct fs_key_parts){
		      .kind = FS_KEY_XATTR, .ino = ino, .number = n});
	check(fs_key_chunk(ino, 2, n), "\1C" INO "\2" N, 19,
	      (struct fs_key_parts){.kind = FS_KEY_CHUNK,
				    .ino = ino,
				    .level = 2,
				    .number = n});
	check(fs_key_dir(ino, n, 3, ino), "\1D" INO N "\3" INO, 27,
	      (struct fs_key_parts){.kind = FS_KEY_DIR,
				    .ino = ino,
				    .gen = n,
				    .level = 3,
				    .number = ino});
}

static void keys_sort_as_their_numbers(void **state)
{
	struct fs_key a = fs_key_chunk(1, 0, 255), b = fs_key_chunk(1, 0, 256);

	assert_true(memcmp(a.byte, b.byte, a.len) < 0);
}

static void what_is_no_key_is_refused(void **state)
{
	struct fs_key k = fs_key_dir(1, 2, 3, 4);
	struct fs_key_parts p;

	for (size_t len = 0; len < k.len; len++)
		assert_int_equal(fs_key_parse(k.byte, len, &p), -EBADMSG);
	assert_int_equal(fs_key_parse("uS", 2, &p), -EBADMSG);
	assert_int_equal(fs_key_parse("\1Z", 2, &p), -EBADMSG);
	assert_int_equal(fs_key_parse("\1I", 2, &p), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_have_golden_bytes),
		cmocka_unit_test(keys_sort_as_their_numbers),
		cmocka_unit_test(what_is_no_key_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
