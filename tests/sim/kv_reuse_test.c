/* A record's space is used again for another record while somebody who has
 * read its slot is about to read it: what lies there now says nothing about the
 * slot's key. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kv/client/addr_cache.h"
#include "tests/lib/op_pool.h"

static struct space_pool pool;
static struct kv *const kv = &pool.kv;

static int put(const char *key, const char *val)
{
	return kv_put(kv, key, strlen(key), val, strlen(val), NULL);
}

static fab_addr where(const char *key)
{
	unsigned tentative;

	return slot_addr(opool_slot(&pool, key, &tentative));
}

/* @a has read the slot of "key" and not yet its record; meanwhile "key" moves
 * on and "other" comes to lie where its record was. */
static void reuse_under(struct actor *a)
{
	fab_addr old = where("key");

	cache_clear(kv->cache);
	actor_step(a);
	actor_step(a);
	assert_int_equal(a->batch->n, 1); /* of the record */
	assert_true(fab_addr_make(a->batch->ops[0].node,
				  a->batch->ops[0].offset) == old);
	assert_int_equal(put("key", "two"), 0);
	assert_int_equal(put("other", "333"), 0);
	assert_true(where("other") == old);
}

static void a_reader_finds_the_key(void **state)
{
	struct actor a;

	opool_open(&pool);
	assert_int_equal(put("key", "one"), 0);
	actor_begin(&pool, &a, KV_GET, "key", NULL, 0);
	reuse_under(&a);
	actor_run(&a);
	assert_int_equal(a.rq.status, 0);
	assert_int_equal(a.rq.len, 3);
	assert_memory_equal(a.buf, "two", 3);
	actor_free(&a);
	opool_close(&pool);
}

static void a_writer_finds_the_key(void **state)
{
	static const enum kv_kind kinds[] = {KV_PUT, KV_DEL};

	for (unsigned i = 0; i < 2; i++) {
		struct actor a;

		opool_open(&pool);
		assert_int_equal(put("key", "one"), 0);
		cache_clear(kv->cache);
		actor_begin(&pool, &a, kinds[i], "key", "new", 0);
		reuse_under(&a);
		actor_run(&a);
		assert_int_equal(a.rq.status, 0);
		actor_free(&a);
		opool_close(&pool);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_reader_finds_the_key),
		cmocka_unit_test(a_writer_finds_the_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
