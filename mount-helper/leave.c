/* mount-helper/leave.c - a look at the session every now and then. */
#define FUSE_USE_VERSION 314
#include "mount-helper/leave.h"

#include <errno.h>
#include <fuse3/fuse_lowlevel.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "kv/kv.h"

#define LOOK_NS 250000000

struct leave {
	struct fuse_session *se;
	struct kv *kv;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop; /* under the lock */
};

/* Waits for the next look. Is there to be one? */
static bool goes_on(struct leave *l)
{
	struct timespec until;
	bool stop;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += LOOK_NS;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_mutex_lock(&l->lock);
	if (!l->stop)
		pthread_cond_timedwait(&l->wake, &l->lock, &until);
	stop = l->stop;
	pthread_mutex_unlock(&l->lock);
	return !stop;
}

static void *leave_main(void *arg)
{
	struct leave *l = arg;

	while (goes_on(l))
		if (fuse_session_exited(l->se)) {
			kv_leaving(l->kv);
			break;
		}
	return NULL;
}

int leave_watch(struct fuse_session *se, struct kv *kv, struct leave **out)
{
	struct leave *l = calloc(1, sizeof(*l));
	pthread_condattr_t attr;
	int err;

	if (l == NULL)
		return -ENOMEM;
	l->se = se;
	l->kv = kv;
	pthread_mutex_init(&l->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&l->wake, &attr);
	pthread_condattr_destroy(&attr);
	err = pthread_create(&l->thread, NULL, leave_main, l);
	if (err != 0) {
		pthread_cond_destroy(&l->wake);
		pthread_mutex_destroy(&l->lock);
		free(l);
		return -err;
	}
	*out = l;
	return 0;
}

void leave_close(struct leave *l)
{
	if (l == NULL)
		return;
	pthread_mutex_lock(&l->lock);
	l->stop = true;
	pthread_cond_signal(&l->wake);
	pthread_mutex_unlock(&l->lock);
	pthread_join(l->thread, NULL);
	pthread_cond_destroy(&l->wake);
	pthread_mutex_destroy(&l->lock);
	free(l);
}
