/* rdma/verbs_send.c - parts become work requests: chained, posted with one
 * doorbell, the last of a chain signaled. */
#include <errno.h>
#include <string.h>

#include "rdma/verbs_impl.h"

#define CHAIN_MAX VERBS_SENDS_MIN

_Static_assert(VERBS_INLINE < FAB_DIRECT_MIN, "one or the other");

struct chain {
	struct ibv_send_wr wr[CHAIN_MAX];
	struct ibv_sge sge[CHAIN_MAX];
	unsigned n;
};

static bool allowed(const struct verbs_lane *l, const struct fab_op *op)
{
	bool atomic = op->opcode == FAB_CAS || op->opcode == FAB_FAA;
	uint64_t len = atomic ? 8 : op->len;

	if (op->opcode == FAB_CALL)
		return true;
	if (op->opcode != FAB_READ && verbs_net(l->net)->key.reader)
		return false;
	if (atomic && op->offset % 8 != 0)
		return false;
	return op->offset <= l->size && len <= l->size - op->offset;
}

/* The bytes of @op are in memory that the adapter knows. */
static bool is_direct(struct verbs_lane *l, const struct fab_op *op,
		      uint32_t *lkey)
{
	if (op->opcode != FAB_READ && op->opcode != FAB_WRITE)
		return false;
	return op->len >= FAB_DIRECT_MIN &&
	       verbs_reach_find(l->link->net, l->link->adapter, &l->reach,
				op->buf, op->len, lkey);
}

static uint32_t piece_of(const struct verbs_lane *l, const struct fab_op *op,
			 bool direct)
{
	uint32_t most = direct ? VERBS_DIRECT_PIECE : VERBS_PIECE;
	uint64_t left = op->len - l->piece_at;

	if (most > l->link->bounds.piece)
		most = l->link->bounds.piece;
	switch (op->opcode) {
	case FAB_CALL:
		return (uint32_t)sizeof(struct verbs_msg) + op->len;
	case FAB_CAS:
	case FAB_FAA:
		return 8;
	default:
		return left < most ? (uint32_t)left : most;
	}
}

static int call_take(struct verbs_lane *l, struct part *part, uint32_t op)
{
	for (unsigned i = 0; i < VERBS_RECVS; i++) {
		if (l->call[i].used)
			continue;
		l->call[i] = (struct verbs_call){.part = part,
						 .op = op,
						 .serial = ++l->serial,
						 .used = true};
		l->calls++;
		return (int)i;
	}
	return -EAGAIN;
}

static void fill_call(struct verbs_lane *l, const struct fab_op *op, int slot,
		      uint8_t *bytes)
{
	struct verbs_msg m = {.type = VERBS_CALL,
			      .call = op->call,
			      .len = op->len,
			      .id = (uint64_t)l->call[slot].serial *
					    VERBS_RECVS +
				    (unsigned)slot};

	memcpy(bytes, &m, sizeof(m));
	if (op->len > 0)
		memcpy(bytes + sizeof(m), op->buf, op->len);
}

static void set_opcode(struct verbs_lane *l, const struct fab_op *op,
		       struct ibv_send_wr *wr)
{
	static const enum ibv_wr_opcode code[] = {
		[FAB_READ] = IBV_WR_RDMA_READ,
		[FAB_WRITE] = IBV_WR_RDMA_WRITE,
		[FAB_CAS] = IBV_WR_ATOMIC_CMP_AND_SWP,
		[FAB_FAA] = IBV_WR_ATOMIC_FETCH_AND_ADD,
		[FAB_CALL] = IBV_WR_SEND};
	uint64_t to = l->addr + op->offset + l->piece_at;

	wr->opcode = code[op->opcode];
	if (op->opcode == FAB_CAS || op->opcode == FAB_FAA) {
		wr->wr.atomic.remote_addr = to;
		wr->wr.atomic.rkey = l->rkey;
		wr->wr.atomic.compare_add =
			op->opcode == FAB_CAS ? op->expect : op->arg;
		wr->wr.atomic.swap = op->arg;
	} else {
		wr->wr.rdma.remote_addr = to;
		wr->wr.rdma.rkey = l->rkey;
	}
}

static bool is_inline(const struct verbs_lane *l, const struct fab_op *op)
{
	return op->opcode == FAB_WRITE && op->len <= l->link->inline_max;
}

/* Where the bytes of piece @w lie: @sge, whose key is set if they are direct.
 * -EAGAIN: no room. */
static int place(struct verbs_lane *l, const struct fab_op *op,
		 struct verbs_work *w, struct ibv_sge *sge)
{
	sge->length = w->len;
	sge->addr = (uintptr_t)op->buf + l->piece_at;
	if (w->direct)
		return 0;
	sge->lkey = l->link->mem.mr->lkey;
	if (is_inline(l, op))
		return 0;
	w->bytes = verbs_ring_take(&l->link->mem, w->len, &w->ring);
	if (w->bytes == NULL)
		return -EAGAIN;
	sge->addr = (uintptr_t)w->bytes;
	if (op->opcode == FAB_WRITE)
		memcpy(w->bytes, (const uint8_t *)op->buf + l->piece_at,
		       w->len);
	return 0;
}

static void count_direct(struct verbs_lane *l, const struct verbs_work *w)
{
	if (w->direct && w->skip == 0)
		l->lane.fab->count.direct++;
}

/* The next piece of operation @i of @part into @c. -EAGAIN: no room now. */
static int add_piece(struct verbs_lane *l, struct chain *c, struct part *part,
		     uint32_t i)
{
	struct fab_op *op = &part->batch->ops[i];
	struct ibv_sge *sge = &c->sge[c->n];
	struct verbs_work *w = &l->work[l->posted % VERBS_SENDS];
	struct ibv_send_wr *wr = &c->wr[c->n];
	int slot = 0;

	if (l->posted - l->done == l->link->bounds.sends || c->n == CHAIN_MAX ||
	    (op->opcode == FAB_CALL && l->calls == VERBS_RECVS))
		return -EAGAIN;
	*w = (struct verbs_work){.part = part, .op = i, .skip = l->piece_at};
	w->direct = is_direct(l, op, &sge->lkey);
	w->len = piece_of(l, op, w->direct);
	if (place(l, op, w, sge) != 0)
		return -EAGAIN;
	count_direct(l, w);
	memset(wr, 0, sizeof(*wr));
	wr->wr_id = l->posted++;
	set_opcode(l, op, wr);
	if (op->opcode == FAB_CALL) {
		slot = call_take(l, part, i);
		fill_call(l, op, slot, w->bytes);
	}
	wr->sg_list = sge;
	wr->num_sge = w->len > 0;
	wr->send_flags = is_inline(l, op) && w->len > 0 ? IBV_SEND_INLINE : 0;
	if (l->fence && (op->opcode == FAB_WRITE || op->opcode == FAB_CALL))
		wr->send_flags |= IBV_SEND_FENCE; /* others keep order anyway */
	l->fence |= op->opcode == FAB_READ || op->opcode == FAB_CAS ||
		    op->opcode == FAB_FAA;
	c->n++;
	l->piece_at += w->len;
	w->last = op->opcode == FAB_CALL || op->opcode == FAB_CAS ||
		  op->opcode == FAB_FAA || l->piece_at == op->len;
	if (w->last)
		l->piece_at = 0;
	return 0;
}

/* What the node would refuse is refused here: to its adapter it would be the
 * end of the connection. */
static bool refuse(struct verbs_lane *l, struct part *part, uint32_t i)
{
	if (allowed(l, &part->batch->ops[i]))
		return false;
	if (!part_end(&l->lane, part, i, -EREMOTEIO))
		part_end_all(&l->lane, part, i + 1, -ECANCELED);
	return true;
}

static int add_part(struct verbs_lane *l, struct chain *c, struct part *part)
{
	uint32_t i;
	int rc = 0;

	while (rc == 0) {
		i = part_next(part, part->next);
		if (i == part->batch->n) {
			l->lane.sending = TAILQ_NEXT(part, link);
			l->fence = false;
			return 0;
		}
		part->next = i;
		if (l->piece_at == 0 && refuse(l, part, i))
			return 0;
		rc = add_piece(l, c, part, i);
		if (rc == 0 && l->piece_at == 0)
			part->next = i + 1;
	}
	return rc;
}

static int ring_doorbell(struct verbs_lane *l, struct chain *c)
{
	struct ibv_send_wr *bad;

	for (unsigned i = 0; i + 1 < c->n; i++)
		c->wr[i].next = &c->wr[i + 1];
	c->wr[c->n - 1].send_flags |= IBV_SEND_SIGNALED;
	return -ibv_post_send(l->link->id->qp, c->wr, &bad);
}

void verbs_lane_send(struct part_queue *q, struct part_lane *lane)
{
	struct verbs_lane *l = (struct verbs_lane *)lane;
	struct chain c;
	struct part *part;
	int rc;

	do {
		c.n = 0;
		rc = 0;
		while (rc == 0 && (part = l->lane.sending) != NULL)
			rc = add_part(l, &c, part);
		if (c.n > 0 && ring_doorbell(l, &c) != 0) {
			verbs_lane_fail(&q->q, l->id);
			return;
		}
	} while (c.n > 0 && l->lane.sending != NULL);
}
