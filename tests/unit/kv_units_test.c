/* tests/unit/kv_units_test.c - units of a block against a plain model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kv/client/units.h"

#define TOTAL 1024u

static uint64_t dice_state;

static uint32_t dice(uint32_t n)
{
	dice_state = dice_state * UINT64_C(6364136223846793005) + 1442695041;
	return (uint32_t)(dice_state >> 33) % n;
}

static void runs_come_back_best_fit_first(void **state)
{
	struct units u = {0};
	struct units_run r;

	(void)state;
	assert_int_equal(units_open(&u, TOTAL), 0);
	assert_true(units_take(&u, 100, 100, &r));
	assert_int_equal(r.at, 0);
	assert_true(units_give(&u, 10, 8, false));
	assert_true(units_give(&u, 30, 5, false));
	assert_true(units_give(&u, 50, 6, false));
	assert_true(units_take(&u, 5, 5, &r)); /* the exact one */
	assert_int_equal(r.at, 30);
	assert_true(units_take(&u, 5, 5, &r)); /* of 6 and 8, the 6 */
	assert_int_equal(r.at, 50);
	assert_true(units_take(&u, 9, 9, &r)); /* none fits: new units */
	assert_int_equal(r.at, 100);
	assert_int_equal(units_room(&u), TOTAL - 109 + 8 + 1);
	units_close(&u);
}

static void neighbours_become_one_run(void **state)
{
	struct units u = {0};
	struct units_run r;

	(void)state;
	assert_int_equal(units_open(&u, TOTAL), 0);
	assert_true(units_take(&u, TOTAL, TOTAL, &r));
	assert_true(units_give(&u, 8, 4, false));
	assert_true(units_give(&u, 12, 4, false));
	assert_true(units_give(&u, 4, 4, false));
	assert_true(units_take(&u, 12, 12, &r));
	assert_int_equal(r.at, 4);
	assert_int_equal(units_room(&u), 0);
	units_close(&u);
}

static void giving_what_is_not_taken_is_refused(void **state)
{
	struct units u = {0};
	struct units_run r;

	(void)state;
	assert_int_equal(units_open(&u, TOTAL), 0);
	assert_false(units_give(&u, 0, 1, false)); /* nothing was taken */
	assert_true(units_take(&u, 20, 20, &r));
	assert_false(units_give(&u, 19, 2, false)); /* past the taken */
	assert_false(units_give(&u, 3, 0, false));
	assert_false(units_give(&u, UINT32_MAX, 2, false));
	assert_true(units_give(&u, 4, 4, false));
	assert_false(units_give(&u, 4, 4, false)); /* twice */
	assert_false(units_give(&u, 7, 2, false)); /* half of it twice */
	assert_int_equal(units_room(&u), TOTAL - 20 + 4);
	units_close(&u);
}

static void a_piece_is_taken_when_the_whole_is_not_there(void **state)
{
	struct units u = {0};
	struct units_run r;

	(void)state;
	assert_int_equal(units_open(&u, TOTAL), 0);
	assert_true(units_take(&u, 64, TOTAL - 100, &r));
	/* 100 are left: whole pages of them only */
	assert_true(units_take(&u, 64, 128, &r));
	assert_int_equal(r.len, 64);
	assert_false(units_take(&u, 64, 128, &r));
	assert_true(units_give(&u, 128, 64, false));
	assert_true(units_give(&u, 256, 128, false));
	assert_true(units_take(&u, 64, 256, &r)); /* the larger of the two */
	assert_int_equal(r.at, 256);
	assert_int_equal(r.len, 128);
	units_close(&u);
}

static void torn_units_are_whole_once_taken_again(void **state)
{
	struct units u = {0};
	struct units_run r;

	(void)state;
	assert_int_equal(units_open(&u, TOTAL), 0);
	assert_true(units_take(&u, 200, 200, &r));
	assert_true(units_give(&u, 60, 10, true)); /* crosses a word */
	assert_true(units_give(&u, 100, 10, false));
	assert_true(units_next_torn(&u, 0, &r));
	assert_int_equal(r.at, 60);
	assert_int_equal(r.len, 10);
	assert_false(units_next_torn(&u, 70, &r));
	assert_true(units_next_given(&u, 70, &r));
	assert_int_equal(r.at, 100);
	while (units_take(&u, 4, 4, &r) && r.at != 60)
		;
	assert_true(units_next_torn(&u, 0, &r));
	assert_int_equal(r.at, 64);
	assert_int_equal(r.len, 6);
	units_mend(&u);
	assert_false(units_next_torn(&u, 0, &r));
	units_close(&u);
}

static void cleared_it_is_as_new(void **state)
{
	struct units u = {0};
	struct units_run r;

	(void)state;
	assert_int_equal(units_open(&u, TOTAL), 0);
	assert_true(units_take(&u, 64, 64, &r));
	assert_true(units_give(&u, 0, 64, true));
	units_clear(&u);
	assert_int_equal(units_open(&u, TOTAL), 0);
	assert_int_equal(units_room(&u), TOTAL);
	assert_false(units_next_given(&u, 0, &r));
	assert_false(units_next_torn(&u, 0, &r));
	assert_true(units_take(&u, TOTAL, TOTAL, &r));
	assert_false(units_next_given(&u, 0, &r));
	units_close(&u);
}

/* --- against a model ----------------------------------------------------- */

struct model {
	uint8_t taken[TOTAL];
	struct units_run held[TOTAL];
	uint32_t nheld;
};

static uint32_t model_longest(const struct model *m, uint32_t from,
			      uint32_t end)
{
	uint32_t longest = 0, run = 0;

	for (uint32_t i = from; i < end; i++) {
		run = m->taken[i] ? 0 : run + 1;
		longest = run > longest ? run : longest;
	}
	return longest;
}

static void model_take(struct model *m, struct units *u)
{
	uint32_t want = 1 + dice(dice(4) == 0 ? 200 : 12);
	uint32_t min = dice(2) ? want : 1;
	struct units_run r;

	if (units_take(u, min, want, &r)) {
		assert_in_range(r.len, min, want);
		assert_true(r.at + r.len <= TOTAL);
		for (uint32_t i = r.at; i < r.at + r.len; i++) {
			assert_int_equal(m->taken[i], 0);
			m->taken[i] = 1;
		}
		m->held[m->nheld++] = r;
		return;
	}
	/* It gave up: then there is no such run, old or new. */
	assert_true(model_longest(m, 0, u->bump) < min);
	assert_true(TOTAL - u->bump < min);
}

static void model_give(struct model *m, struct units *u)
{
	uint32_t i;
	struct units_run r;

	if (m->nheld == 0)
		return;
	i = dice(m->nheld);
	r = m->held[i];
	m->held[i] = m->held[--m->nheld];
	assert_true(units_give(u, r.at, r.len, dice(3) == 0));
	memset(m->taken + r.at, 0, r.len);
}

static void model_check(const struct model *m, const struct units *u)
{
	uint32_t room = 0, seen = 0;
	struct units_run r = {0, 0};

	for (uint32_t i = 0; i < TOTAL; i++)
		room += !m->taken[i];
	assert_int_equal(units_room(u), room);
	for (uint32_t at = 0; units_next_given(u, at, &r); at = r.at + r.len)
		for (uint32_t i = r.at; i < r.at + r.len; i++, seen++)
			assert_int_equal(m->taken[i], 0);
	assert_int_equal(seen, u->free);
}

static void never_hands_out_a_unit_twice(void **state)
{
	static struct model m;

	(void)state;
	for (uint64_t seed = 1; seed <= 40; seed++) {
		struct units u = {0};

		dice_state = seed;
		memset(&m, 0, sizeof(m));
		assert_int_equal(units_open(&u, TOTAL), 0);
		for (int i = 0; i < 3000; i++) {
			if (dice(100) < 52)
				model_take(&m, &u);
			else
				model_give(&m, &u);
			if (i % 16 == 0)
				model_check(&m, &u);
		}
		units_close(&u);
	}
}

/* More runs than the list holds: all are found in the end. */
static void forgets_no_run(void **state)
{
	struct units u = {0};
	struct units_run r;
	uint32_t n = 0;

	(void)state;
	assert_int_equal(units_open(&u, TOTAL), 0);
	assert_true(units_take(&u, TOTAL, TOTAL, &r));
	for (uint32_t at = 0; at < TOTAL; at += 4)
		assert_true(units_give(&u, at, 2, false));
	while (units_take(&u, 2, 2, &r))
		n++;
	assert_int_equal(n, TOTAL / 4);
	units_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(runs_come_back_best_fit_first),
		cmocka_unit_test(neighbours_become_one_run),
		cmocka_unit_test(giving_what_is_not_taken_is_refused),
		cmocka_unit_test(a_piece_is_taken_when_the_whole_is_not_there),
		cmocka_unit_test(torn_units_are_whole_once_taken_again),
		cmocka_unit_test(cleared_it_is_as_new),
		cmocka_unit_test(never_hands_out_a_unit_twice),
		cmocka_unit_test(forgets_no_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
