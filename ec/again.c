/* ec/again.c - the leader's part: which block is opened again, and the stock of
 * those that are READY. */
#include "ec/again.h"

#include <errno.h>
#include <string.h>

#include "ec/alloc_impl.h"

#define SCAN_BLOCKS  4096u /* looked at for one victim */
#define WANT_MAX     2u
#define SHARE_COMMON 4u	 /* one unit of so many is obsolete: worth it */
#define SHARE_LEAST  64u /* worth it when nothing else is left */
#define PAGE_UNITS   (4096u / GROUP_UNIT_BYTES)
#define WAIT_TIMES   5u /* as long for a cut as for somebody who wants it */

/* --- the stock ------------------------------------------------------------ */

struct alloc_stock *again_find(struct alloc *a, const struct alloc_at *at)
{
	for (uint32_t i = 0; i < ALLOC_STOCK_MAX; i++)
		if (a->stock[i].on && a->stock[i].at.rec == at->rec)
			return &a->stock[i];
	return NULL;
}

void again_unstock(struct alloc *a, const struct alloc_at *at)
{
	struct alloc_stock *s = again_find(a, at);

	if (s != NULL)
		s->on = false;
}

static bool fits(const struct alloc *a, const struct alloc_stock *s,
		 uint8_t kind, uint32_t run)
{
	const struct alloc_row *row = &a->row[s->at.parity];

	return s->on && !s->undo && !s->wait && s->owner == 0 &&
	       s->kind == kind && s->run >= run && row->led && !row->coming &&
	       (row->role_up >> s->at.role & 1) != 0;
}

static struct alloc_stock *stock_for(struct alloc *a, uint8_t kind,
				     uint64_t avoid, uint32_t run)
{
	struct alloc_stock *any = NULL;

	for (uint32_t i = 0; i < ALLOC_STOCK_MAX; i++) {
		struct alloc_stock *s = &a->stock[i];

		if (!fits(a, s, kind, run))
			continue;
		any = s;
		if (!(avoid >> alloc_role_node(a, (uint32_t)s->at.parity,
					       s->at.role) &
		      1))
			return s;
	}
	return any;
}

int again_grant(struct alloc *a, uint8_t kind, uint32_t owner, uint64_t avoid,
		uint32_t run, struct alloc_grant *out)
{
	struct alloc_stock *s = stock_for(a, kind, avoid, run);
	struct block_rec rec;

	if (s == NULL)
		return -ENOENT;
	s->owner = owner;
	s->since = 0;
	block_load(s->at.rec, &rec);
	*out = (struct alloc_grant){.stripe = s->at.stripe,
				    .role = s->at.role,
				    .delta = rec.delta,
				    .life = alloc_next_life(s->life),
				    .again = true};
	return 0;
}

void again_want(struct alloc *a, uint8_t kind, uint32_t run)
{
	struct alloc_want *w = &a->want[kind];

	if (w->blocks < WANT_MAX)
		w->blocks++;
	if (run > w->run)
		w->run = run;
}

/* The longest run of set bits. */
static uint32_t longest_run(const uint64_t *map, uint32_t units)
{
	uint32_t best = 0, run = 0;

	for (uint32_t i = 0; i < units; i++) {
		if (i % 64 == 0 && map[i / 64] == 0) {
			run = 0;
			i += 63;
			continue;
		}
		run = map[i / 64] >> (i % 64) & 1 ? run + 1 : 0;
		best = run > best ? run : best;
	}
	return best;
}

static uint32_t units_of(const struct alloc *a)
{
	return a->o.group->block_bytes / GROUP_UNIT_BYTES;
}

static struct alloc_stock *stock_room(struct alloc *a)
{
	for (uint32_t i = 0; i < ALLOC_STOCK_MAX; i++)
		if (!a->stock[i].on)
			return &a->stock[i];
	return NULL;
}

static int stock_put(struct alloc *a, const struct alloc_at *at)
{
	struct alloc_stock *s = stock_room(a);
	struct block_rec rec;

	block_load(at->rec, &rec);
	if (s == NULL || a->want[rec.kind].blocks == 0 ||
	    (rec.flags & BLOCK_F_READY) == 0 || !a->row[at->parity].led ||
	    a->row[at->parity].coming ||
	    !(a->row[at->parity].role_up >> at->role & 1))
		return -ENOSPC;
	*s = (struct alloc_stock){
		.on = true,
		.at = *at,
		.kind = rec.kind,
		.wait = (rec.flags & BLOCK_F_ZEROED) == 0,
		.life = rec.life,
		.run = longest_run(alloc_map_at(a, at), units_of(a)),
	};
	if (s->run >= a->want[rec.kind].run)
		a->want[rec.kind].run = 0;
	a->want[rec.kind].blocks--;
	return 0;
}

int again_stock(struct alloc *a, uint64_t stripe, uint32_t role, uint32_t life)
{
	struct alloc_at at;
	int rc = alloc_locate(a, stripe, role, &at);

	if (rc != 0 || at.parity < 0)
		return -EINVAL;
	pthread_mutex_lock(&a->lock);
	rc = again_find(a, &at) != NULL ? 0 : stock_put(a, &at);
	pthread_mutex_unlock(&a->lock);
	return rc;
}

bool again_waits(const struct alloc *a)
{
	for (uint32_t i = 0; i < ALLOC_STOCK_MAX; i++)
		if (a->stock[i].on && a->stock[i].wait && !a->stock[i].undo)
			return true;
	return false;
}

int again_waited(struct alloc *a, struct again_job *out)
{
	int rc = -ENOENT;

	pthread_mutex_lock(&a->lock);
	for (uint32_t i = 0; i < ALLOC_STOCK_MAX && rc != 0; i++) {
		struct alloc_stock *s = &a->stock[i];

		if (!s->on || !s->wait || s->undo ||
		    !alloc_cut_may(a, &s->at, alloc_map_at(a, &s->at)))
			continue;
		*out = (struct again_job){.stripe = s->at.stripe,
					  .role = s->at.role,
					  .life = s->life,
					  .begun = true};
		s->on = false;
		a->want[s->kind].blocks++; /* as when it was begun */
		rc = 0;
	}
	pthread_mutex_unlock(&a->lock);
	return rc;
}

static bool is_stale(struct alloc_stock *s, uint64_t now, uint64_t max_ns)
{
	if (!s->on)
		return false;
	if (s->since == 0)
		s->since = now;
	return s->undo ||
	       now - s->since > (s->wait ? WAIT_TIMES * max_ns : max_ns);
}

int again_stale(struct alloc *a, uint64_t now, uint64_t max_ns,
		struct again_job *out)
{
	int rc = -ENOENT;

	pthread_mutex_lock(&a->lock);
	for (uint32_t i = 0; i < ALLOC_STOCK_MAX && rc != 0; i++) {
		struct alloc_stock *s = &a->stock[i];

		if (!is_stale(s, now, max_ns))
			continue;
		/* Granted: some member may be OPEN with the next life. */
		*out = (struct again_job){
			.stripe = s->at.stripe,
			.role = s->at.role,
			.life = s->owner != 0 ? alloc_next_life(s->life)
					      : s->life,
			.begun = true,
		};
		s->on = false;
		rc = 0;
	}
	pthread_mutex_unlock(&a->lock);
	return rc;
}

unsigned again_stocked(struct alloc *a)
{
	unsigned n = 0;

	pthread_mutex_lock(&a->lock);
	for (uint32_t i = 0; i < ALLOC_STOCK_MAX; i++)
		n += a->stock[i].on;
	pthread_mutex_unlock(&a->lock);
	return n;
}

void again_forsake(struct alloc *a, uint32_t owner)
{
	pthread_mutex_lock(&a->lock);
	for (uint32_t i = 0; i < ALLOC_STOCK_MAX; i++)
		if (a->stock[i].on && a->stock[i].owner == owner)
			a->stock[i].undo = true;
	pthread_mutex_unlock(&a->lock);
}

void again_clear(struct alloc *a)
{
	pthread_mutex_lock(&a->lock);
	for (uint32_t i = 0; i < ALLOC_STOCK_MAX; i++)
		a->stock[i].undo = true;
	pthread_mutex_unlock(&a->lock);
}

/* --- victims -------------------------------------------------------------- */

void again_skip(struct alloc *a, uint64_t stripe, uint32_t role)
{
	struct alloc_at at;

	if (alloc_locate(a, stripe, role, &at) != 0)
		return;
	pthread_mutex_lock(&a->lock);
	a->skipped[a->next_skipped++ % ALLOC_SKIPPED] = at.rec;
	pthread_mutex_unlock(&a->lock);
}

static bool is_skipped(const struct alloc *a, const struct alloc_at *at)
{
	for (uint32_t i = 0; i < ALLOC_SKIPPED; i++)
		if (a->skipped[i] == at->rec)
			return true;
	return false;
}

/* Free blocks there are, though few: only what is well worth it. */
static uint32_t least_dead(const struct alloc *a, uint8_t kind)
{
	uint64_t free = 0;
	uint32_t least;

	for (uint32_t j = 0; j < a->m; j++)
		for (uint32_t i = 0; i < a->k; i++)
			if (a->row[j].led && (a->row[j].role_up >> i & 1) != 0)
				free += a->row[j].free[i].n;
	least = units_of(a) /
		(free > a->o.reserve ? SHARE_COMMON : SHARE_LEAST);
	return kind == BLOCK_PAGES && least < PAGE_UNITS ? PAGE_UNITS : least;
}

static bool is_of_kind(uint8_t has, uint8_t wanted)
{
	return has == wanted || (has == BLOCK_ROWS && wanted == BLOCK_PAGES);
}

/* Would it do for @kind? Not one that is torn, or wholly obsolete: that is
 * freed, which costs less. */
static bool would_do(struct alloc *a, const struct alloc_at *at,
		     const struct block_rec *rec, uint8_t kind, uint32_t run)
{
	const struct alloc_row *row = &a->row[at->parity];

	return rec->state == BLOCK_FOLDED && is_of_kind(rec->kind, kind) &&
	       (rec->flags & BLOCK_F_TORN) == 0 && row->led && !row->coming &&
	       (row->role_up >> at->role & 1) != 0 && !is_skipped(a, at) &&
	       !bits_has(&row->victim[rec->kind == BLOCK_ROWS ? 0 : at->role],
			 at->period) &&
	       (run <= 1 ||
		longest_run(alloc_map_at(a, at), units_of(a)) >= run);
}

/* The best of the next SCAN_BLOCKS, from where the last search ended. */
static bool best_below(struct alloc *a, uint8_t kind, uint32_t run,
		       uint32_t below, struct alloc_at *best)
{
	uint32_t dead = least_dead(a, kind), blocks = a->o.group->blocks;
	uint32_t n = blocks < SCAN_BLOCKS ? blocks : SCAN_BLOCKS;
	bool found = false;

	dead = dead > 0 ? dead - 1 : 0;
	for (; n > 0; n--, a->again_at++) {
		struct block_rec rec;
		struct alloc_at at;

		alloc_at_block(a, a->again_at % blocks, 0, &at);
		for (uint32_t i = 0; at.parity >= 0 && i < a->k;
		     i++, alloc_next(&at)) {
			block_load(at.rec, &rec);
			if (rec.dead <= dead || rec.dead > below ||
			    !would_do(a, &at, &rec, kind, run))
				continue;
			dead = rec.dead;
			*best = at;
			found = true;
		}
	}
	return found;
}

/* Records of which hardly any are left are perhaps being moved away, so that
 * the block is given back: rather another, while the reserve needs it. */
static bool best_of(struct alloc *a, uint8_t kind, uint32_t run,
		    struct alloc_at *best)
{
	uint32_t units = units_of(a);

	if (kind == BLOCK_RECORDS &&
	    best_below(a, kind, run, units / 4 * 3, best))
		return true;
	return best_below(a, kind, run, units, best);
}

/* What was left of it has become obsolete meanwhile: it will be given back, not
 * opened (fold_victim()), and that waits until a member that is being rebuilt
 * has it, which must not wait for us (rebuild_look.c). */
static void only_retires(struct alloc *a, const struct alloc_at *at)
{
	struct block_rec rec;

	block_load(at->rec, &rec);
	if ((rec.flags & (BLOCK_F_AGAIN | BLOCK_F_READY)) == 0 ||
	    again_find(a, at) != NULL)
		return;
	rec.flags = 0;
	alloc_move(a, at, &rec);
}

/* RETIRING, partly live, not in stock: begun here or by another leader. @idle:
 * none is in our hands just now. */
static bool begun_one(struct alloc *a, bool idle, struct alloc_at *at)
{
	for (uint32_t j = 0; j < a->m; j++) {
		struct alloc_row *row = &a->row[j];

		for (uint32_t i = 0; row->led && i < a->k; i++) {
			uint32_t p = bits_next(&row->retiring[i], 0);

			for (; p != BITS_NONE;
			     p = bits_next(&row->retiring[i], p + 1)) {
				alloc_at_block(a, p * a->w + a->k + j, i, at);
				if (!bits_has(&row->victim[i], p) &&
				    again_find(a, at) == NULL &&
				    !is_skipped(a, at))
					return true;
				if (idle && bits_has(&row->victim[i], p))
					only_retires(a, at);
			}
		}
	}
	return false;
}

static bool wanted_one(struct alloc *a, struct alloc_at *at)
{
	for (uint8_t kind = BLOCK_RECORDS; kind <= BLOCK_PAGES; kind++) {
		struct alloc_want *w = &a->want[kind];

		if (w->blocks == 0)
			continue;
		if (stock_room(a) != NULL && best_of(a, kind, w->run, at))
			return true;
		*w = (struct alloc_want){0}; /* whoever wants it asks again */
		memset(a->skipped, 0, sizeof(a->skipped));
	}
	return false;
}

int again_victim(struct alloc *a, struct again_job *out)
{
	struct block_rec rec;
	struct alloc_at at;
	bool found;

	pthread_mutex_lock(&a->lock);
	out->begun = found = begun_one(a, true, &at);
	if (!found)
		found = wanted_one(a, &at);
	if (found) {
		block_load(at.rec, &rec);
		out->stripe = at.stripe;
		out->role = at.role;
		out->life = rec.life;
	}
	pthread_mutex_unlock(&a->lock);
	return found ? 0 : -ENOENT;
}

/* Anything that is on its way out, or could be. */
bool again_hope(struct alloc *a, uint8_t kind, uint32_t run)
{
	struct alloc_at at;

	for (uint32_t j = 0; j < a->m; j++) {
		struct alloc_row *row = &a->row[j];

		for (uint32_t i = 0; row->led && i < a->k; i++)
			if ((row->role_up >> i & 1) != 0 &&
			    row->victim[i].n != 0 && !a->o.hold)
				return true;
	}
	return begun_one(a, false, &at) || best_of(a, kind, run, &at);
}
