/* kv/client/run.c - drives operations to their ends on the calling thread's
 * queue, and the public calls that need nothing else.
 *
 * Waiting happens outside of the view, and only when nothing of this thread is
 * in flight: so a view is never held up by somebody who waits for the next. */
#include <errno.h>
#include <string.h>

#include "kv/client/client.h"
#include "kv/client/lease.h"
#include "kv/client/member.h"
#include "kv/client/op.h"
#include "kv/client/txn.h"
#include "kv/stats.h"

#define RUN_AT_ONCE 64u /* operations in flight in one thread */

/* --- one operation: the common case --------------------------------------- */

static void wait_out(struct kv_thread *t, struct op *op, int verdict)
{
	struct member *m = t->kv->member;

	member_leave(m, t);
	if (verdict == OP_PARK)
		member_wait(m, t, op->epoch, fab_now(t->fab) + op->wait_ns);
	else
		fab_sleep(t->fab, op->wait_ns);
	member_enter(m, t);
}

/* A batch that could not be posted ends with its operations' statuses. */
static void post_failed(struct fab_batch *b, int rc)
{
	for (uint32_t i = 0; i < b->n; i++)
		b->ops[i].status = rc;
	b->left = 0;
}

/* L1: nothing of @b counts before this client is sure to be a member. */
static void hold(struct kv_thread *t, struct op *op, struct fab_batch *b)
{
	struct lease *l = t->kv->lease;

	if (l == NULL)
		return;
	op_late(op); /* it has a deadline from now on */
	if (lease_hold(l, t, op->deadline) != 0)
		post_failed(b, -ETIMEDOUT);
}

static void run_one(struct kv_thread *t, struct op *op)
{
	struct fab_batch *b;
	int verdict, rc;

	while ((verdict = op_step(op, &b)) != OP_DONE) {
		if (verdict == OP_POST) {
			rc = fab_run(t->fab, b);
			if (rc != 0)
				post_failed(b, rc);
			hold(t, op, b);
		} else {
			wait_out(t, op, verdict);
		}
	}
}

/* --- many ----------------------------------------------------------------- */

struct run {
	struct kv_thread *t;
	struct op *unbegun; /* not begun, by link */
	struct op *waiting; /* parked or asleep, by link */
	uint32_t in_flight;
	bool parked; /* some of waiting are, for a view after: */
	uint64_t epoch, wait_ns;
};

static void run_wait_later(struct run *r, struct op *op, int verdict)
{
	op->link = r->waiting;
	r->waiting = op;
	if (verdict == OP_PARK) {
		r->parked = true;
		r->epoch = op->epoch;
	}
	if (op->wait_ns > r->wait_ns)
		r->wait_ns = op->wait_ns;
}

static void run_step(struct run *r, struct op *op)
{
	struct fab_batch *b;
	int verdict, rc;

	for (;;) {
		verdict = op_step(op, &b);
		if (verdict == OP_DONE)
			return;
		if (verdict != OP_POST) {
			run_wait_later(r, op, verdict);
			return;
		}
		b->user = op; /* it may be a child's batch */
		rc = fab_post(r->t->fab, b);
		if (rc == 0) {
			r->in_flight++;
			return;
		}
		post_failed(b, rc);
	}
}

static void run_begin_some(struct run *r)
{
	while (r->unbegun != NULL && r->in_flight < RUN_AT_ONCE) {
		struct op *op = r->unbegun;

		r->unbegun = op->link;
		op->link = NULL;
		run_step(r, op);
	}
}

static void run_poll(struct run *r)
{
	struct fab_batch *done[16];
	size_t n = fab_poll(r->t->fab, done, 16, OP_SLICE_NS);

	for (size_t i = 0; i < n; i++) {
		struct op *op = done[i]->user;

		r->in_flight--;
		hold(r->t, op, done[i]);
		run_step(r, op);
	}
}

static void run_wait(struct run *r)
{
	struct member *m = r->t->kv->member;
	struct op *list = r->waiting, *op;

	member_leave(m, r->t);
	if (r->parked)
		member_wait(m, r->t, r->epoch, fab_now(r->t->fab) + r->wait_ns);
	else
		fab_sleep(r->t->fab, r->wait_ns);
	member_enter(m, r->t);
	r->waiting = NULL;
	r->parked = false;
	r->wait_ns = 0;
	while ((op = list) != NULL) {
		list = op->link;
		op->link = NULL;
		run_step(r, op);
	}
}

void run_ops(struct kv_thread *t, struct op *ops)
{
	struct run r = {.t = t, .unbegun = ops};

	if (ops != NULL && ops->link == NULL) {
		run_one(t, ops);
		return;
	}
	do {
		run_begin_some(&r);
		if (r.in_flight > 0)
			run_poll(&r);
		else if (r.waiting != NULL)
			run_wait(&r);
	} while (r.unbegun != NULL || r.in_flight > 0 || r.waiting != NULL);
}

/* --- requests ------------------------------------------------------------- */

static int req_check(const struct kv_req *rq)
{
	if (rq->kind < KV_GET || rq->kind > KV_DEL || rq->key == NULL ||
	    rq->klen == 0 || rq->klen > KV_KEY_BYTES_MAX)
		return -EINVAL;
	if (rq->kind == KV_GET)
		return rq->buf == NULL && rq->cap > 0 ? -EINVAL : 0;
	if (rq->kind == KV_DEL)
		return 0;
	if (rq->len > KV_VALUE_BYTES_MAX || (rq->val == NULL && rq->len > 0))
		return -EINVAL;
	return rq->kind == KV_PUT_IF && rq->expect == 0 ? -EINVAL : 0;
}

static int req_allowed(const struct kv *kv, const struct kv_req *rq)
{
	int rc = req_check(rq);

	return rc == 0 && rq->kind != KV_GET && kv->opts.read_only ? -EROFS
								   : rc;
}

static void enter(struct kv_thread *t)
{
	member_enter(t->kv->member, t);
}

static void leave(struct kv_thread *t, bool changed)
{
	member_leave(t->kv->member, t);
	if (changed)
		client_kick(t->kv);
}

static int run_req(struct kv *kv, struct kv_req *rq)
{
	struct kv_thread *t;
	struct op *op;
	int rc = req_allowed(kv, rq);

	if (rc != 0)
		return rc;
	t = kv_thread(kv);
	if (t == NULL)
		return -ENOMEM;
	if (lease_is_dead(kv->lease))
		return -ENOTCONN;
	op = op_begin(kv, t, rq);
	if (op == NULL)
		return -ENOMEM;
	enter(t);
	run_one(t, op);
	leave(t, rq->kind != KV_GET);
	op_free(op);
	return rq->status;
}

static int first_bad(const struct kv_req *reqs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (reqs[i].status != 0)
			return reqs[i].status;
	return 0;
}

/* Operations for those of @reqs that can be tried; *ops is a list. */
static void begin_all(struct kv *kv, struct kv_thread *t, struct kv_req *reqs,
		      size_t n, struct op **all, struct op **ops)
{
	struct op **end = ops;

	*ops = NULL;
	for (size_t i = 0; i < n; i++) {
		all[i] = NULL;
		reqs[i].status = req_allowed(kv, &reqs[i]);
		if (reqs[i].status != 0)
			continue;
		all[i] = op_begin(kv, t, &reqs[i]);
		if (all[i] == NULL) {
			reqs[i].status = -ENOMEM;
			continue;
		}
		*end = all[i];
		end = &all[i]->link;
	}
}

int kv_run(struct kv *kv, struct kv_req *reqs, size_t n)
{
	struct op *all[KV_RUN_OPS_MAX], *ops;
	struct kv_thread *t;

	if (n > KV_RUN_OPS_MAX)
		return -EINVAL;
	if (n == 1) {
		int rc = run_req(kv, reqs);

		reqs[0].status = rc;
		return rc;
	}
	t = kv_thread(kv);
	if (t == NULL)
		return -ENOMEM;
	if (lease_is_dead(kv->lease))
		return -ENOTCONN;
	begin_all(kv, t, reqs, n, all, &ops);
	enter(t);
	run_ops(t, ops);
	leave(t, true);
	for (size_t i = 0; i < n; i++)
		op_free(all[i]);
	return first_bad(reqs, n);
}

/* --- the single calls ----------------------------------------------------- */

static void req_fill(struct kv_req *rq, enum kv_kind kind, const void *key,
		     size_t klen, const void *val, size_t vlen)
{
	*rq = (struct kv_req){.kind = (uint8_t)kind, .key = key, .val = val};
	/* too long stays too long: req_check() says so */
	rq->klen = klen <= KV_KEY_BYTES_MAX ? (uint16_t)klen : UINT16_MAX;
	rq->len = vlen <= KV_VALUE_BYTES_MAX ? (uint32_t)vlen : UINT32_MAX;
}

static int run_change(struct kv *kv, struct kv_req *rq, uint64_t *version)
{
	int rc = run_req(kv, rq);

	if (rc == 0 && version != NULL)
		*version = rq->version;
	return rc;
}

int kv_get(struct kv *kv, const void *key, size_t klen, void *buf, size_t cap,
	   size_t *len, uint64_t *version)
{
	struct kv_req rq;
	int rc;

	req_fill(&rq, KV_GET, key, klen, NULL, 0);
	rq.buf = buf;
	rq.cap = cap < UINT32_MAX ? (uint32_t)cap : UINT32_MAX;
	rc = run_req(kv, &rq);
	if ((rc == 0 || rc == -ERANGE) && len != NULL)
		*len = rq.len;
	if (rc == 0 && version != NULL)
		*version = rq.version;
	return rc;
}

int kv_put(struct kv *kv, const void *key, size_t klen, const void *val,
	   size_t vlen, uint64_t *version)
{
	struct kv_req rq;

	req_fill(&rq, KV_PUT, key, klen, val, vlen);
	return run_change(kv, &rq, version);
}

int kv_put_if(struct kv *kv, const void *key, size_t klen, const void *val,
	      size_t vlen, uint64_t expect, uint64_t *version)
{
	struct kv_req rq;

	req_fill(&rq, KV_PUT_IF, key, klen, val, vlen);
	rq.expect = expect;
	return run_change(kv, &rq, version);
}

int kv_insert(struct kv *kv, const void *key, size_t klen, const void *val,
	      size_t vlen, uint64_t *version)
{
	struct kv_req rq;

	req_fill(&rq, KV_INSERT, key, klen, val, vlen);
	return run_change(kv, &rq, version);
}

int kv_del(struct kv *kv, const void *key, size_t klen, uint64_t expect)
{
	struct kv_req rq;

	req_fill(&rq, KV_DEL, key, klen, NULL, 0);
	rq.expect = expect;
	return run_req(kv, &rq);
}

/* --- transactions --------------------------------------------------------- */

static bool same_key(const struct kv_req *a, const struct kv_req *b)
{
	return a->klen == b->klen && memcmp(a->key, b->key, a->klen) == 0;
}

static int txn_check(const struct kv_req *reqs, size_t n)
{
	if (n < 1 || n > KV_TXN_OPS_MAX)
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		const struct kv_req *rq = &reqs[i];
		bool change = rq->kind == KV_PUT_IF || rq->kind == KV_INSERT;

		if ((rq->kind != KV_GET && req_check(rq) != 0) ||
		    rq->kind == KV_PUT || rq->key == NULL || rq->klen == 0 ||
		    rq->klen > KV_KEY_BYTES_MAX)
			return -EINVAL;
		if ((rq->kind == KV_DEL && rq->expect == 0) ||
		    (change && rq->len > KV_TXN_VALUE_BYTES_MAX))
			return -EINVAL;
		for (size_t j = 0; j < i; j++)
			if (same_key(rq, &reqs[j]))
				return -EINVAL;
	}
	return 0;
}

int kv_txn(struct kv *kv, struct kv_req *reqs, size_t n)
{
	struct kv_thread *t;
	struct op *op;
	int rc = txn_check(reqs, n);

	if (rc == 0 && kv->opts.read_only)
		rc = -EROFS;
	if (rc != 0)
		return rc;
	t = kv_thread(kv);
	if (t == NULL)
		return -ENOMEM;
	if (lease_is_dead(kv->lease))
		return -ENOTCONN;
	op = op_txn_begin(kv, t, reqs, (uint32_t)n);
	if (op == NULL)
		return -ENOMEM;
	enter(t);
	run_one(t, op);
	leave(t, true);
	rc = op->status;
	op_free(op);
	return rc;
}
