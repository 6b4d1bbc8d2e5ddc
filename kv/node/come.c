/* kv/node/come.c - see come.h. */
#include "kv/node/come.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kv/hello.h"

#define EVERY_NS   UINT64_C(1000000000)
#define OFTEN_NS   UINT64_C(200000000) /* until it is let in */
#define TIMEOUT_NS UINT64_C(1000000000)

struct come {
	struct come_opts opts;
	char *coords;
	struct fab_net *net;
	struct fab *fab; /* of who calls come_turn() */
	int last;	 /* what was answered */
	bool member;	 /* that it is one */
	pthread_t thread;
	bool threaded;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop; /* under lock */
};

static int reach(struct come *c)
{
	struct proto_hello h;

	if (fab_net_up(c->net, FAB_NODE_COORD))
		return 0;
	hello_fill(&h, PROTO_NODE, c->opts.me.uuid);
	h.client = c->opts.me.id;
	return hello_attach_coord(c->net, c->coords, &h);
}

static int report(struct come *c, struct proto_came *out)
{
	struct proto_come me = c->opts.me;
	uint32_t len = 0;
	int rc = reach(c);

	if (rc != 0)
		return rc;
	me.epoch = node_epoch(c->opts.node);
	rc = fab_call_run(c->fab, FAB_NODE_COORD, PROTO_COME, &me, sizeof(me),
			  out, sizeof(*out), &len, TIMEOUT_NS);
	if (rc == 0 && len != sizeof(*out))
		rc = -EPROTO;
	/* Another one may lead: the next turn looks for it. */
	if (rc == -EAGAIN || rc == -ETIMEDOUT || rc == -EHOSTDOWN)
		fab_net_cut(c->net, FAB_NODE_COORD);
	return rc;
}

int come_turn(struct come *c)
{
	struct proto_came came = {0};
	int rc = report(c, &came);

	if (rc == -ESTALE && c->opts.on_refused != NULL)
		c->opts.on_refused(c->opts.arg);
	if (rc != c->last && c->opts.on_answer != NULL)
		c->opts.on_answer(c->opts.arg, rc, &came);
	c->last = rc;
	c->member = rc == 0 && came.state == PROTO_CAME_MEMBER;
	return rc;
}

/* Sleeps until the next turn; false: it is to stop. */
static bool come_wait(struct come *c)
{
	uint64_t at = fab_now(c->fab) + (c->member ? EVERY_NS : OFTEN_NS);
	struct timespec ts = {.tv_sec = (time_t)(at / 1000000000u),
			      .tv_nsec = (long)(at % 1000000000u)};
	bool stop;

	pthread_mutex_lock(&c->lock);
	while (!c->stop && pthread_cond_clockwait(&c->wake, &c->lock,
						  CLOCK_MONOTONIC, &ts) == 0)
		;
	stop = c->stop;
	pthread_mutex_unlock(&c->lock);
	return !stop;
}

static void *come_main(void *arg)
{
	struct come *c = arg;

	do
		come_turn(c);
	while (come_wait(c));
	return NULL;
}

static void come_free(struct come *c)
{
	fab_close(c->fab);
	fab_net_close(c->net);
	pthread_cond_destroy(&c->wake);
	pthread_mutex_destroy(&c->lock);
	free(c->coords);
	free(c);
}

static int come_start(struct come *c)
{
	int rc = c->opts.net(c->opts.arg, &c->net);

	if (rc == 0)
		rc = fab_open(c->net, &c->fab);
	if (rc == 0 && c->opts.threads) {
		rc = -pthread_create(&c->thread, NULL, come_main, c);
		c->threaded = rc == 0;
	}
	return rc;
}

int come_open(const struct come_opts *opts, struct come **out)
{
	struct come *c = calloc(1, sizeof(*c));
	int rc = -ENOMEM;

	if (c == NULL)
		return rc;
	c->opts = *opts;
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->wake, NULL);
	c->coords = strdup(opts->coords);
	if (c->coords != NULL)
		rc = come_start(c);
	if (rc != 0) {
		come_free(c);
		return rc;
	}
	*out = c;
	return 0;
}

void come_close(struct come *c)
{
	if (c == NULL)
		return;
	pthread_mutex_lock(&c->lock);
	c->stop = true;
	pthread_cond_signal(&c->wake);
	pthread_mutex_unlock(&c->lock);
	if (c->threaded)
		pthread_join(c->thread, NULL);
	come_free(c);
}
