/* kv/node/coord_fence.c - who does not adopt a view is ended before anything is
 * taken over [I6]. A client that is slow has its lease, one that is stopped
 * less; and one that is late while nobody needs anything has all the time. */
#include <errno.h>

#include "kv/log.h"
#include "kv/node/coord_impl.h"

struct late {
	uint32_t id;
	int32_t pid;
};

static uint64_t stopped_at(const struct coord *c)
{
	uint64_t lease = c->opts.lease_ms * COORD_MS;

	return lease <= COORD_STOPPED_NS
		       ? c->barrier_at
		       : c->barrier_at - lease + COORD_STOPPED_NS;
}

/* Clients that are late, and may be too late. */
static unsigned find_late(struct coord *c, uint64_t now, struct late *late,
			  uint64_t *again)
{
	const struct coord_client *cl;
	unsigned n = 0;

	pthread_mutex_lock(&c->lock);
	if (coord_told(c)->epoch < c->barrier) { /* nobody was told */
		pthread_mutex_unlock(&c->lock);
		return 0;
	}
	TAILQ_FOREACH (cl, &c->clients, link) {
		if (cl->acked >= c->barrier || cl->fenced)
			continue;
		if (c->opts.remote && cl->peer == NULL)
			continue; /* has a clock of its own */
		if (now < stopped_at(c) || now < cl->fence_at) {
			coord_again(again, now < cl->fence_at ? cl->fence_at
							      : stopped_at(c));
			continue;
		}
		if (n == COORD_LATE_MAX)
			break;
		late[n++] = (struct late){.id = cl->id, .pid = cl->pid};
	}
	pthread_mutex_unlock(&c->lock);
	return n;
}

static bool is_too_late(struct coord *c, const struct late *l, uint64_t now,
			uint64_t *again)
{
	uint64_t soon = now + 5 * COORD_POLL_NS;

	if (now >= c->barrier_at)
		return true;
	coord_again(again, soon < c->barrier_at ? soon : c->barrier_at);
	return l->pid != 0 && !c->opts.remote &&
	       c->opts.client_is_stopped != NULL &&
	       c->opts.client_is_stopped(c->opts.arg, l->pid);
}

static void drop_client(struct coord *c, uint32_t id)
{
	struct coord_client *cl;

	pthread_mutex_lock(&c->lock);
	cl = coord_client_find(c, id);
	if (cl != NULL) {
		fab_peer_cut(cl->peer);
		coord_client_died(c, cl);
	}
	pthread_mutex_unlock(&c->lock);
}

/* It cannot be ended from here: nothing is rebuilt until it adopts the view or
 * its connection breaks. Whoever looks at the status sees its name. */
static void stuck(struct coord *c, uint32_t id, uint64_t now)
{
	struct coord_client *cl;

	pthread_mutex_lock(&c->lock);
	cl = coord_client_find(c, id);
	if (cl != NULL) {
		cl->stuck = true;
		cl->fence_at = now + c->opts.lease_ms * COORD_MS;
		LOG(LOG_ERROR,
		    "client %u (pid %d, %s) holds up the pool's recovery and "
		    "cannot be ended: end it by hand",
		    id, (int)cl->pid, cl->what);
	}
	pthread_mutex_unlock(&c->lock);
}

/* Who is of another host, and will not be waited for: by the nodes. */
static void fence(struct coord *c, uint32_t id)
{
	struct coord_client *cl;

	pthread_mutex_lock(&c->lock);
	cl = coord_client_find(c, id);
	if (cl != NULL)
		coord_fence_begin(c, cl, COORD_UNHEARD);
	pthread_mutex_unlock(&c->lock);
}

static bool end_client(struct coord *c, int32_t pid)
{
	return c->opts.kill_client != NULL && pid != 0 &&
	       c->opts.kill_client(c->opts.arg, pid) == 0;
}

int coord_fence_step(struct coord *c, uint64_t now, uint64_t *again)
{
	struct late late[COORD_LATE_MAX];
	unsigned i, n = find_late(c, now, late, again);
	int did = 0;

	for (i = 0; i < n; i++) {
		if (!is_too_late(c, &late[i], now, again))
			continue;
		if (c->opts.remote) {
			fence(c, late[i].id);
			did = 1;
		} else if (end_client(c, late[i].pid)) {
			drop_client(c, late[i].id);
			did = 1;
		} else {
			stuck(c, late[i].id, now);
			coord_again(again, now + c->opts.lease_ms * COORD_MS);
		}
	}
	return did;
}
