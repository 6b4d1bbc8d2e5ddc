/* tests/unit/door_respawn_test.c - who dies is started again at once; who dies
 * again and again, later and later. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "mount-helper/respawn.h"

static void first_death_costs_nothing(void **state)
{
	struct respawn r = {.due = false};

	assert_int_equal(respawn_in(&r, 5), -1);
	respawn_died(&r, 100000);
	assert_int_equal(respawn_in(&r, 100000), 0);
	assert_int_equal(respawn_in(&r, 100007), 0);
	respawn_began(&r, 100007);
	assert_int_equal(respawn_in(&r, 100008), -1);
}

static void early_deaths_wait_longer_each_time(void **state)
{
	static const int64_t want[] = {0,     1000,  2000,  4000, 8000,
				       16000, 30000, 30000, 30000};
	struct respawn r = {.due = false};
	int64_t now = 1000000;

	for (unsigned i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		respawn_died(&r, now);
		assert_int_equal(respawn_in(&r, now), want[i]);
		now += want[i];
		respawn_began(&r, now);
		now += RESPAWN_LIVED_MS - 1;
	}
}

static void a_long_life_is_forgiven(void **state)
{
	struct respawn r = {.due = false};

	for (int i = 0; i < 5; i++) {
		respawn_died(&r, 100000 + i);
		respawn_began(&r, 100000 + i);
	}
	respawn_died(&r, 100004 + RESPAWN_LIVED_MS);
	assert_int_equal(respawn_in(&r, 100004 + RESPAWN_LIVED_MS), 0);
	respawn_began(&r, 200000);
	respawn_died(&r, 200001);
	assert_int_equal(respawn_in(&r, 200001), RESPAWN_WAIT_MS);
}

static void who_is_needed_does_not_wait(void **state)
{
	struct respawn r = {.due = false};

	for (int i = 0; i < 5; i++) {
		respawn_died(&r, 100000 + i);
		respawn_began(&r, 100000 + i);
	}
	respawn_died(&r, 100005);
	assert_true(respawn_in(&r, 100005) > 0);
	respawn_now(&r, 100005);
	assert_int_equal(respawn_in(&r, 100005), 0);
	respawn_began(&r, 100006);
	respawn_died(&r, 100007);
	assert_true(respawn_in(&r, 100007) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_death_costs_nothing),
		cmocka_unit_test(early_deaths_wait_longer_each_time),
		cmocka_unit_test(a_long_life_is_forgiven),
		cmocka_unit_test(who_is_needed_does_not_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
