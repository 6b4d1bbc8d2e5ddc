/* tests/lib/cluster_blocks.c - what nodes know of their blocks: shown to
 * people, and waited for. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "ec/block.h"
#include "tests/lib/cluster_impl.h"

#define SHOW_STRIPES_MAX 20u
#define REST_NS		 UINT64_C(5000000000) /* a grant that came to nothing: 2 s */

/* What the member in @at knows of the block of @role; false: it is gone. */
static bool rec_at(struct cluster *c, uint64_t s, uint32_t at, uint32_t role,
		   struct block_rec *out)
{
	const struct group *g = &cluster_layout(c)->group;
	uint32_t node, block;

	group_member(g, s, at, &node, &block);
	if (cluster_node(c, node) == NULL)
		return false;
	block_load((void *)((char *)cluster_region(c, node) +
			    group_rec_off(g, block, role)),
		   out);
	return true;
}

static void show(struct cluster *c, uint64_t s, uint32_t at, uint32_t role)
{
	const struct group *g = &cluster_layout(c)->group;
	uint32_t node, block;
	struct block_rec rec;

	if (!rec_at(c, s, at, role, &rec))
		return;
	group_member(g, s, at, &node, &block);
	print_error("stripe %" PRIu64 " at role %u (node %u), of role %u: %s "
		    "kind %u flags %u owner %u used %u progress %u busy %u "
		    "delta %u dead %u life %u\n",
		    s, at, node, role, block_state_name(rec.state), rec.kind,
		    rec.flags, rec.owner, rec.used, rec.progress, rec.busy,
		    rec.delta, rec.dead, rec.life);
}

void cluster_show_stripe(struct cluster *c, uint64_t s)
{
	const struct group *g = &cluster_layout(c)->group;

	for (uint32_t at = 0; at < group_width(g); at++)
		for (uint32_t r = 0; r < g->k; r++)
			if (at >= g->k || at == r)
				show(c, s, at, r);
}

static bool at_rest(const struct block_rec *rec)
{
	return rec->state == BLOCK_FREE || rec->state == BLOCK_FOLDED;
}

/* Do members disagree on the block of @role, or is it on its way? */
static bool role_moves(struct cluster *c, uint64_t s, uint32_t role)
{
	const struct group *g = &cluster_layout(c)->group;
	struct block_rec rec, last;
	bool any = false, moves = false;

	for (uint32_t at = g->k; at < group_width(g); at++) {
		if (!rec_at(c, s, at, role, &rec))
			continue;
		moves |= !at_rest(&rec) || (any && (rec.state != last.state ||
						    rec.life != last.life));
		last = rec;
		any = true;
	}
	return moves;
}

void cluster_show_moving(struct cluster *c)
{
	const struct group *g = &cluster_layout(c)->group;
	uint32_t shown = 0;

	for (uint64_t s = 0; s < group_stripes(g); s++) {
		bool moves = false;

		for (uint32_t r = 0; r < g->k; r++)
			moves |= role_moves(c, s, r);
		if (moves && shown++ < SHOW_STRIPES_MAX)
			cluster_show_stripe(c, s);
	}
	if (shown > SHOW_STRIPES_MAX)
		print_error("... and %u more stripes\n",
			    shown - SHOW_STRIPES_MAX);
}

/* Is the block of @role FREE at one member, and not yet at another? */
static bool half_freed(struct cluster *c, uint64_t s, uint32_t role)
{
	const struct group *g = &cluster_layout(c)->group;
	bool any = false, free = false, other = false;
	struct block_rec rec;
	uint32_t life = 0;

	for (uint32_t at = 0; at < group_width(g); at++) {
		if ((at < g->k && at != role) || !rec_at(c, s, at, role, &rec))
			continue;
		if (any && rec.life != life)
			return false;
		life = rec.life;
		any = true;
		free |= rec.state == BLOCK_FREE;
		other |= rec.state != BLOCK_FREE;
	}
	return free && other;
}

/* Is it on its way to be opened again at one member, and at rest in a later
 * life at another? Who opened it died, or gave up, and the first has yet to see
 * that: it looks twice a second (kv/node/stray.c), or leads, and waits for who
 * was granted it (kv/node/again.c). */
static bool half_opened(struct cluster *c, uint64_t s, uint32_t role)
{
	const struct group *g = &cluster_layout(c)->group;
	uint32_t going = UINT32_MAX, rests = 0;
	struct block_rec rec;

	for (uint32_t at = 0; at < group_width(g); at++) {
		if ((at < g->k && at != role) || !rec_at(c, s, at, role, &rec))
			continue;
		if (rec.state == BLOCK_RETIRING)
			going = rec.life < going ? rec.life : going;
		else if (rec.state != BLOCK_FREE)
			rests = rec.life > rests ? rec.life : rests;
	}
	return going < rests;
}

/* Of rows all leave together. */
static bool any_half_done(struct cluster *c)
{
	const struct group *g = &cluster_layout(c)->group;

	for (uint64_t s = 0; s < group_stripes(g); s++)
		for (uint32_t r = 0; r < g->k; r++)
			if (half_freed(c, s, r) || half_opened(c, s, r))
				return true;
	return false;
}

void cluster_await_rest(struct cluster *c)
{
	uint64_t end = fab_now(c->probe) + REST_NS;

	while (any_half_done(c) && fab_now(c->probe) < end)
		cluster_sleep(c, CLUSTER_TICK_NS);
}
