/* tests/unit/ec_bare_test.c - what was never opened everywhere is zeros (S7 in
 * ec/README.md), and harms no neighbour. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/ec_pool.h"

#define BLOCK  (256u << 10)
#define LEADER 3u /* of stripe 0; roles are on the nodes of their numbers */

static char got[BLOCK];

static void open_pool(struct ec_pool *p)
{
	ec_pool_open(p, 6, 3, 2, BLOCK, 1, 12, 0);
}

/* Who keeps a record of it, besides the leader? */
static bool is_other(const struct ec_pool *p, const struct ec_block *b,
		     uint32_t role)
{
	return ec_pool_node(p, 0, role) != LEADER &&
	       (role >= p->g.k || role == b->role || b->kind == BLOCK_ROWS);
}

static void open_at(struct ec_pool *p, const struct ec_block *b, uint32_t node,
		    bool cancel)
{
	uint32_t delta;

	assert_int_equal(alloc_open_block(p->a[node], 0, b->role, b->kind,
					  EC_POOL_OWNER, 1, 10, b->life,
					  &delta),
			 0);
	if (cancel)
		assert_int_equal(alloc_cancel(p->a[node], 0, b->role,
					      EC_POOL_OWNER, b->life),
				 0);
}

/* A client dies while it opens a block: the leader has granted it, and the
 * first @others know of it; or it told them that it does not want it. */
static void open_at_some(struct ec_pool *p, uint8_t kind, unsigned others,
			 bool cancel, struct ec_block *b)
{
	struct alloc_grant g;

	assert_int_equal(alloc_block(p->a[LEADER], kind, EC_POOL_OWNER, 1, 10,
				     true, 0, 1, &g),
			 0);
	assert_int_equal(g.stripe, 0);
	*b = (struct ec_block){.role = g.role, .life = g.life, .kind = kind};
	for (uint32_t r = 0; r < group_width(&p->g); r++)
		if (is_other(p, b, r) && others > 0) {
			open_at(p, b, ec_pool_node(p, 0, r), cancel);
			others--;
		}
	for (uint32_t r = 0; r < group_width(&p->g); r++) /* 0 or -ESTALE */
		alloc_orphan(p->a[ec_pool_node(p, 0, r)], 0,
			     r < p->g.k ? r : g.role, g.life, 20);
	ec_pool_fold(p);
}

static uint64_t without(const struct ec_pool *p, uint32_t a, uint32_t b)
{
	return p->up & ~(1u << ec_pool_node(p, 0, a)) &
	       ~(1u << ec_pool_node(p, 0, b));
}

static void read_zeros(struct ec_pool *p, uint32_t role)
{
	memset(got, 0xee, sizeof(got));
	assert_int_equal(ec_pool_read(p, 0, role, 0, BLOCK, got), 0);
	for (uint32_t i = 0; i < BLOCK; i++)
		assert_int_equal(got[i], 0);
}

static void read_truth(struct ec_pool *p, uint32_t role)
{
	memset(got, 0xee, sizeof(got));
	assert_int_equal(ec_pool_read(p, 0, role, 0, BLOCK, got), 0);
	assert_memory_equal(got, ec_pool_truth(p, 0, role), BLOCK);
}

/* It is in one parity and not in the other: with a neighbour lost as well there
 * is one equation for two. But nobody can have written to it. */
static void try_block(unsigned others, bool cancel)
{
	struct ec_block full, bare;
	struct ec_pool p;
	uint64_t all;

	open_pool(&p);
	all = p.up;
	assert_int_equal(ec_pool_take(&p, LEADER, BLOCK_PAGES, true, &full), 0);
	ec_pool_fill(&p, &full, 0, BLOCK, 60 + others);
	ec_pool_seal(&p, &full, BLOCK);
	ec_pool_fold(&p);
	open_at_some(&p, BLOCK_PAGES, others, cancel, &bare);
	assert_int_equal(ec_pool_rec(&p, LEADER, 0, bare.role).state,
			 BLOCK_FOLDED);
	p.up = without(&p, full.role, bare.role);
	read_zeros(&p, bare.role);
	read_truth(&p, full.role);
	p.up = all;
	ec_pool_close(&p);
}

static void a_block_that_not_all_have_opened_is_zeros(void **state)
{
	for (unsigned others = 0; others < 3; others++)
		try_block(others, false);
	try_block(2, true);
}

static void try_rows(unsigned others, bool cancel)
{
	struct ec_block bare;
	struct ec_pool p;
	uint64_t all;

	open_pool(&p);
	all = p.up;
	open_at_some(&p, BLOCK_ROWS, others, cancel, &bare);
	for (uint32_t kept = 0; kept < 3; kept++) {
		uint32_t a = (kept + 1) % 3, b = (kept + 2) % 3;

		p.up = without(&p, a, b);
		read_zeros(&p, a);
		read_zeros(&p, b);
		p.up = all;
	}
	ec_pool_close(&p);
}

static void rows_that_not_all_have_opened_are_zeros(void **state)
{
	for (unsigned others = 0; others < 5; others++)
		try_rows(others, false);
	try_rows(4, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_block_that_not_all_have_opened_is_zeros),
		cmocka_unit_test(rows_that_not_all_have_opened_are_zeros),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
