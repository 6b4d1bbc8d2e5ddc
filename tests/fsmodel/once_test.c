/* What one request asks the store: each record once, and what was found then
 * is not trusted any longer than until somebody changes it. */
#include <errno.h>

#include "fs/chunk.h"
#include "fs/inode.h"
#include "tests/fsmodel/mounts.h"

/* --- names
 * -------------------------------------------------------------------- */

static void a_name_is_looked_for_once(void **state)
{
	struct mount m = mount_open();
	struct fs_inode in;
	uint64_t f, calls = kv_model_calls(m.kv);

	assert_int_equal(touch(m.fs, ROOT, "f", &f), 0);
	/* the directory, its leaf; the inode and the leaf are stored */
	assert_int_equal(kv_model_calls(m.kv) - calls, 4);
	calls = kv_model_calls(m.kv);
	assert_int_equal(fs_names_link(m.fs, f, ROOT, "g", &in), 0);
	assert_int_equal(kv_model_calls(m.kv) - calls, 4);
	calls = kv_model_calls(m.kv);
	assert_int_equal(touch(m.fs, ROOT, "f", NULL), -EEXIST);
	assert_int_equal(kv_model_calls(m.kv) - calls, 2);
	sound_and_tight(m.fs);
	pool_drop(&m);
}

struct vacancy {
	struct mount m;
	uint64_t dir;
	struct fs_dentry d;
	struct fs_spot spot;
};

/* A directory, and in it a place for "4711". */
static void find_vacancy(struct vacancy *v)
{
	v->m = mount_open();
	assert_int_equal(mkdir_(v->m.fs, ROOT, "d", &v->dir), 0);
	assert_int_equal(fs_dentry_name(v->m.fs, "4711", &v->d), 0);
	assert_int_equal(fs_dentry_vacancy(v->m.fs, v->dir, &v->d, &v->spot),
			 0);
	v->d.ino = 4711;
	v->d.type = fs_dentry_type(S_IFREG);
}

static int fill_vacancy(struct vacancy *v)
{
	return fs_dentry_fill(v->m.fs, v->dir, &v->d, &v->spot);
}

static void a_vacancy_that_was_taken_is_seen(void **state)
{
	struct vacancy v;
	uint64_t ino;

	find_vacancy(&v);
	assert_int_equal(fs_dentry_add(v.m.fs, v.dir, "4711", 1, 8), 0);
	assert_int_equal(fill_vacancy(&v), -EEXIST);
	assert_int_equal(look(v.m.fs, v.dir, "4711", &ino), 0);
	assert_int_equal(ino, 1);
	pool_drop(&v.m);
}

static void neighbours_of_a_vacancy_stay(void **state)
{
	struct vacancy v;
	uint64_t ino;

	find_vacancy(&v);
	assert_int_equal(fs_dentry_add(v.m.fs, v.dir, "other", 1, 8), 0);
	assert_int_equal(fill_vacancy(&v), 0);
	assert_int_equal(look(v.m.fs, v.dir, "other", &ino), 0);
	assert_int_equal(ino, 1);
	assert_int_equal(look(v.m.fs, v.dir, "4711", &ino), 0);
	assert_int_equal(ino, 4711);
	pool_drop(&v.m);
}

static void a_vacancy_is_found_again_in_a_split_leaf(void **state)
{
	struct vacancy v;
	uint64_t ino;

	find_vacancy(&v);
	many_make(v.m.fs, v.dir, 2); /* even numbers */
	assert_int_equal(fill_vacancy(&v), 0);
	assert_int_equal(look(v.m.fs, v.dir, "4711", &ino), 0);
	assert_int_equal(ino, 4711);
	for (unsigned i = 0; i < MANY; i += 2)
		many_remove(v.m.fs, v.dir, i);
	pool_drop(&v.m);
}

static void a_vacancy_goes_with_its_directory(void **state)
{
	struct vacancy v;

	find_vacancy(&v);
	assert_int_equal(fs_names_rmdir(v.m.fs, ROOT, "d"), 0);
	assert_int_equal(fill_vacancy(&v), -ENOENT);
	sound_and_tight(v.m.fs);
	pool_drop(&v.m);
}

/* --- bytes
 * -------------------------------------------------------------------- */

struct small {
	struct mount m;
	uint64_t ino;
	struct fs_inode seen;
};

/* A file of @size bytes, that a write has looked at which is not within it. */
static void look_at_small(struct small *s, size_t size)
{
	char old[2 * FS_INLINE_BYTES_MAX];
	uint64_t off = 0;

	memset(old, 'o', size);
	s->m = mount_open();
	assert_int_equal(touch(s->m.fs, ROOT, "f", &s->ino), 0);
	assert_int_equal(
		fs_file_write(s->m.fs, s->ino, old, size, &off, false, false),
		size);
	assert_int_equal(fs_file_overwrite(s->m.fs, s->ino, "new", 3, size,
					   false, &s->seen),
			 -EAGAIN);
}

static ssize_t write_small(struct small *s, uint64_t off)
{
	return fs_file_write_small(s->m.fs, &s->seen, "new", 3, off, false);
}

static void a_small_write_looks_once(void **state)
{
	struct small s;
	char got[8];
	uint64_t calls;

	look_at_small(&s, 2);
	calls = kv_model_calls(s.m.kv);
	assert_int_equal(write_small(&s, 2), 3);
	assert_int_equal(kv_model_calls(s.m.kv) - calls, 1);
	assert_int_equal(fs_inode_load(s.m.fs, s.ino, &s.seen), 0);
	assert_int_equal(fs_file_read(s.m.fs, &s.seen, got, sizeof(got), 0), 5);
	assert_memory_equal(got, "oonew", 5);
	pool_drop(&s.m);
}

static void what_was_written_since_the_look_stays(void **state)
{
	struct small s;
	uint64_t off = 2;

	look_at_small(&s, 2);
	assert_int_equal(
		fs_file_write(s.m.fs, s.ino, "their", 5, &off, false, false),
		5);
	assert_int_equal(write_small(&s, 0), -ESTALE);
	assert_int_equal(fs_inode_load(s.m.fs, s.ino, &s.seen), 0);
	assert_int_equal(s.seen.size, 7);
	assert_memory_equal(s.seen.body, "ootheir", 7);
	pool_drop(&s.m);
}

static void a_file_that_went_since_the_look_stays_gone(void **state)
{
	struct small s;

	look_at_small(&s, 2);
	assert_int_equal(fs_names_unlink(s.m.fs, ROOT, "f"), 0);
	assert_int_equal(write_small(&s, 2), -ENOENT);
	sound_and_tight(s.m.fs);
	pool_drop(&s.m);
}

/* What has chunks, or would have, is not written by an old copy. */
static void chunks_are_looked_at_again(void **state)
{
	const size_t sizes[] = {FS_INLINE_BYTES_MAX - 2,
				FS_INLINE_BYTES_MAX + 1};

	for (unsigned i = 0; i < 2; i++) {
		struct small s;
		uint64_t changes;

		look_at_small(&s, sizes[i]);
		changes = kv_model_changes(s.m.kv);
		assert_int_equal(write_small(&s, sizes[i]), -EAGAIN);
		assert_int_equal(kv_model_changes(s.m.kv), changes);
		pool_drop(&s.m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_name_is_looked_for_once),
		cmocka_unit_test(a_vacancy_that_was_taken_is_seen),
		cmocka_unit_test(neighbours_of_a_vacancy_stay),
		cmocka_unit_test(a_vacancy_is_found_again_in_a_split_leaf),
		cmocka_unit_test(a_vacancy_goes_with_its_directory),
		cmocka_unit_test(a_small_write_looks_once),
		cmocka_unit_test(what_was_written_since_the_look_stays),
		cmocka_unit_test(a_file_that_went_since_the_look_stays_gone),
		cmocka_unit_test(chunks_are_looked_at_again),
	};

	return cmocka_run_group_tests_name("asked once", tests, NULL, NULL);
}
