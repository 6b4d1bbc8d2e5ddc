/* kv/node/coord_nodefence.c - clients of other hosts are fenced by the nodes.
 *
 *   fenced -> stored -> FENCE to every member, until each has answered or is
 *     DOWN: nothing of it takes effect in a member any more
 *     -> half a lease more: whatever it reads of a node that is DOWN for us,
 *        and not for it, it does not believe (kv/client/lease.h)
 *     -> it is dead: orphans, and what waits for it goes on */
#include <errno.h>

#include "kv/log.h"
#include "kv/node/coord_impl.h"

/* Longer than the client believes, by its own clock. */
static uint64_t disbelief_ns(const struct coord *c)
{
	return c->opts.lease_ms * COORD_MS * 5 / 8;
}

void coord_fence_begin(struct coord *c, struct coord_client *cl,
		       const char *why)
{
	if (cl->fenced)
		return;
	LOG(LOG_ERROR, "client %u (%s) %s: fenced", cl->id, cl->what, why);
	cl->fenced = true;
	cl->fence_untold = view_members(&c->view);
	coord_kick(c);
}

static void fence_end(struct coord *c, struct coord_call *call, int status)
{
	struct coord_client *cl = coord_client_find(c, call->req.fence.client);
	uint64_t bit = UINT64_C(1) << call->node;

	if (cl == NULL)
		return;
	cl->fence_out &= ~bit;
	if (status == 0) {
		cl->fence_untold &= ~bit;
	} else {
		cl->fence_again = fab_now(c->fab) + COORD_RETRY_NS;
		if (status != -EAGAIN)
			c->suspect |= bit;
	}
	coord_kick(c);
}

static void fence_tell(struct coord *c, struct coord_client *cl, uint32_t id)
{
	struct coord_call *call = coord_call_new(c, id, PROTO_FENCE, fence_end);

	if (call == NULL)
		return;
	call->req.fence =
		(struct proto_fence){.epoch = c->view.epoch, .client = cl->id};
	cl->fence_out |= UINT64_C(1) << id;
}

/* True if all have it. */
static bool fence_go_on(struct coord *c, struct coord_client *cl, uint64_t now,
			uint64_t *again)
{
	uint64_t due;

	cl->fence_untold &= view_members(&c->view);
	cl->fence_out &= view_members(&c->view);
	if (cl->fence_untold == 0)
		return true;
	if (now < cl->fence_again) {
		coord_again(again, cl->fence_again);
		return false;
	}
	due = cl->fence_untold & ~cl->fence_out;
	for (uint32_t id = 0; id < c->view.nodes; id++)
		if (due >> id & 1)
			fence_tell(c, cl, id);
	return false;
}

/* True if it is over with it. */
static bool is_over(struct coord *c, struct coord_client *cl, uint64_t now,
		    uint64_t *again)
{
	if (c->store.vs != NULL && !cl->fence_stored)
		return false;
	if (cl->fence_over == 0 && !fence_go_on(c, cl, now, again))
		return false;
	if (cl->fence_over == 0)
		cl->fence_over = now + disbelief_ns(c);
	coord_again(again, cl->fence_over);
	return now >= cl->fence_over;
}

/* Its connection broke: it has its lease to come back. */
static void look_after(struct coord *c, struct coord_client *cl, uint64_t now,
		       uint64_t *again)
{
	uint64_t lease = c->opts.lease_ms * COORD_MS;

	if (cl->peer != NULL || cl->fenced)
		return;
	if (!coord_is_sure(c)) { /* nor would we let it in again */
		cl->away_until = 0;
		return;
	}
	if (cl->away_until == 0)
		cl->away_until =
			now +
			(cl->restored ? COORD_REJOIN_LEASES * lease : lease);
	coord_again(again, cl->away_until);
	if (now >= cl->away_until)
		coord_fence_begin(c, cl, COORD_UNHEARD);
}

int coord_nodefence_step(struct coord *c, uint64_t now, uint64_t *again)
{
	struct coord_client *cl, *next;
	int did = 0;

	if (!c->opts.remote)
		return 0;
	pthread_mutex_lock(&c->lock);
	for (cl = TAILQ_FIRST(&c->clients); cl != NULL; cl = next) {
		next = TAILQ_NEXT(cl, link);
		look_after(c, cl, now, again);
		if (!cl->fenced || !is_over(c, cl, now, again))
			continue;
		if (cl->peer != NULL)
			fab_peer_cut(cl->peer);
		coord_client_died(c, cl);
		did = 1;
	}
	pthread_mutex_unlock(&c->lock);
	return did;
}
