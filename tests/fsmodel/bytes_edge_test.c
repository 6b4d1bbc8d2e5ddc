/* tests/fsmodel/bytes_edge_test.c - file contents at the edges: terabytes of
 * nothing, a full pool, a crash or another mount at each change in turn, and
 * what a request may cost. */
#include <linux/falloc.h>
#include <pthread.h>

#include "fs/cnode.h"
#include "fs/file_piece.h"
#include "tests/fsmodel/bytes.h"

static struct mnt m;
static uint64_t ino;
static uint8_t *buf, *back;

#define BUF_BYTES (2 * MIB)

static int setup(void **state)
{
	mnt_open(&m);
	ino = file_new(&m);
	buf = malloc(BUF_BYTES);
	back = malloc(BUF_BYTES);
	return buf == NULL || back == NULL;
}

static int teardown(void **state)
{
	free(buf);
	free(back);
	mnt_close(&m);
	kv_model_drop(POOL);
	return 0;
}

static void assert_bytes(const void *want, size_t n, uint64_t off)
{
	memset(back, 0xee, n);
	assert_int_equal(file_read(&m, ino, back, n, off), n);
	assert_memory_equal(back, want, n);
}

/* --- what a request costs --- */

static uint64_t changes_of_write(size_t n, uint64_t off)
{
	uint64_t before = kv_model_changes(m.kv);

	fill(buf, n, off);
	assert_int_equal(file_write(&m, ino, buf, n, off), n);
	return kv_model_changes(m.kv) - before;
}

static void a_write_costs_what_it_must(void **state)
{
	assert_int_equal(changes_of_write(100, 0), 1);	 /* inode */
	assert_int_equal(changes_of_write(3000, 50), 1); /* still */
	/* spill: page, node; then page, node, inode */
	assert_int_equal(changes_of_write(PAGE, PAGE), 5);
	assert_int_equal(changes_of_write(PAGE, 0), 2);	       /* page, node */
	assert_int_equal(changes_of_write(7, 5000), 2);	       /* likewise */
	assert_int_equal(changes_of_write(PAGE, 2 * PAGE), 3); /* and inode */
	assert_int_equal(changes_of_write(MIB, 0), 18);	       /* 16 nodes */
	/* the first write behind the direct part sets bits: three nodes */
	assert_int_equal(changes_of_write(PAGE, 8 * MIB), 6);
	assert_int_equal(changes_of_write(MIB, 8 * MIB), 18);
	assert_int_equal(changes_of_write(MIB, 9 * MIB), 19);
}

/* --- very large, very empty --- */

static void a_sparse_terabyte_costs_nothing(void **state)
{
	static const uint64_t at[] = {0, 5 * MIB, TIB - 3, 16 * TIB,
				      FS_FILE_BYTES_MAX - 4};
	const size_t n = sizeof(at) / sizeof(at[0]);
	uint64_t keys, calls;

	assert_int_equal(file_truncate(&m, ino, 0), 0);
	keys = kv_model_keys(m.kv);
	calls = kv_model_calls(m.kv);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(file_write(&m, ino, "abcd", 4, at[i]), 4);
	assert_int_equal(file_size(&m, ino), FS_FILE_BYTES_MAX);
	for (size_t i = 0; i < n; i++) {
		assert_bytes("abcd", 4, at[i]);
		assert_int_equal(file_seek(&m, ino, at[i], SEEK_DATA), at[i]);
	}
	assert_int_equal(file_seek(&m, ino, 6 * MIB, SEEK_DATA), TIB - PAGE);
	assert_int_equal(file_seek(&m, ino, 2 * TIB, SEEK_DATA), 16 * TIB);
	assert_int_equal(file_seek(&m, ino, 16 * TIB, SEEK_HOLE),
			 16 * TIB + PAGE);
	assert_int_equal(file_seek(&m, ino, 0, SEEK_HOLE), PAGE);
	assert_int_equal(file_truncate(&m, ino, 3 * TIB), 0);
	assert_int_equal(file_seek(&m, ino, 2 * TIB, SEEK_DATA), -ENXIO);
	assert_int_equal(kv_model_pages(m.kv), 4); /* TIB - 3 has two */
	assert_int_equal(file_truncate(&m, ino, 0), 0);
	assert_int_equal(kv_model_pages(m.kv), 0);
	assert_int_equal(file_truncate(&m, ino, 40 * TIB), 0);
	assert_int_equal(file_seek(&m, ino, 0, SEEK_DATA), -ENXIO);
	file_destroy(&m, ino);
	assert_int_equal(kv_model_keys(m.kv), keys - 1);
	assert_true(kv_model_calls(m.kv) - calls < 3000);
}

static void sizes_beyond_the_largest_are_refused(void **state)
{
	uint64_t end = FS_FILE_BYTES_MAX;

	assert_int_equal(file_write(&m, ino, "ab", 2, end), -EFBIG);
	assert_int_equal(file_write(&m, ino, "ab", 2, end - 1), 1);
	assert_int_equal(file_append(&m, ino, "ab", 2), -EFBIG);
	assert_int_equal(file_truncate(&m, ino, end + 1), -EFBIG);
	assert_int_equal(fs_file_fallocate(m.fs, ino, 0, end, 1), -EFBIG);
	assert_int_equal(fs_file_fallocate(m.fs, ino, 0, 1, end), -EFBIG);
	assert_int_equal(file_size(&m, ino), end);
}

/* --- holes --- */

static void seek_is_exact_to_a_page(void **state)
{
	fill(buf, PAGE, 1);
	for (uint64_t p = 3; p < 2000; p += 37)
		file_write(&m, ino, buf, PAGE, p * PAGE);
	for (uint64_t p = 3; p < 2000; p += 37) {
		assert_int_equal(file_seek(&m, ino, (p - 2) * PAGE, SEEK_DATA),
				 p * PAGE);
		assert_int_equal(file_seek(&m, ino, p * PAGE + 9, SEEK_DATA),
				 p * PAGE + 9);
		assert_int_equal(file_seek(&m, ino, p * PAGE + 9, SEEK_HOLE),
				 (p + 1) * PAGE);
		assert_int_equal(file_seek(&m, ino, (p - 1) * PAGE, SEEK_HOLE),
				 (p - 1) * PAGE);
	}
}

/* Punched edges become zeros, punched pages go, and an edge that is all zeros
 * then is a hole too. */
static void punching_gives_pages_back(void **state)
{
	const int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

	fill(buf, 64 * KIB, 1);
	file_write(&m, ino, buf, 64 * KIB, 0);
	assert_int_equal(kv_model_pages(m.kv), 16);
	assert_int_equal(fs_file_fallocate(m.fs, ino, mode, 100, 8 * PAGE), 0);
	memset(buf + 100, 0, 8 * PAGE);
	assert_bytes(buf, 64 * KIB, 0);
	assert_int_equal(kv_model_pages(m.kv), 9);
	assert_int_equal(fs_file_fallocate(m.fs, ino, mode, 0, 100), 0);
	assert_int_equal(kv_model_pages(m.kv), 8);
	assert_int_equal(file_seek(&m, ino, 0, SEEK_DATA), 8 * PAGE);
	assert_int_equal(fs_file_fallocate(m.fs, ino, mode, 0, TIB), 0);
	assert_int_equal(kv_model_pages(m.kv), 0);
	assert_int_equal(file_size(&m, ino), 64 * KIB);
	assert_int_equal(
		fs_file_fallocate(m.fs, ino, FALLOC_FL_PUNCH_HOLE, 0, 1),
		-EOPNOTSUPP);
	assert_int_equal(
		fs_file_fallocate(m.fs, ino, FALLOC_FL_COLLAPSE_RANGE, 0, PAGE),
		-EOPNOTSUPP);
}

/* --- explain --- */

struct told {
	unsigned keys, pages, stop_at;
	uint64_t last;
};

static int tell_key(void *arg, const char *what, const void *key, unsigned klen)
{
	struct told *t = arg;

	assert_non_null(strstr(what, "chunk"));
	return ++t->keys == t->stop_at ? 7 : 0;
}

static int tell_page(void *arg, uint64_t offset, struct kv_page page)
{
	struct told *t = arg;

	assert_true(page.addr != 0);
	assert_true(t->pages++ == 0 || offset > t->last);
	t->last = offset;
	return 0;
}

static void explain_tells_every_chunk_and_page(void **state)
{
	struct told all = {0}, one = {.stop_at = 1};
	struct fs_inode in;

	fill(buf, 70 * KIB, 1);
	file_write(&m, ino, buf, 70 * KIB, 0);
	file_write(&m, ino, buf, PAGE, TIB);
	file_load(&m, ino, &in);
	assert_int_equal(fs_file_explain(m.fs, &in, tell_key, tell_page, &all),
			 0);
	assert_int_equal(all.keys, 3);
	assert_int_equal(all.pages, 19);
	assert_int_equal(all.last, TIB);
	assert_int_equal(fs_file_explain(m.fs, &in, tell_key, tell_page, &one),
			 7);
}

/* --- a full pool --- */

/* With room for one page or key more at each try: until it is done, the file
 * is as it was, and nothing is spent. */
static void fill_pool_and_write(void)
{
	const size_t old = 200 * KIB, n = 300 * KIB;
	uint64_t pages, limit;
	ssize_t rc;

	fill(buf, old, 1);
	assert_int_equal(file_write(&m, ino, buf, old, 0), old);
	pages = kv_model_pages(m.kv);
	fill(buf + MIB, n, 2);
	for (limit = 0;; limit++) {
		kv_model_limit(m.kv, limit);
		rc = file_write(&m, ino, buf + MIB, n, 1000);
		if (rc >= 0)
			break;
		assert_int_equal(rc, -ENOSPC);
		assert_int_equal(file_size(&m, ino), old);
		assert_bytes(buf, old, 0);
		assert_int_equal(kv_model_pages(m.kv), pages);
	}
	assert_int_equal(rc, n);
	assert_true(limit > pages); /* it was met */
	assert_bytes(buf + MIB, n, 1000);
}

static void a_full_pool_leaves_the_file_as_it_was(void **state)
{
	fill_pool_and_write();
}

static void a_full_pool_of_two_mounts_does_too(void **state)
{
	struct mnt second;

	mnt_open(&second);
	fill_pool_and_write();
	mnt_close(&second);
}

/* Chunks' nodes are keys: the pages fit, some nodes do not. */
static void a_full_index_leaves_the_file_as_it_was(void **state)
{
	const uint64_t off = 8 * MIB - 100, n = MIB - PAGE;
	uint64_t limit, misses = 0;
	ssize_t rc = -ENOSPC;
	char key[] = "u000";

	for (unsigned i = 0; i < 500; i++) { /* more keys than pages */
		snprintf(key, sizeof(key), "u%u", i);
		assert_int_equal(kv_put(m.kv, key, strlen(key), "", 0, NULL),
				 0);
	}
	fill(buf, MIB, 1);
	assert_int_equal(file_write(&m, ino, buf, 100, 0), 100);
	for (limit = kv_model_keys(m.kv); rc < 0; limit++) {
		kv_model_limit(m.kv, limit);
		rc = file_write(&m, ino, buf, n, off);
		if (rc >= 0)
			break;
		misses++;
		assert_int_equal(rc, -ENOSPC);
		assert_int_equal(file_size(&m, ino), 100);
		/* it may have left its inode meanwhile */
		assert_true(kv_model_pages(m.kv) <= 1);
		assert_bytes(buf, 100, 0);
	}
	assert_int_equal(rc, n);
	assert_int_equal(misses, 3 + 1 + 17); /* bits, spill, nodes */
	assert_bytes(buf, n, off);
}

static void fallocate_refuses_what_cannot_fit(void **state)
{
	kv_model_limit(m.kv, 100);
	assert_int_equal(fs_file_fallocate(m.fs, ino, 0, 0, 101 * PAGE),
			 -ENOSPC);
	assert_int_equal(file_size(&m, ino), 0);
	assert_int_equal(fs_file_fallocate(m.fs, ino, 0, 0, 100 * PAGE), 0);
	assert_int_equal(file_size(&m, ino), 100 * PAGE);
	fill(buf, 60 * PAGE, 1);
	assert_int_equal(file_write(&m, ino, buf, 60 * PAGE, 0), 60 * PAGE);
	/* 60 of the 100 are there already */
	assert_int_equal(fs_file_fallocate(m.fs, ino, 0, 0, 100 * PAGE), 0);
	assert_int_equal(fs_file_fallocate(m.fs, ino, FALLOC_FL_KEEP_SIZE,
					   100 * PAGE, 41 * PAGE),
			 -ENOSPC);
}

/* --- a crash at each change --- */

#define OLD_BYTES (70 * KIB + 10)

struct act {
	int (*act)(void);
	uint64_t size; /* after it */
};

static int act_append(void)
{
	ssize_t rc = file_append(&m, ino, buf + MIB, 5000);

	return rc < 0 ? rc : 0;
}

static int act_write_far(void)
{
	ssize_t rc = file_write(&m, ino, buf + MIB, 5000, 5 * MIB);

	return rc < 0 ? rc : 0;
}

static int act_cut(void)
{
	return file_truncate(&m, ino, 3 * PAGE + 10);
}

static int act_empty(void)
{
	return file_truncate(&m, ino, 0);
}

static int act_grow(void)
{
	return file_truncate(&m, ino, 300 * KIB);
}

/* Do @a, and die at its @n-th change. Returns whether that was met. */
static bool crash_in(const struct act *a, uint64_t n, bool *done)
{
	uint64_t before = kv_model_changes(m.kv);
	bool crashed;

	kv_model_crash_at(m.kv, n);
	*done = a->act() == 0;
	crashed = kv_model_changes(m.kv) - before >= n;
	if (!crashed)
		kv_model_crash_at(m.kv, 0);
	mnt_crashed(&m);
	return crashed;
}

/* Grow the file by a MiB, in either way: what is added reads as zeros. */
static void assert_grows_with_zeros(uint64_t size, bool by_write)
{
	if (by_write)
		assert_int_equal(file_write(&m, ino, "", 1, size + MIB - 1), 1);
	else
		assert_int_equal(file_truncate(&m, ino, size + MIB), 0);
	assert_int_equal(file_read(&m, ino, back, MIB, size), MIB);
	assert_all(back, MIB, 0);
}

/* Whatever the moment: the old size with the old bytes, or the new size with
 * what both have in common; and what is grown over reads as zeros. */
static bool crash_once(const struct act *a, uint64_t n, bool by_write)
{
	uint64_t size, both = a->size < OLD_BYTES ? a->size : OLD_BYTES;
	bool done, crashed;

	ino = file_new(&m);
	fill(buf, OLD_BYTES, 3);
	assert_int_equal(file_write(&m, ino, buf, OLD_BYTES, 0), OLD_BYTES);
	crashed = crash_in(a, n, &done);
	size = file_size(&m, ino);
	assert_true(size == OLD_BYTES || size == a->size);
	if (done)
		assert_int_equal(size, a->size);
	assert_true(done || crashed);
	assert_bytes(buf, size == OLD_BYTES ? OLD_BYTES : both, 0);
	assert_grows_with_zeros(size, by_write);
	file_destroy(&m, ino);
	return crashed;
}

static void a_crash_at_any_change_leaves_old_or_new(void **state)
{
	static const struct act acts[] = {
		{act_append, OLD_BYTES + 5000}, {act_write_far, 5 * MIB + 5000},
		{act_cut, 3 * PAGE + 10},	{act_empty, 0},
		{act_grow, 300 * KIB},
	};
	unsigned crashes = 0;

	fill(buf + MIB, 5000, 4);
	for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++) {
		for (uint64_t n = 1; crash_once(&acts[i], n, false); n++)
			crashes++;
		for (uint64_t n = 1; crash_once(&acts[i], n, true); n++)
			crashes++;
	}
	assert_true(crashes > 30);
}

/* Chunks that a crash left behind the end go with the file: after the second
 * change the size is 0, and no chunk has gone yet. */
static void what_a_cut_left_is_removed_with_the_file(void **state)
{
	static const struct act cut = {act_empty, 0};
	bool done;

	fill(buf, 40 * PAGE, 3);
	file_write(&m, ino, buf, 40 * PAGE, 0);
	assert_true(crash_in(&cut, 2, &done));
	assert_int_equal(file_size(&m, ino), 0);
	assert_int_equal(kv_model_pages(m.kv), 40);
	file_destroy(&m, ino);
	assert_int_equal(kv_model_pages(m.kv), 0);
}

/* --- another mount at each change --- */

static struct mnt other;
static bool met;

static void meddle_append(void *arg)
{
	met = true;
	assert_int_equal(file_append(&other, ino, arg, 3000), 3000);
}

/* Both appends are whole, one behind the other, whoever was first. */
static void appends_of_two_mounts_never_meet(void **state)
{
	uint8_t *theirs = buf + 10000, *mine = buf;
	const uint64_t base = 70 * KIB;

	mnt_open(&other);
	fill(mine, 5000, 5);
	fill(theirs, 3000, 6);
	for (uint64_t n = 1;; n++) {
		ino = file_new(&m);
		fill(buf + MIB, base, 7);
		assert_int_equal(file_write(&m, ino, buf + MIB, base, 0), base);
		met = false;
		kv_model_meddle_at(m.kv, n, meddle_append, theirs);
		assert_int_equal(file_append(&m, ino, mine, 5000), 5000);
		if (!met)
			break;
		assert_int_equal(file_size(&m, ino), base + 8000);
		assert_bytes(buf + MIB, base, 0);
		file_read(&m, ino, back, 8000, base);
		if (memcmp(back, mine, 5000) == 0)
			assert_memory_equal(back + 5000, theirs, 3000);
		else {
			assert_memory_equal(back, theirs, 3000);
			assert_memory_equal(back + 3000, mine, 5000);
		}
		assert_true(n < 100);
	}
	kv_model_meddle_at(m.kv, UINT32_MAX, meddle_append, NULL);
	mnt_close(&other);
}

/* The same while the file is small enough to lie in its inode, and grows out
 * of it in one mount's hands, or both's. */
static void appends_to_a_small_file_never_meet(void **state)
{
	static const size_t bases[] = {0, 1, 1000, 3000};
	uint8_t *theirs = buf + 10000, *mine = buf;

	mnt_open(&other);
	fill(mine, 5000, 5);
	fill(theirs, 3000, 6);
	for (unsigned i = 0; i < 4; i++)
		for (uint64_t n = 1;; n++) {
			size_t base = bases[i];

			ino = file_new(&m);
			fill(buf + MIB, base, 7);
			if (base > 0)
				assert_int_equal(
					file_write(&m, ino, buf + MIB, base, 0),
					base);
			met = false;
			kv_model_meddle_at(m.kv, n, meddle_append, theirs);
			assert_int_equal(file_append(&m, ino, mine, 5000),
					 5000);
			if (!met)
				break;
			assert_int_equal(file_size(&m, ino), base + 8000);
			assert_bytes(buf + MIB, base, 0);
			file_read(&m, ino, back, 8000, base);
			if (memcmp(back, mine, 5000) == 0) {
				assert_memory_equal(back + 5000, theirs, 3000);
			} else {
				assert_memory_equal(back, theirs, 3000);
				assert_memory_equal(back + 3000, mine, 5000);
			}
			assert_true(n < 100);
		}
	kv_model_meddle_at(m.kv, UINT32_MAX, meddle_append, NULL);
	mnt_close(&other);
}

/* Growing a small file by truncation, while it is appended to elsewhere. */
static void a_small_file_grows_in_two_mounts(void **state)
{
	uint8_t *theirs = buf + 10000;

	mnt_open(&other);
	fill(theirs, 3000, 6);
	for (uint64_t n = 1;; n++) {
		int rc;

		ino = file_new(&m);
		fill(buf, 2000, 7);
		assert_int_equal(file_write(&m, ino, buf, 2000, 0), 2000);
		met = false;
		kv_model_meddle_at(m.kv, n, meddle_append, theirs);
		rc = file_truncate(&m, ino, 9000);
		if (!met)
			break;
		assert_true(rc == 0 || rc == -ESTALE);
		assert_bytes(buf, 2000, 0);
		if (rc == 0 && file_size(&m, ino) == 12000)
			assert_bytes(theirs, 3000, 9000);
		else
			assert_bytes(theirs, 3000, 2000);
		assert_true(n < 100);
	}
	kv_model_meddle_at(m.kv, UINT32_MAX, meddle_append, NULL);
	mnt_close(&other);
}

/* What is appended while the file is cut elsewhere is there as a whole, or is
 * cut off as a whole. */
static void a_cut_spares_what_is_appended_after_it(void **state)
{
	static const uint64_t sizes[] = {0, 100, 64 * KIB, 66 * KIB};
	uint8_t *theirs = buf + MIB;

	mnt_open(&other);
	fill(buf, 150 * KIB, 5);
	fill(theirs, 3000, 6);
	for (unsigned i = 0; i < 4; i++)
		for (uint64_t n = 1;; n++) {
			int rc = -ESTALE;

			ino = file_new(&m);
			assert_int_equal(file_write(&m, ino, buf, 150 * KIB, 0),
					 150 * KIB);
			met = false;
			kv_model_meddle_at(m.kv, n, meddle_append, theirs);
			while (rc == -ESTALE)
				rc = file_truncate(&m, ino, sizes[i]);
			assert_int_equal(rc, 0);
			if (!met)
				break;
			assert_bytes(buf, sizes[i], 0);
			if (file_size(&m, ino) == sizes[i])
				continue;
			assert_int_equal(file_size(&m, ino), sizes[i] + 3000);
			assert_bytes(theirs, 3000, sizes[i]);
		}
	kv_model_meddle_at(m.kv, UINT32_MAX, meddle_append, NULL);
	mnt_close(&other);
}

/* A crash left bytes behind the end. One mount moves the end over them, while
 * another does the same and writes there: that stays, the garbage is gone. */
static void meddle_beyond(void *arg)
{
	met = true;
	assert_int_equal(file_write(&other, ino, arg, 3000, 80 * KIB), 3000);
}

static void leave_garbage(uint64_t from, size_t n)
{
	struct fs_piece_target t = {.fs = m.fs, .ino = ino, .held = from};

	fill(back, n, 99);
	assert_int_equal(fs_piece_write(&t, back, n, from), 0);
}

static int grow_over(bool write)
{
	int rc = -ESTALE;

	if (write)
		return file_write(&m, ino, buf, 4 * KIB, 116 * KIB) < 0;
	while (rc == -ESTALE)
		rc = file_truncate(&m, ino, 120 * KIB);
	return rc;
}

static void growing_spares_what_is_written_beyond(void **state)
{
	uint8_t *theirs = buf + MIB;
	unsigned rounds = 0;

	mnt_open(&other);
	fill(buf, 70 * KIB, 5);
	fill(theirs, 3000, 6);
	for (int write = 0; write < 2; write++)
		for (uint64_t n = 1;; n++) {
			ino = file_new(&m);
			assert_int_equal(file_write(&m, ino, buf, 70 * KIB, 0),
					 70 * KIB);
			leave_garbage(70 * KIB, 100 * KIB);
			met = false;
			kv_model_meddle_at(m.kv, n, meddle_beyond, theirs);
			assert_int_equal(grow_over(write), 0);
			kv_model_meddle_at(m.kv, 0, NULL, NULL);
			if (!met)
				break;
			rounds++;
			assert_int_equal(file_size(&m, ino), 120 * KIB);
			assert_bytes(buf, 70 * KIB, 0);
			assert_bytes(theirs, 3000, 80 * KIB);
			file_read(&m, ino, back, 116 * KIB, 0);
			assert_all(back + 70 * KIB, 10 * KIB, 0);
			assert_all(back + 80 * KIB + 3000, 36 * KIB - 3000, 0);
		}
	assert_true(rounds > 6);
	mnt_close(&other);
}

static void meddle_write(void *arg)
{
	met = true;
	assert_int_equal(file_write(&other, ino, arg, 100, 64 * KIB - 50), 100);
}

/* Bytes of one page and of two chunks, written from two mounts at once: both
 * are there after. */
static void writes_of_two_mounts_keep_each_other(void **state)
{
	uint64_t n, size = 200 * KIB;

	mnt_open(&other);
	for (n = 1;; n++) {
		ino = file_new(&m);
		fill(buf, size, 8);
		assert_int_equal(file_write(&m, ino, buf, size, 0), size);
		fill(buf + MIB, 100, 9);
		fill(buf + 64 * KIB - 3000, 2950, 10);
		fill(buf + 64 * KIB + 50, 90000, 11);
		met = false;
		kv_model_meddle_at(m.kv, n, meddle_write, buf + MIB);
		assert_int_equal(file_write(&m, ino, buf + 64 * KIB - 3000,
					    2950, 64 * KIB - 3000),
				 2950);
		assert_int_equal(file_write(&m, ino, buf + 64 * KIB + 50, 90000,
					    64 * KIB + 50),
				 90000);
		if (!met)
			break;
		memcpy(buf + 64 * KIB - 50, buf + MIB, 100);
		assert_bytes(buf, size, 0);
	}
	assert_true(n > 4);
	kv_model_meddle_at(m.kv, UINT32_MAX, meddle_write, NULL);
	mnt_close(&other);
}

/* The same against a hole being punched beside it. */
static void a_punch_keeps_what_another_mount_writes(void **state)
{
	const int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	uint64_t n, size = 200 * KIB, lo = 64 * KIB - 5000, hi = 64 * KIB - 50;

	mnt_open(&other);
	for (n = 1;; n++) {
		ino = file_new(&m);
		fill(buf, size, 8);
		assert_int_equal(file_write(&m, ino, buf, size, 0), size);
		fill(buf + MIB, 100, 9);
		met = false;
		kv_model_meddle_at(m.kv, n, meddle_write, buf + MIB);
		assert_int_equal(
			fs_file_fallocate(m.fs, ino, mode, lo, hi - lo), 0);
		if (!met)
			break;
		memset(buf + lo, 0, hi - lo);
		memcpy(buf + hi, buf + MIB, 100);
		assert_bytes(buf, size, 0);
	}
	assert_true(n > 2);
	kv_model_meddle_at(m.kv, UINT32_MAX, meddle_write, NULL);
	mnt_close(&other);
}

static void meddle_truncate(void *arg)
{
	met = true;
	assert_int_equal(file_truncate(&other, ino, 100), 0);
}

/* A truncation comes before or after the write as a whole: the size is one of
 * the two, and no old byte shows beyond it when the file grows again. */
static void a_truncation_elsewhere_uncovers_nothing(void **state)
{
	const uint64_t size = 150 * KIB;
	uint64_t now, n;

	mnt_open(&other);
	for (n = 1;; n++) {
		ino = file_new(&m);
		fill(buf, size + 9000, 12);
		assert_int_equal(file_write(&m, ino, buf, size, 0), size);
		met = false;
		kv_model_meddle_at(m.kv, n, meddle_truncate, NULL);
		assert_int_equal(file_write(&m, ino, buf + size, 9000, size),
				 9000);
		if (!met)
			break;
		now = file_size(&m, ino);
		assert_true(now == 100 || now == size + 9000);
		assert_bytes(buf, 100, 0);
		if (now == 100)
			assert_int_equal(file_truncate(&m, ino, size + 9000),
					 0);
		file_read(&m, ino, back, size - 100, 100);
		assert_all(back, size - 100, 0);
	}
	assert_true(n > 3);
	kv_model_meddle_at(m.kv, UINT32_MAX, meddle_truncate, NULL);
	mnt_close(&other);
}

/* --- bad pages, many threads --- */

/* A page that is gone is an error after a bounded number of looks. */
static void a_lost_page_is_eio_not_a_hang(void **state)
{
	struct fs_cnode node;
	uint64_t calls;

	fill(buf, 3 * PAGE, 1);
	file_write(&m, ino, buf, 3 * PAGE, 0);
	assert_int_equal(fs_cnode_load(m.fs, ino, 0, 1, &node), 0);
	kv_pages_free(m.kv, &node.page[1], 1);
	calls = kv_model_calls(m.kv);
	assert_int_equal(file_read(&m, ino, back, 3 * PAGE, 0), -EIO);
	assert_int_equal(file_write(&m, ino, buf, 10, PAGE + 5), -EIO);
	assert_true(kv_model_calls(m.kv) - calls < 100);
	assert_bytes(buf, PAGE, 0);
}

#define SLOT	1000
#define SLOTS	400
#define THREADS 4

static void *slots_write(void *arg)
{
	uint8_t slot[SLOT];

	for (unsigned i = (uintptr_t)arg; i < SLOTS; i += THREADS) {
		fill(slot, SLOT, i);
		fs_inode_lock(m.fs, ino, true);
		if (file_write(&m, ino, slot, SLOT, i * SLOT) != SLOT)
			abort();
		fs_inode_unlock(m.fs, ino);
		fs_inode_lock(m.fs, ino, false);
		if (file_read(&m, ino, slot, SLOT, i * SLOT) != SLOT)
			abort();
		fs_inode_unlock(m.fs, ino);
	}
	return NULL;
}

static void threads_share_a_file(void **state)
{
	pthread_t t[THREADS];

	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(
			pthread_create(&t[i], NULL, slots_write, (void *)i), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	for (unsigned i = 0; i < SLOTS; i++) {
		fill(buf, SLOT, i);
		assert_bytes(buf, SLOT, i * SLOT);
	}
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_write_costs_what_it_must),
		T(a_sparse_terabyte_costs_nothing),
		T(sizes_beyond_the_largest_are_refused),
		T(seek_is_exact_to_a_page),
		T(punching_gives_pages_back),
		T(explain_tells_every_chunk_and_page),
		T(a_full_pool_leaves_the_file_as_it_was),
		T(a_full_pool_of_two_mounts_does_too),
		T(a_full_index_leaves_the_file_as_it_was),
		T(fallocate_refuses_what_cannot_fit),
		T(a_crash_at_any_change_leaves_old_or_new),
		T(what_a_cut_left_is_removed_with_the_file),
		T(appends_of_two_mounts_never_meet),
		T(appends_to_a_small_file_never_meet),
		T(a_small_file_grows_in_two_mounts),
		T(a_cut_spares_what_is_appended_after_it),
		T(growing_spares_what_is_written_beyond),
		T(writes_of_two_mounts_keep_each_other),
		T(a_punch_keeps_what_another_mount_writes),
		T(a_truncation_elsewhere_uncovers_nothing),
		T(a_lost_page_is_eio_not_a_hang),
		T(threads_share_a_file),
	};
#undef T

	return cmocka_run_group_tests(tests, NULL, NULL);
}
