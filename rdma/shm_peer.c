/* rdma/shm_peer.c - who asks a node, over which connections, and how the
 * answers get there. Everything here may be called from any thread. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rdma/shm_serve_impl.h"

/* --- peers ---------------------------------------------------------------- */

bool shm_who(int sock, struct ucred *cred)
{
	socklen_t len = sizeof(*cred);

	return getsockopt(sock, SOL_SOCKET, SO_PEERCRED, cred, &len) == 0;
}

bool shm_peer_is(const struct server_peer *p, const struct server_conn *c)
{
	struct ucred cred;

	return shm_who(((const struct shm_conn *)c)->sock, &cred) &&
	       cred.pid == p->peer.pid && cred.uid == p->peer.uid;
}

/* --- connections ---------------------------------------------------------- */

struct shm_conn *shm_conn_open(int sock)
{
	struct shm_conn *c;

	c = calloc(1, sizeof(*c));
	if (c == NULL)
		return NULL;
	pthread_mutex_init(&c->lock, NULL);
	STAILQ_INIT(&c->unsent);
	c->sock = sock;
	return c;
}

static void drop_unsent(struct shm_conn *c)
{
	struct shm_unsent *u;

	while ((u = STAILQ_FIRST(&c->unsent)) != NULL) {
		STAILQ_REMOVE_HEAD(&c->unsent, link);
		free(u);
	}
	c->unsent_bytes = 0;
}

void shm_conn_free(struct server_conn *conn)
{
	struct shm_conn *c = (struct shm_conn *)conn;

	drop_unsent(c);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

void shm_conn_shut(struct server_conn *conn)
{
	struct shm_conn *c = (struct shm_conn *)conn;

	pthread_mutex_lock(&c->lock);
	if (c->sock >= 0) {
		server_sock_hang_up(conn, c->sock);
		close(c->sock);
	}
	c->sock = -1;
	drop_unsent(c);
	pthread_mutex_unlock(&c->lock);
}

/* --- answers -------------------------------------------------------------- */

static void want_room(struct shm_conn *c, bool on)
{
	server_sock_rewatch(&c->c, c->sock, on ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

/* Keep a copy until the socket takes it. */
static int send_later(struct shm_conn *c, const struct shm_frame *fr,
		      const void *data, size_t len)
{
	struct shm_unsent *u;

	if (c->unsent_bytes + sizeof(*u) + len > SHM_UNSENT_MAX)
		return -ENOBUFS;
	u = malloc(sizeof(*u) + len);
	if (u == NULL)
		return -ENOMEM;
	u->fr = *fr;
	u->len = len;
	if (len > 0)
		memcpy(u->data, data, len);
	if (STAILQ_EMPTY(&c->unsent))
		want_room(c, true);
	STAILQ_INSERT_TAIL(&c->unsent, u, link);
	c->unsent_bytes += sizeof(*u) + len;
	return 0;
}

static void send_answer(struct shm_conn *c, const struct shm_frame *fr,
			const void *data, size_t len)
{
	int rc = -EAGAIN;

	if (STAILQ_EMPTY(&c->unsent))
		rc = shm_send(c->sock, fr, data, len, -1);
	if (rc == -EAGAIN)
		rc = send_later(c, fr, data, len);
	if (rc != 0) /* an answer is lost: the asker must learn of it */
		shutdown(c->sock, SHUT_RDWR);
}

void shm_reply(struct fab_request *rq, int status, const void *data, size_t len)
{
	struct server_request *r = (struct server_request *)rq;
	struct shm_conn *c = (struct shm_conn *)r->conn;
	struct shm_frame fr;

	shm_frame_init(&fr, SHM_ANSWER);
	fr.id = r->id;
	fr.status = status;
	pthread_mutex_lock(&c->lock);
	if (c->sock >= 0)
		send_answer(c, &fr, data, len);
	pthread_mutex_unlock(&c->lock);
	server_conn_put(&c->c);
	free(r);
}

void shm_conn_flush(struct shm_conn *c)
{
	struct shm_unsent *u;
	int rc = 0;

	pthread_mutex_lock(&c->lock);
	while (c->sock >= 0 && (u = STAILQ_FIRST(&c->unsent)) != NULL) {
		rc = shm_send(c->sock, &u->fr, u->data, u->len, -1);
		if (rc != 0)
			break;
		STAILQ_REMOVE_HEAD(&c->unsent, link);
		c->unsent_bytes -= sizeof(*u) + u->len;
		free(u);
	}
	if (c->sock >= 0 && rc == 0)
		want_room(c, false);
	pthread_mutex_unlock(&c->lock);
}
