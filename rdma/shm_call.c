/* rdma/shm_call.c - a queue's CALLs: sent over a socket of its own to each
 * node, matched with their answers by id, ended by answer, death or deadline.
 *
 *	       socket full, or the node
 *	       has yet to prove its key          answer, deadline, death
 *	start ----> unsent ------> sent ------> end
 *	   \_____________________/ */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rdma/shm_impl.h"

#define READS_PER_TURN 256 /* of one lane, before the others are looked at */

/* --- ids ------------------------------------------------------------------ */

/* A late answer's id differs in its serial from the slot's next user. */
static int slots_reserve(struct shm_fab *f, uint32_t n)
{
	uint32_t want = f->slots != 0 ? f->slots : 64;
	void *p;

	if (f->slots_free >= n)
		return 0;
	while (want - (f->slots - f->slots_free) < n)
		want *= 2;
	p = realloc(f->by_slot, want * sizeof(*f->by_slot));
	if (p == NULL)
		return -ENOMEM;
	f->by_slot = p;
	p = realloc(f->free_slot, want * sizeof(*f->free_slot));
	if (p == NULL)
		return -ENOMEM;
	f->free_slot = p;
	for (uint32_t i = f->slots; i < want; i++) {
		f->by_slot[i] = NULL;
		f->free_slot[f->slots_free++] = i;
	}
	f->slots = want;
	return 0;
}

static void id_take(struct shm_fab *f, struct shm_call *c)
{
	uint32_t slot = f->free_slot[--f->slots_free];

	f->by_slot[slot] = c;
	c->id = (uint64_t)++f->serial << 32 | slot;
}

static void id_give(struct shm_fab *f, struct shm_call *c)
{
	uint32_t slot = (uint32_t)c->id;

	f->by_slot[slot] = NULL;
	f->free_slot[f->slots_free++] = slot;
}

static struct shm_call *id_find(struct shm_fab *f, uint64_t id)
{
	uint32_t slot = (uint32_t)id;
	struct shm_call *c = slot < f->slots ? f->by_slot[slot] : NULL;

	return c != NULL && c->id == id ? c : NULL;
}

/* --- a batch's calls ------------------------------------------------------ */

int shm_calls_prepare(struct shm_fab *f, struct fab_batch *b, uint32_t n)
{
	struct shm_calls *cs;

	if (slots_reserve(f, n) != 0)
		return -ENOMEM;
	cs = malloc(sizeof(*cs) + n * sizeof(cs->call[0]));
	if (cs == NULL)
		return -ENOMEM;
	cs->deadline = fab_deadline(&f->q.fab, b);
	cs->batch = b;
	cs->n = 0;
	b->priv = cs;
	TAILQ_INSERT_TAIL(&f->waiting, cs, link);
	if (cs->deadline < f->q.next_deadline)
		f->q.next_deadline = cs->deadline;
	return 0;
}

void shm_calls_release(struct shm_fab *f, struct fab_batch *b)
{
	struct shm_calls *cs = b->priv;

	TAILQ_REMOVE(&f->waiting, cs, link);
	free(cs);
	b->priv = NULL;
}

static void call_end(struct shm_fab *f, struct shm_call *c, int status)
{
	struct shm_lane *l = f->lane[c->op->node];
	struct fab_op *op = c->op;

	TAILQ_REMOVE(c->sent ? &l->sent : &l->unsent, c, link);
	id_give(f, c);
	c->op = NULL;
	shm_op_end(f, c->batch, op, status); /* may free @c */
}

/* --- lanes ---------------------------------------------------------------- */

static void lane_close(struct shm_fab *f, uint8_t id)
{
	struct shm_lane *l = f->lane[id];

	if (l->sock >= 0)
		close(l->sock);
	l->sock = -1;
	queue_lane_off(&f->q, id);
}

/* What was under way there has met its end. */
static void lane_fail(struct shm_fab *f, uint8_t id)
{
	struct shm_lane *l = f->lane[id];
	struct shm_call *c;

	lane_close(f, id);
	while ((c = TAILQ_FIRST(&l->sent)) != NULL)
		call_end(f, c, -EHOSTDOWN);
	while ((c = TAILQ_FIRST(&l->unsent)) != NULL)
		call_end(f, c, -EHOSTDOWN);
}

static int lane_make(struct shm_fab *f, uint8_t id)
{
	struct shm_lane *l;

	if (f->lane[id] != NULL)
		return 0;
	l = calloc(1, sizeof(*l));
	if (l == NULL)
		return -ENOMEM;
	l->sock = -1;
	TAILQ_INIT(&l->sent);
	TAILQ_INIT(&l->unsent);
	f->lane[id] = l;
	return 0;
}

static int lane_connect(struct shm_fab *f, uint8_t id)
{
	struct shm_lane *l = f->lane[id];
	uint32_t generation;
	int rc;

	if (l->sock >= 0 && !queue_lane_is_current(&f->q, id))
		lane_fail(f, id);
	if (l->sock >= 0)
		return 0;
	rc = shm_call_socket(f->q.net, id, &l->auth, &generation, &l->sock);
	if (rc != 0)
		return rc == -ENOMEM ? rc : -EHOSTDOWN;
	l->greeting = shm_key(f->q.net) != NULL;
	queue_lane_on(&f->q, id, generation);
	return 0;
}

static int lane_send(struct shm_lane *l, const struct shm_call *c)
{
	struct shm_frame fr;

	shm_frame_init(&fr, SHM_CALL);
	fr.call = c->op->call;
	fr.id = c->id;
	return shm_send(l->sock, &fr, c->op->buf, c->op->len, -1);
}

/* The socket takes more again. */
static void lane_flush(struct shm_fab *f, uint8_t id)
{
	struct shm_lane *l = f->lane[id];
	struct shm_call *c;
	int rc;

	while ((c = TAILQ_FIRST(&l->unsent)) != NULL) {
		rc = lane_send(l, c);
		if (rc == -EAGAIN)
			return;
		if (rc != 0) {
			lane_fail(f, id);
			return;
		}
		TAILQ_REMOVE(&l->unsent, c, link);
		TAILQ_INSERT_TAIL(&l->sent, c, link);
		c->sent = true;
	}
}

/* --- starting ------------------------------------------------------------- */

/* Send @c, on a new connection if the old one turns out to be closed: then
 * nothing of @c has been seen by anyone. */
static int send_first(struct shm_fab *f, uint8_t id, struct shm_call *c)
{
	int rc = -EHOSTDOWN;

	for (int i = 0; i < 2; i++) {
		rc = lane_connect(f, id);
		if (rc != 0)
			return rc;
		if (f->lane[id]->greeting || !TAILQ_EMPTY(&f->lane[id]->unsent))
			return -EAGAIN;
		rc = lane_send(f->lane[id], c);
		if (rc == 0 || rc == -EAGAIN)
			return rc;
		lane_fail(f, id);
	}
	return -EHOSTDOWN;
}

int shm_call_start(struct shm_fab *f, struct fab_batch *b, struct fab_op *op)
{
	struct shm_calls *cs = b->priv;
	struct shm_call *c = &cs->call[cs->n++];
	struct shm_lane *l;
	int rc;

	c->batch = b;
	c->op = op;
	op->reply_len = 0;
	rc = lane_make(f, op->node);
	if (rc != 0)
		goto err;
	id_take(f, c);
	rc = send_first(f, op->node, c);
	if (rc != 0 && rc != -EAGAIN)
		goto err_id;
	c->sent = rc == 0;
	l = f->lane[op->node];
	TAILQ_INSERT_TAIL(c->sent ? &l->sent : &l->unsent, c, link);
	return -EINPROGRESS;

err_id:
	id_give(f, c);
err:
	c->op = NULL;
	return rc == -ENOMEM ? -EHOSTDOWN : rc;
}

/* --- answers -------------------------------------------------------------- */

static void answer(struct shm_fab *f, const struct shm_frame *fr, size_t len)
{
	struct shm_call *c = id_find(f, fr->id);
	struct fab_op *op;
	int status = fr->status;

	if (c == NULL)
		return; /* late: its deadline has passed */
	op = c->op;
	op->reply_len = (uint32_t)len;
	if (status > 0)
		status = -EREMOTEIO;
	if (len > op->reply_cap)
		status = status < 0 ? status : -EMSGSIZE;
	else if (len > 0)
		memcpy(op->reply, fr + 1, len);
	f->q.fab.count.bytes_called += len;
	call_end(f, c, status);
}

/* @fr is the node's first: what has waited for it goes. */
static int lane_greeted(struct shm_fab *f, uint8_t id,
			const struct shm_frame *fr, size_t len)
{
	struct shm_lane *l = f->lane[id];
	int rc = shm_call_proved(f->q.net, l->sock, &l->auth, fr, len);

	l->greeting = rc != 0;
	if (rc == 0)
		lane_flush(f, id);
	return rc;
}

static int lane_frame(struct shm_fab *f, uint8_t id, const struct shm_frame *fr,
		      size_t len)
{
	if (f->lane[id]->greeting)
		return lane_greeted(f, id, fr, len);
	if (!shm_frame_ok(fr, len) || fr->type != SHM_ANSWER)
		return -EPROTO;
	answer(f, fr, len - sizeof(*fr));
	return 0;
}

static void lane_receive(struct shm_fab *f, uint8_t id)
{
	ssize_t n;

	for (int i = 0; i < READS_PER_TURN && f->lane[id]->sock >= 0; i++) {
		n = shm_recv(f->lane[id]->sock, f->frame, SHM_FRAME_MAX, NULL);
		if (n == -EAGAIN)
			return;
		if (n <= 0 || lane_frame(f, id, f->frame, (size_t)n) != 0) {
			lane_fail(f, id);
			return;
		}
	}
}

/* --- deadlines ------------------------------------------------------------ */

static void batch_expire(struct shm_fab *f, struct shm_calls *cs)
{
	uint32_t left = cs->batch->left;

	/* the end of the last one frees @cs */
	for (uint32_t i = 0; left > 0; i++) {
		assert(i < cs->n);
		if (cs->call[i].op == NULL)
			continue;
		left--;
		call_end(f, &cs->call[i], -ETIMEDOUT);
	}
}

static void calls_expire(struct queue *q, uint64_t now)
{
	struct shm_fab *f = shm_fab(&q->fab);
	struct shm_calls *cs, *next;

	for (cs = TAILQ_FIRST(&f->waiting); cs != NULL; cs = next) {
		next = TAILQ_NEXT(cs, link);
		if (cs->deadline <= now)
			batch_expire(f, cs);
		else if (cs->deadline < q->next_deadline)
			q->next_deadline = cs->deadline;
	}
}

/* --- progress ------------------------------------------------------------- */

static void lane_want(struct queue *q, uint8_t id, struct pollfd *p)
{
	struct shm_lane *l = shm_fab(&q->fab)->lane[id];

	p->fd = l->sock;
	p->events = POLLIN;
	if (!l->greeting && !TAILQ_EMPTY(&l->unsent))
		p->events |= POLLOUT;
}

static void lane_ready(struct queue *q, uint8_t id, short events)
{
	struct shm_fab *f = shm_fab(&q->fab);

	if ((events & (POLLIN | POLLHUP | POLLERR)) != 0)
		lane_receive(f, id);
	if ((events & POLLOUT) != 0 && f->lane[id]->sock >= 0 &&
	    !f->lane[id]->greeting)
		lane_flush(f, id);
}

static void lane_ends(struct queue *q, uint8_t id)
{
	lane_fail(shm_fab(&q->fab), id);
}

const struct queue_how shm_queue_how = {
	.fail = lane_ends,
	.expire = calls_expire,
	.want = lane_want,
	.ready = lane_ready,
};

/* --- its life ------------------------------------------------------------ */

int shm_calls_open(struct shm_fab *f)
{
	TAILQ_INIT(&f->waiting);
	f->frame = malloc(SHM_FRAME_MAX);
	return f->frame != NULL ? 0 : -ENOMEM;
}

void shm_calls_close(struct shm_fab *f)
{
	for (int i = 0; i <= (int)FAB_NODE_COORD; i++) {
		if (f->lane[i] == NULL)
			continue;
		if (f->lane[i]->sock >= 0)
			close(f->lane[i]->sock);
		free(f->lane[i]);
	}
	free(f->by_slot);
	free(f->free_slot);
	free(f->frame);
}
