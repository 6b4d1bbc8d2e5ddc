/* fs/answers.c - see answers.h. */
#include "fs/answers.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct answer {
	int fd;
	uint32_t len;
	char bytes[FS_ANSWER_BYTES_MAX];
};

struct fs_answers {
	struct io_uring uring;
	uint32_t room; /* 0: it fails, and is not used any more */
	uint32_t n;
	struct answer answer[];
};

static __thread struct fs_answers *held;

void fs_answers_hold(struct fs_answers *a)
{
	held = a;
}

bool fs_answers_take(int fd, const struct iovec *iov, int count)
{
	struct fs_answers *a = held;
	struct answer *to;

	if (a == NULL || a->n == a->room)
		return false;
	to = &a->answer[a->n];
	to->fd = fd;
	to->len = 0;
	for (int i = 0; i < count; i++) {
		if (iov[i].iov_len > sizeof(to->bytes) - to->len)
			return false;
		memcpy(to->bytes + to->len, iov[i].iov_base, iov[i].iov_len);
		to->len += (uint32_t)iov[i].iov_len;
	}
	a->n++;
	return true;
}

/* --- to the kernel -------------------------------------------------------- */

static void write_alone(const struct answer *one)
{
	ssize_t rc;

	do
		rc = write(one->fd, one->bytes, one->len);
	while (rc < 0 && errno == EINTR);
}

static void prepare(struct fs_answers *a)
{
	for (uint32_t i = 0; i < a->n; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&a->uring);
		struct answer *one = &a->answer[i];

		io_uring_prep_write(sqe, one->fd, one->bytes, one->len, 0);
		io_uring_sqe_set_data(sqe, one);
	}
}

/* How many the kernel took. */
static uint32_t submit(struct fs_answers *a)
{
	uint32_t gone = 0;
	int rc = 0;

	while (gone < a->n && (rc >= 0 || rc == -EINTR || rc == -EAGAIN)) {
		rc = io_uring_submit(&a->uring);
		gone += rc > 0 ? (uint32_t)rc : 0;
	}
	return gone;
}

/* The next of those that the kernel took. What did not go, goes alone: an
 * answer to nobody (-ENOENT) would not go then, either. */
static bool reap(struct fs_answers *a)
{
	struct io_uring_cqe *cqe;
	int rc;

	do
		rc = io_uring_wait_cqe(&a->uring, &cqe);
	while (rc == -EINTR);
	if (rc != 0)
		return false;
	if (cqe->res < 0 && cqe->res != -ENOENT)
		write_alone(io_uring_cqe_get_data(cqe));
	io_uring_cqe_seen(&a->uring, cqe);
	return true;
}

void fs_answers_give(void)
{
	struct fs_answers *a = held;
	uint32_t gone, seen = 0;

	held = NULL;
	if (a == NULL || a->n == 0)
		return;
	prepare(a);
	gone = submit(a);
	for (uint32_t i = gone; i < a->n; i++)
		write_alone(&a->answer[i]);
	while (seen < gone && reap(a))
		seen++;
	if (seen < a->n) /* what it still has would go with the next */
		a->room = 0;
	a->n = 0;
}

/* --- life ----------------------------------------------------------------- */

int fs_answers_open(uint32_t n, struct fs_answers **out)
{
	struct fs_answers *a = calloc(1, sizeof(*a) + n * sizeof(a->answer[0]));
	int rc;

	if (a == NULL)
		return -ENOMEM;
	a->room = n;
	rc = io_uring_queue_init(n, &a->uring, 0);
	if (rc != 0) {
		free(a);
		return rc;
	}
	*out = a;
	return 0;
}

void fs_answers_close(struct fs_answers *a)
{
	if (a == NULL)
		return;
	if (held == a)
		held = NULL;
	io_uring_queue_exit(&a->uring);
	free(a);
}
