/* kv/client/member.c - the view that holds here, and the way to the next.
 *
 *   new view -> publish it -> cut the dead -> wait for older operations
 *            -> attach to those that came -> space_new_view
 *            -> tell the coordinator (the next WATCH)
 *
 * M1. An operation enters (stores its epoch), then looks at the view; a new
 *     view is published, then the entries are looked at. So either the
 *     operation sees the new view, or whoever adopts it waits for it.
 * M3. Nothing is written to a place that was given by a process before the one
 *     that a node is now: operations of older views are over before this client
 *     attaches to it, and those of newer ones ask member_holds().
 * M4. Nor is anything new named on a node that is dead here: clients that have
 *     not adopted the view yet may read what its memory was (space_trim()). */
#include "kv/client/member.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "kv/client/adopt.h"
#include "kv/client/alone.h"
#include "kv/client/background.h"
#include "kv/client/client.h"
#include "kv/client/addr_cache.h"
#include "kv/client/lease.h"
#include "kv/client/persist.h"
#include "kv/client/space.h"
#include "kv/hello.h"
#include "kv/log.h"
#include "kv/proto.h"

#define MS		 UINT64_C(1000000)
#define SETTLE_POLL_NS	 UINT64_C(50000)
#define WAIT_FIRST_NS	 UINT64_C(20000)
#define WAIT_LAST_NS	 UINT64_C(1000000)
#define SUSPECT_EVERY_NS UINT64_C(20000000)
/* Longer than FREEZE_NS of kv/node/coord_durable.c by far. */
#define KV_FREEZE_NS UINT64_C(2000000000)
/* Since we joined; we had no clock then. */
#define FROZEN_NOW	UINT64_C(1)
#define SUSPECT_CALL_NS UINT64_C(200000000)

struct member {
	struct kv *kv;
	pthread_mutex_t lock; /* who writes the view */
	/* Copies of the view's parts for the data path. */
	_Atomic uint64_t epoch, up, all, index_version;
	/* The view in which each node came, as this client met it. */
	_Atomic uint64_t born[64];
	_Atomic uint32_t clients;
	_Atomic uint64_t moves; /* views in which a shard was elsewhere */
	_Atomic uint64_t frozen_until; /* hold operations; 0: do not */
	_Atomic uint16_t shard[64];    /* state << 8 | host */
	struct view view;	       /* under lock */
	/* The watcher's own: where nodes are, and whom to attach to still. */
	char address[64][PROTO_ADDRESS_BYTES];
	uint64_t absent;
	uint64_t no_way;	/* bit n: no device of ours leads there; said */
	uint64_t attach_at[64]; /* not before */
	_Atomic uint64_t suspected[64]; /* when a node was reported last */
	_Atomic uint32_t held[64]; /* changes of each shard that are open */
	uint64_t settled;	   /* the last epoch told */
};

/* A node is born before it is a member, for member_holds(). */
static void publish(struct member *m, const struct view *v, uint64_t now)
{
	if (memcmp(m->view.host, v->host, sizeof(v->host)) != 0 ||
	    memcmp(m->view.shard, v->shard, sizeof(v->shard)) != 0)
		atomic_fetch_add(&m->moves, 1);
	m->view = *v;
	atomic_store(&m->frozen_until, !v->frozen ? 0
				       : now == 0 ? FROZEN_NOW
						  : now + KV_FREEZE_NS);
	for (uint32_t s = 0; s < v->nodes; s++)
		atomic_store_explicit(&m->shard[s],
				      (uint16_t)(v->shard[s] << 8 | v->host[s]),
				      memory_order_relaxed);
	atomic_store_explicit(&m->clients, v->clients, memory_order_relaxed);
	atomic_store_explicit(&m->index_version, v->index_version,
			      memory_order_relaxed);
	for (uint32_t i = 0; i < v->nodes; i++)
		if (view_members(v) >> i & 1 & ~(atomic_load(&m->all) >> i))
			atomic_store(&m->born[i], v->epoch);
	atomic_store(&m->all, view_members(v));
	atomic_store(&m->up, view_up(v));
	atomic_store(&m->epoch, v->epoch);
}

int member_open(struct kv *kv, const struct view *first,
		const char (*address)[PROTO_ADDRESS_BYTES], struct member **out)
{
	struct member *m = calloc(1, sizeof(*m));

	if (m == NULL)
		return -ENOMEM;
	m->kv = kv;
	pthread_mutex_init(&m->lock, NULL);
	atomic_store(&m->all, view_members(first)); /* none is born now */
	publish(m, first, 0);
	if (address != NULL)
		memcpy(m->address, address, sizeof(m->address));
	m->settled = first->epoch;
	*out = m;
	return 0;
}

void member_close(struct member *m)
{
	if (m == NULL)
		return;
	pthread_mutex_destroy(&m->lock);
	free(m);
}

void member_view(struct member *m, struct view *out)
{
	pthread_mutex_lock(&m->lock);
	*out = m->view;
	pthread_mutex_unlock(&m->lock);
}

uint64_t member_epoch(struct member *m)
{
	return atomic_load_explicit(&m->epoch, memory_order_relaxed);
}

uint64_t member_up(struct member *m)
{
	return atomic_load_explicit(&m->up, memory_order_relaxed);
}

uint64_t member_all(struct member *m)
{
	return atomic_load_explicit(&m->all, memory_order_relaxed);
}

bool member_holds(struct member *m, uint32_t node, uint64_t epoch)
{
	return atomic_load(&m->all) >> node & 1 &&
	       atomic_load(&m->born[node]) <= epoch;
}

/* In this client's eyes, who leaves. */
static bool is_away(struct member *m, uint32_t node, uint64_t now)
{
	return !(member_up(m) >> node & 1) ||
	       !fab_net_up(m->kv->net, (uint8_t)node) ||
	       lease_is_silent(m->kv->lease, node, KV_LEAVE_MS * MS, now);
}

/* More nodes than the code bears. */
static bool too_many_away(struct member *m, uint64_t now)
{
	const struct group *g = &m->kv->layout.group;
	uint32_t away = 0;

	for (uint32_t i = 0; i < g->nodes; i++)
		away += is_away(m, i, now);
	return away > g->m;
}

uint64_t member_moves(struct member *m)
{
	return atomic_load(&m->moves);
}

bool member_gives_up(struct member *m, uint64_t now)
{
	uint64_t leave_by = atomic_load(&m->kv->leave_by);

	if (lease_is_dead(m->kv->lease))
		return true;
	if (leave_by == 0 || now < leave_by)
		return false;
	return too_many_away(m, now) ||
	       lease_is_in_vain(m->kv->lease, KV_LEAVE_LEASE_MS * MS, now);
}

uint64_t member_index_version(struct member *m)
{
	return atomic_load_explicit(&m->index_version, memory_order_relaxed);
}

int member_host(struct member *m, uint32_t shard)
{
	uint16_t w =
		atomic_load_explicit(&m->shard[shard], memory_order_relaxed);

	switch (w >> 8) {
	case VIEW_SHARD_SERVING:
		return w & 0xff;
	case VIEW_SHARD_REBUILDING:
	case VIEW_SHARD_SETTLING:
		return -EAGAIN;
	default:
		return -EIO;
	}
}

int member_host_settling(struct member *m, uint32_t shard)
{
	uint16_t w =
		atomic_load_explicit(&m->shard[shard], memory_order_relaxed);

	return w >> 8 == VIEW_SHARD_SETTLING ? w & 0xff : member_host(m, shard);
}

void member_hold(struct member *m, uint32_t shard)
{
	atomic_fetch_add(&m->held[shard], 1);
}

void member_release(struct member *m, uint32_t shard)
{
	atomic_fetch_sub(&m->held[shard], 1);
}

/* --- operations ----------------------------------------------------------- */

static bool is_frozen(struct member *m, struct kv_thread *t)
{
	uint64_t until = atomic_load(&m->frozen_until), now;

	if (until == 0)
		return false;
	now = fab_now(t->fab);
	if (until == FROZEN_NOW)
		atomic_compare_exchange_strong(&m->frozen_until, &until,
					       now + KV_FREEZE_NS);
	return until == FROZEN_NOW || now < until;
}

/* Until another view says that all may go on, or the time is past in which
 * anybody would call what is held here a cut. */
static void wait_thaw(struct member *m, struct kv_thread *t)
{
	uint64_t ns = WAIT_FIRST_NS;

	while (is_frozen(m, t)) {
		if (!client_of(m->kv)->threaded && kv_background(m->kv) > 0)
			continue;
		fab_sleep(t->fab, ns);
		ns = ns * 2 < WAIT_LAST_NS ? ns * 2 : WAIT_LAST_NS;
	}
}

uint64_t member_enter(struct member *m, struct kv_thread *t)
{
	struct thread_place *p = thread_place(t);
	uint64_t e;

	if (p->depth++ > 0)
		return atomic_load_explicit(&p->epoch, memory_order_relaxed);
	for (;;) {
		e = member_epoch(m);
		atomic_store(&p->epoch, e); /* M1: before the view is looked at
					     */
		if (!is_frozen(m, t))
			return e;
		atomic_store(&p->epoch, 0);
		wait_thaw(m, t);
	}
}

void member_leave(struct member *m, struct kv_thread *t)
{
	struct thread_place *p = thread_place(t);

	if (--p->depth == 0)
		atomic_store_explicit(&p->epoch, 0, memory_order_release);
}

void member_suspect(struct member *m, struct kv_thread *t, uint32_t node)
{
	struct proto_suspect msg = {.epoch = member_epoch(m), .node = node};
	uint64_t now = fab_now(t->fab), was;

	if (node >= 64 || !(member_all(m) >> node & 1))
		return; /* that is known */
	was = atomic_load(&m->suspected[node]);
	if (was != 0 && now - was < SUSPECT_EVERY_NS)
		return;
	if (!atomic_compare_exchange_strong(&m->suspected[node], &was, now))
		return;
	fab_call_run(t->fab, FAB_NODE_COORD, PROTO_SUSPECT, &msg, sizeof(msg),
		     NULL, 0, NULL, SUSPECT_CALL_NS);
}

int member_wait(struct member *m, struct kv_thread *t, uint64_t epoch,
		uint64_t deadline_ns)
{
	uint64_t ns = WAIT_FIRST_NS;

	while (member_epoch(m) <= epoch) {
		if (lease_is_dead(m->kv->lease))
			return -ETIMEDOUT; /* there will be none */
		if (fab_now(t->fab) >= deadline_ns)
			return -ETIMEDOUT;
		/* Without background threads nobody else would look. */
		if (!client_of(m->kv)->threaded && kv_background(m->kv) > 0)
			continue;
		fab_sleep(t->fab, ns);
		ns = ns * 2 < WAIT_LAST_NS ? ns * 2 : WAIT_LAST_NS;
	}
	return 0;
}

/* --- the next view -------------------------------------------------------- */

static void cut_dead(struct member *m, const struct view *v)
{
	for (uint32_t i = 0; i < v->nodes; i++)
		if (v->node[i] == VIEW_NODE_DOWN)
			fab_net_cut(m->kv->net, (uint8_t)i);
}

static bool hosts_moved(const struct view *a, const struct view *b)
{
	return memcmp(a->host, b->host, sizeof(a->host)) != 0;
}

static bool same_shape(const struct view *a, const struct view *b)
{
	return a->nodes == b->nodes && a->k == b->k && a->m == b->m;
}

/* Each who comes or goes makes a view of its own: none was between these. */
static bool stays_alone(const struct view *a, const struct view *b)
{
	return a->clients == 1 && b->clients == 1 && b->epoch == a->epoch + 1;
}

static int attach(struct member *m, uint32_t id)
{
	struct proto_hello h;

	hello_fill(&h, PROTO_CLIENT, client_of(m->kv)->uuid);
	h.client = m->kv->id;
	h.epoch = member_epoch(m);
	return hello_attach(m->kv->net, (uint8_t)id, m->address[id], &h);
}

/* On another host, a connection that broke says nothing of the node. */
static void look_for_broken(struct member *m)
{
	uint64_t all = member_all(m);

	for (uint32_t i = 0; all >> i != 0; i++)
		if (all >> i & 1 && !fab_net_up(m->kv->net, (uint8_t)i))
			m->absent |= UINT64_C(1) << i;
}

/* A host that does not answer costs the time to find that out, which is taken
 * from the lease: one at a time, and not again soon. */
static bool put_off(struct member *m, struct kv_thread *t, uint32_t id)
{
	if (m->kv->lease == NULL)
		return false;
	m->attach_at[id] = fab_now(t->fab) + lease_ns(m->kv->lease);
	return true;
}

/* Another process took the node's place, and listens by RDMA. */
static void no_way(struct member *m, uint32_t id)
{
	uint64_t bit = UINT64_C(1) << id;
	char words[HELLO_WORDS_BYTES];

	if (!(m->no_way & bit))
		LOG(LOG_ERROR, "%s", hello_no_rdma(id, m->address[id], words));
	m->no_way |= bit;
}

void member_attach(struct member *m, struct kv_thread *t)
{
	int rc;

	if (m->kv->lease != NULL)
		look_for_broken(m);
	for (uint32_t i = 0; m->absent >> i != 0; i++) {
		if (!(m->absent >> i & 1) || fab_now(t->fab) < m->attach_at[i])
			continue;
		rc = attach(m, i);
		if (rc == 0 || rc == -EALREADY) {
			m->absent &= ~(UINT64_C(1) << i);
			continue;
		}
		if (rc == -ENODEV)
			no_way(m, i);
		member_suspect(m, t, i);
		if (put_off(m, t, i))
			return;
	}
}

int member_adopt(struct member *m, struct kv_thread *t,
		 const struct proto_view_set *set)
{
	const struct view *v = &set->view;
	struct view old;
	bool stays;

	if (view_check(v) != 0)
		return -EBADMSG;
	pthread_mutex_lock(&m->lock);
	old = m->view;
	if (v->epoch <= old.epoch || !same_shape(&old, v)) {
		pthread_mutex_unlock(&m->lock);
		return v->epoch <= old.epoch ? 0 : -EBADMSG;
	}
	stays = stays_alone(&old, v);
	if (!stays)
		alone_set(m->kv->alone, false);
	publish(m, v, fab_now(t->fab));
	pthread_mutex_unlock(&m->lock);
	cut_dead(m, v);
	while (threads_before(client_of(m->kv)->threads, v->epoch)) {
		fab_sleep(t->fab, SETTLE_POLL_NS);
		background_held_up(m->kv, t);
	}
	memcpy(m->address, set->address, sizeof(m->address));
	m->absent &= view_members(v);
	m->absent |= view_members(v) & ~view_members(&old);
	m->no_way &= m->absent;
	for (uint32_t i = 0; i < v->nodes; i++)
		if (!(view_members(&old) >> i & 1))
			m->attach_at[i] = 0; /* another process */
	member_attach(m, t);
	if (hosts_moved(&old, v) || (v->clients == 1 && !stays))
		cache_clear(m->kv->cache);
	alone_set(m->kv->alone, v->clients == 1);
	if (view_up(&old) != view_up(v) ||
	    view_members(&old) != view_members(v))
		space_new_view(m->kv->space, t);
	/* First what is durable: a cut that is only being made is none yet. */
	if (v->durable > old.durable)
		space_cut_durable(m->kv->space);
	if (v->cut > old.cut) {
		space_cut(m->kv->space);
		persist_cut(m->kv);
	}
	return 1;
}

/* M2. What is open was held before its client said that it is in the view in
 * which the shard is REBUILDING: so when it is SETTLING, all are counted. */
uint64_t member_settled(struct member *m)
{
	uint64_t epoch = member_epoch(m);
	bool open = false;

	pthread_mutex_lock(&m->lock);
	for (uint32_t s = 0; s < m->view.nodes; s++)
		if (m->view.shard[s] == VIEW_SHARD_SETTLING &&
		    atomic_load(&m->held[s]) > 0)
			open = true;
	pthread_mutex_unlock(&m->lock);
	if (!open)
		m->settled = epoch;
	return m->settled;
}

uint64_t member_told(const struct member *m)
{
	return m->settled;
}

unsigned member_clients(struct member *m)
{
	return atomic_load_explicit(&m->clients, memory_order_relaxed);
}
