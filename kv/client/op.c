/* kv/client/op.c - operations: their life, waiting, the tools of all kinds. */
#include "kv/client/op.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kv/client/alone.h"
#include "kv/client/lease.h"
#include "kv/client/member.h"
#include "kv/client/txn.h"
#include "kv/hash.h"
#include "kv/stats.h"

#define SLEEP_FIRST_NS UINT64_C(2000)
#define SLEEP_LAST_NS  UINT64_C(2000000)
#define LEAVE_LOOK_NS  UINT64_C(1000000000)
#define LEAVE_ASK_NS   UINT64_C(20000000)

/* --- the pool ------------------------------------------------------------- */

static struct op *pool_take(struct kv_thread *t)
{
	struct op *op = t->scratch;
	struct op *fresh;

	if (op != NULL) {
		t->scratch = op->link;
		return op;
	}
	fresh = calloc(1, sizeof(*fresh));
	return fresh;
}

static void pool_give(struct kv_thread *t, struct op *op)
{
	op->link = t->scratch;
	t->scratch = op;
}

void op_pool_close(struct kv_thread *t)
{
	struct op *op;

	while ((op = t->scratch) != NULL) {
		t->scratch = op->link;
		free(op->rec);
		free(op->rd);
		free(op);
	}
}

void op_free(struct op *op)
{
	if (op == NULL)
		return;
	op_free(op->child);
	op->child = NULL;
	pool_give(op->t, op);
}

static struct kv_op_stats *count_of(struct kv_thread *t, uint8_t kind)
{
	switch (kind) {
	case OP_GET:
		return &t->stats.get;
	case OP_INSERT:
		return &t->stats.insert;
	case OP_DEL:
		return &t->stats.del;
	case OP_RESOLVE:
		return &t->stats.txn;
	default:
		return &t->stats.put;
	}
}

static op_state *start_of(uint8_t kind)
{
	switch (kind) {
	case OP_GET:
		return get_start;
	case OP_INSERT:
		return insert_start;
	case OP_RESOLVE:
		return resolve_start;
	case OP_MOVE:
		return move_start;
	default:
		return put_start;
	}
}

static void op_init(struct op *op, struct kv *kv, struct kv_thread *t,
		    struct kv_req *rq, uint8_t kind)
{
	op->kv = kv;
	op->t = t;
	op->rq = rq;
	op->kind = kind;
	op->count = count_of(t, kind);
	op->state = start_of(kind);
	op->child = NULL;
	op->link = NULL;
	op->status = -EINPROGRESS;
	op->type = kind == OP_DEL ? OBJECT_TOMB : OBJECT_PUT;
	op->raw = false;
	op->has_spot = false;
	op->solo = false;
	op->held = false;
	op->running = false;
	op->looks = false;
	op->open_word = 0;
	op->opens = 0;
	op->deadline = 0;
	op->tries = 0;
	op->doubts = 0;
	op->above = 0;
	op->passed = false;
	op->intent = NULL;
	op->rolled_back = 0;
	op->txn = NULL;
	op->seen.there = false;
	op->expect = kind == OP_PUT_IF || kind == OP_DEL || kind == OP_MOVE
			     ? rq->expect
			     : 0;
	op->hash = hash_of(rq->key, rq->klen);
	op->print = hash_print(op->hash);
	op->shard = hash_shard(op->hash, kv->layout.group.nodes);
	slot_places(op->hash, kv->layout.index_groups, op->place);
}

struct op *op_begin(struct kv *kv, struct kv_thread *t, struct kv_req *rq)
{
	struct op *op = pool_take(t);

	if (op == NULL)
		return NULL;
	op_init(op, kv, t, rq, rq->kind);
	return op;
}

struct op *op_child(struct op *op, uint8_t kind, const void *key, size_t klen)
{
	struct op *c = pool_take(op->t);

	assert(op->child == NULL);
	if (c == NULL)
		return NULL;
	c->own_rq = (struct kv_req){.kind = kind,
				    .key = key,
				    .klen = (uint16_t)klen,
				    .flags = op->rq->flags};
	op_init(c, op->kv, op->t, &c->own_rq, kind);
	if (op->deadline == 0)
		op_late(op);
	c->count = op->count;
	c->deadline = op->deadline;
	c->raw = true;
	op->child = c;
	return c;
}

/* --- stepping ------------------------------------------------------------- */

static void count_batch(struct op *op)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < op->batch.n; i++)
		bytes += op->ops[i].opcode >= FAB_CAS ? 8 : op->ops[i].len;
	stat_add(&op->count->batches, 1);
	stat_add(&op->count->ops, op->batch.n);
	stat_add(&op->count->bytes, bytes);
}

/* A child's wait is its parent's. */
static int step_child(struct op *op, struct fab_batch **next)
{
	int rc = op_step(op->child, next);

	op->wait_ns = op->child->wait_ns;
	op->epoch = op->child->epoch;
	return rc;
}

int op_step(struct op *op, struct fab_batch **next)
{
	int rc;

	do {
		if (op->child != NULL && op->child->status == -EINPROGRESS) {
			rc = step_child(op, next);
			if (rc != OP_DONE)
				return rc;
		}
		rc = op->state(op);
	} while (rc == OP_AGAIN);
	if (rc == OP_POST) {
		*next = &op->batch;
		count_batch(op);
	}
	return rc;
}

int op_goto(struct op *op, op_state *next)
{
	op->state = next;
	return OP_AGAIN;
}

/* What was written and is neither won nor killed stays as it is: PENDING. Its
 * place is not used again before it is known to be dead. */
/* A child of a transaction or so: how it ends is its parent's business. */
static bool is_part(const struct op *op)
{
	return op->rq == &op->own_rq && op->kind != OP_TXN;
}

int op_end(struct op *op, int status)
{
	if (op->has_spot) {
		space_settle(op->kv->space, &op->spot);
		op->has_spot = false;
	}
	if (op->solo) {
		alone_doubt(op->kv->alone);
		op_yield(op);
	}
	op_release(op);
	if (op->txn != NULL)
		op_txn_abandon(op);
	if ((status == -ETIMEDOUT || status == -EIO) &&
	    lease_is_dead(op->kv->lease))
		status = -ENOTCONN;
	op->status = status;
	op->rq->status = status;
	if (!is_part(op)) {
		stat_add(&op->count->calls, 1);
		stat_add(&op->count->errors, status != 0);
	}
	return OP_DONE;
}

/* Who leaves looks again soon after it was to be gone; a pool that does not
 * answer is asked once more, and briefly. */
static uint64_t batch_deadline(struct op *op)
{
	uint64_t by, now;

	by = atomic_load_explicit(&op->kv->leave_by, memory_order_relaxed);
	if (by == 0)
		return 0;
	now = fab_now(op->t->fab);
	if (now < by)
		return by + LEAVE_LOOK_NS;
	return member_gives_up(op->kv->member, now) ? now + LEAVE_ASK_NS : 0;
}

int op_post(struct op *op, uint32_t n, op_state *next)
{
	assert(n <= OP_OPS_MAX);
	op->batch.ops = op->ops;
	op->batch.n = n;
	op->batch.deadline_ns = batch_deadline(op);
	op->batch.user = op;
	op->batch.soon = 0;
	op->state = next;
	return OP_POST;
}

/* --- time ----------------------------------------------------------------- */

uint64_t op_waited_ns(struct op *op)
{
	uint64_t now = fab_now(op->t->fab);

	return op->deadline == 0 ? 0
				 : now + kv_timeout_ns(op->kv) - op->deadline;
}

bool op_late(struct op *op)
{
	uint64_t now = fab_now(op->t->fab);

	if (op->deadline == 0)
		op->deadline = now + kv_timeout_ns(op->kv);
	return now >= op->deadline || member_gives_up(op->kv->member, now);
}

uint64_t op_slice(struct op *op)
{
	uint64_t end = fab_now(op->t->fab) + OP_SLICE_NS;

	return op->deadline != 0 && op->deadline < end ? op->deadline : end;
}

/* Replay may find the record meanwhile. */
static void hold(struct op *op)
{
	if (!op->has_spot || op->held)
		return;
	op->held = true;
	member_hold(op->kv->member, op->shard);
}

void op_release(struct op *op)
{
	if (!op->held)
		return;
	op->held = false;
	member_release(op->kv->member, op->shard);
}

void op_yield(struct op *op)
{
	if (!op->solo)
		return;
	op->solo = false;
	alone_yield(op->kv->alone, op->hash);
}

int op_sleep(struct op *op, op_state *next)
{
	uint64_t ns = SLEEP_FIRST_NS << (op->tries < 10 ? op->tries : 10);

	if (op_late(op))
		return op_end(op, -ETIMEDOUT);
	op->tries++;
	stat_add(&op->count->retries, 1);
	if (ns > SLEEP_LAST_NS)
		ns = SLEEP_LAST_NS;
	op->wait_ns = ns / 2 + fab_random(op->t->fab) % ns;
	hold(op);
	op->state = next;
	return OP_SLEEP;
}

int op_park(struct op *op, op_state *next)
{
	if (op_late(op))
		return op_end(op, -ETIMEDOUT);
	stat_add(&op->count->retries, 1);
	op->wait_ns = OP_PARK_NS;
	hold(op);
	op->state = next;
	return OP_PARK;
}

/* --- places --------------------------------------------------------------- */

int op_locate(struct op *op, op_state *again)
{
	struct member *m = op->kv->member;
	int host;

	op->epoch = member_epoch(m);
	host = op->held ? member_host_settling(m, op->shard)
			: member_host(m, op->shard);
	if (host == -EAGAIN)
		return op_park(op, again);
	if (host < 0)
		return op_end(op, host);
	op->host = (uint8_t)host;
	op->base = layout_shard_off(&op->kv->layout, op->shard, op->host);
	return OP_AGAIN;
}

bool op_moved(struct op *op)
{
	return member_host_settling(op->kv->member, op->shard) != op->host;
}

int op_failed(struct op *op, uint32_t from, uint32_t to)
{
	for (uint32_t i = from; i < to; i++) {
		int rc = op->ops[i].status;

		if (rc == 0)
			continue;
		if (rc == -EHOSTDOWN || rc == -ETIMEDOUT)
			member_suspect(op->kv->member, op->t, op->ops[i].node);
		return rc;
	}
	return 0;
}

int op_room(char **buf, size_t *cap, size_t len)
{
	size_t want = *cap ? *cap : OP_RECORD_BYTES;
	char *p;

	if (len <= *cap)
		return 0;
	while (want < len)
		want *= 2;
	p = realloc(*buf, want);
	if (p == NULL)
		return -ENOMEM;
	*buf = p;
	*cap = want;
	return 0;
}

void op_read_pairs(struct op *op, uint32_t at)
{
	for (uint32_t i = 0; i < 2; i++)
		fab_read(&op->ops[at + i], op->host,
			 op_slot_off(op, op->place[i]), op->pair[i],
			 BUCKET_PAIR_BYTES);
}
