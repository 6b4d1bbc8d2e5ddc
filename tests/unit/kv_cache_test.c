/* The address cache: what is put is got, it stays within its bytes, keeps what
 * is used, and agrees with a plain array whatever is done to it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kv/client/addr_cache.h"
#include "kv/hash.h"

#define BYTES (4u << 20)

static struct cache *c;

static int setup(void **state)
{
	return cache_open(BYTES, &c);
}

static int teardown(void **state)
{
	cache_close(c);
	return 0;
}

static void put(const char *key, uint64_t version, const char *val,
		uint32_t len)
{
	struct cache_entry e = {.slot = version + 1,
				.word = version * 3,
				.version = version,
				.units = 2,
				.life = 9,
				.val_len = len,
				.inlined = true};

	cache_put(c, hash_of(key, strlen(key)), key, strlen(key), &e, val);
}

static bool get(const char *key, struct cache_entry *e, char *buf, size_t cap)
{
	return cache_get(c, hash_of(key, strlen(key)), key, strlen(key), e, buf,
			 cap);
}

static void entry_comes_back(void **state)
{
	struct cache_entry e;
	char buf[16];

	assert_false(get("k", &e, buf, 16));
	put("k", 7, "value", 5);
	assert_true(get("k", &e, buf, 16));
	assert_true(e.inlined);
	assert_int_equal(e.version, 7);
	assert_int_equal(e.slot, 8);
	assert_int_equal(e.word, 21);
	assert_int_equal(e.life, 9);
	assert_memory_equal(buf, "value", 5);
	cache_drop(c, hash_of("k", 1), "k", 1);
	assert_false(get("k", &e, buf, 16));
	assert_int_equal(cache_bytes(c), 0);
}

static void value_too_long_for_the_buffer_is_not_given(void **state)
{
	struct cache_entry e;
	char buf[16] = "untouched";

	put("k", 7, "value", 5);
	assert_true(get("k", &e, buf, 4));
	assert_false(e.inlined);
	assert_int_equal(e.val_len, 5);
	assert_string_equal(buf, "untouched");
	assert_true(get("k", &e, NULL, 0));
}

static void long_value_keeps_only_its_place(void **state)
{
	static char big[CACHE_VALUE_MAX + 1];
	struct cache_entry e;

	put("k", 7, big, CACHE_VALUE_MAX);
	assert_true(get("k", &e, big, sizeof(big)));
	assert_true(e.inlined);
	put("k", 8, big, CACHE_VALUE_MAX + 1);
	assert_true(get("k", &e, big, sizeof(big)));
	assert_false(e.inlined);
	assert_int_equal(e.version, 8);
	assert_true(cache_bytes(c) < 1000);
}

static void older_version_does_not_replace_a_newer(void **state)
{
	struct cache_entry e;
	char buf[8];

	put("k", 7, "new", 3);
	put("k", 6, "old", 3);
	assert_true(get("k", &e, buf, 8));
	assert_int_equal(e.version, 7);
	assert_memory_equal(buf, "new", 3);
}

static void bytes_stay_within_the_limit(void **state)
{
	static char val[1000];
	char key[16];

	for (int i = 0; i < 50000; i++) {
		sprintf(key, "key%d", i);
		put(key, 1, val, (uint32_t)(i * 7 % 1000));
		assert_true(i % 100 || cache_bytes(c) <= BYTES);
	}
	assert_true(cache_bytes(c) > BYTES * 3 / 4);
}

static void what_is_used_stays(void **state)
{
	static char val[1000], buf[1000];
	struct cache_entry e;
	char key[16];
	int kept = 0;

	for (int i = 0; i < 30000; i++) {
		sprintf(key, "key%d", i);
		put(key, 1, val, 1000);
		if (i >= 100) {
			sprintf(key, "key%d", i % 100);
			get(key, &e, buf, 1000);
		}
	}
	for (int i = 0; i < 100; i++) {
		sprintf(key, "key%d", i);
		kept += get(key, &e, buf, 1000);
	}
	assert_true(kept >= 95);
}

/* Against an array: nothing is made up, nothing of a wrong version; and with
 * enough room nothing is lost. */
static void agrees_with_an_array(void **state)
{
	static uint64_t model[3000];
	struct cache_entry e;
	char key[16], val[64], buf[64];

	srand(7);
	memset(model, 0, sizeof(model));
	for (uint64_t i = 1; i < 300000; i++) {
		int k = rand() % 3000, what = rand() % 10;

		sprintf(key, "key%d", k);
		if (what < 5) {
			bool there = get(key, &e, buf, sizeof(buf));

			assert_int_equal(there, model[k] != 0);
			if (!there)
				continue;
			assert_int_equal(e.version, model[k]);
			sprintf(val, "%lu", (unsigned long)model[k]);
			assert_memory_equal(buf, val, e.val_len);
		} else if (what < 8) {
			sprintf(val, "%lu", (unsigned long)i);
			put(key, i, val, (uint32_t)strlen(val));
			model[k] = i;
		} else {
			cache_drop(c, hash_of(key, strlen(key)), key,
				   strlen(key));
			model[k] = 0;
		}
	}
	cache_clear(c);
	assert_int_equal(cache_bytes(c), 0);
	for (int k = 0; k < 3000; k++) {
		sprintf(key, "key%d", k);
		assert_false(get(key, &e, buf, sizeof(buf)));
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(entry_comes_back),
		T(value_too_long_for_the_buffer_is_not_given),
		T(long_value_keeps_only_its_place),
		T(older_version_does_not_replace_a_newer),
		T(bytes_stay_within_the_limit),
		T(what_is_used_stays),
		T(agrees_with_an_array),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
