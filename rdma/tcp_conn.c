/* rdma/tcp_conn.c - a node's end of a connection: its life, bytes that come in.
 * Bytes that go out: tcp_out.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rdma/tcp_serve_impl.h"

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
	c->out_at = c->out_end = c->lent_len = 0;
	pthread_mutex_unlock(&c->lock);
	server_sock_hang_up(conn, tcp_link_fd(c->link));
	tcp_link_close(c->link);
	c->link = NULL;
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

/* Hand on what is there, until bytes are lent: what follows waits for them. */
static int feed_all(struct tcp_conn *c,
		    int (*frame)(struct tcp_conn *c, const void *payload))
{
	int rc;

	do {
		rc = feed(c, frame);
		c->held = rc > 0 && c->at < c->end && c->lent_len > 0;
	} while (rc > 0 && c->at < c->end && c->link != NULL && !c->held);
	return rc;
}

int tcp_conn_receive(struct tcp_conn *c,
		     int (*frame)(struct tcp_conn *c, const void *payload))
{
	ssize_t n;
	int rc;

	c->more = true;
	for (int i = 0; i < READS_PER_TURN; i++) {
		if (!tcp_conn_takes(c))
			return 0;
		if (!c->held) {
			n = read_some(c);
			c->more = n > 0;
			if (n <= 0)
				return n == 0 ? -ECONNRESET : (int)n;
		}
		rc = feed_all(c, frame);
		if (rc < 0)
			return rc;
		if (c->link == NULL)
			return 0;
	}
	return 0;
}
