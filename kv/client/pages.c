/* kv/client/pages.c - writing and freeing pages; the delta path.
 *
 *	take spots for all pages -> one batch: each to the data block and to
 *	the deltas -> done on all members that are up -> settle
 *
 * A block with a spot that is not settled cannot be sealed, and keeps a delta
 * block of each parity from being folded. In a pool that is nearly full, where
 * blocks opened again have room for a few pages each, a large write would want
 * more of them than there are, and wait for itself: so it goes on with those
 * that it has, and takes the rest after that.
 */
#include "kv/client/pages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ec/crc.h"
#include "kv/client/lease.h"
#include "kv/client/member.h"
#include "kv/proto.h"
#include "kv/stats.h"

#define POST_NS UINT64_C(1000000000) /* for one batch, then suspect */
#define WAIT_NS UINT64_C(100000000)  /* for another view, then retry */
#define TAKE_NS UINT64_C(100000000)  /* inside one view */

/* --- scratch ------------------------------------------------------------- */

struct page_io *page_io_get(struct space *sp)
{
	struct page_io *io;

	pthread_mutex_lock(&sp->io_lock);
	io = sp->ios;
	if (io != NULL) {
		sp->ios = io->next;
		sp->nios--;
	}
	pthread_mutex_unlock(&sp->io_lock);
	return io != NULL ? io : calloc(1, sizeof(*io));
}

static void io_free(struct space *sp, struct page_io *io)
{
	if (io->parity != NULL)
		kv_deregister(sp->kv, io->parity);
	free(io->parity);
	free(io);
}

void page_io_put(struct space *sp, struct page_io *io)
{
	bool keep;

	pthread_mutex_lock(&sp->io_lock);
	keep = sp->nios < PAGES_IOS_KEPT;
	if (keep) {
		io->next = sp->ios;
		sp->ios = io;
		sp->nios++;
	}
	pthread_mutex_unlock(&sp->io_lock);
	if (!keep)
		io_free(sp, io);
}

void pages_scratch_free(struct space *sp)
{
	struct page_io *io;

	while ((io = sp->ios) != NULL) {
		sp->ios = io->next;
		io_free(sp, io);
	}
	sp->nios = 0;
}

/* --- batches of WRITEs --------------------------------------------------- */

size_t pages_adjacent(const void *const *data, size_t n)
{
	size_t i = 1;

	while (i < n && data[i] == (const uint8_t *)data[i - 1] + KV_PAGE_BYTES)
		i++;
	return i;
}

int pages_wait(struct kv *kv, struct kv_thread *t, uint64_t deadline_ns)
{
	uint64_t epoch = member_epoch(kv->member);
	uint64_t now = fab_now(t->fab);
	uint64_t until = now + WAIT_NS;

	if (now >= deadline_ns || lease_is_dead(kv->lease))
		return -ETIMEDOUT;
	member_leave(kv->member, t);
	member_wait(kv->member, t, epoch,
		    until < deadline_ns ? until : deadline_ns);
	member_enter(kv->member, t);
	return 0;
}

uint64_t pages_direct(struct kv_thread *t)
{
	struct fab_counters c;

	fab_counters(t->fab, &c);
	return c.direct;
}

static void count(struct kv_op_stats *s, const struct fab_op *ops, uint32_t n)
{
	stat_add(&s->batches, 1);
	stat_add(&s->ops, n);
	for (uint32_t i = 0; i < n; i++)
		stat_add(&s->bytes, ops[i].len);
}

static bool is_away(int status)
{
	return status == -EHOSTDOWN || status == -ETIMEDOUT ||
	       status == -ECANCELED;
}

/* Keep of @ops those to be tried again; *refused if one never will do. */
static uint32_t left_over(struct kv *kv, struct kv_thread *t,
			  struct fab_op *ops, uint32_t n, bool *refused)
{
	uint64_t told = 0;
	uint32_t left = 0;

	for (uint32_t i = 0; i < n; i++) {
		if (ops[i].status == 0)
			continue;
		if (!is_away(ops[i].status))
			*refused = true;
		if (!(told >> ops[i].node & 1))
			member_suspect(kv->member, t, ops[i].node);
		told |= UINT64_C(1) << ops[i].node;
		fab_write(&ops[left++], ops[i].node, ops[i].offset, ops[i].buf,
			  ops[i].len);
	}
	return left;
}

/* Those whose node is DOWN, or another since @epoch, need not be done. */
static uint32_t drop_down(struct kv *kv, struct fab_op *ops, uint32_t n,
			  uint64_t epoch)
{
	uint32_t left = 0;

	for (uint32_t i = 0; i < n; i++)
		if (member_holds(kv->member, ops[i].node, epoch))
			ops[left++] = ops[i];
	return left;
}

int pages_post(struct kv *kv, struct kv_thread *t, struct fab_op *ops,
	       uint32_t n, uint64_t deadline_ns)
{
	uint64_t epoch = member_epoch(kv->member);
	bool refused = false;

	for (;;) {
		uint64_t until = fab_now(t->fab) + POST_NS;
		struct fab_batch batch = {
			.ops = ops,
			.n = n,
			.deadline_ns =
				until < deadline_ns ? until : deadline_ns,
		};
		int rc = fab_run(t->fab, &batch);

		if (rc != 0)
			return rc;
		count(&t->stats.page_write, ops, n);
		n = left_over(kv, t, ops, n, &refused);
		if (refused)
			return -EIO;
		n = drop_down(kv, ops, n, epoch);
		if (n == 0)
			return 0;
		stat_add(&t->stats.page_write.retries, 1);
		rc = pages_wait(kv, t, deadline_ns);
		if (rc != 0)
			return rc;
		n = drop_down(kv, ops, n, epoch);
	}
}

/* --- pages of zeros ------------------------------------------------------ */

static bool is_zero(const void *page)
{
	const uint8_t *p = page;

	return p[0] == 0 && memcmp(p, p + 1, KV_PAGE_BYTES - 1) == 0;
}

static bool any_zero(const void *const *data, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (is_zero(data[i]))
			return true;
	return false;
}

int pages_zeros(struct kv *kv, struct kv_thread *t, struct space_block *b,
		uint32_t role, const void *const *data, size_t n)
{
	const struct space_member *home =
		&b->member[b->kind == BLOCK_ROWS ? role : 0];
	struct proto_zeros rq = {
		.stripe = b->stripe, .role = role, .life = b->life};
	uint32_t bit = 1u << role;
	int rc;

	if ((atomic_load(&b->zeros) & bit) != 0 || !any_zero(data, n))
		return 0;
	rc = fab_call_run(t->fab, home->node, PROTO_ZEROS, &rq, sizeof(rq),
			  NULL, 0, NULL, SPACE_CALL_NS);
	if (rc != 0) {
		member_suspect(kv->member, t, home->node);
		return -EAGAIN;
	}
	atomic_fetch_or(&b->zeros, bit);
	return 0;
}

/* --- the delta path ------------------------------------------------------ */

static void abandon(struct space *sp, struct page_io *io)
{
	for (uint32_t i = 0; i < io->nspots; i++)
		space_abandon(sp, &io->spot[i]);
	io->nspots = 0;
}

/* Spots for @n pages, or the first of them; returns for how many. */
static int take(struct kv *kv, struct kv_thread *t, struct page_io *io,
		size_t n, uint64_t deadline_ns)
{
	uint32_t want = (uint32_t)n * PAGE_UNITS, left = want;

	io->nspots = 0;
	while (left != 0 && io->nspots < PAGES_SPOTS) {
		struct space_spot *spot = &io->spot[io->nspots];
		int rc = lane_take(kv->space, t, SPACE_PAGES, PAGE_UNITS, left,
				   false, fab_now(t->fab) + TAKE_NS, spot);

		if (rc == 0) {
			left -= spot->units;
			io->nspots++;
			continue;
		}
		if (rc == -EAGAIN || rc == -ETIMEDOUT) {
			if (io->nspots != 0)
				break;
			rc = pages_wait(kv, t, deadline_ns);
		}
		if (rc != 0)
			return rc;
	}
	return (int)((want - left) / PAGE_UNITS);
}

/* One WRITE per copy and adjacent run of the pages of @spot. */
static uint32_t spot_ops(const struct space_spot *spot, const void *const *data,
			 struct fab_op *ops)
{
	size_t pages = spot->units / PAGE_UNITS, run;
	uint32_t n = 0;

	for (size_t i = 0; i < pages; i += run) {
		run = pages_adjacent(data + i, pages - i);
		for (uint8_t c = 0; c < spot->copies; c++)
			fab_write(&ops[n++], spot->copy[c].node,
				  spot->copy[c].offset + i * KV_PAGE_BYTES,
				  data[i], (uint32_t)run * KV_PAGE_BYTES);
	}
	return n;
}

static void name_pages(const struct page_io *io, struct kv_page *out)
{
	for (uint32_t i = 0; i < io->nspots; i++)
		for (uint32_t at = 0; at < io->spot[i].units; at += PAGE_UNITS)
			(out++)->addr = io->spot[i].addr +
					(uint64_t)at * GROUP_UNIT_BYTES;
}

/* Every spot has a copy on a node that is a member. */
static bool all_kept(struct kv *kv, const struct page_io *io)
{
	for (uint32_t i = 0; i < io->nspots; i++) {
		bool kept = false;

		for (uint8_t c = 0; c < io->spot[i].copies; c++)
			kept |= member_holds(kv->member,
					     io->spot[i].copy[c].node,
					     io->spot[i].epoch);
		if (!kept)
			return false;
	}
	return true;
}

/* Write some of the @n pages, from the first one on; returns how many. */
static int delta_try(struct kv *kv, struct kv_thread *t, struct page_io *io,
		     const void *const *data, size_t n, struct kv_page *out,
		     uint64_t deadline_ns)
{
	uint32_t nops = 0, page = 0;
	int rc, got = take(kv, t, io, n, deadline_ns);
	bool unheard = false;

	rc = got < 0 ? got : 0;
	if (rc != 0)
		goto err_abandon;
	for (uint32_t i = 0; i < io->nspots; i++) {
		if (!space_trim(kv->space, &io->spot[i]))
			rc = -EAGAIN;
		if (rc == 0) {
			rc = pages_zeros(kv, t, io->spot[i].block,
					 io->spot[i].block->role, data + page,
					 io->spot[i].units / PAGE_UNITS);
			unheard = rc != 0;
		}
		nops += spot_ops(&io->spot[i], data + page, io->ops + nops);
		page += io->spot[i].units / PAGE_UNITS;
	}
	if (rc == 0)
		rc = pages_post(kv, t, io->ops, nops, deadline_ns);
	if (rc == 0 && !all_kept(kv, io))
		rc = -EAGAIN; /* of these copies none is left: elsewhere */
	if (rc != 0)
		goto err_abandon;
	name_pages(io, out);
	for (uint32_t i = 0; i < io->nspots; i++)
		space_settle(kv->space, &io->spot[i]);
	return got;

err_abandon:
	abandon(kv->space, io);
	if (unheard) { /* its node has gone, and the view has yet to say so */
		got = pages_wait(kv, t, deadline_ns);
		rc = got != 0 ? got : rc;
	}
	return rc;
}

static void free_pages(struct kv *kv, struct kv_thread *t,
		       const struct kv_page *pages, size_t n);

static int delta_write(struct kv *kv, struct kv_thread *t, struct page_io *io,
		       const void *const *data, size_t n, struct kv_page *out,
		       uint64_t deadline_ns)
{
	size_t done = 0;
	int rc;

	do {
		rc = delta_try(kv, t, io, data + done, n - done, out + done,
			       deadline_ns);
		if (rc > 0)
			done += (size_t)rc;
	} while (done < n &&
		 (rc > 0 || (rc == -EAGAIN && fab_now(t->fab) < deadline_ns)));
	if (done == n) {
		stat_add(&t->stats.delta_pages, n);
		return 0;
	}
	free_pages(kv, t, out, done);
	return rc == -EAGAIN ? -ETIMEDOUT : rc;
}

/* --- both paths ---------------------------------------------------------- */

static int write_all(struct kv *kv, struct kv_thread *t, struct page_io *io,
		     const void *const *data, size_t n, struct kv_page *out,
		     uint64_t deadline_ns)
{
	size_t done = 0;
	int rc = 0;

	if (n >= PAGES_ROW_FACTOR * space_group(kv->space)->k) {
		rc = rows_write(kv, t, io, data, n, out, deadline_ns);
		if (rc < 0)
			return rc;
		done = (size_t)rc;
		stat_add(&t->stats.row_pages, done);
	}
	if (done < n)
		rc = delta_write(kv, t, io, data + done, n - done, out + done,
				 deadline_ns);
	if (rc < 0) {
		free_pages(kv, t, out, done);
		return rc;
	}
	return 0;
}

static uint64_t deadline_of(struct kv *kv, struct kv_thread *t)
{
	return fab_now(t->fab) + kv_timeout_ns(kv);
}

int kv_pages_write(struct kv *kv, const void *const *data, size_t n,
		   struct kv_page *out)
{
	struct kv_thread *t;
	struct page_io *io;
	uint64_t direct;
	int rc;

	if (kv->opts.read_only)
		return -EROFS;
	if (n > KV_PAGES_MAX)
		return -EINVAL;
	for (size_t i = 0; i < n; i++)
		if (data[i] == NULL)
			return -EINVAL;
	if (n == 0)
		return 0;
	t = kv_thread(kv);
	if (t == NULL)
		return -ENOMEM;
	if (lease_is_dead(kv->lease))
		return -ENOTCONN;
	io = page_io_get(kv->space);
	if (io == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		out[i].crc = crc_of(0, data[i], KV_PAGE_BYTES);
	stat_add(&t->stats.page_write.calls, 1);
	direct = pages_direct(t);
	member_enter(kv->member, t);
	rc = write_all(kv, t, io, data, n, out, deadline_of(kv, t));
	member_leave(kv->member, t);
	stat_add(&t->stats.direct, pages_direct(t) - direct);
	if (rc != 0)
		stat_add(&t->stats.page_write.errors, 1);
	if (rc != 0 && lease_is_dead(kv->lease))
		rc = -ENOTCONN;
	page_io_put(kv->space, io);
	return rc;
}

/* --- frees --------------------------------------------------------------- */

/* How many of pages[0..n-1] lie one behind the other in one block. */
static size_t run_of(const struct group *g, const struct kv_page *pages,
		     size_t n)
{
	uint64_t at = fab_addr_offset(pages[0].addr) - g->block_off;
	uint64_t room = g->block_bytes - at % g->block_bytes;
	size_t i = 1;

	while (i < n && (i + 1) * KV_PAGE_BYTES <= room &&
	       pages[i].addr == pages[i - 1].addr + KV_PAGE_BYTES)
		i++;
	return i;
}

static void free_pages(struct kv *kv, struct kv_thread *t,
		       const struct kv_page *pages, size_t n)
{
	const struct group *g = space_group(kv->space);
	size_t run;

	for (size_t i = 0; i < n; i += run) {
		run = 1;
		if (pages[i].addr == 0)
			continue;
		run = run_of(g, pages + i, n - i);
		space_obsolete(kv->space, t, pages[i].addr,
			       (uint32_t)run * PAGE_UNITS, 0);
	}
}

void kv_pages_free(struct kv *kv, const struct kv_page *pages, size_t n)
{
	struct kv_thread *t = kv_thread(kv);

	/* Without memory for a thread the space is found by fsck. */
	if (t != NULL && !kv->opts.read_only)
		free_pages(kv, t, pages, n);
}
