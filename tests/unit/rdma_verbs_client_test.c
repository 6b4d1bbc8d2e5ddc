/* A client over an adapter that can do less than we would have it do: the
 * adapter is the one that is played in tests/fuzz/verbs_client.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/fuzz/verbs_client.c"

#define LONGEST 200u

/* Of node 0, whose adapter is our own. */
static struct fab *queue(void)
{
	struct fab *f;

	set_up();
	assert_int_equal(fab_open(net, &f), 0);
	return f;
}

static void end(struct fab *f)
{
	fab_close(f);
	fab_net_close(net);
}

static void run(struct fab *f, struct fab_op *op)
{
	struct fab_batch *done;
	struct fab_batch b = {
		.ops = op, .n = 1, .deadline_ns = fab_now(f) + WIRE_DEADLINE};

	assert_int_equal(fab_post(f, &b), 0);
	while (b.left > 0)
		assert_int_equal(fab_poll(f, &done, 1, WIRE_PATIENCE_NS), 1);
	assert_int_equal(op->status, 0);
}

static void few_operations_under_way(void **state)
{
	uint64_t word = 0;
	struct fab_op op;
	struct fab *f;

	bears.reads = 4;
	f = queue();
	fab_read(&op, 0, 0, &word, sizeof(word));
	run(f, &op);
	assert_int_equal(word, UINT64_C(0x0707070707070707));
	end(f);
	bears.reads = 128;
}

/* post_send() looks at each that says it is inline. */
static void few_bytes_in_a_work_request(void **state)
{
	static const unsigned room[] = {0, 32, 96, 101, 1024};
	uint8_t bytes[LONGEST] = {0};
	struct fab_op op;
	struct fab *f;

	for (size_t i = 0; i < sizeof(room) / sizeof(room[0]); i++) {
		bears.inlined = room[i];
		f = queue();
		for (uint32_t len = 0; len <= LONGEST; len++) {
			fab_write(&op, 0, 0, bytes, len);
			run(f, &op);
		}
		end(f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(few_operations_under_way),
		cmocka_unit_test(few_bytes_in_a_work_request),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
