#include "fs/timer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "fs/fs_impl.h"
#include "fs/itable.h"
#include "fs/orphan.h"
#include "fs/session.h"

struct fs_timer {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	pthread_t thread;
	bool started, stop, work, forget;
};

int fs_timer_new(struct fs_timer **out)
{
	struct fs_timer *t = calloc(1, sizeof(*t));
	pthread_condattr_t attr;

	if (t == NULL)
		return -ENOMEM;
	pthread_mutex_init(&t->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&t->wake, &attr);
	pthread_condattr_destroy(&attr);
	*out = t;
	return 0;
}

void fs_timer_free(struct fs_timer *t)
{
	if (t == NULL)
		return;
	pthread_cond_destroy(&t->wake);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

/* Until @ms later, or told to stop, or (if @idle) woken. Lock: held. */
static void pause_for(struct fs_timer *t, uint32_t ms, bool idle)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	at.tv_sec += ms / 1000;
	while (!t->stop && !t->forget && !(idle && t->work) &&
	       pthread_cond_timedwait(&t->wake, &t->lock, &at) != ETIMEDOUT)
		;
}

static void *timer_main(void *arg)
{
	struct fs *fs = arg;
	struct fs_timer *t = fs->timer;

	pthread_mutex_lock(&t->lock);
	while (!t->stop) {
		bool more, forget;

		if (!t->work)
			pause_for(t, FS_ORPHAN_SIGN_MS, true);
		if (t->work)
			pause_for(t, FS_SETTLE_MS, false);
		t->work = false;
		forget = t->forget;
		t->forget = false;
		pthread_mutex_unlock(&t->lock);
		if (forget)
			fs_itable_each_open(fs, fs_session_doubt_pages);
		more = fs_itable_settle_all(fs, FS_SETTLE_MS / 2);
		more = fs_orphan_tick(fs) || more;
		pthread_mutex_lock(&t->lock);
		t->work = t->work || more;
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

/* Signals are the session's: its main thread waits for them. */
int fs_timer_start(struct fs *fs)
{
	struct fs_timer *t = fs->timer;
	sigset_t all, was;
	int err;

	if (t->started)
		return 0;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &was);
	err = pthread_create(&t->thread, NULL, timer_main, fs);
	pthread_sigmask(SIG_SETMASK, &was, NULL);
	t->started = err == 0;
	return -err;
}

void fs_timer_stop(struct fs_timer *t)
{
	if (t == NULL || !t->started)
		return;
	pthread_mutex_lock(&t->lock);
	t->stop = true;
	pthread_cond_signal(&t->wake);
	pthread_mutex_unlock(&t->lock);
	pthread_join(t->thread, NULL);
	t->started = false;
}

/* Once it knows of work it waits for the time to do it: no need to wake it for
 * each write that touches a file. */
void fs_timer_wake(struct fs_timer *t)
{
	pthread_mutex_lock(&t->lock);
	if (!t->work)
		pthread_cond_signal(&t->wake);
	t->work = true;
	pthread_mutex_unlock(&t->lock);
}

void fs_timer_forget(struct fs_timer *t)
{
	pthread_mutex_lock(&t->lock);
	t->forget = true;
	pthread_cond_signal(&t->wake);
	pthread_mutex_unlock(&t->lock);
}
