/* kv/client/decide.c - a record that is the slot's and says PENDING: nobody is
 * told of it yet.
 *
 *   a look or two -> the writer was about to say COMMITTED: go on
 *     | PENDING still
 *   wait, look again ... ask the coordinator now and then:
 *     | its writer is no member any more     | PENDING for very long
 *     v                                      v
 *   the same value is committed once more, as the next version: go on
 *
 * Why: while it says PENDING, another one of its version may be there that says
 * PENDING too, of a rival that lost and is to write KILLED yet, or died before
 * it could. Should the index node die now, replay takes either. So:
 *
 * C5. Who reads, or decides by what is there (GET, INSERT, PUT_IF, DEL), goes
 *     by what is decided. A PUT need not, as it says nothing of what was there;
 *     nor who meets an intent, as it is the state key that tells (T1).
 * C6. What is committed once more is not tried again by who wrote it first: it
 *     is dead and cut off; or it has said PENDING for DECIDE_SHARE of an
 *     operation's time, and after less than that it does not ask any more
 *     whether it won (unsure_lost() in commit.c).
 *
 * Who may not write takes it as it is when it would commit it (who has but a
 * reader's key, after the first question). So does a reader when there is no
 * space. */
#include <errno.h>

#include "kv/client/member.h"
#include "kv/client/op.h"

#define DECIDE_LOOKS	 3u		   /* at once, before it waits */
#define DECIDE_ASK_NS	 UINT64_C(1000000) /* the coordinator, first after */
#define DECIDE_ASK_MAX	 UINT64_C(100000000)
#define TAG_CLIENT_SHIFT 32u

static op_state decided, again_start, again_found, again_over;

bool op_undecided(const struct op *op)
{
	return op->seen.there && op->seen.fate == OBJECT_PENDING &&
	       op->seen.type != OBJECT_INTENT && op->kind != OP_PUT;
}

/* --- the same once more: a child ------------------------------------------ */

static int again_start(struct op *op)
{
	return op_look(op, again_found);
}

static int again_found(struct op *op)
{
	const struct op_seen *s = &op->seen;

	if (!s->there || s->version != op->expect || !op_undecided(op))
		return op_end(op, 0);
	return op_commit(op, s->version + 1, again_over);
}

/* Somebody was quicker, or it has waited: its parent looks. */
static int again_over(struct op *op)
{
	return op_end(op, 0);
}

static int as_it_is(struct op *op)
{
	return op_goto(op, op->then);
}

static int commit_again(struct op *op)
{
	struct op *c;

	if (op->kv->opts.read_only)
		return as_it_is(op);
	c = op_child(op, OP_PUT_IF, op->rq->key, op->rq->klen);
	if (c == NULL)
		return op_end(op, -ENOMEM);
	c->state = again_start;
	c->type = op->seen.type;
	c->expect = op->seen.version;
	c->own_rq.val = op->seen.val;
	c->own_rq.len = op->seen.val_len;
	c->own_rq.flags = op->rq->flags | KV_URGENT;
	return op_goto(op, decided);
}

static int decided(struct op *op)
{
	int rc = op->child->status;

	op_free(op->child);
	op->child = NULL;
	if (rc == -ENOSPC && op->kind == OP_GET)
		return as_it_is(op);
	if (rc != 0)
		return op_end(op, rc);
	return op_find(op, op->then);
}

/* --- waiting -------------------------------------------------------------- */

/* True if its writer is known to be no member any more; or it is not told to
 * us: then it will not be. */
static bool is_gone(struct op *op)
{
	uint32_t writer = (uint32_t)(op->seen.tag >> TAG_CLIENT_SHIFT);
	int rc;

	if (writer == op->kv->id)
		return false;
	rc = kv_client_lives(op->kv, writer);
	return rc == 0 || rc == -EROFS;
}

/* It is time to ask: after a while, then less and less often. */
static bool is_gone_now(struct op *op, uint64_t waited)
{
	uint64_t next = waited < DECIDE_ASK_MAX ? waited : DECIDE_ASK_MAX;

	if (waited < op->open_ask)
		return false;
	op->open_ask = waited + next;
	return is_gone(op);
}

static int wait_more(struct op *op)
{
	uint64_t now = fab_now(op->t->fab), waited;

	if (op->open_since == 0)
		op->open_since = now;
	waited = now - op->open_since;
	if (is_gone_now(op, waited) ||
	    waited >= kv_timeout_ns(op->kv) / DECIDE_SHARE_OF * DECIDE_SHARE)
		return commit_again(op);
	return op_sleep(op, op_find_again);
}

int op_decide(struct op *op)
{
	if (op->open_word != op->seen.word || op->open_host != op->host) {
		op->open_word = op->seen.word;
		op->open_host = op->host;
		op->open_since = 0;
		op->open_ask = DECIDE_ASK_NS;
		op->opens = 0;
	}
	if (op->opens++ < DECIDE_LOOKS)
		return op_goto(op, op_find_again);
	return wait_more(op);
}
