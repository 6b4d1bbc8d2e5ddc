/* rdma/part.c - a batch's operations to one node, from post to their end. */
#include "rdma/part.h"

#include <errno.h>
#include <stdlib.h>

static uint64_t begin(struct fab_batch *b)
{
	uint64_t nodes = 0;

	for (uint32_t i = 0; i < b->n; i++) {
		b->ops[i].status = -EINPROGRESS;
		b->ops[i].under_way = 1; /* that may be an answer too */
		b->ops[i].reply_len = 0;
		nodes |= UINT64_C(1) << b->ops[i].node;
	}
	return nodes;
}

static struct part *part_new(struct fab_batch *b, uint8_t node,
			     uint64_t deadline)
{
	struct part *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	p->batch = b;
	p->node = node;
	p->deadline = deadline;
	p->ack = UINT32_MAX;
	for (uint32_t i = 0; i < b->n; i++) {
		if (b->ops[i].node != node)
			continue;
		p->left++;
		if (b->ops[i].opcode != FAB_CALL)
			p->ack = i;
	}
	return p;
}

int parts_make(struct fab *f, struct fab_batch *b, struct part_list *out)
{
	uint64_t deadline = fab_deadline(f, b), nodes = begin(b);
	struct part *p;

	for (uint8_t id = 0; nodes != 0; id++, nodes >>= 1) {
		if ((nodes & 1) == 0)
			continue;
		p = part_new(b, id, deadline);
		if (p == NULL)
			goto err_free;
		TAILQ_INSERT_TAIL(out, p, link);
	}
	return 0;

err_free:
	while ((p = TAILQ_FIRST(out)) != NULL) {
		TAILQ_REMOVE(out, p, link);
		free(p);
	}
	return -ENOMEM;
}

static void op_end(struct fab *f, struct fab_batch *b, uint32_t i, int status)
{
	b->ops[i].status = status;
	b->ops[i].under_way = 0;
	if (status < 0)
		f->count.failed++;
	if (--b->left == 0)
		fab_done(f, b);
}

void part_refuse(struct fab *f, struct part *part)
{
	struct fab_batch *b = part->batch;
	uint32_t left = part->left, n = b->n;
	uint8_t node = part->node;
	int status = -EHOSTDOWN;

	free(part);
	for (uint32_t i = 0; left > 0 && i < n; i++) {
		if (b->ops[i].node != node)
			continue;
		left--; /* after its last one @b may be gone */
		op_end(f, b, i, status);
		status = -ECANCELED;
	}
}

void part_add(struct part_lane *l, struct part *part)
{
	part->number = ++l->number;
	TAILQ_INSERT_TAIL(&l->parts, part, link);
	if (l->sending == NULL)
		l->sending = part;
}

uint32_t part_next(const struct part *part, uint32_t from)
{
	const struct fab_batch *b = part->batch;

	while (from < b->n &&
	       (b->ops[from].node != part->node || !b->ops[from].under_way))
		from++;
	return from;
}

bool part_end(struct part_lane *l, struct part *part, uint32_t i, int status)
{
	struct fab_batch *b = part->batch;
	bool last = --part->left == 0;

	if (last) {
		if (l->sending == part)
			l->sending = TAILQ_NEXT(part, link);
		l->drop(l, part);
		TAILQ_REMOVE(&l->parts, part, link);
		free(part);
	}
	op_end(l->fab, b, i, status);
	return last;
}

bool part_end_all(struct part_lane *l, struct part *part, uint32_t from,
		  int status)
{
	uint32_t n = part->batch->n, i;

	for (i = part_next(part, from); i < n; i = part_next(part, i + 1))
		if (part_end(l, part, i, status))
			return true;
	return false;
}

void parts_end(struct part_lane *l, int status)
{
	struct part *p;

	l->sending = NULL;
	while ((p = TAILQ_FIRST(&l->parts)) != NULL)
		part_end_all(l, p, 0, status);
}

/* --- a queue -------------------------------------------------------------- */

int part_post(struct fab *f, struct fab_batch *b)
{
	struct part_list parts = TAILQ_HEAD_INITIALIZER(parts);
	struct part_queue *q = (struct part_queue *)f;
	struct part_lane *l;
	struct part *p;

	if (parts_make(f, b, &parts) != 0)
		return -ENOMEM;
	p = TAILQ_FIRST(&parts);
	if (p->deadline < q->q.next_deadline)
		q->q.next_deadline = p->deadline;
	while ((p = TAILQ_FIRST(&parts)) != NULL) {
		TAILQ_REMOVE(&parts, p, link);
		if (q->lane_get(q, p, &l) != 0) {
			part_refuse(f, p);
		} else {
			part_add(l, p);
			q->lane_send(q, l);
		}
	}
	return 0;
}

static void lane_expire(struct part_lane *l, uint64_t now, uint64_t *next)
{
	struct part *p, *after;

	for (p = TAILQ_FIRST(&l->parts); p != NULL; p = after) {
		after = TAILQ_NEXT(p, link);
		if (p->deadline <= now)
			part_end_all(l, p, 0, -ETIMEDOUT);
		else if (p->deadline < *next)
			*next = p->deadline;
	}
}

void parts_expire(struct queue *queue, uint64_t now)
{
	struct part_queue *q = (struct part_queue *)queue;
	uint64_t lanes = q->q.lanes;

	for (int id = 0; lanes != 0; id++, lanes >>= 1)
		if ((lanes & 1) != 0)
			lane_expire(q->lane[id], now, &q->q.next_deadline);
}
