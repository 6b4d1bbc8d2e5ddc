/* tests/lib/cluster.c - see cluster.h. Clients are in cluster_client.c. */
#include "tests/lib/cluster.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "ec/former.h"
#include "tests/contract/fabric_tcp.h"
#include "tests/lib/cluster_impl.h"
#include "tests/lib/mem_store.h"

void cluster_ok(int rc, const char *file, int line)
{
	if (rc < 0)
		print_error("cluster: %s\n", strerror(-rc));
	_assert_true(rc >= 0, "the cluster works", file, line);
}

/* --- waiting -------------------------------------------------------------- */

void cluster_sleep(struct cluster *c, uint64_t ns)
{
	fab_sleep(c->probe, ns);
}

/* Short sleeps do it in and out of fibers alike. */
void cluster_await(struct cluster *c, const int *word)
{
	while (!__atomic_load_n(word, __ATOMIC_ACQUIRE))
		cluster_sleep(c, CLUSTER_TICK_NS / 10);
}

void cluster_daemon(struct cluster *c, const char *name, void (*fn)(void *),
		    void *arg)
{
	CLUSTER_OK(sim_spawn(c->sim, name, fn, arg));
}

/* Until @again, but never longer than a tick: a CALL may come any time. */
static void daemon_rest(struct cluster *c, uint64_t again)
{
	uint64_t now = sim_now(c->sim), ns = CLUSTER_TICK_NS;

	if (again <= now)
		ns = 1;
	else if (again - now < ns)
		ns = again - now;
	sim_pause(c->sim, ns);
}

/* --- parts ---------------------------------------------------------------- */

static int open_real(const struct cluster *c, struct fab_net **out)
{
	if (c->o.rdma != NULL)
		return fab_any_open(c->o.key, out);
	return c->o.key != NULL ? fab_tcp_open(c->o.key, out)
				: fab_shm_open(NULL, out);
}

static int open_wrapped(const struct cluster *c, struct fab_net **out)
{
	struct fab_net *inner;
	int rc = open_real(c, &inner);

	if (rc != 0 || c->o.wrap == NULL) {
		*out = inner;
		return rc;
	}
	return c->o.wrap(c->o.wrap_arg, inner, out);
}

static int open_net(void *arg, struct fab_net **out)
{
	struct cluster_node *cn = arg;
	char name[16];
	int rc;

	snprintf(name, sizeof(name), "node%u", cn->id);
	rc = cn->c->sim != NULL ? sim_net_open(cn->c->sim, name, out)
				: open_wrapped(cn->c, out);
	if (rc == 0)
		cn->net = *out;
	return rc;
}

static int open_coord_net(void *arg, struct fab_net **out)
{
	struct cluster *c = arg;
	int rc;

	if (c->sim == NULL)
		return open_wrapped(c, out);
	rc = sim_net_open(c->sim, "coord", out);
	if (rc == 0)
		c->coord_net = *out;
	return rc;
}

static bool node_is_alive(void *arg, uint32_t id)
{
	struct cluster *c = arg;

	return !__atomic_load_n(&c->node[id].killed, __ATOMIC_ACQUIRE);
}

static int kill_client(void *arg, int32_t pid)
{
	struct cluster *c = arg;

	return c->o.kill_client != NULL ? c->o.kill_client(c->o.kill_arg, pid)
					: -EPERM;
}

/* From the coordinator: only simulated nodes can be ended from there. */
static int end_node(void *arg, uint32_t id)
{
	struct cluster *c = arg;

	if (c->sim == NULL || c->node[id].killed)
		return -EPERM;
	c->node[id].killed = true;
	sim_server_kill(c->sim, c->node[id].address);
	sim_net_kill(c->sim, c->node[id].net);
	return 0;
}

void cluster_hang_node(struct cluster *c, uint32_t id)
{
	assert_non_null(c->sim);
	sim_server_pause(c->sim, c->node[id].address);
}

static void node_fiber(void *arg)
{
	struct cluster_node *cn = arg;
	uint64_t again;

	while (!cn->c->stopping && !cn->killed && !cn->returning)
		if (node_work(cn->node, &again) == 0)
			daemon_rest(cn->c, again);
		else
			sim_pause(cn->c->sim, 0);
	cn->ended = 1;
}

static void coord_fiber(void *arg)
{
	struct cluster *c = arg;
	uint64_t again;

	while (!c->stopping && !c->coord_stop)
		if (coord_work(c->coord, &again) == 0)
			daemon_rest(c, again);
		else
			sim_pause(c->sim, 0);
	c->coord_ended = 1;
}

static void link_fiber(void *arg)
{
	struct cluster *c = arg;

	while (!c->stopping && !c->coord_stop)
		if (coord_link_work(c->coord) == 0)
			sim_pause(c->sim, CLUSTER_TICK_NS);
	c->link_ended = 1;
}

static void region_open(struct cluster *c, struct cluster_node *cn)
{
	uint64_t size = c->super.layout.size;

	cn->fd = -1;
	if (c->o.disk != NULL) {
		cn->disk = c->o.disk(c->o.disk_arg, cn->id, &cn->region);
		return;
	}
	if (c->sim == NULL) {
		CLUSTER_OK(
			fab_region_open("cluster", size, &cn->region, &cn->fd));
		return;
	}
	cn->region = mmap(NULL, size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CLUSTER_OK(cn->region == MAP_FAILED ? -ENOMEM : 0);
}

/* Of a node whose memory an adapter serves: the port is a free one of TCP's. */
static void rdma_address(const struct cluster *c, char *out)
{
	char tcp[PROTO_ADDRESS_BYTES];

	contract_tcp_address(0, tcp, sizeof(tcp));
	snprintf(out, PROTO_ADDRESS_BYTES, "verbs:%s%s", c->o.rdma,
		 strrchr(tcp, ':'));
}

static void address_of(const struct cluster *c, const char *name, char *out)
{
	if (c->sim != NULL)
		snprintf(out, PROTO_ADDRESS_BYTES, "sim:%s", name);
	else if (c->o.key != NULL)
		contract_tcp_address(0, out, PROTO_ADDRESS_BYTES);
	else
		snprintf(out, PROTO_ADDRESS_BYTES, "%s/%s.sock", c->dir, name);
}

static void start_node(struct cluster *c, uint32_t id)
{
	struct cluster_node *cn = &c->node[id];
	struct node_opts o = {.super = c->super,
			      .net = open_net,
			      .arg = cn,
			      .ckpt_ms = c->o.ckpt_ms,
			      .rest_ms = c->o.rest_ms};
	char name[16];

	cn->c = c;
	cn->id = id;
	if (cn->life == 0)
		snprintf(name, sizeof(name), "n%u", id);
	else
		snprintf(name, sizeof(name), "n%u.%u", id, cn->life);
	if (c->o.rdma != NULL)
		rdma_address(c, cn->address);
	else
		address_of(c, name, cn->address);
	if (cn->former == NULL)
		region_open(c, cn);
	o.former = cn->former;
	o.super.node = id;
	o.region = cn->region;
	o.region_fd = c->o.rdma != NULL ? -1 : cn->fd;
	o.address = cn->address;
	o.key = c->o.key;
	o.disk = cn->disk;
	o.keep = c->o.keep;
	o.threads = c->sim == NULL;
	CLUSTER_OK(node_open(&o, &cn->node));
	if (c->sim != NULL)
		cluster_daemon(c, name, node_fiber, cn);
}

static int commit(void *arg, const struct coord_counters *at)
{
	struct cluster *c = arg;

	return c->o.commit(c->o.disk_arg, at);
}

static void start_coord(struct cluster *c)
{
	const char *address[FAB_NODES_MAX];
	struct coord_opts o = {
		.pool = "test",
		.transport = c->sim != NULL ? "sim" : "shm",
		.super = c->super,
		.address = c->address,
		.key = c->o.key,
		.node_address = address,
		.lease_ms = c->o.lease_ms,
		.settle_ms = c->o.settle_ms,
		.threads = c->sim == NULL,
		.net = open_coord_net,
		.arg = c,
		.node_is_alive = node_is_alive,
		.kill_node = end_node,
		.kill_client = kill_client,
		.remote = c->o.remote,
	};
	uint32_t id;

	c->coord_stop = false;
	c->coord_ended = 0;
	c->link_ended = c->sim == NULL || !c->o.remote;
	if (c->o.store != NULL)
		CLUSTER_OK(mem_store_open(c->o.store, &c->store));
	o.store = c->store;

	for (id = 0; id < c->o.nodes; id++)
		address[id] = c->node[id].address;
	address_of(c, "pool", c->address);
	if (c->o.disk != NULL) {
		o.persistent = true;
		o.commit = commit;
		o.counters = c->o.counters;
		o.durable_ms = c->o.durable_ms;
	}
	CLUSTER_OK(coord_open(&o, &c->coord));
	if (c->sim != NULL)
		cluster_daemon(c, "coord", coord_fiber, c);
	if (c->sim != NULL && c->o.remote)
		cluster_daemon(c, "link", link_fiber, c);
}

static void end_coord(struct cluster *c)
{
	coord_close(c->coord);
	viewstore_close(c->store);
	c->coord = NULL;
	c->store = NULL;
}

/* --- open and close ------------------------------------------------------- */

static void respawn_fiber(void *arg);

static void set_defaults(struct cluster_opts *o)
{
	if (o->nodes == 0) {
		o->nodes = 5;
		o->k = 3;
		o->m = 2;
	}
	if (o->usable == 0)
		o->usable = 32u << 20;
	if (o->block_bytes == 0)
		o->block_bytes = 64u << 10;
	if (o->slots == 0)
		o->slots = 4096;
	if (o->clients == 0)
		o->clients = 8;
	if (o->lanes == 0)
		o->lanes = o->mode == CLUSTER_SIM ? 1 : 2;
}

static void shape(struct cluster *c)
{
	struct layout_shape s = {
		.nodes = c->o.nodes,
		.k = c->o.k,
		.m = c->o.m,
		.usable = c->o.usable,
		.block_bytes = c->o.block_bytes,
		.slots = c->o.slots,
		.clients = c->o.clients,
	};

	CLUSTER_OK(layout_of(&s, &c->super.layout));
	c->super.secret = UINT64_C(0x5ec4e7) ^ c->o.seed;
	memset(c->super.uuid, 0x5a, sizeof(c->super.uuid));
}

static void start_world(struct cluster *c)
{
	struct sim_opts so = {.seed = c->o.seed,
			      .slow_permille = c->o.slow_permille,
			      .down_ns = c->o.down_ns,
			      .mapped = c->o.mapped,
			      .trace = getenv("SIM_TRACE") != NULL};

	if (c->o.mode == CLUSTER_SIM) {
		CLUSTER_OK(sim_open(&so, &c->sim));
		CLUSTER_OK(sim_net_open(c->sim, "probe", &c->probe_net));
	} else {
		strcpy(c->dir, "/tmp/aceso-cluster-XXXXXX");
		CLUSTER_OK(mkdtemp(c->dir) != NULL ? 0 : -errno);
		CLUSTER_OK(open_real(c, &c->probe_net));
	}
	CLUSTER_OK(fab_open(c->probe_net, &c->probe));
}

struct cluster *cluster_open(const struct cluster_opts *opts)
{
	struct cluster *c = calloc(1, sizeof(*c));
	uint32_t id;

	assert_non_null(c);
	c->o = *opts;
	set_defaults(&c->o);
	shape(c);
	start_world(c);
	for (id = 0; id < c->o.nodes; id++)
		start_node(c, id);
	start_coord(c);
	if (c->o.respawn_ns != 0)
		cluster_daemon(c, "respawn", respawn_fiber, c);
	else
		c->respawn_ended = 1;
	return c;
}

static void await_daemons(struct cluster *c)
{
	uint32_t id;

	cluster_await(c, &c->respawn_ended);
	cluster_await(c, &c->coord_ended);
	cluster_await(c, &c->link_ended);
	for (id = 0; id < c->o.nodes; id++)
		cluster_await(c, &c->node[id].ended);
}

static void free_node(struct cluster *c, struct cluster_node *cn)
{
	node_close(cn->node);
	former_close(cn->former);
	cn->former = NULL;
	if (cn->disk != NULL)
		cn->region = NULL; /* its owner's */
	if (cn->fd >= 0)
		fab_region_close(cn->region, c->super.layout.size, cn->fd);
	else if (cn->region != NULL)
		munmap(cn->region, c->super.layout.size);
	cn->node = NULL;
	cn->region = NULL;
	cn->fd = -1;
}

static void end_world(struct cluster *c)
{
	fab_close(c->probe);
	fab_net_close(c->probe_net);
	if (c->sim != NULL) {
		if (sim_run(c->sim, CLUSTER_SETTLE_NS) != 0)
			print_error("stuck: %s\n", sim_stuck(c->sim));
		sim_close(c->sim);
	} else {
		CLUSTER_OK(rmdir(c->dir) == 0 ? 0 : -errno);
	}
}

void cluster_close(struct cluster *c)
{
	uint32_t id;

	cluster_join(c);
	cluster_clients_close(c);
	c->stopping = true;
	if (c->sim != NULL)
		await_daemons(c);
	end_coord(c);
	for (id = 0; id < c->o.nodes; id++)
		free_node(c, &c->node[id]);
	end_world(c);
	free(c);
}

/* --- running a body ------------------------------------------------------- */

static void body_fiber(void *arg)
{
	struct cluster *c = arg;

	c->body(c, c->body_arg);
	cluster_join(c);
	cluster_clients_close(c);
	c->stopping = true;
}

void cluster_run(const struct cluster_opts *opts,
		 void (*body)(struct cluster *c, void *arg), void *arg)
{
	struct cluster *c = cluster_open(opts);
	int rc;

	c->body = body;
	c->body_arg = arg;
	if (c->sim == NULL) {
		body_fiber(c);
	} else {
		cluster_daemon(c, "body", body_fiber, c);
		rc = sim_run(c->sim, 0);
		if (rc != 0)
			print_error("stuck: %s\n", sim_stuck(c->sim));
		CLUSTER_OK(rc);
	}
	cluster_close(c);
}

static void actor_fiber(void *arg)
{
	struct cluster_actor *a = arg;

	a->fn(a->arg);
	__atomic_store_n(&a->ended, 1, __ATOMIC_RELEASE);
}

static void *actor_thread(void *arg)
{
	actor_fiber(arg);
	return NULL;
}

void cluster_spawn(struct cluster *c, void (*fn)(void *arg), void *arg)
{
	struct cluster_actor *a;

	assert_true(c->actors < CLUSTER_ACTORS_MAX);
	a = &c->actor[c->actors++];
	*a = (struct cluster_actor){.c = c, .fn = fn, .arg = arg};
	if (c->sim != NULL)
		cluster_daemon(c, "actor", actor_fiber, a);
	else
		CLUSTER_OK(-pthread_create(&a->thread, NULL, actor_thread, a));
}

void cluster_join(struct cluster *c)
{
	for (; c->joined < c->actors; c->joined++)
		if (c->sim != NULL)
			cluster_await(c, &c->actor[c->joined].ended);
		else
			pthread_join(c->actor[c->joined].thread, NULL);
	c->actors = 0;
	c->joined = 0;
}

/* --- deaths --------------------------------------------------------------- */

void cluster_kill_node(struct cluster *c, uint32_t id)
{
	struct cluster_node *cn = &c->node[id];

	assert_false(cn->killed);
	__atomic_store_n(&cn->killed, true, __ATOMIC_RELEASE);
	if (c->sim != NULL) {
		assert_true(sim_server_kill(c->sim, cn->address));
		sim_net_kill(c->sim, cn->net);
	} else {
		free_node(c, cn);
	}
	if (!c->o.remote)
		coord_node_died(c->coord, id);
}

void cluster_kill_coord(struct cluster *c)
{
	assert_true(c->o.remote && c->coord != NULL);
	sim_server_kill(c->sim, c->address);
	sim_net_kill(c->sim, c->coord_net);
	c->coord_stop = true;
	cluster_await(c, &c->coord_ended);
	cluster_await(c, &c->link_ended);
	end_coord(c);
}

void cluster_start_coord(struct cluster *c)
{
	start_coord(c);
}

void cluster_replace_node(struct cluster *c, uint32_t id)
{
	struct cluster_node *cn = &c->node[id];

	assert_true(cn->killed);
	if (c->sim != NULL) {
		cluster_await(c, &cn->ended);
		free_node(c, cn);
	}
	cn->ended = 0;
	cn->life++;
	start_node(c, id);
	__atomic_store_n(&cn->killed, false, __ATOMIC_RELEASE);
	if (c->coord == NULL)
		return;
	if (c->o.remote) /* as PROTO_COME has it: the last one is dead */
		coord_node_died(c->coord, id);
	coord_node_came(c->coord, id, cn->address, 0);
}

/* As mount-helper/memnode.c does. */
void cluster_return_node(struct cluster *c, uint32_t id)
{
	struct cluster_node *cn = &c->node[id];
	const struct layout *l = &c->super.layout;
	struct former *f;

	assert_true(c->sim != NULL && c->o.remote && !cn->killed);
	cn->returning = true;
	sim_server_kill(c->sim, cn->address);
	sim_net_kill(c->sim, cn->net);
	cluster_await(c, &cn->ended);
	node_close(cn->node);
	CLUSTER_OK(former_take(&l->group, id, cn->region, cn->former, &f));
	former_close(cn->former);
	cn->former = f;
	former_clear(f, cn->region, -1, l->size);
	cn->ended = 0;
	cn->life++;
	start_node(c, id);
	cn->returning = false;
	coord_node_came(c->coord, id, cn->address, 0);
}

void cluster_respawn(struct cluster *c, uint64_t ns)
{
	c->o.respawn_ns = ns;
}

/* As the supervisor of an embedded pool does. */
static void respawn_fiber(void *arg)
{
	struct cluster *c = arg;

	while (!c->stopping) {
		sim_pause(c->sim, CLUSTER_TICK_NS);
		for (uint32_t id = 0; id < c->o.nodes && !c->stopping; id++) {
			if (!c->node[id].killed || c->o.respawn_ns == 0)
				continue;
			sim_pause(c->sim, c->o.respawn_ns);
			if (c->o.respawn_ns != 0)
				cluster_replace_node(c, id);
		}
	}
	c->respawn_ended = 1;
}

/* One that is killed may be replaced, one that lives is to come in. */
static bool node_settled(struct cluster *c, const struct view *v, uint32_t id)
{
	if (c->node[id].killed)
		return v->node[id] == VIEW_NODE_DOWN && c->o.respawn_ns == 0;
	return v->node[id] == VIEW_NODE_UP &&
	       (v->host[id] == id || v->shard[id] == VIEW_SHARD_LOST);
}

static bool shards_serve(struct cluster *c)
{
	struct view v;
	uint32_t s;

	coord_view(c->coord, &v);
	for (s = 0; s < v.nodes; s++) {
		if (v.shard[s] == VIEW_SHARD_REBUILDING ||
		    v.shard[s] == VIEW_SHARD_SETTLING)
			return false;
		if (!node_settled(c, &v, s))
			return false;
	}
	return true;
}

static bool nodes_know(struct cluster *c)
{
	struct view v;
	uint32_t id;

	coord_view(c->coord, &v);
	for (id = 0; id < c->o.nodes; id++)
		if (!c->node[id].killed &&
		    node_epoch(c->node[id].node) < v.epoch)
			return false;
	return true;
}

static bool all_is_folded(struct cluster *c)
{
	struct proto_stats st;
	uint32_t id;

	for (id = 0; id < c->o.nodes; id++) {
		if (c->node[id].killed)
			continue;
		node_stats(c->node[id].node, &st);
		if (st.fold_backlog != 0)
			return false;
	}
	return true;
}

/* What it waits for. */
static void print_unsettled(struct cluster *c)
{
	struct proto_stats st;
	struct view v;

	coord_view(c->coord, &v);
	print_error("view %d\n", (int)v.epoch);
	for (uint32_t i = 0; i < v.nodes; i++) {
		print_error("node %u: %d; shard %d at %u", i, v.node[i],
			    v.shard[i], v.host[i]);
		if (c->node[i].killed) {
			print_error("; killed\n");
			continue;
		}
		node_stats(c->node[i].node, &st);
		print_error("; view %d, to fold %d\n",
			    (int)node_epoch(c->node[i].node),
			    (int)st.fold_backlog);
	}
}

static void settle(struct cluster *c, bool at_work)
{
	uint64_t end = fab_now(c->probe) + CLUSTER_SETTLE_NS;

	while (!shards_serve(c) || !nodes_know(c) ||
	       !(at_work || all_is_folded(c))) {
		if (fab_now(c->probe) > end) {
			print_unsettled(c);
			cluster_show_moving(c);
			fail_msg("the cluster does not settle");
		}
		cluster_sleep(c, CLUSTER_TICK_NS);
	}
}

uint32_t cluster_rest_ms(uint64_t seed)
{
	static const uint32_t ms[] = {0, 1, 20, 1000, 0};

	return ms[seed % 5];
}

void cluster_settle(struct cluster *c)
{
	settle(c, false);
}

void cluster_settle_at_work(struct cluster *c)
{
	settle(c, true);
}

/* --- looking in ----------------------------------------------------------- */

struct node *cluster_node(struct cluster *c, uint32_t id)
{
	return c->node[id].killed ? NULL : c->node[id].node;
}

void *cluster_region(struct cluster *c, uint32_t id)
{
	return c->node[id].region;
}

const struct layout *cluster_layout(struct cluster *c)
{
	return &c->super.layout;
}

const struct layout_super *cluster_super(struct cluster *c)
{
	return &c->super;
}

struct coord *cluster_coord(struct cluster *c)
{
	return c->coord;
}

struct sim *cluster_sim(struct cluster *c)
{
	return c->sim;
}

const char *cluster_address(struct cluster *c)
{
	return c->address;
}

const char *cluster_node_address(struct cluster *c, uint32_t id)
{
	return c->node[id].address;
}
