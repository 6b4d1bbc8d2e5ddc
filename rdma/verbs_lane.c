/* rdma/verbs_lane.c - a queue's queue pair to one node: its life, and what
 * completes and comes on it. What goes out: verbs_send.c. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "rdma/verbs_impl.h"

/* --- connecting ----------------------------------------------------------- */

/* Its batch may be gone soon: nothing more comes into its memory. */
static void lane_drop(struct part_lane *pl, struct part *part)
{
	struct verbs_lane *l = (struct verbs_lane *)pl;

	for (uint64_t i = l->done; i < l->posted; i++)
		if (l->work[i % VERBS_SENDS].part == part)
			l->work[i % VERBS_SENDS].part = NULL;
	for (unsigned i = 0; i < VERBS_RECVS; i++)
		if (l->call[i].part == part)
			l->call[i].part = NULL;
	if (pl->sending == part)
		l->piece_at = 0;
}

static struct verbs_lane *lane_new(struct part_queue *q, uint8_t id)
{
	struct verbs_lane *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return NULL;
	l->net = q->q.net;
	l->id = id;
	l->lane.fab = &q->q.fab;
	l->lane.drop = lane_drop;
	TAILQ_INIT(&l->lane.parts);
	return l;
}

static struct verbs_node *node_of(struct verbs_lane *l)
{
	return &verbs_net(l->net)->node[l->id];
}

static char *address_of(struct verbs_lane *l, uint32_t *generation)
{
	struct verbs_node *node = node_of(l);
	char *copy = NULL;

	if (atomic_load(&node->n.state) != NET_UP)
		return NULL; /* nor waited for, if it is being cut */
	pthread_mutex_lock(&node->n.lock);
	if (atomic_load(&node->n.state) == NET_UP) {
		*generation = atomic_load(&node->n.generation);
		l->addr = node->addr;
		l->size = node->n.size;
		l->rkey = node->rkey;
		copy = strdup(node->n.address);
	}
	pthread_mutex_unlock(&node->n.lock);
	return copy;
}

/* Known to its node from here on, so that a cut breaks it. */
static int lane_enter(struct queue *q, struct verbs_lane *l)
{
	struct verbs_node *node = node_of(l);
	int rc = -EHOSTDOWN;

	/* a cut changes the state, then looks at the lanes */
	pthread_mutex_lock(&node->lanes_lock);
	if (queue_lane_is_current(q, l->id)) {
		TAILQ_INSERT_TAIL(&node->lanes, l, on);
		rc = 0;
	}
	pthread_mutex_unlock(&node->lanes_lock);
	return rc;
}

/* Nobody waits for it longer than until @due. But where it has been too slow
 * for that, and is alive, there is twice the time: or short batches would never
 * get there. */
static int link_open(struct verbs_lane *l, const char *address, uint64_t due)
{
	uint64_t from = fab_clock_now(NULL);
	struct verbs_to to = {.address = address,
			      .kind = VERBS_QUEUE,
			      .node = l->id,
			      .deadline = from + VERBS_HELLO_NS};
	struct verbs_welcome w;
	int rc;

	if (due < from + l->patience)
		due = from + l->patience;
	if (due < to.deadline)
		to.deadline = due;
	rc = verbs_link_open(verbs_net(l->net), &to, &w, &l->link);
	l->patience = 0;
	if (rc == 0)
		return 0;
	if (rc == -ETIMEDOUT)
		l->patience = 2 * (fab_clock_now(NULL) - from);
	verbs_suspect(l->net, l->id);
	l->link = NULL;
	return rc;
}

static int lane_connect(struct queue *q, struct verbs_lane *l, uint64_t due)
{
	uint32_t generation;
	char *address = address_of(l, &generation);
	int rc, flags;

	if (address == NULL)
		return -EHOSTDOWN;
	rc = link_open(l, address, due);
	free(address);
	if (rc != 0)
		return rc;
	l->reach.changes = 0;
	flags = fcntl(l->link->comp->fd, F_GETFL);
	fcntl(l->link->comp->fd, F_SETFL, flags | O_NONBLOCK);
	queue_lane_on(q, l->id, generation);
	rc = lane_enter(q, l);
	if (rc != 0) {
		queue_lane_off(q, l->id);
		verbs_link_close(l->link);
		l->link = NULL;
	}
	return rc;
}

int verbs_lane_get(struct part_queue *q, const struct part *part,
		   struct part_lane **out)
{
	uint8_t id = part->node;
	struct verbs_lane *l = verbs_lane(&q->q, id);
	int rc;

	if (l == NULL) {
		l = lane_new(q, id);
		if (l == NULL)
			return -ENOMEM;
		q->lane[id] = &l->lane;
	}
	if (l->link != NULL && !queue_lane_is_current(&q->q, id))
		verbs_lane_fail(&q->q, id);
	*out = &l->lane;
	if (l->link != NULL)
		return 0;
	rc = lane_connect(&q->q, l, part->deadline);
	return rc == 0 || rc == -ENOMEM ? rc : -EHOSTDOWN;
}

/* --- the end -------------------------------------------------------------- */

static void lane_close(struct verbs_lane *l)
{
	struct verbs_node *node = node_of(l);

	if (l->link == NULL)
		return;
	pthread_mutex_lock(&node->lanes_lock);
	TAILQ_REMOVE(&node->lanes, l, on);
	pthread_mutex_unlock(&node->lanes_lock);
	verbs_link_close(l->link);
	l->link = NULL;
	l->done = l->posted = 0;
	l->piece_at = 0;
	l->calls = 0;
	memset(l->call, 0, sizeof(l->call));
}

void verbs_lane_fail(struct queue *q, uint8_t id)
{
	struct verbs_lane *l = verbs_lane(q, id);

	lane_close(l);
	queue_lane_off(q, id);
	parts_end(&l->lane, -EHOSTDOWN);
}

void verbs_lane_free(struct verbs_lane *l)
{
	if (l == NULL)
		return;
	lane_close(l);
	free(l);
}

/* --- what completes ------------------------------------------------------- */

static void work_done(struct verbs_lane *l, struct verbs_work *w)
{
	struct fab_op *op;

	if (w->bytes != NULL)
		verbs_ring_free(&l->link->mem, w->ring);
	if (w->part == NULL)
		return;
	op = &w->part->batch->ops[w->op];
	if (op->opcode == FAB_CALL)
		return; /* its answer is its end */
	if (op->opcode == FAB_READ && w->bytes != NULL && w->len > 0)
		memcpy((uint8_t *)op->buf + w->skip, w->bytes, w->len);
	else if (op->opcode == FAB_CAS || op->opcode == FAB_FAA)
		memcpy(&op->old, w->bytes, 8);
	if (w->last)
		part_end(&l->lane, w->part, w->op, 0);
}

/* One signaled piece of work stands for those before it. */
static void sent(struct verbs_lane *l, uint64_t upto)
{
	struct verbs_work w;

	while (l->done <= upto && l->done < l->posted) {
		w = l->work[l->done++ % VERBS_SENDS];
		work_done(l, &w);
	}
}

/* --- what comes ----------------------------------------------------------- */

static int answer(struct verbs_lane *l, const struct verbs_msg *m)
{
	struct verbs_call *c = &l->call[m->id % VERBS_RECVS];
	int status = m->status;
	struct fab_op *op;
	struct part *part = c->part;

	if (status > 0 || !c->used || m->id / VERBS_RECVS != c->serial)
		return -EPROTO;
	c->used = false;
	c->part = NULL;
	l->calls--;
	if (part == NULL)
		return 0; /* late: its deadline has passed */
	op = &part->batch->ops[c->op];
	op->reply_len = m->len;
	l->lane.fab->count.bytes_called += m->len;
	if (m->len > op->reply_cap)
		status = status < 0 ? status : -EMSGSIZE;
	else if (m->len > 0)
		memcpy(op->reply, m + 1, m->len);
	part_end(&l->lane, part, c->op, status);
	return 0;
}

static int came(struct verbs_lane *l, const struct ibv_wc *wc)
{
	unsigned slot = (unsigned)(wc->wr_id & ~VERBS_RECV_ID);
	const struct verbs_msg *m = (void *)verbs_mem_recv(&l->link->mem, slot);
	int rc;

	if (wc->byte_len < sizeof(*m) || m->type != VERBS_ANSWER ||
	    m->len != wc->byte_len - sizeof(*m))
		return -EPROTO;
	rc = answer(l, m);
	return rc == 0 ? verbs_post_recv(l->link->id->qp, &l->link->mem, slot)
		       : rc;
}

/* How many completions there were; -errno: it is broken. */
static int take(struct verbs_lane *l)
{
	struct ibv_wc wc[16];
	int n = ibv_poll_cq(l->link->cq, 16, wc), rc = n < 0 ? -EHOSTDOWN : 0;

	for (int i = 0; i < n && rc == 0; i++) {
		if (wc[i].status != IBV_WC_SUCCESS)
			rc = -EHOSTDOWN;
		else if ((wc[i].wr_id & VERBS_RECV_ID) != 0)
			rc = came(l, &wc[i]);
		else
			sent(l, wc[i].wr_id);
	}
	return rc != 0 ? rc : n;
}

static void suspect(struct queue *q, struct verbs_lane *l)
{
	if (queue_lane_is_current(q, l->id))
		verbs_suspect(q->net, l->id);
}

bool verbs_lane_poll(struct queue *q, struct verbs_lane *l)
{
	int n = take(l);

	if (n < 0) {
		suspect(q, l);
		verbs_lane_fail(q, l->id);
	}
	return n != 0;
}

/* --- memory that must be let go of ---------------------------------------- */

#define FLUSH_NS UINT64_C(10000000)

static bool holds_due(const struct verbs_lane *l, uint64_t now)
{
	const struct verbs_work *w;

	for (uint64_t i = l->done; i < l->posted; i++) {
		w = &l->work[i % VERBS_SENDS];
		if (w->direct && w->part != NULL && w->part->deadline <= now)
			return true;
	}
	return false;
}

/* In the error state the adapter gives back what is under way, in its order:
 * what was done before that is told as done. Where it is slow to, the end of
 * the queue pair is the end of all; that is waited for. */
bool verbs_lane_let_go(struct queue *q, struct verbs_lane *l, uint64_t now)
{
	uint64_t until = fab_clock_now(NULL) + FLUSH_NS;

	if (!holds_due(l, now))
		return false;
	suspect(q, l);
	verbs_conn_break(l->link->id->qp);
	while (l->done < l->posted && take(l) >= 0 &&
	       fab_clock_now(NULL) < until)
		;
	lane_close(l);
	return true;
}
