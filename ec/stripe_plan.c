/* ec/stripe_plan.c - which bytes give back a lost range, and the sum.
 *
 * Of the stripe's data roles, each is, for the range and at a parity j: IN
 * (part of p[j]) or OUT (D1), which the record there says. A role is known if
 * its node is up, or if some parity node has a full copy (its delta); else it
 * is lost.
 *
 *	p[j]  ==  sum over roles IN at j of c[j][i] * d[i]
 *
 * A copy is not used while it may be another than what some parity node holds
 * to already (S6), if there is any other way. And if there is none: what was
 * never opened everywhere is zeros (S7).
 * Roles that are OUT at j are no part of this, so what their writers are about
 * at this moment does not matter [I5]. With the known ones folded out,
 * equations with the same lost roles, as many as these, give them all. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "ec/stripe_impl.h"
#include "rdma/fabric.h"

/* Blocks of which less is obsolete are no victims (half of ec/again.c's least),
 * nor will they be while one batch is under way. */
#define DOUBT_SHARE 128u

static bool is_up(const struct stripe_read *sr, uint32_t role)
{
	uint32_t node, block;

	group_member(sr->g, sr->stripe, role, &node, &block);
	return (sr->up >> node & 1) != 0;
}

/* Its copy may differ from others' yet: its owner may have died (S6). */
static bool is_loose(const struct block_rec *rec)
{
	return rec->state == BLOCK_OPEN || (rec->flags & BLOCK_F_ALIGN) != 0;
}

/* Somebody has what this copy will be made equal to. */
static bool is_overruled(const struct stripe_read *sr, uint32_t p,
			 uint32_t role)
{
	const struct block_rec *rec = &sr->peer[p].rec[role];

	for (uint32_t q = 0; is_loose(rec) && q < sr->npeers; q++) {
		const struct block_rec *other = &sr->peer[q].rec[role];

		if (other->state != BLOCK_FREE && other->life == rec->life &&
		    !is_loose(other))
			return true;
	}
	return false;
}

static bool copy_at(const struct stripe_read *sr, uint32_t p, uint32_t role)
{
	return block_has_copy(&sr->peer[p].rec[role]) &&
	       (sr->plan.any_copy || !is_overruled(sr, p, role));
}

static int copy_of(const struct stripe_read *sr, uint32_t role)
{
	for (uint32_t p = 0; p < sr->npeers; p++)
		if (copy_at(sr, p, role))
			return (int)p;
	return -1;
}

/* The part of the slice in which @role is IN at peer @p. */
static bool is_in(const struct stripe_read *sr, uint32_t p, uint32_t role,
		  uint32_t *lo, uint32_t *hi)
{
	*lo = sr->plan.lo;
	*hi = sr->plan.hi;
	return block_in_parity(&sr->peer[p].rec[role], lo, hi);
}

static bool wholly_in(const struct stripe_read *sr, uint32_t p, uint32_t role)
{
	uint32_t lo, hi;

	return is_in(sr, p, role, &lo, &hi) && lo == sr->plan.lo &&
	       hi == sr->plan.hi;
}

static bool in_flux(const struct stripe_read *sr, uint32_t p)
{
	for (uint32_t i = 0; i < sr->g->k; i++)
		if (block_in_flux(&sr->peer[p].rec[i], sr->plan.lo,
				  sr->plan.hi))
			return true;
	return false;
}

/* Is it closed at one parity node and FREE at another, which has seen it in no
 * later life? That one never had it open, or gave it back unwritten: what was
 * written has left all parities before it is FREE at any. */
static bool is_bare(const struct stripe_read *sr, uint32_t role)
{
	uint32_t life = 0; /* the last in which it was closed; 0: in none */
	bool free = false;

	for (uint32_t p = 0; p < sr->npeers; p++) {
		const struct block_rec *rec = &sr->peer[p].rec[role];

		if (rec->state != BLOCK_FREE && rec->state != BLOCK_OPEN &&
		    rec->life > life)
			life = rec->life;
	}
	for (uint32_t p = 0; life != 0 && p < sr->npeers; p++) {
		const struct block_rec *rec = &sr->peer[p].rec[role];

		free |= rec->state == BLOCK_FREE && rec->life <= life;
	}
	return free;
}

static uint32_t bare_roles(const struct stripe_read *sr)
{
	uint32_t bare = 0;

	for (uint32_t i = 0; i < sr->g->k; i++)
		if (!is_up(sr, i) && is_bare(sr, i))
			bare |= 1u << i;
	return bare;
}

static void find_sources(struct stripe_read *sr)
{
	struct stripe_plan *pl = &sr->plan;

	for (uint32_t i = 0; i < sr->g->k; i++) {
		int p = copy_of(sr, i);

		pl->source[i] = SOURCE_NONE;
		if (i == sr->role)
			continue;
		if (is_up(sr, i)) {
			pl->source[i] = SOURCE_NODE;
		} else if (p >= 0) {
			pl->source[i] = SOURCE_COPY;
			pl->source_peer[i] = (uint8_t)p;
		} else if (pl->bare >> i & 1) {
			pl->source[i] = SOURCE_ZEROS;
		}
	}
}

/* The lost roles in peer @p's equation, the wanted one too. */
static uint32_t lost_in(const struct stripe_read *sr, uint32_t p)
{
	uint32_t lost = 0, lo, hi;

	for (uint32_t i = 0; i < sr->g->k; i++)
		if (sr->plan.source[i] == SOURCE_NONE &&
		    is_in(sr, p, i, &lo, &hi))
			lost |= 1u << i;
	return lost;
}

static bool usable(const struct stripe_read *sr, uint32_t p)
{
	return wholly_in(sr, p, sr->role) && !in_flux(sr, p);
}

/* Enough equations in exactly the lost roles @lost? */
static bool take_equations(struct stripe_read *sr, uint32_t lost)
{
	struct stripe_plan *pl = &sr->plan;
	uint32_t need = (uint32_t)__builtin_popcount(lost), n = 0;

	pl->neq = 0;
	for (uint32_t p = 0; p < sr->npeers && pl->neq < need; p++)
		if (usable(sr, p) && lost_in(sr, p) == lost)
			pl->eq[pl->neq++] = p;
	if (pl->neq < need)
		return false;
	pl->lost[n++] = sr->role;
	for (uint32_t i = 0; i < sr->g->k; i++)
		if (i != sr->role && (lost >> i & 1) != 0)
			pl->lost[n++] = i;
	return true;
}

static bool find_equations(struct stripe_read *sr)
{
	for (uint32_t p = 0; p < sr->npeers; p++)
		if (usable(sr, p) && take_equations(sr, lost_in(sr, p)))
			return true;
	return false;
}

/* A known role that no chosen equation contains need not be read. */
static void drop_sources(struct stripe_read *sr)
{
	struct stripe_plan *pl = &sr->plan;

	for (uint32_t i = 0; i < sr->g->k; i++) {
		bool needed = false;
		uint32_t lo, hi;

		for (uint32_t e = 0; e < pl->neq; e++)
			needed |= is_in(sr, pl->eq[e], i, &lo, &hi);
		if (!needed)
			pl->source[i] = SOURCE_NONE;
	}
}

static bool is_read(const struct stripe_plan *pl, uint32_t role)
{
	return pl->source[role] == SOURCE_NODE ||
	       pl->source[role] == SOURCE_COPY;
}

static void give_buffers(struct stripe_read *sr)
{
	struct stripe_plan *pl = &sr->plan;
	uint32_t n = pl->hi - pl->lo;
	char *free_mem = sr->scratch;

	pl->x[0] = sr->buf + sr->done;
	for (uint32_t e = 0; e < pl->neq; e++, free_mem += n)
		pl->rhs[e] = free_mem;
	for (uint32_t e = 1; e < pl->neq; e++, free_mem += n)
		pl->x[e] = free_mem;
	for (uint32_t i = 0; i < sr->g->k; i++) {
		if (!is_read(pl, i))
			continue;
		pl->data[i] = free_mem;
		free_mem += n;
	}
}

static void mark_asked(struct stripe_read *sr)
{
	struct stripe_plan *pl = &sr->plan;

	for (uint32_t p = 0; p < sr->npeers; p++)
		sr->peer[p].asked = (int)p == pl->copy || pl->bare != 0;
	for (uint32_t e = 0; e < pl->neq; e++)
		sr->peer[pl->eq[e]].asked = true;
	for (uint32_t i = 0; pl->copy < 0 && i < sr->g->k; i++)
		if (pl->source[i] == SOURCE_COPY)
			sr->peer[pl->source_peer[i]].asked = true;
}

/* No plan: is it lost, gone, or on the move? */
static int why_not(const struct stripe_read *sr)
{
	uint32_t away = is_up(sr, sr->role) ? 1 : 0; /* is not to be asked */
	bool gone = sr->npeers > 0;

	for (uint32_t r = 0; r < group_width(sr->g); r++)
		away += is_up(sr, r) ? 0 : 1;
	for (uint32_t p = 0; p < sr->npeers; p++)
		gone &= sr->peer[p].rec[sr->role].state == BLOCK_FREE;
	if (gone)
		return -ENODATA;
	return away > sr->g->m ? -EIO : -EAGAIN;
}

static bool all_at_rest(const struct stripe_read *sr)
{
	for (uint32_t p = 0; p < sr->npeers; p++)
		if (in_flux(sr, p))
			return false;
	return true;
}

/* With @any_copy also from copies that are overruled: if that is all there is,
 * their node will leave them as they are (ec/fold_copy.c). Roles in @bare are
 * zeros. */
static bool find_plan(struct stripe_read *sr, bool any_copy, uint32_t bare)
{
	struct stripe_plan *pl = &sr->plan;

	pl->any_copy = any_copy;
	pl->bare = bare;
	pl->neq = 0;
	pl->copy = copy_of(sr, sr->role);
	if (pl->copy >= 0)
		return true;
	find_sources(sr);
	if ((bare >> sr->role & 1) == 0 && !find_equations(sr))
		return false;
	drop_sources(sr);
	give_buffers(sr);
	return true;
}

static bool find_any_plan(struct stripe_read *sr)
{
	if (find_plan(sr, false, 0))
		return true;
	return all_at_rest(sr) &&
	       (find_plan(sr, true, 0) || find_plan(sr, true, bare_roles(sr)));
}

int stripe_plan_make(struct stripe_read *sr)
{
	struct stripe_plan *pl = &sr->plan;
	uint32_t left = sr->len - sr->done;

	pl->lo = sr->at + sr->done;
	pl->hi = pl->lo +
		 (left < STRIPE_SLICE_BYTES ? left : STRIPE_SLICE_BYTES);
	if (!find_any_plan(sr))
		return why_not(sr);
	mark_asked(sr);
	return 0;
}

/* --- the batch ------------------------------------------------------------ */

static struct fab_op *next_op(struct stripe_read *sr)
{
	return &sr->ops[sr->batch.n++];
}

static void read_recs(struct stripe_read *sr, struct stripe_peer *peer,
		      struct block_rec *to)
{
	fab_read(next_op(sr), peer->node, group_rec_off(sr->g, peer->block, 0),
		 to, sr->g->k * (uint32_t)sizeof(*to));
}

static void read_delta(struct stripe_read *sr, const struct stripe_peer *peer,
		       uint32_t role, void *to)
{
	const struct stripe_plan *pl = &sr->plan;
	uint64_t off = group_delta_off(sr->g, peer->rec[role].delta - 1);

	fab_read(next_op(sr), peer->node, off + pl->lo, to, pl->hi - pl->lo);
}

static void read_parity(struct stripe_read *sr, const struct stripe_peer *peer,
			void *to)
{
	const struct stripe_plan *pl = &sr->plan;

	fab_read(next_op(sr), peer->node,
		 group_block_off(sr->g, peer->block) + pl->lo, to,
		 pl->hi - pl->lo);
}

/* All that is wanted from peer @p, its records before and after. */
static void ask_peer(struct stripe_read *sr, uint32_t p)
{
	struct stripe_plan *pl = &sr->plan;
	struct stripe_peer *peer = &sr->peer[p];

	read_recs(sr, peer, peer->before);
	if ((int)p == pl->copy)
		read_delta(sr, peer, sr->role, sr->buf + sr->done);
	for (uint32_t e = 0; e < pl->neq; e++)
		if (pl->eq[e] == p)
			read_parity(sr, peer, pl->rhs[e]);
	for (uint32_t i = 0; pl->copy < 0 && i < sr->g->k; i++)
		if (pl->source[i] == SOURCE_COPY && pl->source_peer[i] == p)
			read_delta(sr, peer, i, pl->data[i]);
	read_recs(sr, peer, peer->after);
}

void stripe_plan_ops(struct stripe_read *sr)
{
	struct stripe_plan *pl = &sr->plan;

	sr->batch.n = 0;
	for (uint32_t p = 0; p < sr->npeers; p++)
		if (sr->peer[p].asked)
			ask_peer(sr, p);
	for (uint32_t i = 0; pl->copy < 0 && i < sr->g->k; i++) {
		fab_addr from = group_addr(sr->g, sr->stripe, i, pl->lo);

		if (pl->source[i] == SOURCE_NODE)
			fab_read(next_op(sr), fab_addr_node(from),
				 fab_addr_offset(from), pl->data[i],
				 pl->hi - pl->lo);
	}
}

bool stripe_plan_doubts(const struct stripe_read *sr)
{
	const struct stripe_plan *pl = &sr->plan;

	if (pl->copy >= 0 || pl->neq == 0)
		return false;
	if (sr->surely)
		return true;
	for (uint32_t i = 0; i < sr->g->k; i++) {
		const struct block_rec *rec = &sr->peer[pl->eq[0]].after[i];

		if (pl->source[i] == SOURCE_NODE && rec->state != BLOCK_OPEN &&
		    (uint64_t)rec->dead * GROUP_UNIT_BYTES >=
			    rec->used / DOUBT_SHARE)
			return true;
	}
	return false;
}

void stripe_plan_confirm(struct stripe_read *sr)
{
	sr->batch.n = 0;
	for (uint32_t p = 0; p < sr->npeers; p++)
		if (sr->peer[p].asked)
			read_recs(sr, &sr->peer[p], sr->peer[p].after);
}

/* --- the sum -------------------------------------------------------------- */

static void fold_known(struct stripe_read *sr, uint32_t e)
{
	struct stripe_plan *pl = &sr->plan;
	uint32_t p = pl->eq[e], lo, hi;

	for (uint32_t i = 0; i < sr->g->k; i++) {
		if (!is_read(pl, i) || !is_in(sr, p, i, &lo, &hi))
			continue;
		code_fold(sr->c, sr->peer[p].row, i, hi - lo,
			  (char *)pl->data[i] + (lo - pl->lo),
			  (char *)pl->rhs[e] + (lo - pl->lo));
	}
}

void stripe_plan_solve(struct stripe_read *sr)
{
	struct stripe_plan *pl = &sr->plan;
	unsigned row[CODE_PARITY_MAX];
	int rc;

	if (pl->copy >= 0)
		return; /* it came straight to the caller's buffer */
	if (pl->neq == 0) {
		memset(sr->buf + sr->done, 0, pl->hi - pl->lo);
		return;
	}
	for (uint32_t e = 0; e < pl->neq; e++) {
		row[e] = sr->peer[pl->eq[e]].row;
		fold_known(sr, e);
	}
	rc = code_solve(sr->c, pl->neq, row, pl->lost, pl->hi - pl->lo,
			(const void *const *)pl->rhs, pl->x);
	assert(rc == 0); /* rows and roles differ: see take_equations() */
}
