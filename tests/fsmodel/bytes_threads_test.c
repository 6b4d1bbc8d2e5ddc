/* Threads of one mount that write and read one file at the same time, as
 * fs/ops/io.c lets them: what one write wrote is there whole or not at all,
 * also where it goes over several chunks; neighbours in one page both stay; and
 * the pages are counted rightly while holes are filled by many. */
#include <pthread.h>
#include <stdatomic.h>

#include "tests/fsmodel/bytes.h"
#include "tests/lib/effort.h"

#define THREADS	   4
#define ROUNDS	   effort(150)
#define CHUNK	   FS_CHUNK_BYTES
#define SPAN_OFF   (CHUNK - 2 * PAGE - 100)
#define SPAN_BYTES (CHUNK + 4 * PAGE + 777) /* in three chunks */

static struct mnt m;
static uint64_t ino;
static _Atomic bool over;

static ssize_t write_shared(const void *buf, size_t size, uint64_t off)
{
	struct fs_inode in;
	ssize_t rc;

	fs_inode_lock(m.fs, ino, false);
	rc = fs_file_overwrite(m.fs, ino, buf, size, off, false, &in);
	fs_inode_unlock(m.fs, ino);
	return rc;
}

static ssize_t read_shared(void *buf, size_t size, uint64_t off)
{
	ssize_t rc;

	fs_inode_lock(m.fs, ino, false);
	rc = file_read(&m, ino, buf, size, off);
	fs_inode_unlock(m.fs, ino);
	return rc;
}

static void run_threads(void *(*work)(void *))
{
	pthread_t t[THREADS];

	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, work, (void *)i),
				 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
}

/* --- one range, whole or not at all --------------------------------------- */

static void *span_write(void *arg)
{
	uint8_t *buf = malloc(SPAN_BYTES);

	for (unsigned r = 0; r < ROUNDS; r++) {
		memset(buf, 'a' + (r + (unsigned)(uintptr_t)arg) % 26,
		       SPAN_BYTES);
		if (write_shared(buf, SPAN_BYTES, SPAN_OFF) != SPAN_BYTES)
			abort();
	}
	free(buf);
	return NULL;
}

/* Returns how many different writes it saw. */
static void *span_read(void *arg)
{
	uint8_t *buf = malloc(SPAN_BYTES), last = 0;
	uintptr_t seen = 0;

	while (!atomic_load(&over)) {
		if (read_shared(buf, SPAN_BYTES, SPAN_OFF) != SPAN_BYTES)
			abort();
		if (memcmp(buf, buf + 1, SPAN_BYTES - 1) != 0)
			abort(); /* of two writes */
		seen += buf[0] != last;
		last = buf[0];
	}
	free(buf);
	return (void *)seen;
}

static void a_write_is_seen_whole(void **state)
{
	pthread_t reader[2];
	void *seen;

	assert_int_equal(file_truncate(&m, ino, 4 * CHUNK), 0);
	atomic_store(&over, false);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(
			pthread_create(&reader[i], NULL, span_read, NULL), 0);
	run_threads(span_write);
	atomic_store(&over, true);
	for (unsigned i = 0; i < 2; i++) {
		pthread_join(reader[i], &seen);
		assert_true((uintptr_t)seen > 0);
	}
}

/* --- neighbours ----------------------------------------------------------- */

#define SLICE 1000u /* four and a bit in a page, sixty-five in a chunk */

static void *slices_write(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg;
	uint8_t buf[SLICE];

	for (unsigned r = 0; r < ROUNDS; r++) {
		memset(buf, 1 + me, SLICE);
		if (write_shared(buf, SLICE, (r * THREADS + me) * SLICE) !=
		    SLICE)
			abort();
	}
	return NULL;
}

static void neighbours_stay_and_pages_are_counted(void **state)
{
	size_t n = (size_t)ROUNDS * THREADS * SLICE;
	uint8_t *back = malloc(n);
	struct fs_inode in;

	assert_int_equal(file_truncate(&m, ino, n), 0);
	run_threads(slices_write);
	assert_int_equal(file_read(&m, ino, back, n, 0), n);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(back[i], 1 + i / SLICE % THREADS);
	file_load(&m, ino, &in);
	assert_int_equal(in.pages, (n + PAGE - 1) / PAGE);
	assert_int_equal(kv_model_pages(m.kv), in.pages);
	free(back);
}

/* --- beside a truncation -------------------------------------------------- */

static void *cut_and_grow(void *arg)
{
	for (unsigned r = 0; r < ROUNDS; r++) {
		fs_inode_lock(m.fs, ino, true);
		if (file_truncate(&m, ino, r % 2 ? 3 * CHUNK : PAGE) != 0)
			abort();
		fs_inode_unlock(m.fs, ino);
	}
	return NULL;
}

static void *write_within(void *arg)
{
	uint8_t buf[3 * PAGE];
	ssize_t rc;

	memset(buf, 'x', sizeof(buf));
	for (unsigned r = 0; r < ROUNDS; r++) {
		rc = write_shared(buf, sizeof(buf), CHUNK - PAGE);
		if (rc != sizeof(buf) && rc != -EAGAIN)
			abort();
	}
	return NULL;
}

static void *either(void *arg)
{
	return arg == NULL ? cut_and_grow(arg) : write_within(arg);
}

static void what_is_cut_off_is_gone(void **state)
{
	struct fs_inode in;

	assert_int_equal(file_truncate(&m, ino, 3 * CHUNK), 0);
	run_threads(either);
	assert_int_equal(file_truncate(&m, ino, 1), 0);
	file_load(&m, ino, &in);
	assert_int_equal(in.pages, 0);
	assert_int_equal(kv_model_pages(m.kv), 0);
}

static int setup(void **state)
{
	mnt_open(&m);
	ino = file_new(&m);
	return 0;
}

static int teardown(void **state)
{
	mnt_close(&m);
	kv_model_drop(POOL);
	return 0;
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_write_is_seen_whole),
		T(neighbours_stay_and_pages_are_counted),
		T(what_is_cut_off_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
