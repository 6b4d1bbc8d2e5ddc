/* ec/former.c - see former.h. */
#include "ec/former.h"

#include <errno.h>
#include <stdlib.h>

#include "ec/alloc_impl.h"
#include "rdma/fabric.h"

struct former {
	const struct group *g;
	struct group group;
	struct block_rec *rec; /* [blocks], of the candidates */
	struct bits on;	       /* those not decided on */
};

/* K1. */
static bool is_candidate(const struct group *g, const struct block_rec *rec)
{
	return rec->seq % 2 == 0 && block_rec_check(g, rec) == 0 &&
	       (rec->state == BLOCK_SEALED || rec->state == BLOCK_FOLDED) &&
	       rec->flags == 0;
}

static void take_one(struct former *f, const void *region, uint32_t block,
		     uint32_t role, const struct former *before)
{
	const struct block_rec *rec =
		(const void *)((const char *)region +
			       group_rec_off(f->g, block, role));

	if (before != NULL && bits_has(&before->on, block))
		f->rec[block] = before->rec[block]; /* K5 */
	else if (is_candidate(f->g, rec))
		f->rec[block] = *rec;
	else
		return;
	bits_put(&f->on, block, true);
}

int former_take(const struct group *g, uint32_t node, const void *region,
		const struct former *before, struct former **out)
{
	struct former *f = calloc(1, sizeof(*f));
	uint64_t stripe;
	uint32_t role;

	if (f == NULL)
		return -ENOMEM;
	f->group = *g;
	f->g = &f->group;
	f->rec = calloc(g->blocks, sizeof(*f->rec));
	if (f->rec == NULL || bits_open(&f->on, g->blocks) != 0) {
		former_close(f);
		return -ENOMEM;
	}
	for (uint32_t b = 0; b < g->blocks; b++) {
		group_of_block(g, node, b, &stripe, &role);
		if (role < g->k)
			take_one(f, region, b, role, before);
	}
	*out = f;
	return 0;
}

void former_close(struct former *f)
{
	if (f == NULL)
		return;
	bits_close(&f->on);
	free(f->rec);
	free(f);
}

void former_clear(const struct former *f, void *region, int region_fd,
		  uint64_t size)
{
	uint64_t from = 0, to;

	for (uint32_t b = 0; b < f->g->blocks; b++) {
		if (!bits_has(&f->on, b))
			continue;
		to = group_block_off(f->g, b);
		if (to > from)
			fab_region_discard(region, region_fd, from, to - from);
		from = to + alloc_fold_end(&f->rec[b]);
	}
	if (size > from)
		fab_region_discard(region, region_fd, from, size - from);
}

const struct block_rec *former_rec(const struct former *f, uint32_t block)
{
	return f != NULL && bits_has(&f->on, block) ? &f->rec[block] : NULL;
}

void former_decided(struct former *f, uint32_t block)
{
	bits_put(&f->on, block, false);
}

uint32_t former_next(struct former *f, uint32_t from)
{
	return f != NULL ? bits_next(&f->on, from) : BITS_NONE;
}

uint64_t former_bytes(const struct former *f)
{
	uint64_t n = 0;

	for (uint32_t b = 0; b < f->g->blocks; b++)
		if (bits_has(&f->on, b))
			n += alloc_fold_end(&f->rec[b]);
	return n;
}
