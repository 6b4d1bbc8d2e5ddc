/* rdma/tcp_lane.c - a queue's stream to one node: connecting, sending, failing.
 * What comes back: tcp_answer.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rdma/tcp_impl.h"

/* --- connecting ----------------------------------------------------------- */

/* Its batch may be gone soon: what still goes out of its memory is copied, and
 * nothing more comes into it. */
static void lane_drop(struct part_lane *pl, struct part *part)
{
	struct tcp_lane *l = (struct tcp_lane *)pl;

	if (l->in_part == part) {
		l->in_part = NULL;
		l->in_to = NULL;
	}
	if (!l->out_busy || l->out_part != part)
		return;
	l->out_part = NULL;
	l->kept = malloc(l->out.len + 1);
	if (l->kept != NULL && l->out.len > 0)
		memcpy(l->kept, l->payload, l->out.len);
	l->payload = l->kept; /* NULL: the lane fails, see send_frame() */
}

static struct tcp_lane *lane_new(struct part_queue *q, uint8_t id)
{
	struct tcp_lane *l = malloc(sizeof(*l));

	if (l == NULL)
		return NULL;
	memset(l, 0, offsetof(struct tcp_lane, ahead));
	l->id = id;
	l->lane.fab = &q->q.fab;
	l->lane.drop = lane_drop;
	TAILQ_INIT(&l->lane.parts);
	return l;
}

static int lane_begin(struct queue *q, struct tcp_lane *l)
{
	uint32_t generation;
	int rc;

	rc = tcp_queue_begin(q->net, l->id, &generation, &l->link);
	if (rc != 0) {
		l->link = NULL;
		return rc == -ENOMEM ? rc : -EHOSTDOWN;
	}
	l->ready = false;
	l->ready_by = fab_clock_now(NULL) + TCP_HELLO_NS;
	if (l->ready_by < q->next_deadline)
		q->next_deadline = l->ready_by;
	queue_lane_on(q, l->id, generation);
	return 0;
}

int tcp_lane_get(struct part_queue *q, const struct part *part,
		 struct part_lane **out)
{
	uint8_t id = part->node;
	struct tcp_lane *l = tcp_lane(&q->q, id);

	if (l == NULL) {
		l = lane_new(q, id);
		if (l == NULL)
			return -ENOMEM;
		q->lane[id] = &l->lane;
	}
	if (l->link != NULL && !queue_lane_is_current(&q->q, id))
		tcp_lane_fail(&q->q, id);
	*out = &l->lane;
	return l->link != NULL ? 0 : lane_begin(&q->q, l);
}

/* 0: it is ready; -EAGAIN. */
static int lane_advance(struct queue *q, struct tcp_lane *l)
{
	int rc;

	if (l->ready)
		return 0;
	rc = tcp_link_shake(l->link);
	if (rc == 0)
		rc = tcp_queue_greet(q->net, q->generation[l->id], l->link);
	l->ready = rc == 0;
	return rc;
}

/* --- sending -------------------------------------------------------------- */

static uint8_t flags_of(const struct part *part, uint32_t i)
{
	const struct fab_op *op = &part->batch->ops[i];
	int flags = i == part->ack ? TCP_F_ACK : 0;

	if (op->opcode == FAB_READ && op->loose)
		flags |= TCP_F_LOOSE;
	return (uint8_t)flags;
}

static void fill(struct tcp_lane *l, const struct part *part, uint32_t i)
{
	static const uint8_t type[] = {[FAB_READ] = TCP_READ,
				       [FAB_WRITE] = TCP_WRITE,
				       [FAB_CAS] = TCP_CAS,
				       [FAB_FAA] = TCP_FAA,
				       [FAB_CALL] = TCP_CALL};
	const struct fab_op *op = &part->batch->ops[i];
	bool bytes = op->opcode == FAB_WRITE || op->opcode == FAB_CALL;

	l->out = (struct tcp_frame){.type = type[op->opcode],
				    .flags = flags_of(part, i),
				    .call = op->call,
				    .len = bytes ? op->len : 0,
				    .batch = part->number,
				    .op = i,
				    .want = bytes ? 0 : op->len,
				    .offset = op->offset,
				    .expect = op->expect,
				    .arg = op->arg};
	l->payload = bytes ? op->buf : NULL;
}

/* Choose the next frame to go out; false: there is none. */
static bool next_frame(struct tcp_lane *l)
{
	struct part *p;
	uint32_t i;

	while ((p = l->lane.sending) != NULL) {
		i = part_next(p, p->next);
		if (i < p->batch->n) {
			p->next = i + 1;
			fill(l, p, i);
			l->out_part = p;
			l->out_busy = true;
			l->out_done = 0;
			return true;
		}
		l->lane.sending = TAILQ_NEXT(p, link);
	}
	return false;
}

static void frame_sent(struct tcp_lane *l)
{
	free(l->kept);
	l->kept = NULL;
	l->payload = NULL;
	l->out_part = NULL;
	l->out_busy = false;
}

/* 0: it is out; -EAGAIN; -errno. */
static int send_frame(struct tcp_lane *l)
{
	size_t all = sizeof(l->out) + l->out.len, at;
	ssize_t n;

	while (l->out_done < all) {
		at = l->out_done;
		if (at < sizeof(l->out))
			n = tcp_link_write(l->link, (uint8_t *)&l->out + at,
					   sizeof(l->out) - at, false);
		else if (l->payload == NULL)
			return -ENOMEM; /* see lane_drop() */
		else
			n = tcp_link_write(l->link,
					   l->payload + at - sizeof(l->out),
					   all - at, false);
		if (n < 0)
			return (int)n;
		l->out_done += (size_t)n;
	}
	frame_sent(l);
	return 0;
}

void tcp_lane_send(struct part_queue *q, struct part_lane *lane)
{
	struct tcp_lane *l = (struct tcp_lane *)lane;
	int rc;

	rc = lane_advance(&q->q, l);
	while (rc == 0 && (l->out_busy || next_frame(l)))
		rc = send_frame(l);
	if (rc == 0)
		rc = tcp_link_flush(l->link);
	if (rc != 0 && rc != -EAGAIN)
		tcp_lane_fail(&q->q, l->id);
}

/* --- the end -------------------------------------------------------------- */

void tcp_lane_fail(struct queue *q, uint8_t id)
{
	struct tcp_lane *l = tcp_lane(q, id);

	tcp_link_close(l->link);
	l->link = NULL;
	queue_lane_off(q, id);
	frame_sent(l);
	l->in_part = NULL;
	l->in_to = NULL;
	l->in_done = 0;
	l->at = l->end = 0;
	parts_end(&l->lane, -EHOSTDOWN);
}

void tcp_lane_free(struct tcp_lane *l)
{
	if (l == NULL)
		return;
	tcp_link_close(l->link);
	free(l->kept);
	free(l);
}
