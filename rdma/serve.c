/* rdma/serve.c - a node's connections and peers, whatever the transport. */
#include "rdma/serve.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* --- peers ---------------------------------------------------------------- */

static struct server_peer *peer_new(struct server *s, const uint8_t *token,
				    int32_t pid, uint32_t uid)
{
	struct server_peer *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	p->peer.ops = s->server.ops;
	p->peer.pid = pid;
	p->peer.uid = uid;
	p->server = s;
	memcpy(p->token, token, sizeof(p->token));
	atomic_init(&p->refs, 1);
	pthread_mutex_init(&p->lock, NULL);
	return p;
}

static void peer_put(struct server_peer *p)
{
	if (p == NULL || atomic_fetch_sub(&p->refs, 1) != 1)
		return;
	pthread_mutex_destroy(&p->lock);
	free(p);
}

void server_peer_cut(struct fab_peer *peer)
{
	struct server_peer *p = (struct server_peer *)peer;

	atomic_store(&p->gone, true);
	atomic_store(&p->cut, true);
	pthread_mutex_lock(&p->lock);
	if (p->server != NULL)
		server_wake(p->server);
	pthread_mutex_unlock(&p->lock);
}

/* --- the end of connections ----------------------------------------------- */

void server_conn_put(struct server_conn *c)
{
	struct server_peer *p = c->peer;

	if (atomic_fetch_sub(&c->refs, 1) != 1)
		return;
	c->how->free(c); /* the server may be gone */
	peer_put(p);
}

void server_conn_end(struct server_conn *c)
{
	struct server *s = c->server;

	if (c->over)
		return;
	c->over = true;
	s->how->shut(c);
	TAILQ_REMOVE(&s->conns, c, link);
	TAILQ_INSERT_TAIL(&s->dead, c, link);
	s->n_conns--;
	s->strangers -= c->peer == NULL;
}

static void conns_end(struct server *s, struct server_peer *p, bool all)
{
	struct server_conn *c, *next;

	atomic_store(&p->gone, true);
	for (c = TAILQ_FIRST(&s->conns); c != NULL; c = next) {
		next = TAILQ_NEXT(c, link);
		if (c->peer == p && (all || !c->primary))
			server_conn_end(c);
	}
}

void server_fence(struct server *s, struct server_peer *p)
{
	conns_end(s, p, false);
}

/* A peer is gone with its primary connection; then come no more CALLs. */
void server_hang_up(struct server_conn *c)
{
	struct server *s = c->server;
	struct server_peer *p = c->peer;

	if (c->over)
		return;
	if (!c->primary) {
		server_conn_end(c);
		return;
	}
	conns_end(s, p, true);
	pthread_mutex_lock(&p->lock);
	p->server = NULL;
	pthread_mutex_unlock(&p->lock);
	if (s->opts.on_gone != NULL)
		s->opts.on_gone(s->opts.arg, &p->peer);
}

static void bury(struct server *s)
{
	struct server_conn *c;

	while ((c = TAILQ_FIRST(&s->dead)) != NULL) {
		TAILQ_REMOVE(&s->dead, c, link);
		server_conn_put(c);
	}
}

void server_cut_turn(struct server *s)
{
	struct server_conn *c, *next;

	for (c = TAILQ_FIRST(&s->conns); c != NULL; c = next) {
		next = TAILQ_NEXT(c, link);
		if (c->primary && atomic_load(&c->peer->cut)) {
			server_hang_up(c); /* and others of the list */
			next = TAILQ_FIRST(&s->conns);
		}
	}
}

static void strangers_turn(struct server *s)
{
	uint64_t now = fab_clock_now(NULL);
	struct server_conn *c, *next;

	if (s->strangers == 0)
		return;
	for (c = TAILQ_FIRST(&s->conns); c != NULL; c = next) {
		next = TAILQ_NEXT(c, link);
		if (c->peer == NULL && now - c->born > s->how->hello_ns) {
			server_refused(s, c->address, -ETIME);
			server_conn_end(c);
		}
	}
}

void server_rest(struct server *s)
{
	strangers_turn(s);
	bury(s);
}

void server_end_all(struct server *s)
{
	struct server_conn *c;

	while ((c = TAILQ_FIRST(&s->conns)) != NULL)
		server_hang_up(c);
	bury(s);
}

/* --- who comes ------------------------------------------------------------ */

void server_conn_add(struct server *s, struct server_conn *c)
{
	c->server = s;
	c->how = s->how;
	c->born = fab_clock_now(NULL);
	atomic_init(&c->refs, 1);
	TAILQ_INSERT_TAIL(&s->conns, c, link);
	s->n_conns++;
	s->strangers++;
}

int server_hello(struct server_conn *c, const uint8_t *token, int32_t pid,
		 uint32_t uid, const void *hello, size_t len)
{
	struct server *s = c->server;
	struct server_peer *p = peer_new(s, token, pid, uid);
	int rc = 0;

	if (p == NULL)
		return -ENOMEM;
	p->peer.reader = c->reader;
	if (s->opts.on_hello != NULL)
		rc = s->opts.on_hello(s->opts.arg, &p->peer, hello, len);
	if (rc != 0) { /* it never was a peer: no on_gone */
		if (rc == -EACCES || rc == -EPROTO)
			server_refused(s, c->address, rc);
		peer_put(p);
		return rc;
	}
	c->peer = p;
	c->primary = true;
	s->strangers--;
	return 0;
}

static struct server_peer *find_peer(const struct server_conn *asks,
				     const uint8_t *token)
{
	struct server *s = asks->server;
	struct server_conn *c;

	TAILQ_FOREACH (c, &s->conns, link)
		if (c->primary && !atomic_load(&c->peer->gone) &&
		    memcmp(c->peer->token, token, NET_TOKEN_BYTES) == 0 &&
		    (s->how->same == NULL || s->how->same(c->peer, asks)))
			return c->peer;
	return NULL;
}

int server_hello_more(struct server_conn *c, const uint8_t *token)
{
	struct server_peer *p = find_peer(c, token);

	if (p == NULL)
		return -ESTALE; /* cut meanwhile, or never let in */
	if (p->peer.reader != c->reader)
		return -EACCES; /* with somebody else's token */
	atomic_fetch_add(&p->refs, 1);
	c->peer = p;
	c->server->strangers--;
	return 0;
}

int server_call(struct server_conn *c, uint64_t id, uint16_t type,
		const void *req, size_t len)
{
	const struct fab_server_opts *o = &c->server->opts;
	struct server_request *r;

	if (atomic_load(&c->peer->gone))
		return 0;
	r = malloc(sizeof(*r));
	if (r == NULL)
		return -ENOMEM;
	r->rq.ops = c->server->server.ops;
	r->rq.peer = &c->peer->peer;
	r->conn = c;
	r->id = id;
	atomic_fetch_add(&c->refs, 1);
	o->on_call(o->arg, &r->rq, type, req, len);
	return 0;
}

/* --- its life ------------------------------------------------------------- */

void server_wake(struct server *s)
{
	uint64_t one = 1;

	while (write(s->wakefd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

uint64_t server_malformed(const struct fab_server *s)
{
	return atomic_load(&((const struct server *)s)->malformed);
}

int server_open(struct server *s, const struct fab_server_opts *opts,
		const struct fab_server_ops *ops, const struct server_how *how)
{
	s->server.ops = ops;
	s->opts = *opts;
	s->how = how;
	TAILQ_INIT(&s->conns);
	TAILQ_INIT(&s->dead);
	s->wakefd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return s->wakefd < 0 ? -errno : 0;
}

void server_stop(struct server *s)
{
	atomic_store(&s->stop, true);
	server_wake(s);
	pthread_join(s->thread, NULL);
}

void server_close(struct server *s)
{
	if (s->wakefd >= 0)
		close(s->wakefd);
}
