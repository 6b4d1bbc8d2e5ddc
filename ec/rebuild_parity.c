/* ec/rebuild_parity.c - a parity: those roles that it lacks, summed up aside,
 * then added to what has been folded into it since. */
#include <errno.h>
#include <string.h>

#include "ec/rebuild_impl.h"

#define WINDOW (16u * BLOCK_FOLD_STEP)

static uint32_t roles(const struct rebuild *r)
{
	return r->a->k;
}

static struct alloc_at at_role(const struct rebuild *r, uint32_t i)
{
	struct alloc_at at;

	alloc_at_block(r->a, r->at.block, i, &at);
	return at;
}

static bool takes(const struct rebuild *r, uint32_t i)
{
	return (r->take >> i & 1) != 0;
}

static bool is_rows(const struct rebuild *r)
{
	return r->look.rows;
}

/* --- what is to be taken -------------------------------------------------- */

/* Sort out role @i. Lock held. */
static void look_role(struct rebuild *r, uint32_t i)
{
	const struct block_rec *rec = look_rec(&r->look, i);
	struct alloc_at at = at_role(r, i);

	/* Of rows all are taken while any is left: should the leader die now,
	 * this node may be the one that has to give the others back. */
	if (rec->state == BLOCK_FREE || (!is_rows(r) && look_gone(&r->look, i)))
		rebuild_life(r, &at, rec->life);
	if (!rebuild_behind(r, &at))
		return;
	if ((r->lost >> i & 1) != 0)
		r->pending = r->pending != 0 ? r->pending : -EIO;
	else if (look_settled(&r->look, i))
		r->take |= 1u << i;
	else
		r->pending = -EAGAIN;
}

static void look_roles(struct rebuild *r)
{
	r->take = 0;
	r->pending = 0;
	r->end = 0;
	pthread_mutex_lock(&r->a->lock);
	for (uint32_t i = 0; i < roles(r); i++)
		look_role(r, i);
	pthread_mutex_unlock(&r->a->lock);
	if (is_rows(r) && r->pending != 0)
		r->take = 0; /* all or none */
	for (uint32_t i = 0; i < roles(r); i++)
		if (takes(r, i) && rebuild_bytes(r, i) > r->end)
			r->end = rebuild_bytes(r, i);
}

static int look(struct rebuild *r)
{
	int rc = look_read(r, &r->look);

	if (rc != 0)
		return rc;
	look_roles(r);
	if (r->take == 0)
		return r->pending;
	r->step = REBUILD_FETCH;
	return 1;
}

/* --- the sum -------------------------------------------------------------- */

/* How much of role @i is in [fetched, +n). */
static uint32_t part(const struct rebuild *r, uint32_t i, uint32_t n)
{
	uint32_t end = rebuild_bytes(r, i);

	if (!takes(r, i) || end <= r->fetched)
		return 0;
	return end - r->fetched < n ? end - r->fetched : n;
}

static char *piece_of(const struct rebuild *r, uint32_t i)
{
	return r->piece + (size_t)i * REBUILD_PIECE_MAX;
}

/* From the data nodes that are up, all at once. */
static int read_pieces(struct rebuild *r, uint32_t n)
{
	struct fab_batch b = {.ops = r->ops};
	int rc;

	for (uint32_t i = 0; i < roles(r); i++) {
		fab_addr from =
			group_addr(r->a->o.group, r->at.stripe, i, r->fetched);

		if (part(r, i, n) > 0 && r->look.data_up[i])
			fab_read(&b.ops[b.n++], fab_addr_node(from),
				 fab_addr_offset(from), piece_of(r, i),
				 part(r, i, n));
	}
	rc = b.n == 0 ? 0 : fab_run(r->f, &b);
	for (uint32_t i = 0; rc == 0 && i < b.n; i++)
		rc = b.ops[i].status;
	return rc;
}

/* The others; one that cannot be had is left out next time. */
static int decode_pieces(struct rebuild *r, uint32_t n)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < roles(r); i++) {
		if (part(r, i, n) == 0 || r->look.data_up[i])
			continue;
		rc = rebuild_decode(r, i, r->fetched, part(r, i, n),
				    piece_of(r, i));
		if (rc == -EIO)
			r->lost |= 1u << i;
	}
	return rc;
}

static bool all_whole(const struct rebuild *r, uint32_t n)
{
	for (uint32_t i = 0; i < roles(r); i++)
		if (part(r, i, n) != n)
			return false;
	return true;
}

/* [fetched, +n) of the parity of what was taken. */
static void sum_pieces(struct rebuild *r, uint32_t n)
{
	const void *data[CODE_DATA_MAX];
	unsigned j = (unsigned)r->at.parity;
	char *to = r->sum_buf + r->fetched;

	for (uint32_t i = 0; i < roles(r); i++)
		data[i] = piece_of(r, i);
	if (all_whole(r, n)) { /* as a rule: one pass */
		code_encode_row(r->a->o.code, j, n, data, to);
		return;
	}
	memset(to, 0, n);
	for (uint32_t i = 0; i < roles(r); i++)
		if (part(r, i, n) > 0)
			code_fold(r->a->o.code, j, i, part(r, i, n), data[i],
				  to);
}

static int fetch(struct rebuild *r, uint32_t bytes)
{
	uint32_t n = r->end - r->fetched;
	int rc;

	n = n < bytes ? n : bytes;
	rc = read_pieces(r, n);
	if (rc == 0)
		rc = decode_pieces(r, n);
	if (rc == -EIO) {
		r->fetched = 0; /* once more, without it */
		r->step = REBUILD_LOOK;
		return 1;
	}
	if (rc != 0)
		return rc;
	sum_pieces(r, n);
	r->fetched += n;
	if (r->fetched == r->end)
		r->step = REBUILD_CHECK;
	return 1;
}

/* --- into the parity ------------------------------------------------------ */

static bool all_behind(struct rebuild *r)
{
	bool all = true;

	for (uint32_t i = 0; i < roles(r); i++) {
		struct alloc_at at = at_role(r, i);

		if (takes(r, i))
			all &= rebuild_behind(r, &at);
	}
	return all;
}

/* From here on the records speak for the roles; but rows belong to the parity
 * as soon as they are anything, so theirs come last. Lock held. */
static void merge_begin(struct rebuild *r)
{
	bits_put(&r->a->row[r->at.parity].coded, r->at.period, true);
	for (uint32_t i = 0; i < roles(r) && !is_rows(r); i++) {
		struct alloc_at at = at_role(r, i);

		if (takes(r, i))
			rebuild_enter(r, &at, BLOCK_FOLDING);
	}
	r->step = REBUILD_MERGE;
}

static int check(struct rebuild *r)
{
	int rc = look_again(r);

	for (uint32_t i = 0; rc == 0 && i < roles(r); i++)
		if (takes(r, i) && !look_holds(r, i))
			rc = -EAGAIN;
	if (rc != 0)
		return rc;
	pthread_mutex_lock(&r->a->lock);
	if (all_behind(r))
		merge_begin(r);
	else
		rc = -EAGAIN;
	pthread_mutex_unlock(&r->a->lock);
	rebuild_map(r, r->end);
	return rc != 0 ? rc : 1;
}

/* A window of @steps is under way in all roles taken; or, with none, it is
 * over, and @n bytes are in. */
static void publish_window(struct rebuild *r, uint32_t steps, uint32_t n)
{
	struct block_rec rec;

	pthread_mutex_lock(&r->a->lock);
	for (uint32_t i = 0; i < roles(r) && !is_rows(r); i++) {
		struct alloc_at at = at_role(r, i);

		if (!takes(r, i))
			continue;
		block_load(at.rec, &rec); /* marks may have come meanwhile */
		rec.busy = (uint8_t)steps;
		rec.progress += n;
		alloc_move(r->a, &at, &rec);
	}
	pthread_mutex_unlock(&r->a->lock);
}

static void merge_window(struct rebuild *r)
{
	uint32_t n = r->end - r->merged;
	char *to = alloc_region_at(r->a,
				   group_block_off(r->a->o.group, r->at.block));

	n = n < WINDOW ? n : WINDOW;
	pthread_mutex_lock(&r->a->work);
	publish_window(r, n / BLOCK_FOLD_STEP, 0);
	code_xor(to + r->merged, r->sum_buf + r->merged, n);
	publish_window(r, 0, n);
	pthread_mutex_unlock(&r->a->work);
	r->merged += n;
}

static void end_role(struct rebuild *r, const struct alloc_at *at)
{
	struct block_rec rec;

	block_load(at->rec, &rec);
	rec.progress = 0;
	rec.state = (rec.flags & BLOCK_F_RETIRE) != 0 ? BLOCK_RETIRING
						      : BLOCK_FOLDED;
	rec.flags = 0;
	alloc_move(r->a, at, &rec);
}

/* What was begun goes on, whoever leads then. */
static uint8_t rows_state(const struct rebuild *r)
{
	return look_rec(&r->again, 0)->state == BLOCK_RETIRING ? BLOCK_RETIRING
							       : BLOCK_FOLDED;
}

static void merge_end(struct rebuild *r)
{
	bool rows = is_rows(r);

	pthread_mutex_lock(&r->a->lock);
	for (uint32_t i = 0; i < roles(r); i++) {
		struct alloc_at at = at_role(r, i);

		if (!takes(r, i))
			continue;
		if (rows)
			rebuild_enter(r, &at, rows_state(r));
		else
			end_role(r, &at);
	}
	for (uint32_t i = 0; i < roles(r); i++) {
		struct alloc_at at = at_role(r, i);

		alloc_judge(r->a, &at);
	}
	pthread_mutex_unlock(&r->a->lock);
}

static int merge(struct rebuild *r, uint32_t bytes)
{
	uint32_t from = r->merged;

	/* Rows in one go: until they are in no record speaks of them. */
	while (r->merged < r->end && (is_rows(r) || r->merged - from < bytes))
		merge_window(r);
	if (r->merged < r->end)
		return 1;
	merge_end(r);
	return r->pending; /* what was left out is for another time */
}

int parity_step(struct rebuild *r, uint32_t bytes)
{
	switch (r->step) {
	case REBUILD_LOOK:
		return look(r);
	case REBUILD_FETCH:
		return fetch(r, bytes);
	case REBUILD_CHECK:
		return check(r);
	default:
		return merge(r, bytes);
	}
}
