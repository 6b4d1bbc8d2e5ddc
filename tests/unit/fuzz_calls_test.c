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

static void body(struct cluster *c, void *arg)
{
	struct kv *kv;

	fuzz_open(c);
	fuzz_run(8000);
	comer_close();
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
