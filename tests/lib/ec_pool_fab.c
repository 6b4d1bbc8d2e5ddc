/* tests/lib/ec_pool_fab.c - the fabric of an ec_pool: executes at once. */
#include "tests/lib/ec_pool.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

static struct ec_pool *pool_of(struct fab *f)
{
	return (struct ec_pool *)f;
}

static int execute(struct ec_pool *p, const struct fab_op *op)
{
	char *at;

	if (p->between != NULL && p->depth == 0) {
		p->depth++;
		p->between(p, op);
		p->depth--;
	}
	p->ops++;
	if (op->node >= p->g.nodes || !ec_pool_is_member(p, op->node))
		return -EHOSTDOWN;
	assert(ec_pool_is_up(p, op->node)); /* nothing old is there */
	if (op->offset > p->size || op->len > p->size - op->offset)
		return -EREMOTEIO;
	at = p->region[op->node] + op->offset;
	if (op->opcode == FAB_READ)
		memcpy(op->buf, at, op->len);
	else if (op->opcode == FAB_WRITE)
		memcpy(at, op->buf, op->len);
	else
		return -EREMOTEIO; /* ec/ uses no others */
	return 0;
}

static int pool_post(struct fab *f, struct fab_batch *b)
{
	for (uint32_t i = 0; i < b->n; i++)
		b->ops[i].status = execute(pool_of(f), &b->ops[i]);
	b->left = 0;
	fab_done(f, b);
	return 0;
}

static void pool_progress(struct fab *f, uint64_t until)
{
}

static uint64_t pool_now(struct fab *f)
{
	return pool_of(f)->now += 1000;
}

static uint64_t pool_random(struct fab *f)
{
	return ec_pool_mix(pool_of(f)->now++);
}

static void pool_sleep(struct fab *f, uint64_t ns)
{
	pool_of(f)->now += ns;
}

static void pool_fab_close(struct fab *f)
{
}

const struct fab_ops ec_pool_ops = {
	.close = pool_fab_close,
	.post = pool_post,
	.progress = pool_progress,
	.now = pool_now,
	.wall = pool_now,
	.random = pool_random,
	.sleep = pool_sleep,
};
