/* rdma/shm_serve.c - a node's server: one thread that accepts connections,
 * reads their messages and calls the node. What a peer sends is input: what
 * breaks the rules ends the connection, and nothing else. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rdma/shm_serve_impl.h"

#define READS_PER_TURN 32 /* of one connection, before the others' turn */

struct shm_server {
	struct server_sock sock;
	char *path;
	uint64_t inode;
	int look_fd;		    /* the region, for readers; -1 */
	struct fab_key key, reader; /* len 0: none */
	_Alignas(struct shm_frame) uint8_t frame[SHM_FRAME_MAX];
};

static struct shm_server *server_of(struct shm_conn *c)
{
	return (struct shm_server *)c->c.server;
}

/* --- hello ---------------------------------------------------------------- */

static int welcome(struct shm_conn *c, int status)
{
	const struct fab_server_opts *o = &c->c.server->opts;
	int fd = c->c.reader ? server_of(c)->look_fd : o->region_fd;
	struct shm_frame fr;

	shm_frame_init(&fr, SHM_WELCOME);
	fr.status = status;
	fr.id = o->size;
	return shm_send(c->sock, &fr, NULL, 0,
			status == 0 && o->region != NULL ? fd : -1);
}

static int hello(struct shm_conn *c, const struct shm_frame *fr, size_t len)
{
	struct ucred cred;
	int rc = -ENOMEM, sent;

	if (shm_who(c->sock, &cred))
		rc = server_hello(&c->c, fr->token, cred.pid, cred.uid, fr + 1,
				  len);
	sent = welcome(c, rc);
	return rc != 0 ? rc : sent;
}

/* --- proving -------------------------------------------------------------- */

/* It is told why, and hung up on. */
static int turn_away(struct shm_conn *c, int why)
{
	(void)welcome(c, why);
	return why;
}

static int knocked(struct shm_conn *c, const struct shm_frame *fr, size_t len)
{
	struct shm_server *s = server_of(c);

	if (s->key.len == 0)
		return turn_away(c, -EACCES); /* there is nothing to prove */
	if (c->proof != SHM_STRANGER)
		return -EPROTO;
	c->proof = SHM_CHALLENGED;
	return shm_auth_challenge(&c->auth, &s->key, &s->reader, c->sock, fr,
				  len);
}

static int proves(struct shm_conn *c, const struct shm_frame *fr, size_t len)
{
	struct shm_server *s = server_of(c);
	int rc = c->proof != SHM_CHALLENGED
			 ? -EPROTO
			 : shm_auth_check(&c->auth, &s->key, &s->reader, fr,
					  len);

	if (rc != 0)
		return turn_away(c, rc);
	c->proof = SHM_PROVED;
	c->c.reader |= c->auth.said.reader != 0;
	return 0;
}

/* @fr, a hello of any kind, is of who has proved itself; it came as who. */
static int admitted(const struct shm_conn *c, const struct shm_frame *fr)
{
	if (c->proof != SHM_PROVED)
		return -EACCES;
	if (server_of((struct shm_conn *)c)->key.len > 0 &&
	    memcmp(fr->token, c->auth.said.token, sizeof(fr->token)) != 0)
		return -EPROTO;
	return 0;
}

/* The other end has gone. Halfway that says: the proof was no proof to it. */
static int gone(const struct shm_conn *c)
{
	return c->proof == SHM_CHALLENGED ? -EACCES : -ECONNRESET;
}

/* --- frames --------------------------------------------------------------- */

static int handle_stranger(struct shm_conn *c, const struct shm_frame *fr,
			   size_t len)
{
	int rc;

	if (fr->type == SHM_KNOCK)
		return knocked(c, fr, len);
	if (fr->type == SHM_PROOF)
		return proves(c, fr, len);
	if (fr->type != SHM_HELLO && fr->type != SHM_HELLO_CALLS)
		return -EPROTO;
	rc = admitted(c, fr);
	if (rc != 0)
		return turn_away(c, rc);
	if (fr->type == SHM_HELLO)
		return hello(c, fr, len) != 0 ? -ECONNABORTED : 0;
	return len == 0 ? server_hello_more(&c->c, fr->token) : -EPROTO;
}

static int handle(struct shm_conn *c, const struct shm_frame *fr, size_t len)
{
	if (!shm_frame_ok(fr, len))
		return -EPROTO;
	len -= sizeof(*fr);
	if (c->c.peer == NULL)
		return handle_stranger(c, fr, len);
	if (!c->c.primary && fr->type == SHM_CALL)
		return server_call(&c->c, fr->id, fr->call, fr + 1, len);
	return -EPROTO;
}

static int receive(struct shm_conn *c)
{
	struct shm_server *s = server_of(c);
	ssize_t n;
	int rc = 0;

	for (int i = 0; i < READS_PER_TURN && rc == 0 && !c->c.over; i++) {
		n = shm_recv(c->sock, s->frame, sizeof(s->frame), NULL);
		if (n == -EAGAIN)
			return 0;
		if (n > 0)
			rc = handle(c, (struct shm_frame *)s->frame, (size_t)n);
		else
			rc = n == -EMSGSIZE ? -EPROTO : gone(c);
	}
	return rc;
}

static void conn_ready(struct server_conn *conn, uint32_t events)
{
	struct shm_conn *c = (struct shm_conn *)conn;
	int rc = 0;

	if ((events & EPOLLOUT) != 0)
		shm_conn_flush(c);
	if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
		rc = receive(c);
	if (rc != 0)
		server_hang_up_for(conn, rc);
}

/* --- accepting ------------------------------------------------------------ */

/* Nobody but the owner and root gets more than a look. */
static bool is_reader(int sock)
{
	struct ucred cred;

	return !shm_who(sock, &cred) ||
	       (cred.uid != 0 && cred.uid != geteuid());
}

static int accepted(struct server_sock *s, int sock)
{
	struct shm_conn *c = shm_conn_open(sock);
	int size = SHM_SNDBUF;
	struct ucred cred;

	if (c == NULL)
		return -ENOMEM;
	c->c.reader = is_reader(sock);
	c->proof = ((struct shm_server *)s)->key.len > 0 ? SHM_STRANGER
							 : SHM_PROVED;
	setsockopt(sock, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	if (shm_who(sock, &cred))
		server_conn_from_process(&c->c, cred.pid, cred.uid);
	server_conn_add(&s->s, &c->c);
	if (server_sock_watch(&c->c, sock, EPOLLIN) != 0)
		server_conn_end(&c->c); /* closes @sock */
	return 0;
}

/* --- its life ------------------------------------------------------------- */

static const struct server_how conn_how = {
	.shut = shm_conn_shut,
	.free = shm_conn_free,
	.same = shm_peer_is,
	.hello_ns = SHM_HELLO_NS,
};

static const struct server_sock_how sock_how = {
	.conns_max = SHM_CONNS_MAX,
	.accepted = accepted,
	.ready = conn_ready,
};

static void server_free(struct shm_server *s)
{
	server_close(&s->sock.s);
	if (s->look_fd >= 0)
		close(s->look_fd);
	OPENSSL_cleanse(&s->key, sizeof(s->key));
	OPENSSL_cleanse(&s->reader, sizeof(s->reader));
	free(s->path);
	free(s);
}

static void shm_server_close(struct fab_server *server)
{
	struct shm_server *s = (struct shm_server *)server;

	server_sock_stop(&s->sock);
	shm_unlisten(s->path, s->inode);
	server_free(s);
}

static const struct fab_server_ops shm_server_ops = {
	.close = shm_server_close,
	.reply = shm_reply,
	.peer_cut = server_peer_cut,
	.malformed = server_malformed,
};

/* The same memory, open for reading alone: what is mapped of it cannot be made
 * writable, and the mode of what it is a file of lets nobody else open it. */
static int region_look(int fd, int *out)
{
	char name[32];

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	*out = open(name, O_RDONLY | O_CLOEXEC);
	return *out >= 0 ? 0 : -errno;
}

static int start(struct shm_server *s)
{
	const struct fab_server_opts *o = &s->sock.s.opts;
	int listener, rc;

	if (o->region != NULL && (o->readers != 0 || s->key.len > 0)) {
		rc = region_look(o->region_fd, &s->look_fd);
		if (rc != 0)
			return rc;
	}
	rc = shm_listen(s->path, o->readers, &s->inode, &listener);
	if (rc != 0)
		return rc;
	rc = server_sock_start(&s->sock, &sock_how, listener);
	if (rc != 0)
		shm_unlisten(s->path, s->inode);
	return rc;
}

static int take_key(struct shm_server *s, const struct fab_key *key)
{
	if (key == NULL || key->len == 0)
		return 0;
	s->key = *key;
	return fab_key_reader(key, &s->reader);
}

int shm_server_open(const struct fab_server_opts *opts, struct fab_server **out)
{
	struct shm_server *s;
	int rc;

	if (opts->region != NULL && opts->region_fd < 0)
		return -EINVAL; /* nothing to hand over */
	s = calloc(1, sizeof(*s));
	if (s == NULL)
		return -ENOMEM;
	s->look_fd = -1;
	rc = take_key(s, opts->key);
	if (rc != 0)
		goto err_free;
	rc = -ENOMEM;
	s->path = strdup(opts->address);
	if (s->path == NULL)
		goto err_free;
	rc = server_open(&s->sock.s, opts, &shm_server_ops, &conn_how);
	if (rc == 0)
		rc = start(s);
	if (rc != 0)
		goto err_close;
	*out = &s->sock.s.server;
	return 0;

err_close:
	server_free(s);
	return rc;
err_free:
	OPENSSL_cleanse(s, sizeof(*s));
	free(s);
	return rc;
}
