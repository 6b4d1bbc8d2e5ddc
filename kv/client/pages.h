/* kv/client/pages.h - bulk bytes: what kv_pages_*() of kv.h do.
 *
 *	PAGES_ROW_FACTOR * k pages or more, all members up
 *		-> row.c: rows of a whole stripe, parity made here: (k+m)/k
 *	else	-> pages.c: pages in a data block and its m deltas: 1+m
 *
 * Threads: any; one @t each. */
#ifndef ACESO_KV_CLIENT_PAGES_H
#define ACESO_KV_CLIENT_PAGES_H
#include <stdint.h>

#include "kv/client/space_impl.h"

#define PAGES_ROW_FACTOR 3u /* below, the padding of rows is not worth it */
#define PAGE_UNITS	 (KV_PAGE_BYTES / GROUP_UNIT_BYTES)
#define PAGES_OPS_MAX	 (KV_PAGES_MAX * SPACE_COPIES_MAX)
#define PAGES_IOS_KEPT	 8u
#define PAGES_SPOTS	 8u /* so many are enough to be written first */

/* Scratch for one call under way. */
struct page_io {
	struct page_io *next; /* while it is not in use */
	uint8_t *parity;      /* row.c's, @parity_bytes; registered */
	size_t parity_bytes;
	uint32_t nspots;
	struct space_spot spot[PAGES_SPOTS];
	struct fab_op ops[PAGES_OPS_MAX];
};

struct page_io *page_io_get(struct space *sp); /* NULL: -ENOMEM */
void page_io_put(struct space *sp, struct page_io *io);
void pages_scratch_free(struct space *sp);

/* Operations of @t's so far that an adapter did without a copy. */
uint64_t pages_direct(struct kv_thread *t);

/* How many of data[0..n-1] lie one behind the other. */
size_t pages_adjacent(const void *const *data, size_t n);

/* Run @n WRITEs, each until it is done or its node is DOWN in the view.
 * Inside member_enter(); may leave and enter again.
 * Errors: -ETIMEDOUT; -EIO if a node refused one. */
int pages_post(struct kv *kv, struct kv_thread *t, struct fab_op *ops,
	       uint32_t n, uint64_t deadline_ns);

/* Some of data[0..n-1] are pages of zeros, and are about to be named in role
 * @role of block @b: see that its node knows (kv/node/leftover.c), or is down.
 * Inside member_enter(). -EAGAIN: it may not know. */
int pages_zeros(struct kv *kv, struct kv_thread *t, struct space_block *b,
		uint32_t role, const void *const *data, size_t n);

/* Leave the view for a moment, or until the next one. -ETIMEDOUT past the
 * deadline. */
int pages_wait(struct kv *kv, struct kv_thread *t, uint64_t deadline_ns);

/* Write as many as possible of @n pages in rows; fills out[].addr. Returns how
 * many were written, from the first on (0: rows are not to be had now), or
 * -ETIMEDOUT, -EIO, -ENOMEM. */
int rows_write(struct kv *kv, struct kv_thread *t, struct page_io *io,
	       const void *const *data, size_t n, struct kv_page *out,
	       uint64_t deadline_ns);

#endif
