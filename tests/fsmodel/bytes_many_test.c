/* Several small overwrites at once: those that can be done together are, each
 * whole or not at all; those that cannot are left alone and untouched. */
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>

#include "tests/fsmodel/bytes.h"
#include "tests/lib/effort.h"

#define FILES  3u
#define CHUNKS 8u
#define BYTES  (CHUNKS * FS_CHUNK_BYTES)

static struct mnt m;
static uint64_t ino[FILES];
static uint8_t *want[FILES]; /* what is in them */
static uint8_t fresh[FS_OVERWRITES_MAX][4 * PAGE];

static int setup(void **state)
{
	mnt_open(&m);
	for (unsigned f = 0; f < FILES; f++) {
		want[f] = malloc(BYTES);
		memset(want[f], 'a' + (int)f, BYTES);
		ino[f] = file_new(&m);
		assert_int_equal(file_write(&m, ino[f], want[f], BYTES, 0),
				 BYTES);
	}
	return 0;
}

static int teardown(void **state)
{
	for (unsigned f = 0; f < FILES; f++)
		free(want[f]);
	mnt_close(&m);
	return 0;
}

static struct fs_overwrite over(unsigned i, uint64_t file, uint64_t off,
				size_t size)
{
	for (size_t at = 0; at < size; at++)
		fresh[i][at] = (uint8_t)random();
	return (struct fs_overwrite){
		.ino = file, .off = off, .size = size, .buf = fresh[i]};
}

static void assert_holds(unsigned f)
{
	uint8_t *got = malloc(BYTES);

	assert_int_equal(file_read(&m, ino[f], got, BYTES, 0), BYTES);
	assert_memory_equal(got, want[f], BYTES);
	free(got);
}

/* --- together ------------------------------------------------------------- */

/* One in each of so many chunks, over all files. */
static void in_many_chunks(void **state)
{
	for (unsigned r = 0; r < effort(200); r++) {
		struct fs_overwrite w[FILES * CHUNKS];

		for (unsigned i = 0; i < FILES * CHUNKS; i++) {
			uint64_t page = (uint64_t)random() % 16;
			size_t n = 1 + (size_t)random() % 4;

			if (page + n > 16)
				n = 16 - page;
			w[i] = over(i, ino[i % FILES],
				    i / FILES * FS_CHUNK_BYTES + page * PAGE,
				    n * PAGE);
			memcpy(want[i % FILES] + w[i].off, w[i].buf, w[i].size);
		}
		fs_file_overwrite_many(m.fs, w, FILES * CHUNKS);
		for (unsigned i = 0; i < FILES * CHUNKS; i++)
			assert_int_equal(w[i].done, w[i].size);
	}
	for (unsigned f = 0; f < FILES; f++)
		assert_holds(f);
}

/* What was there is given back, as by single writes. */
static void old_pages_go(void **state)
{
	uint64_t before = kv_model_pages(m.kv);

	in_many_chunks(state);
	assert_int_equal(kv_model_pages(m.kv), before);
}

static void times_move(void **state)
{
	struct fs_overwrite w = over(0, ino[0], 0, PAGE);
	struct fs_inode was, in;

	file_load(&m, ino[0], &was);
	fs_file_overwrite_many(m.fs, &w, 1);
	assert_int_equal(w.done, PAGE);
	assert_int_equal(fs_file_settle(m.fs, ino[0]), 0);
	file_load(&m, ino[0], &in);
	assert_true(in.mtime_ns > was.mtime_ns && in.ctime_ns > was.ctime_ns);
	assert_int_equal(in.pages, was.pages);
}

/* --- not together --------------------------------------------------------- */

static void left_alone(struct fs_overwrite w)
{
	fs_file_overwrite_many(m.fs, &w, 1);
	assert_int_equal(w.done, -EAGAIN);
	for (unsigned f = 0; f < FILES; f++)
		assert_holds(f);
}

static void beyond_the_end(void **state)
{
	left_alone(over(0, ino[0], BYTES, PAGE));
	left_alone(over(0, ino[0], BYTES + FS_CHUNK_BYTES, PAGE));
	assert_int_equal(file_write(&m, ino[0], "end", 3, BYTES), 3);
	left_alone(over(0, ino[0], BYTES, PAGE));
}

static void no_such_file(void **state)
{
	left_alone(over(0, fs_inode_number(m.fs), 0, PAGE));
}

static void small_file(void **state)
{
	uint64_t small = file_new(&m);
	char got[3];

	assert_int_equal(file_write(&m, small, "abc", 3, 0), 3);
	left_alone(over(0, small, 0, PAGE));
	assert_int_equal(file_read(&m, small, got, 3, 0), 3);
	assert_memory_equal(got, "abc", 3);
}

/* It would change how many pages the inode counts. */
static void hole(void **state)
{
	uint64_t free = BYTES;
	struct fs_inode in;

	assert_int_equal(file_truncate(&m, ino[0], BYTES + FS_CHUNK_BYTES), 0);
	left_alone(over(0, ino[0], free, PAGE));
	assert_int_equal(file_write(&m, ino[0], "x", 1, free), 1);
	left_alone(over(0, ino[0], free + PAGE, PAGE));
	left_alone(over(0, ino[0], free, 2 * PAGE));
	file_load(&m, ino[0], &in);
	assert_int_equal(in.pages, BYTES / PAGE + 1);
}

static void set_id(void **state)
{
	struct fs_inode in;

	file_load(&m, ino[0], &in);
	in.mode |= S_ISUID;
	assert_int_equal(fs_inode_store(m.fs, &in), 0);
	left_alone(over(0, ino[0], 0, PAGE));
}

/* The second one goes the way of those that wait. */
static void same_chunk_twice(void **state)
{
	struct fs_overwrite w[3] = {over(0, ino[0], 0, PAGE),
				    over(1, ino[0], PAGE, PAGE),
				    over(2, ino[1], 0, PAGE)};

	fs_file_overwrite_many(m.fs, w, 3);
	assert_int_equal(w[0].done, PAGE);
	assert_int_equal(w[1].done, -EAGAIN);
	assert_int_equal(w[2].done, PAGE);
	memcpy(want[0], fresh[0], PAGE);
	memcpy(want[1], fresh[2], PAGE);
	assert_holds(0);
	assert_holds(1);
}

static void *try_beside(void *arg)
{
	left_alone(over(0, ino[0], 0, PAGE));
	return NULL;
}

/* Another thread has the inode, or the chunk: nobody waits. */
static void locked(void **state)
{
	pthread_t t;

	fs_inode_lock(m.fs, ino[0], true);
	/* assert_holds() takes no lock */
	assert_int_equal(pthread_create(&t, NULL, try_beside, NULL), 0);
	pthread_join(t, NULL);
	fs_inode_unlock(m.fs, ino[0]);
	fs_inode_lock(m.fs, ino[0], false);
	fs_range_lock(m.fs, ino[0], PAGE, 1, false);
	assert_int_equal(pthread_create(&t, NULL, try_beside, NULL), 0);
	pthread_join(t, NULL);
	fs_range_unlock(m.fs, ino[0], PAGE, 1);
	fs_inode_unlock(m.fs, ino[0]);
}

/* --- with others about ---------------------------------------------------- */

#define THREADS 3u

static void *many_main(void *arg)
{
	uint8_t page[PAGE];

	memset(page, 'A' + (int)(uintptr_t)arg, PAGE);
	for (unsigned r = 0; r < effort(300); r++) {
		struct fs_overwrite w[CHUNKS];

		for (unsigned i = 0; i < CHUNKS; i++)
			w[i] = (struct fs_overwrite){.ino = ino[0],
						     .off = i * FS_CHUNK_BYTES,
						     .size = PAGE,
						     .buf = page};
		fs_file_overwrite_many(m.fs, w, CHUNKS);
		for (unsigned i = 0; i < CHUNKS; i++)
			assert_true(w[i].done == PAGE || w[i].done == -EAGAIN);
	}
	return NULL;
}

/* Pages stay whole, none is lost or counted twice, and nobody waits for ever.
 */
static void threads(void **state)
{
	uint64_t before = kv_model_pages(m.kv);
	uint8_t page[PAGE];
	pthread_t t[THREADS];

	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(
			pthread_create(&t[i], NULL, many_main, (void *)i), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	for (unsigned i = 0; i < CHUNKS; i++) {
		assert_int_equal(
			file_read(&m, ino[0], page, PAGE, i * FS_CHUNK_BYTES),
			PAGE);
		for (unsigned b = 1; b < PAGE; b++)
			assert_int_equal(page[b], page[0]);
	}
	assert_int_equal(kv_model_pages(m.kv), before);
}

static _Atomic bool over_now;

/* Cuts the file anywhere, fills what it cut, makes holes. */
static void *meddle_main(void *arg)
{
	uint8_t *all = calloc(1, BYTES);
	unsigned dice = 7;

	while (!over_now) {
		uint64_t at = (uint64_t)(rand_r(&dice) % BYTES);

		fs_inode_lock(m.fs, ino[0], true);
		assert_int_equal(file_truncate(&m, ino[0], at), 0);
		fs_inode_unlock(m.fs, ino[0]);
		fs_inode_lock(m.fs, ino[0], true);
		assert_int_equal(file_write(&m, ino[0], all, BYTES, 0), BYTES);
		fs_inode_unlock(m.fs, ino[0]);
		fs_inode_lock(m.fs, ino[0], true);
		assert_int_equal(fs_file_fallocate(m.fs, ino[0],
						   FALLOC_FL_PUNCH_HOLE |
							   FALLOC_FL_KEEP_SIZE,
						   at, 5 * PAGE),
				 0);
		fs_inode_unlock(m.fs, ino[0]);
	}
	free(all);
	return NULL;
}

/* While the file is cut and filled, no page is lost, counted twice or mixed of
 * two. */
static void beside_cuts(void **state)
{
	uint64_t others = kv_model_pages(m.kv) - BYTES / PAGE;
	struct fs_inode in;
	pthread_t t[THREADS], meddler;

	over_now = false;
	assert_int_equal(pthread_create(&meddler, NULL, meddle_main, NULL), 0);
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(
			pthread_create(&t[i], NULL, many_main, (void *)i), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	over_now = true;
	pthread_join(meddler, NULL);
	file_load(&m, ino[0], &in);
	assert_int_equal(kv_model_pages(m.kv), others + in.pages);
	assert_int_equal(file_truncate(&m, ino[0], 0), 0);
	assert_int_equal(kv_model_pages(m.kv), others);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(in_many_chunks), TEST(old_pages_go),
		TEST(times_move),     TEST(beyond_the_end),
		TEST(no_such_file),   TEST(small_file),
		TEST(hole),	      TEST(set_id),
		TEST(locked),	      TEST(beside_cuts),
		TEST(threads),	      TEST(same_chunk_twice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
