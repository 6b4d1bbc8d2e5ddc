/* fs/returns.h: what a dead mount left in nobody's use is found by one of those
 * that live, and what is named is not taken for it. */
#include <time.h>

#include "fs/key.h"
#include "fs/returns.h"
#include "tests/fsmodel/bytes.h"

#define FILE_PAGES 40u
#define LEAKED	   13u
#define WAIT_MS	   60000u

/* --- a death -------------------------------------------------------------- */

static void leak(struct mnt *m)
{
	static uint8_t bytes[KV_PAGE_BYTES];
	const void *data[LEAKED];
	struct kv_page page[LEAKED];

	for (unsigned i = 0; i < LEAKED; i++)
		data[i] = bytes;
	assert_int_equal(kv_pages_write(m->kv, data, LEAKED, page), 0);
}

static void die(struct mnt *m, uint64_t ino)
{
	kv_model_crash_at(m->kv, 1);
	assert_int_equal(file_write(m, ino, "x", 1, 0), -EIO);
	mnt_close(m);
}

static uint64_t file_of(struct mnt *m, uint8_t *bytes)
{
	uint64_t ino = file_new(m);

	fill(bytes, FILE_PAGES * PAGE, ino);
	assert_int_equal(file_write(m, ino, bytes, FILE_PAGES * PAGE, 0),
			 FILE_PAGES * PAGE);
	return ino;
}

static void is_whole(struct mnt *m, uint64_t ino, const uint8_t *want)
{
	static uint8_t got[FILE_PAGES * PAGE];

	assert_int_equal(file_read(m, ino, got, sizeof(got), 0), sizeof(got));
	assert_memory_equal(got, want, sizeof(got));
}

/* As the timer would; until the pool holds @pages. */
static bool comes_to(struct mnt *m, unsigned n, uint64_t pages, unsigned ms)
{
	const struct timespec nap = {0, 1000000};

	for (unsigned i = 0; i < ms; i++) {
		for (unsigned j = 0; j < n; j++)
			fs_returns_tick(m[j].fs);
		if (kv_model_pages(m[0].kv) == pages)
			return true;
		nanosleep(&nap, NULL);
		kv_model_pass(m[0].kv, 1);
	}
	return false;
}

/* --- the tests ------------------------------------------------------------ */

static uint8_t wrote[FILE_PAGES * PAGE];

static void who_lives_finds_what_the_dead_left(void **state)
{
	struct mnt m[2], dies;
	uint64_t ino;

	mnt_open(&m[0]);
	mnt_open(&m[1]);
	mnt_open(&dies);
	comes_to(m, 2, 1, 3);
	ino = file_of(&dies, wrote);
	leak(&dies);
	leak(&m[1]); /* which lives, and may be about to name them */
	die(&dies, ino);
	assert_true(comes_to(m, 2, FILE_PAGES + LEAKED, WAIT_MS));
	is_whole(&m[1], ino, wrote);
	mnt_close(&m[1]);
	mnt_close(&m[0]);
	kv_model_drop(POOL);
}

/* Nobody else was there; or the pool was started again. */
static void who_comes_next_finds_it_too(void **state)
{
	struct mnt dies, next;
	uint64_t ino;

	mnt_open(&dies);
	ino = file_of(&dies, wrote);
	leak(&dies);
	die(&dies, ino);
	mnt_open(&next);
	assert_true(comes_to(&next, 1, FILE_PAGES, WAIT_MS));
	is_whole(&next, ino, wrote);
	mnt_close(&next);
	kv_model_drop(POOL);
}

static void who_leaves_well_is_not_looked_after(void **state)
{
	struct mnt leaves, next;
	uint64_t calls;

	mnt_open(&next);
	mnt_open(&leaves);
	comes_to(&next, 1, 1, 3);
	mnt_close(&leaves);
	comes_to(&next, 1, 1, 3); /* it has seen that */
	calls = kv_model_calls(next.kv);
	assert_false(comes_to(&next, 1, 1, 20));
	assert_int_equal(kv_model_calls(next.kv), calls);
	mnt_close(&next);
	kv_model_drop(POOL);
}

/* It may name anything. */
static void nothing_is_done_beside_a_bad_chunk(void **state)
{
	struct fs_key bad = fs_key_chunk(77, 0, 0);
	struct mnt dies, next;
	uint64_t ino;

	mnt_open(&dies);
	ino = file_of(&dies, wrote);
	leak(&dies);
	assert_int_equal(kv_put(dies.kv, bad.byte, bad.len, "x", 1, NULL), 0);
	die(&dies, ino);
	mnt_open(&next);
	assert_int_equal(fs_returns_pass(next.fs), -EBADMSG);
	assert_int_equal(kv_model_pages(next.kv), FILE_PAGES + LEAKED);
	is_whole(&next, ino, wrote);
	mnt_close(&next);
	kv_model_drop(POOL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_lives_finds_what_the_dead_left),
		cmocka_unit_test(who_comes_next_finds_it_too),
		cmocka_unit_test(who_leaves_well_is_not_looked_after),
		cmocka_unit_test(nothing_is_done_beside_a_bad_chunk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
