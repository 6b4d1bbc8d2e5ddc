/* ec/fold_copy.c - bringing a data block's bytes into a delta block here.
 *
 * Retiring. Before a block is folded out, its parity node takes a full copy of
 * it. Streaming it through would do, until the data node dies half-way: then
 * this parity would hold a part of a block that others hold whole, and the
 * neighbours' equations would differ byte by byte. With the copy the block is
 * known, at any progress, as long as any parity node is still at it.
 *
 * Orphans. A client that died may have written a record to its data block and
 * to some delta blocks, not all. Nobody was told that it is there, but folded
 * so, data and parity would not agree in these units, and the bytes of
 * neighbours could not be decoded there: the write hole. So before an orphan is
 * folded, its delta becomes what the data block is. If that is away, what some
 * parity node has will do, but all must take the same: one that is settled (has
 * its delta made equal) is followed; if none is, the first that is up settles
 * for its own, and the others wait for it. */
#include <assert.h>
#include <errno.h>

#include "ec/alloc_impl.h"
#include "ec/stripe.h"
#include "rdma/fabric.h"

#define PIECE_MIN (64u << 10)
#define PIECE_MAX (1u << 20)

static uint32_t piece_of(uint32_t left, uint32_t bytes)
{
	uint32_t n = bytes < PIECE_MIN ? PIECE_MIN : bytes;

	n = n < PIECE_MAX ? n : PIECE_MAX;
	return n < left ? n : left;
}

int copy_read(struct fab *f, fab_addr from, void *to, uint32_t len)
{
	struct fab_op op;
	struct fab_batch b = {.ops = &op, .n = 1};
	int rc;

	fab_read(&op, fab_addr_node(from), fab_addr_offset(from), to, len);
	rc = fab_run(f, &b);
	return rc != 0 ? rc : op.status;
}

static bool copy_is_of(const struct alloc_copy *c, const struct alloc_at *at,
		       uint32_t life)
{
	return c->on && c->at.rec == at->rec && c->life == life;
}

static void *copy_to(const struct alloc *a, const struct alloc_copy *c)
{
	return alloc_region_at(a, group_delta_off(a->o.group, c->delta - 1) +
					  c->done);
}

static fab_addr copy_from(const struct alloc *a, const struct alloc_copy *c)
{
	return group_addr(a->o.group, c->at.stripe, c->at.role, c->done);
}

static bool data_is_up(const struct alloc *a, const struct alloc_at *at)
{
	return (a->row[at->parity].role_up >> at->role & 1) != 0;
}

/* --- retiring ------------------------------------------------------------- */

static void leaver_stop(struct alloc *a)
{
	if (a->leaver.on)
		delta_drop(a, a->leaver.delta - 1, a->leaver.done);
	a->leaver.on = false;
}

bool copy_next(struct alloc *a, struct alloc_at *at, struct block_rec *rec)
{
	if (a->leaver.on && !data_is_up(a, &a->leaver.at))
		leaver_stop(a);
	if (!a->leaver.on)
		return false;
	*at = a->leaver.at;
	block_load(at->rec, rec);
	return true;
}

/* What gives whole blocks back may take the delta blocks that are kept; what
 * takes one for long may not. */
static int leaver_start(struct alloc *a, const struct alloc_at *at,
			const struct block_rec *rec)
{
	uint32_t delta;

	if (copy_is_of(&a->leaver, at, rec->life))
		return 0;
	leaver_stop(a);
	delta = delta_take(a, at, (rec->flags & BLOCK_F_AGAIN) == 0);
	if (delta == 0)
		return -EAGAIN;
	a->leaver = (struct alloc_copy){
		.on = true, .at = *at, .life = rec->life, .delta = delta};
	return 0;
}

/* It may have been given up (again_resume) while this thread was on its way. */
static int leaver_check(struct alloc *a, const struct alloc_at *at,
			struct block_rec *rec)
{
	block_load(at->rec, rec);
	if (rec->state == BLOCK_RETIRING && rec->delta == 0)
		return 0;
	if (a->leaver.on && a->leaver.at.rec == at->rec)
		leaver_stop(a);
	return -EAGAIN;
}

/* The copy is whole: from now on the record names it (D1). */
static void leaver_whole(struct alloc *a, const struct alloc_at *at)
{
	struct block_rec rec;

	block_load(at->rec, &rec); /* marks may have come meanwhile */
	rec.delta = a->leaver.delta;
	alloc_move(a, at, &rec);
	a->leaver.on = false;
}

int copy_retiring(struct alloc *a, struct fab *f, const struct alloc_at *at,
		  uint32_t bytes)
{
	struct alloc_copy *c = &a->leaver;
	struct block_rec rec;
	uint32_t n;
	int rc;

	pthread_mutex_lock(&a->lock);
	rc = leaver_check(a, at, &rec);
	if (rc == 0)
		rc = leaver_start(a, at, &rec);
	pthread_mutex_unlock(&a->lock);
	if (rc != 0)
		return rc;

	n = piece_of(alloc_fold_end(&rec) - c->done, bytes);
	rc = copy_read(f, copy_from(a, c), copy_to(a, c), n);
	pthread_mutex_lock(&a->lock);
	c->done += n; /* touched, even if it failed */
	if (rc == 0)
		rc = leaver_check(a, at, &rec);
	if (rc != 0)
		leaver_stop(a);
	else if (c->done < alloc_fold_end(&rec))
		rc = 1;
	else
		leaver_whole(a, at);
	pthread_mutex_unlock(&a->lock);
	return rc;
}

/* --- orphans -------------------------------------------------------------- */

static uint64_t up_now(const struct alloc *a)
{
	return __atomic_load_n(&a->up, __ATOMIC_RELAXED);
}

/* What parity node @j's record says of the orphan. */
enum orphan_view {
	ORPHAN_ABSENT,	/* down, or it does not know of this block */
	ORPHAN_UNKNOWN, /* it is up, but cannot be asked just now */
	ORPHAN_WAITING, /* its delta is not equal yet */
	ORPHAN_SETTLED,
};

static enum orphan_view view_of(struct alloc *a, struct fab *f,
				const struct alloc_copy *c, uint32_t j)
{
	const struct group *g = a->o.group;
	uint32_t node, block;
	struct block_rec rec;

	group_member(g, c->at.stripe, a->k + j, &node, &block);
	if ((up_now(a) >> node & 1) == 0)
		return ORPHAN_ABSENT;
	if (copy_read(f,
		      fab_addr_make((uint8_t)node,
				    group_rec_off(g, block, c->at.role)),
		      &rec, sizeof(rec)) != 0)
		return ORPHAN_UNKNOWN;
	if (rec.seq % 2 != 0)
		return ORPHAN_WAITING;
	if (rec.state == BLOCK_FREE || rec.life != c->life)
		return ORPHAN_ABSENT;
	if (rec.state == BLOCK_OPEN || (rec.flags & BLOCK_F_ALIGN) != 0)
		return ORPHAN_WAITING;
	return ORPHAN_SETTLED;
}

/* Whom to follow: sets c->from to the nodes to be asked, 0: nobody. -EAGAIN if
 * an elder must settle first; any other is an elder to a node that is not up,
 * of which the others know nothing. */
static int follow(struct alloc *a, struct fab *f, struct alloc_copy *c)
{
	bool coming = __atomic_load_n(&a->coming, __ATOMIC_RELAXED);
	uint64_t settled = 0, parities = 0;
	bool wait = false;
	uint32_t node, block;

	for (uint32_t j = 0; j < a->m; j++) {
		enum orphan_view v;

		group_member(a->o.group, c->at.stripe, a->k + j, &node, &block);
		parities |= UINT64_C(1) << node;
		if ((int)j == c->at.parity)
			continue;
		v = view_of(a, f, c, j);
		if (v == ORPHAN_SETTLED)
			settled |= UINT64_C(1) << node;
		wait |= v == ORPHAN_UNKNOWN ||
			(v == ORPHAN_WAITING &&
			 ((int)j < c->at.parity || coming));
	}
	if (settled == 0)
		c->from = 0;
	else
		c->from = settled | (up_now(a) & ~parities);
	return settled == 0 && wait ? -EAGAIN : 0;
}

/* The data as the settled ones have it. If they cannot tell (too many others
 * are away), this node's own copy is as good as any. */
static int read_settled(struct alloc *a, struct fab *f,
			const struct alloc_copy *c, uint32_t len)
{
	int rc;

	rc = stripe_read_surely(f, a->o.group, a->o.code, copy_from(a, c), len,
				c->from, copy_to(a, c),
				fab_now(f) + FAB_TIMEOUT_NS);
	return rc == -EIO || rc == -ENODATA ? 0 : rc;
}

/* Begin, or begin again if the source is another by now: half of one and half
 * of another would be equal to neither. 1: there is nothing to copy. */
static int orphan_start(struct alloc *a, struct fab *f,
			const struct alloc_at *at, const struct block_rec *rec,
			bool data_up)
{
	struct alloc_copy *c = &a->orphan;
	int rc;

	if (copy_is_of(c, at, rec->life) && c->from_data == data_up)
		return 0;
	*c = (struct alloc_copy){.at = *at,
				 .life = rec->life,
				 .delta = rec->delta,
				 .from_data = data_up};
	rc = data_up ? void_orphan(a, f, at, rec) : follow(a, f, c);
	c->on = rc == 0;
	return rc;
}

/* Not if the data node went away (or came) meanwhile: others may have settled
 * without it, so it is begun again, by the order of those. */
static int orphan_whole(struct alloc *a, const struct alloc_at *at)
{
	struct block_rec rec;
	int rc = 0;

	pthread_mutex_lock(&a->lock);
	block_load(at->rec, &rec);
	if (a->orphan.from_data == data_is_up(a, at)) {
		rec.flags &= (uint8_t)~BLOCK_F_ALIGN;
		rec.flags |= BLOCK_F_HELD;
		alloc_move(a, at, &rec);
	} else {
		rc = -EAGAIN;
	}
	pthread_mutex_unlock(&a->lock);
	a->orphan.on = false;
	return rc;
}

static int orphan_piece(struct alloc *a, struct fab *f, uint32_t len)
{
	struct alloc_copy *c = &a->orphan;

	if (c->from_data)
		return copy_read(f, copy_from(a, c), copy_to(a, c), len);
	return c->from != 0 ? read_settled(a, f, c, len) : 0;
}

int copy_orphan(struct alloc *a, struct fab *f, const struct alloc_at *at,
		uint32_t bytes)
{
	struct alloc_copy *c = &a->orphan;
	struct block_rec rec;
	bool data_up;
	uint32_t n;
	int rc;

	block_load(at->rec, &rec);
	pthread_mutex_lock(&a->lock);
	data_up = data_is_up(a, at);
	pthread_mutex_unlock(&a->lock);
	rc = orphan_start(a, f, at, &rec, data_up);
	if (rc != 0)
		return rc;

	n = piece_of(a->o.group->block_bytes - c->done, bytes);
	rc = orphan_piece(a, f, n);
	if (rc != 0) {
		c->on = false; /* from the start, perhaps from another */
		return rc;
	}
	c->done += n;
	if (c->done < a->o.group->block_bytes)
		return 1;
	return orphan_whole(a, at);
}

/* Have all others that know of it, and are up, settled? */
static bool all_settled(struct alloc *a, struct fab *f,
			const struct alloc_copy *c)
{
	for (uint32_t j = 0; j < a->m; j++) {
		enum orphan_view v;

		if ((int)j == c->at.parity)
			continue;
		v = view_of(a, f, c, j);
		if (v == ORPHAN_WAITING || v == ORPHAN_UNKNOWN)
			return false;
	}
	return true;
}

int copy_release(struct alloc *a, struct fab *f, const struct alloc_at *at)
{
	struct alloc_copy c = {.at = *at};
	struct block_rec rec;

	block_load(at->rec, &rec);
	c.life = rec.life;
	if (!all_settled(a, f, &c))
		return -EAGAIN;
	pthread_mutex_lock(&a->lock);
	block_load(at->rec, &rec);
	if (rec.state == BLOCK_SEALED && rec.life == c.life) {
		rec.flags &= (uint8_t)~BLOCK_F_HELD;
		alloc_move(a, at, &rec);
	}
	pthread_mutex_unlock(&a->lock);
	return 1;
}
