/* rdma/fabric.c - checks arguments and limits, counts, hands on to the
 * transport. No policy, no retry. */
#include "rdma/fabric.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "rdma/fabric_impl.h"

void fab_init(struct fab *f, const struct fab_ops *ops)
{
	memset(f, 0, sizeof(*f));
	f->ops = ops;
	TAILQ_INIT(&f->done);
}

int fab_open(struct fab_net *net, struct fab **out)
{
	assert(net != NULL && out != NULL);
	return net->ops->open(net, out);
}

void fab_close(struct fab *f)
{
	if (f == NULL)
		return;
	assert(f->under_way == 0);
	f->ops->close(f);
}

/* --- posting ------------------------------------------------------------- */

static bool op_is_legal(const struct fab_op *op)
{
	uint32_t max = FAB_OP_BYTES_MAX;

	switch (op->opcode) {
	case FAB_CALL:
		max = FAB_CALL_BYTES_MAX;
		if (op->node > FAB_NODE_COORD)
			return false;
		if (op->reply == NULL && op->reply_cap != 0)
			return false;
		break;
	case FAB_READ:
	case FAB_WRITE:
		if (op->node >= FAB_NODES_MAX)
			return false;
		break;
	case FAB_CAS:
	case FAB_FAA:
		return op->node < FAB_NODES_MAX;
	default:
		return false;
	}
	return op->len <= max && (op->buf != NULL || op->len == 0);
}

static void count_op(struct fab_counters *c, const struct fab_op *op)
{
	c->ops[op->opcode]++;
	switch (op->opcode) {
	case FAB_READ:
		c->bytes_read += op->len;
		break;
	case FAB_WRITE:
		c->bytes_written += op->len;
		break;
	case FAB_CALL:
		c->bytes_called += op->len;
		break;
	default:
		break;
	}
}

static bool batch_is_legal(const struct fab_batch *b)
{
	if (b->n > FAB_BATCH_OPS_MAX)
		return false;
	for (uint32_t i = 0; i < b->n; i++)
		if (!op_is_legal(&b->ops[i]))
			return false;
	return true;
}

int fab_post(struct fab *f, struct fab_batch *b)
{
	int rc;

	if (!batch_is_legal(b))
		return -EINVAL;
	b->left = b->n;
	b->priv = NULL;
	f->under_way++;
	if (b->n == 0) {
		fab_done(f, b);
		return 0;
	}
	rc = f->ops->post(f, b);
	if (rc != 0) {
		f->under_way--;
		return rc;
	}
	f->count.batches++;
	for (uint32_t i = 0; i < b->n; i++)
		count_op(&f->count, &b->ops[i]);
	return 0;
}

static size_t take_done(struct fab *f, struct fab_batch **done, size_t max)
{
	size_t n = 0;

	while (n < max && !TAILQ_EMPTY(&f->done)) {
		done[n] = TAILQ_FIRST(&f->done);
		TAILQ_REMOVE(&f->done, done[n], link);
		n++;
	}
	return n;
}

size_t fab_poll(struct fab *f, struct fab_batch **done, size_t max,
		uint64_t timeout_ns)
{
	uint64_t until, now;

	if (f->under_way > 0 && max > 0) {
		if (!TAILQ_EMPTY(&f->done) || timeout_ns == 0) {
			f->ops->progress(f, 0);
		} else {
			now = f->ops->now(f);
			until = now + timeout_ns;
			if (until < now)
				until = UINT64_MAX;
			f->ops->progress(f, until);
		}
	} else if (max > 0 && timeout_ns > 0 && TAILQ_EMPTY(&f->done)) {
		f->ops->sleep(f, timeout_ns);
	}
	return take_done(f, done, max);
}

int fab_run(struct fab *f, struct fab_batch *b)
{
	int rc;

	rc = fab_post(f, b);
	if (rc != 0)
		return rc;
	while (b->left > 0)
		f->ops->progress(f, UINT64_MAX);
	TAILQ_REMOVE(&f->done, b, link);
	return 0;
}

int fab_call_run(struct fab *f, uint8_t node, uint16_t type, const void *req,
		 uint32_t len, void *reply, uint32_t reply_cap,
		 uint32_t *reply_len, uint64_t timeout_ns)
{
	struct fab_op op;
	struct fab_batch b = {.ops = &op, .n = 1};
	int rc;

	fab_call(&op, node, type, req, len, reply, reply_cap);
	if (timeout_ns != 0)
		b.deadline_ns = f->ops->now(f) + timeout_ns;
	rc = fab_run(f, &b);
	if (rc != 0)
		return rc;
	if (reply_len != NULL)
		*reply_len = op.reply_len;
	return op.status;
}

uint64_t fab_now(struct fab *f)
{
	return f->ops->now(f);
}

uint64_t fab_wall(struct fab *f)
{
	return f->ops->wall(f);
}

uint64_t fab_random(struct fab *f)
{
	return f->ops->random(f);
}

void fab_sleep(struct fab *f, uint64_t ns)
{
	f->ops->sleep(f, ns);
}

void fab_counters(struct fab *f, struct fab_counters *out)
{
	*out = f->count;
}

/* --- the system's clocks ------------------------------------------------- */

static uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t fab_clock_now(struct fab *f)
{
	return clock_ns(CLOCK_MONOTONIC);
}

uint64_t fab_clock_wall(struct fab *f)
{
	return clock_ns(CLOCK_REALTIME);
}

void fab_clock_sleep(struct fab *f, uint64_t ns)
{
	struct timespec ts = {.tv_sec = (time_t)(ns / 1000000000u),
			      .tv_nsec = (long)(ns % 1000000000u)};

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, &ts) == EINTR)
		;
}

int fab_poll_until(struct pollfd *p, unsigned long n, uint64_t until)
{
	uint64_t now = until != 0 ? fab_clock_now(NULL) : 0, ns;
	struct timespec ts = {0, 0};

	if (until > now) {
		ns = until - now;
		ts.tv_sec = (time_t)(ns / 1000000000u);
		ts.tv_nsec = (long)(ns % 1000000000u);
		if (ns / 1000000000u > 3600)
			ts.tv_sec = 3600;
	}
	return ppoll(p, n, &ts, NULL);
}

/* splitmix64 */
uint64_t fab_dice(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

int fab_thread_start(pthread_t *t, void *(*fn)(void *arg), void *arg)
{
	sigset_t all, before;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(t, NULL, fn, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -rc;
}

/* --- the net ------------------------------------------------------------- */

int fab_net_attach(struct fab_net *net, uint8_t id, const char *address,
		   const void *hello, size_t len)
{
	if (id > FAB_NODE_COORD || address == NULL || len > FAB_CALL_BYTES_MAX)
		return -EINVAL;
	return net->ops->attach(net, id, address, hello, len);
}

void fab_net_cut(struct fab_net *net, uint8_t id)
{
	if (id <= FAB_NODE_COORD)
		net->ops->cut(net, id);
}

bool fab_net_up(struct fab_net *net, uint8_t id)
{
	return id <= FAB_NODE_COORD && net->ops->up(net, id);
}

uint64_t fab_net_size(struct fab_net *net, uint8_t id)
{
	return id <= FAB_NODE_COORD ? net->ops->size(net, id) : 0;
}

void fab_net_on_down(struct fab_net *net, void (*down)(void *arg, uint8_t id),
		     void *arg)
{
	net->ops->on_down(net, down, arg);
}

void fab_net_prepare(struct fab_net *net, uint8_t id, uint64_t offset,
		     uint64_t len, bool map)
{
	if (net->ops->prepare != NULL && id < FAB_NODES_MAX)
		net->ops->prepare(net, id, offset, len, map);
}

void fab_net_close(struct fab_net *net)
{
	if (net != NULL)
		net->ops->close(net);
}
