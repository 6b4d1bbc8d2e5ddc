/* A record is the slot's, and its writer has not said so in it yet: PENDING. A
 * rival's of the same version, which lost, says PENDING too, and lies before
 * it, so that a replay would rather take that one. Whoever is told of the first
 * must not find the second when the index node has died: nobody is told before
 * it is decided. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kv/hash.h"
#include "tests/lib/by_hand.h"
#include "tests/lib/sim.h"

#define MS    UINT64_C(1000000)
#define KEYS  200u
#define SHARD 0u /* the key's; served by the node of that number */

struct scene {
	struct cluster *c;
	struct kv *kv;
	struct hand writer;
	struct hand_block block;
	uint64_t word; /* of the record that won */
	char key[16];
	uint64_t version; /* of what it replaced */
	/* what somebody asked for: */
	struct kv_req rq;
	char buf[16];
	bool done;
};

static void begin(struct scene *s, struct cluster *c, uint8_t type,
		  uint8_t before)
{
	struct hand_record r = {.fate = OBJECT_PENDING, .type = OBJECT_PUT};
	uint32_t n = 0;
	int len;

	*s = (struct scene){.c = c, .kv = cluster_client(c)};
	hand_open(c, &s->writer);
	do
		len = snprintf(s->key, sizeof(s->key), "key-%u", n++);
	while (hash_shard(hash_of(s->key, (size_t)len), 5) != SHARD);
	assert_int_equal(
		kv_put(s->kv, s->key, (size_t)len, "old", 3, &s->version), 0);
	assert_int_equal(hand_alloc(&s->writer, 3, BLOCK_RECORDS, &s->block),
			 0);
	r.key = s->key;
	if (before == OBJECT_TOMB) {
		r.val = "";
		r.type = OBJECT_TOMB;
		r.fate = OBJECT_COMMITTED;
		r.version = ++s->version;
		hand_put(&s->writer, &s->block, &r);
	}
	r = (struct hand_record){.key = s->key,
				 .val = "rival",
				 .version = s->version + 1,
				 .fate = OBJECT_PENDING,
				 .type = OBJECT_PUT};
	hand_write(&s->writer, &s->block, &r, UINT64_MAX);
	r.val = type == OBJECT_TOMB ? "" : "won";
	r.type = type;
	s->word = hand_write(&s->writer, &s->block, &r, UINT64_MAX);
	hand_point(&s->writer, s->key, s->word, s->version);
}

static void ask(void *arg)
{
	struct scene *s = arg;

	kv_run(s->kv, &s->rq, 1);
	s->done = true;
}

static void want(struct scene *s, enum kv_kind kind, const char *val,
		 uint64_t expect)
{
	s->rq = (struct kv_req){.kind = (uint8_t)kind,
				.key = s->key,
				.klen = (uint16_t)strlen(s->key),
				.val = val,
				.len = (uint32_t)strlen(val),
				.buf = s->buf,
				.cap = sizeof(s->buf),
				.expect = expect};
}

/* What a client finds that comes new. */
static void is_now(struct scene *s, const char *val)
{
	struct kv *kv = cluster_client(s->c);
	char buf[16];
	size_t len = 0;
	int rc = kv_get(kv, s->key, strlen(s->key), buf, sizeof(buf), &len,
			NULL);

	assert_int_equal(rc, val == NULL ? -ENOENT : 0);
	if (val != NULL) {
		assert_int_equal(len, strlen(val));
		assert_memory_equal(buf, val, len);
	}
	cluster_client_close(s->c, kv);
}

static void index_dies(struct scene *s)
{
	cluster_kill_node(s->c, SHARD);
	cluster_settle(s->c);
}

/* --- its writer is dead --------------------------------------------------- */

struct told {
	const char *name;
	uint8_t before; /* OBJECT_TOMB: the key was deleted before */
	uint8_t type;	/* of the record that won */
	enum kv_kind kind;
	int status;
	const char *after; /* the value from then on; NULL: none */
};

static const struct told tolds[] = {
	{"get", 0, OBJECT_PUT, KV_GET, 0, "won"},
	{"get, deleted", 0, OBJECT_TOMB, KV_GET, -ENOENT, NULL},
	{"get, made again", OBJECT_TOMB, OBJECT_PUT, KV_GET, 0, "won"},
	{"insert", 0, OBJECT_PUT, KV_INSERT, -EEXIST, "won"},
	{"insert, deleted", 0, OBJECT_TOMB, KV_INSERT, 0, "mine"},
	{"put_if", 0, OBJECT_PUT, KV_PUT_IF, -ESTALE, "won"},
	{"put_if, deleted", 0, OBJECT_TOMB, KV_PUT_IF, -ENOENT, NULL},
	{"del", 0, OBJECT_PUT, KV_DEL, 0, NULL},
	{"del, deleted", 0, OBJECT_TOMB, KV_DEL, -ENOENT, NULL},
	{"put", 0, OBJECT_PUT, KV_PUT, 0, "mine"},
};

static void dead_body(struct cluster *c, void *arg)
{
	const struct told *t = *(const struct told **)arg;
	struct scene s;
	uint64_t from;

	begin(&s, c, t->type, t->before);
	hand_die(&s.writer);
	want(&s, t->kind, "mine", t->kind == KV_PUT_IF ? s.version : 0);
	from = sim_now(cluster_sim(c));
	ask(&s);
	print_message("%-16s %d after %u us\n", t->name, s.rq.status,
		      (unsigned)((sim_now(cluster_sim(c)) - from) / 1000));
	assert_int_equal(s.rq.status, t->status);
	assert_true(sim_now(cluster_sim(c)) - from < 100 * MS);
	index_dies(&s);
	is_now(&s, t->after);
	if (t != &tolds[0])
		return;
	cluster_sleep(c, 60000 * MS); /* sweeps */
	is_now(&s, t->after);
}

static void its_writer_is_dead(void **state)
{
	for (uint32_t i = 0; i < sizeof(tolds) / sizeof(tolds[0]); i++) {
		struct cluster_opts o = {.mode = CLUSTER_SIM, .seed = i + 1};
		const struct told *t = &tolds[i];

		cluster_run(&o, dead_body, &t);
	}
}

/* --- its writer lives ----------------------------------------------------- */

static void live_body(struct cluster *c, void *arg)
{
	struct scene s;

	begin(&s, c, OBJECT_PUT, 0);
	want(&s, KV_GET, "", 0);
	cluster_spawn(c, ask, &s);
	cluster_sleep(c, 500 * MS);
	assert_false(s.done);
	hand_fate(&s.writer, &s.block, s.word, OBJECT_COMMITTED);
	cluster_sleep(c, 10 * MS);
	assert_true(s.done);
	cluster_join(c);
	assert_int_equal(s.rq.status, 0);
	assert_int_equal(s.rq.len, 3);
	assert_memory_equal(s.buf, "won", 3);
	assert_true(s.rq.version == s.version + 1); /* the writer's own */
	hand_leave(&s.writer);
	index_dies(&s);
	is_now(&s, "won");
}

static void its_writer_is_slow(void **state)
{
	struct cluster_opts o = {.mode = CLUSTER_SIM, .seed = 1};

	cluster_run(&o, live_body, NULL);
}

/* It gave up, by its own deadline, and lives on. */
static void silent_body(struct cluster *c, void *arg)
{
	uint64_t from;
	struct scene s;

	begin(&s, c, OBJECT_PUT, 0);
	want(&s, KV_GET, "", 0);
	from = sim_now(cluster_sim(c));
	ask(&s);
	assert_int_equal(s.rq.status, 0);
	assert_memory_equal(s.buf, "won", 3);
	from = sim_now(cluster_sim(c)) - from;
	assert_in_range(from, 15000 * MS, 25000 * MS);
	hand_leave(&s.writer);
	index_dies(&s);
	is_now(&s, "won");
}

static void its_writer_gave_up(void **state)
{
	struct cluster_opts o = {.mode = CLUSTER_SIM, .seed = 1};

	cluster_run(&o, silent_body, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(its_writer_is_dead),
		cmocka_unit_test(its_writer_is_slow),
		cmocka_unit_test(its_writer_gave_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
