/* Two operations on one key, or two transactions on the same keys, in every
 * order of their steps: who wins, who is told what, and what an onlooker sees
 * after each step. A step is one batch of remote operations. And at each step:
 * were the client and the index to die now, which record would replay take? */
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
#include "kv/node/newest.h"
#include "tests/lib/op_pool.h"

#define CHOICES_MAX 14 /* then they take turns */
#define LOOKS	    3u /* at what is undecided, before an operation waits */
#define UNDECIDED   '?'

static struct space_pool pool;
static struct kv *const kv = &pool.kv;

/* --- every order ---------------------------------------------------------- */

static struct {
	uint8_t choice[CHOICES_MAX];
	unsigned n; /* made in this run */
	unsigned runs;
} tree;

static void tree_begin(void)
{
	memset(&tree, 0, sizeof(tree));
}

/* Who goes next, both being able to. */
static unsigned tree_choose(void)
{
	static unsigned turn;

	if (tree.n == CHOICES_MAX)
		return ++turn % 2; /* one may wait for the other */
	return tree.choice[tree.n++];
}

/* The next order; false: that was the last. */
static bool tree_next(void)
{
	unsigned n = tree.n;

	tree.runs++;
	tree.n = 0;
	while (n > 0 && tree.choice[n - 1] == 1)
		tree.choice[--n] = 0;
	if (n == 0)
		return false;
	tree.choice[n - 1] = 1;
	return true;
}

/* --- onlookers ------------------------------------------------------------ */

struct sight {
	int rc;
	uint64_t version;
	char val[64];
};

static bool waits(const struct op *op)
{
	for (; op != NULL; op = op->child)
		if (op->opens > LOOKS)
			return true;
	return false;
}

/* -EAGAIN: somebody has to decide first. */
static struct sight look(const char *key)
{
	struct sight s = {.rc = -EAGAIN};
	struct actor a;

	cache_clear(kv->cache);
	actor_begin(&pool, &a, KV_GET, key, NULL, 0);
	while (!waits(a.op) && actor_step(&a))
		;
	if (a.done) {
		s.rc = a.rq.status;
		s.version = a.rq.version;
		memcpy(s.val, a.buf, s.rc == 0 ? a.rq.len : 0);
	}
	actor_free(&a);
	return s;
}

/* The register only moves on: versions grow, one version is one value. */
static void watch(const char *key, struct sight *last)
{
	struct sight now = look(key);

	if (now.rc == -EAGAIN)
		return;
	assert_true(now.rc == 0 || now.rc == -ENOENT);
	if (now.rc == 0 && last->rc == 0) {
		assert_true(now.version >= last->version);
		if (now.version == last->version)
			assert_string_equal(now.val, last->val);
	}
	if (now.rc == 0)
		*last = now;
	else
		last->rc = now.rc;
}

/* --- replay --------------------------------------------------------------- */

#define MET_MAX 64u

/* Where records of the key were seen to be written. */
static struct {
	fab_addr addr[MET_MAX];
	unsigned n;
} met;

static void meet(fab_addr addr)
{
	for (unsigned i = 0; i < met.n; i++)
		if (met.addr[i] == addr)
			return;
	assert_true(met.n < MET_MAX);
	met.addr[met.n++] = addr;
}

static bool decode(fab_addr addr, const char *key, struct object *o)
{
	return object_decode(spool_mem(&pool, addr), 4096, kv->secret, addr,
			     o) == 0 &&
	       o->hdr.key_len == strlen(key) &&
	       memcmp(o->key, key, o->hdr.key_len) == 0;
}

static const struct newest_rec *choose(struct newest *t)
{
	for (size_t i = 0; i < newest_room(t); i++)
		if (newest_at(t, i) != NULL)
			return newest_choose(newest_at(t, i));
	return NULL;
}

/* The record at @addr is of an operation that nobody was told the end of. */
static bool is_under_way(const struct actor a[2], fab_addr addr)
{
	for (unsigned i = 0; i < 2; i++)
		if (!a[i].done && a[i].op->has_spot &&
		    a[i].op->spot.addr == addr)
			return true;
	return false;
}

/* What replay takes is the slot's record, or one that is under way and newer.
 * Only while the slot's own is under way may it be one of the same version. */
static void replay_agrees(const char *key, const struct actor a[2])
{
	const struct newest_rec *rec;
	unsigned tentative;
	uint64_t word;
	struct newest *t;
	struct object o;

	for (unsigned i = 0; i < 2; i++)
		if (!a[i].done && a[i].op->has_spot)
			meet(a[i].op->spot.addr);
	word = opool_slot(&pool, key, &tentative);
	if (word == 0)
		return;
	meet(slot_addr(word));
	assert_int_equal(newest_open(kv->secret, &t), 0);
	for (unsigned i = 0; i < met.n; i++)
		if (decode(met.addr[i], key, &o))
			assert_int_equal(newest_add(t, met.addr[i], &o), 0);
	assert_true(decode(slot_addr(word), key, &o));
	rec = choose(t);
	assert_non_null(rec);
	if (slot_addr(rec->word) != slot_addr(word)) {
		assert_true(is_under_way(a, slot_addr(rec->word)));
		assert_true(rec->version > o.hdr.version ||
			    (rec->version == o.hdr.version &&
			     is_under_way(a, slot_addr(word))));
	}
	newest_close(t);
}

/* --- pairs ---------------------------------------------------------------- */

struct pair {
	const char *name;
	bool present; /* the key, with value "old" */
	bool cached;
	enum kv_kind kind[2];
	bool expect[2]; /* the old version */
	/* Check statuses and what is left in the end. */
	void (*check)(const struct actor a[2], const struct sight *end);
};

static void one_wins(const struct actor a[2], const struct sight *end)
{
	unsigned w = a[0].rq.status != 0;

	assert_int_equal(a[w].rq.status, 0);
	assert_int_not_equal(a[!w].rq.status, 0);
	if (a[w].rq.kind == KV_DEL) {
		assert_int_equal(end->rc, -ENOENT);
	} else {
		assert_int_equal(end->rc, 0);
		assert_string_equal(end->val, a[w].rq.val);
		assert_true(end->version == a[w].rq.version);
	}
}

static void one_inserts(const struct actor a[2], const struct sight *end)
{
	unsigned w = a[0].rq.status != 0;

	one_wins(a, end);
	assert_int_equal(a[!w].rq.status, -EEXIST);
	for (uint32_t j = 0; j < 3; j++)
		assert_true(opool_fate(&pool, a[!w].op->spot.addr, j) ==
			    OBJECT_KILLED);
}

static void one_is_stale(const struct actor a[2], const struct sight *end)
{
	one_wins(a, end);
	assert_true(a[0].rq.status + a[1].rq.status == -ESTALE ||
		    a[0].rq.status + a[1].rq.status == -ENOENT);
}

static void both_put(const struct actor a[2], const struct sight *end)
{
	unsigned last = a[1].rq.version > a[0].rq.version;

	assert_int_equal(a[0].rq.status, 0);
	assert_int_equal(a[1].rq.status, 0);
	assert_true(a[0].rq.version != a[1].rq.version);
	assert_string_equal(end->val, a[last].rq.val);
	assert_true(end->version == a[last].rq.version);
}

/* A put always works; what the other may be told depends on the order. */
static void put_works(const struct actor a[2], const struct sight *end)
{
	assert_int_equal(a[0].rq.status, 0);
	if (end->rc == 0 && strcmp(end->val, a[0].rq.val) == 0)
		return;
	assert_int_equal(a[1].rq.status, 0); /* so the other came last */
	if (a[1].rq.kind == KV_DEL)
		assert_int_equal(end->rc, -ENOENT);
	else
		assert_true(false);
}

static void put_beside_insert(const struct actor a[2], const struct sight *end)
{
	assert_int_equal(a[0].rq.status, 0);
	assert_true(a[1].rq.status == 0 || a[1].rq.status == -EEXIST);
	assert_string_equal(end->val, a[0].rq.val);
	if (a[1].rq.status == 0)
		assert_true(a[1].rq.version < a[0].rq.version);
}

static bool is_decided(uint64_t fate)
{
	return fate == OBJECT_COMMITTED || fate == OBJECT_SOLO;
}

static void all_copies_say_committed(const char *key)
{
	unsigned tentative;
	uint64_t word = opool_slot(&pool, key, &tentative);

	assert_int_equal(tentative, 0);
	for (uint32_t j = 0; word != 0 && j < 3; j++)
		assert_true(is_decided(opool_fate(&pool, slot_addr(word), j)));
}

static void run_pair(const struct pair *p, const char *key)
{
	struct sight last = {.rc = -ENOENT};
	struct actor a[2];
	uint64_t old = 0;

	if (p->present)
		assert_int_equal(
			kv_insert(kv, key, strlen(key), "old", 3, &old), 0);
	if (!p->cached)
		cache_clear(kv->cache);
	met.n = 0;
	for (unsigned i = 0; i < 2; i++)
		actor_begin(&pool, &a[i], p->kind[i], key, i ? "bee" : "ay",
			    p->expect[i] ? old : 0);
	while (!a[0].done || !a[1].done) {
		if (a[0].done || a[1].done)
			actor_step(&a[a[0].done]);
		else
			actor_step(&a[tree_choose()]);
		replay_agrees(key, a);
		if (!p->cached)
			watch(key, &last);
	}
	last = look(key);
	p->check(a, &last);
	all_copies_say_committed(key);
	actor_free(&a[0]);
	actor_free(&a[1]);
	if (last.rc == 0)
		assert_int_equal(kv_del(kv, key, strlen(key), 0), 0);
}

static const struct pair pairs[] = {
	{"insert, insert",
	 false,
	 false,
	 {KV_INSERT, KV_INSERT},
	 {0, 0},
	 one_inserts},
	{"put, put of a new key",
	 false,
	 false,
	 {KV_PUT, KV_PUT},
	 {0, 0},
	 both_put},
	{"put, insert",
	 false,
	 false,
	 {KV_PUT, KV_INSERT},
	 {0, 0},
	 put_beside_insert},
	{"put, put", true, false, {KV_PUT, KV_PUT}, {0, 0}, both_put},
	{"put, put, cached", true, true, {KV_PUT, KV_PUT}, {0, 0}, both_put},
	{"put_if, put_if",
	 true,
	 false,
	 {KV_PUT_IF, KV_PUT_IF},
	 {1, 1},
	 one_is_stale},
	{"put_if, put_if, cached",
	 true,
	 true,
	 {KV_PUT_IF, KV_PUT_IF},
	 {1, 1},
	 one_is_stale},
	{"del, put_if", true, false, {KV_DEL, KV_PUT_IF}, {1, 1}, one_is_stale},
	{"del, del", true, true, {KV_DEL, KV_DEL}, {0, 0}, one_is_stale},
	{"put, del", true, false, {KV_PUT, KV_DEL}, {0, 0}, put_works},
};

static void every_order_of_two(bool alone)
{
	static unsigned key;
	char name[16];

	for (unsigned i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		opool_open(&pool);
		alone_set(kv->alone, alone);
		tree_begin();
		do {
			sprintf(name, "key%u", key++ % 300);
			run_pair(&pairs[i], name);
		} while (tree_next());
		print_message("%-24s %u orders\n", pairs[i].name, tree.runs);
		assert_true(tree.runs >= 20);
		opool_close(&pool);
	}
}

static void every_order_of_two_among_many(void **state)
{
	every_order_of_two(false);
}

static void every_order_of_two_alone(void **state)
{
	every_order_of_two(true);
}

/* --- three inserts, at random --------------------------------------------- */

static void one_of_three_inserts_wins(void **state)
{
	char name[16];

	opool_open(&pool);
	srand(42);
	for (unsigned i = 0; i < 5000; i++) {
		struct actor a[3];
		unsigned won = 0, left = 3;

		sprintf(name, "key%u", i % 200);
		for (unsigned j = 0; j < 3; j++)
			actor_begin(&pool, &a[j], KV_INSERT, name, "v", 0);
		while (left > 0) {
			unsigned j = (unsigned)rand() % 3;

			if (!a[j].done && actor_step(&a[j]) && a[j].done)
				left--;
		}
		for (unsigned j = 0; j < 3; j++) {
			won += a[j].rq.status == 0;
			assert_true(a[j].rq.status == 0 ||
				    a[j].rq.status == -EEXIST);
			actor_free(&a[j]);
		}
		assert_int_equal(won, 1);
		all_copies_say_committed(name);
		assert_int_equal(kv_del(kv, name, strlen(name), 0), 0);
	}
	opool_close(&pool);
}

/* --- transactions --------------------------------------------------------- */

struct account {
	char x[16], y[16], z[16];
	uint64_t vx, vy;
};

static void account_open(struct account *c, unsigned i)
{
	sprintf(c->x, "x%u", i);
	sprintf(c->y, "y%u", i);
	sprintf(c->z, "z%u", i);
	assert_int_equal(kv_insert(kv, c->x, strlen(c->x), "1", 1, &c->vx), 0);
	assert_int_equal(kv_insert(kv, c->y, strlen(c->y), "1", 1, &c->vy), 0);
}

static void account_close(struct account *c)
{
	kv_del(kv, c->x, strlen(c->x), 0);
	kv_del(kv, c->y, strlen(c->y), 0);
	kv_del(kv, c->z, strlen(c->z), 0);
}

/* x = val; y goes away; z = val is new. */
static void transfer(const struct account *c, struct kv_req rq[3],
		     const char *val)
{
	rq[0] = (struct kv_req){.kind = KV_PUT_IF,
				.key = c->x,
				.klen = (uint16_t)strlen(c->x),
				.val = val,
				.len = 1,
				.expect = c->vx};
	rq[1] = (struct kv_req){.kind = KV_DEL,
				.key = c->y,
				.klen = (uint16_t)strlen(c->y),
				.expect = c->vy};
	rq[2] = (struct kv_req){.kind = KV_INSERT,
				.key = c->z,
				.klen = (uint16_t)strlen(c->z),
				.val = val,
				.len = 1};
}

/* All old, or all of one transaction; or UNDECIDED. */
static char all_or_none(const struct account *c)
{
	struct sight x = look(c->x), y = look(c->y), z = look(c->z);

	if (x.rc == -EAGAIN || y.rc == -EAGAIN || z.rc == -EAGAIN)
		return UNDECIDED;
	assert_int_equal(x.rc, 0);
	if (x.val[0] == '1') {
		assert_int_equal(y.rc, 0);
		assert_string_equal(y.val, "1");
		assert_int_equal(z.rc, -ENOENT);
		assert_true(x.version >= c->vx);
	} else {
		assert_int_equal(y.rc, -ENOENT);
		assert_int_equal(z.rc, 0);
		assert_int_equal(z.val[0], x.val[0]);
	}
	return x.val[0];
}

static void txn_is_seen_whole_or_not_at_all(void **state)
{
	struct account c;
	struct kv_req rq[3];
	struct actor a;
	char last = '1', now;

	opool_open(&pool);
	account_open(&c, 0);
	transfer(&c, rq, "2");
	actor_txn(&pool, &a, rq, 3);
	while (actor_step(&a)) {
		now = all_or_none(&c);
		if (now == UNDECIDED)
			continue;
		assert_true(now >= last);
		last = now;
	}
	assert_int_equal(a.op->status, 0);
	assert_int_equal(last, '2');
	assert_true(look(c.x).version == rq[0].version);
	assert_true(look(c.z).version == rq[2].version);
	actor_free(&a);
	opool_close(&pool);
}

/* A reader met an intent, and asks for the state only when its key has gone on
 * to the next transaction: that one's verdict is not for this intent (T1). */
static void reader_that_lags_is_not_told_of_another_txn(void **state)
{
	unsigned lagged = 0;

	for (unsigned n = 1; n < 60; n++) {
		struct account c, d;
		struct kv_req rq[3], rq2[3];
		struct actor a, b, r;

		opool_open(&pool);
		account_open(&c, 0);
		account_open(&d, 1);
		transfer(&c, rq, "2");
		transfer(&d, rq2, "2");
		actor_txn(&pool, &a, rq, 3);
		for (unsigned i = 0; i < n; i++)
			actor_step(&a);
		cache_clear(kv->cache);
		actor_begin(&pool, &r, KV_GET, c.x, NULL, 0);
		for (unsigned i = 0; i < 100 && r.op->child == NULL; i++)
			if (!actor_step(&r))
				break;
		actor_run(&a);
		assert_int_equal(a.op->status, 0);
		actor_free(&a);
		actor_txn(&pool, &b, rq2, 3);
		for (unsigned i = 0; i < 10; i++) /* its state: PENDING */
			actor_step(&b);
		if (!r.done) {
			actor_run(&r);
			assert_string_equal(r.buf, "2");
			lagged++;
		}
		actor_run(&b);
		actor_free(&b);
		actor_free(&r);
		opool_close(&pool);
	}
	assert_true(lagged > 10);
}

static void one_of_two_txns_wins_in_every_order(void **state)
{
	unsigned i = 0, both = 0;

	opool_open(&pool);
	tree_begin();
	do {
		struct account c;
		struct kv_req rq[2][3];
		struct actor a[2];
		int s0, s1;

		account_open(&c, i++ % 100);
		transfer(&c, rq[0], "2");
		transfer(&c, rq[1], "3");
		actor_txn(&pool, &a[0], rq[0], 3);
		actor_txn(&pool, &a[1], rq[1], 3);
		while (!a[0].done || !a[1].done) {
			if (a[0].done || a[1].done)
				actor_step(&a[a[0].done]);
			else
				actor_step(&a[tree_choose()]);
		}
		s0 = a[0].op->status;
		s1 = a[1].op->status;
		assert_true((s0 == 0) != (s1 == 0));
		assert_int_equal(s0 + s1, -ESTALE);
		assert_int_equal(all_or_none(&c), s0 == 0 ? '2' : '3');
		both += a[0].batches > 0 && a[1].batches > 0;
		actor_free(&a[0]);
		actor_free(&a[1]);
		account_close(&c);
	} while (tree_next() && tree.runs < 3000);
	assert_true(both > 1000);
	opool_close(&pool);
}

/* Puts beside a transaction: they wait for it, or abort it and it starts
 * again; nothing is lost or half done. */
static void txn_and_put_in_every_order(void **state)
{
	unsigned i = 0, won = 0, lost = 0;

	opool_open(&pool);
	tree_begin();
	do {
		struct account c;
		struct kv_req rq[3];
		struct actor a[2];

		account_open(&c, i++ % 100);
		transfer(&c, rq, "2");
		actor_txn(&pool, &a[0], rq, 3);
		actor_begin(&pool, &a[1], KV_PUT, c.x, "9", 0);
		while (!a[0].done || !a[1].done) {
			if (a[0].done || a[1].done)
				actor_step(&a[a[0].done]);
			else
				actor_step(&a[tree_choose()]);
		}
		assert_int_equal(a[1].rq.status, 0);
		assert_int_equal(look(c.x).val[0], '9');
		if (a[0].op->status == 0) {
			assert_int_equal(look(c.y).rc, -ENOENT);
			assert_string_equal(look(c.z).val, "2");
			won++;
		} else {
			assert_int_equal(a[0].op->status, -ESTALE);
			assert_string_equal(look(c.y).val, "1");
			assert_int_equal(look(c.z).rc, -ENOENT);
			lost++;
		}
		actor_free(&a[0]);
		actor_free(&a[1]);
		account_close(&c);
	} while (tree_next() && tree.runs < 3000);
	assert_true(won > 10 && lost > 10);
	opool_close(&pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_order_of_two_among_many),
		cmocka_unit_test(every_order_of_two_alone),
		cmocka_unit_test(one_of_three_inserts_wins),
		cmocka_unit_test(txn_is_seen_whole_or_not_at_all),
		cmocka_unit_test(reader_that_lags_is_not_told_of_another_txn),
		cmocka_unit_test(one_of_two_txns_wins_in_every_order),
		cmocka_unit_test(txn_and_put_in_every_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
