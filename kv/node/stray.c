/* kv/node/stray.c - what a leader left half done here when it died.
 *
 *   RETIRING, and out of the parity: the leader of today has it FREE
 *        -> so it is here (fold_stray(): parities, the data node comes first)
 *   on its way to be opened again: the leader of today has it at rest, in a
 *   later life. It was opened there, and closed: its opener died, or gave up,
 *   before it came here. So nobody has written anything
 *        -> at rest here, too, in that life (again_stray(), A8 of ec/again.h)
 *
 * Looked for once with each set of nodes; the second for as long as there is
 * any, for that opening may have its end still to come. */
#include <errno.h>

#include "ec/again.h"
#include "ec/fold.h"
#include "kv/node/node_impl.h"

#define STRAY_LOOK_NS UINT64_C(500000000)

/* The record that the stripe's leader keeps of the block. Errors: -ENOENT this
 * node leads, or nobody does; -EAGAIN it is just being changed. */
static int leader_rec(struct node *n, uint64_t up, uint64_t stripe,
		      uint32_t role, struct block_rec *rec)
{
	const struct group *g = node_group(n);
	int leader = node_leader(g, stripe, up);
	struct fab_op op;
	struct fab_batch b = {.ops = &op, .n = 1};
	uint32_t i, node, block;
	int rc;

	if (leader < 0 || leader == (int)n->id)
		return -ENOENT;
	for (i = g->k; i < group_width(g); i++) {
		group_member(g, stripe, i, &node, &block);
		if (node == (uint32_t)leader)
			break;
	}
	fab_read(&op, (uint8_t)node, group_rec_off(g, block, role), rec,
		 sizeof(*rec));
	rc = fab_run(n->fab, &b);
	rc = rc != 0 ? rc : op.status;
	if (rc == 0 && rec->seq % 2 != 0)
		rc = -EAGAIN;
	return rc;
}

/* 0, or what was in the way. */
static int freed_ones(struct node *n, uint64_t up)
{
	struct block_rec rec;
	uint32_t at = 0, role, life;
	uint64_t stripe;
	int rc;

	while (fold_stray(n->alloc, &at, &stripe, &role, &life) == 0) {
		rc = leader_rec(n, up, stripe, role, &rec);
		if (rc == -ENOENT)
			continue;
		if (rc != 0)
			return rc;
		if (rec.state != BLOCK_FREE || rec.life < life)
			continue;
		pthread_mutex_lock(&n->lock);
		fold_free(n->alloc, stripe, role, life);
		pthread_mutex_unlock(&n->lock);
	}
	return 0;
}

static bool is_at_rest(const struct block_rec *rec)
{
	return rec->state == BLOCK_SEALED || rec->state == BLOCK_FOLDING ||
	       rec->state == BLOCK_FOLDED;
}

/* 0: there are none any more. */
static int opened_ones(struct node *n, uint64_t up)
{
	struct block_rec rec;
	uint32_t at = 0, role, life;
	uint64_t stripe;
	int rc, left = 0;

	while (again_stray(n->alloc, &at, &stripe, &role, &life) == 0) {
		rc = leader_rec(n, up, stripe, role, &rec);
		if (rc == -ENOENT)
			continue;
		if (rc == 0 && (!is_at_rest(&rec) || rec.life <= life))
			rc = -EAGAIN;
		if (rc == 0) {
			pthread_mutex_lock(&n->lock);
			rc = again_resume(n->alloc, stripe, role, rec.life);
			pthread_mutex_unlock(&n->lock);
		}
		left = rc != 0 ? rc : left;
	}
	return left;
}

int stray_work(struct node *n, uint64_t *again)
{
	uint64_t now = fab_now(n->fab), up = node_view_up(n, NULL);
	struct stray *s = &n->stray;

	if (!(up >> n->id & 1))
		return 0;
	if (s->up != up) {
		s->up = up;
		s->freed = s->opened = false;
		s->again_ns = 0;
	}
	if (s->freed && s->opened)
		return 0;
	if (now >= s->again_ns) {
		s->freed = s->freed || freed_ones(n, up) == 0;
		s->opened = s->opened || opened_ones(n, up) == 0;
		s->again_ns = now + (s->freed ? STRAY_LOOK_NS : NODE_RETRY_NS);
	}
	if (!s->freed || !s->opened)
		node_again(again, s->again_ns);
	return 0;
}
