/* kv/node/coord_anew.c - nothing is left, and the pool begins again: all hosts
 * of a pool that lies in their memory have lost power.
 *
 *   no node is UP -> COMING ones are given up, clients fenced: shut
 *     -> no member, no client, that is stored -> forming (coord_form.c)
 *     -> all have reported -> the first view, in an epoch after the last one's
 *
 * A node leaves UP when another process serves in its place, or by its silence
 * while the code bears that. So when none is UP all shards of the index are
 * lost, and no block can be named any more. One that is UP and silent may have
 * its memory still: as long as there is one nothing is begun.
 *
 * A1. Nothing of before gets into the new pool. Who has been in a view, or has
 *     kept blocks of his last life, is refused, and another process begins in
 *     his place; clients of before are refused as those who were fenced are,
 *     and no id is given twice. */
#include "kv/log.h"
#include "kv/node/coord_impl.h"
#include "kv/node/rounds.h"

#define WHY "was in the pool when all of it was lost"

bool coord_anew_refuses(const struct coord *c, const struct proto_come *rq)
{
	return c->anew && (rq->epoch != 0 || rq->former != 0);
}

/* Who waits reports again, a moment later, and is looked at then. */
static void shut(struct coord *c)
{
	struct coord_client *cl;

	LOG(LOG_ERROR,
	    "view %llu: none of the memory nodes is left that the pool lay in: "
	    "all that the pool held is lost, and it begins again, empty, when "
	    "all nodes have reported",
	    (unsigned long long)c->view.epoch);
	c->anew = true;
	c->dead |= view_members(&c->view);
	for (uint32_t id = 0; id < c->view.nodes; id++)
		c->node[id].came = false;
	TAILQ_FOREACH (cl, &c->clients, link)
		coord_fence_begin(c, cl, WHY);
	coord_kick(c);
}

/* What is stored says that nobody is left: who leads next goes on from there.
 */
static bool is_over(const struct coord *c)
{
	return view_members(&c->view) == 0 && TAILQ_EMPTY(&c->clients) &&
	       TAILQ_EMPTY(&c->orphans) && !c->store.putting &&
	       coord_told(c)->epoch == c->view.epoch;
}

int coord_anew_step(struct coord *c)
{
	int did = 0;

	pthread_mutex_lock(&c->lock);
	if (c->anew) {
		did = is_over(c);
		c->forming = is_over(c);
	} else if (c->opts.remote && view_up(&c->view) == 0) {
		shut(c);
		did = 1;
	}
	pthread_mutex_unlock(&c->lock);
	return did;
}

void coord_anew_view(struct coord *c, const struct view *last)
{
	c->view.epoch = last->epoch + 1;
	c->view.index_version = last->index_version + 1;
	for (uint32_t i = 0; i < c->view.nodes; i++)
		c->least[i] = c->view.epoch << ROUNDS_EPOCH_SHIFT;
	c->scrub = (struct proto_scrub){0};
	c->anew = false;
}
