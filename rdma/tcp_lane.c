/* rdma/tcp_lane.c - a queue's stream to one node: connecting, sending, failing.
 * What comes back: tcp_answer.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rdma/tcp_impl.h"

/* --- connecting ----------------------------------------------------------- */

bool tcp_lane_is_current(struct tcp_fab *f, struct tcp_lane *l)
{
	struct tcp_node *node = &f->net->node[l->id];

	return atomic_load(&node->state) == TCP_UP &&
	       atomic_load(&node->generation) == l->generation;
}

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

static struct tcp_lane *lane_new(struct tcp_fab *f, uint8_t id)
{
	struct tcp_lane *l = malloc(sizeof(*l));

	if (l == NULL)
		return NULL;
	memset(l, 0, offsetof(struct tcp_lane, ahead));
	l->id = id;
	l->lane.fab = &f->fab;
	l->lane.drop = lane_drop;
	TAILQ_INIT(&l->lane.parts);
	return l;
}

/* The first batch to a node waits for the connection, bounded by TCP_HELLO_NS;
 * the nodes are attached, so it is mostly there at once. */
int tcp_lane_get(struct tcp_fab *f, uint8_t id, struct tcp_lane **out)
{
	struct tcp_lane *l = f->lane[id];
	int rc;

	if (l == NULL)
		l = f->lane[id] = lane_new(f, id);
	if (l == NULL)
		return -ENOMEM;
	if (l->link != NULL && !tcp_lane_is_current(f, l))
		tcp_lane_fail(f, l);
	*out = l;
	if (l->link != NULL)
		return 0;
	rc = tcp_queue_link(f->net, id, &l->generation, &l->link);
	if (rc != 0) {
		l->link = NULL;
		return rc == -ENOMEM ? rc : -EHOSTDOWN;
	}
	f->lanes |= UINT64_C(1) << id;
	return 0;
}

/* --- sending -------------------------------------------------------------- */

void tcp_lane_add(struct tcp_lane *l, struct part *part)
{
	part->number = ++l->number;
	part_add(&l->lane, part);
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
				    .flags = i == part->ack ? TCP_F_ACK : 0,
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
					   sizeof(l->out) - at);
		else if (l->payload == NULL)
			return -ENOMEM; /* see lane_drop() */
		else
			n = tcp_link_write(l->link,
					   l->payload + at - sizeof(l->out),
					   all - at);
		if (n < 0)
			return (int)n;
		l->out_done += (size_t)n;
	}
	frame_sent(l);
	return 0;
}

void tcp_lane_send(struct tcp_fab *f, struct tcp_lane *l)
{
	int rc = 0;

	while (rc == 0 && (l->out_busy || next_frame(l)))
		rc = send_frame(l);
	if (rc == 0)
		rc = tcp_link_flush(l->link);
	if (rc != 0 && rc != -EAGAIN)
		tcp_lane_fail(f, l);
}

/* --- the end -------------------------------------------------------------- */

void tcp_lane_fail(struct tcp_fab *f, struct tcp_lane *l)
{
	tcp_link_close(l->link);
	l->link = NULL;
	f->lanes &= ~(UINT64_C(1) << l->id);
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
