/* tests/fsmodel/xattr_test.c - extended attributes: small ones in the inode,
 * large ones under their keys, and nothing left behind. */
#include <sys/xattr.h>

#include "fs/xattr.h"
#include "tests/fsmodel/bytes.h"

static struct mnt m;
static uint64_t ino, keys;
static uint8_t big[FS_XATTR_VALUE_MAX + 1], back[FS_XATTR_VALUE_MAX];

static int setup(void **state)
{
	mnt_open(&m);
	keys = kv_model_keys(m.kv);
	ino = file_new(&m);
	fill(big, sizeof(big), 1);
	return 0;
}

static int teardown(void **state)
{
	mnt_close(&m);
	kv_model_drop(POOL);
	return 0;
}

static int set(const char *name, const void *value, size_t size, int flags)
{
	return fs_xattr_set(m.fs, ino, name, value, size, flags);
}

static int get(const char *name, size_t cap, size_t *len)
{
	struct fs_inode in;

	file_load(&m, ino, &in);
	return fs_xattr_get(m.fs, &in, name, back, cap, len);
}

static void assert_value(const char *name, const void *want, size_t size)
{
	size_t len = SIZE_MAX;

	memset(back, 0, sizeof(back));
	assert_int_equal(get(name, sizeof(back), &len), 0);
	assert_int_equal(len, size);
	assert_memory_equal(back, want, size);
}

static void values_of_every_size_come_back(void **state)
{
	static const size_t sizes[] = {1,    255,  256,	  257,
				       4096, 5000, 65535, 65536};
	size_t len;

	assert_int_equal(set("user.a", "", 0, 0), 0);
	assert_int_equal(get("user.a", 0, &len), 0);
	assert_int_equal(len, 0);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		assert_int_equal(set("user.a", big, sizes[i], 0), 0);
		assert_int_equal(set("user.b", big + 1, sizes[i] - 1, 0), 0);
		assert_value("user.a", big, sizes[i]);
		assert_value("user.b", big + 1, sizes[i] - 1);
		assert_int_equal(get("user.a", 0, &len), -ERANGE);
		assert_int_equal(len, sizes[i]);
		assert_int_equal(get("user.a", sizes[i] - 1, &len), -ERANGE);
	}
	assert_int_equal(set("user.a", big, 65537, 0), -E2BIG);
	assert_value("user.a", big, 65536);
	assert_int_equal(kv_model_keys(m.kv), keys + 3);
	assert_int_equal(set("user.a", "x", 1, 0), 0);
	assert_int_equal(kv_model_keys(m.kv), keys + 2);
	file_destroy(&m, ino);
	assert_int_equal(kv_model_keys(m.kv), keys);
}

static void flags_are_those_of_setxattr(void **state)
{
	size_t len;

	assert_int_equal(set("user.a", "1", 1, XATTR_REPLACE), -ENODATA);
	assert_int_equal(set("user.a", "1", 1, XATTR_CREATE), 0);
	assert_int_equal(set("user.a", "2", 1, XATTR_CREATE), -EEXIST);
	assert_int_equal(set("user.a", big, 1000, XATTR_CREATE), -EEXIST);
	assert_int_equal(set("user.a", "3", 1, XATTR_REPLACE), 0);
	assert_value("user.a", "3", 1);
	assert_int_equal(kv_model_keys(m.kv), keys + 1); /* no loser's key */
	assert_int_equal(fs_xattr_remove(m.fs, ino, "user.b"), -ENODATA);
	assert_int_equal(fs_xattr_remove(m.fs, ino, "user.a"), 0);
	assert_int_equal(get("user.a", 9, &len), -ENODATA);
}

static void names_are_checked(void **state)
{
	char name[300] = "user.";

	memset(name + 5, 'n', sizeof(name) - 6);
	name[256] = '\0';
	assert_int_equal(set(name, "1", 1, 0), -ERANGE);
	name[255] = '\0';
	assert_int_equal(set(name, "1", 1, 0), 0);
	assert_value(name, "1", 1);
	assert_int_equal(set("user.", "1", 1, 0), -EINVAL);
	assert_int_equal(set("system.posix_acl_access", "1", 1, 0),
			 -EOPNOTSUPP);
	assert_int_equal(set("nothing", "1", 1, 0), -EOPNOTSUPP);
}

/* Until the list is full; then the file is as it was, and all can go. */
static void many_names_fit_until_enospc(void **state)
{
	char name[64], list[FS_XATTR_INLINE_MAX];
	struct fs_inode in;
	unsigned n;
	int rc = 0;

	for (n = 0; rc == 0; n++) {
		snprintf(name, sizeof(name), "user.name-%u", n);
		rc = set(name, big + n, 100, 0);
	}
	assert_int_equal(rc, -ENOSPC);
	assert_true(--n > 80); /* long values went out to keys */
	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "user.name-%u", i);
		assert_value(name, big + i, 100);
	}
	file_load(&m, ino, &in);
	assert_true(fs_xattr_list(&in, list, sizeof(list), true) > 10 * n);
	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "user.name-%u", i);
		assert_int_equal(fs_xattr_remove(m.fs, ino, name), 0);
	}
	assert_int_equal(kv_model_keys(m.kv), keys + 1);
}

static void the_list_hides_trusted_names(void **state)
{
	struct fs_inode in;
	char list[64];

	assert_int_equal(set("user.a", "1", 1, 0), 0);
	assert_int_equal(set("trusted.b", "1", 1, 0), 0);
	file_load(&m, ino, &in);
	assert_int_equal(fs_xattr_list(&in, NULL, 0, true), 17);
	assert_int_equal(fs_xattr_list(&in, list, 17, true), 17);
	assert_memory_equal(list, "user.a\0trusted.b", 17);
	assert_int_equal(fs_xattr_list(&in, list, 16, true), -ERANGE);
	assert_int_equal(fs_xattr_list(&in, list, 64, false), 7);
}

/* The attributes lie behind a small file's bytes: both move, neither is lost,
 * and the bytes may go to chunks. */
static void bytes_and_attributes_do_not_meet(void **state)
{
	uint8_t got[8000];

	assert_int_equal(set("user.a", big, 200, 0), 0);
	assert_int_equal(file_write(&m, ino, big, 3000, 0), 3000);
	assert_value("user.a", big, 200);
	assert_int_equal(file_truncate(&m, ino, 10), 0);
	assert_int_equal(set("user.b", big + 9, 100, 0), 0);
	assert_int_equal(file_write(&m, ino, big, 8000, 0), 8000);
	assert_value("user.a", big, 200);
	assert_value("user.b", big + 9, 100);
	assert_int_equal(file_read(&m, ino, got, 8000, 0), 8000);
	assert_memory_equal(got, big, 8000);
	assert_int_equal(file_truncate(&m, ino, 0), 0);
	assert_value("user.a", big, 200);
}

static void a_write_drops_capabilities_and_set_id(void **state)
{
	const char *caps = "security.capability";
	uint64_t off = 0;
	struct fs_inode in;
	size_t len;

	fill(back, 5000, 1);
	file_write(&m, ino, back, 5000, 0);
	file_load(&m, ino, &in);
	in.mode = S_IFREG | 06755;
	assert_int_equal(fs_inode_store(m.fs, &in), 0);
	assert_int_equal(set(caps, "20 bytes, more or le", 20, 0), 0);
	assert_int_equal(set("user.a", "1", 1, 0), 0);
	assert_int_equal(fs_file_write(m.fs, ino, "x", 1, &off, false, false),
			 1);
	assert_int_equal(get(caps, 100, &len), -ENODATA);
	assert_value("user.a", "1", 1);
	file_load(&m, ino, &in);
	assert_int_equal(in.mode, S_IFREG | 06755);
	assert_int_equal(fs_file_write(m.fs, ino, "x", 1, &off, false, true),
			 1);
	file_load(&m, ino, &in);
	assert_int_equal(in.mode, S_IFREG | 0755);
}

/* A list that was damaged is reported, whatever byte it was: never read past
 * its end. */
static void a_damaged_list_is_ebadmsg_or_harmless(void **state)
{
	struct fs_inode in, bad;
	char list[FS_XATTR_INLINE_MAX];
	unsigned refused = 0;
	size_t len;

	assert_int_equal(set("user.a", "12345", 5, 0), 0);
	assert_int_equal(set("user.b", big, 300, 0), 0);
	file_load(&m, ino, &in);
	for (unsigned i = 0; i < in.xattr_len; i++)
		for (unsigned v = 0; v < 256; v++) {
			bad = in;
			bad.body[i] = v;
			refused += fs_xattr_list(&bad, list, sizeof(list),
						 true) == -EBADMSG;
			fs_xattr_get(m.fs, &bad, "user.b", back, sizeof(back),
				     &len);
		}
	for (unsigned n = 1; n < in.xattr_len; n++) {
		bad = in;
		bad.xattr_len = n;
		refused += fs_xattr_list(&bad, list, sizeof(list), true) ==
			   -EBADMSG;
	}
	assert_true(refused > 1000);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(values_of_every_size_come_back),
		T(flags_are_those_of_setxattr),
		T(names_are_checked),
		T(many_names_fit_until_enospc),
		T(the_list_hides_trusted_names),
		T(bytes_and_attributes_do_not_meet),
		T(a_write_drops_capabilities_and_set_id),
		T(a_damaged_list_is_ebadmsg_or_harmless),
	};
#undef T

	return cmocka_run_group_tests(tests, NULL, NULL);
}
