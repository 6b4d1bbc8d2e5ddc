/* kv/node/ahead.c - see ahead.h. */
#include "kv/node/ahead.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "ec/rebuild.h"

struct ahead {
	struct rebuild *rebuild;
	pthread_t thread;
	pthread_mutex_t lock; /* of: */
	pthread_cond_t wake;
	uint64_t got_on; /* how often the rebuild did */
	bool stop;
};

/* Wait, unless there is @more, for the rebuild to get on. False: it is over. */
static bool goes_on(struct ahead *a, bool more, uint64_t *seen)
{
	bool on;

	pthread_mutex_lock(&a->lock);
	while (!more && !a->stop && a->got_on == *seen)
		pthread_cond_wait(&a->wake, &a->lock);
	*seen = a->got_on;
	on = !a->stop;
	pthread_mutex_unlock(&a->lock);
	return on;
}

static void *ahead_main(void *arg)
{
	struct ahead *a = arg;
	uint64_t seen = 0;
	bool more = false;

	while (goes_on(a, more, &seen))
		more = rebuild_map_ahead(a->rebuild);
	return NULL;
}

static void ahead_free(struct ahead *a)
{
	pthread_cond_destroy(&a->wake);
	pthread_mutex_destroy(&a->lock);
	free(a);
}

int ahead_open(struct rebuild *r, struct ahead **out)
{
	struct ahead *a = calloc(1, sizeof(*a));
	int rc;

	if (a == NULL)
		return -ENOMEM;
	a->rebuild = r;
	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->wake, NULL);
	rc = -pthread_create(&a->thread, NULL, ahead_main, a);
	if (rc != 0) {
		ahead_free(a);
		return rc;
	}
	*out = a;
	return 0;
}

void ahead_close(struct ahead *a)
{
	if (a == NULL)
		return;
	pthread_mutex_lock(&a->lock);
	a->stop = true;
	pthread_cond_signal(&a->wake);
	pthread_mutex_unlock(&a->lock);
	pthread_join(a->thread, NULL);
	ahead_free(a);
}

void ahead_go(struct ahead *a)
{
	if (a == NULL)
		return;
	pthread_mutex_lock(&a->lock);
	a->got_on++;
	pthread_cond_signal(&a->wake);
	pthread_mutex_unlock(&a->lock);
}
