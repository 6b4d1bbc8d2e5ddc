/* rdma/tcp_fab.c - a thread's queue: batches become parts, one for each node
 * they name, all on their way before anything is waited for. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "rdma/tcp_impl.h"

/* A connection that takes too long to be made is none. */
static void tcp_expire(struct queue *q, uint64_t now)
{
	uint64_t lanes = q->lanes;
	struct tcp_lane *l;

	for (uint8_t id = 0; lanes != 0; id++, lanes >>= 1) {
		l = tcp_lane(q, id);
		if ((lanes & 1) == 0 || l->ready)
			continue;
		if (l->ready_by <= now)
			tcp_lane_fail(q, id);
		else if (l->ready_by < q->next_deadline)
			q->next_deadline = l->ready_by;
	}
	parts_expire(q, now);
}

static void lane_want(struct queue *q, uint8_t id, struct pollfd *p)
{
	struct tcp_lane *l = tcp_lane(q, id);

	p->fd = tcp_link_fd(l->link);
	p->events = POLLIN | tcp_link_wants(l->link);
}

static void lane_ready(struct queue *q, uint8_t id, short events)
{
	struct tcp_lane *l = tcp_lane(q, id);

	if (l->ready && (events & (POLLIN | POLLHUP | POLLERR)) != 0)
		tcp_lane_receive(q, l);
	if (l->link != NULL)
		tcp_lane_send((struct part_queue *)q, &l->lane);
}

/* --- its life ------------------------------------------------------------- */

static const struct queue_how tcp_queue_how = {
	.fail = tcp_lane_fail,
	.expire = tcp_expire,
	.want = lane_want,
	.ready = lane_ready,
};

static void tcp_fab_close(struct fab *fab)
{
	struct part_queue *q = (struct part_queue *)fab;

	queue_close(&q->q);
	for (int i = 0; i <= (int)FAB_NODE_COORD; i++)
		tcp_lane_free((struct tcp_lane *)q->lane[i]);
	free(q);
}

static const struct fab_ops tcp_fab_ops = {
	.close = tcp_fab_close,
	.post = part_post,
	.progress = queue_progress,
	.now = fab_clock_now,
	.wall = fab_clock_wall,
	.random = queue_random,
	.sleep = fab_clock_sleep,
};

int tcp_fab_open(struct fab_net *n, struct fab **out)
{
	struct part_queue *q = calloc(1, sizeof(*q));
	int rc;

	if (q == NULL)
		return -ENOMEM;
	q->lane_get = tcp_lane_get;
	q->lane_send = tcp_lane_send;
	rc = queue_open(&q->q, (struct net *)n, &tcp_fab_ops, &tcp_queue_how);
	if (rc != 0) {
		free(q);
		return rc;
	}
	*out = &q->q.fab;
	return 0;
}
