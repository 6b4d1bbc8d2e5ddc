/* tests/unit/ec_group_test.c - geometry and block records. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ec/block.h"
#include "ec/group.h"

static struct group shape(uint32_t n, uint32_t k, uint32_t m, uint32_t periods)
{
	struct group g = {.nodes = n,
			  .k = k,
			  .m = m,
			  .block_bytes = 64u << 10,
			  .blocks = periods * (k + m),
			  .deltas = 4};

	g.rec_off = 4096;
	g.map_off = (g.rec_off + group_rec_bytes(&g) + 4095) & ~4095ull;
	g.delta_off = (g.map_off + group_map_bytes(&g) + 4095) & ~4095ull;
	g.block_off = g.delta_off + 4ull * g.block_bytes;
	return g;
}

/* Blocks <-> (stripe, role) is one to one, and a stripe's roles lie on as many
 * nodes. */
static void check_bijection(const struct group *g)
{
	uint64_t stripes = group_stripes(g), s;
	uint32_t w = group_width(g), role, node, block;
	uint8_t *seen = calloc(stripes * w, 1);

	assert_int_equal(group_check(g), 0);
	assert_int_equal(stripes * w, (uint64_t)g->nodes * g->blocks);
	for (uint32_t n = 0; n < g->nodes; n++) {
		for (uint32_t b = 0; b < g->blocks; b++) {
			group_of_block(g, n, b, &s, &role);
			assert_true(s < stripes && role < w);
			assert_int_equal(seen[s * w + role]++, 0);
			group_member(g, s, role, &node, &block);
			assert_int_equal(node, n);
			assert_int_equal(block, b);
			assert_int_equal((s + role) % g->nodes, n);
		}
	}
	for (s = 0; s < stripes; s++) {
		uint64_t nodes = 0;

		for (role = 0; role < w; role++) {
			group_member(g, s, role, &node, &block);
			nodes |= UINT64_C(1) << node;
		}
		assert_int_equal(__builtin_popcountll(nodes), w);
	}
	free(seen);
}

static void blocks_and_roles_are_one_to_one(void **state)
{
	unsigned shapes = 0;

	for (uint32_t k = 1; k <= 6; k++) {
		for (uint32_t m = 1; m <= 4; m++) {
			for (uint32_t n = k + m; n <= k + m + 5; n++) {
				struct group g = shape(n, k, m, 1 + n % 3);

				check_bijection(&g);
				shapes++;
			}
		}
	}
	assert_int_equal(shapes, 6 * 4 * 6);
}

/* The table in group.h. */
static void the_picture_is_true(void **state)
{
	static const unsigned picture[5][5] = {{0, 1, 2, 3, 4},
					       {4, 0, 1, 2, 3},
					       {3, 4, 0, 1, 2},
					       {2, 3, 4, 0, 1},
					       {1, 2, 3, 4, 0}};
	struct group g = shape(5, 3, 2, 2);
	uint32_t role;
	uint64_t s;

	for (uint32_t b = 0; b < 10; b++) {
		for (uint32_t n = 0; n < 5; n++) {
			group_of_block(&g, n, b, &s, &role);
			assert_int_equal(s, picture[b % 5][n] + b / 5 * 5);
			assert_int_equal(role, b % 5);
		}
	}
}

static void an_address_is_found_again(void **state)
{
	struct group g = shape(7, 3, 2, 3);
	uint32_t role, at;
	uint64_t s;

	for (uint64_t want = 0; want < group_stripes(&g); want++) {
		for (uint32_t r = 0; r < 5; r++) {
			fab_addr a = group_addr(&g, want, r, 65535);

			assert_int_equal(group_locate(&g, a, &s, &role, &at),
					 0);
			assert_int_equal(s, want);
			assert_int_equal(role, r);
			assert_int_equal(at, 65535);
		}
	}
	assert_int_equal(group_locate(&g, fab_addr_make(0, g.block_off - 1), &s,
				      &role, &at),
			 -ERANGE);
	assert_int_equal(
		group_locate(&g, fab_addr_make(7, g.block_off), &s, &role, &at),
		-ERANGE);
	assert_int_equal(
		group_locate(
			&g,
			fab_addr_make(6, g.block_off + (uint64_t)g.blocks *
							       g.block_bytes),
			&s, &role, &at),
		-ERANGE);
}

static void every_record_and_bitmap_has_its_own_place(void **state)
{
	struct group g = shape(5, 3, 2, 2);
	uint64_t last = 0, last_map = 0;

	for (uint32_t b = 0; b < g.blocks; b++) {
		for (uint32_t r = 0; r < 3; r++) {
			uint64_t off = group_rec_off(&g, b, r);
			uint64_t map = group_map_off(&g, b, r);

			assert_true(off >= last + (last != 0 ? 64 : 0));
			assert_true(map >=
				    last_map + (last_map != 0 ? 128 : 0));
			last = off;
			last_map = map;
		}
	}
	assert_int_equal(last + 64, g.rec_off + group_rec_bytes(&g));
	assert_int_equal(last_map + 128, g.map_off + group_map_bytes(&g));
	assert_int_equal(group_delta_off(&g, 3), g.delta_off + 3 * 65536);
	assert_int_equal(group_block_off(&g, 9), g.block_off + 9 * 65536);
}

static void a_shape_that_breaks_a_rule_is_refused(void **state)
{
	const struct group good = shape(5, 3, 2, 2);
	struct group g;

#define BAD(change)                                                            \
	do {                                                                   \
		g = good;                                                      \
		change;                                                        \
		assert_int_equal(group_check(&g), -EINVAL);                    \
	} while (0)
	assert_int_equal(group_check(&good), 0);
	BAD(g.nodes = 4);
	BAD(g.nodes = 64);
	BAD(g.k = 0);
	BAD(g.m = 0);
	BAD(g.m = 5; g.nodes = 8; g.blocks = 8);
	BAD(g.block_bytes = 100000);
	BAD(g.block_bytes = 32u << 10);
	BAD(g.block_bytes = 32u << 20);
	BAD(g.blocks = 9);
	BAD(g.blocks = 0);
	BAD(g.deltas = 0);
	BAD(g.rec_off = 0);
	BAD(g.block_off += 64);
	BAD(g.map_off = g.rec_off);
	BAD(g.delta_off = g.block_off + 4096);
	BAD(g.block_off = UINT64_C(1) << 56);
#undef BAD
}

static void only_the_picture_s_moves_are_legal(void **state)
{
	static const char *const legal =
		/* from FREE OPEN SEALED FOLDING FOLDED RETIRING */
		".x...."  /* free */
		"x.x.x."  /* open */
		"x..x.x"  /* sealed */
		"....xx"  /* folding */
		".....x"  /* folded */
		"xxx.x."; /* retiring */

	for (uint8_t f = 0; f < 6; f++)
		for (uint8_t t = 0; t < 6; t++)
			assert_int_equal(block_may_move(f, t),
					 legal[f * 6 + t] == 'x');
	assert_false(block_may_move(6, 0));
	assert_false(block_may_move(0, 6));
	assert_string_equal(block_state_name(BLOCK_RETIRING), "retiring");
	assert_string_equal(block_state_name(77), "unknown");
}

static void a_published_record_is_loaded_whole(void **state)
{
	struct block_rec mem = {0}, in = {0}, out;

	in.seq = 99; /* not looked at */
	in.state = BLOCK_OPEN;
	in.kind = BLOCK_PAGES;
	in.life = 3;
	in.sealed = UINT64_MAX;
	block_publish(&mem, &in);
	block_load(&mem, &out);
	assert_int_equal(out.seq, 2);
	in.seq = 2;
	assert_memory_equal(&out, &in, sizeof(out));
	block_publish(&mem, &in);
	block_load(&mem, &out);
	assert_int_equal(out.seq, 4);
}

static void a_record_from_elsewhere_is_checked(void **state)
{
	const struct group g = shape(5, 3, 2, 2);
	const struct block_rec good = {.state = BLOCK_FOLDING,
				       .kind = 1,
				       .delta = 4,
				       .progress = 4096,
				       .used = 65536,
				       .dead = 1024};
	struct block_rec r;

#define BAD(change)                                                            \
	do {                                                                   \
		r = good;                                                      \
		change;                                                        \
		assert_int_equal(block_rec_check(&g, &r), -EBADMSG);           \
	} while (0)
	assert_int_equal(block_rec_check(&g, &good), 0);
	BAD(r.state = 6);
	BAD(r.kind = 0);
	BAD(r.kind = 4);
	BAD(r.delta = 5);
	BAD(r.progress = 100);
	BAD(r.progress = 65536 + 4096);
	BAD(r.used = 65537);
	BAD(r.dead = 1025);
#undef BAD
}

/* D1, as block_in_parity() and block_in_flux() say it. */
static void d1_says_which_bytes_are_in(void **state)
{
	struct block_rec r = {.kind = BLOCK_PAGES,
			      .state = BLOCK_FOLDING,
			      .progress = 8192,
			      .busy = 2};
	uint32_t lo = 4096, hi = 20000;

	assert_true(block_in_parity(&r, &lo, &hi));
	assert_int_equal(lo, 4096);
	assert_int_equal(hi, 8192);
	assert_true(block_in_flux(&r, 0, 8193));
	assert_true(block_in_flux(&r, 16383, 16384));
	assert_false(block_in_flux(&r, 0, 8192));
	assert_false(block_in_flux(&r, 16384, 20000));
	lo = 8192;
	hi = 20000;
	assert_false(block_in_parity(&r, &lo, &hi));
	r.state = BLOCK_RETIRING;
	lo = 4096;
	hi = 20000;
	assert_true(block_in_parity(&r, &lo, &hi));
	assert_int_equal(lo, 8192);
	assert_int_equal(hi, 20000);
	lo = 0;
	hi = 8192;
	assert_false(block_in_parity(&r, &lo, &hi));
	r.kind = BLOCK_ROWS;
	r.state = BLOCK_OPEN;
	lo = 0;
	hi = 100;
	assert_true(block_in_parity(&r, &lo, &hi));
	assert_int_equal(hi, 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blocks_and_roles_are_one_to_one),
		cmocka_unit_test(the_picture_is_true),
		cmocka_unit_test(an_address_is_found_again),
		cmocka_unit_test(every_record_and_bitmap_has_its_own_place),
		cmocka_unit_test(a_shape_that_breaks_a_rule_is_refused),
		cmocka_unit_test(only_the_picture_s_moves_are_legal),
		cmocka_unit_test(a_published_record_is_loaded_whole),
		cmocka_unit_test(a_record_from_elsewhere_is_checked),
		cmocka_unit_test(d1_says_which_bytes_are_in),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
