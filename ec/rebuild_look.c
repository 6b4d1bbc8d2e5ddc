/* ec/rebuild_look.c - what the other members say of a stripe. */
#include <errno.h>
#include <string.h>

#include "ec/rebuild_impl.h"

static const struct group *group_of(const struct rebuild *r)
{
	return r->a->o.group;
}

static bool node_of(const struct rebuild *r, uint32_t role, uint32_t *node,
		    uint32_t *block)
{
	group_member(group_of(r), r->at.stripe, role, node, block);
	return (r->up >> *node & 1) != 0;
}

static void ask_parity(struct rebuild *r, struct rebuild_look *l, uint32_t j,
		       struct fab_batch *b)
{
	const struct group *g = group_of(r);
	uint32_t node, block;

	l->parity_up[j] = node_of(r, g->k + j, &node, &block);
	if (!l->parity_up[j])
		return;
	if (l->leader < 0)
		l->leader = (int)j;
	fab_read(&b->ops[b->n++], (uint8_t)node, group_rec_off(g, block, 0),
		 l->parity[j], g->k * (uint32_t)sizeof(l->parity[j][0]));
}

static void ask_data(struct rebuild *r, struct rebuild_look *l, uint32_t i,
		     struct fab_batch *b)
{
	const struct group *g = group_of(r);
	uint32_t node, block;

	l->data_up[i] = node_of(r, i, &node, &block);
	if (l->data_up[i])
		fab_read(&b->ops[b->n++], (uint8_t)node,
			 group_rec_off(g, block, i), &l->data[i],
			 sizeof(l->data[i]));
}

static void ask_all(struct rebuild *r, struct rebuild_look *l,
		    struct fab_batch *b)
{
	l->leader = -1;
	for (uint32_t j = 0; j < group_of(r)->m; j++)
		ask_parity(r, l, j, b);
	for (uint32_t i = 0; i < group_of(r)->k; i++)
		ask_data(r, l, i, b);
}

static int run(struct rebuild *r, struct fab_batch *b)
{
	int rc = b->n == 0 ? 0 : fab_run(r->f, b);

	for (uint32_t i = 0; rc == 0 && i < b->n; i++)
		rc = b->ops[i].status;
	return rc;
}

static int rec_check(const struct rebuild *r, const struct block_rec *rec)
{
	if (rec->seq % 2 != 0)
		return -EAGAIN;
	return block_rec_check(group_of(r), rec);
}

static int check_all(const struct rebuild *r, const struct rebuild_look *l)
{
	uint32_t k = group_of(r)->k;
	int rc = 0;

	for (uint32_t j = 0; j < group_of(r)->m; j++)
		for (uint32_t i = 0; rc == 0 && l->parity_up[j] && i < k; i++)
			rc = rec_check(r, &l->parity[j][i]);
	for (uint32_t i = 0; i < k; i++)
		if (rc == 0 && l->data_up[i])
			rc = rec_check(r, &l->data[i]);
	/* With no parity each data node must speak for itself. */
	for (uint32_t i = 0; i < k; i++)
		if (rc == 0 && l->leader < 0 && !l->data_up[i])
			rc = -EIO;
	return rc;
}

static bool is_rows(const struct block_rec *rec)
{
	return rec->kind == BLOCK_ROWS && rec->state != BLOCK_FREE;
}

/* The roles of a ROW stripe move together; -EAGAIN: they were on the move. */
static int check_rows(const struct rebuild *r, struct rebuild_look *l)
{
	const struct block_rec *one = look_rec(l, 0);

	l->rows = is_rows(one);
	for (uint32_t i = 1; i < group_of(r)->k; i++) {
		const struct block_rec *rec = look_rec(l, i);

		if (is_rows(rec) != l->rows)
			return -EAGAIN;
		if (l->rows &&
		    (rec->life != one->life || rec->state != one->state))
			return -EAGAIN;
	}
	return 0;
}

/* Some roles of a ROW stripe have been made PAGES, with the others' data nodes
 * not told, as only parity nodes have to know (again_split()). */
static void mend_split(const struct rebuild *r, struct rebuild_look *l)
{
	uint32_t k = group_of(r)->k;
	bool split = false;

	for (uint32_t i = 0; l->leader < 0 && i < k; i++)
		split |= l->data[i].state != BLOCK_FREE &&
			 l->data[i].kind == BLOCK_PAGES;
	for (uint32_t i = 0; split && i < k; i++)
		if (is_rows(&l->data[i]))
			l->data[i].kind = BLOCK_PAGES;
}

/* When the last leader died, data nodes may have been told different things of
 * a ROW stripe: some that it is free, or nothing at all. It is not, as long as
 * one holds it; the others' data are zeros. */
static void mend_rows(const struct rebuild *r, struct rebuild_look *l)
{
	const struct block_rec *open = NULL, *any = NULL;

	l->freed = 0;
	if (l->leader >= 0)
		return;
	for (uint32_t i = 0; i < group_of(r)->k; i++) {
		if (is_rows(&l->data[i]))
			any = &l->data[i];
		if (is_rows(&l->data[i]) && l->data[i].state == BLOCK_OPEN)
			open = &l->data[i];
	}
	any = open != NULL ? open : any;
	for (uint32_t i = 0; any != NULL && i < group_of(r)->k; i++)
		if (&l->data[i] != any) {
			l->freed |= (uint32_t)!is_rows(&l->data[i]) << i;
			l->data[i] = *any;
		}
}

static int digest(const struct rebuild *r, struct rebuild_look *l)
{
	int rc = check_all(r, l);

	if (rc != 0)
		return rc;
	mend_split(r, l);
	mend_rows(r, l);
	return check_rows(r, l);
}

int look_read(struct rebuild *r, struct rebuild_look *out)
{
	struct fab_batch b = {.ops = r->ops};
	int rc;

	ask_all(r, out, &b);
	rc = run(r, &b);
	return rc != 0 ? rc : digest(r, out);
}

/* The bitmap of role @i, from whoever spoke for it. */
static void ask_map(struct rebuild *r, uint32_t i, struct fab_batch *b)
{
	const struct group *g = group_of(r);
	uint32_t bytes = g->block_bytes / GROUP_UNIT_BYTES / 8;
	uint32_t node, block;

	node_of(r, r->look.leader < 0 ? i : g->k + (uint32_t)r->look.leader,
		&node, &block);
	fab_read(&b->ops[b->n++], (uint8_t)node, group_map_off(g, block, i),
		 (char *)r->maps + (size_t)i * bytes, bytes);
}

/* In one batch, and to one node in order: the bitmap is that of the use which
 * the record behind it tells, for units only become obsolete in one. */
int look_again(struct rebuild *r)
{
	struct fab_batch b = {.ops = r->ops};
	int rc;

	for (uint32_t i = 0; i < group_of(r)->k; i++)
		if (r->take >> i & 1)
			ask_map(r, i, &b);
	ask_all(r, &r->again, &b);
	rc = run(r, &b);
	return rc != 0 ? rc : digest(r, &r->again);
}

const uint64_t *look_map(const struct rebuild *r, uint32_t i)
{
	return r->maps +
	       (size_t)i * (group_of(r)->block_bytes / GROUP_UNIT_BYTES / 64);
}

const struct block_rec *look_rec(const struct rebuild_look *l, uint32_t i)
{
	return l->leader < 0 ? &l->data[i] : &l->parity[l->leader][i];
}

/* On its way to be opened again: it will be brought to rest (again.h, A5). */
static bool is_again(const struct block_rec *rec)
{
	return rec->state == BLOCK_RETIRING &&
	       (rec->flags & (BLOCK_F_AGAIN | BLOCK_F_READY)) != 0;
}

static bool is_closed(const struct block_rec *rec)
{
	return rec->state != BLOCK_FREE && rec->state != BLOCK_OPEN &&
	       !is_again(rec);
}

bool look_settled(const struct rebuild_look *l, uint32_t i)
{
	const struct block_rec *lead = look_rec(l, i);

	if (!is_closed(lead))
		return false;
	for (uint32_t j = 0; !l->data_up[i] && j < CODE_PARITY_MAX; j++) {
		const struct block_rec *rec = &l->parity[j][i];

		if (l->parity_up[j] && rec->life == lead->life &&
		    (rec->state == BLOCK_OPEN ||
		     (rec->flags & BLOCK_F_ALIGN) != 0))
			return false;
	}
	return true;
}

static bool has_freed(const struct block_rec *rec, const struct block_rec *lead)
{
	return rec->state == BLOCK_FREE && rec->life >= lead->life;
}

/* A member frees when all have agreed, the leader last: one that has tells for
 * all. Were it taken here still, and the leader died now, the next one may be
 * who has freed it already, and nobody would ask here again. */
static bool one_gone(const struct rebuild_look *l, uint32_t i)
{
	const struct block_rec *lead = look_rec(l, i);
	bool gone = l->data_up[i] && has_freed(&l->data[i], lead);

	if (lead->state != BLOCK_RETIRING)
		return false;
	for (uint32_t j = 0; j < CODE_PARITY_MAX && !is_again(lead); j++)
		gone |= l->parity_up[j] && has_freed(&l->parity[j][i], lead);
	return gone;
}

bool look_gone(const struct rebuild_look *l, uint32_t i)
{
	bool gone = one_gone(l, i);

	for (uint32_t n = 0; l->rows && n < CODE_DATA_MAX; n++)
		gone |= one_gone(l, n);
	return gone;
}

bool look_holds(const struct rebuild *r, uint32_t i)
{
	const struct block_rec *was = look_rec(&r->look, i);
	const struct block_rec *is = look_rec(&r->again, i);

	bool gone =
		look_gone(&r->again, i) && (r->at.parity < 0 || !r->look.rows);

	return was->life == is->life && is_closed(is) && !gone &&
	       r->look.data_up[i] == r->again.data_up[i];
}
