/* rdma/shm_serve.c - a node's server: one thread that accepts connections,
 * reads their messages and calls the node. What a peer sends is input: what
 * breaks the rules ends the connection, and nothing else. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rdma/shm_serve_impl.h"

#define READS_PER_TURN	32  /* of one connection, before the others' turn */
#define ACCEPT_AGAIN_MS 100 /* out of descriptors: look again after */

struct shm_server {
	struct fab_server server;
	struct fab_server_opts opts;
	char *path;
	uint64_t inode;
	int listener, epfd, stopfd;
	bool accepting;
	pthread_t thread;
	struct shm_conns conns;
	unsigned n_conns;
	struct shm_conns dead; /* until no event at hand can name them */
	_Atomic(uint64_t) malformed;
	uint8_t frame[SHM_FRAME_MAX];
};

/* --- the end of connections ----------------------------------------------- */

static void conn_end(struct shm_server *s, struct shm_conn *c)
{
	if (c->sock < 0)
		return; /* already among the dead */
	shm_conn_shut(c);
	TAILQ_REMOVE(&s->conns, c, link);
	TAILQ_INSERT_TAIL(&s->dead, c, link);
	s->n_conns--;
}

/* A peer is gone with its primary connection; then come no more CALLs. */
static void peer_end(struct shm_server *s, struct shm_peer *p)
{
	struct shm_conn *c, *next;

	atomic_store(&p->gone, true);
	for (c = TAILQ_FIRST(&s->conns); c != NULL; c = next) {
		next = TAILQ_NEXT(c, link);
		if (c->peer == p)
			conn_end(s, c);
	}
	if (s->opts.on_gone != NULL)
		s->opts.on_gone(s->opts.arg, &p->peer);
}

static void hang_up(struct shm_server *s, struct shm_conn *c)
{
	if (c->primary && c->peer != NULL)
		peer_end(s, c->peer);
	else
		conn_end(s, c);
}

static void malformed(struct shm_server *s, struct shm_conn *c)
{
	atomic_fetch_add(&s->malformed, 1);
	hang_up(s, c);
}

static void bury(struct shm_server *s)
{
	struct shm_conn *c;

	while ((c = TAILQ_FIRST(&s->dead)) != NULL) {
		TAILQ_REMOVE(&s->dead, c, link);
		shm_conn_put(c);
	}
}

/* --- hello ---------------------------------------------------------------- */

static int welcome(struct shm_server *s, struct shm_conn *c, int status)
{
	struct shm_frame fr;

	shm_frame_init(&fr, SHM_WELCOME);
	fr.status = status;
	fr.id = s->opts.size;
	return shm_send(
		c->sock, &fr, NULL, 0,
		status == 0 && s->opts.region != NULL ? s->opts.region_fd : -1);
}

static void hello(struct shm_server *s, struct shm_conn *c,
		  const struct shm_frame *fr, size_t len)
{
	struct shm_peer *p = shm_peer_open(c->sock, fr->token);
	int rc = 0;

	if (p == NULL) {
		welcome(s, c, -ENOMEM);
		hang_up(s, c);
		return;
	}
	if (s->opts.on_hello != NULL)
		rc = s->opts.on_hello(s->opts.arg, &p->peer, fr + 1, len);
	if (rc != 0) { /* it never was a peer: no on_gone */
		welcome(s, c, rc);
		shm_peer_put(p);
		hang_up(s, c);
		return;
	}
	c->peer = p;
	c->primary = true;
	if (welcome(s, c, 0) != 0)
		hang_up(s, c);
}

static struct shm_peer *find_peer(struct shm_server *s, int sock,
				  const uint8_t *token)
{
	struct shm_conn *c;

	TAILQ_FOREACH (c, &s->conns, link)
		if (c->primary && shm_peer_is(c->peer, sock, token))
			return c->peer;
	return NULL;
}

static void hello_calls(struct shm_server *s, struct shm_conn *c,
			const struct shm_frame *fr)
{
	struct shm_peer *p = find_peer(s, c->sock, fr->token);

	if (p == NULL) { /* cut meanwhile, or never let in */
		hang_up(s, c);
		return;
	}
	atomic_fetch_add(&p->refs, 1);
	c->peer = p;
}

/* --- calls ---------------------------------------------------------------- */

static void call(struct shm_server *s, struct shm_conn *c,
		 const struct shm_frame *fr, size_t len)
{
	struct shm_request *r;

	if (atomic_load(&c->peer->gone))
		return;
	r = malloc(sizeof(*r));
	if (r == NULL) {
		hang_up(s, c);
		return;
	}
	r->rq.ops = &shm_server_ops;
	r->rq.peer = &c->peer->peer;
	r->conn = c;
	r->id = fr->id;
	atomic_fetch_add(&c->refs, 1);
	s->opts.on_call(s->opts.arg, &r->rq, fr->call, fr + 1, len);
}

static void handle(struct shm_server *s, struct shm_conn *c, size_t len)
{
	struct shm_frame *fr = (struct shm_frame *)s->frame;
	bool known = c->peer != NULL;

	if (!shm_frame_ok(fr, len)) {
		malformed(s, c);
		return;
	}
	len -= sizeof(*fr);
	if (!known && fr->type == SHM_HELLO)
		hello(s, c, fr, len);
	else if (!known && fr->type == SHM_HELLO_CALLS && len == 0)
		hello_calls(s, c, fr);
	else if (known && !c->primary && fr->type == SHM_CALL)
		call(s, c, fr, len);
	else
		malformed(s, c);
}

static void receive(struct shm_server *s, struct shm_conn *c)
{
	ssize_t n;

	for (int i = 0; i < READS_PER_TURN && c->sock >= 0; i++) {
		n = shm_recv(c->sock, s->frame, sizeof(s->frame), NULL);
		if (n == -EAGAIN)
			return;
		if (n > 0)
			handle(s, c, (size_t)n);
		else if (n == -EMSGSIZE)
			malformed(s, c);
		else
			hang_up(s, c);
	}
}

/* --- accepting ------------------------------------------------------------ */

static void set_accepting(struct shm_server *s, bool on)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = s};

	if (s->accepting == on)
		return;
	if (epoll_ctl(s->epfd, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, s->listener,
		      &ev) == 0)
		s->accepting = on;
}

static int add_conn(struct shm_server *s, int sock)
{
	struct epoll_event ev = {.events = EPOLLIN};
	int size = SHM_SNDBUF;
	struct shm_conn *c;

	if (s->n_conns >= SHM_CONNS_MAX)
		return -EMFILE;
	setsockopt(sock, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	c = shm_conn_open(sock, s->epfd);
	if (c == NULL)
		return -ENOMEM;
	ev.data.ptr = c;
	if (epoll_ctl(s->epfd, EPOLL_CTL_ADD, sock, &ev) != 0) {
		c->sock = -1; /* it stays the caller's */
		shm_conn_put(c);
		return -errno;
	}
	TAILQ_INSERT_TAIL(&s->conns, c, link);
	s->n_conns++;
	return 0;
}

static void accept_all(struct shm_server *s)
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

static void conn_event(struct shm_server *s, struct shm_conn *c,
		       uint32_t events)
{
	if (c->sock < 0)
		return; /* ended by an earlier event of this turn */
	if ((events & EPOLLOUT) != 0)
		shm_conn_flush(c);
	if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
		receive(s, c);
}

static void end_all(struct shm_server *s)
{
	struct shm_conn *c;

	while ((c = TAILQ_FIRST(&s->conns)) != NULL)
		hang_up(s, c);
	bury(s);
}

static void *serve(void *arg)
{
	struct shm_server *s = arg;
	struct epoll_event ev[64];
	int n;

	for (;;) {
		n = epoll_wait(s->epfd, ev, 64,
			       s->accepting ? -1 : ACCEPT_AGAIN_MS);
		for (int i = 0; i < n; i++) {
			if (ev[i].data.ptr == NULL) {
				end_all(s);
				return NULL;
			}
			if (ev[i].data.ptr == s)
				accept_all(s);
			else
				conn_event(s, ev[i].data.ptr, ev[i].events);
		}
		bury(s);
		if (n == 0)
			set_accepting(s, true);
	}
}

/* --- its life ------------------------------------------------------------ */

static void shm_server_close(struct fab_server *server)
{
	struct shm_server *s = (struct shm_server *)server;
	uint64_t one = 1;

	while (write(s->stopfd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	pthread_join(s->thread, NULL);
	shm_unlisten(s->path, s->inode);
	close(s->stopfd);
	close(s->epfd);
	close(s->listener);
	free(s->path);
	free(s);
}

static uint64_t server_malformed(const struct fab_server *server)
{
	return atomic_load(&((struct shm_server *)server)->malformed);
}

const struct fab_server_ops shm_server_ops = {
	.close = shm_server_close,
	.reply = shm_reply,
	.peer_cut = shm_peer_cut,
	.malformed = server_malformed,
};

static int open_events(struct shm_server *s)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
	int rc;

	s->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (s->epfd < 0)
		return -errno;
	s->stopfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->stopfd < 0)
		goto err_close_epfd;
	if (epoll_ctl(s->epfd, EPOLL_CTL_ADD, s->stopfd, &ev) != 0)
		goto err_close_stopfd;
	return 0;

err_close_stopfd:
	rc = -errno;
	close(s->stopfd);
	close(s->epfd);
	return rc;
err_close_epfd:
	rc = -errno;
	close(s->epfd);
	return rc;
}

static int start(struct shm_server *s)
{
	int rc;

	rc = shm_listen(s->path, &s->inode, &s->listener);
	if (rc != 0)
		return rc;
	set_accepting(s, true);
	rc = s->accepting ? 0 : -ENOMEM;
	if (rc == 0)
		rc = fab_thread_start(&s->thread, serve, s);
	if (rc != 0) {
		shm_unlisten(s->path, s->inode);
		close(s->listener);
	}
	return rc;
}

int shm_server_open(const struct fab_server_opts *opts, struct fab_server **out)
{
	struct shm_server *s;
	int rc = -ENOMEM;

	if (opts->region != NULL && opts->region_fd < 0)
		return -EINVAL; /* nothing to hand over */
	s = calloc(1, sizeof(*s));
	if (s == NULL)
		return -ENOMEM;
	s->server.ops = &shm_server_ops;
	s->opts = *opts;
	TAILQ_INIT(&s->conns);
	TAILQ_INIT(&s->dead);
	s->path = strdup(opts->address);
	if (s->path == NULL)
		goto err_free;
	rc = open_events(s);
	if (rc != 0)
		goto err_free_path;
	rc = start(s);
	if (rc != 0)
		goto err_close_events;
	*out = &s->server;
	return 0;

err_close_events:
	close(s->stopfd);
	close(s->epfd);
err_free_path:
	free(s->path);
err_free:
	free(s);
	return rc;
}
