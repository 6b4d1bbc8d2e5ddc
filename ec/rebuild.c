/* ec/rebuild.c - which block is next, and what all have in common. */
#include "ec/rebuild.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ec/rebuild_impl.h"
#include "ec/stripe.h"

#define PIECE_MIN   (64u << 10)
#define STEPS_MAX   16u /* of one call; most are a look at an empty stripe */
#define DECODE_NS   UINT64_C(200000000)
#define BUF_ALIGNED 4096u
/* So many have their memory before their turn: enough that the one at hand is
 * never waited for, and no more than what comes in some hundredths of a second.
 */
#define AHEAD_BLOCKS 4u
#define LOST_UNKNOWN UINT32_MAX

/* --- life ----------------------------------------------------------------- */

static uint32_t map_bytes(const struct alloc *a)
{
	return a->o.group->block_bytes / GROUP_UNIT_BYTES / 8;
}

static int open_buffers(struct rebuild *r)
{
	const struct group *g = r->a->o.group;

	r->sum_buf = aligned_alloc(BUF_ALIGNED, g->block_bytes);
	r->piece = aligned_alloc(BUF_ALIGNED, (size_t)g->k * REBUILD_PIECE_MAX);
	r->maps = malloc((size_t)g->k * map_bytes(r->a));
	r->ops = calloc(2 * g->k + g->m, sizeof(*r->ops));
	r->expect = calloc(g->blocks, sizeof(*r->expect));
	r->beyond = calloc(g->blocks, sizeof(*r->beyond));
	if (r->sum_buf == NULL || r->piece == NULL || r->maps == NULL ||
	    r->ops == NULL || r->expect == NULL || r->beyond == NULL)
		return -ENOMEM;
	return bits_open(&r->owed, g->blocks);
}

int rebuild_open(struct alloc *a, struct fab *f, uint64_t up,
		 struct rebuild **out)
{
	struct rebuild *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return -ENOMEM;
	r->a = a;
	r->f = f;
	rebuild_set_up(r, up);
	if (open_buffers(r) != 0) {
		rebuild_close(r);
		return -ENOMEM;
	}
	for (uint32_t b = 0; b < a->o.group->blocks; b++)
		bits_put(&r->owed, b, true);
	r->sum.total_blocks = a->o.group->blocks;
	*out = r;
	return 0;
}

void rebuild_close(struct rebuild *r)
{
	if (r == NULL)
		return;
	bits_close(&r->owed);
	free(r->beyond);
	free(r->expect);
	free(r->ops);
	free(r->maps);
	free(r->piece);
	free(r->sum_buf);
	free(r);
}

void rebuild_set_up(struct rebuild *r, uint64_t up)
{
	r->up = up & ~(UINT64_C(1) << r->a->o.node);
}

/* --- for the steps -------------------------------------------------------- */

void rebuild_life(struct rebuild *r, const struct alloc_at *at, uint32_t life)
{
	struct block_rec rec;

	block_load(at->rec, &rec);
	if (rec.state != BLOCK_FREE || rec.life >= life)
		return;
	rec.life = life;
	alloc_move(r->a, at, &rec);
	early_drop(r->a, at);
}

bool rebuild_behind(const struct rebuild *r, const struct alloc_at *at)
{
	const struct block_rec *lead = look_rec(&r->look, at->role);
	struct block_rec rec;

	block_load(at->rec, &rec);
	return lead->state != BLOCK_FREE && rec.state == BLOCK_FREE &&
	       rec.life < lead->life;
}

static uint32_t ones(const uint64_t *map, uint32_t bytes)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < bytes / 8; i++)
		n += (uint32_t)__builtin_popcountll(map[i]);
	return n;
}

void rebuild_enter(struct rebuild *r, const struct alloc_at *at, uint8_t state)
{
	const struct block_rec *lead = look_rec(&r->again, at->role);
	uint32_t bytes = map_bytes(r->a);
	uint64_t *map = alloc_region_at(
		r->a, group_map_off(r->a->o.group, at->block, at->role));
	struct block_rec rec = {
		.state = state,
		.kind = lead->kind,
		.owner = lead->state == BLOCK_OPEN ? 0 : lead->owner,
		.epoch = lead->epoch,
		.used = lead->used,
		.life = lead->life,
		.opened = lead->opened,
		.sealed = lead->sealed,
	};

	memcpy(map, (char *)r->maps + (size_t)at->role * bytes, bytes);
	if (r->again.freed >> at->role & 1)
		memset(map, 0xff, bytes); /* it forgot them with the data */
	early_merge(r->a, at, rec.life, map);
	rec.dead = ones(map, bytes);
	alloc_move(r->a, at, &rec);
}

uint32_t rebuild_bytes(const struct rebuild *r, uint32_t i)
{
	return alloc_fold_end(look_rec(&r->look, i));
}

int rebuild_decode(struct rebuild *r, uint32_t i, uint32_t at, uint32_t len,
		   void *to)
{
	const struct group *g = r->a->o.group;
	int rc = stripe_read_surely(r->f, g, r->a->o.code,
				    group_addr(g, r->at.stripe, i, at), len,
				    r->up, to, fab_now(r->f) + DECODE_NS);

	return rc == -ENODATA ? -EAGAIN : rc;
}

static void map_block(struct rebuild *r, uint32_t block, uint32_t bytes)
{
	fab_region_map(r->a->o.region, group_block_off(r->a->o.group, block),
		       bytes);
}

void rebuild_map(struct rebuild *r, uint32_t bytes)
{
	bool touched;

	pthread_mutex_lock(&r->a->lock);
	touched = bits_has(&r->a->touched, r->at.block);
	bits_put(&r->a->touched, r->at.block, true);
	pthread_mutex_unlock(&r->a->lock);
	if (!touched && bytes > 0)
		map_block(r, r->at.block, bytes);
}

/* The first of the next blocks, from @from on, that has no memory yet; of
 * those that need any at most *@look are looked at. Lock held. */
static uint32_t next_unmapped(struct rebuild *r, uint32_t from, uint32_t *look)
{
	uint32_t b = bits_next(&r->owed, from);

	for (; b != BITS_NONE && *look > 0; b = bits_next(&r->owed, b + 1)) {
		if (r->expect[b] == 0)
			continue;
		if (!bits_has(&r->a->touched, b))
			return b;
		--*look;
	}
	return BITS_NONE;
}

/* A block found touched when its turn comes may be on its way still: then both
 * threads take pages, and none is taken twice. */
bool rebuild_map_ahead(struct rebuild *r)
{
	uint32_t look = AHEAD_BLOCKS, block, bytes = 0;

	pthread_mutex_lock(&r->a->lock);
	block = next_unmapped(r, r->cursor, &look);
	if (block == BITS_NONE)
		block = next_unmapped(r, 0, &look);
	if (block != BITS_NONE) {
		bytes = r->expect[block];
		bits_put(&r->a->touched, block, true);
	}
	pthread_mutex_unlock(&r->a->lock);
	if (block != BITS_NONE)
		map_block(r, block, bytes);
	return block != BITS_NONE;
}

/* --- which is next -------------------------------------------------------- */

/* A block that somebody waits for, or none. Lock held. */
static bool next_wanted(struct rebuild *r, uint32_t *block)
{
	*block = bits_next(&r->a->wanted, 0);
	if (*block == BITS_NONE)
		return false;
	bits_put(&r->a->wanted, *block, false);
	if (!bits_has(&r->owed, *block))
		r->sum.done_blocks--; /* something came after it was done */
	bits_put(&r->owed, *block, true);
	return true;
}

/* In order, round after round. Lock held. */
static bool next_in_turn(struct rebuild *r, uint32_t *block)
{
	*block = bits_next(&r->owed, r->cursor);
	if (*block == BITS_NONE) {
		*block = bits_next(&r->owed, 0);
		r->surveyed = true;
	}
	r->cursor = *block + 1;
	return *block != BITS_NONE;
}

/* All is here: from now on this node knows what it knows. Lock held. */
static void finish(struct rebuild *r)
{
	struct alloc *a = r->a;
	struct alloc_at at;

	a->rebuilding = false;
	a->rebuilt = true;
	r->sum.done = true;
	for (uint32_t b = 0; b < a->o.group->blocks; b++) {
		alloc_at_block(a, b, 0, &at);
		for (uint32_t i = 0; i < a->k; i++, alloc_next(&at))
			early_drop(a, &at);
	}
}

/* Begin with the next block; false: there is none. */
static bool next_block(struct rebuild *r)
{
	uint32_t block;

	pthread_mutex_lock(&r->a->lock);
	r->wanted = next_wanted(r, &block);
	r->on = r->wanted || next_in_turn(r, &block);
	if (!r->on)
		finish(r);
	pthread_mutex_unlock(&r->a->lock);
	if (!r->on)
		return false;
	alloc_at_block(r->a, block,
		       block % r->a->w < r->a->k ? block % r->a->w : 0, &r->at);
	r->step = REBUILD_LOOK;
	r->take = 0;
	r->lost = 0;
	r->kept = false;
	r->patched = 0;
	r->fetched = 0;
	r->merged = 0;
	return true;
}

/* What the block at hand will take, as is known by now. */
static void expect(struct rebuild *r, uint32_t bytes)
{
	uint32_t *e = &r->expect[r->at.block];

	pthread_mutex_lock(&r->a->lock);
	r->sum.total_bytes += bytes;
	r->sum.total_bytes -= *e;
	*e = bytes;
	pthread_mutex_unlock(&r->a->lock);
}

/* What is not to be had of the block at hand, as struct rebuild keeps it. What
 * a parity lacks is counted where it was written. */
static uint32_t what_is_lost(const struct rebuild *r)
{
	const struct block_rec *rec = look_rec(&r->look, r->at.role);
	uint64_t dead = (uint64_t)rec->dead * GROUP_UNIT_BYTES;

	if (r->at.parity >= 0)
		return 0;
	if (r->look.leader < 0)
		return LOST_UNKNOWN;
	return rec->used > dead ? (uint32_t)(rec->used - dead) + 1 : 0;
}

/* @what is lost of the block at hand. */
static void note_lost(struct rebuild *r, uint32_t what)
{
	uint32_t *was = &r->beyond[r->at.block];
	struct rebuild_progress *sum = &r->sum;

	pthread_mutex_lock(&r->a->lock);
	sum->unknown_blocks -= *was == LOST_UNKNOWN;
	sum->unknown_blocks += what == LOST_UNKNOWN;
	if (*was != 0 && *was != LOST_UNKNOWN) {
		sum->lost_blocks--;
		sum->lost_bytes -= *was - 1;
	}
	if (what != 0 && what != LOST_UNKNOWN) {
		sum->lost_blocks++;
		sum->lost_bytes += what - 1;
	}
	*was = what;
	pthread_mutex_unlock(&r->a->lock);
}

/* It is done, or with @left some of its roles are. */
static void block_ends(struct rebuild *r, bool left)
{
	uint32_t *e = &r->expect[r->at.block];

	if (r->take == 0)
		expect(r, 0); /* it was here, or is gone */
	note_lost(r, 0);
	pthread_mutex_lock(&r->a->lock);
	r->sum.done_bytes += *e;
	if (!left) {
		bits_put(&r->owed, r->at.block, false);
		r->sum.done_blocks++;
	}
	*e = 0;
	pthread_mutex_unlock(&r->a->lock);
	r->on = false;
	r->waits = 0;
	r->not_yet = false;
}

/* The block at hand must wait. 1: others may not need to. */
static int block_waits(struct rebuild *r, int why)
{
	uint64_t left;

	if (r->step == REBUILD_MERGE) {
		block_ends(r, true);
		return 1;
	}
	if (r->at.parity < 0)
		data_drop(r);
	if (why == -EIO) {
		expect(r, 0);
		note_lost(r, what_is_lost(r));
	}
	r->not_yet |= why == -EAGAIN;
	r->on = false;
	pthread_mutex_lock(&r->a->lock);
	left = r->owed.n;
	pthread_mutex_unlock(&r->a->lock);
	if ((why == -EAGAIN || why == -EIO) && ++r->waits < left)
		return 1;
	r->waits = 0;
	if (why == -EIO && r->not_yet)
		why = -EAGAIN;
	r->not_yet = false;
	return why;
}

static uint32_t got(const struct rebuild *r)
{
	return r->kept ? r->patched : r->fetched;
}

/* One step of the block at hand. 1: there may be more. */
static int step(struct rebuild *r, uint32_t bytes)
{
	bool look = r->step == REBUILD_LOOK;
	uint32_t had = got(r);
	int rc;

	rc = r->at.parity < 0 ? data_step(r, bytes) : parity_step(r, bytes);
	if (got(r) > had) {
		pthread_mutex_lock(&r->a->lock);
		r->sum.read_bytes += (uint64_t)(got(r) - had) *
				     (uint64_t)__builtin_popcount(r->take);
		pthread_mutex_unlock(&r->a->lock);
	}
	if (rc < 0)
		return block_waits(r, rc);
	if (rc == 0)
		block_ends(r, false);
	if (rc == 1 && look)
		expect(r, r->end);
	if (rc == 1 && look && !r->surveyed && !r->wanted) {
		r->on = false; /* in the next round: */
		r->waits = 0;  /* that others wait is not all there is */
	}
	return 1;
}

int rebuild_work(struct rebuild *r, uint32_t bytes)
{
	uint32_t n = bytes < PIECE_MIN ? PIECE_MIN : bytes;
	int rc = 1;

	n = n < REBUILD_PIECE_MAX ? n & ~(BLOCK_FOLD_STEP - 1)
				  : REBUILD_PIECE_MAX;
	for (uint32_t i = 0; i < STEPS_MAX && rc == 1; i++) {
		bool looks = !r->on || r->step == REBUILD_LOOK;

		if (!r->on && (r->sum.done || !next_block(r)))
			return 0;
		rc = step(r, n);
		if (!looks)
			break; /* that was a piece */
	}
	return rc;
}

/* --- for others ----------------------------------------------------------- */

void rebuild_want(struct rebuild *r, uint64_t stripe, uint32_t role)
{
	struct alloc_at at;

	if (role >= r->a->w || alloc_locate(r->a, stripe, role, &at) != 0)
		return;
	pthread_mutex_lock(&r->a->lock);
	if (bits_has(&r->owed, at.block))
		bits_put(&r->a->wanted, at.block, true);
	pthread_mutex_unlock(&r->a->lock);
}

void rebuild_progress(struct rebuild *r, struct rebuild_progress *out)
{
	pthread_mutex_lock(&r->a->lock);
	*out = r->sum;
	pthread_mutex_unlock(&r->a->lock);
}
