/* tests/lib/space_pool.c - see space_pool.h. */
#include "tests/lib/space_pool.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kv/client/addr_cache.h"
#include "kv/client/alone.h"
#include "kv/client/adopt.h"
#include "kv/client/space.h"

struct spool_fab {
	struct fab fab;
	struct space_pool *p;
};

static struct space_pool *pool_of(struct fab *f)
{
	return ((struct spool_fab *)f)->p;
}

/* --- the nodes' answers: what kv/node/serve.c does ----------------------- */

static int answer(struct fab_op *op, const void *data, uint32_t len)
{
	assert_true(len <= op->reply_cap);
	memcpy(op->reply, data, len);
	op->reply_len = len;
	return 0;
}

static int epoch_check(struct space_pool *p, uint64_t epoch)
{
	if (epoch < p->view.epoch)
		return -ESTALE;
	return epoch > p->view.epoch ? -EAGAIN : 0;
}

static int serve_alloc(struct space_pool *p, struct fab_op *op)
{
	const struct proto_alloc *rq = op->buf;
	struct proto_grant out = {.opened = p->view.index_version};
	struct alloc_grant grant;
	int rc = epoch_check(p, rq->epoch);

	if (rc == 0)
		rc = alloc_block(p->a[op->node], rq->kind, rq->owner,
				 (uint32_t)rq->epoch, out.opened,
				 rq->urgent != 0, rq->avoid, rq->run, &grant);
	if (rc != 0)
		return rc;
	out.stripe = grant.stripe;
	out.role = grant.role;
	out.delta = grant.delta;
	out.life = grant.life;
	out.again = grant.again;
	return answer(op, &out, sizeof(out));
}

static int serve_open(struct space_pool *p, struct fab_op *op)
{
	const struct proto_open *rq = op->buf;
	struct proto_opened out = {0};
	int rc = epoch_check(p, rq->epoch);

	if (rc == 0)
		rc = alloc_open_block(p->a[op->node], rq->stripe, rq->role,
				      rq->kind, rq->owner, (uint32_t)rq->epoch,
				      rq->opened, rq->life, &out.delta);
	return rc != 0 ? rc : answer(op, &out, sizeof(out));
}

static int serve_mark(struct space_pool *p, struct fab_op *op)
{
	const struct proto_mark *rq = op->buf;
	struct proto_marked out = {{0}, {0}};

	assert_true(rq->n <= PROTO_MARKS_MAX);
	assert_int_equal(op->len, sizeof(*rq) + rq->n * sizeof(rq->mark[0]));
	for (uint32_t i = 0; i < rq->n; i++) {
		const struct proto_mark_one *m = &rq->mark[i];
		int rc;

		/* On the wire none is without a guard. */
		assert_int_not_equal(m->life, 0);
		rc = alloc_mark(p->a[op->node], m->stripe, m->role, m->life,
				m->at, m->len);
		if (rc == -EBUSY)
			out.busy[i / 64] |= UINT64_C(1) << (i % 64);
		else if (rc != 0)
			out.stale[i / 64] |= UINT64_C(1) << (i % 64);
	}
	return answer(op, &out, sizeof(out));
}

static int serve(struct space_pool *p, struct fab_op *op)
{
	const struct proto_seal *seal = op->buf;

	atomic_fetch_add(&p->calls[op->call], 1);
	switch (op->call) {
	case PROTO_ALLOC:
		return serve_alloc(p, op);
	case PROTO_OPEN:
		return serve_open(p, op);
	case PROTO_MARK:
		return serve_mark(p, op);
	case PROTO_CANCEL:
		return alloc_cancel(p->a[op->node], seal->stripe, seal->role,
				    seal->owner, seal->life);
	case PROTO_SEAL:
		return alloc_seal(p->a[op->node], seal->stripe, seal->role,
				  seal->owner, seal->life, seal->used,
				  p->view.index_version, seal->torn != 0);
	default:
		return -EPROTO;
	}
}

/* --- the fabric ---------------------------------------------------------- */

static int one_sided(struct space_pool *p, struct fab_op *op)
{
	uint8_t *at = (uint8_t *)p->region[op->node] + op->offset;

	if (op->offset + op->len > p->layout.size)
		return -EREMOTEIO;
	if (op->opcode == FAB_CAS) {
		op->old = op->expect;
		__atomic_compare_exchange_n((uint64_t *)(void *)at, &op->old,
					    op->arg, false, __ATOMIC_SEQ_CST,
					    __ATOMIC_SEQ_CST);
	} else if (op->opcode == FAB_READ)
		memcpy(op->buf, at, op->len);
	else if (op->opcode == FAB_WRITE)
		memcpy(at, op->buf, op->len);
	else
		return -EREMOTEIO;
	return 0;
}

static int execute(struct space_pool *p, struct fab_op *op)
{
	int rc = 0;

	atomic_fetch_add(&p->ops, 1);
	if (p->before != NULL)
		rc = p->before(p, op);
	if (!(atomic_load(&p->up) >> op->node & 1))
		return op->node == FAB_NODE_COORD ? 0 : -EHOSTDOWN;
	if (atomic_load(&p->hung) >> op->node & 1)
		return -ETIMEDOUT;
	if (rc != 0)
		return rc;
	if (op->opcode != FAB_CALL)
		return one_sided(p, op);
	pthread_mutex_lock(&p->lock);
	rc = serve(p, op);
	pthread_mutex_unlock(&p->lock);
	return rc;
}

static int pool_post(struct fab *f, struct fab_batch *b)
{
	uint64_t failed = 0;

	for (uint32_t i = 0; i < b->n; i++) {
		struct fab_op *op = &b->ops[i];

		op->status = failed >> op->node & 1 ? -ECANCELED
						    : execute(pool_of(f), op);
		/* A CALL's own answer, bad as it may be, is an answer. */
		if (op->status != 0 &&
		    (op->opcode != FAB_CALL || op->status == -EHOSTDOWN ||
		     op->status == -ETIMEDOUT))
			failed |= UINT64_C(1) << op->node;
		b->left--;
	}
	fab_done(f, b);
	return 0;
}

static void pool_progress(struct fab *f, uint64_t until)
{
	(void)f;
	(void)until;
}

static uint64_t pool_now(struct fab *f)
{
	return atomic_fetch_add(&pool_of(f)->now, 100);
}

static uint64_t pool_wall(struct fab *f)
{
	return atomic_load(&pool_of(f)->now);
}

static uint64_t pool_random(struct fab *f)
{
	return atomic_fetch_add(&pool_of(f)->now, 1) *
	       UINT64_C(0x9e3779b97f4a7c15);
}

static void pool_sleep(struct fab *f, uint64_t ns)
{
	struct space_pool *p = pool_of(f);

	atomic_fetch_add(&p->now, ns);
	if (!p->no_fold)
		spool_fold(p);
	if (p->asleep != NULL)
		p->asleep(p);
}

static void fab_free(struct fab *f)
{
	free(f);
}

static const struct fab_ops fab_ops = {
	.close = fab_free,
	.post = pool_post,
	.progress = pool_progress,
	.now = pool_now,
	.wall = pool_wall,
	.random = pool_random,
	.sleep = pool_sleep,
};

static int net_fab_open(struct fab_net *net, struct fab **out)
{
	struct spool_fab *f = calloc(1, sizeof(*f));

	if (f == NULL)
		return -ENOMEM;
	fab_init(&f->fab, &fab_ops);
	f->p = (struct space_pool *)net;
	*out = &f->fab;
	return 0;
}

static bool net_up(struct fab_net *net, uint8_t id)
{
	struct space_pool *p = (struct space_pool *)net;

	return atomic_load(&p->up) >> id & 1;
}

static void net_cut(struct fab_net *net, uint8_t id)
{
	struct space_pool *p = (struct space_pool *)net;

	atomic_fetch_and(&p->up, ~(UINT64_C(1) << id));
}

static uint64_t net_size(struct fab_net *net, uint8_t id)
{
	(void)id;
	return ((struct space_pool *)net)->layout.size;
}

static void net_close(struct fab_net *net)
{
	(void)net;
}

static const struct fab_net_ops net_ops = {
	.open = net_fab_open,
	.cut = net_cut,
	.up = net_up,
	.size = net_size,
	.close = net_close,
};

/* --- threads ------------------------------------------------------------- */

struct kv_thread *spool_thread(struct space_pool *p, uint32_t lane)
{
	struct kv_thread *t = kv_thread(&p->kv);

	assert_non_null(t);
	t->lane = lane;
	return t;
}

/* --- life ---------------------------------------------------------------- */

static void shape_of(const struct spool_shape *in, struct layout_shape *out)
{
	*out = (struct layout_shape){
		.nodes = in->nodes ? in->nodes : 5,
		.k = in->k ? in->k : 3,
		.m = in->m ? in->m : 2,
		.usable = in->usable ? in->usable : 4u << 20,
		.block_bytes = in->block_bytes ? in->block_bytes : 64u << 10,
		.slots = 1024,
		.clients = in->clients ? in->clients : 8,
	};
}

static void node_open_one(struct space_pool *p, uint32_t id, uint32_t reserve)
{
	struct alloc_opts opts = {
		.group = &p->layout.group,
		.code = p->code,
		.node = id,
		.reserve = reserve,
	};

	assert_int_equal(fab_region_open("spool", p->layout.size,
					 &p->region[id], &p->fd[id]),
			 0);
	opts.region = p->region[id];
	opts.region_fd = p->fd[id];
	assert_int_equal(alloc_open(&opts, &p->a[id]), 0);
}

static uint64_t generation; /* of struct kv at one address */

static void client_open(struct space_pool *p, uint32_t lanes)
{
	p->kv.net = &p->net;
	p->kv.layout = p->layout;
	p->kv.id = 7;
	p->kv.code = p->code;
	p->kv.opts.lanes = lanes ? lanes : 1;
	p->kv.priv = &p->client;
	p->client.generation = ++generation;
	p->client.threaded = true; /* we are the background */
	assert_int_equal(threads_open(&p->kv, &p->client.threads), 0);
	assert_int_equal(cache_open(1u << 20, &p->kv.cache), 0);
	assert_int_equal(alone_open(false, &p->kv.alone), 0);
	assert_int_equal(member_open(&p->kv, &p->view, NULL, &p->kv.member), 0);
	assert_int_equal(space_open(&p->kv, &p->kv.space), 0);
}

void spool_open(struct space_pool *p, const struct spool_shape *shape)
{
	struct layout_shape s;

	memset(p, 0, sizeof(*p));
	shape_of(shape, &s);
	p->net.ops = &net_ops;
	pthread_mutex_init(&p->lock, NULL);
	atomic_store(&p->now, 1000000000);
	assert_int_equal(layout_of(&s, &p->layout), 0);
	assert_int_equal(code_open(s.k, s.m, &p->code), 0);
	view_first(&p->view, s.nodes, s.k, s.m);
	p->view.index_version = 1;
	for (uint32_t i = 0; i < s.nodes; i++)
		node_open_one(p, i, shape->reserve);
	for (uint32_t i = 0; i < s.nodes; i++)
		alloc_set_up(p->a[i], view_up(&p->view));
	atomic_store(&p->up, view_up(&p->view));
	client_open(p, shape->lanes);
}

void spool_close(struct space_pool *p)
{
	space_leave(p->kv.space, kv_thread(&p->kv));
	space_close(p->kv.space);
	member_close(p->kv.member);
	cache_close(p->kv.cache);
	alone_close(p->kv.alone);
	threads_close(p->client.threads);
	for (uint32_t i = 0; i < p->layout.group.nodes; i++) {
		alloc_close(p->a[i]);
		fab_region_close(p->region[i], p->layout.size, p->fd[i]);
	}
	code_close(p->code);
	pthread_mutex_destroy(&p->lock);
}

void spool_kill(struct space_pool *p, uint32_t id)
{
	atomic_fetch_and(&p->up, ~(UINT64_C(1) << id));
	pthread_mutex_lock(&p->lock);
	memset((uint8_t *)p->region[id] + p->layout.group.block_off, 0xdb,
	       p->layout.size - p->layout.group.block_off);
	assert_int_equal(view_node_dies(&p->view, id), 0);
	pthread_mutex_unlock(&p->lock);
}

void spool_adopt(struct space_pool *p)
{
	for (uint32_t i = 0; i < p->layout.group.nodes; i++)
		if (atomic_load(&p->up) >> i & 1)
			alloc_set_up(p->a[i], view_up(&p->view));
	assert_int_equal(
		member_adopt(p->kv.member, kv_thread(&p->kv),
			     &(struct proto_view_set){.view = p->view}),
		1);
}

/* --- looking inside ------------------------------------------------------ */

uint32_t spool_node(struct space_pool *p, uint64_t stripe, uint32_t role)
{
	uint32_t node, block;

	group_member(&p->layout.group, stripe, role, &node, &block);
	return node;
}

struct block_rec spool_rec(struct space_pool *p, uint32_t node, uint64_t stripe,
			   uint32_t role)
{
	const struct group *g = &p->layout.group;
	struct block_rec rec;

	for (uint32_t r = 0; r < group_width(g); r++) {
		uint32_t n, block;

		group_member(g, stripe, r, &n, &block);
		if (n != node)
			continue;
		memcpy(&rec,
		       (uint8_t *)p->region[n] + group_rec_off(g, block, role),
		       sizeof(rec));
		return rec;
	}
	fail_msg("node %u is no member", node);
	return (struct block_rec){0};
}

void *spool_mem(struct space_pool *p, fab_addr addr)
{
	return (uint8_t *)p->region[fab_addr_node(addr)] +
	       fab_addr_offset(addr);
}

static struct fab *own_fab(struct space_pool *p)
{
	return kv_thread(&p->kv)->fab;
}

void spool_fold(struct space_pool *p)
{
	struct fab *f = own_fab(p);

	pthread_mutex_lock(&p->lock);
	for (uint32_t i = 0; i < p->layout.group.nodes; i++)
		while (atomic_load(&p->up) >> i & 1 &&
		       fold_work(p->a[i], f, 1u << 20) > 0)
			;
	pthread_mutex_unlock(&p->lock);
}

struct victim {
	uint64_t stripe;
	uint32_t role, life;
	uint8_t kind;
};

/* Do @fn at all that keep a record of the block, data nodes first, and at
 * @leader last. */
static void each_keeper(struct space_pool *p, uint32_t leader,
			const struct victim *v,
			int (*fn)(struct alloc *a, uint64_t stripe,
				  uint32_t role, uint32_t life))
{
	const struct group *g = &p->layout.group;

	for (uint32_t r = 0; r < group_width(g); r++) {
		uint32_t node = spool_node(p, v->stripe, r);
		bool keeps = r >= g->k || r == v->role || v->kind == BLOCK_ROWS;

		if (keeps && node != leader &&
		    (atomic_load(&p->up) >> node & 1))
			assert_int_equal(
				fn(p->a[node], v->stripe, v->role, v->life), 0);
	}
	assert_int_equal(fn(p->a[leader], v->stripe, v->role, v->life), 0);
}

static int to_free(struct alloc *a, uint64_t stripe, uint32_t role,
		   uint32_t life)
{
	return fold_retire(a, stripe, role, life, false);
}

unsigned spool_retire(struct space_pool *p)
{
	unsigned done = 0;

	spool_fold(p);
	for (uint32_t i = 0; i < p->layout.group.nodes; i++) {
		struct victim v;

		while (atomic_load(&p->up) >> i & 1 &&
		       fold_victim(p->a[i], &v.stripe, &v.role, &v.kind,
				   &v.life) == 0) {
			each_keeper(p, i, &v, to_free);
			spool_fold(p);
			each_keeper(p, i, &v, fold_free);
			done++;
		}
	}
	return done;
}
