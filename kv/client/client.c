/* kv/client/client.c - a client's life: join, attach, check, start, leave. */
#include "kv/client/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kv/client/addr_cache.h"
#include "kv/client/alone.h"
#include "kv/client/adopt.h"
#include "kv/client/background.h"
#include "kv/client/clean.h"
#include "kv/client/lease.h"
#include "kv/client/space.h"
#include "kv/client/txn.h"
#include "kv/hello.h"
#include "kv/proto.h"

#define JOIN_NS	    UINT64_C(10000000000)
#define LEAVE_NS    UINT64_C(500000000)
#define LIVES_NS    UINT64_C(200000000)
#define LANES_MAX   8u
#define CACHE_BYTES (UINT64_C(64) << 20)
#define SUPER_READ  512u

static __thread char error_line[HELLO_WORDS_BYTES] = "no error";

static int fail(int rc, const char *what, const char *remedy)
{
	snprintf(error_line, sizeof(error_line), "%s: %s; %s", what,
		 strerror(-rc), remedy);
	return rc;
}

const char *kv_error(void)
{
	return error_line;
}

/* --- joining -------------------------------------------------------------- */

void client_what(char *to, size_t cap)
{
	snprintf(to, cap, "%s", program_invocation_short_name);
}

static int join(struct fab_net *net, struct proto_joined *j)
{
	struct proto_join msg = {.pid = getpid()};
	struct fab *f;
	uint32_t len = 0;
	int rc;

	hello_fill(&msg.hello, PROTO_CLIENT, NULL);
	client_what(msg.what, sizeof(msg.what));
	rc = fab_open(net, &f);
	if (rc != 0)
		return rc;
	rc = fab_call_run(f, FAB_NODE_COORD, PROTO_JOIN, &msg, sizeof(msg), j,
			  sizeof(*j), &len, JOIN_NS);
	fab_close(f);
	if (rc != 0)
		return rc;
	if (len != sizeof(*j) || view_check(&j->view) != 0 ||
	    group_check(&j->super.layout.group) != 0 || j->client == 0)
		return -EPROTO;
	for (uint32_t i = 0; i < 64; i++)
		j->address[i][PROTO_ADDRESS_BYTES - 1] = '\0';
	return 0;
}

/* @lacking: the node that none of our devices leads to (-ENODEV). What can be
 * read without it would do for a moment, not for a mount. */
static int attach_nodes(struct fab_net *net, const struct proto_joined *j,
			uint32_t *lacking)
{
	struct proto_hello h;
	unsigned up = 0;
	int rc, bad = 0;

	hello_fill(&h, PROTO_CLIENT, j->super.uuid);
	h.client = j->client;
	h.epoch = j->view.epoch;
	for (uint32_t i = 0; i < j->view.nodes; i++) {
		if (!(view_members(&j->view) >> i & 1))
			continue;
		if (fab_net_up(net, (uint8_t)i)) { /* kv_open_on()'s caller */
			up++;
			continue;
		}
		rc = hello_attach(net, (uint8_t)i, j->address[i], &h);
		if (rc == 0)
			up++;
		else if (rc == -EACCES || rc == -EPROTO || rc == -ENOMEM ||
			 rc == -ENODEV) {
			*lacking = i;
			return rc;
		} else
			bad = rc; /* it may have died just now */
	}
	/* With less than k of them some of it can still be read. */
	return up > 0 ? 0 : bad != 0 ? bad : -EIO;
}

/* The node's own word on what it is must be the coordinator's. */
static int check_super(struct fab *f, uint8_t node,
		       const struct layout_super *want)
{
	char buf[SUPER_READ];
	struct layout_super s;
	struct fab_op op;
	struct fab_batch b = {.ops = &op, .n = 1};
	int rc;

	fab_read(&op, node, 0, buf, sizeof(buf));
	rc = fab_run(f, &b);
	if (rc != 0 || op.status != 0)
		return rc; /* it is away: views are for that */
	rc = layout_super_read(buf, &s);
	if (rc != 0)
		return rc;
	if (s.node != node || s.secret != want->secret ||
	    memcmp(s.uuid, want->uuid, sizeof(s.uuid)) != 0 ||
	    s.layout.size != want->layout.size ||
	    s.layout.group.block_off != want->layout.group.block_off)
		return -EPROTO;
	return 0;
}

static int check_supers(struct fab_net *net, const struct proto_joined *j)
{
	struct fab *f;
	int rc = fab_open(net, &f);

	if (rc != 0)
		return rc;
	for (uint32_t i = 0; rc == 0 && i < j->view.nodes; i++)
		if (view_members(&j->view) >> i & 1)
			rc = check_super(f, (uint8_t)i, &j->super);
	fab_close(f);
	return rc;
}

/* --- parts ---------------------------------------------------------------- */

/* Another user's pool on this host: its nodes hand us the memory to be read
 * only. */
static bool is_anothers(const char *pool)
{
	struct stat st;

	return pool != NULL && geteuid() != 0 && stat(pool, &st) == 0 &&
	       st.st_uid != geteuid();
}

static void set_defaults(struct kv_opts *o)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	o->read_only |= o->key != NULL && o->key->reader;
	o->read_only |= is_anothers(o->pool);
	o->pool = NULL; /* the caller's */
	o->key = NULL;
	if (o->op_timeout_ms == 0)
		o->op_timeout_ms = KV_OP_TIMEOUT_MS;
	if (o->lanes == 0)
		o->lanes = cpus < 1		    ? 1
			   : cpus > (long)LANES_MAX ? LANES_MAX
						    : (uint32_t)cpus;
	if (o->cache_bytes == 0)
		o->cache_bytes = CACHE_BYTES;
}

static int client_new(struct kv *kv, struct client **out)
{
	static _Atomic uint64_t generations;
	struct client *c = calloc(1, sizeof(*c));
	int rc;

	if (c == NULL)
		return -ENOMEM;
	kv->priv = c;
	c->generation = atomic_fetch_add(&generations, 1) + 1;
	pthread_mutex_init(&c->lock, NULL);
	pthread_mutex_init(&c->space_lock, NULL);
	pthread_cond_init(&c->kick, NULL);
	rc = txn_keys_open(&c->txn_keys);
	if (rc == 0)
		rc = threads_open(kv, &c->threads);
	*out = c;
	return rc;
}

static void client_free(struct client *c)
{
	if (c == NULL)
		return;
	threads_close(c->threads);
	txn_keys_close(c->txn_keys);
	pthread_cond_destroy(&c->kick);
	pthread_mutex_destroy(&c->space_lock);
	pthread_mutex_destroy(&c->lock);
	free(c->coords);
	free(c);
}

/* Everything but the net, in any state of being made. */
static void parts_free(struct kv *kv)
{
	client_free(kv->priv);
	lease_close(kv->lease);
	clean_close(kv->clean);
	cache_close(kv->cache);
	alone_close(kv->alone);
	member_close(kv->member);
	code_close(kv->code);
	free(kv);
}

static int parts_open(struct kv *kv, const char *pool,
		      const struct proto_joined *j)
{
	struct client *c;
	int rc;

	kv->layout = j->super.layout;
	kv->secret = j->super.secret;
	kv->id = j->client;
	kv->persistent = j->view.persistent != 0;
	rc = client_new(kv, &c);
	if (rc == 0)
		memcpy(c->uuid, j->super.uuid, sizeof(c->uuid));
	if (rc == 0 && pool != NULL) {
		c->coords = strdup(pool);
		rc = c->coords != NULL ? 0 : -ENOMEM;
	}
	if (rc == 0)
		rc = code_open(kv->layout.group.k, kv->layout.group.m,
			       &kv->code);
	if (rc == 0)
		rc = cache_open(kv->opts.cache_bytes, &kv->cache);
	if (rc == 0)
		rc = alone_open(j->view.clients == 1, &kv->alone);
	if (rc == 0)
		rc = member_open(kv, &j->view, j->address, &kv->member);
	if (rc == 0 && j->leased != 0)
		rc = lease_open(kv, j->lease_ms, &kv->lease);
	if (rc == 0 && kv->opts.movable != NULL && !kv->opts.read_only)
		rc = clean_open(&kv->clean);
	if (rc == 0)
		rc = kv_thread(kv) != NULL ? 0 : -ENOMEM;
	if (rc == 0)
		rc = space_open(kv, &kv->space);
	return rc;
}

static int open_joined(const struct kv_opts *opts, struct fab_net *net,
		       const struct proto_joined *j, bool threads,
		       struct kv **out)
{
	struct kv *kv = calloc(1, sizeof(*kv));
	int rc;

	if (kv == NULL)
		return -ENOMEM;
	if (opts != NULL)
		kv->opts = *opts;
	set_defaults(&kv->opts);
	kv->net = net;
	rc = check_supers(net, j);
	if (rc == 0)
		rc = parts_open(kv, opts != NULL ? opts->pool : NULL, j);
	if (rc != 0)
		goto err_free_parts;
	if (threads) {
		rc = background_start(kv);
		if (rc != 0)
			goto err_close_space;
	}
	*out = kv;
	return 0;

err_close_space:
	space_close(kv->space);
err_free_parts:
	parts_free(kv);
	return rc;
}

int kv_open_on(const struct kv_opts *opts, struct fab_net *net, bool threads,
	       struct kv **out)
{
	struct proto_joined *j = calloc(1, sizeof(*j));
	uint32_t ignored;
	int rc;

	if (j == NULL)
		return -ENOMEM;
	rc = join(net, j);
	if (rc == 0)
		rc = attach_nodes(net, j, &ignored);
	if (rc == 0)
		rc = open_joined(opts, net, j, threads, out);
	free(j);
	return rc;
}

static const char *why_no_coord(const struct kv_opts *opts, int rc)
{
	switch (rc) {
	case -EPROTO:
		return "the pool is of another version";
	case -EACCES:
		if (opts->key == NULL)
			return "the pool belongs to another user";
		return opts->pool[0] == '/'
			       ? "it refuses us or our key (pool.key beside "
				 "it): use sudo; if that is refused too, "
				 "unmount the pool everywhere and mount it "
				 "again"
			       : "the pool's key is another: copy the key file "
				 "from where the pool was made";
	case -EAGAIN:
		return "none of its coordinators leads now: try again";
	default:
		return "no pool answers there: is it running?";
	}
}

static const char *why_no_join(int rc)
{
	switch (rc) {
	case -EACCES:
		return "its supervisor could not end us: run as its user, on "
		       "its host";
	case -EAGAIN:
		return "the pool is not whole yet, or none of its coordinators "
		       "leads now: start 'aceso pool serve' on all its hosts; "
		       "'aceso status' says on which it does not run";
	default:
		return "the pool does not let us join";
	}
}

/* By the coordinator that leads: others may answer, too. */
static int join_one(const struct kv_opts *opts, char *coords,
		    struct fab_net *net, struct proto_joined *j)
{
	uint32_t tries = hello_coords(coords);
	struct proto_hello h;
	int rc;

	hello_fill(&h, PROTO_CLIENT, NULL);
	do {
		fab_net_cut(net, FAB_NODE_COORD);
		rc = hello_attach_coord(net, coords, &h);
		if (rc != 0)
			return fail(rc, opts->pool, why_no_coord(opts, rc));
		rc = join(net, j);
	} while (rc == -EAGAIN && --tries > 0);
	return rc != 0 ? fail(rc, opts->pool, why_no_join(rc)) : 0;
}

static int let_in(const struct kv_opts *opts, struct fab_net *net,
		  struct proto_joined *j)
{
	char *coords = strdup(opts->pool);
	int rc;

	if (coords == NULL)
		return fail(-ENOMEM, opts->pool, "free some memory");
	rc = join_one(opts, coords, net, j);
	free(coords);
	return rc;
}

/* It has joined, and can do nothing: nobody is to wait for it. */
static void take_leave(struct fab_net *net)
{
	struct fab *f;

	if (fab_open(net, &f) != 0)
		return;
	fab_call_run(f, FAB_NODE_COORD, PROTO_LEAVE, NULL, 0, NULL, 0, NULL,
		     LEAVE_NS);
	fab_close(f);
}

static int reach_nodes(const struct kv_opts *opts, struct fab_net *net,
		       const struct proto_joined *j)
{
	uint32_t lacking;
	int rc = attach_nodes(net, j, &lacking);

	if (rc == 0)
		return 0;
	if (rc == -ENODEV)
		hello_no_rdma(lacking, j->address[lacking], error_line);
	else
		fail(rc, opts->pool,
		     "too few of its nodes answer: see 'aceso status'");
	take_leave(net);
	return rc;
}

static int open_pool(const struct kv_opts *opts, struct fab_net *net,
		     struct proto_joined *j, struct kv **out)
{
	int rc;

	rc = let_in(opts, net, j);
	if (rc == 0)
		rc = reach_nodes(opts, net, j);
	if (rc != 0)
		return rc;
	rc = open_joined(opts, net, j, true, out);
	if (rc != 0)
		return fail(rc, opts->pool, "this client could not start");
	return 0;
}

/* What lies beside a socket, in @room, or NULL: without one, or with one that
 * we cannot read, we are told so by who has it. */
static const struct fab_key *key_of(const struct kv_opts *opts,
				    struct fab_key *room)
{
	memset(room, 0, sizeof(*room));
	if (opts->key != NULL || opts->pool[0] != '/')
		return opts->key;
	return fab_key_beside(opts->pool, room) == 0 ? room : NULL;
}

int kv_open(const struct kv_opts *opts, struct kv **out)
{
	struct proto_joined *j;
	struct fab_net *net;
	struct fab_key key;
	int rc;

	if (opts == NULL || opts->pool == NULL)
		return fail(-EINVAL, "no pool named", "name its socket");
	j = calloc(1, sizeof(*j));
	if (j == NULL)
		return fail(-ENOMEM, opts->pool, "free some memory");
	rc = hello_net(opts->pool, key_of(opts, &key), &net);
	explicit_bzero(&key, sizeof(key));
	if (rc != 0) {
		free(j);
		return fail(rc, "the way to the pool",
			    "check the limits (ulimit -a)");
	}
	rc = open_pool(opts, net, j, out);
	if (rc != 0)
		fab_net_close(net);
	free(j);
	return rc;
}

/* --- leaving -------------------------------------------------------------- */

void kv_leaving(struct kv *kv)
{
	struct kv_thread *t = kv_thread(kv);
	uint64_t never = 0;

	if (t == NULL)
		return;
	atomic_compare_exchange_strong(&kv->leave_by, &never,
				       fab_now(t->fab) +
					       KV_LEAVE_MS * UINT64_C(1000000));
	lease_leave(kv->lease);
}

/* State keys without a transaction: nobody asks for them again. */
static void delete_state_keys(struct kv *kv)
{
	uint8_t key[TXN_KEY_BYTES];
	int rc = 0;

	while (rc != -ETIMEDOUT &&
	       txn_keys_pop(client_of(kv)->txn_keys, kv->id, key))
		rc = kv_del(kv, key, sizeof(key), 0);
}

void kv_close(struct kv *kv)
{
	struct fab_net *net;
	struct kv_thread *t;

	if (kv == NULL)
		return;
	net = kv->net;
	clean_stop(kv);
	background_stop_worker(kv);
	delete_state_keys(kv);
	t = kv_thread(kv);
	if (t != NULL)
		space_leave(kv->space, t);
	background_leaving(kv);
	if (t != NULL)
		fab_call_run(t->fab, FAB_NODE_COORD, PROTO_LEAVE, NULL, 0, NULL,
			     0, NULL, LEAVE_NS);
	background_stop_watcher(kv); /* it may adopt a view until it ends */
	space_close(kv->space);
	parts_free(kv);
	fab_net_close(net);
}

/* --- small answers -------------------------------------------------------- */

uint32_t kv_client_id(const struct kv *kv)
{
	return kv->id;
}

unsigned kv_clients(struct kv *kv)
{
	return member_clients(kv->member);
}

static int ask_lives(struct kv *kv, uint32_t id, struct proto_lived *said)
{
	struct kv_thread *t = kv_thread(kv);
	struct proto_lives msg = {.client = id};
	uint32_t len = 0;
	int rc;

	if (t == NULL)
		return -ENOMEM;
	rc = fab_call_run(t->fab, FAB_NODE_COORD, PROTO_LIVES, &msg,
			  sizeof(msg), said, sizeof(*said), &len, LIVES_NS);
	if (rc == 0 && len != sizeof(*said))
		return -EPROTO;
	return rc == 0 || rc == -EROFS ? rc : -EAGAIN;
}

int kv_client_lives(struct kv *kv, uint32_t id)
{
	struct proto_lived said;
	int rc = ask_lives(kv, id, &said);

	return rc != 0 ? rc : said.lives != 0;
}

int kv_client_swept(struct kv *kv, uint32_t id)
{
	struct proto_lived said;
	int rc = ask_lives(kv, id, &said);

	return rc != 0 ? rc : said.lives == 0 && said.swept != 0;
}

uint64_t kv_random(struct kv *kv)
{
	struct kv_thread *t = kv_thread(kv);

	return t != NULL ? fab_random(t->fab) : 0;
}

uint64_t kv_wall_ns(struct kv *kv)
{
	struct kv_thread *t = kv_thread(kv);

	return t != NULL ? fab_wall(t->fab) : 0;
}

void kv_stats(struct kv *kv, struct kv_stats *out)
{
	threads_stats(client_of(kv)->threads, out);
}
