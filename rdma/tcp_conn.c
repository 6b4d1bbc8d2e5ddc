/* rdma/tcp_conn.c - a node's end of a connection: bytes in, bytes out. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rdma/tcp_serve_impl.h"

#define OUT_BYTES      (64u << 10)
#define PIECE_BYTES    (64u << 10) /* of a long answer; whole TLS records */
#define DIRECT_BYTES   16384u
#define READS_PER_TURN 64 /* of one connection, before the others' turn */

struct tcp_conn *tcp_conn_open(struct tcp_server *s, int sock)
{
	struct tcp_conn *c = malloc(sizeof(*c));

	if (c == NULL)
		return NULL;
	memset(c, 0, offsetof(struct tcp_conn, ahead));
	if (tcp_link_open(sock, s->tls, &c->link) != 0) {
		free(c);
		return NULL;
	}
	pthread_mutex_init(&c->lock, NULL);
	return c;
}

void tcp_conn_free(struct server_conn *conn)
{
	struct tcp_conn *c = (struct tcp_conn *)conn;

	pthread_mutex_destroy(&c->lock);
	free(c->payload);
	free(c->out);
	free(c);
}

void tcp_conn_shut(struct server_conn *conn)
{
	struct tcp_conn *c = (struct tcp_conn *)conn;

	pthread_mutex_lock(&c->lock);
	c->ended = true;
	c->out_at = c->out_end = 0;
	pthread_mutex_unlock(&c->lock);
	server_sock_hang_up(conn, tcp_link_fd(c->link));
	tcp_link_close(c->link);
	c->link = NULL;
}

/* --- out ------------------------------------------------------------------ */

static int out_reserve(struct tcp_conn *c, size_t more)
{
	size_t have = c->out_end - c->out_at, cap = c->out_cap;
	uint8_t *p;

	if (have + more > TCP_OUT_MAX)
		return -ENOBUFS;
	if (c->out_at > 0) {
		memmove(c->out, c->out + c->out_at, have);
		c->out_at = 0;
		c->out_end = have;
	}
	if (have + more <= cap)
		return 0;
	for (cap = cap != 0 ? cap : OUT_BYTES; cap < have + more;)
		cap *= 2;
	p = realloc(c->out, cap);
	if (p == NULL)
		return -ENOMEM;
	c->out = p;
	c->out_cap = cap;
	return 0;
}

uint8_t *tcp_conn_put(struct tcp_conn *c, size_t len)
{
	if (c->out_cap - c->out_end < len && out_reserve(c, len) != 0)
		return NULL;
	c->out_end += len;
	return c->out + c->out_end - len;
}

int tcp_conn_put_frame(struct tcp_conn *c, const struct tcp_frame *fr,
		       const void *data)
{
	size_t len = data != NULL ? fr->len : 0;
	uint8_t *to = tcp_conn_put(c, sizeof(*fr) + len);

	if (to == NULL)
		return -ENOBUFS;
	memcpy(to, fr, sizeof(*fr));
	if (len > 0)
		memcpy(to + sizeof(*fr), data, len);
	return 0;
}

size_t tcp_conn_piece(const struct tcp_conn *c, size_t len)
{
	size_t waits = c->out_end - c->out_at, n = PIECE_BYTES;

	if (waits < PIECE_BYTES / 2)
		n -= waits; /* a piece with them */
	return n < len ? n : len;
}

/* A long answer's room is given back when it has gone. */
static void out_rest(struct tcp_conn *c)
{
	c->out_at = c->out_end = 0;
	if (c->out_cap <= TCP_OUT_HIGH)
		return;
	free(c->out);
	c->out = NULL;
	c->out_cap = 0;
}

static int out_send(struct tcp_conn *c, bool more)
{
	ssize_t n;

	while (c->out_at < c->out_end) {
		n = tcp_link_write(c->link, c->out + c->out_at,
				   c->out_end - c->out_at, more);
		if (n < 0)
			return (int)n;
		c->out_at += (size_t)n;
	}
	out_rest(c);
	return 0;
}

int tcp_conn_spill(struct tcp_conn *c, bool more)
{
	int rc;

	if (c->out_end - c->out_at < PIECE_BYTES ||
	    tcp_link_wants(c->link) != 0)
		return 0;
	rc = out_send(c, more);
	return rc == -EAGAIN ? 0 : rc;
}

int tcp_conn_flush(struct tcp_conn *c)
{
	int rc;

	pthread_mutex_lock(&c->lock);
	rc = out_send(c, false);
	if (rc == 0)
		rc = tcp_link_flush(c->link);
	pthread_mutex_unlock(&c->lock);
	return rc;
}

size_t tcp_conn_waiting(struct tcp_conn *c)
{
	size_t n;

	pthread_mutex_lock(&c->lock);
	n = c->out_end - c->out_at;
	pthread_mutex_unlock(&c->lock);
	return n;
}

void tcp_conn_ready(struct tcp_conn *c)
{
	struct tcp_server *s = tcp_server(c);
	bool wake;

	pthread_mutex_lock(&s->lock);
	wake = !c->ready;
	if (wake) {
		atomic_fetch_add(&c->c.refs, 1);
		c->ready = true;
		TAILQ_INSERT_TAIL(&s->ready, c, link_ready);
	}
	pthread_mutex_unlock(&s->lock);
	if (wake)
		server_wake(&s->sock.s);
}

/* The server may be gone when the last requests are answered: its connections
 * have ended then, and nobody is woken. */
void tcp_reply(struct fab_request *rq, int status, const void *data, size_t len)
{
	struct server_request *r = (struct server_request *)rq;
	struct tcp_frame fr = {.type = TCP_ANSWER,
			       .batch = (uint32_t)(r->id >> 32),
			       .op = (uint32_t)r->id,
			       .status = status,
			       .len = (uint32_t)len};
	struct tcp_conn *c = (struct tcp_conn *)r->conn;

	pthread_mutex_lock(&c->lock);
	if (!c->ended) {
		if (tcp_conn_put_frame(c, &fr, data) != 0)
			atomic_store(&c->c.peer->cut, true); /* it must learn */
		tcp_conn_ready(c);
	}
	pthread_mutex_unlock(&c->lock);
	server_conn_put(&c->c);
	free(r);
}

/* --- in ------------------------------------------------------------------- */

static int payload_room(struct tcp_conn *c, size_t len)
{
	uint8_t *p;

	if (len <= c->payload_cap)
		return 0;
	p = realloc(c->payload, len);
	if (p == NULL)
		return -ENOMEM;
	c->payload = p;
	c->payload_cap = len;
	return 0;
}

static size_t take(struct tcp_conn *c, uint8_t *to, size_t want)
{
	size_t n = c->end - c->at;

	if (n > want)
		n = want;
	if (n > 0)
		memcpy(to, c->ahead + c->at, n);
	c->at += n;
	return n;
}

/* A stranger may make us keep no more than a hello. */
static int frame_begin(struct tcp_conn *c)
{
	uint8_t type = c->in.type;

	if (type == 0 || type >= TCP_WELCOME || c->in.len > tcp_len_max(type))
		return -EPROTO;
	if (c->c.peer == NULL && type != TCP_HELLO && type != TCP_HELLO_QUEUE)
		return -EPROTO;
	if (type == TCP_WRITE)
		return tcp_exec_begin(c);
	return payload_room(c, c->in.len);
}

/* Some of a WRITE has come. It is handed on in whole words, so that none is
 * torn: less than one may be left for the next time. */
static size_t hand_on(struct tcp_conn *c, size_t at)
{
	size_t n = c->end - c->at, left = c->in.len - at, odd;

	if (n < left) {
		odd = (c->in.offset + at + n) % 8;
		n -= odd < n ? odd : n;
	} else {
		n = left;
	}
	tcp_exec_write(c, at, c->ahead + c->at, n);
	c->at += n;
	return n;
}

/* 1: a frame has ended. */
static int feed(struct tcp_conn *c,
		int (*frame)(struct tcp_conn *c, const void *payload))
{
	size_t head = sizeof(c->in), at;
	int rc;

	if (c->in_done < head) {
		c->in_done += take(c, (uint8_t *)&c->in + c->in_done,
				   head - c->in_done);
		if (c->in_done < head)
			return 0;
		rc = frame_begin(c);
		if (rc != 0)
			return rc;
	}
	at = c->in_done - head;
	if (c->in.type == TCP_WRITE)
		c->in_done += hand_on(c, at);
	else if (c->in.len > 0) /* or there may be no room at all */
		c->in_done += take(c, c->payload + at, c->in.len - at);
	if (c->in_done < head + c->in.len)
		return 0;
	c->in_done = 0;
	rc = frame(c, c->payload);
	return rc == 0 ? 1 : rc;
}

static ssize_t read_some(struct tcp_conn *c)
{
	size_t head = sizeof(c->in), all = head + c->in.len, rest;
	ssize_t n;

	if (c->in_done >= head && c->in.type != TCP_WRITE &&
	    all - c->in_done >= DIRECT_BYTES) {
		n = tcp_link_read(c->link, c->payload + c->in_done - head,
				  all - c->in_done);
		if (n > 0)
			c->in_done += (size_t)n;
		return n;
	}
	rest = c->end - c->at; /* see hand_on() */
	memmove(c->ahead, c->ahead + c->at, rest);
	n = tcp_link_read(c->link, c->ahead + rest, sizeof(c->ahead) - rest);
	c->at = 0;
	c->end = rest + (n > 0 ? (size_t)n : 0);
	return n;
}

int tcp_conn_receive(struct tcp_conn *c,
		     int (*frame)(struct tcp_conn *c, const void *payload))
{
	ssize_t n;
	int rc;

	c->more = true;
	for (int i = 0; i < READS_PER_TURN; i++) {
		if (tcp_conn_waiting(c) >= TCP_OUT_HIGH)
			return 0;
		n = read_some(c);
		c->more = n > 0;
		if (n <= 0)
			return n == 0 ? -ECONNRESET : (int)n;
		do
			rc = feed(c, frame);
		while (rc > 0 && c->at < c->end && c->link != NULL);
		if (rc < 0)
			return rc;
		if (c->link == NULL)
			return 0;
	}
	return 0;
}
