/* Operations of one client on one pool: what each returns, what it leaves in
 * the memory of the nodes, and what it costs. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kv/client/addr_cache.h"
#include "kv/client/alone.h"
#include "kv/hash.h"
#include "tests/lib/op_pool.h"

static struct space_pool pool;
static struct kv *const kv = &pool.kv;

static int setup(void **state)
{
	opool_open(&pool);
	return 0;
}

static int teardown(void **state)
{
	opool_close(&pool);
	return 0;
}

static void forget(void)
{
	cache_clear(kv->cache);
}

static void assert_value(const char *key, const char *want)
{
	char buf[256];
	size_t len;
	uint64_t version;

	assert_int_equal(
		kv_get(kv, key, strlen(key), buf, sizeof(buf), &len, &version),
		0);
	assert_int_equal(len, strlen(want));
	assert_memory_equal(buf, want, len);
}

static int get(const char *key)
{
	char buf[256];

	return kv_get(kv, key, strlen(key), buf, sizeof(buf), NULL, NULL);
}

static void assert_all_copies_committed(const char *key)
{
	unsigned tentative;
	uint64_t word = opool_slot(&pool, key, &tentative);

	assert_int_not_equal(word, 0);
	assert_int_equal(tentative, 0);
	for (uint32_t j = 0; j < 3; j++)
		assert_true(opool_fate(&pool, slot_addr(word), j) ==
			    OBJECT_COMMITTED);
}

static void what_is_put_is_got(void **state)
{
	uint64_t v1, v2, v3, v;
	size_t len;
	char buf[8];

	assert_int_equal(get("k"), -ENOENT);
	assert_int_equal(kv_put(kv, "k", 1, "one", 3, &v1), 0);
	assert_value("k", "one");
	assert_all_copies_committed("k");
	assert_int_equal(kv_put(kv, "k", 1, "two", 3, &v2), 0);
	assert_value("k", "two");
	forget();
	assert_value("k", "two");
	assert_int_equal(kv_put(kv, "k", 1, "", 0, &v3), 0);
	assert_true(v1 < v2 && v2 < v3);
	assert_int_equal(kv_get(kv, "k", 1, buf, 8, &len, &v), 0);
	assert_int_equal(len, 0);
	assert_true(v == v3);
	assert_all_copies_committed("k");
}

static void too_small_a_buffer_is_told_the_need(void **state)
{
	char buf[4];
	size_t len = 0;

	assert_int_equal(kv_put(kv, "k", 1, "123456", 6, NULL), 0);
	for (int i = 0; i < 2; i++, forget()) {
		assert_int_equal(kv_get(kv, "k", 1, buf, 4, &len, NULL),
				 -ERANGE);
		assert_int_equal(len, 6);
	}
}

static void conditions_are_kept(void **state)
{
	uint64_t v, w;

	assert_int_equal(kv_put_if(kv, "k", 1, "a", 1, 5, &v), -ENOENT);
	assert_int_equal(kv_del(kv, "k", 1, 0), -ENOENT);
	assert_int_equal(kv_insert(kv, "k", 1, "a", 1, &v), 0);
	for (int i = 0; i < 2; i++, forget()) {
		assert_int_equal(kv_insert(kv, "k", 1, "b", 1, &w), -EEXIST);
		assert_int_equal(kv_put_if(kv, "k", 1, "b", 1, v + 1, &w),
				 -ESTALE);
		assert_int_equal(kv_del(kv, "k", 1, v + 1), -ESTALE);
		assert_value("k", "a");
	}
	assert_int_equal(kv_put_if(kv, "k", 1, "b", 1, v, &w), 0);
	assert_true(w > v);
	assert_value("k", "b");
	assert_int_equal(kv_put_if(kv, "k", 1, "c", 1, v, &v), -ESTALE);
	assert_int_equal(kv_del(kv, "k", 1, w), 0);
	assert_int_equal(get("k"), -ENOENT);
	assert_int_equal(kv_put_if(kv, "k", 1, "c", 1, w, &v), -ENOENT);
}

static void versions_grow_through_deletion(void **state)
{
	uint64_t v = 0, w;

	for (int i = 0; i < 20; i++) {
		if (i % 2)
			forget();
		assert_int_equal(kv_insert(kv, "k", 1, "a", 1, &w), 0);
		assert_true(w > v);
		assert_int_equal(kv_put(kv, "k", 1, "b", 1, &v), 0);
		assert_true(v > w);
		assert_int_equal(kv_del(kv, "k", 1, i % 3 ? v : 0), 0);
		assert_int_equal(get("k"), -ENOENT);
	}
}

static void wrong_lengths_are_refused(void **state)
{
	static char big[KV_VALUE_BYTES_MAX + 1];
	char key[300] = "";

	assert_int_equal(kv_put(kv, "", 0, "v", 1, NULL), -EINVAL);
	assert_int_equal(kv_put(kv, key, 256, "v", 1, NULL), -EINVAL);
	assert_int_equal(kv_put(kv, "k", 1, big, sizeof(big), NULL), -EINVAL);
	assert_int_equal(kv_put(kv, key, 255, "v", 1, NULL), 0);
	assert_int_equal(kv_put_if(kv, "k", 1, "v", 1, 0, NULL), -EINVAL);
}

static void values_of_every_length_come_back(void **state)
{
	static char val[KV_VALUE_BYTES_MAX], buf[KV_VALUE_BYTES_MAX];
	static const size_t lens[] = {1,    62,	  63,	 64,	1000,  4095,
				      4160, 4161, 16000, 16300, 16320, 50000};
	char key[16];
	size_t len;

	for (unsigned i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		size_t klen = (size_t)sprintf(key, "len%zu", lens[i]);

		for (size_t j = 0; j < lens[i]; j++)
			val[j] = (char)(j * 31 + i);
		assert_int_equal(kv_put(kv, key, klen, val, lens[i], NULL), 0);
		for (int pass = 0; pass < 3; pass++) {
			memset(buf, 0, sizeof(buf));
			assert_int_equal(kv_get(kv, key, klen, buf, sizeof(buf),
						&len, NULL),
					 0);
			assert_int_equal(len, lens[i]);
			assert_memory_equal(buf, val, len);
			if (pass == 1)
				forget();
		}
	}
}

static void many_keys_are_all_there(void **state)
{
	char key[16], val[16];

	for (int i = 0; i < 700; i++) {
		sprintf(key, "key%d", i);
		sprintf(val, "val%d", i);
		assert_int_equal(
			kv_insert(kv, key, strlen(key), val, strlen(val), NULL),
			0);
	}
	forget();
	for (int i = 0; i < 700; i++) {
		sprintf(key, "key%d", i);
		sprintf(val, "val%d", i);
		assert_value(key, val);
		assert_all_copies_committed(key);
	}
}

static void full_index_is_enospc_and_keeps_what_it_has(void **state)
{
	char key[16];
	int n = 0, rc, kept = 0;

	do {
		sprintf(key, "key%d", n);
		rc = kv_insert(kv, key, strlen(key), "v", 1, NULL);
		n++;
	} while (rc == 0 && n < 5000);
	assert_int_equal(rc, -ENOSPC);
	assert_true(n > 900); /* of 1280 */
	assert_int_equal(get(key), -ENOENT);
	for (int i = 0; i < n - 1; i++) {
		sprintf(key, "key%d", i);
		kept += get(key) == 0;
	}
	assert_int_equal(kept, n - 1);
	assert_int_equal(kv_del(kv, "key7", 4, 0), 0);
	assert_int_equal(kv_insert(kv, "key7", 4, "w", 1, NULL), 0);
}

/* --- many at once --------------------------------------------------------- */

static void run_does_each_of_many(void **state)
{
	struct kv_req rq[200];
	char key[200][8], buf[200][8];

	for (int i = 0; i < 200; i++) {
		sprintf(key[i], "r%d", i);
		rq[i] = (struct kv_req){.kind = KV_INSERT,
					.key = key[i],
					.klen = (uint16_t)strlen(key[i]),
					.val = key[i],
					.len = 4};
	}
	assert_int_equal(kv_run(kv, rq, 200), 0);
	rq[7].kind = 99;
	for (int i = 0; i < 200; i++) {
		if (i != 7)
			rq[i].kind = i % 2 ? KV_GET : KV_DEL;
		rq[i].buf = buf[i];
		rq[i].cap = 8;
	}
	rq[9].key = "none";
	rq[9].klen = 4;
	assert_int_equal(kv_run(kv, rq, 200), -EINVAL);
	for (int i = 0; i < 200; i++) {
		int want = i == 7 ? -EINVAL : i == 9 ? -ENOENT : 0;

		assert_int_equal(rq[i].status, want);
		if (want == 0 && i % 2)
			assert_memory_equal(buf[i], key[i], 4);
	}
	assert_int_equal(get("r8"), -ENOENT);
	assert_int_equal(kv_run(kv, rq, KV_RUN_OPS_MAX + 1), -EINVAL);
	assert_int_equal(kv_run(kv, rq, 0), 0);
}

/* --- what it costs -------------------------------------------------------- */

static struct kv_op_stats cost(struct kv_op_stats before,
			       const struct kv_op_stats *now)
{
	return (struct kv_op_stats){.batches = now->batches - before.batches,
				    .ops = now->ops - before.ops};
}

static void round_trips_are_within_the_budget(void **state)
{
	const struct kv_stats *s = &kv_thread(kv)->stats;
	struct kv_op_stats b;

	b = s->insert;
	assert_int_equal(kv_insert(kv, "k", 1, "v", 1, NULL), 0);
	assert_int_equal(cost(b, &s->insert).batches, 3);
	assert_int_equal(cost(b, &s->insert).ops, 13);
	b = s->get;
	assert_value("k", "v");
	assert_int_equal(cost(b, &s->get).batches, 1);
	assert_int_equal(cost(b, &s->get).ops, 1);
	b = s->put;
	assert_int_equal(kv_put(kv, "k", 1, "w", 1, NULL), 0);
	assert_int_equal(cost(b, &s->put).batches, 3);
	forget();
	b = s->get;
	assert_value("k", "w");
	assert_int_equal(cost(b, &s->get).batches, 2);
	forget();
	b = s->put;
	assert_int_equal(kv_put(kv, "k", 1, "x", 1, NULL), 0);
	assert_int_equal(cost(b, &s->put).batches, 5);
	b = s->del;
	assert_int_equal(kv_del(kv, "k", 1, 0), 0);
	assert_int_equal(cost(b, &s->del).batches, 3);
}

/* Who deleted a key, or looked for it, knows where its tombstone lies. */
static void insert_over_a_known_tombstone_is_three_round_trips(void **state)
{
	const struct kv_stats *s = &kv_thread(kv)->stats;
	struct kv_op_stats b;
	uint64_t v, w;

	assert_int_equal(kv_insert(kv, "k", 1, "v", 1, &v), 0);
	for (int i = 0; i < 300; i++) { /* 8 bits of version go round */
		bool looks = i % 2;

		alone_set(kv->alone, i % 3 == 0);
		assert_int_equal(kv_del(kv, "k", 1, 0), 0);
		if (looks) {
			forget();
			b = s->get;
			assert_int_equal(get("k"), -ENOENT);
			assert_int_equal(cost(b, &s->get).batches, 2);
		}
		b = s->get;
		assert_int_equal(get("k"), -ENOENT);
		assert_int_equal(cost(b, &s->get).batches, 1);
		b = i % 5 ? s->insert : s->put;
		if (i % 5)
			assert_int_equal(
				kv_insert(kv, "k", 1, &i, sizeof(i), &w), 0);
		else
			assert_int_equal(kv_put(kv, "k", 1, &i, sizeof(i), &w),
					 0);
		b = cost(b, i % 5 ? &s->insert : &s->put);
		assert_int_equal(b.batches, 3);
		assert_int_equal(b.ops, 9);
		assert_true(w > v);
		v = w;
	}
	alone_set(kv->alone, false);
	assert_int_equal(kv_insert(kv, "k", 1, "v", 1, NULL), -EEXIST);
	assert_all_copies_committed("k");
}

/* Nobody told this client: its record is written twice, as the tombstone's
 * version is known only when it has been read. */
static void insert_over_an_unknown_tombstone_is_five(void **state)
{
	const struct kv_stats *s = &kv_thread(kv)->stats;
	struct kv_op_stats b;

	assert_int_equal(kv_insert(kv, "k", 1, "v", 1, NULL), 0);
	assert_int_equal(kv_del(kv, "k", 1, 0), 0);
	forget();
	b = s->insert;
	assert_int_equal(kv_insert(kv, "k", 1, "w", 1, NULL), 0);
	assert_int_equal(cost(b, &s->insert).batches, 5);
	assert_int_equal(cost(b, &s->insert).ops, 15);
	assert_value("k", "w");
	assert_all_copies_committed("k");
}

/* What is known of a tombstone @e is what another client has left behind. */
static void know_the_tombstone(const struct cache_entry *e)
{
	forget();
	cache_put(kv->cache, hash_of("k", 1), "k", 1, e, NULL);
}

static void a_tombstone_that_is_gone_fools_nobody(void **state)
{
	struct cache_entry e;
	uint64_t v;

	assert_int_equal(kv_insert(kv, "k", 1, "v", 1, NULL), 0);
	assert_int_equal(kv_del(kv, "k", 1, 0), 0);
	assert_true(cache_get(kv->cache, hash_of("k", 1), "k", 1, &e, NULL, 0));
	assert_true(e.word & SLOT_TOMB);
	assert_int_equal(kv_insert(kv, "k", 1, "new", 3, &v), 0);
	know_the_tombstone(&e);
	assert_value("k", "new");
	know_the_tombstone(&e);
	assert_int_equal(kv_insert(kv, "k", 1, "x", 1, NULL), -EEXIST);
	know_the_tombstone(&e);
	assert_int_equal(kv_put_if(kv, "k", 1, "newer", 5, v, &v), 0);
	know_the_tombstone(&e);
	assert_int_equal(kv_put(kv, "k", 1, "newest", 6, NULL), 0);
	assert_value("k", "newest");
	know_the_tombstone(&e);
	assert_int_equal(kv_del(kv, "k", 1, 0), 0);
	assert_int_equal(get("k"), -ENOENT);
	know_the_tombstone(&e); /* another's, younger */
	assert_int_equal(kv_insert(kv, "k", 1, "again", 5, NULL), 0);
	assert_value("k", "again");
	assert_all_copies_committed("k");
}

static void alone_a_round_trip_less(void **state)
{
	const struct kv_stats *s = &kv_thread(kv)->stats;
	struct kv_op_stats b;
	unsigned tentative;
	uint64_t word;

	alone_set(kv->alone, true);
	assert_int_equal(kv_insert(kv, "k", 1, "v", 1, NULL), 0);
	for (unsigned i = 0; i < 300; i++) { /* 8 bits of version go round */
		b = s->put;
		assert_int_equal(kv_put(kv, "k", 1, &i, sizeof(i), NULL), 0);
		assert_int_equal(cost(b, &s->put).batches, 2);
		assert_int_equal(cost(b, &s->put).ops, 5);
	}
	word = opool_slot(&pool, "k", &tentative);
	for (uint32_t j = 0; j < 3; j++)
		assert_true(opool_fate(&pool, slot_addr(word), j) ==
			    OBJECT_SOLO);
	forget();
	b = s->get;
	assert_int_equal(get("k"), 0); /* read, and not looked at twice */
	assert_int_equal(cost(b, &s->get).batches, 2);
	b = s->get;
	assert_int_equal(get("k"), 0);
	assert_int_equal(cost(b, &s->get).batches, 1);
	b = s->del;
	assert_int_equal(kv_del(kv, "k", 1, 0), 0);
	assert_int_equal(cost(b, &s->del).batches, 2);
	assert_int_equal(get("k"), -ENOENT);
	assert_int_equal(kv_insert(kv, "k", 1, "v", 1, NULL), 0);
}

/* What its operation left open may have won: no other may pose as the first. */
static void alone_no_more_after_a_doubt(void **state)
{
	const struct kv_stats *s = &kv_thread(kv)->stats;
	struct kv_op_stats b;
	struct actor a;

	alone_set(kv->alone, true);
	assert_int_equal(kv_put(kv, "k", 1, "v", 1, NULL), 0);
	actor_begin(&pool, &a, KV_PUT, "k", "w", 0);
	assert_true(actor_step(&a)); /* to the record */
	assert_true(actor_step(&a)); /* written */
	assert_true(a.op->solo);
	assert_int_equal(op_end(a.op, -ETIMEDOUT), OP_DONE);
	actor_free(&a);
	b = s->put;
	assert_int_equal(kv_put(kv, "k", 1, "x", 1, NULL), 0);
	assert_int_equal(cost(b, &s->put).batches, 3);
	assert_all_copies_committed("k");
}

/* --- wrong bytes ---------------------------------------------------------- */

static void wrong_bytes_are_mended_or_eio_never_returned(void **state)
{
	unsigned tentative;
	uint64_t word;
	char *p;

	assert_int_equal(kv_put(kv, "k", 1, "right", 5, NULL), 0);
	forget();
	word = opool_slot(&pool, "k", &tentative);
	p = spool_mem(&pool, slot_addr(word));
	p[66] ^= 1;		    /* in the value */
	assert_value("k", "right"); /* from a delta */
	assert_true(kv_thread(kv)->stats.crc_errors > 0);
	for (uint32_t j = 0; j < 2; j++) {
		uint64_t stripe;
		uint32_t role, at, node;
		struct block_rec rec;

		assert_int_equal(group_locate(&pool.layout.group,
					      slot_addr(word), &stripe, &role,
					      &at),
				 0);
		node = spool_node(&pool, stripe, 3 + j);
		rec = spool_rec(&pool, node, stripe, role);
		p = (char *)pool.region[node] + at + 66 +
		    group_delta_off(&pool.layout.group, rec.delta - 1);
		*p ^= 1;
	}
	forget();
	assert_int_equal(get("k"), -EIO);
}

/* --- a word that is equal by accident ------------------------------------- */

/* 256 versions on, at the same place: the word is what the cache remembers.
 * The hint tells (C4). */
static void equal_word_of_another_version_is_not_the_same(void **state)
{
	struct cache_entry e;
	uint64_t h = hash_of("k", 1), v;
	char buf[64];
	struct slot *s;
	int host;

	assert_int_equal(kv_put(kv, "k", 1, "old", 3, &v), 0);
	assert_true(cache_get(kv->cache, h, "k", 1, &e, buf, 64));
	for (int i = 0; i < 256; i++)
		assert_int_equal(kv_put(kv, "k", 1, "new", 3, NULL), 0);
	/* Another client's view: the entry of 256 versions ago, and a slot
	 * whose word has become equal. */
	host = (int)hash_shard(h, 5);
	s = (void *)((char *)pool.region[host] + pool.layout.index_off);
	s += e.slot;
	e.word = s->word;
	assert_int_equal(slot_version8(s->word), e.version & 0xff);
	forget();
	cache_put(kv->cache, h, "k", 1, &e, "old");
	assert_value("k", "new");
	forget();
	cache_put(kv->cache, h, "k", 1, &e, "old");
	assert_int_equal(kv_put_if(kv, "k", 1, "bad", 3, v, NULL), -ESTALE);
	assert_value("k", "new");
}

/* --- space ---------------------------------------------------------------- */

static void updates_use_space_again(void **state)
{
	char val[1000] = "";

	for (int i = 0; i < 40000; i++)
		assert_int_equal(kv_put(kv, "hot", 3, val, sizeof(val), NULL),
				 0);
	assert_true(kv_thread(kv)->stats.blocks_opened < 8);
}

/* --- looking inside ------------------------------------------------------- */

static int count_one(void *arg, const void *key, size_t klen, const void *val,
		     size_t vlen, uint64_t version)
{
	unsigned *n = arg;

	assert_true(version > 0);
	assert_int_equal(klen, vlen);
	assert_memory_equal(key, val, klen);
	(*n)++;
	return *n == 77 ? 5 : 0;
}

static void scan_meets_every_key_of_a_prefix_once(void **state)
{
	unsigned n = 0;
	char key[16];

	for (int i = 0; i < 60; i++) {
		sprintf(key, "%s%d", i % 2 ? "odd" : "even", i);
		assert_int_equal(
			kv_put(kv, key, strlen(key), key, strlen(key), NULL),
			0);
	}
	assert_int_equal(kv_del(kv, "odd7", 4, 0), 0);
	assert_int_equal(kv_scan(kv, "odd", 3, count_one, &n), 0);
	assert_int_equal(n, 29);
	n = 0;
	assert_int_equal(kv_scan(kv, "", 0, count_one, &n), 0);
	assert_int_equal(n, 59);
	n = 76;
	assert_int_equal(kv_scan(kv, "", 0, count_one, &n), 5);
}

static void where_names_slot_record_and_nodes(void **state)
{
	unsigned tentative;
	struct kv_where w;
	struct slot s;

	assert_int_equal(kv_where(kv, "k", 1, &w), -ENOENT);
	assert_int_equal(kv_put(kv, "k", 1, "value", 5, NULL), 0);
	assert_int_equal(kv_where(kv, "k", 1, &w), 0);
	memcpy(&s, (char *)pool.region[w.host] + w.slot, sizeof(s));
	assert_true(s.word == opool_slot(&pool, "k", &tentative));
	assert_true(s.version == w.version);
	assert_int_equal(w.length, 5);
	assert_int_equal(w.node, fab_addr_node(slot_addr(s.word)));
	assert_int_equal(w.parities, 2);
	assert_string_equal(w.state, "open");
	assert_int_equal(kv_where_page(kv, (struct kv_page){0}, &w), -EINVAL);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(what_is_put_is_got),
		T(too_small_a_buffer_is_told_the_need),
		T(conditions_are_kept),
		T(versions_grow_through_deletion),
		T(wrong_lengths_are_refused),
		T(values_of_every_length_come_back),
		T(many_keys_are_all_there),
		T(full_index_is_enospc_and_keeps_what_it_has),
		T(run_does_each_of_many),
		T(round_trips_are_within_the_budget),
		T(insert_over_a_known_tombstone_is_three_round_trips),
		T(insert_over_an_unknown_tombstone_is_five),
		T(a_tombstone_that_is_gone_fools_nobody),
		T(alone_a_round_trip_less),
		T(alone_no_more_after_a_doubt),
		T(wrong_bytes_are_mended_or_eio_never_returned),
		T(equal_word_of_another_version_is_not_the_same),
		T(updates_use_space_again),
		T(scan_meets_every_key_of_a_prefix_once),
		T(where_names_slot_record_and_nodes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
