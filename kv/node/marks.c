/* kv/node/marks.c - telling all members of a stripe what is obsolete. */
#include <errno.h>
#include <stdlib.h>

#include "kv/node/node_impl.h"

static int mark_here(struct node *n, const struct proto_mark *rq)
{
	int rc = 0, one;
	uint32_t i;

	pthread_mutex_lock(&n->lock);
	for (i = 0; i < rq->n; i++) {
		one = alloc_mark(n->alloc, rq->mark[i].stripe, rq->mark[i].role,
				 rq->mark[i].life, rq->mark[i].at,
				 rq->mark[i].len);
		rc = one != 0 ? -EAGAIN : rc;
	}
	node_kick(n);
	pthread_mutex_unlock(&n->lock);
	return rc;
}

/* -EAGAIN if some were refused: their block is opened again just now. */
static int mark_there(struct node *n, uint32_t id, const struct proto_mark *rq)
{
	struct proto_marked out;
	uint64_t refused = 0;
	uint32_t i;
	int rc;

	rc = peer_call(n, id, PROTO_MARK, rq,
		       (uint32_t)(sizeof(*rq) + rq->n * sizeof(rq->mark[0])),
		       &out, sizeof(out));
	if (rc != 0)
		return rc;
	for (i = 0; i < PROTO_MARKS_MAX / 64; i++)
		refused |= out.stale[i] | out.busy[i];
	return refused != 0 ? -EAGAIN : 0;
}

static int marks_send(struct node *n, struct node_marks *m, uint32_t id)
{
	struct proto_mark *rq = m->to[id];
	int rc;

	if (rq == NULL || rq->n == 0)
		return 0;
	node_view_up(n, &rq->epoch);
	if (id == n->id)
		rc = mark_here(n, rq);
	else
		rc = mark_there(n, id, rq);
	rq->n = 0;
	return rc;
}

static int mark_at(struct node *n, struct node_marks *m, uint32_t id,
		   const struct proto_mark_one *one)
{
	struct proto_mark **rq = &m->to[id];

	if (*rq == NULL)
		*rq = calloc(1, sizeof(**rq) + PROTO_MARKS_MAX * sizeof(*one));
	if (*rq == NULL)
		return -ENOMEM;
	(*rq)->mark[(*rq)->n++] = *one;
	return (*rq)->n == PROTO_MARKS_MAX ? marks_send(n, m, id) : 0;
}

/* One that refused some does not keep the others from being told. */
static int worse(int a, int b)
{
	return a != 0 && a != -EAGAIN ? a : b != 0 ? b : a;
}

int node_mark(struct node *n, struct node_marks *m, uint64_t up,
	      const struct proto_mark_one *one)
{
	uint64_t members =
		node_members(node_group(n), one->stripe, one->role, false) & up;
	uint32_t id;
	int rc = 0;

	for (id = 0; id < node_group(n)->nodes; id++)
		if (members >> id & 1)
			rc = worse(rc, mark_at(n, m, id, one));
	return rc;
}

int node_marks_flush(struct node *n, struct node_marks *m)
{
	uint32_t id;
	int rc = 0;

	for (id = 0; id < node_group(n)->nodes; id++)
		rc = worse(rc, marks_send(n, m, id));
	return rc;
}

void node_marks_drop(struct node_marks *m)
{
	uint32_t id;

	for (id = 0; id < FAB_NODES_MAX; id++) {
		free(m->to[id]);
		m->to[id] = NULL;
	}
}
