/* rdma/tcp_serve.c - a node's server: one thread that accepts connections,
 * does what their frames ask and calls the node. What a peer sends is input:
 * what breaks the rules ends the connection, and nothing else. */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "rdma/tcp_serve_impl.h"

/* --- hello ---------------------------------------------------------------- */

static int put_frame(struct tcp_conn *c, const struct tcp_frame *fr)
{
	int rc;

	pthread_mutex_lock(&c->lock);
	rc = tcp_conn_put_frame(c, fr, NULL);
	pthread_mutex_unlock(&c->lock);
	return rc;
}

static int hello(struct tcp_conn *c, const struct tcp_hello *h, size_t len)
{
	struct tcp_frame fr = {.type = TCP_WELCOME,
			       .arg = c->c.server->opts.size};
	int rc;

	/* nobody this host knows */
	fr.status = server_hello(&c->c, h->token, 0, UINT32_MAX, h + 1, len);
	rc = put_frame(c, &fr);
	if (rc != 0 || fr.status == 0)
		return rc;
	tcp_conn_flush(c);
	return -ECONNABORTED;
}

static int stranger(struct tcp_conn *c, const void *payload)
{
	const struct tcp_hello *h = payload;

	if (c->in.len < sizeof(*h) || h->magic != TCP_MAGIC ||
	    h->version != TCP_VERSION)
		return -EPROTO;
	if (c->in.type == TCP_HELLO)
		return hello(c, h, c->in.len - sizeof(*h));
	return server_hello_more(&c->c, h->token);
}

/* The answer goes out when nothing of the peer's is left to be done. */
static int fence(struct tcp_conn *c)
{
	struct tcp_frame fr = {.type = TCP_FENCED};

	server_fence(c->c.server, c->c.peer);
	return put_frame(c, &fr);
}

static int on_frame(struct tcp_conn *c, const void *payload)
{
	if (c->c.peer == NULL)
		return stranger(c, payload);
	if (c->c.primary)
		return c->in.type == TCP_FENCE ? fence(c) : -EPROTO;
	return tcp_exec(c, payload);
}

/* --- turns ---------------------------------------------------------------- */

/* Look for what can go on: input unless too much waits to go out. */
static void set_events(struct tcp_conn *c)
{
	uint32_t events = 0;

	if (tcp_conn_takes(c)) {
		events |= EPOLLIN;
		if (c->more)
			tcp_conn_ready(c);
	}
	if (tcp_link_wants(c->link) != 0)
		events |= EPOLLOUT;
	if (events != c->events &&
	    server_sock_rewatch(&c->c, tcp_link_fd(c->link), events) == 0)
		c->events = events;
}

static int conn_work(struct tcp_conn *c, bool in)
{
	int rc;

	if (!c->shaken) {
		rc = tcp_link_shake(c->link);
		if (rc != 0)
			return rc;
		c->shaken = true;
		c->c.reader = tcp_link_reader(c->link);
	}
	rc = in ? tcp_conn_receive(c, on_frame) : 0;
	if ((rc != 0 && rc != -EAGAIN) || c->link == NULL)
		return rc;
	return tcp_conn_flush(c);
}

static void conn_turn(struct tcp_conn *c, bool in)
{
	int rc;

	if (c->link == NULL)
		return; /* ended by an earlier event of this turn */
	if (c->c.peer != NULL && atomic_load(&c->c.peer->cut)) {
		server_hang_up(
			&c->c); /* nothing of it may take effect any more */
		return;
	}
	rc = conn_work(c, in);
	if (c->link == NULL)
		return;
	if ((rc != 0 && rc != -EAGAIN) ||
	    (c->c.peer != NULL && atomic_load(&c->c.peer->cut)))
		server_hang_up_for(&c->c, rc);
	else
		set_events(c);
}

static void conn_ready(struct server_conn *c, uint32_t events)
{
	conn_turn((struct tcp_conn *)c, (events & ~EPOLLOUT) != 0);
}

/* Who becomes ready meanwhile waits for the next time. */
static void ready_turn(struct server_sock *sock)
{
	struct tcp_server *s = (struct tcp_server *)sock;
	struct tcp_conns now = TAILQ_HEAD_INITIALIZER(now);
	struct tcp_conn *c;

	pthread_mutex_lock(&s->lock);
	TAILQ_CONCAT(&now, &s->ready, link_ready);
	while ((c = TAILQ_FIRST(&now)) != NULL) {
		TAILQ_REMOVE(&now, c, link_ready);
		c->ready = false;
		pthread_mutex_unlock(&s->lock);
		conn_turn(c, c->more);
		server_conn_put(&c->c);
		pthread_mutex_lock(&s->lock);
	}
	pthread_mutex_unlock(&s->lock);
}

/* --- accepting ------------------------------------------------------------ */

static int accepted(struct server_sock *s, int sock)
{
	struct sockaddr_storage from;
	socklen_t len = sizeof(from);
	struct tcp_conn *c;

	tcp_tune(sock);
	c = tcp_conn_open((struct tcp_server *)s, sock);
	if (c == NULL)
		return -ENOMEM;
	c->events = EPOLLIN;
	if (getpeername(sock, (struct sockaddr *)&from, &len) == 0)
		server_conn_from(&c->c, (struct sockaddr *)&from, len);
	server_conn_add(&s->s, &c->c);
	if (server_sock_watch(&c->c, sock, c->events) != 0)
		server_conn_end(&c->c); /* closes @sock */
	return 0;
}

/* --- its life ------------------------------------------------------------- */

static const struct server_how conn_how = {
	.shut = tcp_conn_shut,
	.free = tcp_conn_free,
	.hello_ns = TCP_HELLO_NS,
};

static const struct server_sock_how sock_how = {
	.conns_max = TCP_CONNS_MAX,
	.accepted = accepted,
	.ready = conn_ready,
	.woken = ready_turn,
};

static void server_free(struct tcp_server *s)
{
	server_close(&s->sock.s);
	tcp_tls_close(s->tls);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static void tcp_server_close(struct fab_server *server)
{
	struct tcp_server *s = (struct tcp_server *)server;
	struct tcp_conn *c;

	server_sock_stop(&s->sock);
	while ((c = TAILQ_FIRST(&s->ready)) != NULL) {
		TAILQ_REMOVE(&s->ready, c, link_ready);
		server_conn_put(&c->c);
	}
	server_free(s);
}

static const struct fab_server_ops tcp_server_ops = {
	.close = tcp_server_close,
	.reply = tcp_reply,
	.peer_cut = server_peer_cut,
	.malformed = server_malformed,
};

int tcp_server_open(const struct fab_server_opts *opts, struct fab_server **out)
{
	struct tcp_server *s = calloc(1, sizeof(*s));
	int listener, rc;

	if (s == NULL)
		return -ENOMEM;
	TAILQ_INIT(&s->ready);
	pthread_mutex_init(&s->lock, NULL);
	rc = server_open(&s->sock.s, opts, &tcp_server_ops, &conn_how);
	if (rc == 0)
		rc = tcp_tls_open(opts->key, true, &s->tls);
	if (rc == 0)
		rc = tcp_listen(opts->address, &listener);
	if (rc == 0)
		rc = server_sock_start(&s->sock, &sock_how, listener);
	if (rc != 0) {
		server_free(s);
		return rc;
	}
	*out = &s->sock.s.server;
	return 0;
}
