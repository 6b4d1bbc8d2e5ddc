/* kv/client/clean.c - when a client cleans; how: clean_block.c. */
#include "kv/client/clean.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "kv/client/background.h"
#include "kv/client/clean_impl.h"
#include "kv/client/lease.h"

#define DRY_NS	    UINT64_C(500000000) /* "not worth it" is believed so long */
#define FAILED_NS   UINT64_C(20000000)
#define DRY_TIMES   15u
#define STUCK_TIMES 50u

int clean_open(struct clean **out)
{
	struct clean *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return -ENOMEM;
	pthread_mutex_init(&c->lock, NULL);
	pthread_mutex_init(&c->vacate_lock, NULL);
	pthread_cond_init(&c->wake, NULL);
	c->vacate_most = 1;
	*out = c;
	return 0;
}

void clean_close(struct clean *c)
{
	if (c == NULL)
		return;
	free(c->recs);
	free(c->image);
	free(c->dead);
	pthread_cond_destroy(&c->wake);
	pthread_mutex_destroy(&c->vacate_lock);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

void clean_want(struct clean *c, enum clean_want want)
{
	int was = CLEAN_NOT;

	if (c == NULL || atomic_load(&c->wanted) >= (int)want)
		return;
	if (!atomic_compare_exchange_strong(&c->wanted, &was, (int)want)) {
		atomic_store(&c->wanted, CLEAN_FULL); /* or one round more */
		return;
	}
	pthread_mutex_lock(&c->lock);
	pthread_cond_signal(&c->wake);
	pthread_mutex_unlock(&c->lock);
}

bool clean_helps(struct clean *c, uint64_t now)
{
	uint64_t dry;

	if (c == NULL || !atomic_load(&c->started))
		return false;
	dry = atomic_load(&c->dry_ns);
	return dry == 0 || now - dry > DRY_NS;
}

/* --- the thread ---------------------------------------------------------- */

/* CLEAN_NOT: told to stop. */
static enum clean_want wait_for_want(struct clean *c)
{
	int want = CLEAN_NOT;

	pthread_mutex_lock(&c->lock);
	while (!c->stop && atomic_load(&c->wanted) == CLEAN_NOT)
		pthread_cond_wait(&c->wake, &c->lock);
	if (!c->stop)
		want = atomic_exchange(&c->wanted, CLEAN_NOT);
	pthread_mutex_unlock(&c->lock);
	return (enum clean_want)want;
}

/* Who is refused believes it for a while; whoever only wanted some more has
 * nothing to say about that. No block worth it, or no room for what is moved:
 * what is on its way through the nodes may change that. */
static void note(struct clean *c, enum clean_want want, int rc, uint64_t now)
{
	if (rc == 1) {
		c->stuck = 0;
		atomic_store(&c->dry_ns, 0);
	} else if (want == CLEAN_FULL && (rc == 0 || rc == -ENOSPC) &&
		   ++c->stuck >= (rc == 0 ? DRY_TIMES : STUCK_TIMES)) {
		atomic_store(&c->dry_ns, now);
	}
}

static void *cleaner(void *arg)
{
	struct kv *kv = arg;
	struct clean *c = kv->clean;
	struct kv_thread *t = kv_thread(kv);
	enum clean_want want;
	int rc;

	while (t != NULL && (want = wait_for_want(c)) != CLEAN_NOT) {
		rc = lease_is_dead(kv->lease) ? 0 : clean_block(kv, t, want);
		note(c, want, rc, fab_now(t->fab));
		if (rc < 0 || (rc == 0 && want == CLEAN_FULL))
			fab_sleep(t->fab, FAILED_NS);
	}
	return NULL;
}

int clean_start(struct kv *kv)
{
	struct clean *c = kv->clean;
	int rc;

	if (c == NULL)
		return 0;
	rc = background_thread(&c->thread, cleaner, kv);
	atomic_store(&c->started, rc == 0);
	return rc;
}

void clean_stop(struct kv *kv)
{
	struct clean *c = kv->clean;

	if (c == NULL || !atomic_load(&c->started))
		return;
	pthread_mutex_lock(&c->lock);
	c->stop = true;
	pthread_cond_signal(&c->wake);
	pthread_mutex_unlock(&c->lock);
	pthread_join(c->thread, NULL);
	atomic_store(&c->started, false);
}
