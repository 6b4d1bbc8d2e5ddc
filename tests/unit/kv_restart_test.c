/* tests/unit/kv_restart_test.c - what a restart makes of a stripe that its
 * nodes' cuts call different things. Power losses, of whole pools, are in
 * tests/crash/power_loss_test.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ec/block.h"
#include "ec/code.h"
#include "kv/node/cut.h"
#include "kv/node/restart.h"
#include "kv/slot.h"

#define NODES  5u
#define K      3u
#define M      2u
#define STRIPE 4u
#define LIFE   9u
#define BLOCK  (64u << 10)

/* A role of the stripe, as its node's cut tells it. */
struct told {
	uint8_t state, kind;
};

struct pool {
	struct layout_super super;
	char *region[NODES];
	struct cut cut[NODES];
};

static const struct group *group_of(const struct pool *p)
{
	return &p->super.layout.group;
}

static char *block_at(const struct pool *p, uint32_t role)
{
	uint32_t node, block;

	group_member(group_of(p), STRIPE, role, &node, &block);
	return p->region[node] + group_block_off(group_of(p), block);
}

static struct block_rec rec_at(const struct pool *p, uint32_t role,
			       uint32_t member)
{
	uint32_t node, block;
	struct block_rec rec;

	group_member(group_of(p), STRIPE, member, &node, &block);
	block_load((void *)(p->region[node] +
			    group_rec_off(group_of(p), block, role)),
		   &rec);
	return rec;
}

static void tell_block(struct pool *p, uint32_t node, uint32_t block,
		       const struct told *of)
{
	static const uint64_t map[BLOCK / GROUP_UNIT_BYTES / 64] = {0xf0};
	struct cut_block b = {.block = block};
	uint64_t stripe;
	uint32_t role;

	group_of_block(group_of(p), node, block, &stripe, &role);
	if (role >= K)
		return;
	if (stripe == STRIPE) {
		b.state = of[role].state;
		b.kind = of[role].kind;
		b.life = LIFE;
	}
	cut_add_block(&p->cut[node], &b, map, sizeof(map));
}

static void tell_node(struct pool *p, uint32_t node, const struct told *of)
{
	size_t bytes = slot_shard_bytes(p->super.layout.index_groups);
	char *slots = calloc(1, bytes);

	assert_non_null(slots);
	cut_begin(&p->cut[node], &p->super, 1);
	for (uint32_t b = 0; b < group_of(p)->blocks; b++)
		tell_block(p, node, b, of);
	cut_add_shard(&p->cut[node], node, slots, bytes);
	assert_int_equal(p->cut[node].failed, 0);
	free(slots);
}

static void pool_open(struct pool *p)
{
	struct layout_shape shape = {.nodes = NODES,
				     .k = K,
				     .m = M,
				     .usable = 2u << 20,
				     .block_bytes = BLOCK,
				     .slots = 256,
				     .clients = 1};

	*p = (struct pool){.super = {.secret = 12345, .uuid = "0123"}};
	assert_int_equal(layout_of(&shape, &p->super.layout), 0);
	for (uint32_t n = 0; n < NODES; n++) {
		p->region[n] = aligned_alloc(4096, p->super.layout.size);
		assert_non_null(p->region[n]);
		memset(p->region[n], 0x5a, p->super.layout.size);
	}
	for (uint32_t i = 0; i < K; i++)
		memset(block_at(p, i), (int)(i + 1), BLOCK);
}

static void pool_close(struct pool *p)
{
	for (uint32_t n = 0; n < NODES; n++) {
		cut_free(&p->cut[n]);
		free(p->region[n]);
	}
}

static void restart(struct pool *p, const struct told *of)
{
	static const int fd[NODES] = {-1, -1, -1, -1, -1};
	struct restart_opts o = {.super = &p->super,
				 .region = (void *const *)p->region,
				 .region_fd = fd,
				 .cut = p->cut,
				 .index_version = 3};
	struct restart_report report;

	for (uint32_t n = 0; n < NODES; n++)
		tell_node(p, n, of);
	assert_int_equal(restart_run(&o, &report), 0);
}

/* Parity is that of what the data blocks hold now. */
static void check_parity(const struct pool *p)
{
	char *sum = malloc((size_t)M * BLOCK);
	const void *data[K];
	void *parity[M];
	struct code *code;

	assert_non_null(sum);
	for (uint32_t i = 0; i < K; i++)
		data[i] = block_at(p, i);
	for (uint32_t j = 0; j < M; j++)
		parity[j] = sum + (size_t)j * BLOCK;
	assert_int_equal(code_open(K, M, &code), 0);
	code_encode(code, BLOCK, data, parity);
	for (uint32_t j = 0; j < M; j++)
		assert_memory_equal(parity[j], block_at(p, K + j), BLOCK);
	code_close(code);
	free(sum);
}

/* @kind 0: it is free, and zeros. Else all there, in all members' records. */
static void check_role(const struct pool *p, uint32_t role, uint8_t kind)
{
	const char *at = block_at(p, role), *last = at + BLOCK - 1;

	assert_int_equal(*at, kind == 0 ? 0 : role + 1);
	assert_memory_equal(at, at + 1, (size_t)(last - at));
	for (uint32_t member = 0; member < K + M; member++) {
		struct block_rec rec = rec_at(p, role, member);
		uint8_t state = member == role && kind != BLOCK_ROWS
					? BLOCK_SEALED
					: BLOCK_FOLDED;

		if (member < K && member != role)
			continue;
		assert_int_equal(rec.life, LIFE);
		assert_int_equal(rec.state, kind == 0 ? BLOCK_FREE : state);
		assert_int_equal(rec.kind, kind);
		assert_int_equal(rec.dead, kind == 0 ? 0 : 4);
	}
}

static void becomes(const struct told *of, const uint8_t *kind)
{
	struct pool p;

	pool_open(&p);
	restart(&p, of);
	for (uint32_t role = 0; role < K; role++)
		check_role(&p, role, kind[role]);
	check_parity(&p);
	pool_close(&p);
}

/* again.h, A7: one role has left, one is known to be of its own, and the news
 * has not come to the third. What is not FREE lives. */
static void rows_that_are_half_split_stay(void **state)
{
	(void)state;
	becomes((struct told[]){{BLOCK_FREE, 0},
				{BLOCK_FOLDED, BLOCK_ROWS},
				{BLOCK_FOLDED, BLOCK_PAGES}},
		(uint8_t[]){0, BLOCK_PAGES, BLOCK_PAGES});
	becomes((struct told[]){{BLOCK_RETIRING, BLOCK_PAGES},
				{BLOCK_FOLDED, BLOCK_ROWS},
				{BLOCK_FOLDED, BLOCK_ROWS}},
		(uint8_t[]){BLOCK_PAGES, BLOCK_PAGES, BLOCK_PAGES});
}

/* No role was known to be of its own: it was leaving as a whole. */
static void rows_that_are_half_free_are_free(void **state)
{
	(void)state;
	becomes((struct told[]){{BLOCK_FREE, 0},
				{BLOCK_FOLDED, BLOCK_ROWS},
				{BLOCK_FREE, BLOCK_PAGES}},
		(uint8_t[]){0, 0, 0});
}

static void whole_rows_stay_rows(void **state)
{
	(void)state;
	becomes((struct told[]){{BLOCK_FOLDED, BLOCK_ROWS},
				{BLOCK_FOLDED, BLOCK_ROWS},
				{BLOCK_FOLDED, BLOCK_ROWS}},
		(uint8_t[]){BLOCK_ROWS, BLOCK_ROWS, BLOCK_ROWS});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_that_are_half_split_stay),
		cmocka_unit_test(rows_that_are_half_free_are_free),
		cmocka_unit_test(whole_rows_stay_rows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
