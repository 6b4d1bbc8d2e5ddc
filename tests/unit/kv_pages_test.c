/* tests/unit/kv_pages_test.c - pages: written by both paths, read whole,
 * decoded, found wrong, given back; nodes dying at every operation. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ec/again.h"
#include "kv/client/member.h"
#include "kv/client/pages.h"
#include "tests/lib/space_pool.h"

#define PAGE KV_PAGE_BYTES

static struct space_pool pool;
static const struct spool_shape plain = {.usable = 16u << 20,
					 .block_bytes = 256u << 10};

/* What is written, and a second copy at other places for reading back. */
static uint8_t src[KV_PAGES_MAX][PAGE], dst[KV_PAGES_MAX + 1][PAGE];
static const void *from[KV_PAGES_MAX];
static void *to[KV_PAGES_MAX];

enum order { STRAIGHT, REVERSED, PAIRS };

/* Page i of the call lies at this place of src. */
static uint32_t placed(enum order o, uint32_t i, uint32_t n)
{
	switch (o) {
	case REVERSED:
		return n - 1 - i;
	case PAIRS: /* 1 0 3 2 ...: runs of one, in two directions */
		return (i ^ 1) < n ? i ^ 1 : i;
	default:
		return i;
	}
}

static void prepare(enum order o, uint32_t n, uint32_t seed)
{
	for (uint32_t i = 0; i < n; i++) {
		uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) + i + 1;

		from[i] = src[placed(o, i, n)];
		to[i] = dst[i];
		for (uint32_t b = 0; b < PAGE; b += 8) {
			x = x * UINT64_C(6364136223846793005) + 1442695041;
			memcpy(src[placed(o, i, n)] + b, &x, 8);
		}
	}
	memset(dst, 0xee, sizeof(dst));
}

static int write_n(uint32_t n, struct kv_page *pages)
{
	return kv_pages_write(&pool.kv, from, n, pages);
}

static int read_n(uint32_t n, const struct kv_page *pages)
{
	return kv_pages_read(&pool.kv, pages, n, to, false);
}

static void assert_read(uint32_t n, const struct kv_page *pages)
{
	assert_int_equal(read_n(n, pages), 0);
	for (uint32_t i = 0; i < n; i++)
		assert_memory_equal(to[i], from[i], PAGE);
}

static struct kv_thread *me(void)
{
	return kv_thread(&pool.kv);
}

/* --- both paths, all sizes ----------------------------------------------- */

static void assert_apart(const struct kv_page *pages, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t j = 0; j < i; j++)
			assert_int_not_equal(pages[i].addr, pages[j].addr);
}

static void what_is_written_is_read(void **state)
{
	static const uint32_t sizes[] = {1,   2,   3,	8,   9,	 10,
					 11,  12,  25,	64,  86, 100,
					 191, 192, 193, 255, 256};
	struct kv_page pages[KV_PAGES_MAX];

	(void)state;
	spool_open(&pool, &plain);
	for (uint32_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++)
		for (enum order o = STRAIGHT; o <= PAIRS; o++) {
			prepare(o, sizes[s], s * 3 + o);
			assert_int_equal(write_n(sizes[s], pages), 0);
			assert_apart(pages, sizes[s]);
			assert_read(sizes[s], pages);
			kv_pages_free(&pool.kv, pages, sizes[s]);
			space_background(pool.kv.space, me(), true);
			spool_retire(&pool);
		}
	assert_true(me()->stats.row_pages > 0);
	assert_true(me()->stats.delta_pages > 0);
	assert_int_equal(me()->stats.crc_errors, 0);
	spool_close(&pool);
}

/* Other codes: one data column, many, one parity, four. */
static void every_code_fits(void **state)
{
	static const struct spool_shape shapes[] = {
		{.nodes = 2, .k = 1, .m = 1}, {.nodes = 5, .k = 1, .m = 4},
		{.nodes = 9, .k = 5, .m = 4}, {.nodes = 12, .k = 8, .m = 3},
		{.nodes = 7, .k = 4, .m = 2},
	};
	struct kv_page pages[KV_PAGES_MAX];

	(void)state;
	for (uint32_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		struct spool_shape s = shapes[i];

		s.usable = 16u << 20;
		spool_open(&pool, &s);
		for (uint32_t n = 1; n <= KV_PAGES_MAX; n += 51) {
			prepare(PAIRS, n, n);
			assert_int_equal(write_n(n, pages), 0);
			assert_read(n, pages);
		}
		for (uint32_t d = 0; d < s.m; d++)
			spool_kill(&pool, d);
		spool_adopt(&pool);
		prepare(PAIRS, 256, 256);
		assert_read(256, pages);
		spool_close(&pool);
	}
}

/* Rows: the parity blocks hold the code of the data blocks, and (k+m)/k. */
static void rows_carry_their_parity(void **state)
{
	const struct group *g = &pool.layout.group;
	struct kv_page pages[KV_PAGES_MAX];
	uint64_t stripe;
	uint32_t role, at;
	const void *data[3];
	uint8_t want[2][65536];
	void *parity[2] = {want[0], want[1]};

	(void)state;
	spool_open(&pool, &(struct spool_shape){.usable = 16u << 20});
	prepare(STRAIGHT, 40, 1);
	assert_int_equal(write_n(40, pages), 0);
	assert_int_equal(me()->stats.row_pages, 40);
	assert_int_equal(me()->stats.delta_pages, 0);
	assert_int_equal(me()->stats.page_write.batches, 1);
	assert_int_equal(me()->stats.page_write.bytes, (40 + 28) * PAGE);
	assert_int_equal(group_locate(g, pages[0].addr, &stripe, &role, &at),
			 0);
	for (uint32_t c = 0; c < 3; c++)
		data[c] = spool_mem(&pool, group_addr(g, stripe, c, 0));
	code_encode(pool.code, 65536, data, parity);
	for (uint32_t j = 0; j < 2; j++)
		assert_memory_equal(
			want[j],
			spool_mem(&pool, group_addr(g, stripe, 3 + j, 0)),
			65536);
	spool_close(&pool);
}

static void padding_is_marked(void **state)
{
	const struct group *g = &pool.layout.group;
	struct kv_page pages[16];
	uint64_t stripe;
	uint32_t role, at, dead = 0;

	(void)state;
	spool_open(&pool, &plain);
	prepare(STRAIGHT, 10, 1); /* rows of 4, 4, 2 */
	assert_int_equal(write_n(10, pages), 0);
	space_background(pool.kv.space, me(), true);
	assert_int_equal(group_locate(g, pages[0].addr, &stripe, &role, &at),
			 0);
	for (uint32_t c = 0; c < 3; c++)
		dead += spool_rec(&pool, spool_node(&pool, stripe, 3), stripe,
				  c)
				.dead;
	assert_int_equal(dead, 2 * PAGE_UNITS);
	spool_close(&pool);
}

#define LATER_LIFE 2u

/* A leader was quicker than the first mark: the roles have another life. */
static int open_again_first(struct space_pool *p, const struct fab_op *op)
{
	const struct group *g = &p->layout.group;
	const struct kv_page *page = p->arg;
	uint64_t stripe;
	uint32_t role, at;

	if (op->opcode != FAB_CALL || op->call != PROTO_MARK)
		return 0;
	p->before = NULL;
	assert_int_equal(group_locate(g, page->addr, &stripe, &role, &at), 0);
	for (uint32_t node = 0; node < g->nodes; node++)
		for (role = 0; role < g->k; role++) {
			again_split(p->a[node], stripe, role);
			again_resume(p->a[node], stripe, role, LATER_LIFE);
		}
	return 0;
}

static void padding_is_marked_in_a_later_life_too(void **state)
{
	const struct group *g = &pool.layout.group;
	struct kv_page pages[16];
	uint64_t stripe;
	uint32_t role, at, dead = 0;

	(void)state;
	spool_open(&pool, &plain);
	prepare(STRAIGHT, 10, 1); /* rows of 4, 4, 2 */
	assert_int_equal(write_n(10, pages), 0);
	assert_int_equal(group_locate(g, pages[0].addr, &stripe, &role, &at),
			 0);
	space_background(pool.kv.space, me(), false); /* sees it quiet */
	atomic_fetch_add(&pool.now, SPACE_ROWS_IDLE_NS + 1);
	pool.arg = pages;
	pool.before = open_again_first;
	space_background(pool.kv.space, me(), true);
	assert_null(pool.before);
	space_background(pool.kv.space, me(), true);
	assert_int_equal(marks_waiting(pool.kv.space->marks), 0);
	for (uint32_t c = 0; c < 3; c++) {
		struct block_rec rec = spool_rec(
			&pool, spool_node(&pool, stripe, 3), stripe, c);

		assert_int_equal(rec.life, LATER_LIFE);
		dead += rec.dead;
	}
	assert_int_equal(dead, 2 * PAGE_UNITS);
	spool_close(&pool);
}

static void freed_rows_are_given_back(void **state)
{
	struct kv_page pages[KV_PAGES_MAX];
	struct alloc_usage u;

	(void)state;
	spool_open(&pool, &plain);
	prepare(STRAIGHT, 250, 1);
	assert_int_equal(write_n(250, pages), 0);
	kv_pages_free(&pool.kv, pages, 250);
	assert_true(marks_waiting(pool.kv.space->marks) <= 8);
	atomic_fetch_add(&pool.now, SPACE_ROWS_IDLE_NS + 1);
	space_background(pool.kv.space, me(), true); /* sees it quiet */
	atomic_fetch_add(&pool.now, SPACE_IDLE_NS + 1);
	space_background(pool.kv.space, me(), true);
	space_background(pool.kv.space, me(), true);
	assert_true(spool_retire(&pool) >= 1);
	for (uint32_t i = 0; i < 5; i++) {
		alloc_usage(pool.a[i], &u);
		assert_int_equal(u.own_blocks, 0);
	}
	spool_close(&pool);
}

static void pages_of_the_delta_path_are_reused(void **state)
{
	struct kv_page a[4], b[4];

	(void)state;
	spool_open(&pool, &plain);
	prepare(PAIRS, 4, 1);
	assert_int_equal(write_n(4, a), 0);
	assert_int_equal(me()->stats.delta_pages, 4);
	assert_int_equal(me()->stats.page_write.batches, 1);
	kv_pages_free(&pool.kv, a, 4);
	prepare(STRAIGHT, 4, 2);
	assert_int_equal(write_n(4, b), 0);
	assert_int_equal(a[0].addr, b[0].addr);
	assert_read(4, b);
	/* Who still has the old names learns that they are stale. */
	assert_int_equal(read_n(4, a), -ESTALE);
	assert_int_equal(kv_pages_read(&pool.kv, a, 4, to, true), -EIO);
	spool_close(&pool);
}

/* --- reading ------------------------------------------------------------- */

static void holes_are_zeros_and_nonsense_is_refused(void **state)
{
	struct kv_page pages[3];
	uint8_t zeros[PAGE] = {0};

	(void)state;
	spool_open(&pool, &plain);
	prepare(STRAIGHT, 3, 1);
	assert_int_equal(write_n(3, pages), 0);
	pages[1] = (struct kv_page){0, 0};
	assert_int_equal(read_n(3, pages), 0);
	assert_memory_equal(dst[0], src[0], PAGE);
	assert_memory_equal(dst[1], zeros, PAGE);
	assert_memory_equal(dst[2], src[2], PAGE);
	pages[1].addr = pages[0].addr + 64;
	assert_int_equal(read_n(3, pages), -EINVAL);
	pages[1].addr = fab_addr_make(9, fab_addr_offset(pages[0].addr));
	assert_int_equal(read_n(3, pages), -EINVAL);
	pages[1].addr = 4096;
	assert_int_equal(read_n(3, pages), -EINVAL);
	kv_pages_free(&pool.kv, pages + 1, 1); /* passed over */
	assert_int_equal(kv_pages_write(&pool.kv, from, 257, NULL), -EINVAL);
	assert_int_equal(kv_pages_write(&pool.kv, from, 0, NULL), 0);
	from[1] = NULL;
	assert_int_equal(write_n(3, pages), -EINVAL);
	assert_int_equal(read_n(0, pages), 0);
	spool_close(&pool);
}

static void runs_are_read_at_once_where_they_are_adjacent(void **state)
{
	struct kv_page pages[90];
	uint64_t was;

	(void)state;
	spool_open(&pool, &plain);
	prepare(STRAIGHT, 90, 1);
	assert_int_equal(write_n(90, pages), 0);
	was = me()->stats.page_read.ops;
	assert_read(90, pages);
	assert_int_equal(me()->stats.page_read.batches, 1);
	assert_int_equal(me()->stats.page_read.ops - was, 3); /* columns */
	spool_close(&pool);
}

static void a_damaged_page_is_mended_by_the_others(void **state)
{
	struct kv_page pages[48];

	(void)state;
	spool_open(&pool, &plain);
	prepare(STRAIGHT, 48, 1);
	assert_int_equal(write_n(48, pages), 0);
	assert_int_equal(write_n(4, pages), 0); /* the first 4 by deltas */
	((uint8_t *)spool_mem(&pool, pages[2].addr))[100] ^= 1;
	((uint8_t *)spool_mem(&pool, pages[30].addr))[4095] ^= 0x80;
	assert_read(48, pages);
	assert_int_equal(me()->stats.crc_errors, 2);
	assert_int_equal(kv_pages_read(&pool.kv, pages, 48, to, true), 0);
	pages[30].crc ^= 1; /* now nobody can */
	assert_int_equal(read_n(48, pages), -ESTALE);
	assert_int_equal(kv_pages_read(&pool.kv, pages, 48, to, true), -EIO);
	spool_close(&pool);
}

/* --- nodes that are away ------------------------------------------------- */

static void any_two_nodes_may_die(void **state)
{
	struct kv_page big[100], few[8];

	(void)state;
	for (uint32_t a = 0; a < 5; a++)
		for (uint32_t b = 0; b < a; b++) {
			spool_open(&pool, &plain);
			prepare(REVERSED, 100, a * 5 + b);
			assert_int_equal(write_n(100, big), 0);
			assert_int_equal(kv_pages_write(&pool.kv, from, 8, few),
					 0);
			spool_kill(&pool, a);
			assert_read(100, big); /* before it is known, too */
			spool_adopt(&pool);
			assert_read(8, few);
			spool_kill(&pool, b);
			spool_adopt(&pool);
			assert_read(100, big);
			assert_read(8, few);
			/* and pages are still written, all by deltas */
			assert_int_equal(write_n(100, big), 0);
			assert_read(100, big);
			kv_pages_free(&pool.kv, big, 100);
			spool_close(&pool);
		}
}

static uint32_t fuse, victim;

static int kill_at_fuse(struct space_pool *p, const struct fab_op *op)
{
	(void)op;
	if (fuse != 0 && --fuse == 0)
		spool_kill(p, victim);
	return 0;
}

static void adopt_asleep(struct space_pool *p)
{
	if (p->view.epoch > member_epoch(p->kv.member))
		spool_adopt(p);
}

/* A node dies at the n-th remote operation of a write, for every n and node:
 * the write succeeds, and what it wrote is whole. */
static void a_node_may_die_at_any_operation(void **state)
{
	static const uint32_t sizes[] = {3, 40};
	struct kv_page pages[64];
	uint32_t met = 0;

	(void)state;
	for (uint32_t s = 0; s < 2; s++)
		for (victim = 0; victim < 5; victim++)
			for (uint32_t n = 1;; n++) {
				bool died;

				spool_open(&pool, &plain);
				prepare(PAIRS, sizes[s], n);
				pool.asleep = adopt_asleep;
				pool.before = kill_at_fuse;
				fuse = n;
				assert_int_equal(write_n(sizes[s], pages), 0);
				died = fuse == 0;
				fuse = 0;
				assert_read(sizes[s], pages);
				met += died;
				if (pool.view.epoch > 1)
					adopt_asleep(&pool);
				/* one more, of those that are left */
				spool_kill(&pool, (victim + 2) % 5);
				spool_adopt(&pool);
				assert_read(sizes[s], pages);
				spool_close(&pool);
				if (!died)
					break;
			}
	assert_true(met > 2 * 5 * 5); /* it did bite */
}

static void a_node_that_hangs_is_not_waited_for_for_ever(void **state)
{
	struct kv_page pages[4], good[4];

	(void)state;
	spool_open(&pool, &plain);
	pool.kv.opts.op_timeout_ms = 700;
	prepare(STRAIGHT, 4, 1);
	assert_int_equal(write_n(4, good), 0);
	pool.hung = UINT64_C(0x1f);
	assert_int_equal(write_n(4, pages), -ETIMEDOUT);
	assert_int_equal(read_n(4, good), -ETIMEDOUT);
	pool.hung = 0;
	assert_read(4, good);
	assert_int_equal(write_n(4, pages), 0);
	assert_read(4, pages);
	spool_close(&pool);
}

/* The pages of a call that failed are free again. */
static void a_full_pool_keeps_nothing_of_a_failed_write(void **state)
{
	struct kv_page pages[KV_PAGES_MAX];
	uint32_t n = 0;
	int rc;

	(void)state;
	spool_open(&pool, &(struct spool_shape){.usable = 2u << 20});
	prepare(STRAIGHT, 100, 1);
	while ((rc = write_n(100, pages)) == 0) {
		assert_true(n++ < 100);
		spool_fold(&pool);
	}
	assert_int_equal(rc, -ENOSPC);
	assert_true(n >=
		    4); /* 2 MiB are 512 pages, rows and blocks are coarse */
	n = 0;
	while ((rc = write_n(1, pages)) == 0) /* the last ones are there */
		assert_true(n++ < 400);
	assert_int_equal(rc, -ENOSPC);
	assert_int_equal(me()->stats.page_write.errors, 2);
	spool_close(&pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read),
		cmocka_unit_test(every_code_fits),
		cmocka_unit_test(rows_carry_their_parity),
		cmocka_unit_test(padding_is_marked),
		cmocka_unit_test(padding_is_marked_in_a_later_life_too),
		cmocka_unit_test(freed_rows_are_given_back),
		cmocka_unit_test(pages_of_the_delta_path_are_reused),
		cmocka_unit_test(holes_are_zeros_and_nonsense_is_refused),
		cmocka_unit_test(runs_are_read_at_once_where_they_are_adjacent),
		cmocka_unit_test(a_damaged_page_is_mended_by_the_others),
		cmocka_unit_test(any_two_nodes_may_die),
		cmocka_unit_test(a_node_may_die_at_any_operation),
		cmocka_unit_test(a_node_that_hangs_is_not_waited_for_for_ever),
		cmocka_unit_test(a_full_pool_keeps_nothing_of_a_failed_write),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
