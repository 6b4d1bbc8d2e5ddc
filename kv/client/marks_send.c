/* kv/client/marks_send.c - a chunk of notes on its way to the nodes.
 *
 *	fetch -> READ the block records of those without a life
 *	      -> one MARK message to each node that keeps one of the blocks
 *	      -> those of nodes that could not be told: back to the queue
 *	      -> those that all refused, for the block's life is another: it was
 *	         opened again meanwhile (ec/again.h, A3). If what they are about
 *	         is still there, they are right in the new life: marks_again.c
 * A repeated note is harmless: it carries the life of its block. One that any
 * member has taken counts.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ec/block.h"
#include "kv/client/marks_impl.h"
#include "kv/client/member.h"
#include "kv/stats.h"

#define SEND_NS UINT64_C(500000000)

/* What became of a mark, so far. */
enum {
	MARK_TAKEN = 1,
	MARK_STALE = 2,
	MARK_BUSY = 4,
	MARK_UNTOLD = 8, /* or nobody knows */
	MARK_LOOKED = 16 /* its life was looked up just now */
};

/* A message to one node, and its answer. */
struct letter {
	struct proto_marked marked;
	uint16_t of[PROTO_MARKS_MAX]; /* which of the chunk's it holds */
	struct proto_mark msg;	      /* and its marks; last */
};

struct chunk {
	struct marks *m;
	struct kv_thread *t;
	uint64_t epoch, up, all;
	uint32_t n;
	struct proto_mark_one mark[PROTO_MARKS_MAX];
	uint8_t fate[PROTO_MARKS_MAX];
	struct block_rec rec[PROTO_MARKS_MAX];
	struct fab_op ops[PROTO_MARKS_MAX];
};

static const struct group *group_of(const struct chunk *c)
{
	return &c->m->kv->layout.group;
}

/* --- lives --------------------------------------------------------------- */

/* A node that keeps the record of (@stripe, @role) and is up; *block is its
 * block in that stripe. False: none is. */
static bool keeper(const struct chunk *c, uint64_t stripe, uint32_t role,
		   uint32_t *node, uint32_t *block)
{
	const struct group *g = group_of(c);

	group_member(g, stripe, role, node, block);
	for (uint32_t r = g->k; !(c->up >> *node & 1); r++) {
		if (r == group_width(g))
			return false;
		group_member(g, stripe, r, node, block);
	}
	return true;
}

static bool same_block(const struct proto_mark_one *a,
		       const struct proto_mark_one *b)
{
	return a->stripe == b->stripe && a->role == b->role;
}

/* The mark before @i that asks for the same block, or @i. */
static uint32_t first_like(const struct chunk *c, uint32_t i)
{
	for (uint32_t j = i; j-- > 0 && i - j < 64;)
		if (c->mark[j].life == 0 &&
		    same_block(&c->mark[j], &c->mark[i]))
			return j;
	return i;
}

static void take_life(struct chunk *c, uint32_t i, const struct fab_op *op,
		      const struct block_rec *rec)
{
	if (op->status != 0 || rec->seq % 2 != 0)
		c->fate[i] |= MARK_UNTOLD;
	else if (rec->state != BLOCK_FREE)
		c->mark[i].life = rec->life;
	c->fate[i] |= MARK_LOOKED;
}

static int read_lives(struct chunk *c, uint32_t *of)
{
	const struct group *g = group_of(c);
	struct fab_batch batch = {
		.ops = c->ops,
		.deadline_ns = fab_now(c->t->fab) + SEND_NS,
	};

	for (uint32_t i = 0; i < c->n; i++) {
		struct proto_mark_one *mk = &c->mark[i];
		uint32_t node, block;

		of[i] = UINT32_MAX;
		if (mk->life != 0)
			continue;
		of[i] = of[first_like(c, i)];
		if (of[i] != UINT32_MAX)
			continue;
		if (!keeper(c, mk->stripe, mk->role, &node, &block))
			continue; /* the block is lost: so is the note */
		of[i] = batch.n;
		fab_read(&c->ops[batch.n], (uint8_t)node,
			 group_rec_off(g, block, mk->role), &c->rec[batch.n],
			 sizeof(c->rec[0]));
		batch.n++;
	}
	return fab_run(c->t->fab, &batch);
}

/* Give every mark its life. Those that stay without one are dropped, for their
 * block is FREE; those that could not be looked up wait. */
static int find_lives(struct chunk *c)
{
	uint32_t of[PROTO_MARKS_MAX];
	int rc = read_lives(c, of);

	for (uint32_t i = 0; rc == 0 && i < c->n; i++)
		if (of[i] != UINT32_MAX)
			take_life(c, i, &c->ops[of[i]], &c->rec[of[i]]);
	return rc;
}

/* --- messages ------------------------------------------------------------ */

static bool is_keeper(const struct chunk *c, const struct proto_mark_one *mk,
		      uint32_t node)
{
	const struct group *g = group_of(c);
	uint32_t n, block;

	group_member(g, mk->stripe, mk->role, &n, &block);
	if (n == node)
		return true;
	for (uint32_t r = g->k; r < group_width(g); r++) {
		group_member(g, mk->stripe, r, &n, &block);
		if (n == node)
			return true;
	}
	return false;
}

static void fill(const struct chunk *c, uint32_t node, struct letter *out)
{
	const struct proto_mark_one *last = NULL;
	struct proto_mark *msg = &out->msg;
	bool keeps = false;

	msg->epoch = c->epoch;
	msg->n = 0;
	msg->pad = 0;
	for (uint32_t i = 0; i < c->n; i++) {
		if (c->mark[i].life == 0 || (c->fate[i] & MARK_UNTOLD))
			continue;
		if (last == NULL || !same_block(last, &c->mark[i]))
			keeps = is_keeper(c, &c->mark[i], node);
		last = &c->mark[i];
		if (!keeps)
			continue;
		out->of[msg->n] = (uint16_t)i;
		msg->mark[msg->n++] = c->mark[i];
	}
}

static size_t letter_bytes(uint32_t n)
{
	return sizeof(struct letter) + n * sizeof(struct proto_mark_one);
}

/* Node @node did not take its message: its marks wait again. */
static void not_told(struct chunk *c, uint32_t node, const struct letter *l,
		     int rc)
{
	if (rc == -EHOSTDOWN || rc == -ETIMEDOUT)
		member_suspect(c->m->kv->member, c->t, node);
	for (uint32_t i = 0; i < l->msg.n; i++)
		c->fate[l->of[i]] |= MARK_UNTOLD;
}

static bool bit_of(const uint64_t *map, uint32_t i)
{
	return (map[i / 64] >> (i % 64) & 1) != 0;
}

static void hear(struct chunk *c, const struct letter *l)
{
	for (uint32_t i = 0; i < l->msg.n; i++) {
		uint8_t *fate = &c->fate[l->of[i]];

		if (bit_of(l->marked.busy, i))
			*fate |= MARK_BUSY;
		else if (bit_of(l->marked.stale, i))
			*fate |= MARK_STALE;
		else
			*fate |= MARK_TAKEN;
	}
}

/* Worth another try: not if the node knows better. */
static bool retry_later(int rc)
{
	return rc != -EINVAL && rc != -EPROTO;
}

static struct letter *letter_at(void *buf, const struct chunk *c, uint32_t node)
{
	size_t bytes = (letter_bytes(c->n) + 7) / 8 * 8;

	return (void *)((char *)buf + node * bytes);
}

static int send_all(struct chunk *c, void *buf)
{
	struct fab_batch batch = {
		.ops = c->ops,
		.deadline_ns = fab_now(c->t->fab) + SEND_NS,
	};
	int rc;

	for (uint32_t node = 0; node < group_of(c)->nodes; node++) {
		struct letter *l = letter_at(buf, c, node);

		if (!(c->all >> node & 1))
			continue;
		fill(c, node, l);
		if (l->msg.n != 0)
			fab_call(&c->ops[batch.n++], (uint8_t)node, PROTO_MARK,
				 &l->msg,
				 (uint32_t)(sizeof(l->msg) +
					    l->msg.n * sizeof(l->msg.mark[0])),
				 &l->marked, sizeof(l->marked));
	}
	rc = fab_run(c->t->fab, &batch);
	for (uint32_t i = 0; i < batch.n; i++) {
		const struct fab_op *op = &c->ops[i];
		const struct letter *l = letter_at(buf, c, op->node);
		int st = rc != 0 ? rc : op->status;

		if (st == 0 && op->reply_len == sizeof(l->marked))
			hear(c, l);
		else if (retry_later(st))
			not_told(c, op->node, l, st);
	}
	return rc;
}

/* Is mark @i to be sent again? One without a life of its own (of pages) looks
 * it up again, if surely nobody has taken it. */
static bool goes_again(struct chunk *c, uint32_t i)
{
	uint8_t fate = c->fate[i];
	bool none = (fate & (MARK_TAKEN | MARK_UNTOLD)) == 0;

	if (none && (fate & MARK_LOOKED) && (fate & (MARK_BUSY | MARK_STALE)))
		c->mark[i].life = 0;
	else if (none && !(fate & MARK_BUSY) && (fate & MARK_STALE))
		return marks_look(c->m, c->t, c->up, &c->mark[i]);
	return (fate & (MARK_UNTOLD | MARK_BUSY)) != 0 ||
	       (none && (fate & MARK_STALE) != 0);
}

/* Back to the queue what is to be sent again. */
static uint32_t put_back(struct chunk *c)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < c->n; i++)
		if (goes_again(c, i))
			c->mark[n++] = c->mark[i];
	marks_return(c->m, c->mark, n);
	return n;
}

static int send_chunk(struct chunk *c)
{
	void *buf = calloc(group_of(c)->nodes, (letter_bytes(c->n) + 7) & ~7u);
	int rc = -ENOMEM;

	if (buf != NULL)
		rc = find_lives(c);
	if (rc == 0)
		rc = send_all(c, buf);
	free(buf);
	if (rc != 0)
		memset(c->fate, MARK_UNTOLD, sizeof(c->fate));
	return rc;
}

/* Those of one block come one after the other, in its order: a node looks for
 * a block, and changes its record, once for all of them. */
static int by_block(const void *a, const void *b)
{
	const struct proto_mark_one *x = a, *y = b;

	if (x->stripe != y->stripe)
		return x->stripe < y->stripe ? -1 : 1;
	if (x->role != y->role)
		return x->role < y->role ? -1 : 1;
	if (x->life != y->life)
		return x->life < y->life ? -1 : 1;
	return x->at < y->at ? -1 : x->at > y->at;
}

int marks_send(struct marks *m, struct kv_thread *t)
{
	struct chunk *c;
	uint32_t back;
	int rc;

	if (marks_waiting(m) == 0)
		return 0;
	c = calloc(1, sizeof(*c));
	if (c == NULL)
		return -ENOMEM;
	c->m = m;
	c->t = t;
	c->epoch = member_epoch(m->kv->member);
	c->up = member_up(m->kv->member);
	c->all = member_all(m->kv->member);
	c->n = marks_fetch(m, c->mark, PROTO_MARKS_MAX);
	qsort(c->mark, c->n, sizeof(c->mark[0]), by_block);
	rc = c->n == 0 ? 0 : send_chunk(c);
	back = c->n == 0 ? 0 : put_back(c);
	if (c->n != 0) {
		stat_add(&t->stats.marks_sent, c->n - back);
		marks_sent(m);
		rc = rc != 0 ? rc : back == 0 ? 1 : -EAGAIN;
	}
	free(c);
	return rc;
}
