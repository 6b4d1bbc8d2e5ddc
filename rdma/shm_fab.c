/* rdma/shm_fab.c - a thread's queue: one-sided operations, done here and now
 * by the poster's thread. A batch without CALLs is complete when post returns;
 * on its way there is no lock, no allocation and no system call. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rdma/shm_copy.h"
#include "rdma/shm_impl.h"

/* A batch may be long; a cut must not wait for all of it. */
#define INSIDE_BYTES_MAX (256u << 10)

#define SHM_PAGE_BYTES	    UINT64_C(4096)
#define SHM_PAGES_BYTES_MIN (64u << 10)

/* --- inside: see shm_node.c ----------------------------------------------- */

static inline void enter(struct shm_fab *f)
{
	uint64_t v = atomic_load_explicit(&f->inside, memory_order_relaxed);

	atomic_exchange(&f->inside, v + 1);
}

/* seq_cst and with that a full barrier: what was written is seen by every
 * later READ of anyone. */
static inline void leave(struct shm_fab *f)
{
	uint64_t v = atomic_load_explicit(&f->inside, memory_order_relaxed);

	atomic_exchange(&f->inside, v + 1);
}

/* --- one operation -------------------------------------------------------- */

static inline bool within(const struct shm_node *node, const struct fab_op *op,
			  uint64_t len)
{
	return op->offset <= node->n.size && len <= node->n.size - op->offset;
}

static inline int do_read(const struct shm_node *node, struct fab_op *op)
{
	if (!within(node, op, op->len))
		return -EREMOTEIO;
	shm_copy_out(op->buf, node->base + op->offset, op->len);
	shm_fence(__ATOMIC_ACQUIRE);
	return 0;
}

/* Whole pages, many. What is mapped is written by hand; the rest through the
 * file: where the node's memory is fresh that neither clears a page nor maps
 * it, at half the price of a fault for each. The kernel copies whole words as
 * we do: both ends are aligned to them. */
static bool write_pages(const struct shm_node *node, const struct fab_op *op)
{
	const uint64_t mask = SHM_PAGE_BYTES - 1;

	if (((op->offset | op->len) & mask) || ((uintptr_t)op->buf & 7))
		return false;
	if (shm_is_mapped(node, op->offset, op->len)) {
		shm_copy_past(node->base + op->offset, op->buf, op->len);
		return true;
	}
	return pwrite(node->fd, op->buf, op->len, (off_t)op->offset) ==
	       (ssize_t)op->len;
}

static inline int do_write(const struct shm_node *node, struct fab_op *op)
{
	if (!within(node, op, op->len) || node->look)
		return -EREMOTEIO;
	shm_fence(__ATOMIC_RELEASE);
	if (op->len >= SHM_PAGES_BYTES_MIN && write_pages(node, op))
		return 0; /* else by hand: it is the same again */
	shm_copy_in(node->base + op->offset, op->buf, op->len);
	return 0;
}

static inline uint64_t *word_at(const struct shm_node *node,
				const struct fab_op *op)
{
	if (!within(node, op, 8) || op->offset % 8 != 0 || node->look)
		return NULL;
	return (uint64_t *)(node->base + op->offset);
}

static inline int do_cas(const struct shm_node *node, struct fab_op *op)
{
	uint64_t *w = word_at(node, op);

	if (w == NULL)
		return -EREMOTEIO;
	op->old = op->expect;
	__atomic_compare_exchange_n(w, &op->old, op->arg, false,
				    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	return 0;
}

static inline int do_faa(const struct shm_node *node, struct fab_op *op)
{
	uint64_t *w = word_at(node, op);

	if (w == NULL)
		return -EREMOTEIO;
	op->old = __atomic_fetch_add(w, op->arg, __ATOMIC_SEQ_CST);
	return 0;
}

/* The load of the state is one half of the fence, enter() the other. */
static inline int do_one_sided(struct shm_fab *f, struct fab_op *op)
{
	struct shm_node *node = shm_node(f->q.net, op->node);

	if (atomic_load(&node->n.state) != NET_UP)
		return -EHOSTDOWN;
	switch (op->opcode) {
	case FAB_READ:
		return do_read(node, op);
	case FAB_WRITE:
		return do_write(node, op);
	case FAB_CAS:
		return do_cas(node, op);
	default:
		return do_faa(node, op);
	}
}

/* --- a batch -------------------------------------------------------------- */

void shm_op_end(struct shm_fab *f, struct fab_batch *b, struct fab_op *op,
		int status)
{
	op->status = status;
	if (status < 0)
		f->q.fab.count.failed++;
	if (--b->left > 0)
		return;
	if (b->priv != NULL)
		shm_calls_release(f, b);
	fab_done(&f->q.fab, b);
}

/* Order: x86 lets a later READ pass an earlier WRITE, nothing else; so that
 * pair, and only it, pays for a barrier. */
static void do_ops(struct shm_fab *f, struct fab_batch *b)
{
	uint64_t failed = 0, bytes = 0; /* failed: a bit per node */
	uint32_t n = b->n;		/* b may be gone after its last op */
	bool written = false;
	struct fab_op *op;
	int rc;

	for (uint32_t i = 0; i < n; i++) {
		op = &b->ops[i];
		if (op->opcode == FAB_READ && written) {
			shm_fence(__ATOMIC_SEQ_CST);
			written = false;
		}
		if ((failed >> op->node & 1) != 0) {
			rc = -ECANCELED;
		} else if (op->opcode == FAB_CALL) {
			leave(f); /* it may wait for a connection */
			op->status = -EINPROGRESS;
			rc = shm_call_start(f, b, op);
			enter(f);
			if (rc == -EINPROGRESS)
				continue;
		} else {
			rc = do_one_sided(f, op);
			bytes += op->len;
			written |= op->opcode == FAB_WRITE;
		}
		if (rc < 0)
			failed |= UINT64_C(1) << op->node;
		if (bytes > INSIDE_BYTES_MAX) {
			leave(f);
			enter(f);
			bytes = 0;
		}
		shm_op_end(f, b, op, rc);
	}
}

/* Never faults. The node's state is looked at as for an operation. */
static inline void fetch_soon(struct shm_fab *f, const struct fab_batch *b)
{
	const struct shm_node *node = shm_node(f->q.net, b->soon_node);

	if (atomic_load(&node->n.state) == NET_UP && b->soon < node->n.size)
		__builtin_prefetch(node->base + b->soon, 1);
}

static int shm_post(struct fab *fab, struct fab_batch *b)
{
	struct shm_fab *f = shm_fab(fab);
	uint32_t calls = 0;
	int rc;

	for (uint32_t i = 0; i < b->n; i++)
		calls += b->ops[i].opcode == FAB_CALL;
	if (calls > 0) {
		rc = shm_calls_prepare(f, b, calls);
		if (rc != 0)
			return rc;
	}
	enter(f);
	if (b->soon != 0)
		fetch_soon(f, b);
	do_ops(f, b);
	leave(f);
	return 0;
}

/* --- its life ------------------------------------------------------------- */

static void shm_fab_close(struct fab *fab)
{
	struct shm_fab *f = shm_fab(fab);

	queue_close(&f->q);
	shm_calls_close(f);
	free(f);
}

static const struct fab_ops shm_fab_ops = {
	.close = shm_fab_close,
	.post = shm_post,
	.progress = queue_progress,
	.now = fab_clock_now,
	.wall = fab_clock_wall,
	.random = queue_random,
	.sleep = fab_clock_sleep,
};

int shm_fab_open(struct fab_net *n, struct fab **out)
{
	struct shm_fab *f;
	int rc;

	f = aligned_alloc(_Alignof(struct shm_fab), sizeof(*f));
	if (f == NULL)
		return -ENOMEM;
	memset(f, 0, sizeof(*f));
	rc = shm_calls_open(f);
	if (rc != 0)
		goto err_free;
	rc = queue_open(&f->q, (struct net *)n, &shm_fab_ops, &shm_queue_how);
	if (rc != 0)
		goto err_close_calls;
	*out = &f->q.fab;
	return 0;

err_close_calls:
	shm_calls_close(f);
err_free:
	free(f);
	return rc;
}
