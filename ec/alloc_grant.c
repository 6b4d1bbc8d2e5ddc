/* ec/alloc_grant.c - which block is given next, and opening it. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "ec/alloc_impl.h"
#include "ec/former.h"

/* A place to begin: row, period, role; none if @stripe is UINT64_MAX. */
struct choice {
	uint64_t stripe;
	struct alloc_at at;
};

static uint64_t grantable(const struct alloc *a)
{
	uint64_t n = 0;

	for (uint32_t j = 0; j < a->m; j++)
		for (uint32_t i = 0; i < a->k; i++)
			if (a->row[j].led && (a->row[j].role_up >> i & 1) != 0)
				n += a->row[j].free[i].n;
	return n;
}

uint32_t alloc_role_node(const struct alloc *a, uint32_t j, uint32_t role)
{
	uint32_t n = a->o.group->nodes;

	return (a->o.node + 2 * n - (a->k + j) + role) % n;
}

static void consider(const struct alloc *a, struct choice *best, uint32_t j,
		     uint32_t period, uint32_t role)
{
	struct alloc_at at;

	alloc_at_block(a, period * a->w + a->k + j, role, &at);
	if (at.stripe < best->stripe) {
		best->stripe = at.stripe;
		best->at = at;
	}
}

static bool is_shunned(const struct alloc *a, uint32_t j, uint32_t period,
		       uint32_t role)
{
	struct alloc_at at;

	alloc_at_block(a, period * a->w + a->k + j, role, &at);
	for (uint32_t i = 0; i < ALLOC_SHUNNED; i++)
		if (a->shunned[i] == at.rec)
			return true;
	return false;
}

/* The lowest stripe, begun or not, with a role outside @avoid. */
static bool choose(struct alloc *a, bool begun, uint64_t avoid, bool shunned,
		   struct choice *best)
{
	best->stripe = UINT64_MAX;
	for (uint32_t j = 0; j < a->m; j++) {
		struct alloc_row *row = &a->row[j];

		for (uint32_t i = 0; row->led && i < a->k; i++) {
			struct bits *set =
				begun ? &row->partial[i] : &row->fresh;
			uint32_t p;

			if ((row->role_up >> i & 1) == 0 ||
			    (avoid >> alloc_role_node(a, j, i) & 1) != 0)
				continue;
			p = bits_next(set, 0);
			while (p != BITS_NONE && !shunned &&
			       is_shunned(a, j, p, i))
				p = bits_next(set, p + 1);
			if (p != BITS_NONE)
				consider(a, best, j, p, i);
		}
	}
	return best->stripe != UINT64_MAX;
}

/* Roles of one stripe spread over time, callers over nodes: a stripe begun on
 * another node, else a new stripe on another node, else any. */
static bool choose_one(struct alloc *a, uint64_t avoid, struct choice *best)
{
	return choose(a, true, avoid, false, best) ||
	       choose(a, false, avoid, false, best) ||
	       choose(a, true, 0, false, best) ||
	       choose(a, false, 0, false, best) ||
	       choose(a, true, 0, true, best) ||
	       choose(a, false, 0, true, best);
}

/* The highest wholly free stripe whose members are all up. */
static bool choose_rows(struct alloc *a, bool shunned, struct choice *best)
{
	best->stripe = UINT64_MAX;
	for (uint32_t j = 0; j < a->m; j++) {
		struct alloc_row *row = &a->row[j];
		struct alloc_at at;
		uint32_t p;

		if (!row->led || !row->all_up)
			continue;
		p = bits_last(&row->fresh, a->periods);
		while (p != BITS_NONE && !shunned && is_shunned(a, j, p, 0))
			p = bits_last(&row->fresh, p);
		if (p == BITS_NONE)
			continue;
		alloc_at_block(a, p * a->w + a->k + j, 0, &at);
		if (best->stripe == UINT64_MAX || at.stripe > best->stripe) {
			best->stripe = at.stripe;
			best->at = at;
		}
	}
	return best->stripe != UINT64_MAX;
}

/* What an open says of a block, the same on every member. */
struct opening {
	uint64_t opened;
	uint32_t owner, epoch, life;
	uint8_t kind;
};

static void open_rec(struct alloc *a, const struct alloc_at *at,
		     const struct opening *o, uint32_t delta)
{
	struct block_rec rec = {
		.state = BLOCK_OPEN,
		.kind = o->kind,
		.owner = o->owner,
		.epoch = o->epoch,
		.delta = delta,
		.life = o->life,
		.opened = o->opened,
		.sealed = UINT64_MAX,
	};
	struct block_rec was;

	early_drop(a, at); /* of a use before */
	block_load(at->rec, &was);
	rec.kept = was.state == BLOCK_RETIRING;
	alloc_move(a, at, &rec);
}

/* All roles whose records are kept here; the parity is its writer's now. */
static void open_rows(struct alloc *a, struct alloc_at at,
		      const struct opening *o)
{
	uint32_t n = alloc_span(a, &at, BLOCK_ROWS);

	if (at.parity >= 0)
		bits_put(&a->row[at.parity].coded, at.period, true);
	for (; n > 0; n--, alloc_next(&at))
		open_rec(a, &at, o, 0);
}

/* A ROW stripe's roles open under one number: the highest of theirs, for what
 * was granted before as single blocks has counted them apart. */
static uint32_t rows_life(const struct alloc *a, struct alloc_at at)
{
	struct block_rec rec;
	uint32_t life = 0;

	for (uint32_t n = alloc_span(a, &at, BLOCK_ROWS); n > 0;
	     n--, alloc_next(&at)) {
		block_load(at.rec, &rec);
		life = rec.life > life ? rec.life : life;
	}
	return alloc_next_life(life);
}

static int grant_rows(struct alloc *a, struct opening *o,
		      struct alloc_grant *out)
{
	struct choice c;

	if (!choose_rows(a, false, &c) && !choose_rows(a, true, &c))
		return -ENOSPC;
	o->life = rows_life(a, c.at);
	open_rows(a, c.at, o);
	*out = (struct alloc_grant){.stripe = c.stripe, .life = o->life};
	return 0;
}

static int grant_one(struct alloc *a, struct opening *o, uint64_t avoid,
		     struct alloc_grant *out)
{
	struct block_rec rec;
	struct choice c;
	uint32_t delta;

	if (!choose_one(a, avoid, &c))
		return -ENOSPC;
	delta = delta_take(a, &c.at, false);
	if (delta == 0)
		return -EAGAIN;
	block_load(c.at.rec, &rec);
	o->life = alloc_next_life(rec.life);
	open_rec(a, &c.at, o, delta);
	*out = (struct alloc_grant){.stripe = c.stripe,
				    .role = c.at.role,
				    .delta = delta,
				    .life = o->life};
	return 0;
}

static bool bad_opening(uint8_t kind, uint32_t owner)
{
	return kind < BLOCK_RECORDS || kind > BLOCK_ROWS || owner == 0;
}

static int rows_or_none(struct alloc *a, struct opening *o, bool urgent,
			struct alloc_grant *out)
{
	if (grantable(a) < a->k + (urgent ? 0 : a->o.reserve))
		return -ENOSPC;
	return grant_rows(a, o, out);
}

/* Free blocks are few: those that remain are better kept for rows and bursts.
 */
static bool is_tight(const struct alloc *a, uint64_t free)
{
	return free <= a->o.reserve + 1 + (uint64_t)a->periods * a->k / 32;
}

/* Free blocks that an ask must leave: most of the reserve is for records. A
 * full pool goes on rewriting many of those, whose holes are of all sizes;
 * holes of pages fit any page. */
static uint64_t to_be_left(const struct alloc *a, uint8_t kind, bool urgent)
{
	if (urgent)
		return 0;
	return kind == BLOCK_RECORDS ? (a->o.reserve + 3) / 4 : a->o.reserve;
}

/* Wholly free while there are plenty; else one that is opened again, if one is
 * in stock; else what free ones may be had. */
static int fresh_or_again(struct alloc *a, struct opening *o, bool urgent,
			  uint64_t avoid, uint32_t run, struct alloc_grant *out)
{
	uint64_t free = grantable(a);

	if (is_tight(a, free)) {
		again_want(a, o->kind, run);
		if (again_grant(a, o->kind, o->owner, avoid, run, out) == 0)
			return 0;
	}
	if (free >= 1 + to_be_left(a, o->kind, urgent))
		return grant_one(a, o, avoid, out);
	if (alloc_is_held(a))
		return -EINPROGRESS;
	return again_hope(a, o->kind, run) ? -EAGAIN : -ENOSPC;
}

int alloc_block(struct alloc *a, uint8_t kind, uint32_t owner, uint32_t epoch,
		uint64_t opened, bool urgent, uint64_t avoid, uint32_t run,
		struct alloc_grant *out)
{
	struct opening o = {
		.opened = opened, .owner = owner, .epoch = epoch, .kind = kind};
	int rc;

	if (bad_opening(kind, owner))
		return -EINVAL;
	pthread_mutex_lock(&a->lock);
	if (kind == BLOCK_ROWS)
		rc = rows_or_none(a, &o, urgent, out);
	else
		rc = fresh_or_again(a, &o, urgent, avoid, run, out);
	pthread_mutex_unlock(&a->lock);
	return rc;
}

/* All that was in it is there still, and the free units are zero, in every
 * copy: from now on it is an open block as any other. If nothing was, it has
 * been a victim until now. */
static void open_again(struct alloc *a, const struct alloc_at *at,
		       const struct opening *o, uint32_t delta)
{
	again_unstock(a, at);
	memset(alloc_map_at(a, at), 0,
	       a->o.group->block_bytes / GROUP_UNIT_BYTES / 8);
	open_rec(a, at, o, delta);
	alloc_judge(a, at);
	a->reopened += at->parity < 0;
}

/* 1: open it; 0: is open already by the same asker; -EBUSY. */
static int may_open(const struct alloc *a, struct alloc_at at,
		    const struct opening *o, uint32_t *delta)
{
	uint32_t same = 0, n = alloc_span(a, &at, o->kind);
	struct block_rec rec;

	for (uint32_t i = 0; i < n; i++, alloc_next(&at)) {
		block_load(at.rec, &rec);
		if (rec.state == BLOCK_OPEN && rec.owner == o->owner &&
		    rec.life == o->life && rec.kind == o->kind) {
			*delta = rec.delta;
			same++;
		} else if (again_may_open(&rec, o->kind, o->life)) {
			*delta = rec.delta;
		} else if (rec.state != BLOCK_FREE || rec.life >= o->life) {
			return -EBUSY; /* or a leader that knows less */
		}
	}
	if (same == n)
		return 0;
	return same == 0 ? 1 : -EBUSY;
}

static int open_here(struct alloc *a, const struct alloc_at *at,
		     const struct opening *o, uint32_t *delta)
{
	struct block_rec rec;
	int rc;

	*delta = 0;
	if (former_rec(a->former, at->block) != NULL)
		return -EBUSY; /* of a node that is not up */
	rc = may_open(a, *at, o, delta);
	if (rc <= 0)
		return rc;
	if (o->kind == BLOCK_ROWS) {
		open_rows(a, *at, o);
		return 0;
	}
	block_load(at->rec, &rec);
	if (rec.state == BLOCK_RETIRING) {
		open_again(a, at, o, rec.delta);
		return 0;
	}
	if (at->parity >= 0) {
		*delta = delta_take(a, at, false);
		if (*delta == 0)
			return -EAGAIN;
	}
	open_rec(a, at, o, *delta);
	return 0;
}

int alloc_open_block(struct alloc *a, uint64_t stripe, uint32_t role,
		     uint8_t kind, uint32_t owner, uint32_t epoch,
		     uint64_t opened, uint32_t life, uint32_t *delta)
{
	struct opening o = {.opened = opened,
			    .owner = owner,
			    .epoch = epoch,
			    .life = life,
			    .kind = kind};
	struct alloc_at at;
	int rc;

	if (bad_opening(kind, owner) || life == 0)
		return -EINVAL;
	/* A data node keeps one role, whichever a ROW's opener names. */
	rc = alloc_locate(a, stripe, role, &at);
	for (uint32_t i = 0; rc != 0 && kind == BLOCK_ROWS && i < a->k; i++)
		rc = alloc_locate(a, stripe, i, &at);
	if (rc != 0)
		return rc;
	pthread_mutex_lock(&a->lock);
	rc = open_here(a, &at, &o, delta);
	pthread_mutex_unlock(&a->lock);
	return rc;
}
