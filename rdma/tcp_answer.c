/* rdma/tcp_answer.c - what comes back in a queue's stream. What a node sends is
 * input: what makes no sense ends the connection, and with it everything that
 * is under way there. */
#include <errno.h>
#include <string.h>

#include "rdma/tcp_impl.h"

#define DIRECT_BYTES 16384u /* of a payload: not by way of @ahead */

static struct part *find_part(struct tcp_lane *l, uint32_t number)
{
	struct part *p;

	TAILQ_FOREACH (p, &l->lane.parts, link)
		if (p->number == number)
			return p;
	return NULL; /* its deadline has passed */
}

/* --- a frame begins ------------------------------------------------------- */

static bool done_fits(struct tcp_lane *l, const struct fab_op *op)
{
	const struct tcp_frame *fr = &l->in;

	if (op->opcode == FAB_CALL)
		return false;
	if (op->opcode != FAB_READ || fr->status != 0)
		return fr->len == 0;
	l->in_to = op->buf;
	return fr->len == op->len;
}

static bool answer_fits(struct tcp_lane *l, struct fab_op *op)
{
	if (op->opcode != FAB_CALL)
		return false;
	op->reply_len = l->in.len;
	if (l->in.len <= op->reply_cap)
		l->in_to = op->reply;
	else if (l->in.status == 0)
		l->in.status = -EMSGSIZE;
	return true;
}

/* The head of a frame is here: whose is it, and where does the rest go? */
static int frame_begin(struct tcp_lane *l)
{
	const struct tcp_frame *fr = &l->in;
	struct fab_op *op;

	if ((fr->type != TCP_DONE && fr->type != TCP_ANSWER) ||
	    fr->len > tcp_len_max(fr->type) || fr->status > 0)
		return -EPROTO;
	l->in_to = NULL;
	l->in_part = find_part(l, fr->batch);
	if (l->in_part == NULL)
		return 0;
	if (fr->op >= l->in_part->batch->n)
		return -EPROTO;
	op = &l->in_part->batch->ops[fr->op];
	if (op->node != l->id || !op->under_way || fr->op >= l->in_part->next)
		return -EPROTO;
	if (fr->type == TCP_DONE ? !done_fits(l, op) : !answer_fits(l, op))
		return -EPROTO;
	return 0;
}

/* --- a frame is here ------------------------------------------------------ */

/* The WRITEs before @to that were not answered went well. */
static int writes_end(struct tcp_lane *l, struct part *part, uint32_t to)
{
	const struct fab_op *ops = part->batch->ops;
	uint32_t i;

	for (i = part_next(part, 0); i < to; i = part_next(part, i + 1)) {
		if (ops[i].opcode == FAB_WRITE)
			part_end(&l->lane, part, i, 0); /* not the last */
		else if (ops[i].opcode != FAB_CALL)
			return -EPROTO;
	}
	return 0;
}

static int frame_done(struct tcp_lane *l, struct part *part)
{
	uint32_t i = l->in.op;
	int status = l->in.status;

	if (writes_end(l, part, i) != 0)
		return -EPROTO;
	part->batch->ops[i].old = l->in.arg;
	if (part_end(&l->lane, part, i, status) || status == 0)
		return 0;
	part_end_all(&l->lane, part, i + 1, -ECANCELED);
	return 0;
}

static int frame_end(struct tcp_lane *l)
{
	struct part *part = l->in_part;

	l->in_done = 0;
	l->in_part = NULL;
	if (part == NULL)
		return 0;
	if (l->in.type == TCP_DONE)
		return frame_done(l, part);
	l->lane.fab->count.bytes_called += l->in.len;
	part_end(&l->lane, part, l->in.op, l->in.status);
	return 0;
}

/* --- bytes ---------------------------------------------------------------- */

/* Bytes that were read ahead, into @to (NULL: dropped). */
static size_t take(struct tcp_lane *l, uint8_t *to, size_t want)
{
	size_t n = l->end - l->at;

	if (n > want)
		n = want;
	if (to != NULL && n > 0)
		memcpy(to, l->ahead + l->at, n);
	l->at += n;
	return n;
}

/* Fill the frame from what was read ahead; 1: a frame has ended. */
static int feed(struct tcp_lane *l)
{
	size_t head = sizeof(l->in), at;
	int rc;

	if (l->in_done < head) {
		l->in_done += take(l, (uint8_t *)&l->in + l->in_done,
				   head - l->in_done);
		if (l->in_done < head)
			return 0;
		rc = frame_begin(l);
		if (rc != 0)
			return rc;
	}
	at = l->in_done - head;
	l->in_done += take(l, l->in_to != NULL ? l->in_to + at : NULL,
			   l->in.len - at);
	if (l->in_done < head + l->in.len)
		return 0;
	rc = frame_end(l);
	return rc == 0 ? 1 : rc;
}

/* A long answer is next: nothing of it is to come by way of @ahead. */
static bool expects_long(const struct tcp_lane *l)
{
	const struct part *p = TAILQ_FIRST(&l->lane.parts);
	const struct fab_op *ops;
	uint32_t i;

	if (p == NULL || l->in_done > 0)
		return false;
	ops = p->batch->ops;
	i = part_next(p, 0);
	return i < p->batch->n && ops[i].opcode == FAB_READ &&
	       ops[i].len >= DIRECT_BYTES;
}

/* What is left of a long payload goes where it belongs at once. */
static ssize_t read_some(struct tcp_lane *l)
{
	size_t head = sizeof(l->in), all = head + l->in.len;
	ssize_t n;

	if (l->in_done >= head && l->in_to != NULL &&
	    all - l->in_done >= DIRECT_BYTES) {
		n = tcp_link_read(l->link, l->in_to + l->in_done - head,
				  all - l->in_done);
		if (n > 0)
			l->in_done += (size_t)n;
		return n;
	}
	n = tcp_link_read(l->link, l->ahead,
			  expects_long(l) ? head : sizeof(l->ahead));
	l->at = 0;
	l->end = n > 0 ? (size_t)n : 0;
	return n;
}

void tcp_lane_receive(struct queue *q, struct tcp_lane *l)
{
	ssize_t n;
	int rc;

	for (;;) {
		n = read_some(l);
		if (n == -EAGAIN)
			return;
		do
			rc = n > 0 ? feed(l) : -ECONNRESET;
		while (rc > 0 && l->at < l->end);
		if (rc < 0) {
			tcp_lane_fail(q, l->id);
			return;
		}
	}
}
