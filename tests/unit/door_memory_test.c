/* tests/unit/door_memory_test.c - how large a pool becomes, or why it may not
 * be made. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "mount-helper/memory.h"

static struct conf_pool shape(uint32_t k, uint32_t m, uint32_t nodes)
{
	return (struct conf_pool){.k = k, .m = m, .nodes = nodes};
}

static void what_is_free_is_known(void **state)
{
	uint64_t bytes = 0;

	assert_int_equal(memory_available(&bytes), 0);
	assert_true(bytes > UINT64_C(1) << 20);
	assert_true(bytes < UINT64_C(1) << 50);
}

static void a_pool_takes_its_code_s_share_and_little_more(void **state)
{
	struct conf_pool p = shape(3, 2, 5);
	uint64_t raw = 0, size = UINT64_C(4) << 30;

	assert_int_equal(memory_of_pool(&p, size, &raw), 0);
	assert_true(raw >= size / 3 * 5);
	assert_true(raw <= size / 3 * 5 / 4 * 5); /* index, deltas */
}

static void the_default_is_half_of_what_is_free(void **state)
{
	struct conf_pool p = shape(3, 2, 5);
	char error[CONF_ERROR_BYTES_MAX];
	uint64_t free_bytes, raw = 0;

	assert_int_equal(memory_available(&free_bytes), 0);
	assert_int_equal(memory_plan(&p, error), 0);
	assert_int_equal(memory_of_pool(&p, p.size, &raw), 0);
	/* others of this host take and give memory meanwhile */
	assert_true(raw < free_bytes / 10 * 6);
	assert_true(raw > free_bytes / 10 * 3);
}

/* Others of this host take and give memory meanwhile: look again until what is
 * free held still between the two plans. */
static void plan_two(struct conf_pool *tenth, struct conf_pool *half)
{
	char error[CONF_ERROR_BYTES_MAX];
	uint64_t before, after;

	for (int i = 0; i < 1000; i++) {
		*tenth = shape(3, 2, 5);
		*half = shape(3, 2, 5);
		tenth->percent = 10;
		half->percent = 50;
		assert_int_equal(memory_available(&before), 0);
		assert_int_equal(memory_plan(tenth, error), 0);
		assert_int_equal(memory_plan(half, error), 0);
		assert_int_equal(memory_available(&after), 0);
		if (before < after + after / 50 && after < before + before / 50)
			return;
	}
	fail_msg("free memory never held still");
}

static void a_share_is_of_what_is_free(void **state)
{
	struct conf_pool tenth, half;
	uint64_t a = 0, b = 0;

	plan_two(&tenth, &half);
	assert_int_equal(memory_of_pool(&tenth, tenth.size, &a), 0);
	assert_int_equal(memory_of_pool(&half, half.size, &b), 0);
	assert_true(b > a * 4); /* of users' bytes it depends on how much */
	assert_true(b < a * 6); /* is free: every node wants some for itself */
}

static void too_much_is_refused_with_what_would_fit(void **state)
{
	struct conf_pool p = shape(3, 2, 5);
	char error[CONF_ERROR_BYTES_MAX] = "";
	uint64_t free_bytes;

	assert_int_equal(memory_available(&free_bytes), 0);
	p.size = free_bytes / 10 * 9; /* its parity does not fit */
	assert_int_equal(memory_plan(&p, error), -ENOMEM);
	assert_non_null(strstr(error, "too little memory"));
	assert_non_null(strstr(error, "-o size="));
	assert_null(strchr(error, '\n'));
}

static void too_small_is_refused(void **state)
{
	struct conf_pool p = shape(3, 2, 5);
	char error[CONF_ERROR_BYTES_MAX] = "";

	p.size = 4096;
	assert_int_equal(memory_plan(&p, error), -EINVAL);
	assert_non_null(strstr(error, "too small"));
	p.size = MEMORY_POOL_BYTES_MIN;
	assert_int_equal(memory_plan(&p, error), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_free_is_known),
		cmocka_unit_test(a_pool_takes_its_code_s_share_and_little_more),
		cmocka_unit_test(the_default_is_half_of_what_is_free),
		cmocka_unit_test(a_share_is_of_what_is_free),
		cmocka_unit_test(too_much_is_refused_with_what_would_fit),
		cmocka_unit_test(too_small_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
