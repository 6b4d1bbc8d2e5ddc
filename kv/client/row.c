/* kv/client/row.c - pages in rows of a whole stripe, with their parity.
 *
 *	        column 0     1        2         parity 0   1
 *	row 0   page 0      R       2R            +        +
 *	row 1   page 1      R+1     2R+1          +        +      R rows of
 *	...                                                       k pages
 *	row R-1 page R-1    2R-1    -             +        +
 *
 * Column c takes pages [c*R, (c+1)*R): adjacent pages of the caller stay
 * adjacent, so a column is one WRITE. Pages missing at the end count as zeros,
 * which is what lies there (D2), and are marked obsolete. Nothing but the rows
 * of this very call is in these rows: a write that fails in the middle harms
 * no page of anyone else.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ec/code.h"
#include "kv/client/member.h"
#include "kv/client/pages.h"

static const uint8_t zero_page[KV_PAGE_BYTES];

#define ROWS_SHORT 16u /* fewer are written page by page */

struct rows {
	struct kv *kv;
	struct kv_thread *t;
	struct page_io *io;
	const void *const *data;
	uint32_t n; /* pages */
	uint32_t r; /* rows */
	uint32_t k, m;
	uint32_t at; /* byte where they begin in every block */
	struct space_spot spot;
};

/* Pages of column @c. */
static uint32_t column_pages(const struct rows *w, uint32_t c)
{
	uint32_t first = c * w->r;

	if (first >= w->n)
		return 0;
	return w->n - first < w->r ? w->n - first : w->r;
}

/* --- parity -------------------------------------------------------------- */

static int parity_room(struct rows *w)
{
	size_t need = (size_t)w->m * w->r * KV_PAGE_BYTES;
	uint8_t *p;

	if (need <= w->io->parity_bytes)
		return 0;
	p = aligned_alloc(KV_PAGE_BYTES, need);
	if (p == NULL)
		return -ENOMEM;
	if (w->io->parity != NULL)
		kv_deregister(w->kv, w->io->parity);
	free(w->io->parity);
	(void)kv_register(w->kv, p, need);
	w->io->parity = p;
	w->io->parity_bytes = need;
	return 0;
}

static uint8_t *parity_at(const struct rows *w, uint32_t j, uint32_t row)
{
	return w->io->parity + ((size_t)j * w->r + row) * KV_PAGE_BYTES;
}

/* The sources of row @row; returns for how many rows they go on adjacently. */
static uint32_t sources(const struct rows *w, uint32_t row, const void **src)
{
	uint32_t run = w->r - row;

	for (uint32_t c = 0; c < w->k; c++) {
		uint32_t have = column_pages(w, c);
		size_t same = 1;

		src[c] = zero_page;
		if (row < have) {
			src[c] = w->data[c * w->r + row];
			same = pages_adjacent(w->data + c * w->r + row,
					      have - row);
		}
		if (same < run)
			run = (uint32_t)same;
	}
	return run;
}

static void encode(const struct rows *w)
{
	const void *src[CODE_DATA_MAX];
	void *dst[CODE_PARITY_MAX];
	uint32_t run;

	for (uint32_t row = 0; row < w->r; row += run) {
		run = sources(w, row, src);
		for (uint32_t j = 0; j < w->m; j++)
			dst[j] = parity_at(w, j, row);
		code_encode(w->kv->code, (size_t)run * KV_PAGE_BYTES, src, dst);
	}
}

/* --- one piece: what fits in the open stripe ----------------------------- */

static uint32_t column_ops(const struct rows *w, uint32_t c, struct fab_op *ops)
{
	const struct space_member *mb = &w->spot.block->member[c];
	const void *const *data = w->data + c * w->r;
	uint32_t have = column_pages(w, c), n = 0;
	size_t run;

	for (uint32_t i = 0; i < have; i += (uint32_t)run) {
		run = pages_adjacent(data + i, have - i);
		fab_write(&ops[n++], mb->node,
			  mb->offset + w->at + (uint64_t)i * KV_PAGE_BYTES,
			  data[i], (uint32_t)run * KV_PAGE_BYTES);
	}
	return n;
}

/* Role @r's block is where it was opened. */
static bool is_there(const struct rows *w, uint32_t r)
{
	return space_member_holds(w->kv->space, w->spot.block, r);
}

/* As space_trim() says. */
static bool have_homes(const struct rows *w)
{
	for (uint32_t c = 0; c < w->k; c++)
		if (!is_there(w, c))
			return false;
	return true;
}

static int tell_zeros(const struct rows *w)
{
	int rc = 0;

	for (uint32_t c = 0; c < w->k && rc == 0; c++)
		rc = pages_zeros(w->kv, w->t, w->spot.block, c,
				 w->data + c * w->r, column_pages(w, c));
	return rc;
}

static uint32_t row_ops(const struct rows *w)
{
	struct fab_op *ops = w->io->ops;
	uint32_t n = 0;

	for (uint32_t c = 0; c < w->k; c++)
		if (is_there(w, c))
			n += column_ops(w, c, ops + n);
	for (uint32_t j = 0; j < w->m; j++) {
		const struct space_member *mb =
			&w->spot.block->member[w->k + j];

		if (!is_there(w, w->k + j))
			continue;
		fab_write(&ops[n++], mb->node, mb->offset + w->at,
			  parity_at(w, j, 0), w->r * KV_PAGE_BYTES);
	}
	return n;
}

static void name_pages(const struct rows *w, struct kv_page *out)
{
	for (uint32_t c = 0; c < w->k; c++) {
		const struct space_member *mb = &w->spot.block->member[c];

		for (uint32_t i = 0; i < column_pages(w, c); i++)
			(out++)->addr = fab_addr_make(
				mb->node, mb->offset + w->at +
						  (uint64_t)i * KV_PAGE_BYTES);
	}
}

/* Mark, in every column, what does not hold one of @pages pages. Like a page
 * that nobody names it stays until it is marked, in whatever life of the block
 * that is: looked up when it is sent. */
static void mark_rest(const struct rows *w, bool all)
{
	const struct space_block *b = w->spot.block;
	uint32_t first = w->at / GROUP_UNIT_BYTES;

	for (uint32_t c = 0; c < w->k; c++) {
		uint32_t have = all ? 0 : column_pages(w, c);

		if (have < w->r)
			space_mark(w->kv->space, b->stripe, c, 0,
				   first + have * PAGE_UNITS,
				   (w->r - have) * PAGE_UNITS);
	}
}

/* So many members are up that the rows can be read. */
static bool is_kept(const struct rows *w)
{
	const struct space_block *b = w->spot.block;
	uint32_t n = 0;

	for (uint32_t i = 0; i < b->members; i++)
		n += is_there(w, i);
	return n >= w->k;
}

/* Of what was given up, data and parity may disagree: the nodes shall know. */
static void tear(const struct rows *w)
{
	struct space *sp = w->kv->space;
	struct space_block *b = w->spot.block;
	struct space_lane *lane = space_lane_of(sp, atomic_load(&b->lane));

	pthread_mutex_lock(&lane->lock);
	b->torn = true;
	pthread_mutex_unlock(&lane->lock);
}

static int write_piece(struct rows *w, struct kv_page *out,
		       uint64_t deadline_ns)
{
	int rc = parity_room(w);

	if (rc == 0 && !have_homes(w))
		rc = -EAGAIN;
	if (rc == 0)
		rc = tell_zeros(w);
	if (rc == 0) {
		encode(w);
		rc = pages_post(w->kv, w->t, w->io->ops, row_ops(w),
				deadline_ns);
	}
	if (rc == 0 && !is_kept(w))
		rc = -EAGAIN;
	if (rc == 0)
		name_pages(w, out);
	if (rc != 0)
		tear(w);
	mark_rest(w, rc != 0);
	space_settle(w->kv->space, &w->spot);
	return rc;
}

/* Take rows for the first pages of @data: as many as there is room for. */
static int take_rows(struct rows *w, const void *const *data, size_t n)
{
	uint32_t want = (uint32_t)(n + w->k - 1) / w->k;
	struct space *sp = w->kv->space;
	uint32_t got;
	int rc;

	atomic_store_explicit(&sp->rows_short, want < ROWS_SHORT,
			      memory_order_relaxed);
	rc = lane_take(sp, w->t, SPACE_ROWS, PAGE_UNITS, want * PAGE_UNITS,
		       false, fab_now(w->t->fab) + SPACE_CALL_NS, &w->spot);
	if (rc != 0)
		return rc;
	got = w->spot.units / PAGE_UNITS;
	w->data = data;
	w->r = got;
	w->n = n < (size_t)got * w->k ? (uint32_t)n : got * w->k;
	w->at = (uint32_t)(w->spot.addr - w->spot.block->addr);
	return 0;
}

int rows_write(struct kv *kv, struct kv_thread *t, struct page_io *io,
	       const void *const *data, size_t n, struct kv_page *out,
	       uint64_t deadline_ns)
{
	const struct group *g = space_group(kv->space);
	struct rows w = {.kv = kv, .t = t, .io = io, .k = g->k, .m = g->m};
	size_t done = 0;
	int rc;

	/* A short rest is better off in the delta path. */
	while (n - done >= (size_t)PAGES_ROW_FACTOR * g->k) {
		if (take_rows(&w, data + done, n - done) != 0)
			break;
		rc = write_piece(&w, out + done, deadline_ns);
		if (rc == -EAGAIN)
			break; /* too many members died: elsewhere */
		if (rc != 0) {
			kv_pages_free(kv, out, done);
			return rc;
		}
		done += w.n;
	}
	return (int)done;
}
