/* fs/ring_entry.c - room for one request and its answer.
 *
 * The kernel keeps the first argument of a request apart from what follows, and
 * libfuse wants a request in one piece as read(2) gives it. So there is a page
 * between head and payload: header and argument are put right before the
 * payload, which stays where it is, at the begin of a page. */
#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fuse3/fuse_lowlevel.h>
#include <linux/fuse.h>
#include <string.h>
#include <sys/mman.h>

#include "fs/ring_impl.h"
#include "kv/kv.h"

#define PAGE 4096u

static_assert(sizeof(struct ring_head) <= PAGE, "it has a page");
static_assert(sizeof(struct fuse_in_header) <= RING_PART_BYTES, "it fits");

static _Thread_local struct ring_entry *here;

struct ring_entry *ring_entry_here(void)
{
	return here;
}

/* --- the answer ----------------------------------------------------------- */

static size_t gather(struct ring_entry *e, const struct iovec *iov, int count)
{
	size_t len = 0;

	for (int i = 1; i < count; i++) {
		if (iov[i].iov_len > e->payload_bytes - len)
			return SIZE_MAX;
		memcpy(e->payload + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	return len;
}

void ring_entry_reply(struct ring_entry *e, const struct iovec *iov, int count)
{
	struct fuse_out_header out;
	size_t len = gather(e, iov, count);

	memcpy(&out, iov[0].iov_base, sizeof(out));
	if (len == SIZE_MAX) { /* more than anybody asked for */
		out.error = -EIO;
		len = 0;
	}
	memcpy(e->head->in_out, &out, sizeof(out));
	e->head->payload_bytes = (uint32_t)len;
	atomic_store_explicit(&e->unique, 0, memory_order_relaxed);
	ring_desk_give(e->desk, e, RING_COMMIT_AND_FETCH);
}

/* --- the request ---------------------------------------------------------- */

static void refuse(struct ring_entry *e, uint64_t unique)
{
	struct fuse_out_header out = {
		.len = sizeof(out), .error = -EIO, .unique = unique};
	struct iovec iov = {&out, sizeof(out)};

	ring_entry_reply(e, &iov, 1);
}

/* The request in one piece; NULL: its lengths make no sense. */
static char *piece(struct ring_entry *e, const struct fuse_in_header *in)
{
	uint32_t payload = e->head->payload_bytes, op;
	char *at;

	if (in->len < sizeof(*in) || payload > e->payload_bytes ||
	    payload > in->len - sizeof(*in))
		return NULL;
	op = in->len - (uint32_t)sizeof(*in) - payload;
	if (op > RING_PART_BYTES)
		return NULL;
	at = e->payload - op - sizeof(*in);
	memcpy(at, in, sizeof(*in));
	memcpy(at + sizeof(*in), e->head->op_in, op);
	return at;
}

void ring_entry_serve(struct ring_entry *e, struct fuse_session *se)
{
	struct fuse_buf buf = {0};
	struct fuse_in_header in;

	memcpy(&in, e->head->in_out, sizeof(in));
	e->commit_id = e->head->commit_id;
	atomic_store_explicit(&e->unique, in.unique, memory_order_release);
	buf.mem = piece(e, &in);
	if (buf.mem == NULL) {
		refuse(e, in.unique);
		return;
	}
	buf.size = in.len;
	here = e;
	fuse_session_process_buf(se, &buf);
	here = NULL;
}

/* --- life ----------------------------------------------------------------- */

int ring_entry_open(struct ring_entry *e, struct ring_desk *desk)
{
	const struct ring_opts *opts = &desk->ring->opts;
	size_t payload = opts->payload;
	char *memory = mmap(NULL, 2 * PAGE + payload, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		return -ENOMEM;
	e->desk = desk;
	e->payload_bytes = payload;
	e->memory = memory;
	e->head = (struct ring_head *)memory;
	e->payload = memory + 2 * PAGE;
	(void)kv_register(opts->kv, e->payload, payload); /* else it copies */
	e->part[0] = (struct iovec){e->head, sizeof(*e->head)};
	e->part[1] = (struct iovec){e->payload, payload};
	return 0;
}

void ring_entry_close(struct ring_entry *e)
{
	kv_deregister(e->desk->ring->opts.kv, e->payload);
	munmap(e->memory, 2 * PAGE + e->payload_bytes);
}
