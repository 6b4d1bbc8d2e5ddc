/* rdma/verbs_fab.c - a thread's queue: posts parts to all nodes, then polls;
 * when nothing comes for a while, it sleeps until something does. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "rdma/verbs_impl.h"

#define SPIN_NS 20000 /* polled before sleeping */

/* --- progress ------------------------------------------------------------- */

static bool poll_lanes(struct queue *q)
{
	uint64_t lanes = q->lanes;
	struct verbs_lane *l;
	bool any = false;

	for (uint8_t id = 0; lanes != 0; id++, lanes >>= 1) {
		if ((lanes & 1) == 0)
			continue;
		l = verbs_lane(q, id);
		while (l->link != NULL && verbs_lane_poll(q, l))
			any = true;
		if (l->link != NULL)
			verbs_lane_send((struct part_queue *)q, &l->lane);
	}
	return any;
}

static nfds_t arm(struct queue *q, struct pollfd *p)
{
	uint64_t lanes = q->lanes;
	struct verbs_link *l;
	nfds_t n = 1;

	p[0].fd = q->wakefd;
	p[0].events = POLLIN;
	for (uint8_t id = 0; lanes != 0; id++, lanes >>= 1) {
		if ((lanes & 1) == 0)
			continue;
		l = verbs_lane(q, id)->link;
		ibv_req_notify_cq(l->cq, 0);
		p[n].fd = l->comp->fd;
		p[n++].events = POLLIN;
	}
	return n;
}

static void disarm(struct queue *q)
{
	uint64_t lanes = q->lanes;
	struct ibv_cq *cq;
	void *ctx;

	for (uint8_t id = 0; lanes != 0; id++, lanes >>= 1)
		if ((lanes & 1) != 0 &&
		    ibv_get_cq_event(verbs_lane(q, id)->link->comp, &cq,
				     &ctx) == 0)
			ibv_ack_cq_events(cq, 1);
}

/* What came before the CQs were armed rings no bell: so poll once more. */
static void sleep_until(struct queue *q, uint64_t until)
{
	struct pollfd p[FAB_NODE_COORD + 2];
	uint64_t end = until < q->next_deadline ? until : q->next_deadline;
	nfds_t n = arm(q, p);

	if (poll_lanes(q) || fab_poll_until(p, n, end) <= 0)
		return;
	disarm(q);
	if (p[0].revents != 0)
		queue_look(q);
}

static void verbs_progress(struct fab *fab, uint64_t until)
{
	struct queue *q = (struct queue *)fab;
	uint64_t before = fab->completions, start = 0, now;

	for (;;) {
		poll_lanes(q);
		queue_expire(q);
		if (fab->completions != before || until == 0)
			break;
		now = fab_clock_now(NULL);
		if (start == 0)
			start = now;
		if (now >= until)
			break;
		if (now - start > SPIN_NS)
			sleep_until(q, until);
	}
	if (until == 0)
		queue_look(q);
}

/* What is due ends here, and its memory is its poster's again: so an adapter
 * must not have it. Others on that connection end with it. */
static void verbs_expire(struct queue *q, uint64_t now)
{
	uint64_t lanes = q->lanes, ended = 0;

	for (uint8_t id = 0; lanes != 0; id++, lanes >>= 1)
		if ((lanes & 1) != 0 &&
		    verbs_lane_let_go(q, verbs_lane(q, id), now))
			ended |= UINT64_C(1) << id;
	parts_expire(q, now);
	for (uint8_t id = 0; ended != 0; id++, ended >>= 1)
		if ((ended & 1) != 0)
			verbs_lane_fail(q, id);
}

/* --- its life ------------------------------------------------------------- */

static const struct queue_how verbs_queue_how = {
	.fail = verbs_lane_fail,
	.expire = verbs_expire,
};

static void verbs_fab_close(struct fab *fab)
{
	struct part_queue *q = (struct part_queue *)fab;

	queue_close(&q->q);
	for (int i = 0; i <= (int)FAB_NODE_COORD; i++)
		verbs_lane_free((struct verbs_lane *)q->lane[i]);
	free(q);
}

static const struct fab_ops verbs_fab_ops = {
	.close = verbs_fab_close,
	.post = part_post,
	.progress = verbs_progress,
	.now = fab_clock_now,
	.wall = fab_clock_wall,
	.random = queue_random,
	.sleep = fab_clock_sleep,
};

int verbs_fab_open(struct fab_net *n, struct fab **out)
{
	struct part_queue *q = calloc(1, sizeof(*q));
	int rc;

	if (q == NULL)
		return -ENOMEM;
	q->lane_get = verbs_lane_get;
	q->lane_send = verbs_lane_send;
	rc = queue_open(&q->q, (struct net *)n, &verbs_fab_ops,
			&verbs_queue_how);
	if (rc != 0) {
		free(q);
		return rc;
	}
	*out = &q->q.fab;
	return 0;
}
