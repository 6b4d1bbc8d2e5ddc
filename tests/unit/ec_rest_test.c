/* tests/unit/ec_rest_test.c - sealed blocks rest before they are folded, and
 * those that become wholly obsolete meanwhile never are. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/ec_pool.h"

#define BLOCK  (64u << 10)
#define UNITS  (BLOCK / GROUP_UNIT_BYTES)
#define LEADER 3u
#define REST   2u
#define NS     UINT64_C(1000000000)

static struct ec_pool p;

static int setup(void **state)
{
	ec_pool_open(&p, 5, 3, 2, BLOCK, 3, 16, 0);
	ec_pool_rest(&p, REST, NS);
	p.now = 1000;
	return 0;
}

static int teardown(void **state)
{
	ec_pool_close(&p);
	return 0;
}

static struct alloc_usage usage(void)
{
	struct alloc_usage u;

	alloc_usage(p.a[LEADER], &u);
	return u;
}

static uint64_t due(void)
{
	return fold_due(p.a[LEADER], p.now);
}

static struct ec_block sealed(uint64_t seed)
{
	struct ec_block b;

	assert_int_equal(ec_pool_take(&p, LEADER, BLOCK_RECORDS, false, &b), 0);
	ec_pool_fill(&p, &b, 0, BLOCK, seed);
	ec_pool_seal(&p, &b, BLOCK);
	return b;
}

static void obsolete(const struct ec_block *b)
{
	ec_pool_mark(&p, b, b->role, 0, UNITS);
}

static uint8_t state_of(const struct ec_block *b)
{
	return ec_pool_rec(&p, LEADER, b->stripe, b->role).state;
}

static void what_is_sealed_rests_for_its_time(void **state)
{
	struct ec_block b;

	assert_true(due() == UINT64_MAX);
	b = sealed(1);
	assert_true(due() == p.now + NS);
	p.now += NS - 1;
	assert_true(due() == p.now + 1);
	ec_pool_fold(&p);
	assert_int_equal(usage().folds, 0);
	assert_int_equal(usage().fold_backlog, 1);
	ec_pool_check(&p);

	p.now++;
	assert_true(due() <= p.now);
	ec_pool_fold(&p);
	assert_int_equal(usage().folds, 1);
	assert_int_equal(state_of(&b), BLOCK_FOLDED);
	assert_true(due() == UINT64_MAX);
	ec_pool_check(&p);
}

static void what_dies_young_is_never_folded(void **state)
{
	struct ec_block b = sealed(1);
	uint64_t gains = alloc_gains(p.a[LEADER]);

	assert_true(due() > p.now);
	obsolete(&b);
	assert_true(alloc_gains(p.a[LEADER]) > gains);
	assert_int_equal(ec_pool_retire(&p), 1);
	assert_int_equal(state_of(&b), BLOCK_FREE);
	p.now += 2 * NS;
	ec_pool_fold(&p);
	assert_int_equal(usage().folds, 0);
	assert_int_equal(usage().delta_used, 0);
	ec_pool_check(&p);
}

static void only_what_becomes_wholly_obsolete_is_a_gain(void **state)
{
	struct ec_block b = sealed(1);
	uint64_t gains = alloc_gains(p.a[LEADER]);

	ec_pool_mark(&p, &b, b.role, 0, UNITS - 1);
	assert_true(alloc_gains(p.a[LEADER]) == gains);
	ec_pool_mark(&p, &b, b.role, UNITS - 1, 1);
	assert_true(alloc_gains(p.a[LEADER]) == gains + 1);
	obsolete(&b);
	assert_true(alloc_gains(p.a[LEADER]) == gains + 1);
}

static void no_more_than_may_rest_do(void **state)
{
	struct ec_block first = sealed(1), second = sealed(2), third;

	assert_true(due() > p.now);
	third = sealed(3);
	assert_true(due() <= p.now);
	ec_pool_fold(&p);
	assert_int_equal(usage().fold_backlog, REST);
	assert_int_equal(state_of(&first), BLOCK_FOLDED);
	assert_int_equal(state_of(&second), BLOCK_SEALED);
	assert_int_equal(state_of(&third), BLOCK_SEALED);
	ec_pool_check(&p);
}

static void nothing_rests_when_delta_blocks_are_few(void **state)
{
	struct ec_block b;

	ec_pool_close(&p);
	ec_pool_open(&p, 5, 3, 2, BLOCK, 3, 4, 0);
	ec_pool_rest(&p, 4, NS);
	p.now = 1000;
	b = sealed(1);
	assert_true(due() > p.now);
	for (int i = 0; ec_pool_take(&p, LEADER, BLOCK_PAGES, false, &b) == 0;)
		assert_true(++i < 8);
	assert_true(due() <= p.now);
	ec_pool_fold(&p);
	assert_int_equal(usage().folds, 1);
}

/* Its copies may differ until then; afterwards it is as others are. */
static void an_orphan_is_made_equal_first(void **state)
{
	struct block_rec rec;
	struct ec_block b;

	assert_int_equal(ec_pool_take(&p, LEADER, BLOCK_RECORDS, false, &b), 0);
	ec_pool_fill(&p, &b, 0, BLOCK / 2, 1);
	ec_pool_write(&p, &b, BLOCK / 2, "torn", 4, 1);
	ec_pool_orphan(&p, &b);
	assert_true(due() <= p.now);
	ec_pool_fold(&p);
	rec = ec_pool_rec(&p, LEADER, b.stripe, b.role);
	assert_int_equal(rec.flags, 0);
	assert_int_equal(rec.state, BLOCK_SEALED);
	assert_true(due() > p.now);
	ec_pool_check(&p);
}

static void what_rests_is_read_without_its_node(void **state)
{
	struct ec_block b = sealed(1);
	uint32_t node = ec_pool_node(&p, b.stripe, b.role);
	char *was = malloc(BLOCK), *got = malloc(BLOCK);

	memcpy(was, ec_pool_truth(&p, b.stripe, b.role), BLOCK);
	ec_pool_set_up(&p, p.up & ~(UINT64_C(1) << node));
	assert_int_equal(ec_pool_read(&p, b.stripe, b.role, 0, BLOCK, got), 0);
	assert_memory_equal(was, got, BLOCK);
	p.now += NS;
	ec_pool_fold(&p);
	assert_int_equal(ec_pool_read(&p, b.stripe, b.role, 0, BLOCK, got), 0);
	assert_memory_equal(was, got, BLOCK);
	free(was);
	free(got);
}

/* As many delta blocks as may rest keep their memory, while there is work. */
static void memory_of_what_rested_is_given_back(void **state)
{
	unsigned n = 0;

	ec_pool_close(&p);
	ec_pool_open(&p, 5, 3, 2, BLOCK, 8, 64, 0);
	ec_pool_rest(&p, 16, NS);
	p.now = 1000;
	for (unsigned i = 0; i < 16; i++)
		sealed(i);
	ec_pool_fold(&p);
	assert_int_equal(usage().fold_backlog, 16);
	p.now += NS;
	ec_pool_fold(&p);
	assert_int_equal(usage().delta_used, 0);
	while (alloc_cool(p.a[LEADER]))
		assert_true(++n <= 64);
	assert_int_equal(n, 16 - 8);
	ec_pool_check(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(what_is_sealed_rests_for_its_time),
		T(what_dies_young_is_never_folded),
		T(only_what_becomes_wholly_obsolete_is_a_gain),
		T(no_more_than_may_rest_do),
		T(nothing_rests_when_delta_blocks_are_few),
		T(an_orphan_is_made_equal_first),
		T(what_rests_is_read_without_its_node),
		T(memory_of_what_rested_is_given_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
