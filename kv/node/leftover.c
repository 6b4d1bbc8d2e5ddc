/* kv/node/leftover.c - a client that dies leaves blocks half written. What it
 * has never written is nobody's: its node marks that as obsolete as soon as the
 * block is closed, with all members, and it can be had again.
 *
 * L1. A unit that is all zeros was never written, or zeroed when the block was
 *     opened again (D2, A1), or given up: unless it is
 *     - part of a record: what lies within a record's reach behind bytes that
 *       are nothing known is let alone, as these may be one that went bad;
 *     - a page of zeros: who is about to name one in an open block tells its
 *       node before (PROTO_ZEROS), and that block is let alone.
 * L2. Its owner is dead, so nothing of it is written any more, nor named. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kv/node/node_impl.h"
#include "kv/object.h"

#define LEFTOVER_MAX   4096u /* blocks that wait; more are left to fsck */
#define LEFTOVER_TRIES 50u   /* of one block; then likewise */
#define REACH	       (OBJECT_BYTES_MAX / GROUP_UNIT_BYTES + 1)
#define PAGE_UNITS     (KV_PAGE_BYTES / GROUP_UNIT_BYTES)

struct leftover_block {
	uint64_t stripe;
	uint32_t role, life;
	uint8_t kind;
};

struct leftover {
	/* under the node's lock: */
	struct leftover_block *list;
	size_t n, cap;
	uint32_t *zeros; /* of each block here: the life in which it has some */
	/* the worker's: */
	struct node_marks marks;
	unsigned tries;
	uint64_t again_ns;
};

int leftover_open(struct node *n)
{
	struct leftover *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return -ENOMEM;
	l->zeros = calloc(node_group(n)->blocks, sizeof(*l->zeros));
	if (l->zeros == NULL) {
		free(l);
		return -ENOMEM;
	}
	n->leftover = l;
	return 0;
}

void leftover_close(struct node *n)
{
	node_marks_drop(&n->leftover->marks);
	free(n->leftover->list);
	free(n->leftover->zeros);
	free(n->leftover);
}

/* --- in the server's thread, locked --------------------------------------- */

static bool is_here(const struct node *n, uint64_t stripe, uint32_t role,
		    uint32_t *block)
{
	uint32_t node;

	group_member(node_group(n), stripe, role, &node, block);
	return node == n->id;
}

void leftover_note(struct node *n, uint64_t stripe, uint32_t role,
		   uint32_t life, uint8_t kind)
{
	struct leftover *l = n->leftover;
	uint32_t block;

	if (!is_here(n, stripe, role, &block) || l->n == LEFTOVER_MAX)
		return;
	if (l->n == l->cap) {
		size_t cap = l->cap ? 2 * l->cap : 16;
		struct leftover_block *more =
			realloc(l->list, cap * sizeof(*more));

		if (more == NULL)
			return;
		l->list = more;
		l->cap = cap;
	}
	l->list[l->n++] = (struct leftover_block){stripe, role, life, kind};
}

int leftover_zeros(struct node *n, const struct proto_zeros *rq)
{
	uint32_t block;

	if (rq->stripe >= group_stripes(node_group(n)) ||
	    rq->role >= node_group(n)->k ||
	    !is_here(n, rq->stripe, rq->role, &block))
		return -EINVAL;
	n->leftover->zeros[block] = rq->life;
	return 0;
}

/* --- what was never written ----------------------------------------------- */

struct look {
	struct node *n;
	const struct leftover_block *b;
	uint32_t block, units;
	const char *bytes;
	const uint64_t *dead; /* what is marked already */
	uint64_t up;
	uint32_t from, len; /* units found, not noted yet */
};

static bool is_dead(const struct look *k, uint32_t u)
{
	return __atomic_load_n(&k->dead[u / 64], __ATOMIC_RELAXED) >> (u % 64) &
	       1;
}

static bool is_zero(const char *p, size_t len)
{
	return p[0] == 0 && memcmp(p, p + 1, len - 1) == 0;
}

static int note_run(struct look *k)
{
	struct proto_mark_one one = {.stripe = k->b->stripe,
				     .role = k->b->role,
				     .life = k->b->life,
				     .at = k->from,
				     .len = k->len};

	if (k->len == 0)
		return 0;
	k->len = 0;
	return node_mark(k->n, &k->n->leftover->marks, k->up, &one);
}

static int found(struct look *k, uint32_t u, uint32_t units)
{
	int rc = 0;

	if (k->len == 0 || k->from + k->len != u) {
		rc = note_run(k);
		k->from = u;
	}
	k->len += units;
	return rc;
}

static uint32_t record_at(const struct look *k, uint32_t u)
{
	uint64_t left = (uint64_t)(k->units - u) * GROUP_UNIT_BYTES;
	struct object o;

	if (object_decode(k->bytes + (size_t)u * GROUP_UNIT_BYTES, left,
			  k->n->super.secret,
			  group_addr(node_group(k->n), k->b->stripe, k->b->role,
				     u * GROUP_UNIT_BYTES),
			  &o) != 0)
		return 0;
	return o.hdr.units;
}

static int look_for_units(struct look *k)
{
	uint32_t u = 0, clear = 0, units;
	int rc = 0;

	while (u < k->units && (rc == 0 || rc == -EAGAIN)) {
		if (is_dead(k, u)) {
			u++;
		} else if (is_zero(k->bytes + (size_t)u * GROUP_UNIT_BYTES,
				   GROUP_UNIT_BYTES)) {
			if (u >= clear)
				rc = found(k, u, 1);
			u++;
		} else {
			units = record_at(k, u);
			u += units != 0 ? units : 1;
			if (units == 0)
				clear = u + REACH;
		}
	}
	return rc;
}

static int look_for_pages(struct look *k)
{
	int rc = 0;

	for (uint32_t u = 0; u < k->units && (rc == 0 || rc == -EAGAIN);
	     u += PAGE_UNITS)
		if (is_zero(k->bytes + (size_t)u * GROUP_UNIT_BYTES,
			    KV_PAGE_BYTES))
			rc = found(k, u, PAGE_UNITS);
	return rc;
}

/* --- a block -------------------------------------------------------------- */

/* Is it the one that was closed, and may something of it be marked? */
static bool look_at(struct node *n, struct look *k)
{
	const struct group *g = node_group(n);
	const char *region = n->opts.region;
	struct block_rec rec;

	if (!is_here(n, k->b->stripe, k->b->role, &k->block))
		return false;
	block_load(
		(const struct block_rec *)(region + group_rec_off(g, k->block,
								  k->b->role)),
		&rec);
	k->units = g->block_bytes / GROUP_UNIT_BYTES;
	k->bytes = region + group_block_off(g, k->block);
	k->dead = (const uint64_t *)(region +
				     group_map_off(g, k->block, k->b->role));
	return rec.life == k->b->life && rec.state != BLOCK_OPEN &&
	       rec.state != BLOCK_FREE;
}

static int look(struct node *n, const struct leftover_block *b, uint64_t up)
{
	struct look k = {.n = n, .b = b, .up = up};
	int rc, last;

	if (!look_at(n, &k) || (b->kind != BLOCK_RECORDS &&
				n->leftover->zeros[k.block] == b->life))
		return 0;
	rc = b->kind == BLOCK_RECORDS ? look_for_units(&k) : look_for_pages(&k);
	last = note_run(&k);
	rc = rc != 0 ? rc : last;
	last = node_marks_flush(n, &n->leftover->marks);
	return rc != 0 ? rc : last;
}

/* --- in the worker -------------------------------------------------------- */

static bool next(struct node *n, struct leftover_block *out)
{
	struct leftover *l = n->leftover;
	bool found;

	pthread_mutex_lock(&n->lock);
	found = l->n > 0;
	if (found)
		*out = l->list[l->n - 1];
	pthread_mutex_unlock(&n->lock);
	return found;
}

/* More may have come behind it. */
static void done_with(struct node *n, const struct leftover_block *b)
{
	struct leftover *l = n->leftover;

	pthread_mutex_lock(&n->lock);
	for (size_t i = 0; i < l->n; i++)
		if (l->list[i].stripe == b->stripe &&
		    l->list[i].role == b->role) {
			l->list[i] = l->list[--l->n];
			break;
		}
	pthread_mutex_unlock(&n->lock);
	l->tries = 0;
}

/* Not all could be told: a mark is known to all members, or soon. */
int leftover_work(struct node *n, uint64_t *again)
{
	struct leftover *l = n->leftover;
	uint64_t up = node_view_members(n);
	struct leftover_block b;
	int rc;

	if (!next(n, &b))
		return 0;
	if (fab_now(n->fab) < l->again_ns || (up & ~n->attached) != 0) {
		node_again(again, fab_now(n->fab) + NODE_RETRY_NS);
		return 0;
	}
	rc = look(n, &b, up);
	node_marks_drop(&l->marks);
	if (rc == 0 || l->tries++ >= LEFTOVER_TRIES) {
		done_with(n, &b);
		return 1;
	}
	l->again_ns = fab_now(n->fab) + NODE_RETRY_NS;
	node_again(again, l->again_ns);
	return 0;
}
