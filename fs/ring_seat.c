/* fs/ring_seat.c - one thread, one ring, one entry.
 *
 * The kernel keeps the first argument of a request apart from what follows, and
 * libfuse wants a request in one piece as read(2) gives it. So there is a page
 * between head and payload: header and argument are put right before the
 * payload, which stays where it is, at the begin of a page. */
#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fuse3/fuse_lowlevel.h>
#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fs/ring_impl.h"

#define PAGE 4096u
#define ENTRIES                                                                \
	4u /* the entry, the watch on stop_fd, and what is cancelled           \
	    */

static_assert(sizeof(struct ring_head) <= PAGE, "it has a page");
static_assert(sizeof(struct fuse_in_header) <= RING_PART_BYTES, "it fits");

static _Thread_local struct ring_seat *here;

struct ring_seat *ring_seat_here(void)
{
	return here;
}

/* --- what goes to the kernel ---------------------------------------------- */

/* The entry, with @op. The ring belongs to whoever has the request at hand. */
static void give(struct ring_seat *s, uint32_t op)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&s->uring);
	struct ring_cmd cmd = {.commit_id = s->commit_id, .queue = s->queue};

	assert(sqe != NULL); /* one entry, and a ring of ENTRIES */
	s->op = op;
	memset(sqe, 0, 2 * sizeof(*sqe));
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = s->ring->opts.fd;
	sqe->cmd_op = op;
	if (op == RING_REGISTER) {
		sqe->addr = (uintptr_t)s->part;
		sqe->len = 2;
	}
	memcpy(sqe->cmd, &cmd, sizeof(cmd));
	io_uring_sqe_set_data(sqe, s);
}

static void submit(struct ring_seat *s)
{
	int rc;

	do
		rc = io_uring_submit(&s->uring);
	while (rc == -EINTR || rc == -EAGAIN);
}

static void watch_stop(struct ring_seat *s)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&s->uring);

	io_uring_prep_poll_add(sqe, s->ring->stop_fd, POLLIN);
	io_uring_sqe_set_data(sqe, s->ring);
}

static size_t gather(struct ring_seat *s, const struct iovec *iov, int count)
{
	size_t len = 0;

	for (int i = 1; i < count; i++) {
		if (iov[i].iov_len > s->ring->opts.payload - len)
			return SIZE_MAX;
		memcpy(s->payload + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	return len;
}

void ring_seat_reply(struct ring_seat *s, const struct iovec *iov, int count)
{
	struct fuse_out_header out;
	size_t len = gather(s, iov, count);

	memcpy(&out, iov[0].iov_base, sizeof(out));
	if (len == SIZE_MAX) { /* more than anybody asked for */
		out.error = -EIO;
		len = 0;
	}
	memcpy(s->head->in_out, &out, sizeof(out));
	s->head->payload_bytes = (uint32_t)len;
	atomic_store_explicit(&s->unique, 0, memory_order_relaxed);
	give(s, RING_COMMIT_AND_FETCH);
	submit(s);
}

/* --- what comes ----------------------------------------------------------- */

static void refuse(struct ring_seat *s, uint64_t unique)
{
	struct fuse_out_header out = {
		.len = sizeof(out), .error = -EIO, .unique = unique};
	struct iovec iov = {&out, sizeof(out)};

	ring_seat_reply(s, &iov, 1);
}

/* The request in one piece; NULL: its lengths make no sense. */
static char *piece(struct ring_seat *s, const struct fuse_in_header *in)
{
	uint32_t payload = s->head->payload_bytes, op;
	char *at;

	if (in->len < sizeof(*in) || payload > s->ring->opts.payload ||
	    payload > in->len - sizeof(*in))
		return NULL;
	op = in->len - (uint32_t)sizeof(*in) - payload;
	if (op > RING_PART_BYTES)
		return NULL;
	at = s->payload - op - sizeof(*in);
	memcpy(at, in, sizeof(*in));
	memcpy(at + sizeof(*in), s->head->op_in, op);
	return at;
}

static void serve(struct ring_seat *s)
{
	struct fuse_buf buf = {0};
	struct fuse_in_header in;

	memcpy(&in, s->head->in_out, sizeof(in));
	s->commit_id = s->head->commit_id;
	atomic_store_explicit(&s->unique, in.unique, memory_order_release);
	buf.mem = piece(s, &in);
	if (buf.mem == NULL) {
		refuse(s, in.unique);
		return;
	}
	buf.size = in.len;
	here = s;
	fuse_session_process_buf(s->ring->opts.se, &buf);
	here = NULL;
}

/* It came to nothing: the mount is gone; or the kernel will not have us, who
 * said we would: then nobody else would answer. */
static void ended(struct ring_seat *s, int why, bool registered)
{
	if (registered || why == -ENOTCONN || why == -ECANCELED)
		return;
	fuse_log(FUSE_LOG_ERR,
		 "FUSE over io_uring: %s: mount with -o noio_uring\n",
		 strerror(-why));
	kill(getpid(), SIGTERM);
}

/* What the entry brings: 0 a request; -EAGAIN not yet; else why there will be
 * none. */
static int next(struct ring_seat *s)
{
	struct io_uring_cqe *cqe;
	int rc = io_uring_wait_cqe(&s->uring, &cqe);
	bool stop;

	if (rc != 0)
		return rc == -EINTR ? -EAGAIN : rc;
	stop = io_uring_cqe_get_data(cqe) != s;
	rc = cqe->res;
	io_uring_cqe_seen(&s->uring, cqe);
	if (stop)
		return -ECANCELED;
	if (rc != -EINTR && rc != -EAGAIN)
		return rc;
	give(s, s->op); /* it was disturbed */
	submit(s);
	return -EAGAIN;
}

static void *seat_main(void *arg)
{
	struct ring_seat *s = arg;
	bool registered = false;
	int rc;

	if (!ring_goes(s->ring))
		return NULL;
	watch_stop(s);
	give(s, RING_REGISTER);
	submit(s);
	for (;;) {
		rc = next(s);
		if (rc == -EAGAIN)
			continue;
		if (rc != 0)
			break;
		registered = true;
		serve(s);
	}
	ended(s, rc, registered);
	return NULL;
}

/* --- life ----------------------------------------------------------------- */

static int open_memory(struct ring_seat *s)
{
	size_t payload = s->ring->opts.payload;

	s->memory = mmap(NULL, 2 * PAGE + payload, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (s->memory == MAP_FAILED)
		return -ENOMEM;
	s->head = (struct ring_head *)s->memory;
	s->payload = s->memory + 2 * PAGE;
	s->part[0] = (struct iovec){s->head, sizeof(*s->head)};
	s->part[1] = (struct iovec){s->payload, payload};
	return 0;
}

/* Signals are for the main thread. */
static int start_thread(struct ring_seat *s)
{
	sigset_t all, old;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = -pthread_create(&s->thread, NULL, seat_main, s);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return rc;
}

int ring_seat_open(struct ring *r, uint16_t queue, struct ring_seat **out)
{
	struct io_uring_params p = {.flags = IORING_SETUP_SQE128};
	struct ring_seat *s = calloc(1, sizeof(*s));
	int rc;

	if (s == NULL)
		return -ENOMEM;
	s->ring = r;
	s->queue = queue;
	rc = open_memory(s);
	if (rc != 0)
		goto err_seat;
	rc = io_uring_queue_init_params(ENTRIES, &s->uring, &p);
	if (rc != 0)
		goto err_memory;
	rc = start_thread(s);
	if (rc != 0)
		goto err_uring;
	*out = s;
	return 0;

err_uring:
	io_uring_queue_exit(&s->uring);
err_memory:
	munmap(s->memory, 2 * PAGE + r->opts.payload);
err_seat:
	free(s);
	return rc;
}

void ring_seat_close(struct ring_seat *s)
{
	pthread_join(s->thread, NULL);
	io_uring_queue_exit(&s->uring);
	munmap(s->memory, 2 * PAGE + s->ring->opts.payload);
	free(s);
}
