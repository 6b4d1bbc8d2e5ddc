/* tests/lib/cluster_client.c - clients of a cluster. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "kv/client/client_impl.h"
#include "tests/lib/cluster_impl.h"

static struct cluster_kv *find(struct cluster *c, const struct kv *kv)
{
	uint32_t i;

	for (i = 0; i < c->kvs; i++)
		if (c->kv[i].kv == kv)
			return &c->kv[i];
	fail_msg("not a client of this cluster");
	return NULL;
}

/* What background threads do elsewhere. */
static void client_fiber(void *arg)
{
	struct cluster_kv *ck = arg;

	while (!ck->leaving && !ck->killed)
		if (kv_background(ck->kv) <= 0)
			sim_pause(ck->c->sim, CLUSTER_TICK_NS);
	ck->ended = 1;
}

static void lease_fiber(void *arg)
{
	struct cluster_kv *ck = arg;

	while (!ck->leaving && !ck->killed)
		if (kv_lease_work(ck->kv) == 0)
			sim_pause(ck->c->sim, CLUSTER_TICK_NS / 5);
	ck->lease_ended = 1;
}

static void attach_coord(struct cluster *c, struct fab_net *net)
{
	struct proto_hello hello = {
		.magic = PROTO_MAGIC,
		.version = PROTO_VERSION,
		.role = PROTO_CLIENT,
	};

	CLUSTER_OK(fab_net_attach(net, FAB_NODE_COORD, c->address, &hello,
				  sizeof(hello)));
}

static void open_sim(struct cluster *c, struct cluster_kv *ck,
		     const struct kv_opts *o)
{
	char name[16];

	snprintf(name, sizeof(name), "kv%u", c->kvs);
	CLUSTER_OK(sim_net_open(c->sim, name, &ck->net));
	attach_coord(c, ck->net);
	CLUSTER_OK(kv_open_on(o, ck->net, false, &ck->kv));
	cluster_daemon(c, name, client_fiber, ck);
	if (c->o.remote)
		cluster_daemon(c, name, lease_fiber, ck);
	else
		ck->lease_ended = 1;
}

/* All but the keys of transactions (kv/client/txn.c). */
static bool is_movable(const void *key, size_t klen)
{
	return klen > 0 && *(const char *)key != 0;
}

struct kv *cluster_client(struct cluster *c)
{
	struct kv_opts o = {
		.pool = c->address,
		.op_timeout_ms = c->o.op_timeout_ms,
		.lanes = c->o.lanes,
		.cache_bytes = c->o.cache_bytes,
		.key = c->o.key,
		.movable = is_movable,
	};
	struct cluster_kv *ck;

	assert_true(c->kvs < CLUSTER_CLIENTS_MAX);
	ck = &c->kv[c->kvs++];
	*ck = (struct cluster_kv){.c = c};
	if (c->sim != NULL) {
		open_sim(c, ck, &o);
	} else {
		CLUSTER_OK(kv_open(&o, &ck->kv));
		ck->net = ck->kv->net;
		ck->ended = ck->lease_ended = 1;
	}
	return ck->kv;
}

static void close_one(struct cluster *c, struct cluster_kv *ck)
{
	if (ck->kv == NULL)
		return;
	ck->leaving = true;
	cluster_await(c, &ck->ended);
	cluster_await(c, &ck->lease_ended);
	kv_close(ck->kv);
	ck->kv = NULL;
}

void cluster_client_close(struct cluster *c, struct kv *kv)
{
	close_one(c, find(c, kv));
}

void cluster_client_kill(struct cluster *c, struct kv *kv)
{
	struct cluster_kv *ck = find(c, kv);

	assert_non_null(c->sim);
	ck->killed = true;
	sim_net_kill(c->sim, ck->net);
}

struct fab_net *cluster_client_net(struct cluster *c, struct kv *kv)
{
	return find(c, kv)->net;
}

void cluster_clients_close(struct cluster *c)
{
	uint32_t i;

	for (i = 0; i < c->kvs; i++)
		close_one(c, &c->kv[i]);
	c->kvs = 0;
}
