/* rdma/tcp_exec.c - the node does what a frame asks: with the same atomics,
 * word by word, as a process of this host does through shared memory, so that
 * both may work on one region. */
#include <errno.h>

#include "rdma/shm_copy.h"
#include "rdma/tcp_serve_impl.h"

#define LEND_BYTES 32768u

static bool within(const struct tcp_conn *c, uint64_t len)
{
	uint64_t size = c->c.server->opts.size;

	return c->in.offset <= size && len <= size - c->in.offset;
}

static uint8_t *at(const struct tcp_conn *c)
{
	return (uint8_t *)c->c.server->opts.region + c->in.offset;
}

static int do_word(struct tcp_conn *c, uint64_t *old)
{
	uint64_t *w;

	if (!within(c, 8) || c->in.offset % 8 != 0)
		return -EREMOTEIO;
	w = (uint64_t *)at(c);
	if (c->in.type == TCP_FAA) {
		*old = __atomic_fetch_add(w, c->in.arg, __ATOMIC_SEQ_CST);
		return 0;
	}
	*old = c->in.expect;
	__atomic_compare_exchange_n(w, old, c->in.arg, false, __ATOMIC_SEQ_CST,
				    __ATOMIC_SEQ_CST);
	return 0;
}

/* --- WRITE ---------------------------------------------------------------- */

/* The asker knows that what follows a failure in its batch is not done. */
static bool is_skipped(const struct tcp_conn *c)
{
	return c->failing && c->in.batch == c->failed;
}

/* A WRITE whose end never comes has been done in part, as with any adapter. */
int tcp_exec_begin(struct tcp_conn *c)
{
	if (c->c.primary || c->in.want > FAB_OP_BYTES_MAX)
		return -EPROTO;
	c->admitted = !is_skipped(c) && !c->c.peer->peer.reader &&
		      within(c, c->in.len);
	shm_fence(__ATOMIC_RELEASE);
	return 0;
}

void tcp_exec_write(struct tcp_conn *c, size_t from, const void *bytes,
		    size_t len)
{
	if (c->admitted && len > 0)
		shm_copy_in(at(c) + from, bytes, len);
}

/* --- answers -------------------------------------------------------------- */

/* What a READ asks for is copied here and now, before anything that follows is
 * done: in pieces, one on its way when the next is copied. They end between
 * words, so that none is torn. */
static int put_read(struct tcp_conn *c, size_t len)
{
	const uint8_t *from = at(c);
	size_t n;
	uint8_t *to;
	int rc;

	for (; len > 0; from += n, len -= n) {
		n = tcp_conn_piece(c, len);
		if (n < len)
			n -= (uintptr_t)(from + n) % 8;
		to = tcp_conn_put(c, n);
		if (to == NULL)
			return -ENOBUFS;
		shm_copy_out(to, from, n);
		rc = tcp_conn_spill(c, n < len);
		if (rc != 0)
			return rc;
	}
	return 0;
}

/* Or it is sent from the region itself; what follows waits for that too. The
 * system's copy promises nothing of words. */
static int lend_read(struct tcp_conn *c, size_t len)
{
	int rc = -EAGAIN;

	if ((c->in.flags & TCP_F_LOOSE) != 0 && len >= LEND_BYTES)
		rc = tcp_conn_lend(c, at(c), len);
	return rc == -EAGAIN ? put_read(c, len) : rc;
}

static int answer(struct tcp_conn *c, const struct tcp_frame *fr)
{
	int rc;

	shm_fence(__ATOMIC_SEQ_CST); /* what was written is seen by all */
	pthread_mutex_lock(&c->lock);
	rc = tcp_conn_put_frame(c, fr, NULL);
	if (rc == 0 && fr->len > 0) /* or it may lie nowhere */
		rc = lend_read(c, fr->len);
	pthread_mutex_unlock(&c->lock);
	return rc;
}

/* --- all of them ---------------------------------------------------------- */

static int one_sided(struct tcp_conn *c)
{
	struct tcp_frame fr = {
		.type = TCP_DONE, .batch = c->in.batch, .op = c->in.op};

	if (c->in.type != TCP_READ && c->c.peer->peer.reader)
		fr.status = -EREMOTEIO;
	else if (c->in.type == TCP_WRITE)
		fr.status = c->admitted ? 0 : -EREMOTEIO;
	else if (c->in.type != TCP_READ)
		fr.status = do_word(c, &fr.arg);
	else if (!within(c, c->in.want))
		fr.status = -EREMOTEIO;
	else
		fr.len = c->in.want;
	if (fr.status != 0) {
		c->failing = true;
		c->failed = c->in.batch;
	} else if (c->in.type == TCP_WRITE && !(c->in.flags & TCP_F_ACK)) {
		return 0;
	}
	return answer(c, &fr);
}

int tcp_exec(struct tcp_conn *c, const void *payload)
{
	if (is_skipped(c))
		return 0;
	c->failing = false;
	if (c->in.want > FAB_OP_BYTES_MAX)
		return -EPROTO;
	switch (c->in.type) {
	case TCP_CALL:
		return server_call(&c->c,
				   (uint64_t)c->in.batch << 32 | c->in.op,
				   c->in.call, payload, c->in.len);
	case TCP_READ:
	case TCP_WRITE:
	case TCP_CAS:
	case TCP_FAA:
		return one_sided(c);
	default:
		return -EPROTO;
	}
}
