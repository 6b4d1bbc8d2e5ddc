#include "fs/timer.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "fs/clock.h"
#include "fs/fs_impl.h"
#include "fs/itable.h"
#include "fs/orphan.h"
#include "fs/returns.h"
#include "fs/session.h"
#include "fs/thread.h"

/* It looks around at least so often: whether there is work, or a second mount.
 */
#define IDLE_MS 500u

struct fs_timer {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	pthread_t thread;
	bool started, stop;
	bool work;   /* times wait to be settled */
	bool hurry;  /* somebody waits for the orphans */
	bool forget; /* the kernel is to */
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

/* Until @ms later, or told to stop or to hurry. Lock: held. */
static void pause_for(struct fs_timer *t, uint32_t ms)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	at.tv_sec += ms / 1000;
	at.tv_nsec += (long)(ms % 1000) * 1000000;
	if (at.tv_nsec >= 1000000000) {
		at.tv_nsec -= 1000000000;
		at.tv_sec++;
	}
	while (!t->stop && !t->hurry && !t->forget &&
	       pthread_cond_timedwait(&t->wake, &t->lock, &at) != ETIMEDOUT)
		;
	t->hurry = false;
}

static uint64_t clock_ms(void)
{
	return fs_clock_ns() / 1000000;
}

/* What is pending is settled once in FS_SETTLE_MS. Returns whether it was time
 * to. Lock: held. */
static bool is_due(struct fs_timer *t, uint64_t *settled_ms)
{
	uint64_t now = clock_ms();

	if (!t->work || now - *settled_ms < FS_SETTLE_MS)
		return false;
	t->work = false;
	*settled_ms = now;
	return true;
}

static void *timer_main(void *arg)
{
	struct fs *fs = arg;
	struct fs_timer *t = fs->timer;
	uint64_t settled_ms = clock_ms();
	uint32_t wait_ms = 0;

	pthread_mutex_lock(&t->lock);
	while (!t->stop) {
		bool due, forget, more = false;

		pause_for(t, wait_ms < IDLE_MS ? wait_ms : IDLE_MS);
		due = is_due(t, &settled_ms);
		forget = t->forget;
		t->forget = false;
		pthread_mutex_unlock(&t->lock);
		if (forget)
			fs_itable_each_open(fs, fs_session_doubt_pages);
		if (due)
			more = fs_itable_settle_all(fs, FS_SETTLE_MS / 2);
		fs_returns_tick(fs);
		wait_ms = fs_orphan_tick(fs);
		pthread_mutex_lock(&t->lock);
		t->work = t->work || more;
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

int fs_timer_start(struct fs *fs)
{
	struct fs_timer *t = fs->timer;
	int rc;

	if (t->started)
		return 0;
	rc = fs_thread_start(&t->thread, timer_main, fs);
	t->started = rc == 0;
	return rc;
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

/* It looks for work now and then, so there is no need to wake it. */
void fs_timer_wake(struct fs_timer *t)
{
	pthread_mutex_lock(&t->lock);
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

void fs_timer_hurry(struct fs_timer *t)
{
	pthread_mutex_lock(&t->lock);
	t->hurry = true;
	pthread_cond_signal(&t->wake);
	pthread_mutex_unlock(&t->lock);
}

bool fs_timer_runs(struct fs_timer *t)
{
	return t->started;
}
