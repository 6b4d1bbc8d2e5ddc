/* kv/client/txn.c - a transaction from its owner's side; see txn.h.
 *
 *   start -> begun -> place each key: read -> check -> intent placed
 *                        |  a condition fails          | all placed
 *                        v                             v
 *                      abort                         commit --(aborted by
 *                        |                             |       another)--+
 *                        +----> settle each key <------+                 |
 *                                   |      ^-----------------------------+
 *                                   v                     then start again
 *                                 finish                                   */
#include "kv/client/txn.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "kv/client/client.h"
#include "kv/client/member.h"
#include "kv/hash.h"
#include "kv/stats.h"

/* --- state keys ----------------------------------------------------------- */

struct txn_key {
	uint64_t index; /* of this client's state keys */
	uint64_t seq;	/* last used */
	struct txn_key *next;
};

struct txn_keys {
	pthread_mutex_t lock;
	struct txn_key *free;
	uint64_t made;
};

int txn_keys_open(struct txn_keys **out)
{
	struct txn_keys *k = calloc(1, sizeof(*k));

	if (k == NULL)
		return -ENOMEM;
	pthread_mutex_init(&k->lock, NULL);
	*out = k;
	return 0;
}

void txn_keys_close(struct txn_keys *k)
{
	struct txn_key *e;

	if (k == NULL)
		return;
	while ((e = k->free) != NULL) {
		k->free = e->next;
		free(e);
	}
	pthread_mutex_destroy(&k->lock);
	free(k);
}

static struct txn_key *key_take(struct txn_keys *k)
{
	struct txn_key *e;
	uint64_t index;

	pthread_mutex_lock(&k->lock);
	e = k->free;
	if (e != NULL)
		k->free = e->next;
	index = e == NULL ? k->made++ : 0;
	pthread_mutex_unlock(&k->lock);
	if (e == NULL) {
		e = calloc(1, sizeof(*e));
		if (e != NULL)
			e->index = index;
	}
	return e;
}

static void key_give(struct txn_keys *k, struct txn_key *e)
{
	pthread_mutex_lock(&k->lock);
	e->next = k->free;
	k->free = e;
	pthread_mutex_unlock(&k->lock);
}

static void key_bytes(uint8_t key[TXN_KEY_BYTES], uint32_t client,
		      uint64_t index)
{
	memset(key, 0, TXN_KEY_BYTES);
	key[1] = 'T';
	memcpy(key + 4, &client, sizeof(client));
	memcpy(key + 8, &index, sizeof(index));
}

bool txn_keys_pop(struct txn_keys *k, uint32_t client,
		  uint8_t key[TXN_KEY_BYTES])
{
	struct txn_key *e;

	pthread_mutex_lock(&k->lock);
	e = k->free;
	if (e != NULL)
		k->free = e->next;
	pthread_mutex_unlock(&k->lock);
	if (e == NULL)
		return false;
	key_bytes(key, client, e->index);
	free(e);
	return true;
}

/* --- one transaction ------------------------------------------------------ */

struct part {
	struct kv_req *rq;
	uint64_t hash;
	uint64_t expect;  /* as asked; renumbered when we undo another's */
	uint64_t version; /* of the intent placed */
	char *img;	  /* the intent, as placed */
	size_t img_cap;
	uint32_t img_len;
};

struct txn {
	struct txn_key *key;
	uint8_t bytes[TXN_KEY_BYTES];
	struct txn_state state;
	uint64_t version; /* of the state key, PENDING */
	enum txn_verdict verdict;
	int failed; /* what to tell the caller */
	bool again; /* aborted by another: start over */
	bool leak;  /* an intent may be left: keep the state key (T2) */
	uint32_t n, at, placed;
	struct part part[KV_TXN_OPS_MAX];
};

static op_state txn_start, txn_begun, txn_place, txn_read, txn_resolved,
	txn_placed, txn_committed, txn_aborted, txn_settle, txn_settled;

static int part_order(const void *pa, const void *pb)
{
	const struct part *a = pa, *b = pb;
	size_t n = a->rq->klen < b->rq->klen ? a->rq->klen : b->rq->klen;
	int rc;

	if (a->hash != b->hash)
		return a->hash < b->hash ? -1 : 1;
	rc = memcmp(a->rq->key, b->rq->key, n);
	return rc != 0 ? rc : (int)a->rq->klen - (int)b->rq->klen;
}

static struct txn *txn_new(struct kv_req *reqs, uint32_t n)
{
	struct txn *x = calloc(1, sizeof(*x));

	if (x == NULL)
		return NULL;
	x->n = n;
	for (uint32_t i = 0; i < n; i++) {
		reqs[i].status = 0;
		x->part[i].rq = &reqs[i];
		x->part[i].hash = hash_of(reqs[i].key, reqs[i].klen);
		x->part[i].expect = reqs[i].expect;
	}
	qsort(x->part, n, sizeof(x->part[0]), part_order);
	return x;
}

struct op *op_txn_begin(struct kv *kv, struct kv_thread *t, struct kv_req *reqs,
			uint32_t n)
{
	struct txn *x = txn_new(reqs, n);
	struct op *op;

	if (x == NULL)
		return NULL;
	op = op_begin(kv, t, &reqs[0]);
	if (op == NULL) {
		free(x);
		return NULL;
	}
	/* Its own request: what op.c says of status and key is not reqs[0]'s.
	 */
	op->own_rq = (struct kv_req){
		.kind = OP_TXN, .key = x->bytes, .klen = TXN_KEY_BYTES};
	op->rq = &op->own_rq;
	op->kind = OP_TXN;
	op->count = &t->stats.txn;
	op->txn = x;
	op->state = txn_start;
	return op;
}

static void txn_free(struct op *op)
{
	struct txn *x = op->txn;

	for (uint32_t i = 0; i < x->n; i++)
		free(x->part[i].img);
	if (x->key != NULL && x->leak)
		free(x->key);
	else if (x->key != NULL)
		key_give(client_of(op->kv)->txn_keys, x->key);
	free(x);
	op->txn = NULL;
}

void op_txn_abandon(struct op *op)
{
	op->txn->leak = true;
	txn_free(op);
}

static int txn_end(struct op *op, int status)
{
	txn_free(op);
	return op_end(op, status);
}

static int child_status(struct op *op)
{
	int rc = op->child->status;

	op_free(op->child);
	op->child = NULL;
	return rc;
}

/* A child that changes the state key. */
static int set_state(struct op *op, uint8_t kind, enum txn_verdict verdict,
		     op_state *then)
{
	struct txn *x = op->txn;
	struct op *c = op_child(op, kind, x->bytes, TXN_KEY_BYTES);

	if (c == NULL) {
		x->leak = true;
		return txn_end(op, -ENOMEM);
	}
	x->state.verdict = verdict;
	memcpy(c->small, &x->state, sizeof(x->state));
	c->own_rq.val = c->small;
	c->own_rq.len = sizeof(x->state);
	c->own_rq.flags = KV_HOT | (verdict != TXN_PENDING ? KV_URGENT : 0);
	c->expect = kind == OP_PUT_IF ? x->version : 0;
	c->raw = false; /* it never holds an intent; the cache serves it */
	return op_goto(op, then);
}

static int txn_start(struct op *op)
{
	struct txn *x = op->txn;

	if (x->key == NULL) {
		x->key = key_take(client_of(op->kv)->txn_keys);
		if (x->key == NULL)
			return txn_end(op, -ENOMEM);
		key_bytes(x->bytes, op->kv->id, x->key->index);
	}
	x->state = (struct txn_state){.seq = ++x->key->seq};
	x->at = x->placed = 0;
	x->failed = 0;
	x->again = false;
	return set_state(op, OP_PUT, TXN_PENDING, txn_begun);
}

static int txn_begun(struct op *op)
{
	struct txn *x = op->txn;
	int rc;

	x->version = op->child->version;
	rc = child_status(op);
	if (rc != 0) {
		x->leak = true;
		return txn_end(op, rc);
	}
	return op_goto(op, txn_place);
}

/* --- 2: intents ----------------------------------------------------------- */

static int txn_fail(struct op *op, int rc)
{
	struct txn *x = op->txn;

	x->failed = rc;
	x->verdict = TXN_ABORTED;
	if (x->placed == 0 && !x->leak)
		return txn_end(op, rc);
	return set_state(op, OP_PUT_IF, TXN_ABORTED, txn_aborted);
}

static int txn_place(struct op *op)
{
	struct txn *x = op->txn;
	struct part *p = &x->part[x->at];

	if (x->at == x->n)
		return set_state(op, OP_PUT_IF, TXN_COMMITTED, txn_committed);
	if (op_child(op, OP_GET, p->rq->key, p->rq->klen) == NULL)
		return txn_fail(op, -ENOMEM);
	return op_goto(op, txn_read);
}

/* 0 if the key is as @p's request wants it; *bad tells. */
static int condition(const struct part *p, bool there, uint64_t version)
{
	bool absent = p->rq->kind == KV_INSERT ||
		      (p->rq->kind == KV_GET && p->rq->expect == 0);

	if (absent)
		return there ? -EEXIST : 0;
	if (!there)
		return -ENOENT;
	return version == p->expect ? 0 : -ESTALE;
}

static int fill_image(struct part *p, const struct txn *x,
		      const struct op_seen *old)
{
	const struct kv_req *rq = p->rq;
	bool get = rq->kind == KV_GET;
	struct intent in = {
		.magic = INTENT_MAGIC,
		.seq = x->state.seq,
		.old_type = old->there ? OBJECT_PUT : 0,
		.old_version = old->there ? old->version : 0,
		.old_len = old->there ? old->val_len : 0,
	};

	in.new_type = get ? in.old_type : rq->kind == KV_DEL ? 0 : OBJECT_PUT;
	in.new_len = get ? in.old_len : rq->kind == KV_DEL ? 0 : rq->len;
	memcpy(in.key, x->bytes, sizeof(in.key));
	p->img_len = (uint32_t)sizeof(in) + in.old_len + in.new_len;
	if (p->img_len > KV_VALUE_BYTES_MAX)
		return -EINVAL;
	if (op_room(&p->img, &p->img_cap, p->img_len) != 0)
		return -ENOMEM;
	memcpy(p->img, &in, sizeof(in));
	if (in.old_len > 0)
		memcpy(p->img + sizeof(in), old->val, in.old_len);
	if (in.new_len > 0)
		memcpy(p->img + sizeof(in) + in.old_len,
		       get ? old->val : rq->val, in.new_len);
	return 0;
}

static int place(struct op *op, struct part *p, const struct op_seen *old)
{
	bool there = old->there;
	uint64_t version = old->version;
	struct op *c;
	int rc = fill_image(p, op->txn, old);

	op_free(op->child);
	op->child = NULL;
	if (rc != 0)
		return txn_fail(op, rc);
	c = op_child(op, there ? OP_PUT_IF : OP_INSERT, p->rq->key,
		     p->rq->klen);
	if (c == NULL)
		return txn_fail(op, -ENOMEM);
	c->type = OBJECT_INTENT;
	c->expect = there ? version : 0;
	c->own_rq.val = p->img;
	c->own_rq.len = p->img_len;
	c->own_rq.flags = KV_HOT | p->rq->flags;
	return op_goto(op, txn_placed);
}

/* Another's transaction has the key: its record moves to our buffer, for the
 * child that finishes or undoes it. */
static int resolve_other(struct op *op, struct part *p)
{
	struct op *c = op->child;
	char *rd = op->rd;
	size_t cap = op->rd_cap;

	op->seen = c->seen;
	op->rd = c->rd;
	op->rd_cap = c->rd_cap;
	c->rd = rd;
	c->rd_cap = cap;
	op_free(c);
	op->child = NULL;
	op->own_rq.key = p->rq->key;
	op->own_rq.klen = p->rq->klen;
	op->expect = p->expect;
	return op_intent_resolve(op, txn_resolved);
}

static int txn_resolved(struct op *op)
{
	struct txn *x = op->txn;

	x->part[x->at].expect = op->expect;
	return op_goto(op, txn_place);
}

static int txn_read(struct op *op)
{
	struct txn *x = op->txn;
	struct part *p = &x->part[x->at];
	struct op *c = op->child;
	struct op_seen old = c->seen;
	int rc = c->status;

	if (rc != 0 && rc != -ENOENT) {
		child_status(op);
		return txn_fail(op, rc);
	}
	old.there = rc == 0;
	if (old.there && old.type == OBJECT_INTENT)
		return resolve_other(op, p);
	rc = condition(p, old.there, old.version);
	if (rc != 0) {
		child_status(op);
		p->rq->status = rc;
		return txn_fail(op, -ESTALE);
	}
	return place(op, p, &old);
}

static int txn_placed(struct op *op)
{
	struct txn *x = op->txn;
	uint64_t version = op->child->version;
	int rc = child_status(op);

	if (rc == -ESTALE || rc == -EEXIST || rc == -ENOENT)
		return op_late(op) ? txn_fail(op, -ETIMEDOUT)
				   : op_sleep(op, txn_place);
	if (rc != 0) {
		x->part[x->at].rq->status = rc;
		x->leak = rc != -ENOSPC; /* it may be there, or not */
		return txn_fail(op, rc);
	}
	x->part[x->at].version = version;
	x->at++;
	x->placed++;
	return op_goto(op, txn_place);
}

/* --- 3: the verdict ------------------------------------------------------- */

static int settle_all(struct op *op, enum txn_verdict verdict)
{
	op->txn->verdict = verdict;
	op->txn->at = 0;
	return op_goto(op, txn_settle);
}

static int txn_committed(struct op *op)
{
	struct txn *x = op->txn;
	int rc = child_status(op);

	if (rc == 0) { /* T3; whatever becomes of the rest */
		for (uint32_t i = 0; i < x->n; i++)
			x->part[i].rq->version = x->part[i].version + 1;
		return settle_all(op, TXN_COMMITTED);
	}
	if (rc == -ESTALE) {
		op->txn->again = true;
		return settle_all(op, TXN_ABORTED);
	}
	op->txn->leak = true; /* who knows; readers will */
	return txn_end(op, rc);
}

static int txn_aborted(struct op *op)
{
	int rc = child_status(op);

	if (rc == 0 || rc == -ESTALE)
		return settle_all(op, TXN_ABORTED);
	op->txn->leak = true;
	return txn_end(op, op->txn->failed);
}

/* --- 4: from intents to records ------------------------------------------- */

static int txn_finish(struct op *op)
{
	struct txn *x = op->txn;

	if (!x->again)
		return txn_end(op, x->failed);
	if (op_late(op))
		return txn_end(op, -ETIMEDOUT);
	if (x->leak) {
		free(x->key);
		x->key = NULL;
		x->leak = false;
	}
	return op_sleep(op, txn_start);
}

static int txn_settle(struct op *op)
{
	struct txn *x = op->txn;
	bool forward = x->verdict == TXN_COMMITTED;
	struct part *p = &x->part[x->at];
	struct intent in;
	struct op *c;
	uint8_t type;

	if (x->at == x->placed)
		return txn_finish(op);
	memcpy(&in, p->img, sizeof(in));
	type = forward ? in.new_type : in.old_type;
	c = op_child(op, OP_PUT_IF, p->rq->key, p->rq->klen);
	if (c == NULL) {
		x->leak = true;
		return txn_end(op, forward ? 0 : x->failed);
	}
	c->type = type != 0 ? OBJECT_PUT : OBJECT_TOMB;
	c->expect = p->version;
	c->own_rq.val = forward ? intent_new(p->img, &in) : intent_old(p->img);
	c->own_rq.len = forward ? in.new_len : in.old_len;
	c->own_rq.flags = p->rq->flags | KV_URGENT;
	return op_goto(op, txn_settled);
}

/* Its expectation, too, should we start again: the value is the same. */
static int txn_settled(struct op *op)
{
	struct txn *x = op->txn;
	struct part *p = &x->part[x->at];
	int rc = child_status(op);
	struct intent in;

	memcpy(&in, p->img, sizeof(in));
	if (x->verdict != TXN_COMMITTED && rc == 0 &&
	    p->expect == in.old_version)
		p->expect = p->version + 1;
	if (rc != 0 && rc != -ESTALE && rc != -ENOENT)
		x->leak = true;
	x->at++;
	return op_goto(op, txn_settle);
}
