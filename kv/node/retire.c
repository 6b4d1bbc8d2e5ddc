/* kv/node/retire.c - giving wholly obsolete blocks back.
 *
 * The leader of a stripe picks a block that no one needs (fold_victim), and:
 *   RETIRE to all that keep a record of it, itself included: parities fold it
 *          out again in the background; asked until each says done
 *   FREE   to the data node first (it zeroes the block), then to the other
 *          parities, then itself: what it grants next is free everywhere
 * One at a time. Any step may be repeated; when a leader dies in the middle,
 * fold_victim() gives the next one what had been begun. */
#include <errno.h>

#include "ec/again.h"
#include "ec/fold.h"
#include "kv/node/node_impl.h"

#define RETIRE_POLL_NS	   UINT64_C(500000) /* first wait for the others */
#define RETIRE_POLL_MAX_NS UINT64_C(50000000)

static int retire_call(struct node *n, uint32_t id, uint16_t type)
{
	struct proto_retire rq = {
		.stripe = n->retire.stripe,
		.role = n->retire.role,
		.life = n->retire.life,
		.kind = n->retire.kind,
	};
	struct proto_retired done = {0};
	int rc;

	node_view_up(n, &rq.epoch);
	if (type == PROTO_FREE)
		return peer_call(n, id, type, &rq, sizeof(rq), NULL, 0);
	rc = peer_call(n, id, type, &rq, sizeof(rq), &done, sizeof(done));
	if (rc != 0)
		return rc;
	if (done.kind == BLOCK_PAGES && rq.kind == BLOCK_ROWS)
		n->retire.split = true;
	return done.done ? 0 : -EAGAIN;
}

/* Ask here: 0 done, -EAGAIN not yet. */
static int retire_here(struct node *n)
{
	struct retire *r = &n->retire;
	int rc;

	pthread_mutex_lock(&n->lock);
	rc = fold_retire(n->alloc, r->stripe, r->role, r->life, false);
	if (rc == 0 && !fold_retired(n->alloc, r->stripe, r->role, r->life))
		rc = -EAGAIN;
	pthread_mutex_unlock(&n->lock);
	return rc;
}

/* A member that has freed it already says -ESTALE or 0: both are done. */
static bool retire_is_done(int rc)
{
	return rc == 0 || rc == -ESTALE;
}

/* True if all members are done. All are asked, so that all work at once. */
static bool retire_ask(struct node *n, uint64_t members)
{
	bool all = n->retire.rows || retire_is_done(retire_here(n));
	uint32_t id;

	for (id = 0; id < node_group(n)->nodes; id++)
		if (id != n->id && members >> id & 1)
			if (!retire_is_done(retire_call(n, id, PROTO_RETIRE)))
				all = false;
	return all && !n->retire.split && retire_is_done(retire_here(n));
}

/* A leader before this one has made PAGES blocks of the ROWS (ec/again.h) and
 * died before it told this node: so it does, and looks again. */
static void retire_split(struct node *n)
{
	struct retire *r = &n->retire;

	pthread_mutex_lock(&n->lock);
	again_split(n->alloc, r->stripe, r->role);
	pthread_mutex_unlock(&n->lock);
	r->active = false;
}

static int retire_free_here(struct node *n)
{
	struct retire *r = &n->retire;
	int rc;

	pthread_mutex_lock(&n->lock);
	/* A member that came meanwhile has to be asked first. */
	rc = -EAGAIN;
	if (r->members == view_members(&n->view.view))
		rc = fold_free(n->alloc, r->stripe, r->role, r->life);
	pthread_mutex_unlock(&n->lock);
	return rc;
}

/* Tell the member of that role, unless it is this node. */
static bool retire_free_at(struct node *n, uint32_t role, uint64_t members)
{
	uint32_t node, block;

	group_member(node_group(n), n->retire.stripe, role, &node, &block);
	if (node == n->id || !(members >> node & 1))
		return true;
	return retire_is_done(retire_call(n, node, PROTO_FREE));
}

/* Data nodes come first, those roles below k. Then parities: those that are not
 * up and so do not lead, then from the last to the first. Should this leader
 * die, the next is one that has not freed it, or else all have. */
static bool retire_free(struct node *n, uint64_t members)
{
	const struct group *g = node_group(n);
	uint64_t up = n->retire.up;
	uint32_t r;

	for (r = 0; r < g->k; r++)
		if (!retire_free_at(n, r, members))
			return false;
	for (r = group_width(g); r-- > g->k;)
		if (!retire_free_at(n, r, members & ~up))
			return false;
	for (r = group_width(g); r-- > g->k;)
		if (!retire_free_at(n, r, members & up))
			return false;
	return retire_is_done(retire_free_here(n));
}

static bool retire_pick(struct node *n)
{
	struct retire *r = &n->retire;
	uint8_t kind;
	int rc;

	pthread_mutex_lock(&n->lock);
	rc = n->view.view.epoch == 0 ? -ENOENT
				     : fold_victim(n->alloc, &r->stripe,
						   &r->role, &kind, &r->life);
	pthread_mutex_unlock(&n->lock);
	if (rc != 0)
		return false;
	r->kind = kind;
	r->rows = kind == BLOCK_ROWS;
	r->split = false;
	r->active = true;
	r->asked = 0;
	r->again_ns = 0;
	r->up = node_view_up(n, NULL);
	r->members = node_view_members(n);
	return true;
}

static void retire_later(struct node *n)
{
	struct retire *r = &n->retire;
	uint64_t wait = RETIRE_POLL_NS << (r->asked < 7 ? r->asked : 7);

	if (wait > RETIRE_POLL_MAX_NS)
		wait = RETIRE_POLL_MAX_NS;
	r->asked++;
	r->again_ns = fab_now(n->fab) + wait;
}

int retire_work(struct node *n, uint64_t *again)
{
	struct retire *r = &n->retire;
	uint64_t members;

	/* Another view, other members: pick anew, perhaps the same. */
	if (r->active && (r->up != node_view_up(n, NULL) ||
			  r->members != node_view_members(n)))
		r->active = false;
	if (!r->active && !retire_pick(n))
		return 0;
	if (fab_now(n->fab) < r->again_ns) {
		node_again(again, r->again_ns);
		return 0;
	}
	members = node_members(node_group(n), r->stripe, r->role, r->rows) &
		  r->members;
	if (retire_ask(n, members) && retire_free(n, members)) {
		r->active = false;
		return 1;
	}
	if (r->split) {
		retire_split(n);
		return 1;
	}
	retire_later(n);
	node_again(again, r->again_ns);
	return 0;
}
