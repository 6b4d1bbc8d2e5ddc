/* tests/sim/history_self_test.c - the checker of histories sees what is wrong
 * and lets pass what is right: the checks that stand on it can fail. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tests/lib/history.h"

static struct history *h;

static int begin(void **state)
{
	h = history_new();
	return 0;
}

static int end(void **state)
{
	history_free(h);
	return 0;
}

/* One act of one key, from @from to @to. */
static void act(uint64_t from, uint64_t to, struct history_part p, int rc)
{
	uint32_t n = history_begin(h, 0, from, &p, 1, false);

	history_end(h, n, to, rc, &p);
}

static uint32_t open_act(uint64_t from, struct history_part p)
{
	return history_begin(h, 0, from, &p, 1, false);
}

#define PUT(k, v, ver)                                                         \
	((struct history_part){                                                \
		.kind = KV_PUT, .key = k, .value = v, .version = ver})
#define GET(k, v, ver)                                                         \
	((struct history_part){                                                \
		.kind = KV_GET, .key = k, .value = v, .version = ver})
#define INSERT(k, v, ver)                                                      \
	((struct history_part){                                                \
		.kind = KV_INSERT, .key = k, .value = v, .version = ver})
#define PUT_IF(k, v, exp, ver)                                                 \
	((struct history_part){.kind = KV_PUT_IF,                              \
			       .key = k,                                       \
			       .value = v,                                     \
			       .expect = exp,                                  \
			       .version = ver})
#define DEL(k) ((struct history_part){.kind = KV_DEL, .key = k})

static void right_ones_pass(void **state)
{
	act(0, 1, GET(0, 0, 0), -ENOENT);
	act(1, 2, INSERT(0, 1, 7), 0);
	act(2, 9, PUT(0, 2, 8), 0);
	act(3, 5, GET(0, 1, 7), 0); /* beside the put: old, then new */
	act(6, 7, GET(0, 2, 8), 0);
	act(8, 10, PUT_IF(0, 3, 8, 9), 0);
	act(11, 12, PUT_IF(0, 4, 8, 0), -ESTALE);
	act(11, 12, INSERT(0, 5, 0), -EEXIST);
	act(13, 14, DEL(0), 0);
	act(15, 16, DEL(0), -ENOENT);
	act(15, 16, INSERT(0, 6, 20), 0);
	assert_true(history_check(h, NULL));
}

static void stale_read_is_seen(void **state)
{
	act(0, 1, PUT(0, 1, 1), 0);
	act(2, 3, PUT(0, 2, 2), 0);
	act(4, 5, GET(0, 1, 1), 0);
	assert_false(history_check(h, NULL));
}

static void new_then_old_is_seen(void **state)
{
	act(0, 1, PUT(0, 1, 1), 0);
	act(2, 9, PUT(0, 2, 2), 0);
	act(3, 4, GET(0, 2, 2), 0);
	act(5, 6, GET(0, 1, 1), 0);
	assert_false(history_check(h, NULL));
}

static void lost_update_is_seen(void **state)
{
	act(0, 1, PUT(0, 1, 1), 0);
	act(2, 5, PUT_IF(0, 2, 1, 2), 0);
	act(2, 5, PUT_IF(0, 3, 1, 2), 0);
	assert_false(history_check(h, NULL));
}

static void two_inserts_are_seen(void **state)
{
	act(0, 5, INSERT(0, 1, 1), 0);
	act(0, 5, INSERT(0, 2, 2), 0);
	assert_false(history_check(h, NULL));
}

static void refusal_for_no_reason_is_seen(void **state)
{
	act(0, 1, PUT(0, 1, 1), 0);
	act(2, 3, PUT_IF(0, 2, 1, 0), -ESTALE);
	assert_false(history_check(h, NULL));
}

static void version_that_goes_back_is_seen(void **state)
{
	act(0, 1, PUT(0, 1, 7), 0);
	act(2, 3, DEL(0), 0);
	act(4, 5, INSERT(0, 2, 7), 0);
	assert_false(history_check(h, NULL));
}

static void unknown_may_be_or_not(void **state)
{
	act(0, 1, PUT(0, 1, 1), 0);
	history_unknown(h, open_act(2, PUT(0, 2, 0)));
	history_unknown(h, open_act(2, PUT(0, 3, 0)));
	act(5, 6, GET(0, 1, 1), 0);
	act(7, 8, GET(0, 3, 2), 0); /* late */
	act(9, 10, GET(0, 3, 2), 0);
	assert_true(history_check(h, NULL));
	act(11, 12, GET(0, 1, 1), 0); /* but not away again */
	assert_false(history_check(h, NULL));
}

static void nothing_comes_from_nowhere(void **state)
{
	history_unknown(h, open_act(5, INSERT(0, 1, 0)));
	act(2, 3, GET(0, 1, 1), 0); /* before it began */
	assert_false(history_check(h, NULL));
}

/* Two keys, changed at once. */
static void txn(uint64_t from, uint64_t to, uint64_t v, bool known)
{
	struct history_part p[2] = {INSERT(0, v, v), INSERT(1, v + 1, v)};
	uint32_t n = history_begin(h, 1, from, p, 2, true);

	if (known)
		history_end(h, n, to, 0, p);
	else
		history_unknown(h, n);
}

static void half_a_transaction_is_seen(void **state)
{
	txn(0, 9, 5, false);
	act(10, 11, GET(0, 5, 5), 0);
	act(12, 13, GET(1, 6, 5), 0);
	assert_true(history_check(h, NULL));
	history_free(h);
	h = history_new();
	txn(0, 9, 5, false);
	act(10, 11, GET(0, 5, 5), 0);
	act(12, 13, GET(1, 0, 0), -ENOENT);
	assert_false(history_check(h, NULL));
}

static void reads_across_a_transaction_are_ordered(void **state)
{
	txn(0, 100, 5, true);
	act(10, 11, GET(1, 6, 5), 0);
	act(12, 13, GET(0, 0, 0), -ENOENT);
	assert_false(history_check(h, NULL));
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(right_ones_pass),
		T(stale_read_is_seen),
		T(new_then_old_is_seen),
		T(lost_update_is_seen),
		T(two_inserts_are_seen),
		T(refusal_for_no_reason_is_seen),
		T(version_that_goes_back_is_seen),
		T(unknown_may_be_or_not),
		T(nothing_comes_from_nowhere),
		T(half_a_transaction_is_seen),
		T(reads_across_a_transaction_are_ordered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
