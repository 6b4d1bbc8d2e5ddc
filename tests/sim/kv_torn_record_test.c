/* Clients die at many moments of writing long records. What is whole or not of
 * these then: the pool uses what its keys need, when the sweep is over and
 * somebody has looked (kv/client/check_left.c), without fsck. What a slot names
 * is not taken for what is torn, though it be wrong; nor what may still come
 * out whole. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kv/check.h"
#include "kv/kv.h"
#include "tests/lib/by_hand.h"
#include "tests/lib/cluster.h"
#include "tests/lib/cluster_check.h"
#include "tests/lib/effort.h"
#include "tests/lib/sim.h"
#include "tests/lib/swept.h"

#define MS	 UINT64_C(1000000)
#define DEATHS	 6u
#define BEFORE	 3u /* small values of each, */
#define LONGS	 4u /* then long ones, at once */
#define KEYS	 (BEFORE + LONGS)
#define SMALL	 1500u
#define LONG	 60000u
#define FIRST_NS 4000u /* a put takes some 10 us */
#define STEP_NS	 1000u

struct death {
	struct scene *s;
	struct kv *kv;
	uint32_t no, id;
	uint32_t begun, ended; /* long ones */
	bool there[KEYS];
};

struct scene {
	struct cluster *c;
	struct kv *lives;
	struct death death[DEATHS];
	uint64_t first_ns;
	uint64_t torn; /* bytes that were given back */
};

/* --- values --------------------------------------------------------------- */

static size_t key_of(char *to, const struct death *d, uint32_t i)
{
	return (size_t)snprintf(to, 24, "key-%u-%u", d->no, i);
}

static uint32_t bytes_of(uint8_t *to, const struct death *d, uint32_t i)
{
	uint32_t len = i < BEFORE ? SMALL : LONG - i % 2 * LONG / 2;

	memset(to, (int)(1 + d->no * KEYS + i), len);
	return len;
}

static int put(const struct death *d, uint32_t i)
{
	uint8_t val[LONG];
	uint32_t len = bytes_of(val, d, i);
	char key[24];

	return kv_put(d->kv, key, key_of(key, d, i), val, len, NULL);
}

static bool is_there(const struct death *d, uint32_t i)
{
	static uint8_t had[LONG], want[LONG];
	char key[24];
	size_t len;
	int rc = kv_get(d->s->lives, key, key_of(key, d, i), had, sizeof(had),
			&len, NULL);

	if (rc == -ENOENT)
		return false;
	assert_int_equal(rc, 0);
	assert_int_equal(len, bytes_of(want, d, i));
	assert_memory_equal(had, want, len);
	return true;
}

static void all_are_there(struct scene *s)
{
	for (struct death *d = s->death; d < s->death + DEATHS; d++) {
		for (uint32_t i = 0; i < KEYS; i++)
			assert_int_equal(is_there(d, i), d->there[i]);
	}
}

/* --- deaths --------------------------------------------------------------- */

static void put_a_long_one(void *arg)
{
	struct death *d = arg;

	put(d, BEFORE + d->begun++);
	d->ended++;
}

static struct death *live(struct scene *s, uint32_t no, uint32_t keys)
{
	struct death *d = &s->death[no];

	*d = (struct death){.s = s, .kv = cluster_client(s->c), .no = no};
	d->id = kv_client_id(d->kv);
	for (uint32_t i = 0; i < keys; i++)
		assert_int_equal(put(d, i), 0);
	return d;
}

static void die_half_way(struct scene *s, uint32_t no)
{
	struct death *d = live(s, no, BEFORE);

	for (uint32_t i = 0; i < LONGS; i++)
		cluster_spawn(s->c, put_a_long_one, d);
	cluster_sleep(s->c, s->first_ns + no * STEP_NS);
	cluster_client_kill(s->c, d->kv);
	while (d->ended < LONGS)
		cluster_sleep(s->c, MS / 10);
}

static void after_deaths(struct scene *s)
{
	cluster_sleep(s->c, 200 * MS);
	cluster_settle(s->c);
	for (uint32_t no = 0; no < DEATHS; no++) {
		swept_wait(s->c, s->lives, s->death[no].id);
		for (uint32_t i = 0; i < KEYS; i++)
			s->death[no].there[i] = is_there(&s->death[no], i);
		for (uint32_t i = 0; i < BEFORE; i++)
			assert_true(s->death[no].there[i]);
	}
}

/* --- what is in use ------------------------------------------------------- */

static uint64_t pass(struct scene *s)
{
	struct kv_check_opts o = {.mend = true, .space = true, .gone = true};
	struct kv_check_sum sum;
	struct kv_check *c;

	assert_int_equal(kv_check_open(s->lives, &o, &c), 0);
	assert_int_equal(kv_check_space(c), 0);
	kv_check_sum(c, &sum);
	kv_check_close(c);
	return sum.leaked_bytes;
}

static uint64_t used(struct scene *s)
{
	struct kv_space space;

	cluster_sleep(s->c, 600 * MS); /* it is cached */
	assert_int_equal(kv_space(s->lives, &space), 0);
	return space.used;
}

static uint64_t units_of(const struct death *d, uint32_t i)
{
	static uint8_t val[LONG];
	char key[24];
	uint64_t bytes = 64 + key_of(key, d, i) + bytes_of(val, d, i);

	return (bytes + 63) / 64 * 64;
}

static uint64_t needed(const struct scene *s)
{
	uint64_t n = 0;

	for (const struct death *d = s->death; d < s->death + DEATHS; d++)
		for (uint32_t i = 0; i < KEYS; i++)
			n += d->there[i] ? units_of(d, i) : 0;
	return n;
}

/* Of an index node whose shard is replayed, or a data node. */
static void survives(struct scene *s, uint32_t node)
{
	cluster_kill_node(s->c, node);
	cluster_settle(s->c);
	all_are_there(s);
}

static void torn_body(struct cluster *c, void *arg)
{
	struct scene *s = arg;
	s->c = c;
	s->lives = cluster_client(c);
	for (uint32_t no = 0; no < DEATHS; no++)
		die_half_way(s, no);
	after_deaths(s);
	s->torn = pass(s);
	assert_int_equal(used(s), needed(s));
	assert_int_equal(pass(s), 0);
	all_are_there(s);
	cluster_check(c, s->lives, true);
	survives(s, 1);
	survives(s, 3);
}

static void play(struct scene *s, uint64_t seed,
		 void (*body)(struct cluster *c, void *arg))
{
	struct cluster_opts o = {.mode = CLUSTER_SIM,
				 .seed = seed,
				 .usable = 16u << 20,
				 .block_bytes = 256u << 10,
				 .slots = 1024,
				 .ckpt_ms = seed % 2 * 500,
				 .rest_ms = cluster_rest_ms(seed)};

	cluster_run(&o, body, s);
}

static void what_is_torn_is_given_back(void **state)
{
	uint64_t torn = 0;

	for (uint64_t seed = 1; seed <= effort(3); seed++) {
		struct scene s = {.first_ns = FIRST_NS + seed * STEP_NS / 3};

		play(&s, seed, torn_body);
		torn += s.torn;
	}
	assert_true(torn > 0 || !effort_is_whole());
}

/* --- what went bad -------------------------------------------------------- */

/* Short ones and long ones: of these the slot does not tell how long. */
static void harm(struct death *d, uint32_t i)
{
	struct kv_harm h = {.seed = i + 1, .bits = 200};
	char key[24];

	assert_int_equal(kv_harm_key(d->s->lives, key, key_of(key, d, i), &h),
			 0);
}

static void bad_body(struct cluster *c, void *arg)
{
	struct scene *s = arg;

	s->c = c;
	s->lives = cluster_client(c);
	for (uint32_t no = 0; no < DEATHS; no++)
		cluster_client_kill(c, live(s, no, KEYS)->kv);
	after_deaths(s);
	assert_int_equal(pass(s), 0);
	for (uint32_t no = 0; no < DEATHS; no++)
		harm(&s->death[no], no % KEYS);
	assert_int_equal(pass(s), 0);
	assert_int_equal(used(s), needed(s));
	all_are_there(s);
}

static void what_went_bad_is_not_taken_for_torn(void **state)
{
	struct scene s = {.torn = 0};

	play(&s, 2, bad_body);
}

/* --- copies that differ --------------------------------------------------- */

#define HAND 3000u

static struct block_rec *rec_at(struct cluster *c, const struct hand_block *b,
				uint32_t role)
{
	const struct group *g = &cluster_layout(c)->group;
	uint32_t node, block;

	group_member(g, b->stripe, role, &node, &block);
	return (void *)((char *)cluster_region(c, node) +
			group_rec_off(g, block, b->role));
}

/* As if the parity nodes had not made their copies equal yet (S6): the sweep
 * does not wait for all of them. */
static void say_differ(struct cluster *c, const struct hand_block *b, bool on)
{
	const struct group *g = &cluster_layout(c)->group;

	for (uint32_t role = g->k; role < group_width(g); role++) {
		struct block_rec *rec = rec_at(c, b, role);

		assert_int_equal(rec->flags, on ? 0 : BLOCK_F_ALIGN);
		rec->flags = on ? BLOCK_F_ALIGN : 0;
	}
}

/* As if it had been opened again (seal_rec() in ec/alloc_end.c). */
static void say_of_several(struct cluster *c, const struct hand_block *b)
{
	struct block_rec *rec = rec_at(c, b, b->role);

	assert_int_equal(rec->flags, BLOCK_F_LEFT);
	rec->owner = 0;
}

/* The record is whole in its copies, and half there where it should be. */
static uint32_t write_torn(struct scene *s, struct hand_block *b)
{
	static char val[HAND + 1];
	struct hand_record r = {.key = "torn",
				.val = val,
				.version = 7,
				.fate = OBJECT_PENDING,
				.type = OBJECT_PUT};
	struct hand h;
	char *data;

	memset(val, 'v', HAND);
	hand_open(s->c, &h);
	assert_int_equal(hand_alloc(&h, 3, BLOCK_RECORDS, b), 0);
	hand_write(&h, b, &r, UINT64_MAX);
	data = (char *)cluster_region(s->c, b->node) + b->copy[0].offset;
	memset(data + HAND / 2, 0, HAND / 2 + 128);
	hand_die(&h);
	return h.joined.client;
}

static void differ_body(struct cluster *c, void *arg)
{
	struct scene *s = arg;
	struct hand_block b;

	s->c = c;
	s->lives = cluster_client(c);
	swept_wait(s->c, s->lives, write_torn(s, &b));
	say_differ(c, &b, true);
	assert_int_equal(pass(s), 0);
	say_differ(c, &b, false);
	say_of_several(c, &b);
	assert_true(pass(s) >= HAND);
	assert_int_equal(used(s), 0);
}

static void what_may_come_out_whole_is_let_alone(void **state)
{
	struct scene s = {.torn = 0};

	play(&s, 3, differ_body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_torn_is_given_back),
		cmocka_unit_test(what_went_bad_is_not_taken_for_torn),
		cmocka_unit_test(what_may_come_out_whole_is_let_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
