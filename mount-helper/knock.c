/* mount-helper/knock.c - by TCP: see knock.h. By RDMA: knock_rdma.c. */
#include "mount-helper/knock.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "mount-helper/clock.h"
#include "rdma/loopback.h"

#define ADDRESSES_MAX 4u /* of one name */
#define TRIES_MAX     ((FAB_NODES_MAX + POOLCONF_COORDS_MAX) * ADDRESSES_MAX)

/* One address of a place. */
struct attempt {
	struct knock *of;
	int fd;
};

struct tries {
	unsigned n;
	struct attempt at[TRIES_MAX];
	struct pollfd p[TRIES_MAX];
};

/* What says most about a place of several addresses. */
static void tell(struct knock *k, int rc)
{
	if (k->rc != 0 && (rc == 0 || k->rc != -ECONNREFUSED))
		k->rc = rc;
}

static void begin_at(struct tries *t, struct knock *k,
		     const struct addrinfo *ai)
{
	int fd = socket(ai->ai_family,
			SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd >= 0 && connect(fd, ai->ai_addr, ai->ai_addrlen) == 0)
		tell(k, 0);
	else if (fd < 0 || errno != EINPROGRESS)
		tell(k, -errno);
	else {
		t->at[t->n++] = (struct attempt){.of = k, .fd = fd};
		tell(k, -ETIMEDOUT);
		return;
	}
	if (fd >= 0)
		close(fd);
}

static void begin(struct tries *t, struct knock *k)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *all;
	const struct addrinfo *ai;
	unsigned n = 0;
	char port[8];

	k->rc = -ENOENT;
	snprintf(port, sizeof(port), "%u", k->place->port);
	if (getaddrinfo(k->place->host, port, &hints, &all) != 0)
		return;
	for (ai = fab_meet(all, all); ai != NULL && n++ < ADDRESSES_MAX;
	     ai = fab_meet(all, ai->ai_next))
		begin_at(t, k, ai);
	freeaddrinfo(all);
}

static void end(struct attempt *a, int rc)
{
	tell(a->of, rc);
	close(a->fd);
	a->fd = -1;
}

static void look(struct attempt *a)
{
	int err = EIO;
	socklen_t len = sizeof(err);

	if (getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		err = errno;
	end(a, -err);
}

/* A place that is reached needs no other address. */
static int gather(struct tries *t)
{
	int open = 0;

	for (unsigned i = 0; i < t->n; i++) {
		struct attempt *a = &t->at[i];

		if (a->fd >= 0 && a->of->rc == 0)
			end(a, 0);
		t->p[i] = (struct pollfd){.fd = a->fd, .events = POLLOUT};
		open += a->fd >= 0;
	}
	return open;
}

void knock_tcp(struct knock *k, unsigned n)
{
	struct tries *t = calloc(1, sizeof(*t));
	int64_t until = now_ms() + KNOCK_MS, left;

	for (unsigned i = 0; i < n; i++)
		if (t != NULL)
			begin(t, &k[i]);
		else
			k[i].rc = -ENOMEM;
	while (t != NULL && gather(t) > 0) {
		left = until - now_ms();
		if (left <= 0)
			break;
		if (poll(t->p, t->n, (int)left) < 0 && errno != EINTR)
			break;
		for (unsigned i = 0; i < t->n; i++)
			if (t->at[i].fd >= 0 && t->p[i].revents != 0)
				look(&t->at[i]);
	}
	for (unsigned i = 0; t != NULL && i < t->n; i++)
		if (t->at[i].fd >= 0)
			close(t->at[i].fd);
	free(t);
}
