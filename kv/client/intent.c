/* kv/client/intent.c - meeting a transaction in a key: read through it, or
 * finish or undo it. What an intent means: txn.h, T1. */
#include <errno.h>
#include <string.h>

#include "kv/client/member.h"
#include "kv/client/txn.h"

const void *intent_at(const void *val, uint32_t len, struct intent *out)
{
	if (len < sizeof(*out))
		return NULL;
	memcpy(out, val, sizeof(*out));
	if (out->magic != INTENT_MAGIC || out->old_len > len ||
	    out->new_len > len ||
	    sizeof(*out) + (uint64_t)out->old_len + out->new_len != len)
		return NULL;
	if ((out->old_type != 0 && out->old_type != OBJECT_PUT) ||
	    (out->new_type != 0 && out->new_type != OBJECT_PUT))
		return NULL;
	return val;
}

const void *intent_old(const void *val)
{
	return (const char *)val + sizeof(struct intent);
}

const void *intent_new(const void *val, const struct intent *in)
{
	return (const char *)intent_old(val) + in->old_len;
}

/* A child that reads the state key of @in (whose bytes must stay). */
static int ask_state(struct op *op, const void *val, op_state *then)
{
	const char *key = (const char *)val + offsetof(struct intent, key);

	if (op_child(op, OP_GET, key, TXN_KEY_BYTES) == NULL)
		return op_end(op, -ENOMEM);
	return op_goto(op, then);
}

/* What that child found of @seq: a verdict; 0 if the key has gone on; -errno.
 * Its version, for a put_if. The child is gone afterwards. */
static int told_state(struct op *op, uint64_t seq, uint64_t *version)
{
	struct op *c = op->child;
	struct txn_state s;
	int rc = c->status;

	if (rc == 0 && c->seen.val_len != sizeof(s))
		rc = -EIO;
	if (rc == 0) {
		memcpy(&s, c->seen.val, sizeof(s));
		*version = c->seen.version;
		rc = s.seq == seq ? (int)s.verdict : 0;
	}
	op_free(c);
	op->child = NULL;
	return rc == -ENOENT ? 0 : rc;
}

/* --- reading -------------------------------------------------------------- */

static op_state read_told;

int op_intent_read(struct op *op)
{
	struct intent in;

	if (intent_at(op->seen.val, op->seen.val_len, &in) == NULL)
		return op_end(op, -EIO);
	return ask_state(op, op->seen.val, read_told);
}

static int read_told(struct op *op)
{
	const void *val = op->seen.val;
	uint64_t version;
	struct intent in;
	int verdict;

	intent_at(val, op->seen.val_len, &in);
	verdict = told_state(op, in.seq, &version);
	if (verdict < 0)
		return op_end(op, verdict);
	if (verdict == 0)
		return op_sleep(op, get_again);
	if (verdict == TXN_COMMITTED) {
		if (in.new_type == 0)
			return op_end(op, -ENOENT);
		return op_get_end(op, intent_new(val, &in), in.new_len,
				  op->seen.version + 1);
	}
	if (in.old_type == 0)
		return op_end(op, -ENOENT);
	return op_get_end(op, intent_old(val), in.old_len, in.old_version);
}

/* --- resolving ------------------------------------------------------------ */

static op_state resolved, resolve_told, resolve_aborted, resolve_replaced;

/* The child works on our key, our copy of the record and our deadline. */
int op_intent_resolve(struct op *op, op_state *then)
{
	struct intent in;
	struct op *c;

	op->rolled_back = 0;
	if (intent_at(op->seen.val, op->seen.val_len, &in) == NULL)
		return op_end(op, -EIO);
	c = op_child(op, OP_RESOLVE, op->rq->key, op->rq->klen);
	if (c == NULL)
		return op_end(op, -ENOMEM);
	c->intent = op->seen.val;
	c->intent_version = op->seen.version;
	c->patience = 0;
	op->resolve_then = then;
	return op_goto(op, resolved);
}

/* A caller that knows the value's version knows the value: our own undoing of
 * the transaction has only renumbered it. */
static int resolved(struct op *op)
{
	struct op *c = op->child;
	int rc = c->status;
	struct intent in;

	memcpy(&in, op->seen.val, sizeof(in));
	op->rolled_back = c->rolled_back;
	op_free(c);
	op->child = NULL;
	if (rc != 0)
		return op_end(op, rc);
	if (op->rolled_back != 0 && op->expect != 0 &&
	    op->expect == in.old_version)
		op->expect = op->rolled_back;
	return op_goto(op, op->resolve_then);
}

int resolve_start(struct op *op)
{
	return ask_state(op, op->intent, resolve_told);
}

static bool patient(struct op *op)
{
	uint64_t now = fab_now(op->t->fab);

	if (op->patience == 0)
		op->patience = now + TXN_PATIENCE_NS;
	return now < op->patience;
}

static int abort_it(struct op *op, const struct intent *in, uint64_t version)
{
	struct txn_state s = {.seq = in->seq, .verdict = TXN_ABORTED};
	struct op *c = op_child(op, OP_PUT_IF,
				(const char *)op->intent +
					offsetof(struct intent, key),
				TXN_KEY_BYTES);

	if (c == NULL)
		return op_end(op, -ENOMEM);
	memcpy(c->small, &s, sizeof(s));
	c->own_rq.val = c->small;
	c->own_rq.len = sizeof(s);
	c->own_rq.flags = KV_HOT | KV_URGENT;
	c->expect = version;
	return op_goto(op, resolve_aborted);
}

static int resolve_aborted(struct op *op)
{
	int rc = op->child->status;

	op_free(op->child);
	op->child = NULL;
	if (rc != 0 && rc != -ESTALE && rc != -ENOENT)
		return op_end(op, rc);
	return op_goto(op, resolve_start);
}

static int replace(struct op *op, const struct intent *in, bool forward)
{
	uint8_t type = forward ? in->new_type : in->old_type;
	struct op *c = op_child(op, OP_PUT_IF, op->rq->key, op->rq->klen);

	if (c == NULL)
		return op_end(op, -ENOMEM);
	c->type = type != 0 ? OBJECT_PUT : OBJECT_TOMB;
	c->own_rq.val =
		forward ? intent_new(op->intent, in) : intent_old(op->intent);
	c->own_rq.len = forward ? in->new_len : in->old_len;
	c->own_rq.flags = KV_URGENT;
	c->expect = op->intent_version;
	op->rolled_back = forward ? 0 : op->intent_version + 1;
	return op_goto(op, resolve_replaced);
}

static int resolve_replaced(struct op *op)
{
	int rc = op->child->status;

	op_free(op->child);
	op->child = NULL;
	if (rc == -ESTALE || rc == -ENOENT) { /* another was quicker */
		op->rolled_back = 0;
		rc = 0;
	}
	return op_end(op, rc);
}

static int resolve_told(struct op *op)
{
	uint64_t version = 0;
	struct intent in;
	int verdict;

	memcpy(&in, op->intent, sizeof(in));
	verdict = told_state(op, in.seq, &version);
	if (verdict <= 0)
		return op_end(op, verdict);
	if (verdict == TXN_PENDING)
		return patient(op) ? op_sleep(op, resolve_start)
				   : abort_it(op, &in, version);
	return replace(op, &in, verdict == TXN_COMMITTED);
}
