/* rdma/tcp_sock.c - addresses and sockets; knows nothing of nodes. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rdma/host_port.h"
#include "rdma/loopback.h"
#include "rdma/tcp_link.h"

#define SCHEME	     "tcp:"
#define DEAD_MS	     1000 /* bytes not acknowledged, or no life sign, so long */
#define BACKLOG	     256
#define SOCKET_BYTES (4 << 20)

static int resolve(const char *address, int flags, struct addrinfo **out)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags};
	const char *port;
	char host[256];
	int rc;

	rc = fab_host_port(address, SCHEME, host, sizeof(host), &port);
	if (rc != 0)
		return rc;
	rc = getaddrinfo(host[0] != '\0' ? host : NULL, port, &hints, out);
	if (rc == EAI_MEMORY)
		return -ENOMEM;
	return rc == 0 ? 0 : -ENOENT;
}

void tcp_tune(int sock)
{
	int one = 1, idle = 1, count = 2, size = SOCKET_BYTES;
	unsigned dead = DEAD_MS;

	setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(sock, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	setsockopt(sock, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(sock, IPPROTO_TCP, TCP_KEEPINTVL, &one, sizeof(one));
	setsockopt(sock, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
	setsockopt(sock, IPPROTO_TCP, TCP_USER_TIMEOUT, &dead, sizeof(dead));
	setsockopt(sock, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

/* --- listening ------------------------------------------------------------ */

static int listen_at(const struct addrinfo *ai, int *out)
{
	int one = 1, rc, s;

	s = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
		   0);
	if (s < 0)
		return -errno;
	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(s, ai->ai_addr, ai->ai_addrlen) != 0 ||
	    listen(s, BACKLOG) != 0) {
		rc = -errno;
		close(s);
		return rc;
	}
	*out = s;
	return 0;
}

int tcp_listen(const char *address, int *out)
{
	const struct addrinfo *ai;
	struct addrinfo *all;
	int rc;

	rc = resolve(address, AI_PASSIVE, &all);
	if (rc != 0)
		return rc;
	rc = -ENOENT;
	for (ai = fab_meet(all, all); ai != NULL && rc != 0;
	     ai = fab_meet(all, ai->ai_next))
		rc = listen_at(ai, out);
	freeaddrinfo(all);
	return rc;
}

/* --- connecting ----------------------------------------------------------- */

static int connect_begin(const struct sockaddr *sa, socklen_t len, int *out)
{
	int rc, s;

	s = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
		   0);
	if (s < 0)
		return -errno;
	tcp_tune(s);
	if (connect(s, sa, len) != 0 && errno != EINPROGRESS) {
		rc = -errno;
		close(s);
		return rc;
	}
	*out = s;
	return 0;
}

int tcp_peer_addr(int sock, struct tcp_peer_addr *out)
{
	out->len = sizeof(out->sa);
	if (getpeername(sock, (struct sockaddr *)&out->sa, &out->len) != 0)
		return -errno;
	return 0;
}

int tcp_connect_begin(const struct tcp_peer_addr *to, int *out)
{
	return connect_begin((const struct sockaddr *)&to->sa, to->len, out);
}

static int connect_end(int sock, int timeout_ms)
{
	struct pollfd p = {.fd = sock, .events = POLLOUT};
	int rc, err = 0;
	socklen_t len = sizeof(err);

	do
		rc = poll(&p, 1, timeout_ms);
	while (rc < 0 && errno == EINTR);
	if (rc == 0)
		return -EAGAIN;
	if (rc < 0 || getsockopt(sock, SOL_SOCKET, SO_ERROR, &err, &len) != 0)
		return -errno;
	return -err;
}

int tcp_connect_end(int sock)
{
	return connect_end(sock, 0);
}

static int connect_to(const struct addrinfo *ai, uint64_t timeout_ns, int *out)
{
	int rc;

	rc = connect_begin(ai->ai_addr, ai->ai_addrlen, out);
	if (rc != 0)
		return rc;
	rc = connect_end(*out, (int)(timeout_ns / 1000000u));
	if (rc != 0)
		close(*out);
	return rc == -EAGAIN ? -ETIMEDOUT : rc;
}

int tcp_connect(const char *address, uint64_t timeout_ns, int *out)
{
	const struct addrinfo *ai;
	struct addrinfo *all;
	int rc;

	rc = resolve(address, 0, &all);
	if (rc != 0)
		return rc;
	rc = -ENOENT;
	for (ai = fab_meet(all, all); ai != NULL && rc != 0;
	     ai = fab_meet(all, ai->ai_next))
		rc = connect_to(ai, timeout_ns, out);
	freeaddrinfo(all);
	return rc;
}
