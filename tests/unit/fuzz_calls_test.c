/* Messages that make no sense: tests/fuzz/calls.c, from some that do. And in
 * the end the pool still keeps what it is given. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/fuzz/calls.c"

#define SAMPLES 20u

struct sample {
	uint8_t bytes[256];
	size_t size;
};

static void add(struct sample *s, uint8_t node, uint8_t type, const void *msg,
		size_t len)
{
	s->bytes[0] = node;
	s->bytes[1] = type;
	if (len > 0)
		memcpy(s->bytes + 2, msg, len);
	s->size = 2 + len;
}

static unsigned fill(struct sample *s)
{
	uint64_t epoch = hand.joined.view.epoch;
	uint32_t me = hand.joined.client;
	struct proto_alloc alloc = {
		.epoch = epoch, .owner = me, .kind = BLOCK_RECORDS};
	struct proto_open open = {.epoch = epoch,
				  .stripe = 3,
				  .opened = 1,
				  .owner = me,
				  .life = 1,
				  .kind = BLOCK_PAGES};
	struct proto_seal seal = {.epoch = epoch,
				  .stripe = 3,
				  .owner = me,
				  .life = 1,
				  .used = 64};
	struct {
		struct proto_mark head;
		struct proto_mark_one one[3];
	} mark = {.head = {.epoch = epoch, .n = 3},
		  .one = {{.stripe = 3, .life = 1, .at = 4, .len = 9}}};
	struct proto_watch watch = {.epoch = epoch, .wait_ms = 1};
	struct proto_suspect suspect = {.epoch = epoch, .node = 2};
	struct proto_retire retire = {.epoch = epoch, .stripe = 3, .life = 1};
	struct proto_join join = {.what = "again"};
	unsigned n = 0;

	add(&s[n++], 0, PROTO_ALLOC, &alloc, sizeof(alloc));
	add(&s[n++], 1, PROTO_OPEN, &open, sizeof(open));
	add(&s[n++], 2, PROTO_CANCEL, &seal, sizeof(seal));
	add(&s[n++], 3, PROTO_SEAL, &seal, sizeof(seal));
	add(&s[n++], 4, PROTO_MARK, &mark, sizeof(mark));
	add(&s[n++], 4, PROTO_RETIRE, &retire, sizeof(retire));
	add(&s[n++], 4, PROTO_FREE, &retire, sizeof(retire));
	add(&s[n++], 0, PROTO_STOP, NULL, 0);
	add(&s[n++], 5, PROTO_JOIN, &join, sizeof(join));
	add(&s[n++], 5, PROTO_WATCH, &watch, sizeof(watch));
	add(&s[n++], 5, PROTO_SUSPECT, &suspect, sizeof(suspect));
	add(&s[n++], 5, PROTO_LEAVE, NULL, 0);
	return n;
}

static void body(struct cluster *c, void *arg)
{
	static struct sample s[SAMPLES];
	struct fuzz_sample in[SAMPLES];
	struct kv *kv;
	unsigned n;

	fuzz_open(c);
	n = fill(s);
	for (unsigned i = 0; i < n; i++)
		in[i] = (struct fuzz_sample){s[i].bytes, s[i].size};
	fuzz_run(in, n, 8000);
	hand_leave(&hand);
	cluster_settle(c);
	kv = cluster_client(c);
	assert_int_equal(kv_clients(kv), 1);
	for (unsigned i = 0; i < 200; i++) {
		char key[16], val[16];
		size_t len;

		sprintf(key, "key%u", i);
		assert_int_equal(
			kv_put(kv, key, strlen(key), key, strlen(key), NULL),
			0);
		assert_int_equal(kv_get(kv, key, strlen(key), val, sizeof(val),
					&len, NULL),
				 0);
		assert_memory_equal(val, key, len);
	}
}

static void messages_that_make_no_sense(void **state)
{
	cluster_run(&(struct cluster_opts){.mode = CLUSTER_SIM, .seed = 3},
		    body, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_that_make_no_sense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
