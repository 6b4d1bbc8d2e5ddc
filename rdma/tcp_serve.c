/* rdma/tcp_serve.c - a node's server: one thread that accepts connections,
 * does what their frames ask and calls the node. What a peer sends is input:
 * what breaks the rules ends the connection, and nothing else. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rdma/tcp_serve_impl.h"

#define LOOK_MS 100 /* at strangers, and whether accepting works again */

/* --- the end of connections ----------------------------------------------- */

static void conn_end(struct tcp_server *s, struct tcp_conn *c)
{
	if (c->link == NULL)
		return; /* already among the dead */
	tcp_conn_shut(c);
	TAILQ_REMOVE(&s->conns, c, link_all);
	TAILQ_INSERT_TAIL(&s->dead, c, link_all);
	s->n_conns--;
	s->strangers -= c->peer == NULL;
}

/* All connections of @p; its primary one only if @all. */
static void conns_end(struct tcp_server *s, struct tcp_peer *p, bool all)
{
	struct tcp_conn *c, *next;

	atomic_store(&p->gone, true);
	for (c = TAILQ_FIRST(&s->conns); c != NULL; c = next) {
		next = TAILQ_NEXT(c, link_all);
		if (c->peer == p && (all || !c->primary))
			conn_end(s, c);
	}
}

/* A peer is gone with its primary connection; then come no more CALLs. */
static void hang_up(struct tcp_server *s, struct tcp_conn *c)
{
	struct tcp_peer *p = c->peer;

	if (c->link == NULL)
		return;
	if (!c->primary) {
		conn_end(s, c);
		return;
	}
	conns_end(s, p, true);
	if (s->opts.on_gone != NULL)
		s->opts.on_gone(s->opts.arg, &p->peer);
}

static void bury(struct tcp_server *s)
{
	struct tcp_conn *c;

	while ((c = TAILQ_FIRST(&s->dead)) != NULL) {
		TAILQ_REMOVE(&s->dead, c, link_all);
		tcp_conn_put(c);
	}
}

/* --- hello ---------------------------------------------------------------- */

static int welcome(struct tcp_conn *c, int status)
{
	struct tcp_frame fr = {.type = TCP_WELCOME,
			       .status = status,
			       .arg = c->server->opts.size};
	uint8_t *to;

	pthread_mutex_lock(&c->lock);
	to = tcp_conn_put_frame(c, &fr, NULL);
	pthread_mutex_unlock(&c->lock);
	if (to == NULL)
		return -ENOMEM;
	if (status == 0)
		return 0;
	tcp_conn_flush(c);
	return -ECONNABORTED;
}

static struct tcp_peer *peer_new(struct tcp_server *s, const uint8_t *token)
{
	struct tcp_peer *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	p->peer.ops = &tcp_server_ops;
	p->peer.uid = UINT32_MAX; /* nobody this host knows */
	p->server = s;
	memcpy(p->token, token, sizeof(p->token));
	atomic_init(&p->refs, 1);
	return p;
}

static int hello(struct tcp_conn *c, const struct tcp_hello *h, size_t len)
{
	struct tcp_server *s = c->server;
	struct tcp_peer *p = peer_new(s, h->token);
	int rc = 0;

	if (p == NULL)
		return welcome(c, -ENOMEM);
	p->peer.reader = tcp_link_reader(c->link);
	if (s->opts.on_hello != NULL)
		rc = s->opts.on_hello(s->opts.arg, &p->peer, h + 1, len);
	if (rc != 0) { /* it never was a peer: no on_gone */
		tcp_peer_put(p);
		return welcome(c, rc);
	}
	c->peer = p;
	c->primary = true;
	s->strangers--;
	return welcome(c, 0);
}

static struct tcp_peer *find_peer(struct tcp_server *s, const uint8_t *token)
{
	struct tcp_conn *c;

	TAILQ_FOREACH (c, &s->conns, link_all)
		if (c->primary && !atomic_load(&c->peer->gone) &&
		    memcmp(c->peer->token, token, TCP_TOKEN_BYTES) == 0)
			return c->peer;
	return NULL;
}

static int hello_queue(struct tcp_conn *c, const struct tcp_hello *h)
{
	struct tcp_peer *p = find_peer(c->server, h->token);

	if (p == NULL)
		return -ESTALE; /* cut meanwhile, or never let in */
	if (p->peer.reader != tcp_link_reader(c->link))
		return -EACCES; /* with somebody else's token */
	atomic_fetch_add(&p->refs, 1);
	c->peer = p;
	c->server->strangers--;
	return 0;
}

static int stranger(struct tcp_conn *c, const void *payload)
{
	const struct tcp_hello *h = payload;

	if (c->in.len < sizeof(*h) || h->magic != TCP_MAGIC ||
	    h->version != TCP_VERSION)
		return -EPROTO;
	if (c->in.type == TCP_HELLO)
		return hello(c, h, c->in.len - sizeof(*h));
	return hello_queue(c, h);
}

/* The answer goes out when nothing of the peer's is left to be done. */
static int fence(struct tcp_conn *c)
{
	struct tcp_frame fr = {.type = TCP_FENCED};
	uint8_t *to;

	conns_end(c->server, c->peer, false);
	pthread_mutex_lock(&c->lock);
	to = tcp_conn_put_frame(c, &fr, NULL);
	pthread_mutex_unlock(&c->lock);
	return to != NULL ? 0 : -ENOMEM;
}

static int on_frame(struct tcp_conn *c, const void *payload)
{
	if (c->peer == NULL)
		return stranger(c, payload);
	if (c->primary)
		return c->in.type == TCP_FENCE ? fence(c) : -EPROTO;
	return tcp_exec(c, payload);
}

/* --- turns ---------------------------------------------------------------- */

/* Look for what can go on: input unless too much waits to go out. */
static void set_events(struct tcp_server *s, struct tcp_conn *c)
{
	struct epoll_event ev = {.data.ptr = c};

	if (tcp_conn_waiting(c) < TCP_OUT_HIGH) {
		ev.events |= EPOLLIN;
		if (c->more)
			tcp_conn_ready(c);
	}
	if (tcp_link_wants(c->link) != 0)
		ev.events |= EPOLLOUT;
	if (ev.events != c->events &&
	    epoll_ctl(s->epfd, EPOLL_CTL_MOD, tcp_link_fd(c->link), &ev) == 0)
		c->events = ev.events;
}

static int conn_work(struct tcp_conn *c, bool in)
{
	int rc;

	if (!c->shaken) {
		rc = tcp_link_shake(c->link);
		if (rc != 0)
			return rc;
		c->shaken = true;
	}
	rc = in ? tcp_conn_receive(c, on_frame) : 0;
	if ((rc != 0 && rc != -EAGAIN) || c->link == NULL)
		return rc;
	return tcp_conn_flush(c);
}

static void conn_turn(struct tcp_server *s, struct tcp_conn *c, bool in)
{
	int rc;

	if (c->link == NULL)
		return; /* ended by an earlier event of this turn */
	if (c->peer != NULL && atomic_load(&c->peer->cut)) {
		hang_up(s, c); /* nothing of it may take effect any more */
		return;
	}
	rc = conn_work(c, in);
	if (c->link == NULL)
		return;
	if (rc == -EPROTO || rc == -EACCES)
		atomic_fetch_add(&s->malformed, 1);
	if ((rc != 0 && rc != -EAGAIN) ||
	    (c->peer != NULL && atomic_load(&c->peer->cut)))
		hang_up(s, c);
	else
		set_events(s, c);
}

/* Who becomes ready meanwhile waits for the next time. */
static void ready_turn(struct tcp_server *s)
{
	struct tcp_conns now = TAILQ_HEAD_INITIALIZER(now);
	struct tcp_conn *c;

	pthread_mutex_lock(&s->lock);
	TAILQ_CONCAT(&now, &s->ready, link_ready);
	while ((c = TAILQ_FIRST(&now)) != NULL) {
		TAILQ_REMOVE(&now, c, link_ready);
		c->ready = false;
		pthread_mutex_unlock(&s->lock);
		conn_turn(s, c, c->more);
		tcp_conn_put(c);
		pthread_mutex_lock(&s->lock);
	}
	pthread_mutex_unlock(&s->lock);
}

static void cut_turn(struct tcp_server *s)
{
	struct tcp_conn *c, *next;

	for (c = TAILQ_FIRST(&s->conns); c != NULL; c = next) {
		next = TAILQ_NEXT(c, link_all);
		if (c->primary && atomic_load(&c->peer->cut)) {
			hang_up(s, c);
			next = TAILQ_FIRST(&s->conns);
		}
	}
}

/* Who has not said hello in time is no peer. */
static void strangers_turn(struct tcp_server *s)
{
	uint64_t now = fab_clock_now(NULL);
	struct tcp_conn *c, *next;

	if (s->strangers == 0)
		return;
	for (c = TAILQ_FIRST(&s->conns); c != NULL; c = next) {
		next = TAILQ_NEXT(c, link_all);
		if (c->peer == NULL && now - c->born > TCP_HELLO_NS)
			conn_end(s, c);
	}
}

/* --- accepting ------------------------------------------------------------ */

static void set_accepting(struct tcp_server *s, bool on)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = s};

	if (s->accepting == on)
		return;
	if (epoll_ctl(s->epfd, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, s->listener,
		      &ev) == 0)
		s->accepting = on;
}

static int add_conn(struct tcp_server *s, int sock)
{
	struct epoll_event ev = {.events = EPOLLIN};
	struct tcp_conn *c;

	if (s->n_conns >= TCP_CONNS_MAX)
		return -EMFILE;
	tcp_tune(sock);
	c = tcp_conn_open(s, sock);
	if (c == NULL)
		return -ENOMEM;
	ev.data.ptr = c;
	c->events = ev.events;
	TAILQ_INSERT_TAIL(&s->conns, c, link_all);
	s->n_conns++;
	s->strangers++;
	if (epoll_ctl(s->epfd, EPOLL_CTL_ADD, sock, &ev) != 0)
		conn_end(s, c); /* closes @sock */
	return 0;
}

static void accept_all(struct tcp_server *s)
{
	int sock;

	for (;;) {
		sock = accept4(s->listener, NULL, NULL,
			       SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (sock < 0)
			break;
		if (add_conn(s, sock) != 0)
			close(sock);
	}
	if (errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
	    errno == ENOBUFS)
		set_accepting(s, false); /* or we would spin here */
}

/* --- the thread ----------------------------------------------------------- */

static void woken(struct tcp_server *s)
{
	uint64_t n;
	ssize_t rc;

	rc = read(s->wakefd, &n, sizeof(n));
	(void)rc; /* woken is woken */
	ready_turn(s);
	cut_turn(s);
}

static void *serve(void *arg)
{
	struct tcp_server *s = arg;
	struct epoll_event ev[64];
	struct tcp_conn *c;
	int n;

	while (!atomic_load(&s->stop)) {
		n = epoll_wait(s->epfd, ev, 64,
			       s->accepting && s->strangers == 0 ? -1
								 : LOOK_MS);
		for (int i = 0; i < n; i++) {
			if (ev[i].data.ptr == NULL)
				woken(s);
			else if (ev[i].data.ptr == s)
				accept_all(s);
			else
				conn_turn(s, ev[i].data.ptr,
					  (ev[i].events & ~EPOLLOUT) != 0);
		}
		strangers_turn(s);
		bury(s);
		if (n == 0)
			set_accepting(s, true);
	}
	while ((c = TAILQ_FIRST(&s->conns)) != NULL)
		hang_up(s, c);
	bury(s);
	return NULL;
}

void tcp_server_wake(struct tcp_server *s)
{
	uint64_t one = 1;

	while (write(s->wakefd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

/* --- its life ------------------------------------------------------------- */

static void server_free(struct tcp_server *s)
{
	if (s->listener >= 0)
		close(s->listener);
	if (s->wakefd >= 0)
		close(s->wakefd);
	if (s->epfd >= 0)
		close(s->epfd);
	tcp_tls_close(s->tls);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static void tcp_server_close(struct fab_server *server)
{
	struct tcp_server *s = (struct tcp_server *)server;
	struct tcp_conn *c;

	atomic_store(&s->stop, true);
	tcp_server_wake(s);
	pthread_join(s->thread, NULL);
	while ((c = TAILQ_FIRST(&s->ready)) != NULL) {
		TAILQ_REMOVE(&s->ready, c, link_ready);
		tcp_conn_put(c);
	}
	server_free(s);
}

static uint64_t server_malformed(const struct fab_server *server)
{
	return atomic_load(&((const struct tcp_server *)server)->malformed);
}

const struct fab_server_ops tcp_server_ops = {
	.close = tcp_server_close,
	.reply = tcp_reply,
	.peer_cut = tcp_peer_cut,
	.malformed = server_malformed,
};

static int open_events(struct tcp_server *s)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};

	s->epfd = epoll_create1(EPOLL_CLOEXEC);
	s->wakefd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->epfd < 0 || s->wakefd < 0 ||
	    epoll_ctl(s->epfd, EPOLL_CTL_ADD, s->wakefd, &ev) != 0)
		return -errno;
	return 0;
}

int tcp_server_open(const struct fab_server_opts *opts, struct fab_server **out)
{
	struct tcp_server *s = calloc(1, sizeof(*s));
	int rc;

	if (s == NULL)
		return -ENOMEM;
	s->server.ops = &tcp_server_ops;
	s->opts = *opts;
	s->listener = s->epfd = s->wakefd = -1;
	TAILQ_INIT(&s->conns);
	TAILQ_INIT(&s->dead);
	TAILQ_INIT(&s->ready);
	pthread_mutex_init(&s->lock, NULL);
	rc = tcp_tls_open(opts->key, true, &s->tls);
	if (rc == 0)
		rc = open_events(s);
	if (rc == 0)
		rc = tcp_listen(opts->address, &s->listener);
	if (rc == 0) {
		set_accepting(s, true);
		rc = s->accepting ? 0 : -ENOMEM;
	}
	if (rc == 0)
		rc = fab_thread_start(&s->thread, serve, s);
	if (rc != 0) {
		server_free(s);
		return rc;
	}
	*out = &s->server;
	return 0;
}
