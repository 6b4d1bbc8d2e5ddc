/* What a client that dies leaves of its open blocks unwritten is had again at
 * once, by others, without fsck; and nothing that is named is taken for it,
 * though it be pages of zeros. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kv/kv.h"
#include "tests/lib/cluster.h"
#include "tests/lib/cluster_check.h"

#define KEYS   40u
#define DELTA  6u  /* pages, one at a time */
#define ROWS   30u /* all at once */
#define PAGES  (DELTA + ROWS)
#define VALUES 4096u
#define MS     UINT64_C(1000000)
#define SLACK  (24u << 10) /* headers, ends of rows */

struct scene {
	struct cluster *c;
	struct kv *dies, *lives;
	struct kv_page page[PAGES];
	bool zeros; /* some pages are */
	uint64_t named;
};

static size_t key_of(char *to, uint32_t i)
{
	return (size_t)snprintf(to, 16, "key-%u", i);
}

/* Values with zeros in the middle, longer than a unit, too. */
static uint32_t value_of(uint8_t *to, uint32_t i)
{
	uint32_t len = 64 + i * 97 % VALUES;

	memset(to, 0, len);
	to[0] = (uint8_t)(i + 1);
	to[len - 1] = (uint8_t)(i + 1);
	return len;
}

static void page_of(const struct scene *s, uint8_t *to, uint32_t i)
{
	memset(to, 0, KV_PAGE_BYTES);
	if (!s->zeros || i % 4 != 1)
		to[KV_PAGE_BYTES - 1 - i] = (uint8_t)(i + 1);
}

static void write_all(struct scene *s)
{
	static uint8_t bytes[PAGES][KV_PAGE_BYTES], val[VALUES + 64];
	const void *data[PAGES];
	char key[16];

	for (uint32_t i = 0; i < KEYS; i++) {
		uint32_t len = value_of(val, i);

		assert_int_equal(
			kv_put(s->dies, key, key_of(key, i), val, len, NULL),
			0);
		s->named += len + 128;
	}
	for (uint32_t i = 0; i < PAGES; i++) {
		page_of(s, bytes[i], i);
		data[i] = bytes[i];
	}
	for (uint32_t i = 0; i < DELTA; i++)
		assert_int_equal(
			kv_pages_write(s->dies, &data[i], 1, &s->page[i]), 0);
	assert_int_equal(
		kv_pages_write(s->dies, data + DELTA, ROWS, s->page + DELTA),
		0);
	s->named += PAGES * KV_PAGE_BYTES;
}

static void all_is_there(struct scene *s)
{
	static uint8_t got[KV_PAGE_BYTES], want[KV_PAGE_BYTES];
	static uint8_t val[VALUES + 64], had[VALUES + 64];
	void *to = got;
	char key[16];
	size_t len;

	for (uint32_t i = 0; i < KEYS; i++) {
		uint32_t n = value_of(val, i);

		assert_int_equal(kv_get(s->lives, key, key_of(key, i), had,
					sizeof(had), &len, NULL),
				 0);
		assert_int_equal(len, n);
		assert_memory_equal(had, val, n);
	}
	for (uint32_t i = 0; i < PAGES; i++) {
		assert_int_equal(
			kv_pages_read(s->lives, &s->page[i], 1, &to, true), 0);
		page_of(s, want, i);
		assert_memory_equal(got, want, sizeof(want));
	}
}

static uint64_t used(struct scene *s)
{
	struct kv_space space;

	cluster_sleep(s->c, 600 * MS); /* it is cached */
	assert_int_equal(kv_space(s->lives, &space), 0);
	return space.used;
}

static void begin(struct scene *s, struct cluster *c, bool zeros)
{
	*s = (struct scene){.c = c, .zeros = zeros};
	s->dies = cluster_client(c);
	s->lives = cluster_client(c);
	write_all(s);
	assert_true(used(s) > s->named + 4 * SLACK); /* blocks are open */
	cluster_client_kill(c, s->dies);
	cluster_sleep(c, 200 * MS);
	cluster_settle(c);
}

/* Blocks of pages are opened again for pages only. */
static void fill_pages(struct scene *s)
{
	static uint8_t bytes[KV_PAGE_BYTES];
	const void *data = bytes;
	struct kv_page page;
	uint32_t n = 0;

	memset(bytes, 0xdd, sizeof(bytes));
	while (kv_pages_write(s->lives, &data, 1, &page) == 0)
		n++;
	assert_true(n > 0 || s->zeros); /* those blocks are let alone */
}

/* Everything that can be had is overwritten. */
static void fill(struct scene *s)
{
	static uint8_t val[30000];
	char key[32];
	int rc = 0;

	memset(val, 0xee, sizeof(val));
	for (uint32_t i = 0; rc == 0; i++) {
		int len = snprintf(key, sizeof(key), "fill-%u", i);

		rc = kv_put(s->lives, key, (size_t)len, val, sizeof(val), NULL);
	}
	assert_int_equal(rc, -ENOSPC);
	fill_pages(s);
}

static void space_body(struct cluster *c, void *arg)
{
	struct scene s;

	begin(&s, c, false);
	assert_in_range(used(&s), 0, s.named + SLACK);
	all_is_there(&s);
	fill(&s);
	all_is_there(&s);
	cluster_check(c, s.lives, true);
}

static void zeros_body(struct cluster *c, void *arg)
{
	struct scene s;

	begin(&s, c, true);
	fill(&s);
	all_is_there(&s);
	cluster_kill_node(c, 1); /* and so say the parities */
	cluster_kill_node(c, 3);
	cluster_settle(c);
	all_is_there(&s);
}

static void in_pool(void (*body)(struct cluster *c, void *arg))
{
	struct cluster_opts o = {.mode = CLUSTER_SIM,
				 .seed = 5,
				 .usable = 4u << 20,
				 .slots = 1024};

	cluster_run(&o, body, NULL);
}

static void what_was_never_written_is_had_again(void **state)
{
	in_pool(space_body);
}

static void pages_of_zeros_are_not_taken_for_it(void **state)
{
	in_pool(zeros_body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_never_written_is_had_again),
		cmocka_unit_test(pages_of_zeros_are_not_taken_for_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
