/* kv/client/lease.c - see lease.h. Two questions are out at most: one to the
 * coordinator, and, when that one stays unanswered, one to all nodes. */
#include "kv/client/lease.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "kv/client/member.h"
#include "kv/log.h"
#include "kv/proto.h"

#define MS	   UINT64_C(1000000)
#define AGAIN_NS   (20 * MS) /* what failed is asked again after */
#define USED_NS	   (10 * MS) /* how exactly it is known when it was used */
#define HOLD_FIRST UINT64_C(20000)
#define HOLD_LAST  MS

/* A question: to some nodes at once. */
struct asked {
	struct fab_op op[FAB_NODES_MAX];
	struct fab_batch batch;
	bool out;
	uint64_t at;	/* when it was asked */
	uint64_t again; /* not before */
};

struct lease {
	struct kv *kv;
	struct fab *fab; /* work()'s */
	uint64_t ns;	 /* an answer is good for so long */
	_Atomic uint64_t until, used;
	_Atomic uint64_t vain; /* since when it is asked for in vain; or 0 */
	/* And since when each node does not answer. */
	_Atomic uint64_t silent[FAB_NODES_MAX];
	_Atomic bool dead, leaving;
	struct asked coord, nodes;
	struct proto_beaten beaten;
	bool unheard; /* the coordinator did not answer the last one */
	pthread_t thread;
	bool threaded;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t kick;
	bool kicked, stop;
	pthread_mutex_t told; /* of what follows; held while it is called */
	void (*on_death)(void *arg);
	void *on_death_arg;
};

int lease_open(struct kv *kv, uint32_t lease_ms, struct lease **out)
{
	struct lease *l = calloc(1, sizeof(*l));
	int rc;

	if (l == NULL)
		return -ENOMEM;
	rc = fab_open(kv->net, &l->fab);
	if (rc != 0) {
		free(l);
		return rc;
	}
	l->kv = kv;
	l->ns = lease_ms * MS / 2;
	pthread_mutex_init(&l->lock, NULL);
	pthread_mutex_init(&l->told, NULL);
	pthread_cond_init(&l->kick, NULL);
	*out = l;
	return 0;
}

/* What is out ends with its deadline. */
static void drain(struct lease *l)
{
	struct fab_batch *done;

	while (l->coord.out || l->nodes.out)
		if (fab_poll(l->fab, &done, 1, l->ns) == 1)
			((struct asked *)done->user)->out = false;
}

void lease_close(struct lease *l)
{
	if (l == NULL)
		return;
	drain(l);
	fab_close(l->fab);
	pthread_cond_destroy(&l->kick);
	pthread_mutex_destroy(&l->lock);
	pthread_mutex_destroy(&l->told);
	free(l);
}

uint64_t lease_ns(const struct lease *l)
{
	return l->ns;
}

bool lease_is_dead(const struct lease *l)
{
	return l != NULL &&
	       atomic_load_explicit(&l->dead, memory_order_acquire);
}

/* Once: who is told is forgotten. */
static void tell(struct lease *l)
{
	pthread_mutex_lock(&l->told);
	if (l->on_death != NULL && lease_is_dead(l)) {
		l->on_death(l->on_death_arg);
		l->on_death = NULL;
	}
	pthread_mutex_unlock(&l->told);
}

void lease_on_death(struct lease *l, void (*fn)(void *arg), void *arg)
{
	if (l == NULL)
		return;
	pthread_mutex_lock(&l->told);
	l->on_death = fn;
	l->on_death_arg = arg;
	pthread_mutex_unlock(&l->told);
	tell(l);
}

void lease_die(struct lease *l)
{
	if (l == NULL || atomic_exchange(&l->dead, true))
		return;
	LOG(LOG_ERROR,
	    "the pool did not hear from this client (%u) in time and shut it "
	    "out: all that it does fails from now on; mount again",
	    l->kv->id);
	tell(l);
}

/* --- asking --------------------------------------------------------------- */

static void extend(struct lease *l, uint64_t asked_at)
{
	uint64_t until = asked_at + l->ns;

	if (until > atomic_load(&l->until))
		atomic_store(&l->until, until);
	atomic_store(&l->vain, 0);
}

/* @since: the first of all questions to which there was no answer; or 0. */
static void unanswered(_Atomic uint64_t *since, uint64_t asked_at)
{
	if (atomic_load(since) == 0)
		atomic_store(since, asked_at);
}

static bool is_long(const _Atomic uint64_t *since, uint64_t ns, uint64_t now)
{
	uint64_t at = atomic_load(since);

	return at != 0 && now >= at + ns;
}

bool lease_is_in_vain(const struct lease *l, uint64_t ns, uint64_t now)
{
	return l != NULL && is_long(&l->vain, ns, now);
}

bool lease_is_silent(const struct lease *l, uint32_t node, uint64_t ns,
		     uint64_t now)
{
	return l != NULL && is_long(&l->silent[node], ns, now);
}

static void post(struct lease *l, struct asked *a, uint32_t n, uint64_t now)
{
	a->at = now;
	a->again = now + l->ns / 4;
	a->batch = (struct fab_batch){.ops = a->op,
				      .n = n,
				      .deadline_ns = now + l->ns / 2,
				      .user = a};
	a->out = fab_post(l->fab, &a->batch) == 0;
}

static void ask_coord(struct lease *l, uint64_t now)
{
	fab_call(&l->coord.op[0], FAB_NODE_COORD, PROTO_BEAT, NULL, 0,
		 &l->beaten, sizeof(l->beaten));
	post(l, &l->coord, 1, now);
}

static void ask_nodes(struct lease *l, uint64_t now)
{
	uint64_t all = member_all(l->kv->member);
	uint32_t n = 0;

	for (uint32_t i = 0; all >> i != 0; i++)
		if (all >> i & 1)
			fab_call(&l->nodes.op[n++], (uint8_t)i, PROTO_PING,
				 NULL, 0, NULL, 0);
	post(l, &l->nodes, n, now);
}

static void coord_answered(struct lease *l, uint64_t now)
{
	const struct fab_op *op = &l->coord.op[0];

	if (op->status == -ESTALE) {
		lease_die(l);
		return;
	}
	l->unheard = op->status != 0 || op->reply_len != sizeof(l->beaten) ||
		     l->beaten.sure != 1;
	if (!l->unheard) {
		extend(l, l->coord.at);
	} else {
		unanswered(&l->vain, l->coord.at);
		l->coord.again = now + AGAIN_NS;
	}
}

static void nodes_answered(struct lease *l, uint64_t now)
{
	bool all = true;

	for (uint32_t i = 0; i < l->nodes.batch.n; i++) {
		const struct fab_op *op = &l->nodes.op[i];

		if (op->status == 0) {
			atomic_store(&l->silent[op->node], 0);
			continue;
		}
		unanswered(&l->silent[op->node], l->nodes.at);
		all = false;
	}
	if (all)
		extend(l, l->nodes.at);
	else
		l->nodes.again = now + AGAIN_NS;
}

static void answered(struct lease *l, struct asked *a, uint64_t now)
{
	a->out = false;
	if (a == &l->coord)
		coord_answered(l, now);
	else
		nodes_answered(l, now);
}

static bool is_used(const struct lease *l, uint64_t now)
{
	bool used = now < atomic_load(&l->used) + l->ns;

	return (used || atomic_load(&l->leaving)) && !lease_is_dead(l);
}

/* The nodes are asked only when the coordinator does not answer, or not soon;
 * and by who leaves, for lease_is_silent(). */
static bool asks_nodes(const struct lease *l)
{
	return l->unheard || atomic_load(&l->leaving);
}

static bool nodes_due(const struct lease *l, uint64_t now)
{
	bool late = l->coord.out && now >= l->coord.at + l->ns / 8;

	return !l->nodes.out && now >= l->nodes.again &&
	       (asks_nodes(l) || late);
}

static int work(struct lease *l, uint64_t wait_ns)
{
	uint64_t now = fab_now(l->fab);
	struct fab_batch *done[2];
	int did = 0;
	size_t n;

	if (is_used(l, now) && !l->coord.out && now >= l->coord.again) {
		ask_coord(l, now);
		did = 1;
	}
	if (is_used(l, now) && nodes_due(l, now)) {
		ask_nodes(l, now);
		did = 1;
	}
	n = fab_poll(l->fab, done, 2, did ? 0 : wait_ns);
	now = fab_now(l->fab);
	for (size_t i = 0; i < n; i++)
		answered(l, done[i]->user, now);
	return did || n > 0;
}

int lease_work(struct lease *l)
{
	return l != NULL ? work(l, 0) : 0;
}

/* --- its thread ----------------------------------------------------------- */

static uint64_t until_due(const struct lease *l, uint64_t now)
{
	uint64_t at = now + l->ns / 8;

	if (!l->coord.out && l->coord.again < at)
		at = l->coord.again;
	if (!l->nodes.out && asks_nodes(l) && l->nodes.again < at)
		at = l->nodes.again;
	return at > now ? at - now : 0;
}

/* Nobody needs it: until somebody does. */
static bool rest(struct lease *l)
{
	bool stop;

	pthread_mutex_lock(&l->lock);
	while (!l->stop && !l->kicked && !is_used(l, fab_now(l->fab)) &&
	       !l->coord.out && !l->nodes.out)
		pthread_cond_wait(&l->kick, &l->lock);
	l->kicked = false;
	stop = l->stop;
	pthread_mutex_unlock(&l->lock);
	return !stop;
}

static void *lease_main(void *arg)
{
	struct lease *l = arg;

	while (rest(l))
		work(l, until_due(l, fab_now(l->fab)));
	return NULL;
}

int lease_start(struct lease *l)
{
	int rc;

	if (l == NULL)
		return 0;
	rc = -pthread_create(&l->thread, NULL, lease_main, l);
	l->threaded = rc == 0;
	return rc;
}

void lease_stop(struct lease *l)
{
	if (l == NULL || !l->threaded)
		return;
	pthread_mutex_lock(&l->lock);
	l->stop = true;
	pthread_cond_signal(&l->kick);
	pthread_mutex_unlock(&l->lock);
	pthread_join(l->thread, NULL);
	l->threaded = false;
}

static void wake(struct lease *l)
{
	pthread_mutex_lock(&l->lock);
	l->kicked = true;
	pthread_cond_signal(&l->kick);
	pthread_mutex_unlock(&l->lock);
}

void lease_leave(struct lease *l)
{
	if (l == NULL)
		return;
	atomic_store(&l->leaving, true);
	wake(l);
}

/* --- holding -------------------------------------------------------------- */

/* That it is used is what keeps the questions going. */
static void note_use(struct lease *l, uint64_t now)
{
	if (now >
	    atomic_load_explicit(&l->used, memory_order_relaxed) + USED_NS)
		atomic_store_explicit(&l->used, now, memory_order_relaxed);
}

int lease_hold(struct lease *l, struct kv_thread *t, uint64_t deadline_ns)
{
	uint64_t now, ns = HOLD_FIRST;

	if (l == NULL)
		return 0;
	for (;;) {
		if (lease_is_dead(l))
			return -ENOTCONN;
		now = fab_now(t->fab);
		note_use(l, now);
		if (now < atomic_load(&l->until))
			return 0;
		if (now >= deadline_ns || member_gives_up(l->kv->member, now))
			return -ETIMEDOUT;
		if (l->threaded && ns == HOLD_FIRST)
			wake(l);
		fab_sleep(t->fab, ns);
		ns = ns * 2 < HOLD_LAST ? ns * 2 : HOLD_LAST;
	}
}
