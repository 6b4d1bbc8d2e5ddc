/* kv/node/coord_link.c - nodes of other hosts. A connection that broke says
 * nothing of the node behind it: it is attached to again, by a thread of its
 * own, as that may take seconds. What tells: that another process answers in
 * its place (-ESTALE), or that nobody does for too long (coord_ping.c). */
#include <errno.h>
#include <string.h>

#include "kv/node/coord_impl.h"

#define LINK_AGAIN_NS (100 * COORD_MS)

/* Whose turn it is; -1: nobody's. */
static int take(struct coord *c, char address[PROTO_ADDRESS_BYTES],
		uint32_t *life)
{
	uint64_t wanted;
	uint32_t id;

	pthread_mutex_lock(&c->lock);
	wanted = c->link_want & view_members(&c->view);
	c->link_want = wanted;
	for (id = 0; wanted >> id != 0 && !(wanted >> id & 1);)
		id++;
	if (wanted != 0) {
		c->link_want &= ~(UINT64_C(1) << id);
		memcpy(address, c->node[id].address, PROTO_ADDRESS_BYTES);
		*life = c->node[id].life;
	}
	pthread_mutex_unlock(&c->lock);
	return wanted != 0 ? (int)id : -1;
}

int coord_link_work(struct coord *c)
{
	char address[PROTO_ADDRESS_BYTES];
	uint32_t life;
	int id = take(c, address, &life), rc;

	if (id < 0)
		return 0;
	rc = coord_attach(c, (uint32_t)id, address);
	pthread_mutex_lock(&c->lock);
	if (rc == -ESTALE && life == c->node[id].life)
		c->dead |= UINT64_C(1) << id;
	c->suspect |= UINT64_C(1) << id; /* to be asked, or tried again */
	coord_kick(c);
	pthread_mutex_unlock(&c->lock);
	/* To go on would be to take a node for dead that is not. */
	if (rc == -ENODEV && c->opts.on_no_way != NULL)
		c->opts.on_no_way(c->opts.arg);
	return 1;
}

void coord_link_want(struct coord *c, uint32_t id)
{
	pthread_mutex_lock(&c->lock);
	c->link_want |= UINT64_C(1) << id;
	pthread_cond_signal(&c->link_wake);
	pthread_mutex_unlock(&c->lock);
}

static void link_wait(struct coord *c)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_nsec += (long)LINK_AGAIN_NS;
	if (ts.tv_nsec >= 1000000000) {
		ts.tv_nsec -= 1000000000;
		ts.tv_sec++;
	}
	pthread_mutex_lock(&c->lock);
	if (!c->stop && c->link_want == 0)
		pthread_cond_wait(&c->link_wake, &c->lock);
	else if (!c->stop) /* not over and over */
		pthread_cond_clockwait(&c->link_wake, &c->lock, CLOCK_MONOTONIC,
				       &ts);
	pthread_mutex_unlock(&c->lock);
}

static bool link_goes_on(struct coord *c)
{
	bool stop;

	pthread_mutex_lock(&c->lock);
	stop = c->stop;
	pthread_mutex_unlock(&c->lock);
	return !stop;
}

static void *link_main(void *arg)
{
	struct coord *c = arg;

	while (link_goes_on(c)) {
		link_wait(c);
		while (link_goes_on(c) && coord_link_work(c) != 0)
			;
	}
	return NULL;
}

int coord_link_start(struct coord *c)
{
	int rc;

	if (!c->opts.remote || !c->opts.threads)
		return 0;
	rc = -pthread_create(&c->link_thread, NULL, link_main, c);
	c->linked = rc == 0;
	return rc;
}

void coord_link_stop(struct coord *c)
{
	if (!c->linked)
		return;
	pthread_mutex_lock(&c->lock);
	pthread_cond_signal(&c->link_wake);
	pthread_mutex_unlock(&c->lock);
	pthread_join(c->link_thread, NULL);
	c->linked = false;
}
