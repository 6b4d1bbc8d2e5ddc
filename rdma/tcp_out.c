/* rdma/tcp_out.c - what goes out of a node's end of a connection: bytes put
 * here, and bytes of the region lent to it, which go first. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rdma/tcp_serve_impl.h"

#define OUT_BYTES   (64u << 10)
#define PIECE_BYTES (64u << 10) /* of a long answer; whole TLS records */

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

#ifdef __SANITIZE_THREAD__
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
#else
#define AnnotateIgnoreReadsBegin(file, line) ((void)0)
#define AnnotateIgnoreReadsEnd(file, line)   ((void)0)
#endif

/* Others may write there meanwhile, and it is for the asker to find out. */
static ssize_t lent_write(struct tcp_conn *c)
{
	ssize_t n;

	AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
	n = tcp_link_write(c->link, c->lent, c->lent_len, false);
	AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
	return n;
}

static int lent_send(struct tcp_conn *c)
{
	ssize_t n;

	while (c->lent_len > 0) {
		n = lent_write(c);
		if (n < 0)
			return (int)n;
		c->lent += n;
		c->lent_len -= (size_t)n;
	}
	return 0;
}

static int out_send(struct tcp_conn *c, bool more)
{
	ssize_t n;
	int rc;

	rc = lent_send(c);
	if (rc != 0)
		return rc;
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

int tcp_conn_lend(struct tcp_conn *c, const void *from, size_t len)
{
	int rc;

	assert(c->lent_len == 0);
	rc = out_send(c, true);
	if (rc != 0)
		return rc;
	c->lent = from;
	c->lent_len = len;
	rc = lent_send(c);
	return rc == -EAGAIN ? 0 : rc;
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

bool tcp_conn_takes(struct tcp_conn *c)
{
	bool takes;

	pthread_mutex_lock(&c->lock);
	takes = c->lent_len == 0 && c->out_end - c->out_at < TCP_OUT_HIGH;
	pthread_mutex_unlock(&c->lock);
	return takes;
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
