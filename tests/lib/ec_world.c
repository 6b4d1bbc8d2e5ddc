/* tests/lib/ec_world.c - see ec_world.h. */
#include "tests/lib/ec_world.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define UNITS  (WORLD_BLOCK / GROUP_UNIT_BYTES)
#define PIECE  (64u << 10)
#define NOBODY UINT32_MAX

uint64_t world_dice(struct world *w, uint64_t n)
{
	return ec_pool_mix(w->seed++) % n;
}

/* --- what clients do ------------------------------------------------------ */

uint32_t world_pick(struct world *w, uint8_t place)
{
	uint32_t from = (uint32_t)world_dice(w, WORLD_LIVING);

	for (uint32_t n = 0; n < WORLD_LIVING; n++)
		if (w->place[(from + n) % WORLD_LIVING] == place)
			return (from + n) % WORLD_LIVING;
	return WORLD_LIVING;
}

static void take(struct world *w)
{
	static const uint8_t kinds[] = {BLOCK_PAGES, BLOCK_RECORDS, BLOCK_ROWS};
	uint32_t leader = (uint32_t)world_dice(w, w->p.g.nodes);
	uint32_t i = world_pick(w, NONE);
	int rc;

	if (i == WORLD_LIVING || !ec_pool_is_up(&w->p, leader))
		return;
	rc = ec_pool_take(&w->p, leader, kinds[world_dice(w, 3)], false,
			  &w->b[i]);
	if (rc != 0) {
		assert_true(rc == -ENOSPC || rc == -EAGAIN || rc == -EBUSY ||
			    rc == -EINPROGRESS);
		return;
	}
	w->place[i] = OPEN;
	w->used[i] = 4096;
	ec_pool_fill(&w->p, &w->b[i], 0, 4096, world_dice(w, UINT64_MAX));
}

static void write_more(struct world *w)
{
	uint32_t i = world_pick(w, OPEN), room;

	if (i == WORLD_LIVING || w->used[i] == WORLD_BLOCK)
		return;
	room = (WORLD_BLOCK - w->used[i]) / 4096;
	room = 4096 * (1 + (uint32_t)world_dice(w, room));
	ec_pool_fill(&w->p, &w->b[i], w->used[i], room,
		     world_dice(w, UINT64_MAX));
	w->used[i] += room;
}

void world_close_one(struct world *w, uint32_t i)
{
	if (world_dice(w, 5) == 0) {
		ec_pool_orphan(&w->p, &w->b[i]);
		w->used[i] = WORLD_BLOCK;
	} else {
		ec_pool_seal(&w->p, &w->b[i], w->used[i]);
	}
	w->place[i] = SEALED;
}

static void end_open(struct world *w)
{
	uint32_t i = world_pick(w, world_dice(w, 2) == 0 ? OPEN : STOPPED);

	if (i == WORLD_LIVING)
		return;
	if (w->place[i] == OPEN && world_dice(w, 6) == 0) {
		ec_pool_cancel(&w->p, &w->b[i]);
		w->place[i] = NONE;
	} else {
		world_close_one(w, i);
	}
}

/* The leader hears of it later than the others. */
static void mark_late(struct world *w, const struct ec_block *b, uint32_t role,
		      uint32_t at)
{
	uint32_t leader = ec_pool_leader(&w->p, b->stripe);

	if (w->late || leader == NOBODY)
		return;
	for (uint32_t r = 0; r < group_width(&w->p.g); r++) {
		uint32_t node = ec_pool_node(&w->p, b->stripe, r);

		if ((r == role || r >= w->p.g.k) && node != leader &&
		    ec_pool_is_member(&w->p, node))
			assert_int_equal(alloc_mark(w->p.a[node], b->stripe,
						    role, b->life, at, 1),
					 0);
	}
	w->late = true;
	w->late_b = *b;
	w->late_role = role;
	w->late_at = at;
	w->lates++;
}

static void mark_late_ends(struct world *w)
{
	if (w->late)
		ec_pool_mark(&w->p, &w->late_b, w->late_role, w->late_at, 1);
	w->late = false;
}

static void mark(struct world *w)
{
	uint32_t i = world_pick(w, SEALED), units, k = w->p.g.k;
	const struct ec_block *b = &w->b[i];
	bool rows;

	if (i == WORLD_LIVING)
		return;
	rows = b->kind == BLOCK_ROWS;
	units = w->used[i] / GROUP_UNIT_BYTES;
	if (world_dice(w, 3) != 0) {
		mark_late(w, b, rows ? (uint32_t)world_dice(w, k) : b->role,
			  (uint32_t)world_dice(w, units));
		return;
	}
	mark_late_ends(w); /* or it might be of what is given back by then */
	for (uint32_t r = rows ? 0 : b->role; r < (rows ? k : b->role + 1); r++)
		ec_pool_mark(&w->p, b, r, 0, units);
	w->place[i] = NONE;
}

static void work(struct world *w)
{
	uint32_t node = (uint32_t)world_dice(w, w->p.g.nodes);

	if (ec_pool_is_member(&w->p, node))
		fold_work(w->p.a[node], &w->p.fab,
			  1 + (uint32_t)world_dice(w, 100000));
}

void world_step(struct world *w)
{
	if (world_dice(w, 3) == 0)
		mark_late_ends(w);
	switch (world_dice(w, 9)) {
	case 0:
	case 1:
		take(w);
		break;
	case 2:
	case 3:
		write_more(w);
		break;
	case 4:
		end_open(w);
		break;
	case 5:
		mark(w);
		break;
	case 6:
		for (uint64_t n = world_dice(w, 4); n > 0; n--)
			w->retired += ec_pool_retire_step(&w->p) == 2;
		break;
	default:
		work(w);
	}
}

/* --- deaths --------------------------------------------------------------- */

static bool is_on(const struct world *w, const struct ec_block *b,
		  uint32_t node)
{
	const struct ec_pool *p = &w->p;

	for (uint32_t r = 0; b->kind == BLOCK_ROWS && r < group_width(&p->g);
	     r++)
		if (ec_pool_node(p, b->stripe, r) == node)
			return true;
	return ec_pool_node(p, b->stripe, b->role) == node;
}

/* Clients give up open blocks that are on it; of others its delta. */
void world_die(struct world *w, uint32_t node)
{
	mark_late_ends(w);
	ec_pool_kill(&w->p, node);
	for (uint32_t i = 0; i < WORLD_LIVING; i++) {
		if (w->place[i] != OPEN && w->place[i] != STOPPED)
			continue;
		if (is_on(w, &w->b[i], node))
			w->place[i] = STOPPED;
		ec_pool_forget(&w->p, &w->b[i], node);
	}
	w->deaths++;
}

/* What lacks a delta on the new node is closed; its seal may come later. */
void world_replace(struct world *w, uint32_t node)
{
	for (uint32_t i = 0; i < WORLD_LIVING; i++)
		if (w->place[i] == OPEN)
			for (uint32_t j = 0; j < w->p.g.m; j++)
				if (w->b[i].delta[j] == 0)
					w->place[i] = STOPPED;
	if (w->returns && world_dice(w, 4) != 0)
		ec_pool_return(&w->p, node);
	else
		ec_pool_replace(&w->p, node);
}

/* --- the rebuild ---------------------------------------------------------- */

static void between(struct ec_pool *p, const struct fab_op *op)
{
	struct world *w = p->arg;

	if (w->ops++ == w->stop_at && w->stop != NULL)
		w->stop(w);
	if (w->traffic != 0 && world_dice(w, w->traffic) == 0)
		world_step(w);
}

void world_rebuild_begin(struct world *w, uint32_t node)
{
	w->node = node;
	assert_int_equal(rebuild_open(w->p.a[node], &w->p.fab, w->p.up, &w->r),
			 0);
}

int world_rebuild_one(struct world *w)
{
	int rc;

	w->p.arg = w;
	w->p.between = between;
	rc = rebuild_work(w->r, PIECE);
	w->p.between = NULL;
	ahead_go(w->ahead);
	return rc;
}

void world_count_stop(struct world *w)
{
	w->restarts++;
}

/* It waits for something that others do. */
void world_let_others(struct world *w, int why)
{
	assert_true(why == -EAGAIN || why == -EHOSTDOWN);
	w->waits++;
	rebuild_set_up(w->r, w->p.up);
	for (uint32_t i; (i = world_pick(w, STOPPED)) != WORLD_LIVING;)
		world_close_one(w, i);
	ec_pool_fold(&w->p);
}

void world_rebuild_all(struct world *w)
{
	struct rebuild_progress sum;
	unsigned n = 0;
	int rc;

	while ((rc = world_rebuild_one(w)) != 0) {
		assert_true(n++ < 100000);
		if (rc < 0)
			world_let_others(w, rc);
		if (world_dice(w, 16) == 0)
			ec_pool_check(&w->p);
	}
	rebuild_progress(w->r, &sum);
	w->kept += sum.kept_bytes;
	assert_true(sum.done);
	assert_int_equal(sum.done_blocks, sum.total_blocks);
	assert_int_equal(sum.done_bytes, sum.total_bytes);
	assert_false(rebuild_map_ahead(w->r));
	ahead_close(w->ahead);
	w->ahead = NULL;
	rebuild_close(w->r);
	w->r = NULL;
}

/* --- what must be so in the end ------------------------------------------- */

static const void *map_at(const struct world *w, uint32_t node, uint64_t stripe,
			  uint32_t mine, uint32_t role)
{
	uint32_t who, block;

	group_member(&w->p.g, stripe, mine, &who, &block);
	assert_int_equal(who, node);
	return w->p.region[node] + group_map_off(&w->p.g, block, role);
}

static void same_record(const struct world *w, uint64_t s, uint32_t mine,
			uint32_t role)
{
	uint32_t node = ec_pool_node(&w->p, s, mine);
	uint32_t lead = ec_pool_leader(&w->p, s), k = w->p.g.k;
	uint32_t n = w->p.g.nodes;
	uint32_t lead_role = (lead + n - (uint32_t)(s % n)) % n;
	struct block_rec is = ec_pool_rec(&w->p, node, s, role);
	struct block_rec as = ec_pool_rec(&w->p, lead, s, role);

	assert_true(lead_role >= k);
	assert_int_equal(is.state == BLOCK_FREE, as.state == BLOCK_FREE);
	if (as.state != BLOCK_FREE) /* else: cancelled before it was told */
		assert_int_equal(is.life, as.life);
	assert_int_equal(is.kind, as.kind);
	assert_int_equal(is.used, as.used);
	assert_int_equal(is.dead, as.dead);
	assert_int_equal(is.opened, as.opened);
	assert_int_equal(is.sealed, as.sealed);
	assert_int_equal(is.owner, as.owner);
	assert_memory_equal(map_at(w, node, s, mine, role),
			    map_at(w, lead, s, lead_role, role), UNITS / 8);
}

/* Before this node leads again. */
static void same_records(const struct world *w)
{
	uint32_t n = w->p.g.nodes, k = w->p.g.k;

	for (uint64_t s = 0; s < group_stripes(&w->p.g); s++) {
		uint32_t mine = (w->node + n - (uint32_t)(s % n)) % n;

		if (mine >= group_width(&w->p.g) ||
		    ec_pool_leader(&w->p, s) == NOBODY)
			continue;
		for (uint32_t r = 0; r < k; r++)
			if ((mine == r || mine >= k) &&
			    !ec_pool_is_leaving(&w->p, s, r))
				same_record(w, s, mine, r);
	}
}

void world_read_all(struct world *w)
{
	static char got[WORLD_BLOCK];

	for (uint64_t s = 0; s < group_stripes(&w->p.g); s++)
		for (uint32_t r = 0; r < w->p.g.k; r++) {
			const char *truth = ec_pool_truth(&w->p, s, r);

			if (truth == NULL || ec_pool_is_leaving(&w->p, s, r) ||
			    ec_pool_is_up(&w->p, ec_pool_node(&w->p, s, r)))
				continue;
			assert_int_equal(
				ec_pool_read(&w->p, s, r, 0, WORLD_BLOCK, got),
				0);
			assert_memory_equal(got, truth, WORLD_BLOCK);
		}
}

/* Each m nodes among which is @w->node's opposite: two others die. */
static void read_without_others(struct world *w)
{
	uint64_t up = w->p.up;
	uint32_t n = w->p.g.nodes;

	for (uint32_t i = 1; i < n; i++) {
		uint64_t gone = 0;

		for (uint32_t d = 0; d < w->p.g.m; d++)
			gone |= UINT64_C(1)
				<< (w->node + 1 + (i + d) % (n - 1)) % n;
		w->p.up = up & ~gone;
		if ((up & gone) == gone && up == (UINT64_C(1) << n) - 1)
			world_read_all(w);
	}
	w->p.up = up;
}

static void settle(struct world *w)
{
	mark_late_ends(w);
	for (unsigned n = 0; n < 10; n++) {
		unsigned did;

		ec_pool_fold(&w->p);
		while ((did = ec_pool_retire_step(&w->p)) != 0) {
			ec_pool_fold(&w->p);
			w->retired += did == 2;
		}
	}
	ec_pool_check(&w->p);
}

void world_back(struct world *w)
{
	mark_late_ends(w);
	same_records(w);
	ec_pool_whole(&w->p, w->node);
	ec_pool_check(&w->p);
	read_without_others(w);
}

/* --- worlds --------------------------------------------------------------- */

void world_begin(struct world *w, uint32_t n, uint32_t k, uint32_t m,
		 uint64_t seed)
{
	*w = (struct world){.seed = seed << 40, .stop_at = UINT32_MAX};
	ec_pool_open(&w->p, n, k, m, WORLD_BLOCK, 2, 12, 0);
	for (unsigned i = 0; i < 150; i++)
		world_step(w);
}

void world_end(struct world *w)
{
	settle(w);
	for (uint32_t i; (i = world_pick(w, STOPPED)) != WORLD_LIVING ||
			 (i = world_pick(w, OPEN)) != WORLD_LIVING;)
		world_close_one(w, i);
	for (uint32_t i = 0; i < WORLD_LIVING; i++) {
		bool rows = w->b[i].kind == BLOCK_ROWS;

		for (uint32_t r = rows ? 0 : w->b[i].role;
		     w->place[i] == SEALED &&
		     r < (rows ? w->p.g.k : w->b[i].role + 1);
		     r++)
			ec_pool_mark(&w->p, &w->b[i], r, 0, UNITS);
	}
	settle(w);
	/* Nothing is left of anything: no bit was lost on the way. */
	for (uint64_t s = 0; s < group_stripes(&w->p.g) * w->p.g.k; s++)
		assert_null(w->p.truth[s]);
	ec_pool_close(&w->p);
}
