/* ec/alloc_rec.c - one record: where it is, and what follows from a change. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "ec/alloc_impl.h"
#include "rdma/fabric.h"

void alloc_at_block(const struct alloc *a, uint32_t block, uint32_t role,
		    struct alloc_at *at)
{
	const struct group *g = a->o.group;
	uint32_t mine;

	group_of_block(g, a->o.node, block, &at->stripe, &mine);
	at->block = block;
	at->period = block / a->w;
	at->role = role;
	at->parity = mine < a->k ? -1 : (int)(mine - a->k);
	at->rec = alloc_region_at(a, group_rec_off(g, block, role));
}

/* The role that this node plays in @stripe; >= w: none. */
static uint32_t my_role(const struct alloc *a, uint64_t stripe)
{
	uint32_t n = a->o.group->nodes;

	return (a->o.node + n - (uint32_t)(stripe % n)) % n;
}

int alloc_locate(const struct alloc *a, uint64_t stripe, uint32_t role,
		 struct alloc_at *at)
{
	uint32_t mine, node, block;

	if (stripe >= group_stripes(a->o.group) || role >= a->k)
		return -EINVAL;
	mine = my_role(a, stripe);
	if (mine >= a->w || (mine < a->k && mine != role))
		return -EINVAL;
	group_member(a->o.group, stripe, mine, &node, &block);
	assert(node == a->o.node);
	alloc_at_block(a, block, role, at);
	return 0;
}

int alloc_locate_any(const struct alloc *a, uint64_t stripe, uint32_t role,
		     struct alloc_at *at)
{
	int rc = alloc_locate(a, stripe, role, at);
	struct block_rec rec;

	if (rc == 0 || role >= a->k || stripe >= group_stripes(a->o.group) ||
	    my_role(a, stripe) >= a->k)
		return rc;
	rc = alloc_locate(a, stripe, my_role(a, stripe), at);
	if (rc != 0)
		return rc;
	block_load(at->rec, &rec);
	/* FREE: a ROW's perhaps, and whoever asks again has to hear so. */
	return rec.kind == BLOCK_ROWS || rec.state == BLOCK_FREE ? 0 : -EINVAL;
}

uint32_t alloc_span(const struct alloc *a, struct alloc_at *at, uint8_t kind)
{
	if (kind != BLOCK_ROWS || at->parity < 0)
		return 1;
	alloc_at_block(a, at->block, 0, at);
	return a->k;
}

void alloc_next(struct alloc_at *at)
{
	at->role++;
	at->rec++;
}

/* Record @i; false: there is no such one here. */
static bool record_at(const struct alloc *a, uint32_t i, struct alloc_at *at)
{
	uint32_t block = i / a->k, role = i % a->k, mine = block % a->w;

	if (mine < a->k && mine != role)
		return false;
	alloc_at_block(a, block, role, at);
	return true;
}

int alloc_look(struct alloc *a, uint32_t *i,
	       bool (*is)(const struct alloc *a, const struct alloc_at *at,
			  const struct block_rec *rec),
	       uint64_t *stripe, uint32_t *role, uint32_t *life)
{
	uint32_t end = a->o.group->blocks * a->k;
	bool found = false;
	struct block_rec rec;
	struct alloc_at at;

	pthread_mutex_lock(&a->lock);
	for (; !found && *i < end; ++*i) {
		if (!record_at(a, *i, &at))
			continue;
		block_load(at.rec, &rec);
		found = is(a, &at, &rec);
	}
	pthread_mutex_unlock(&a->lock);
	if (!found)
		return -ENOENT;
	*stripe = at.stripe;
	*role = at.role;
	*life = rec.life;
	return 0;
}

uint64_t *alloc_map_at(const struct alloc *a, const struct alloc_at *at)
{
	return alloc_region_at(a,
			       group_map_off(a->o.group, at->block, at->role));
}

uint32_t alloc_fold_end(const struct block_rec *rec)
{
	return (rec->used + BLOCK_FOLD_STEP - 1) & ~(BLOCK_FOLD_STEP - 1);
}

bool alloc_is_out(const struct alloc_at *at, const struct block_rec *rec)
{
	return rec->state == BLOCK_RETIRING &&
	       (at->parity < 0 || rec->kind == BLOCK_ROWS ||
		rec->progress >= alloc_fold_end(rec));
}

static bool is_leaving(const struct alloc_at *at, const struct block_rec *rec)
{
	return rec->state == BLOCK_RETIRING && !alloc_is_out(at, rec);
}

/* After @period's number of taken roles changed. */
static void row_settle(struct alloc *a, struct alloc_row *row, uint32_t period)
{
	bool fresh = row->taken[period] == 0;

	bits_put(&row->fresh, period, fresh);
	for (uint32_t i = 0; i < a->k; i++)
		bits_put(&row->partial[i], period,
			 !fresh && bits_has(&row->free[i], period));
}

static void count_own(struct alloc *a, const struct block_rec *rec, int sign)
{
	if (rec->state != BLOCK_FREE)
		a->own_taken += (uint64_t)sign;
	a->own_dead += (uint64_t)((int64_t)rec->dead * sign);
}

void alloc_count(struct alloc *a, const struct alloc_at *at,
		 const struct block_rec *rec, int sign)
{
	struct alloc_row *row;

	if (sign > 0 && rec->state != BLOCK_FREE)
		bits_put(&a->warm, at->block, false);
	if (at->parity < 0) {
		count_own(a, rec, sign);
		return;
	}
	row = &a->row[at->parity];
	row->count[rec->state] += (uint64_t)sign;
	if (rec->state != BLOCK_FREE)
		row->taken[at->period] += (uint32_t)sign;
	bits_put(&row->leaving[at->role], at->period,
		 sign > 0 && is_leaving(at, rec));
	bits_put(&row->retiring[at->role], at->period,
		 sign > 0 && rec->state == BLOCK_RETIRING);
	if (sign < 0)
		return;
	bits_put(&row->free[at->role], at->period, rec->state == BLOCK_FREE);
	row_settle(a, row, at->period);
}

void alloc_move(struct alloc *a, const struct alloc_at *at,
		const struct block_rec *rec)
{
	struct block_rec old;

	block_load(at->rec, &old);
	assert(old.state == rec->state ||
	       block_may_move(old.state, rec->state) ||
	       (a->rebuilding && old.state == BLOCK_FREE));
	block_publish(at->rec, rec);
	a->moves++;
	if (old.state == rec->state && old.dead == rec->dead &&
	    is_leaving(at, &old) == is_leaving(at, rec))
		return;
	alloc_count(a, at, &old, -1);
	alloc_count(a, at, rec, 1);
}

/* Are all units below @used marked? The count says when it is worth looking,
 * for marks past @used must not make a block with live data a victim. */
static bool wholly_dead(const struct alloc *a, const struct alloc_at *at,
			const struct block_rec *rec)
{
	const uint64_t *map = alloc_map_at(a, at);
	uint32_t units = (rec->used + GROUP_UNIT_BYTES - 1) / GROUP_UNIT_BYTES;
	uint32_t i;

	if (rec->state != BLOCK_SEALED && rec->state != BLOCK_FOLDING &&
	    rec->state != BLOCK_FOLDED && rec->state != BLOCK_RETIRING)
		return false;
	if (rec->dead < units)
		return false;
	for (i = 0; i < units / 64; i++)
		if (map[i] != UINT64_MAX)
			return false;
	return units % 64 == 0 || (~map[i] << (64 - units % 64)) == 0;
}

static bool rows_dead(const struct alloc *a, struct alloc_at at)
{
	struct block_rec rec;

	for (uint32_t n = alloc_span(a, &at, BLOCK_ROWS); n > 0;
	     n--, alloc_next(&at)) {
		block_load(at.rec, &rec);
		if (!wholly_dead(a, &at, &rec))
			return false;
	}
	return true;
}

static void judge(struct alloc *a, struct bits *victim, uint32_t period,
		  bool dead)
{
	a->gains += dead && !bits_has(victim, period);
	bits_put(victim, period, dead);
}

void alloc_judge(struct alloc *a, const struct alloc_at *at)
{
	struct alloc_row *row;
	struct block_rec rec;

	if (at->parity < 0)
		return;
	row = &a->row[at->parity];
	block_load(at->rec, &rec);
	if (rec.kind != BLOCK_ROWS)
		judge(a, &row->victim[at->role], at->period,
		      wholly_dead(a, at, &rec));
	else
		judge(a, &row->victim[0], at->period, rows_dead(a, *at));
}

/* Bytes of a data block that may be other than zero. */
static uint32_t written(const struct alloc *a, const struct block_rec *rec)
{
	if (rec->sealed == UINT64_MAX)
		return a->o.group->block_bytes;
	return alloc_fold_end(rec);
}

/* FREE: nobody's and nothing but its life. Lock held. */
static void set_free(struct alloc *a, const struct alloc_at *at)
{
	const struct group *g = a->o.group;
	struct block_rec rec, empty = {.state = BLOCK_FREE};

	block_load(at->rec, &rec);
	again_unstock(a, at);
	if (rec.dead > 0)
		memset(alloc_map_at(a, at), 0,
		       g->block_bytes / GROUP_UNIT_BYTES / 8);
	if (rec.delta != 0)
		delta_drop(a, rec.delta - 1, written(a, &rec));
	empty.life = rec.life;
	alloc_move(a, at, &empty);
	alloc_judge(a, at);
}

static void zero_warm(struct alloc *a, uint32_t block, uint32_t bytes,
		      bool touched)
{
	uint64_t off = group_block_off(a->o.group, block);

	if (bytes == 0)
		return;
	if (!touched)
		fab_region_map(a->o.region, off, bytes);
	memset(alloc_region_at(a, off), 0, bytes);
}

void alloc_zero(struct alloc *a, uint32_t block, uint32_t bytes)
{
	const struct group *g = a->o.group;
	bool warm, touched;

	pthread_mutex_lock(&a->lock);
	warm = a->warm.n < g->blocks / ALLOC_WARM_PART;
	touched = bits_has(&a->touched, block);
	pthread_mutex_unlock(&a->lock);
	if (warm)
		zero_warm(a, block, bytes, touched);
	else
		fab_region_discard(a->o.region, a->o.region_fd,
				   group_block_off(g, block), g->block_bytes);
	pthread_mutex_lock(&a->lock);
	bits_put(&a->warm, block, warm);
	bits_put(&a->touched, block, warm);
	pthread_mutex_unlock(&a->lock);
}

/* Nobody has written to @block since it was zeroed. Lock held. */
static bool is_unused(struct alloc *a, uint32_t block)
{
	uint32_t mine = block % a->w;
	struct block_rec rec;
	struct alloc_at at;

	alloc_at_block(a, block, mine < a->k ? mine : 0, &at);
	if (at.parity >= 0)
		return a->row[at.parity].taken[at.period] == 0 &&
		       !bits_has(&a->row[at.parity].coded, at.period);
	block_load(at.rec, &rec);
	return rec.state == BLOCK_FREE;
}

/* The lock is held throughout, so that nobody opens the block meanwhile. What
 * became warm while it was opened again is left alone. */
bool alloc_cool(struct alloc *a)
{
	const struct group *g = a->o.group;
	uint32_t block;
	bool cooled;

	pthread_mutex_lock(&a->lock);
	block = bits_next(&a->warm, 0);
	if (block != BITS_NONE) {
		bits_put(&a->warm, block, false);
		if (is_unused(a, block)) {
			bits_put(&a->touched, block, false);
			fab_region_discard(a->o.region, a->o.region_fd,
					   group_block_off(g, block),
					   g->block_bytes);
		}
	}
	cooled = block != BITS_NONE || delta_cool(a);
	pthread_mutex_unlock(&a->lock);
	return cooled;
}

static uint64_t count_of(struct alloc *a, const uint64_t *count)
{
	uint64_t n;

	pthread_mutex_lock(&a->lock);
	n = *count;
	pthread_mutex_unlock(&a->lock);
	return n;
}

uint64_t alloc_moves(struct alloc *a)
{
	return count_of(a, &a->moves);
}

uint64_t alloc_gains(struct alloc *a)
{
	return count_of(a, &a->gains);
}

/* True if the parity block must be zeroed when @n roles become FREE. */
static bool parity_ends(struct alloc *a, const struct alloc_at *at, uint32_t n)
{
	struct alloc_row *row = &a->row[at->parity];
	bool ends;

	pthread_mutex_lock(&a->lock);
	ends = row->taken[at->period] == n && bits_has(&row->coded, at->period);
	pthread_mutex_unlock(&a->lock);
	return ends;
}

/* D2 for the parity: the last role to leave takes all with it. Nobody can fold
 * into it meanwhile, for @work is held. */
static void clear_parity(struct alloc *a, struct alloc_at *at, uint32_t n)
{
	bool ends;

	pthread_mutex_lock(&a->work);
	ends = parity_ends(a, at, n);
	if (ends)
		alloc_zero(a, at->block, a->o.group->block_bytes);
	pthread_mutex_lock(&a->lock);
	if (ends)
		bits_put(&a->row[at->parity].coded, at->period, false);
	for (; n > 0; n--, alloc_next(at))
		set_free(a, at);
	pthread_mutex_unlock(&a->lock);
	pthread_mutex_unlock(&a->work);
}

void alloc_clear(struct alloc *a, struct alloc_at *at)
{
	struct block_rec rec;
	uint32_t n;

	block_load(at->rec, &rec);
	n = alloc_span(a, at, rec.kind);
	if (at->parity >= 0) {
		clear_parity(a, at, n);
		return;
	}
	alloc_zero(a, at->block, written(a, &rec));
	pthread_mutex_lock(&a->lock);
	set_free(a, at);
	pthread_mutex_unlock(&a->lock);
}
