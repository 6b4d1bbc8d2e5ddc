/* tests/unit/ec_check_test.c - check_stripe(): finds what is wrong in parities
 * and copies, makes it right, and judges nothing that is not at rest. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ec/check.h"
#include "tests/lib/ec_pool.h"

#define BLOCK (64u << 10)

static void open_pool(struct ec_pool *p)
{
	memset(p, 0, sizeof(*p));
	ec_pool_open(p, 5, 3, 2, BLOCK, 4, 16, 0);
}

/* A block of @kind, full of noise. */
static struct ec_block take(struct ec_pool *p, uint8_t kind)
{
	struct ec_block b;
	uint32_t leader = 0;

	while (ec_pool_take(p, leader, kind, false, &b) != 0)
		leader++;
	ec_pool_fill(p, &b, 0, BLOCK, 42 + b.role);
	return b;
}

static int check(struct ec_pool *p, uint64_t stripe, uint32_t j, bool mend,
		 struct check_found *out)
{
	uint32_t node = ec_pool_node(p, stripe, p->g.k + j);

	return check_stripe(p->a[node], &p->fab, stripe, j, mend, out);
}

static char *parity(struct ec_pool *p, uint64_t stripe, uint32_t j)
{
	uint32_t node, block;

	group_member(&p->g, stripe, p->g.k + j, &node, &block);
	return p->region[node] + group_block_off(&p->g, block);
}

static void sound(struct ec_pool *p, uint64_t stripe)
{
	struct check_found f;

	for (uint32_t j = 0; j < p->g.m; j++) {
		assert_int_equal(check(p, stripe, j, false, &f), 0);
		assert_int_equal(f.wrong, 0);
	}
}

static void a_wrong_parity_is_found_and_made_right(void **state)
{
	struct check_found f;
	struct ec_pool p;
	struct ec_block b;

	open_pool(&p);
	b = take(&p, BLOCK_PAGES);
	sound(&p, b.stripe); /* open: in no parity */
	ec_pool_seal(&p, &b, BLOCK);
	sound(&p, b.stripe); /* sealed: the copy is looked at */
	ec_pool_fold(&p);
	sound(&p, b.stripe);
	for (uint32_t j = 0; j < p.g.m; j++) {
		parity(&p, b.stripe, j)[777] ^= 4;
		parity(&p, b.stripe, j)[BLOCK - 1] ^= 1;
		assert_int_equal(check(&p, b.stripe, j, false, &f), 0);
		assert_int_equal(f.wrong, 2);
		assert_false(f.mended);
		assert_int_equal(check(&p, b.stripe, j, true, &f), 0);
		assert_true(f.wrong == 2 && f.mended);
	}
	sound(&p, b.stripe);
	ec_pool_check(&p);
	ec_pool_close(&p);
}

static void a_wrong_copy_of_a_sealed_block_is_made_right(void **state)
{
	struct check_found f;
	struct ec_pool p;
	struct ec_block b;
	uint32_t node;

	open_pool(&p);
	b = take(&p, BLOCK_RECORDS);
	ec_pool_seal(&p, &b, BLOCK);
	node = ec_pool_node(&p, b.stripe, p.g.k + 1);
	p.region[node][group_delta_off(&p.g, b.delta[1] - 1) + 5] ^= 8;
	assert_int_equal(check(&p, b.stripe, 0, true, &f), 0);
	assert_int_equal(f.wrong, 0);
	assert_int_equal(check(&p, b.stripe, 1, true, &f), 0);
	assert_true(f.wrong == 1 && f.mended);
	sound(&p, b.stripe);
	ec_pool_fold(&p);
	ec_pool_check(&p);
	ec_pool_close(&p);
}

/* A row of which only the data was written: its writer died, and the stripe is
 * folded with it. */
static void a_torn_row_is_made_whole(void **state)
{
	struct check_found f;
	struct ec_pool p;
	struct ec_block b;

	open_pool(&p);
	b = take(&p, BLOCK_ROWS);
	assert_int_equal(check(&p, b.stripe, 0, true, &f), -EAGAIN);
	memset(parity(&p, b.stripe, 0) + 8192, 0, 4096);
	ec_pool_orphan(&p, &b);
	ec_pool_fold(&p);
	assert_int_equal(check(&p, b.stripe, 0, false, &f), 0);
	assert_true(f.wrong > 4000);
	assert_int_equal(check(&p, b.stripe, 0, true, &f), 0);
	sound(&p, b.stripe);
	ec_pool_check(&p);
	ec_pool_close(&p);
}

static void what_cannot_be_judged_is_left(void **state)
{
	struct check_found f;
	struct ec_pool p;
	struct ec_block b;

	open_pool(&p);
	b = take(&p, BLOCK_PAGES);
	ec_pool_seal(&p, &b, BLOCK);
	ec_pool_fold(&p);
	assert_int_equal(check_stripe(p.a[ec_pool_node(&p, b.stripe, 0)],
				      &p.fab, b.stripe, 0, true, &f),
			 -EINVAL);
	assert_int_equal(check(&p, UINT64_MAX / 8, 0, true, &f), -EINVAL);
	parity(&p, b.stripe, 0)[9] ^= 9;
	ec_pool_set_up(&p, p.up & ~(UINT64_C(1)
				    << ec_pool_node(&p, b.stripe, b.role)));
	assert_int_equal(check(&p, b.stripe, 0, true, &f), -EHOSTDOWN);
	assert_int_equal(f.wrong, 0);
	ec_pool_close(&p);
}

/* The block begins to leave the parity while its data is fetched. */
static void leave(struct ec_pool *p, const struct fab_op *op)
{
	struct ec_block *b = p->arg;
	uint32_t node = ec_pool_node(p, b->stripe, p->g.k);

	p->between = NULL;
	assert_int_equal(
		fold_retire(p->a[node], b->stripe, b->role, b->life, false), 0);
}

static void what_moves_meanwhile_is_no_damage(void **state)
{
	struct check_found f;
	struct ec_pool p;
	struct ec_block b;

	open_pool(&p);
	b = take(&p, BLOCK_PAGES);
	ec_pool_seal(&p, &b, BLOCK);
	ec_pool_fold(&p);
	parity(&p, b.stripe, 0)[9] ^= 9;
	p.between = leave;
	p.arg = &b;
	assert_int_equal(check(&p, b.stripe, 0, true, &f), -EAGAIN);
	assert_int_equal(f.wrong, 0);
	ec_pool_close(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_wrong_parity_is_found_and_made_right),
		cmocka_unit_test(a_wrong_copy_of_a_sealed_block_is_made_right),
		cmocka_unit_test(a_torn_row_is_made_whole),
		cmocka_unit_test(what_cannot_be_judged_is_left),
		cmocka_unit_test(what_moves_meanwhile_is_no_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
