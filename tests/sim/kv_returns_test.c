/* What a client that dies leaves in nobody's use is found and returned by who
 * lives, without fsck: pages that it had freed, or written and never named,
 * rows and pages of zeros among them. Nothing that is named is taken for it;
 * nothing is done before the dead one's records are swept; and in the end the
 * pool is as empty as it was. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "kv/check.h"
#include "kv/kv.h"
#include "tests/lib/cluster.h"
#include "tests/lib/cluster_check.h"
#include "tests/lib/swept.h"

#define MS     UINT64_C(1000000)
#define SINGLE 24u /* pages, one at a time */
#define ROWS   48u /* all at once */
#define PAGES  (SINGLE + ROWS)
#define SLACK  (48u << 10) /* open blocks' records, ends of rows */
#define TRIES  240u

struct scene {
	struct cluster *c;
	struct kv *dies, *lives;
	struct kv_page page[PAGES]; /* even ones are named in the end */
	uint64_t empty;		    /* raw_used of the pool as it began */
};

/* --- the pool's own numbers ----------------------------------------------- */

static uint64_t number_of(const char *json, const char *in, const char *name)
{
	json_t *o = json_loads(json, 0, NULL), *at = o;
	uint64_t n;

	assert_non_null(o);
	if (in != NULL)
		at = json_object_get(o, in);
	n = (uint64_t)json_integer_value(json_object_get(at, name));
	json_decref(o);
	return n;
}

static uint64_t status(struct scene *s, const char *in, const char *name)
{
	char *json;
	uint64_t n;

	assert_int_equal(coord_status(cluster_coord(s->c), &json), 0);
	n = number_of(json, in, name);
	free(json);
	return n;
}

static uint64_t used(struct scene *s)
{
	struct kv_space space;

	cluster_sleep(s->c, 600 * MS); /* it is cached */
	assert_int_equal(kv_space(s->lives, &space), 0);
	return space.used;
}

/* --- pages ---------------------------------------------------------------- */

static const uint8_t *bytes_of(uint32_t i)
{
	static uint8_t page[PAGES][KV_PAGE_BYTES];

	memset(page[i], 0, KV_PAGE_BYTES);
	if (i % 8 >= 2) /* of those named, and of the others, a quarter */
		memset(page[i], (int)i + 1, KV_PAGE_BYTES);
	return page[i];
}

static void write_pages(struct scene *s)
{
	const void *data[PAGES];

	for (uint32_t i = 0; i < PAGES; i++)
		data[i] = bytes_of(i);
	for (uint32_t i = 0; i < SINGLE; i++)
		assert_int_equal(
			kv_pages_write(s->dies, &data[i], 1, &s->page[i]), 0);
	assert_int_equal(
		kv_pages_write(s->dies, data + SINGLE, ROWS, s->page + SINGLE),
		0);
}

/* Of the others some are freed, and what was freed dies with its client. */
static void name_half(struct scene *s)
{
	char key[16];

	for (uint32_t i = 0; i < PAGES; i += 2) {
		int len = snprintf(key, sizeof(key), "page-%u", i);

		assert_int_equal(kv_put(s->dies, key, (size_t)len, &s->page[i],
					sizeof(s->page[i]), NULL),
				 0);
	}
	for (uint32_t i = 1; i < PAGES; i += 4)
		kv_pages_free(s->dies, &s->page[i], 1);
}

static void named_are_there(struct scene *s)
{
	static uint8_t got[KV_PAGE_BYTES];
	void *to = got;

	for (uint32_t i = 0; i < PAGES; i += 2) {
		assert_int_equal(
			kv_pages_read(s->lives, &s->page[i], 1, &to, true), 0);
		assert_memory_equal(got, bytes_of(i), KV_PAGE_BYTES);
	}
}

/* --- a pass --------------------------------------------------------------- */

static int note(void *arg, const void *key, size_t klen, const void *val,
		size_t vlen, uint64_t version)
{
	struct kv_page page;

	if (vlen == sizeof(page)) {
		memcpy(&page, val, sizeof(page));
		kv_check_name_page(arg, page);
	}
	return 0;
}

static uint64_t pass(struct scene *s)
{
	struct kv_check_opts o = {.mend = true, .space = true, .gone = true};
	struct kv_check_sum sum;
	struct kv_check *c;

	assert_int_equal(kv_check_open(s->lives, &o, &c), 0);
	assert_int_equal(kv_scan(s->lives, "page-", 5, note, c), 0);
	assert_int_equal(kv_check_space(c), 0);
	kv_check_sum(c, &sum);
	kv_check_close(c);
	return sum.leaked_bytes;
}

/* Nobody is told of a dead client's pages before its records are swept. */
static void begin(struct scene *s, struct cluster *c)
{
	uint32_t id;

	*s = (struct scene){.c = c};
	s->lives = cluster_client(c);
	s->empty = status(s, NULL, "raw_used");
	s->dies = cluster_client(c);
	id = kv_client_id(s->dies);
	write_pages(s);
	name_half(s);
	assert_int_equal(kv_client_swept(s->lives, id), 0);
	cluster_client_kill(c, s->dies);
	cluster_sleep(c, 200 * MS);
	cluster_settle(c);
	assert_int_equal(kv_client_swept(s->lives, id), 0);
	assert_int_equal(pass(s), 0);
	swept_wait(s->c, s->lives, id);
}

static void remove_all(struct scene *s)
{
	char key[16];

	for (uint32_t i = 0; i < PAGES; i += 2) {
		int len = snprintf(key, sizeof(key), "page-%u", i);

		assert_int_equal(kv_del(s->lives, key, (size_t)len, 0), 0);
		kv_pages_free(s->lives, &s->page[i], 1);
	}
	assert_int_equal(kv_sync(s->lives), 0);
	cluster_client_close(s->c, s->lives);
}

/* Tombstones keep a block or two for a while. */
static void comes_back_to(struct scene *s, uint64_t raw)
{
	uint64_t now = UINT64_MAX;

	for (uint32_t i = 0; i < TRIES && now > raw; i++) {
		cluster_sleep(s->c, 500 * MS);
		now = status(s, NULL, "raw_used");
	}
	assert_in_range(now, 0, raw);
}

static void pages_body(struct cluster *c, void *arg)
{
	uint64_t named = PAGES / 2 * KV_PAGE_BYTES, got;
	struct scene s;

	begin(&s, c);
	assert_true(used(&s) > named + SLACK);
	got = pass(&s);
	assert_true(got >= PAGES / 4 * KV_PAGE_BYTES);
	assert_in_range(used(&s), 0, named + SLACK);
	assert_int_equal(status(&s, "returned", "bytes"), got);
	assert_true(status(&s, "returned", "passes") == 2);
	named_are_there(&s);
	assert_int_equal(pass(&s), 0); /* it is found once */
	cluster_check(c, s.lives, true);
	remove_all(&s);
	comes_back_to(&s, s.empty + (uint64_t)(12 * 64 << 10));
}

static void what_is_in_nobody_s_use_is_returned(void **state)
{
	struct cluster_opts o = {.mode = CLUSTER_SIM,
				 .seed = 11,
				 .usable = 4u << 20,
				 .slots = 1024};

	cluster_run(&o, pages_body, NULL);
}

/* --- the walk goes by the index ------------------------------------------- */

static void moved_body(struct cluster *c, void *arg)
{
	struct kv_check_opts o = {.mend = true, .space = true, .gone = true};
	struct kv_check *check;
	struct scene s;

	begin(&s, c);
	assert_int_equal(kv_check_open(s.lives, &o, &check), 0);
	cluster_kill_node(c, 2);
	cluster_settle(c);
	assert_int_equal(kv_scan(s.lives, "page-", 5, note, check), 0);
	assert_int_equal(kv_check_space(check), -EAGAIN);
	kv_check_close(check);
	assert_true(pass(&s) > 0);
	named_are_there(&s);
}

static void who_meets_a_moving_index_begins_again(void **state)
{
	struct cluster_opts o = {.mode = CLUSTER_SIM,
				 .seed = 12,
				 .usable = 4u << 20,
				 .slots = 1024};

	cluster_run(&o, moved_body, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_in_nobody_s_use_is_returned),
		cmocka_unit_test(who_meets_a_moving_index_begins_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
