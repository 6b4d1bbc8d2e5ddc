/* kv/client/background.c - watching the view, and space's chores.
 *
 * The watcher sits in a WATCH call until there is a newer view, adopts it, and
 * says so with the next WATCH. The worker looks every WORK_NS while the client
 * changes things, and sleeps on a condition when it has not for a while. */
#include "kv/client/background.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kv/client/adopt.h"
#include "kv/client/clean.h"
#include "kv/client/client.h"
#include "kv/client/lease.h"
#include "kv/client/space.h"
#include "kv/hello.h"
#include "kv/log.h"
#include "kv/proto.h"

#define WATCH_MS	2000u
#define WATCH_GRACE_NS	UINT64_C(3000000000)
#define WATCH_NOW_NS	UINT64_C(200000000)
#define WATCH_AGAIN_NS	UINT64_C(50000000)
#define REJOIN_AGAIN_NS UINT64_C(200000000)
#define WATCH_OPEN_NS	UINT64_C(100000) /* operations are settling */
#define WORK_NS		UINT64_C(50000000)
#define WORK_SOON_NS	UINT64_C(2000000)
#define WORK_IDLE	8u /* rounds with nothing to do, then sleep */

/* --- the view ------------------------------------------------------------- */

static int adopt(struct kv *kv, struct kv_thread *t, struct proto_view_set *set)
{
	for (uint32_t i = 0; i < 64; i++)
		set->address[i][PROTO_ADDRESS_BYTES - 1] = '\0';
	return member_adopt(kv->member, t, set);
}

/* Ask for a view newer than ours, @wait_ms long. 1 adopted, 0 none, -errno. */
static int watch(struct kv *kv, struct kv_thread *t, uint32_t wait_ms,
		 uint64_t timeout_ns)
{
	struct proto_watch msg = {.epoch = member_settled(kv->member),
				  .wait_ms = wait_ms};
	struct proto_view_set set;
	uint32_t len = 0;
	int rc;

	member_attach(kv->member, t);
	rc = fab_call_run(t->fab, FAB_NODE_COORD, PROTO_WATCH, &msg,
			  sizeof(msg), &set, sizeof(set), &len, timeout_ns);
	if (rc != 0)
		return rc;
	if (len != sizeof(set))
		return -EPROTO;
	return adopt(kv, t, &set);
}

/* --- a coordinator that is lost ------------------------------------------- */

static int say_again(struct kv *kv, struct kv_thread *t, uint64_t settled,
		     struct proto_view_set *set)
{
	struct proto_rejoin msg = {
		.epoch = settled, .client = kv->id, .pid = getpid()};
	uint32_t len = 0;
	int rc;

	client_what(msg.what, sizeof(msg.what));
	rc = fab_call_run(t->fab, FAB_NODE_COORD, PROTO_REJOIN, &msg,
			  sizeof(msg), set, sizeof(*set), &len,
			  lease_ns(kv->lease));
	return rc == 0 && len != sizeof(*set) ? -EPROTO : rc;
}

/* The one that was lost is asked last, as its host may not even refuse us, or
 * it still answers though it does not lead any more. */
static int find_coord(struct kv *kv, struct kv_thread *t, uint64_t settled,
		      struct proto_view_set *set)
{
	struct client *c = client_of(kv);
	struct proto_hello h;
	int rc;

	fab_net_cut(kv->net, FAB_NODE_COORD);
	hello_fill(&h, PROTO_CLIENT, c->uuid);
	h.client = kv->id;
	h.epoch = member_epoch(kv->member);
	rc = hello_attach_coord(kv->net, c->coords, &h);
	if (rc == 0)
		rc = say_again(kv, t, settled, set);
	if (rc == -ESTALE)
		lease_die(kv->lease);
	return rc;
}

static int rejoin(struct kv *kv, struct kv_thread *t)
{
	struct proto_view_set set;
	int rc = find_coord(kv, t, member_settled(kv->member), &set);

	return rc != 0 ? rc : adopt(kv, t, &set);
}

static bool may_rejoin(struct kv *kv)
{
	return kv->lease != NULL && client_of(kv)->coords != NULL &&
	       !lease_is_dead(kv->lease);
}

void background_held_up(struct kv *kv, struct kv_thread *t)
{
	struct proto_view_set set; /* the next WATCH brings it, or a newer */

	if (!may_rejoin(kv) || atomic_load(&client_of(kv)->stopping) ||
	    fab_net_up(kv->net, FAB_NODE_COORD))
		return;
	if (find_coord(kv, t, member_told(kv->member), &set) != 0)
		fab_sleep(t->fab, WATCH_AGAIN_NS);
}

/* The answer to WATCH comes within half a lease, so that there is time to find
 * another coordinator when it does not. */
static int watch_once(struct kv *kv, struct kv_thread *t)
{
	uint64_t ns = WATCH_MS * UINT64_C(1000000);
	int rc;

	if (kv->lease == NULL)
		return watch(kv, t, WATCH_MS, ns + WATCH_GRACE_NS);
	ns = lease_ns(kv->lease);
	rc = watch(kv, t, (uint32_t)(ns / 2000000), ns);
	if (rc == -ESTALE)
		lease_die(kv->lease);
	if (rc < 0 && may_rejoin(kv) && !atomic_load(&client_of(kv)->stopping))
		rc = rejoin(kv, t);
	return rc;
}

static void *watcher(void *arg)
{
	struct kv *kv = arg;
	struct client *c = client_of(kv);
	struct kv_thread *t = kv_thread(kv);
	int rc;

	while (t != NULL && !atomic_load(&c->stopping)) {
		rc = watch_once(kv, t);
		if (rc == 0 &&
		    member_settled(kv->member) != member_epoch(kv->member))
			fab_sleep(t->fab, WATCH_OPEN_NS);
		if (rc < 0 && !atomic_load(&c->stopping)) {
			if (rc == -EBADMSG || rc == -EPROTO)
				LOG(LOG_ERROR, "the coordinator sent a view "
					       "that makes no sense");
			fab_sleep(t->fab, rc == -EAGAIN ? REJOIN_AGAIN_NS
							: WATCH_AGAIN_NS);
		}
	}
	return NULL;
}

/* --- space ---------------------------------------------------------------- */

void client_kick(struct kv *kv)
{
	struct client *c = client_of(kv);

	if (!atomic_load_explicit(&c->sleeping, memory_order_relaxed))
		return;
	pthread_mutex_lock(&c->lock);
	atomic_store(&c->sleeping, false);
	pthread_cond_signal(&c->kick);
	pthread_mutex_unlock(&c->lock);
}

/* Space has chores for now, however long the worker meant to wait. */
static void space_woke(void *arg)
{
	struct client *c = client_of(arg);

	pthread_mutex_lock(&c->lock);
	atomic_store(&c->sleeping, false);
	pthread_cond_signal(&c->kick);
	pthread_mutex_unlock(&c->lock);
}

static void wait_ns(struct client *c, uint64_t ns)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	ns += (uint64_t)ts.tv_nsec;
	ts.tv_sec += (time_t)(ns / 1000000000u);
	ts.tv_nsec = (long)(ns % 1000000000u);
	pthread_cond_timedwait(&c->kick, &c->lock, &ts);
}

/* Under lock. Changes since the flag was seen false are in the next round, as
 * the flag is set before that round begins. */
static void wait_for_work(struct client *c, int did, unsigned idle)
{
	if (c->stop)
		return;
	if (did > 0)
		wait_ns(c, WORK_SOON_NS);
	else if (idle < WORK_IDLE)
		wait_ns(c, WORK_NS);
	else
		while (!c->stop && atomic_load(&c->sleeping))
			pthread_cond_wait(&c->kick, &c->lock);
}

static void *worker(void *arg)
{
	struct kv *kv = arg;
	struct client *c = client_of(kv);
	struct kv_thread *t = kv_thread(kv);
	unsigned idle = 0;
	bool stop = t == NULL;
	int did;

	while (!stop) {
		atomic_store(&c->sleeping, idle + 1 >= WORK_IDLE);
		did = space_background(kv->space, t, false);
		idle = did == 0 && !space_pending(kv->space) ? idle + 1 : 0;
		pthread_mutex_lock(&c->lock);
		if (idle >= WORK_IDLE && !atomic_load(&c->sleeping))
			idle = 0;
		wait_for_work(c, did, idle);
		if (idle >= WORK_IDLE)
			idle = 0;
		stop = c->stop;
		pthread_mutex_unlock(&c->lock);
	}
	return NULL;
}

/* It has a context of its own, as the threads have: in a simulator its caller
 * shares one with operations under way, whose completions it must not take. */
int kv_background(struct kv *kv)
{
	struct client *c = client_of(kv);
	struct kv_thread *t;
	int did, rc;

	if (c->chores == NULL)
		c->chores = threads_extra(c->threads);
	t = c->chores;
	if (t == NULL)
		return -ENOMEM;
	/* One at a time: who comes while another adopts a view must not tell
	 * the coordinator that it has been. */
	if (atomic_exchange(&c->busy, true))
		return 0;
	did = watch(kv, t, 0, WATCH_NOW_NS);
	if (did == -ESTALE)
		lease_die(kv->lease);
	else if (did < 0 && may_rejoin(kv))
		did = rejoin(kv, t);
	rc = space_background(kv->space, t, false);
	atomic_store(&c->busy, false);
	return did > 0 || rc > 0;
}

void kv_on_shut_out(struct kv *kv, void (*fn)(void *arg), void *arg)
{
	lease_on_death(kv->lease, fn, arg);
}

int kv_lease_work(struct kv *kv)
{
	return lease_work(kv->lease);
}

int kv_sync(struct kv *kv)
{
	struct kv_thread *t = kv_thread(kv);
	int rc;

	if (t == NULL)
		return -ENOMEM;
	do {
		rc = space_background(kv->space, t, true);
	} while (rc > 0);
	return rc;
}

/* --- life ----------------------------------------------------------------- */

/* Signals are for the program's own threads. */
int background_thread(pthread_t *thread, void *(*run)(void *), void *arg)
{
	sigset_t all, old;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(thread, NULL, run, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -rc;
}

int background_start(struct kv *kv)
{
	struct client *c = client_of(kv);
	int rc;

	space_on_work(kv->space, space_woke, kv);
	rc = background_thread(&c->worker, worker, kv);
	if (rc != 0)
		return rc;
	c->threaded = true;
	rc = background_thread(&c->watcher, watcher, kv);
	if (rc != 0)
		goto err_worker;
	rc = lease_start(kv->lease);
	if (rc != 0)
		goto err_watcher;
	rc = clean_start(kv);
	if (rc != 0)
		goto err_lease;
	return 0;

err_lease:
	lease_stop(kv->lease);
err_watcher:
	background_leaving(kv);
	background_stop_watcher(kv);
	c->threaded = true;
err_worker:
	background_stop_worker(kv);
	c->threaded = false;
	return rc;
}

void background_stop_worker(struct kv *kv)
{
	struct client *c = client_of(kv);

	if (!c->threaded)
		return;
	pthread_mutex_lock(&c->lock);
	c->stop = true;
	pthread_cond_signal(&c->kick);
	pthread_mutex_unlock(&c->lock);
	pthread_join(c->worker, NULL);
}

void background_leaving(struct kv *kv)
{
	atomic_store(&client_of(kv)->stopping, true);
}

void background_stop_watcher(struct kv *kv)
{
	struct client *c = client_of(kv);

	if (!c->threaded)
		return;
	lease_stop(kv->lease);
	fab_net_cut(kv->net, FAB_NODE_COORD); /* ends its call */
	pthread_join(c->watcher, NULL);
	c->threaded = false;
}
