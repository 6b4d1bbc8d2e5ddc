/* rdma/verbs_fab.c - a thread's queue: posts parts to all nodes, then polls;
 * when nothing comes for a while, it sleeps until something does. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include "rdma/verbs_impl.h"

#define SPIN_NS 20000 /* polled before sleeping */

static int verbs_post(struct fab *fab, struct fab_batch *b)
{
	struct part_list parts = TAILQ_HEAD_INITIALIZER(parts);
	struct verbs_fab *f = verbs_fab(fab);
	struct verbs_lane *l;
	struct part *p;

	if (parts_make(fab, b, &parts) != 0)
		return -ENOMEM;
	p = TAILQ_FIRST(&parts);
	if (p->deadline < f->next_deadline)
		f->next_deadline = p->deadline;
	while ((p = TAILQ_FIRST(&parts)) != NULL) {
		TAILQ_REMOVE(&parts, p, link);
		if (verbs_lane_get(f, p->node, &l) != 0) {
			part_refuse(fab, p);
		} else {
			part_add(&l->lane, p);
			verbs_lane_send(f, l);
		}
	}
	return 0;
}

/* --- progress ------------------------------------------------------------- */

static bool poll_lanes(struct verbs_fab *f)
{
	uint64_t lanes = f->lanes;
	bool any = false;

	for (int id = 0; lanes != 0; id++, lanes >>= 1) {
		if ((lanes & 1) == 0)
			continue;
		while (f->lane[id]->link != NULL &&
		       verbs_lane_poll(f, f->lane[id]))
			any = true;
		if (f->lane[id]->link != NULL)
			verbs_lane_send(f, f->lane[id]);
	}
	return any;
}

static void expire(struct verbs_fab *f)
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

/* Some node's state has changed: fail what waits for one that is not up. */
static void look_at_nodes(struct verbs_fab *f)
{
	uint64_t lanes = f->lanes, n;
	ssize_t rc;

	rc = read(f->wakefd, &n, sizeof(n));
	(void)rc; /* -EAGAIN: an earlier look has seen it */
	for (int id = 0; lanes != 0; id++, lanes >>= 1)
		if ((lanes & 1) != 0 && !verbs_lane_is_current(f->lane[id]))
			verbs_lane_fail(f, f->lane[id]);
}

static nfds_t arm(struct verbs_fab *f, struct pollfd *p)
{
	uint64_t lanes = f->lanes;
	nfds_t n = 1;

	p[0].fd = f->wakefd;
	p[0].events = POLLIN;
	for (int id = 0; lanes != 0; id++, lanes >>= 1) {
		if ((lanes & 1) == 0)
			continue;
		ibv_req_notify_cq(f->lane[id]->link->cq, 0);
		p[n].fd = f->lane[id]->link->comp->fd;
		p[n++].events = POLLIN;
	}
	return n;
}

static void disarm(struct verbs_fab *f)
{
	uint64_t lanes = f->lanes;
	struct ibv_cq *cq;
	void *ctx;

	for (int id = 0; lanes != 0; id++, lanes >>= 1)
		if ((lanes & 1) != 0 &&
		    ibv_get_cq_event(f->lane[id]->link->comp, &cq, &ctx) == 0)
			ibv_ack_cq_events(cq, 1);
}

/* What came before the CQs were armed rings no bell: so poll once more. */
static void sleep_until(struct verbs_fab *f, uint64_t until)
{
	struct pollfd p[FAB_NODE_COORD + 2];
	uint64_t end = until < f->next_deadline ? until : f->next_deadline;
	nfds_t n = arm(f, p);

	if (poll_lanes(f) || fab_poll_until(p, n, end) <= 0)
		return;
	disarm(f);
	if (p[0].revents != 0)
		look_at_nodes(f);
}

static void verbs_progress(struct fab *fab, uint64_t until)
{
	struct verbs_fab *f = verbs_fab(fab);
	uint64_t before = fab->completions, start = 0, now;

	for (;;) {
		poll_lanes(f);
		expire(f);
		if (fab->completions != before || until == 0)
			break;
		now = fab_clock_now(NULL);
		if (start == 0)
			start = now;
		if (now >= until)
			break;
		if (now - start > SPIN_NS)
			sleep_until(f, until);
	}
	if (until == 0)
		look_at_nodes(f);
}

/* --- its life ------------------------------------------------------------- */

void verbs_wake_all(struct verbs_net *net)
{
	struct verbs_fab *f;
	uint64_t one = 1;
	ssize_t n;

	pthread_mutex_lock(&net->lock);
	TAILQ_FOREACH (f, &net->fabs, link) {
		n = write(f->wakefd, &one, sizeof(one));
		(void)n; /* full is awake enough */
	}
	pthread_mutex_unlock(&net->lock);
}

static uint64_t verbs_random(struct fab *fab)
{
	return fab_dice(&verbs_fab(fab)->dice);
}

static void verbs_fab_close(struct fab *fab)
{
	struct verbs_fab *f = verbs_fab(fab);

	pthread_mutex_lock(&f->net->lock);
	TAILQ_REMOVE(&f->net->fabs, f, link);
	pthread_mutex_unlock(&f->net->lock);
	for (int i = 0; i <= (int)FAB_NODE_COORD; i++)
		verbs_lane_free(f->lane[i]);
	close(f->wakefd);
	free(f);
}

static const struct fab_ops verbs_fab_ops = {
	.close = verbs_fab_close,
	.post = verbs_post,
	.progress = verbs_progress,
	.now = fab_clock_now,
	.wall = fab_clock_wall,
	.random = verbs_random,
	.sleep = fab_clock_sleep,
};

int verbs_fab_open(struct fab_net *n, struct fab **out)
{
	struct verbs_net *net = verbs_net(n);
	struct verbs_fab *f = calloc(1, sizeof(*f));
	int rc = -EIO;

	if (f == NULL)
		return -ENOMEM;
	fab_init(&f->fab, &verbs_fab_ops);
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
