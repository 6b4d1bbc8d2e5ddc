/* rdma/serve_sock.c - a server's thread where connections are sockets. */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rdma/serve.h"

static struct server_sock *sock_of(struct server *s)
{
	return (struct server_sock *)s;
}

/* --- accepting ------------------------------------------------------------ */

static void set_accepting(struct server_sock *s, bool on)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = s};

	if (s->accepting == on)
		return;
	if (epoll_ctl(s->epfd, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, s->listener,
		      &ev) == 0)
		s->accepting = on;
}

static void accept_all(struct server_sock *s)
{
	int sock;

	for (;;) {
		sock = accept4(s->listener, NULL, NULL,
			       SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (sock < 0)
			break;
		if (s->s.n_conns >= s->sock_how->conns_max ||
		    s->sock_how->accepted(s, sock) != 0)
			close(sock);
	}
	if (errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
	    errno == ENOBUFS)
		set_accepting(s, false); /* or we would spin here */
}

/* --- events --------------------------------------------------------------- */

static int watch(struct server_conn *c, int how, int sock, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = c};

	return epoll_ctl(sock_of(c->server)->epfd, how, sock, &ev) != 0 ? -errno
									: 0;
}

int server_sock_watch(struct server_conn *c, int sock, uint32_t events)
{
	return watch(c, EPOLL_CTL_ADD, sock, events);
}

int server_sock_rewatch(struct server_conn *c, int sock, uint32_t events)
{
	return watch(c, EPOLL_CTL_MOD, sock, events);
}

void server_sock_hang_up(struct server_conn *c, int sock)
{
	watch(c, EPOLL_CTL_DEL, sock, 0);
	shutdown(sock, SHUT_RDWR);
}

static void woken(struct server_sock *s)
{
	uint64_t n;
	ssize_t rc;

	rc = read(s->s.wakefd, &n, sizeof(n));
	(void)rc; /* woken is woken */
	if (s->sock_how->woken != NULL)
		s->sock_how->woken(s);
	server_cut_turn(&s->s);
}

static void event(struct server_sock *s, void *whose, uint32_t events)
{
	struct server_conn *c = whose;

	if (whose == NULL)
		woken(s);
	else if (whose == s)
		accept_all(s);
	else if (!c->over) /* by an earlier event of this turn */
		s->sock_how->ready(c, events);
}

static void *serve(void *arg)
{
	struct server_sock *s = arg;
	struct epoll_event ev[64];
	int n, wait;

	while (!atomic_load(&s->s.stop)) {
		wait = s->accepting && s->s.strangers == 0 ? -1
							   : SERVER_LOOK_MS;
		n = epoll_wait(s->epfd, ev, 64, wait);
		for (int i = 0; i < n; i++)
			event(s, ev[i].data.ptr, ev[i].events);
		server_rest(&s->s);
		if (n == 0)
			set_accepting(s, true);
	}
	server_end_all(&s->s);
	return NULL;
}

/* --- its life ------------------------------------------------------------- */

static void close_fds(struct server_sock *s)
{
	if (s->epfd >= 0)
		close(s->epfd);
	close(s->listener);
}

int server_sock_start(struct server_sock *s, const struct server_sock_how *how,
		      int listener)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
	int rc = 0;

	s->sock_how = how;
	s->listener = listener;
	s->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (s->epfd < 0 ||
	    epoll_ctl(s->epfd, EPOLL_CTL_ADD, s->s.wakefd, &ev) != 0)
		rc = -errno;
	if (rc == 0) {
		set_accepting(s, true);
		rc = s->accepting ? 0 : -ENOMEM;
	}
	if (rc == 0)
		rc = fab_thread_start(&s->s.thread, serve, s);
	if (rc != 0)
		close_fds(s);
	return rc;
}

void server_sock_stop(struct server_sock *s)
{
	server_stop(&s->s);
	close_fds(s);
}
