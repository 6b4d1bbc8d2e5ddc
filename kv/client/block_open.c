/* kv/client/block_open.c - getting a block from the nodes.
 *
 *	ALLOC -> one node, which grants a block of a stripe that it leads
 *	OPEN  -> the data node and the other parity nodes, in one batch
 *	CANCEL where it was opened, the leader last, if one of them refused
 *
 * One that was in use before and is opened again (ec/again.h): the leader's
 * bitmap, read beside the OPENs to the others, tells the free units; then OPEN
 * to the leader. If that fails the units are marked anew and the block sealed.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kv/client/clean.h"
#include "kv/client/member.h"
#include "kv/client/space_impl.h"
#include "kv/proto.h"
#include "kv/stats.h"

/* --- the pool of structs ------------------------------------------------- */

static struct space_block *block_claim(struct space *sp, uint32_t i)
{
	struct space_block *b = &sp->blocks[i];

	if (atomic_load(&b->state) != SPACE_UNUSED ||
	    units_open(&b->units, sp->total) != 0 ||
	    (sp->kv->persistent && units_hold_open(&b->units) != 0))
		return NULL;
	units_clear(&b->units);
	b->ticket = 0;
	atomic_store(&b->state, SPACE_OPENING);
	if (i >= atomic_load(&sp->high))
		atomic_store(&sp->high, i + 1);
	return b;
}

struct space_block *block_get(struct space *sp)
{
	struct space_block *b = NULL;

	pthread_mutex_lock(&sp->pool_lock);
	for (uint32_t i = 0; i < SPACE_BLOCKS_MAX && b == NULL; i++)
		b = block_claim(sp, i);
	pthread_mutex_unlock(&sp->pool_lock);
	return b;
}

void block_put(struct space *sp, struct space_block *b)
{
	pthread_mutex_lock(&sp->pool_lock);
	atomic_store(&b->state, SPACE_UNUSED);
	pthread_mutex_unlock(&sp->pool_lock);
}

/* --- one attempt at one leader ------------------------------------------- */

struct attempt {
	struct space *sp;
	struct kv_thread *t;
	struct space_block *b;
	uint64_t epoch, up, all;
	uint64_t avoid; /* nodes that failed us in this call */
	uint32_t run;
	bool urgent;
	uint64_t *map; /* free units of a block opened again; room for one */
	bool has_map;
};

static uint8_t kind_of(unsigned class)
{
	if (class == SPACE_PAGES)
		return BLOCK_PAGES;
	return class == SPACE_ROWS ? BLOCK_ROWS : BLOCK_RECORDS;
}

static void suspect(struct attempt *at, uint32_t node, int rc)
{
	if (rc != -EHOSTDOWN && rc != -ETIMEDOUT)
		return;
	at->avoid |= UINT64_C(1) << node;
	doubt_node(at->sp, node);
	member_suspect(at->sp->kv->member, at->t, node);
}

/* Ask @node for a grant, and check that it makes sense. */
static int ask(struct attempt *at, uint8_t node, struct proto_grant *grant)
{
	const struct group *g = space_group(at->sp);
	struct proto_alloc req = {
		.epoch = at->epoch,
		.avoid = at->avoid,
		.owner = at->sp->kv->id,
		.kind = at->b->kind,
		.urgent = at->urgent,
		.run = (uint16_t)(at->run < UINT16_MAX ? at->run : UINT16_MAX),
		.ticket = doubt_ticket(at->sp, at->b),
	};
	uint32_t len = 0;
	int rc = fab_call_run(at->t->fab, node, PROTO_ALLOC, &req, sizeof(req),
			      grant, sizeof(*grant), &len, SPACE_CALL_NS);

	if (rc != 0)
		return rc;
	if (len != sizeof(*grant) || grant->stripe >= group_stripes(g) ||
	    grant->role >= g->k || grant->delta > g->deltas ||
	    (grant->delta == 0) != (at->b->kind == BLOCK_ROWS) ||
	    (grant->again != 0 && at->b->kind == BLOCK_ROWS))
		return -EBADMSG;
	return 0;
}

/* The roles to be opened besides @role: for ROWS all, else the parities. */
static uint32_t first_role(const struct space *sp, const struct space_block *b)
{
	return b->kind == BLOCK_ROWS ? 1 : space_group(sp)->k;
}

static void add_member(const struct space *sp, struct space_block *b,
		       uint32_t role)
{
	fab_addr a = group_addr(space_group(sp), b->stripe, role, 0);

	b->member[b->members].node = fab_addr_node(a);
	b->member[b->members++].offset = fab_addr_offset(a);
}

/* The data node, then the parity nodes that are members; ROWS: all in order. */
static void list_members(struct attempt *at)
{
	const struct group *g = space_group(at->sp);
	struct space_block *b = at->b;

	b->members = 0;
	add_member(at->sp, b, b->role);
	for (uint32_t r = first_role(at->sp, b); r < group_width(g); r++) {
		uint32_t node, block;

		group_member(g, b->stripe, r, &node, &block);
		if (b->kind == BLOCK_ROWS || (at->all >> node & 1))
			add_member(at->sp, b, r);
	}
}

/* The answer to OPEN of member @i: where it wants its copy. */
static int take_answer(struct attempt *at, uint32_t i, const struct fab_op *op,
		       const struct proto_opened *opened)
{
	const struct group *g = space_group(at->sp);
	bool delta = i != 0 && at->b->kind != BLOCK_ROWS;

	if (op->status != 0)
		return op->status;
	if (op->reply_len != sizeof(*opened) || opened->delta > g->deltas ||
	    (opened->delta != 0) != delta)
		return -EBADMSG;
	if (delta)
		at->b->member[i].offset = group_delta_off(g, opened->delta - 1);
	return 0;
}

static struct proto_open open_request(const struct attempt *at)
{
	const struct space_block *b = at->b;

	return (struct proto_open){
		.epoch = at->epoch,
		.stripe = b->stripe,
		.opened = b->opened,
		.role = b->role,
		.owner = at->sp->kv->id,
		.life = b->life,
		.kind = b->kind,
		.ticket = b->ticket,
	};
}

/* A READ of the leader's bitmap, which stands still until it is OPEN there. */
static void map_op(struct attempt *at, struct fab_op *op)
{
	const struct group *g = space_group(at->sp);
	const struct space_block *b = at->b;
	uint32_t node = 0, block = 0;

	for (uint32_t r = g->k; r < group_width(g); r++) {
		group_member(g, b->stripe, r, &node, &block);
		if (node == b->leader)
			break;
	}
	fab_read(op, b->leader, group_map_off(g, block, b->role), at->map,
		 at->sp->total / 8);
}

/* Open the block at all members but the leader. Sets *done to those that did
 * or may have done so. */
static int open_members(struct attempt *at, const struct proto_grant *grant,
			uint64_t *done)
{
	struct space_block *b = at->b;
	struct fab_op ops[CODE_WIDTH_MAX + 1];
	struct proto_opened opened[CODE_WIDTH_MAX];
	uint32_t of[CODE_WIDTH_MAX];
	struct proto_open req = open_request(at);
	uint32_t calls;
	struct fab_batch batch = {
		.ops = ops,
		.deadline_ns = fab_now(at->t->fab) + SPACE_CALL_NS,
	};
	int rc, one;

	for (uint32_t i = 0; i < b->members; i++) {
		if (b->member[i].node == b->leader) {
			if (b->kind != BLOCK_ROWS)
				b->member[i].offset = group_delta_off(
					space_group(at->sp), grant->delta - 1);
			continue;
		}
		of[batch.n] = i;
		fab_call(&ops[batch.n], b->member[i].node, PROTO_OPEN, &req,
			 sizeof(req), &opened[batch.n], sizeof(opened[0]));
		batch.n++;
	}
	calls = batch.n;
	if (b->again)
		map_op(at, &ops[batch.n++]);
	rc = fab_run(at->t->fab, &batch);
	if (rc != 0)
		return rc;
	at->has_map = b->again && ops[calls].status == 0;
	if (b->again)
		rc = ops[calls].status;
	/* All of them: who opened it has to hear that another did not. */
	for (uint32_t n = 0; n < calls; n++) {
		one = take_answer(at, of[n], &ops[n], &opened[n]);
		if (one == 0 || (one == -ETIMEDOUT && rc == 0))
			*done |= UINT64_C(1) << ops[n].node;
		suspect(at, ops[n].node, one);
		if (rc == 0)
			rc = one;
	}
	return rc;
}

/* The last one to open what is opened again. */
static int open_leader(struct attempt *at, const struct proto_grant *grant)
{
	struct proto_open req = open_request(at);
	struct proto_opened opened;
	uint32_t len = 0;
	int rc = fab_call_run(at->t->fab, at->b->leader, PROTO_OPEN, &req,
			      sizeof(req), &opened, sizeof(opened), &len,
			      SPACE_CALL_NS);

	suspect(at, at->b->leader, rc);
	if (rc != 0)
		return rc;
	return len == sizeof(opened) && opened.delta == grant->delta ? 0
								     : -EBADMSG;
}

static int open_all(struct attempt *at, const struct proto_grant *grant,
		    uint64_t *done)
{
	int rc = open_members(at, grant, done);

	return rc == 0 && at->b->again ? open_leader(at, grant) : rc;
}

void block_cancel(struct space *sp, struct kv_thread *t,
		  const struct space_block *b, uint64_t nodes)
{
	struct proto_seal req = {
		.epoch = member_epoch(sp->kv->member),
		.stripe = b->stripe,
		.role = b->role,
		.owner = sp->kv->id,
		.life = b->life,
	};
	struct fab_op ops[CODE_WIDTH_MAX];
	struct fab_batch batch = {
		.ops = ops,
		.deadline_ns = fab_now(t->fab) + SPACE_CALL_NS,
	};
	int rc;

	for (uint32_t i = 0; i < b->members; i++)
		if (b->member[i].node != b->leader &&
		    (nodes >> b->member[i].node & 1))
			fab_call(&ops[batch.n++], b->member[i].node,
				 PROTO_CANCEL, &req, sizeof(req), NULL, 0);
	rc = fab_run(t->fab, &batch);
	for (uint32_t i = 0; i < batch.n; i++)
		if (rc != 0 || ops[i].status != 0)
			doubt_node(sp, ops[i].node);
	if (nodes >> b->leader & 1 &&
	    fab_call_run(t->fab, b->leader, PROTO_CANCEL, &req, sizeof(req),
			 NULL, 0, NULL, SPACE_CALL_NS) != 0)
		doubt_node(sp, b->leader);
}

/* A leader keeps a delta, or else a part of the rows. */
static bool is_parity(const struct space_block *b, uint8_t node)
{
	for (uint32_t i = 1; i < b->members; i++)
		if (b->member[i].node == node)
			return true;
	return false;
}

/* Without the bitmap the leader has not opened it, and knows it still. */
static void undo(struct attempt *at, uint64_t done)
{
	if (at->has_map)
		block_return(at->sp, at->t, at->b);
	else
		block_cancel(at->sp, at->t, at->b, done);
	units_clear(&at->b->units);
}

static int attempt(struct attempt *at, uint8_t node)
{
	struct space_block *b = at->b;
	struct proto_grant grant;
	uint64_t done = UINT64_C(1) << node;
	int rc = ask(at, node, &grant);

	suspect(at, node, rc);
	if (rc != 0)
		return rc;
	b->epoch = at->epoch;
	b->leader = node;
	b->stripe = grant.stripe;
	b->role = grant.role;
	b->life = grant.life;
	b->opened = grant.opened;
	b->again = grant.again != 0;
	at->has_map = false;
	list_members(at);
	b->addr = fab_addr_make(b->member[0].node, b->member[0].offset);
	rc = is_parity(b, node) ? open_all(at, &grant, &done) : -EBADMSG;
	if (at->has_map)
		units_again(&b->units, at->map);
	if (rc != 0)
		undo(at, done);
	return rc;
}

/* --- all leaders, until one gives ---------------------------------------- */

/* Ask each node that is up once; but no more of them when time is up, as nodes
 * that do not answer cost SPACE_CALL_NS each, and a client that is in here does
 * not follow the view. */
static int round_of(struct attempt *at, uint64_t deadline_ns)
{
	const struct group *g = space_group(at->sp);
	uint32_t start = atomic_fetch_add(&at->sp->next_node, 1);
	int rc, verdict = -ENOSPC;

	for (uint32_t i = 0; i < g->nodes; i++) {
		uint8_t node = (uint8_t)((start + i) % g->nodes);

		if (!((at->up & ~at->avoid) >> node & 1))
			continue;
		if (at->avoid != 0 && fab_now(at->t->fab) >= deadline_ns)
			return -EAGAIN;
		rc = attempt(at, node);
		if (rc == 0 || rc == -ESTALE)
			return rc;
		/* Whatever it is, another try may go better. */
		if (rc == -EINPROGRESS && verdict == -ENOSPC)
			verdict = rc;
		else if (rc != -ENOSPC && rc != -EINPROGRESS)
			verdict = -EAGAIN;
	}
	return verdict;
}

static int open_rounds(struct attempt *at, bool wait, uint64_t deadline_ns)
{
	uint64_t nap = SPACE_NAP_MIN_NS;

	for (;;) {
		int rc;

		at->epoch = member_epoch(at->sp->kv->member);
		at->up = member_up(at->sp->kv->member);
		at->all = member_all(at->sp->kv->member);
		rc = round_of(at, deadline_ns);
		if (rc == -ESTALE)
			return -EAGAIN;
		if (rc != -EAGAIN || !wait)
			return rc;
		if (fab_now(at->t->fab) >= deadline_ns)
			return -ETIMEDOUT;
		/* Deltas are being folded, or a node is away: back off. */
		fab_sleep(at->t->fab, nap);
		if (nap < SPACE_NAP_MAX_NS)
			nap *= 2;
		at->avoid = 0;
	}
}

/* Rows of large writes are written in large pieces, which need no mapping but
 * memory: that is half of what such a write takes. Who waits for the block
 * (@run) takes it as it comes: he may be all that is written to it. */
static void prepare(struct space *sp, const struct space_block *b, uint32_t run)
{
	bool rows = b->kind == BLOCK_ROWS;

	if (rows && run != 0)
		return;
	for (uint32_t i = 0; i < b->members; i++)
		fab_net_prepare(sp->kv->net, b->member[i].node,
				b->member[i].offset,
				space_group(sp)->block_bytes,
				!rows || atomic_load(&sp->rows_short));
}

/* Not worth asking: rows need all members of a stripe, and whole stripes. */
static bool no_rows(struct space *sp, struct kv_thread *t)
{
	const struct group *g = space_group(sp);
	uint64_t at = atomic_load(&sp->rows_full_ns);

	if (at != 0 && fab_now(t->fab) - at < SPACE_FULL_NS)
		return true;
	return (uint32_t)__builtin_popcountll(member_all(sp->kv->member)) <
	       group_width(g);
}

static void block_init(struct space_block *b, uint32_t lane, unsigned class,
		       uint64_t now)
{
	b->class = (uint8_t) class;
	b->kind = kind_of(class);
	atomic_store(&b->lane, (uint8_t)lane);
	atomic_store(&b->inflight, 0);
	b->takes = b->takes_seen = 0;
	b->quiet_ns = now;
	b->busy = false;
	b->again = false;
	b->torn = false;
	b->refused = false;
	atomic_store(&b->zeros, 0);
	b->tries = 0;
	b->sealed = 0;
	b->mended = 0;
}

/* Remember that there was none, for a moment. */
static void note_full(struct space *sp, struct kv_thread *t, unsigned class,
		      bool urgent)
{
	if (class == SPACE_ROWS)
		atomic_store(&sp->rows_full_ns, fab_now(t->fab));
	else if (!urgent)
		atomic_store(&sp->full_ns, fab_now(t->fab));
}

static int open_block(struct attempt *at, unsigned class, bool wait,
		      uint64_t deadline_ns)
{
	struct space *sp = at->sp;
	struct kv_thread *t = at->t;
	int rc;

	at->map = malloc(sp->total / 8);
	if (at->map == NULL)
		return -ENOMEM;
	rc = open_rounds(at, wait, deadline_ns);
	free(at->map);
	if (rc == -ENOSPC)
		note_full(sp, t, class, at->urgent);
	if (rc != 0)
		return rc;
	stat_add(&t->stats.blocks_opened, 1);
	if (!at->urgent)
		atomic_store(class == SPACE_ROWS ? &sp->rows_full_ns
						 : &sp->full_ns,
			     0);
	return 0;
}

int block_open(struct space *sp, struct kv_thread *t, uint32_t lane,
	       unsigned class, uint32_t run, bool urgent, bool wait,
	       uint64_t deadline_ns, struct space_block **out)
{
	struct attempt at = {.sp = sp, .t = t, .run = run, .urgent = urgent};
	int rc;

	if (class == SPACE_ROWS && no_rows(sp, t))
		return -ENOSPC;
	at.b = block_get(sp);
	if (at.b == NULL)
		return wait ? -ETIMEDOUT : -EAGAIN; /* none can be sealed */
	block_init(at.b, lane % sp->nlanes, class, fab_now(t->fab));
	rc = open_block(&at, class, wait, deadline_ns);
	if (rc != 0) {
		block_put(sp, at.b);
		return rc;
	}
	if (at.b->again && at.b->kind == BLOCK_RECORDS)
		clean_want(sp->kv->clean, CLEAN_TIGHT);
	if (!wait)
		prepare(sp, at.b, run); /* in the background, or for bulk */
	*out = at.b;
	return 0;
}
