/* Pages that are moved to other places: their bytes, times and number stay,
 * and whoever writes or reads them meanwhile does not notice. */
#include <pthread.h>
#include <stdatomic.h>

#include "fs/cnode.h"
#include "fs/vacate.h"
#include "tests/fsmodel/bytes.h"
#include "tests/lib/effort.h"

#define CHUNKS	20u /* more than are moved at once */
#define BYTES	(CHUNKS * FS_CHUNK_BYTES)
#define THREADS 3u

static struct mnt m;
static uint64_t ino;
static uint8_t want[BYTES];
static _Atomic bool over;

static bool is_any(const void *set, uint64_t addr)
{
	(void)set;
	return addr != 0;
}

static bool is_odd(const void *set, uint64_t addr)
{
	(void)set;
	return addr % 2 == 1;
}

static bool is_none(const void *set, uint64_t addr)
{
	(void)set;
	(void)addr;
	return false;
}

static int setup(void **state)
{
	atomic_store(&over, false);
	mnt_open(&m);
	for (size_t i = 0; i < BYTES; i++)
		want[i] = (uint8_t)random();
	ino = file_new(&m);
	assert_int_equal(file_write(&m, ino, want, BYTES, 0), BYTES);
	return 0;
}

static int teardown(void **state)
{
	mnt_close(&m);
	return 0;
}

static void assert_holds(void)
{
	uint8_t *got = malloc(BYTES);

	assert_int_equal(file_read(&m, ino, got, BYTES, 0), BYTES);
	assert_memory_equal(got, want, BYTES);
	free(got);
}

/* How many pages are where they were not. */
static unsigned moved(const struct fs_cnode *was)
{
	struct fs_cnode now[CHUNKS];
	unsigned n = 0;

	assert_int_equal(fs_cnode_load(m.fs, ino, 0, CHUNKS, now), 0);
	for (unsigned c = 0; c < CHUNKS; c++)
		for (unsigned p = 0; p < FS_CHUNK_PAGES; p++)
			n += now[c].page[p].addr != was[c].page[p].addr;
	return n;
}

static void move_those(bool (*is_in)(const void *set, uint64_t addr),
		       unsigned pages)
{
	uint64_t before = kv_model_pages(m.kv);
	struct fs_cnode node[CHUNKS];
	struct fs_inode was, in;

	file_load(&m, ino, &was);
	assert_int_equal(fs_cnode_load(m.fs, ino, 0, CHUNKS, node), 0);
	assert_int_equal(fs_vacate(m.fs, is_in, NULL), 0);
	assert_int_equal(moved(node), pages);
	assert_int_equal(kv_model_pages(m.kv), before);
	file_load(&m, ino, &in);
	assert_int_equal(in.mtime_ns, was.mtime_ns);
	assert_int_equal(in.ctime_ns, was.ctime_ns);
	assert_int_equal(in.pages, was.pages);
	assert_holds();
}

static void all_of_them(void **state)
{
	move_those(is_any, CHUNKS * FS_CHUNK_PAGES);
}

static void every_other_one(void **state)
{
	move_those(is_odd, CHUNKS * FS_CHUNK_PAGES / 2);
}

static void none(void **state)
{
	move_those(is_none, 0);
}

/* A file with holes, and small ones, which have no pages. */
static void holes_stay(void **state)
{
	uint64_t sparse = file_new(&m), small = file_new(&m);
	uint8_t got[PAGE];

	assert_int_equal(file_write(&m, sparse, "x", 1, 5 * FS_CHUNK_BYTES), 1);
	assert_int_equal(file_write(&m, small, "y", 1, 0), 1);
	move_those(is_any, CHUNKS * FS_CHUNK_PAGES);
	assert_int_equal(file_size(&m, sparse), 5 * FS_CHUNK_BYTES + 1);
	assert_int_equal(file_read(&m, sparse, got, 1, 5 * FS_CHUNK_BYTES), 1);
	assert_int_equal(got[0], 'x');
	assert_int_equal(file_read(&m, small, got, PAGE, 0), 1);
	assert_int_equal(got[0], 'y');
}

static void an_end_is_heard(void **state)
{
	fs_vacate_stop(m.fs);
	assert_int_equal(fs_vacate(m.fs, is_any, NULL), -ECANCELED);
	assert_holds();
}

/* --- beside others ------------------------------------------------------- */

/* Each thread has chunks of its own, and parts of pages. */
static void *write_some(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg, seed = me + 1;

	for (unsigned r = 0; r < effort(400); r++) {
		unsigned c = (unsigned)rand_r(&seed) % (CHUNKS / THREADS);
		uint64_t off = (uint64_t)(c * THREADS + me) * FS_CHUNK_BYTES +
			       (unsigned)rand_r(&seed) % 60000;
		size_t n = 1 + (unsigned)rand_r(&seed) % 5000;
		struct fs_inode in;

		memset(want + off, rand_r(&seed), n);
		fs_inode_lock(m.fs, ino, false);
		if (fs_file_overwrite(m.fs, ino, want + off, n, off, false,
				      &in) != (ssize_t)n)
			abort();
		fs_inode_unlock(m.fs, ino);
	}
	return NULL;
}

static void *move_on(void *arg)
{
	(void)arg;
	while (!atomic_load(&over))
		if (fs_vacate(m.fs, is_any, NULL) != 0)
			abort();
	return NULL;
}

static void beside_writers(void **state)
{
	uint64_t before = kv_model_pages(m.kv);
	pthread_t t[THREADS], mover;

	assert_int_equal(pthread_create(&mover, NULL, move_on, NULL), 0);
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(
			pthread_create(&t[i], NULL, write_some, (void *)i), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	atomic_store(&over, true);
	pthread_join(mover, NULL);
	assert_holds();
	assert_int_equal(kv_model_pages(m.kv), before);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(all_of_them), T(every_other_one), T(none),
		T(holes_stay),	T(an_end_is_heard), T(beside_writers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
