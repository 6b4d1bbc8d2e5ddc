/* rdma/tcp_conn.c - a node's end of a connection: bytes in, bytes out. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rdma/tcp_serve_impl.h"

#define OUT_BYTES      (64u << 10)
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

uint8_t *tcp_conn_put_frame(struct tcp_conn *c, const struct tcp_frame *fr,
			    const void *data)
{
	size_t all = sizeof(*fr) + fr->len;
	uint8_t *to;

	if (c->out_cap - c->out_end < all && out_reserve(c, all) != 0)
		return NULL;
	to = c->out + c->out_end;
	memcpy(to, fr, sizeof(*fr));
	to += sizeof(*fr);
	if (data != NULL && fr->len > 0)
		memcpy(to, data, fr->len);
	c->out_end += all;
	return to;
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

int tcp_conn_flush(struct tcp_conn *c)
{
	ssize_t n = 0;

	pthread_mutex_lock(&c->lock);
	while (c->out_at < c->out_end) {
		n = tcp_link_write(c->link, c->out + c->out_at,
				   c->out_end - c->out_at);
		if (n < 0)
			break;
		c->out_at += (size_t)n;
	}
	if (n >= 0) {
		out_rest(c);
		n = tcp_link_flush(c->link);
	}
	pthread_mutex_unlock(&c->lock);
	return n < 0 ? (int)n : 0;
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
		if (tcp_conn_put_frame(c, &fr, data) == NULL)
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
	return payload_room(c, c->in.len);
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
	if (c->in.len > 0) /* or there may be no room at all */
		c->in_done += take(c, c->payload + at, c->in.len - at);
	if (c->in_done < head + c->in.len)
		return 0;
	c->in_done = 0;
	rc = frame(c, c->payload);
	return rc == 0 ? 1 : rc;
}

static ssize_t read_some(struct tcp_conn *c)
{
	size_t head = sizeof(c->in), all = head + c->in.len;
	ssize_t n;

	if (c->in_done >= head && all - c->in_done >= DIRECT_BYTES) {
		n = tcp_link_read(c->link, c->payload + c->in_done - head,
				  all - c->in_done);
		if (n > 0)
			c->in_done += (size_t)n;
		return n;
	}
	n = tcp_link_read(c->link, c->ahead, sizeof(c->ahead));
	c->at = 0;
	c->end = n > 0 ? (size_t)n : 0;
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
