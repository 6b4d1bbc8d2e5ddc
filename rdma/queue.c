/* rdma/queue.c - a thread's queue, whatever the transport: deadlines, waiting,
 * being woken when a node's state has changed. */
#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include "rdma/net.h"

static struct queue *queue_of(struct fab *f)
{
	return (struct queue *)f;
}

/* --- lanes ---------------------------------------------------------------- */

void queue_lane_on(struct queue *q, uint8_t id, uint32_t generation)
{
	q->generation[id] = generation;
	q->lanes |= UINT64_C(1) << id;
}

void queue_lane_off(struct queue *q, uint8_t id)
{
	q->lanes &= ~(UINT64_C(1) << id);
}

bool queue_lane_is_current(const struct queue *q, uint8_t id)
{
	struct net_node *node = q->net->node[id];

	return atomic_load(&node->state) == NET_UP &&
	       atomic_load(&node->generation) == q->generation[id];
}

void queue_look(struct queue *q)
{
	uint64_t lanes = q->lanes, n;
	ssize_t rc;

	rc = read(q->wakefd, &n, sizeof(n));
	(void)rc; /* -EAGAIN: an earlier look has seen it */
	for (uint8_t id = 0; lanes != 0; id++, lanes >>= 1)
		if ((lanes & 1) != 0 && !queue_lane_is_current(q, id))
			q->how->fail(q, id);
}

void queues_wake(struct net *net)
{
	struct queue *q;
	uint64_t one = 1;
	ssize_t n;

	pthread_mutex_lock(&net->lock);
	TAILQ_FOREACH (q, &net->queues, link) {
		n = write(q->wakefd, &one, sizeof(one));
		(void)n; /* full is awake enough */
	}
	pthread_mutex_unlock(&net->lock);
}

/* --- progress ------------------------------------------------------------- */

void queue_expire(struct queue *q)
{
	uint64_t now;

	if (q->next_deadline == UINT64_MAX)
		return;
	now = fab_clock_now(NULL);
	if (now < q->next_deadline)
		return;
	q->next_deadline = UINT64_MAX;
	q->how->expire(q, now);
}

static nfds_t fill_polls(struct queue *q, struct pollfd *p, uint8_t *ids)
{
	uint64_t lanes = q->lanes;
	nfds_t n = 0;

	for (uint8_t id = 0; lanes != 0; id++, lanes >>= 1) {
		if ((lanes & 1) == 0)
			continue;
		q->how->want(q, id, &p[n]);
		ids[n++] = id;
	}
	p[n].fd = q->wakefd;
	p[n].events = POLLIN;
	return n;
}

static void turn(struct queue *q, uint64_t until)
{
	struct pollfd p[FAB_NODE_COORD + 2];
	uint8_t ids[FAB_NODE_COORD + 1];
	uint64_t end = until < q->next_deadline ? until : q->next_deadline;
	nfds_t n = fill_polls(q, p, ids);
	int ready = fab_poll_until(p, n + 1, end);

	for (nfds_t i = 0; ready > 0 && i < n; i++)
		if (p[i].revents != 0)
			q->how->ready(q, ids[i], p[i].revents);
	if (ready > 0 && p[n].revents != 0)
		queue_look(q);
	queue_expire(q);
}

void queue_progress(struct fab *f, uint64_t until)
{
	uint64_t before = f->completions;

	do
		turn(queue_of(f), until);
	while (f->completions == before && until != 0 &&
	       (until == UINT64_MAX || fab_clock_now(NULL) < until));
}

/* --- its life ------------------------------------------------------------- */

uint64_t queue_random(struct fab *f)
{
	return fab_dice(&queue_of(f)->dice);
}

int queue_open(struct queue *q, struct net *net, const struct fab_ops *ops,
	       const struct queue_how *how)
{
	fab_init(&q->fab, ops);
	q->net = net;
	q->how = how;
	q->next_deadline = UINT64_MAX;
	if (getrandom(&q->dice, sizeof(q->dice), 0) != sizeof(q->dice))
		return -EIO;
	q->wakefd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (q->wakefd < 0)
		return -errno;
	pthread_mutex_lock(&net->lock);
	TAILQ_INSERT_TAIL(&net->queues, q, link);
	pthread_mutex_unlock(&net->lock);
	return 0;
}

void queue_close(struct queue *q)
{
	pthread_mutex_lock(&q->net->lock);
	TAILQ_REMOVE(&q->net->queues, q, link);
	pthread_mutex_unlock(&q->net->lock);
	close(q->wakefd);
}
