/* rdma/tcp_exec.c - the node does what a frame asks: with the same atomics,
 * word by word, as a process of this host does through shared memory, so that
 * both may work on one region. */
#include <errno.h>

#include "rdma/shm_copy.h"
#include "rdma/tcp_serve_impl.h"

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

static int do_write(struct tcp_conn *c, const void *payload)
{
	if (!within(c, c->in.len))
		return -EREMOTEIO;
	shm_fence(__ATOMIC_RELEASE);
	shm_copy_in(at(c), payload, c->in.len);
	return 0;
}

static int answer(struct tcp_conn *c, struct tcp_frame *fr)
{
	uint8_t *to;

	shm_fence(__ATOMIC_SEQ_CST); /* what was written is seen by all */
	pthread_mutex_lock(&c->lock);
	to = tcp_conn_put_frame(c, fr, NULL);
	if (to != NULL && fr->len > 0)
		shm_copy_out(to, at(c), fr->len);
	pthread_mutex_unlock(&c->lock);
	return to != NULL ? 0 : -ENOBUFS;
}

static int one_sided(struct tcp_conn *c, const void *payload)
{
	struct tcp_frame fr = {
		.type = TCP_DONE, .batch = c->in.batch, .op = c->in.op};

	if (c->in.type != TCP_READ && c->c.peer->peer.reader)
		fr.status = -EREMOTEIO;
	else if (c->in.type == TCP_WRITE)
		fr.status = do_write(c, payload);
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
	if (c->failing && c->in.batch == c->failed)
		return 0; /* the asker knows */
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
		return one_sided(c, payload);
	default:
		return -EPROTO;
	}
}
