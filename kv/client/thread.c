/* kv/client/thread.c - each thread's own context in a client: made when it
 * first calls, freed when it ends or with the client. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "kv/client/client.h"
#include "kv/client/op.h"
#include "kv/stats.h"

struct thread {
	struct kv_thread pub;
	struct thread_place place;
	struct threads *of;
	LIST_ENTRY(thread) link;
};

struct threads {
	struct kv *kv;
	pthread_key_t key;
	pthread_mutex_t lock; /* of what follows */
	LIST_HEAD(, thread) all;
	uint32_t made;
	struct kv_stats gone; /* counted by threads that ended */
};

/* The context that this thread used last: mostly the one it wants. */
static __thread struct {
	struct kv *kv;
	uint64_t generation;
	struct kv_thread *t;
} last;

static void thread_free(struct thread *th)
{
	op_pool_close(&th->pub);
	fab_close(th->pub.fab);
	free(th);
}

/* The thread ends. */
static void thread_ends(void *arg)
{
	struct thread *th = arg;
	struct threads *ts = th->of;

	pthread_mutex_lock(&ts->lock);
	LIST_REMOVE(th, link);
	stats_add(&ts->gone, &th->pub.stats);
	pthread_mutex_unlock(&ts->lock);
	thread_free(th);
}

int threads_open(struct kv *kv, struct threads **out)
{
	struct threads *ts = calloc(1, sizeof(*ts));
	int rc;

	if (ts == NULL)
		return -ENOMEM;
	rc = pthread_key_create(&ts->key, thread_ends);
	if (rc != 0) {
		free(ts);
		return -rc;
	}
	ts->kv = kv;
	pthread_mutex_init(&ts->lock, NULL);
	LIST_INIT(&ts->all);
	*out = ts;
	return 0;
}

void threads_close(struct threads *ts)
{
	struct thread *th;

	if (ts == NULL)
		return;
	pthread_key_delete(ts->key);
	while ((th = LIST_FIRST(&ts->all)) != NULL) {
		LIST_REMOVE(th, link);
		thread_free(th);
	}
	pthread_mutex_destroy(&ts->lock);
	free(ts);
}

static struct thread *thread_new(struct threads *ts)
{
	struct thread *th = calloc(1, sizeof(*th));

	if (th == NULL)
		return NULL;
	th->of = ts;
	th->pub.kv = ts->kv;
	if (fab_open(ts->kv->net, &th->pub.fab) != 0) {
		free(th);
		return NULL;
	}
	pthread_mutex_lock(&ts->lock);
	th->pub.lane = ts->made++;
	LIST_INSERT_HEAD(&ts->all, th, link);
	pthread_mutex_unlock(&ts->lock);
	return th;
}

struct kv_thread *threads_extra(struct threads *ts)
{
	struct thread *th = thread_new(ts);

	return th != NULL ? &th->pub : NULL;
}

static struct kv_thread *thread_find(struct kv *kv)
{
	struct threads *ts = client_of(kv)->threads;
	struct thread *th = pthread_getspecific(ts->key);

	if (th == NULL) {
		th = thread_new(ts);
		if (th == NULL)
			return NULL;
		pthread_setspecific(ts->key, th);
	}
	last.kv = kv;
	last.generation = client_of(kv)->generation;
	last.t = &th->pub;
	return &th->pub;
}

struct kv_thread *kv_thread(struct kv *kv)
{
	if (last.kv == kv && last.generation == client_of(kv)->generation)
		return last.t;
	return thread_find(kv);
}

struct thread_place *thread_place(struct kv_thread *t)
{
	return &((struct thread *)t)->place;
}

bool threads_before(struct threads *ts, uint64_t epoch)
{
	struct thread *th;
	bool found = false;

	pthread_mutex_lock(&ts->lock);
	LIST_FOREACH (th, &ts->all, link) {
		uint64_t e = atomic_load(&th->place.epoch);

		if (e != 0 && e < epoch)
			found = true;
	}
	pthread_mutex_unlock(&ts->lock);
	return found;
}

void threads_stats(struct threads *ts, struct kv_stats *sum)
{
	struct thread *th;

	pthread_mutex_lock(&ts->lock);
	*sum = ts->gone;
	LIST_FOREACH (th, &ts->all, link)
		stats_add(sum, &th->pub.stats);
	pthread_mutex_unlock(&ts->lock);
}
