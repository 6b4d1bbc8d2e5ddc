/* rdma/tcp_fab.c - a thread's queue: batches become parts, one for each node
 * they name, all on their way before anything is waited for. */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include "rdma/tcp_impl.h"

/* --- posting -------------------------------------------------------------- */

static int tcp_post(struct fab *fab, struct fab_batch *b)
{
	struct part_list parts = TAILQ_HEAD_INITIALIZER(parts);
	struct tcp_fab *f = tcp_fab(fab);
	struct tcp_lane *l;
	struct part *p;

	if (parts_make(fab, b, &parts) != 0)
		return -ENOMEM;
	p = TAILQ_FIRST(&parts);
	if (p->deadline < f->next_deadline)
		f->next_deadline = p->deadline;
	while ((p = TAILQ_FIRST(&parts)) != NULL) {
		TAILQ_REMOVE(&parts, p, link);
		if (tcp_lane_get(f, p->node, &l) != 0) {
			part_refuse(fab, p);
		} else {
			tcp_lane_add(l, p);
			tcp_lane_send(f, l);
		}
	}
	return 0;
}

/* --- deadlines ------------------------------------------------------------ */

static void expire(struct tcp_fab *f)
{
	uint64_t now, lanes = f->lanes;

	if (f->next_deadline == UINT64_MAX)
		return;
	now = fab_clock_now(NULL);
	if (now < f->next_deadline)
		return;
	f->next_deadline = UINT64_MAX;
	for (int id = 0; lanes != 0; id++, lanes >>= 1)
		if ((lanes & 1) != 0)
			parts_expire(&f->lane[id]->lane, now,
				     &f->next_deadline);
}

/* --- progress ------------------------------------------------------------- */

/* Some node's state has changed: fail what waits for one that is not up. */
static void look_at_nodes(struct tcp_fab *f)
{
	uint64_t lanes = f->lanes, n;
	ssize_t rc;

	rc = read(f->wakefd, &n, sizeof(n));
	(void)rc; /* -EAGAIN: an earlier look has seen it */
	for (int id = 0; lanes != 0; id++, lanes >>= 1)
		if ((lanes & 1) != 0 && !tcp_lane_is_current(f, f->lane[id]))
			tcp_lane_fail(f, f->lane[id]);
}

static nfds_t fill_polls(struct tcp_fab *f, struct pollfd *p, uint8_t *ids)
{
	uint64_t lanes = f->lanes;
	nfds_t n = 0;

	for (uint8_t id = 0; lanes != 0; id++, lanes >>= 1) {
		if ((lanes & 1) == 0)
			continue;
		p[n].fd = tcp_link_fd(f->lane[id]->link);
		p[n].events = POLLIN | tcp_link_wants(f->lane[id]->link);
		ids[n++] = id;
	}
	p[n].fd = f->wakefd;
	p[n].events = POLLIN;
	return n;
}

static int wait_polls(struct tcp_fab *f, struct pollfd *p, nfds_t n,
		      uint64_t until)
{
	uint64_t end = until < f->next_deadline ? until : f->next_deadline;

	return fab_poll_until(p, n, end);
}

static void turn(struct tcp_fab *f, uint64_t until)
{
	struct pollfd p[FAB_NODE_COORD + 2];
	uint8_t ids[FAB_NODE_COORD + 1];
	nfds_t n = fill_polls(f, p, ids);
	int ready = wait_polls(f, p, n + 1, until);
	struct tcp_lane *l;

	for (nfds_t i = 0; ready > 0 && i < n; i++) {
		l = f->lane[ids[i]];
		if ((p[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0)
			tcp_lane_receive(f, l);
		if (p[i].revents != 0 && l->link != NULL)
			tcp_lane_send(f, l);
	}
	if (ready > 0 && p[n].revents != 0)
		look_at_nodes(f);
	expire(f);
}

static void tcp_progress(struct fab *fab, uint64_t until)
{
	struct tcp_fab *f = tcp_fab(fab);
	uint64_t before = fab->completions;

	do
		turn(f, until);
	while (fab->completions == before && until != 0 &&
	       (until == UINT64_MAX || fab_clock_now(NULL) < until));
}

/* --- its life ------------------------------------------------------------- */

void tcp_wake_all(struct tcp_net *net)
{
	struct tcp_fab *f;
	uint64_t one = 1;
	ssize_t n;

	pthread_mutex_lock(&net->lock);
	TAILQ_FOREACH (f, &net->fabs, link) {
		n = write(f->wakefd, &one, sizeof(one));
		(void)n; /* full is awake enough */
	}
	pthread_mutex_unlock(&net->lock);
}

static uint64_t tcp_random(struct fab *fab)
{
	return fab_dice(&tcp_fab(fab)->dice);
}

static void tcp_fab_close(struct fab *fab)
{
	struct tcp_fab *f = tcp_fab(fab);

	pthread_mutex_lock(&f->net->lock);
	TAILQ_REMOVE(&f->net->fabs, f, link);
	pthread_mutex_unlock(&f->net->lock);
	for (int i = 0; i <= (int)FAB_NODE_COORD; i++)
		tcp_lane_free(f->lane[i]);
	close(f->wakefd);
	free(f);
}

static const struct fab_ops tcp_fab_ops = {
	.close = tcp_fab_close,
	.post = tcp_post,
	.progress = tcp_progress,
	.now = fab_clock_now,
	.wall = fab_clock_wall,
	.random = tcp_random,
	.sleep = fab_clock_sleep,
};

int tcp_fab_open(struct fab_net *n, struct fab **out)
{
	struct tcp_net *net = tcp_net(n);
	struct tcp_fab *f;
	int rc = -EIO;

	f = calloc(1, sizeof(*f));
	if (f == NULL)
		return -ENOMEM;
	fab_init(&f->fab, &tcp_fab_ops);
	f->net = net;
	f->next_deadline = UINT64_MAX;
	if (getrandom(&f->dice, sizeof(f->dice), 0) != sizeof(f->dice))
		goto err_free;
	f->wakefd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (f->wakefd < 0) {
		rc = -errno;
		goto err_free;
	}
	pthread_mutex_lock(&net->lock);
	TAILQ_INSERT_TAIL(&net->fabs, f, link);
	pthread_mutex_unlock(&net->lock);
	*out = &f->fab;
	return 0;

err_free:
	free(f);
	return rc;
}
