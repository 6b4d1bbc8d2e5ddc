/* kv/node/walk.c - window: WALK_PERIODS periods of stripes. The stripes of a
 * period lie in the same few blocks of every node (ec/group.h), so a window is
 * one contiguous range of records on each. */
#include "kv/node/walk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WALK_PERIODS 64u

struct walk {
	const struct group *g;
	uint64_t up;
	bool equal;	       /* orphans are waited for */
	uint64_t at, end;      /* data blocks: stripe * k + role */
	uint64_t first;	       /* period of the window; UINT64_MAX: none yet */
	size_t bytes;	       /* of a node's share in the window */
	struct block_rec *rec; /* nodes x share */
};

static uint64_t periods(const struct group *g)
{
	return g->blocks / group_width(g);
}

int walk_open(const struct group *g, uint64_t up, bool equal, struct walk **out)
{
	struct walk *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return -ENOMEM;
	w->g = g;
	w->up = up;
	w->equal = equal;
	w->end = group_stripes(g) * g->k;
	w->first = UINT64_MAX;
	w->bytes = (size_t)WALK_PERIODS * group_width(g) * g->k *
		   sizeof(struct block_rec);
	w->rec = malloc(w->bytes * g->nodes);
	if (w->rec == NULL) {
		free(w);
		return -ENOMEM;
	}
	*out = w;
	return 0;
}

void walk_close(struct walk *w)
{
	if (w == NULL)
		return;
	free(w->rec);
	free(w);
}

static int window_status(const struct fab_batch *b)
{
	uint32_t i;

	for (i = 0; i < b->n; i++)
		if (b->ops[i].status != 0)
			return b->ops[i].status;
	return 0;
}

/* An orphan whose copies differ, perhaps (ec/fold_copy.c). */
static bool is_loose(const struct block_rec *rec)
{
	return rec->state != BLOCK_FREE && rec->kind == BLOCK_RECORDS &&
	       (rec->flags & BLOCK_F_ALIGN) != 0;
}

/* Is there one in the first @len bytes of a node's share? */
static bool window_is_loose(const struct walk *w, size_t len)
{
	for (uint32_t id = 0; id < w->g->nodes; id++) {
		const struct block_rec *rec =
			(const void *)((const char *)w->rec + id * w->bytes);

		if (!(w->up >> id & 1))
			continue;
		for (size_t i = 0; i < len / sizeof(*rec); i++)
			if (is_loose(&rec[i]))
				return true;
	}
	return false;
}

static int window_read(struct walk *w, struct fab *f, uint64_t period)
{
	const struct group *g = w->g;
	uint64_t n = periods(g) - period;
	struct fab_op ops[FAB_NODES_MAX];
	struct fab_batch b = {.ops = ops};
	uint32_t id, block = (uint32_t)period * group_width(g);
	size_t len;
	int rc;

	if (n > WALK_PERIODS)
		n = WALK_PERIODS;
	len = n * group_width(g) * g->k * sizeof(struct block_rec);
	for (id = 0; id < g->nodes; id++)
		if (w->up >> id & 1)
			fab_read(&ops[b.n++], (uint8_t)id,
				 group_rec_off(g, block, 0),
				 (char *)w->rec + id * w->bytes, (uint32_t)len);
	rc = fab_run(f, &b);
	if (rc == 0)
		rc = window_status(&b);
	if (rc == 0 && w->equal && window_is_loose(w, len))
		rc = -EAGAIN;
	w->first = rc == 0 ? period : UINT64_MAX;
	return rc;
}

/* Who tells of (stripe, role): @node's copy of the record, at its @block. */
static int teller(const struct walk *w, uint64_t stripe, uint32_t role,
		  uint32_t *node, uint32_t *block)
{
	const struct group *g = w->g;
	uint32_t r;

	group_member(g, stripe, role, node, block);
	if (w->up >> *node & 1)
		return 0;
	for (r = g->k; r < group_width(g); r++) {
		group_member(g, stripe, r, node, block);
		if (w->up >> *node & 1)
			return 0;
	}
	return -EIO;
}

/* A single read of a record may be torn; what is used of it, kind and FREE or
 * not, does not change while a block holds anything (ec/block.h). */
static int walk_look(struct walk *w, uint64_t stripe, uint32_t role,
		     struct walk_block *out)
{
	const struct group *g = w->g;
	uint32_t node, block, base = (uint32_t)w->first * group_width(g);
	const struct block_rec *share;
	int rc;

	rc = teller(w, stripe, role, &node, &block);
	if (rc != 0)
		return rc;
	share = (const void *)((const char *)w->rec + node * w->bytes);
	out->rec = share[(size_t)(block - base) * g->k + role];
	out->stripe = stripe;
	out->role = role;
	group_member(g, stripe, role, &out->node, &block);
	out->up = w->up >> out->node & 1;
	return out->rec.state != BLOCK_FREE;
}

int walk_next(struct walk *w, struct fab *f, struct walk_block *out)
{
	uint64_t stripe, period;
	int rc;

	while (w->at < w->end) {
		stripe = w->at / w->g->k;
		period = stripe / w->g->nodes;
		if (w->first == UINT64_MAX ||
		    period >= w->first + WALK_PERIODS) {
			rc = window_read(w, f, period);
			if (rc != 0)
				return rc;
		}
		rc = walk_look(w, stripe, (uint32_t)(w->at++ % w->g->k), out);
		if (rc != 0)
			return rc;
	}
	return 0;
}

void walk_progress(const struct walk *w, uint64_t *done, uint64_t *total)
{
	*done = w->at;
	*total = w->end;
}
