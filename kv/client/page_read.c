/* kv/client/page_read.c - reading pages, and trusting none of them.
 *
 *	one batch: READs of all pages on nodes that are up
 *	  node away           -> decode from the rest of the stripe
 *	  crc wrong           -> READ again -> decode -> -ESTALE or -EIO
 */
#include <errno.h>
#include <string.h>

#include "ec/crc.h"
#include "kv/client/degraded.h"
#include "kv/client/lease.h"
#include "kv/client/member.h"
#include "kv/client/pages.h"
#include "kv/stats.h"

#define READ_NS UINT64_C(1000000000)

struct reading {
	struct kv *kv;
	struct kv_thread *t;
	struct page_io *io;
	const struct kv_page *pages;
	void *const *data;
	size_t n;
	bool sure;
	uint64_t deadline_ns;
	uint32_t nops;
};

static bool is_page(const struct group *g, uint64_t addr)
{
	uint64_t stripe;
	uint32_t role, at;

	return group_locate(g, addr, &stripe, &role, &at) == 0 && role < g->k &&
	       at % KV_PAGE_BYTES == 0;
}

/* The page goes on where @op ends: there, here, and in one block. */
static bool extends(const struct group *g, const struct fab_op *op,
		    uint64_t addr, const void *buf)
{
	uint64_t block = (op->offset - g->block_off) / g->block_bytes;

	return fab_addr_node(addr) == op->node &&
	       fab_addr_offset(addr) == op->offset + op->len &&
	       (fab_addr_offset(addr) - g->block_off) / g->block_bytes ==
		       block &&
	       buf == (uint8_t *)op->buf + op->len &&
	       op->len + KV_PAGE_BYTES <= FAB_OP_BYTES_MAX;
}

static int plan(struct reading *r)
{
	const struct group *g = &r->kv->layout.group;
	struct fab_op *ops = r->io->ops;

	for (size_t i = 0; i < r->n; i++) {
		uint64_t addr = r->pages[i].addr;

		if (addr == 0) {
			memset(r->data[i], 0, KV_PAGE_BYTES);
			continue;
		}
		if (!is_page(g, addr))
			return -EINVAL;
		if (r->nops != 0 &&
		    extends(g, &ops[r->nops - 1], addr, r->data[i]))
			ops[r->nops - 1].len += KV_PAGE_BYTES;
		else
			/* each page's sum is looked at: is_right() */
			fab_read_loose(&ops[r->nops++], fab_addr_node(addr),
				       fab_addr_offset(addr), r->data[i],
				       KV_PAGE_BYTES);
	}
	return 0;
}

/* @status of a read that cannot be trusted, for the caller. */
static int stale(const struct reading *r)
{
	return r->sure ? -EIO : -ESTALE;
}

static int decode(struct reading *r, fab_addr addr, uint32_t len, void *buf,
		  bool force)
{
	int rc = degraded_read(r->kv, r->t, addr, len, buf, force,
			       r->deadline_ns);

	stat_add(&r->t->stats.degraded_reads, 1);
	return rc == -ENODATA ? stale(r) : rc;
}

static int post(struct reading *r, struct fab_op *ops, uint32_t n)
{
	uint64_t until = fab_now(r->t->fab) + READ_NS;
	struct kv_op_stats *s = &r->t->stats.page_read;
	struct fab_batch batch = {
		.ops = ops,
		.n = n,
		.deadline_ns = until < r->deadline_ns ? until : r->deadline_ns,
	};

	if (n == 0)
		return 0;
	stat_add(&s->batches, 1);
	stat_add(&s->ops, n);
	for (uint32_t i = 0; i < n; i++)
		stat_add(&s->bytes, ops[i].len);
	return fab_run(r->t->fab, &batch);
}

/* Put the reads from nodes that are up in front; how many they are. */
static uint32_t up_first(struct reading *r)
{
	uint64_t up = member_up(r->kv->member);
	struct fab_op *ops = r->io->ops;
	uint32_t n = 0;

	for (uint32_t i = 0; i < r->nops; i++) {
		struct fab_op op = ops[i];

		if (!(up >> op.node & 1))
			continue;
		ops[i] = ops[n];
		ops[n++] = op;
	}
	return n;
}

static int read_all(struct reading *r)
{
	uint32_t n = up_first(r);
	int rc = post(r, r->io->ops, n);

	for (uint32_t i = 0; rc == 0 && i < r->nops; i++) {
		struct fab_op *op = &r->io->ops[i];

		if (i < n && op->status == 0)
			continue;
		if (i < n && op->status == -EREMOTEIO)
			return -EIO;
		if (i < n)
			member_suspect(r->kv->member, r->t, op->node);
		/* Do not wait for the view to say that it is down. */
		rc = decode(r, fab_addr_make(op->node, op->offset), op->len,
			    op->buf, i < n);
	}
	return rc;
}

static bool is_right(const struct reading *r, size_t i)
{
	return crc_of(0, r->data[i], KV_PAGE_BYTES) == r->pages[i].crc;
}

static bool is_mended(void *arg, const void *buf)
{
	const struct kv_page *page = arg;

	return crc_of(0, buf, KV_PAGE_BYTES) == page->crc;
}

/* Page @i was wrong: it was being written, freed and used again, or damaged. */
static int mend(struct reading *r, size_t i)
{
	uint64_t addr = r->pages[i].addr;
	uint8_t node = fab_addr_node(addr);
	struct fab_op op;
	int rc;

	stat_add(&r->t->stats.crc_errors, 1);
	stat_add(&r->t->stats.page_read.retries, 1);
	if (member_up(r->kv->member) >> node & 1) {
		fab_read(&op, node, fab_addr_offset(addr), r->data[i],
			 KV_PAGE_BYTES);
		rc = post(r, &op, 1);
		if (rc != 0)
			return rc;
		if (op.status == 0 && is_right(r, i))
			return 0;
	}
	stat_add(&r->t->stats.degraded_reads, 1);
	rc = degraded_mend(r->kv, r->t, addr, KV_PAGE_BYTES, r->data[i],
			   is_mended, (void *)&r->pages[i], r->deadline_ns);
	return rc == 0 || rc == -ETIMEDOUT || rc == -ENOMEM ? rc : stale(r);
}

static int read_pages(struct reading *r)
{
	int rc = plan(r);

	if (rc == 0)
		rc = read_all(r);
	for (size_t i = 0; rc == 0 && i < r->n; i++)
		if (r->pages[i].addr != 0 && !is_right(r, i))
			rc = mend(r, i);
	return rc;
}

int kv_pages_read(struct kv *kv, const struct kv_page *pages, size_t n,
		  void *const *data, bool sure)
{
	struct reading r = {
		.kv = kv, .pages = pages, .data = data, .n = n, .sure = sure};
	uint64_t direct;
	int rc;

	if (n > KV_PAGES_MAX)
		return -EINVAL;
	r.t = kv_thread(kv);
	if (r.t == NULL)
		return -ENOMEM;
	if (lease_is_dead(kv->lease))
		return -ENOTCONN;
	r.io = page_io_get(kv->space);
	if (r.io == NULL)
		return -ENOMEM;
	stat_add(&r.t->stats.page_read.calls, 1);
	direct = pages_direct(r.t);
	r.deadline_ns = fab_now(r.t->fab) + kv_timeout_ns(kv);
	rc = read_pages(&r);
	stat_add(&r.t->stats.direct, pages_direct(r.t) - direct);
	if (rc != 0)
		stat_add(&r.t->stats.page_read.errors, 1);
	if (rc != 0 && lease_is_dead(kv->lease))
		rc = -ENOTCONN;
	page_io_put(kv->space, r.io);
	return rc;
}
