/* fs/ring_desk.c - one ring with some entries, and who attends to it.
 *
 *            request                nobody waits for the next
 *   waits ------------> at work ---------------------------------> waits
 *                           \      somebody does               ^
 *                            ----------------------> rests -----
 *                                                          called
 *
 * A clerk never ends before the desk: what it has submitted would be cancelled
 * with it. And the kernel puts a request into an entry in the name of the
 * thread that gave it last, wherever that sleeps: poll(2), futex(2) and the
 * like then go on by themselves; epoll_wait(2) would say EINTR. */
#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fuse3/fuse_lowlevel.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/ring_impl.h"
#include "fs/thread.h"

/* Requests between two looks of the keeper: who takes fewer is stuck, or at
 * work that is worth the wake-up of another. */
#define FEW 16u

/* --- what goes to the kernel. Lock: held ---------------------------------- */

static void prepare(struct ring_desk *d, struct ring_entry *e, uint32_t op)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&d->uring);
	struct ring_cmd cmd = {.commit_id = e->commit_id, .queue = d->queue};

	assert(sqe != NULL); /* there is one for each entry, and one more */
	e->op = op;
	memset(sqe, 0, 2 * sizeof(*sqe));
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = d->ring->fd;
	sqe->cmd_op = op;
	if (op == RING_REGISTER) {
		sqe->addr = (uintptr_t)e->part;
		sqe->len = 2;
	}
	memcpy(sqe->cmd, &cmd, sizeof(cmd));
	io_uring_sqe_set_data(sqe, e);
}

static void submit(struct ring_desk *d)
{
	int rc;

	do
		rc = io_uring_submit(&d->uring);
	while (rc == -EINTR || rc == -EAGAIN);
}

void ring_desk_give(struct ring_desk *d, struct ring_entry *e, uint32_t op)
{
	pthread_mutex_lock(&d->lock);
	prepare(d, e, op);
	submit(d);
	pthread_mutex_unlock(&d->lock);
}

/* --- what comes ----------------------------------------------------------- */

/* An entry came to nothing: the mount is gone; or the kernel will not have us,
 * who said we would: then nobody else would answer. */
static void ended(struct ring_desk *d, int why)
{
	if (d->registered || why == -ENOTCONN || why == -ECANCELED)
		return;
	fuse_log(FUSE_LOG_ERR,
		 "FUSE over io_uring: %s: mount with -o noio_uring\n",
		 strerror(-why));
	kill(getpid(), SIGTERM);
}

/* The next completion. NULL: none yet, or only a word that it is to stop. */
static struct ring_entry *await(struct ring_desk *d, int *res)
{
	struct io_uring_cqe *cqe;
	struct ring_entry *e;

	if (io_uring_wait_cqe(&d->uring, &cqe) != 0)
		return NULL; /* disturbed */
	e = io_uring_cqe_get_data(cqe);
	*res = cqe->res;
	io_uring_cqe_seen(&d->uring, cqe);
	return e;
}

/* Whether @e has a request. Lock: held. */
static bool has_come(struct ring_desk *d, struct ring_entry *e, int res)
{
	if (res == 0) {
		d->registered = true;
		d->taken++;
		return true;
	}
	if (res == -EINTR || res == -EAGAIN) { /* it was disturbed */
		prepare(d, e, e->op);
		submit(d);
	} else {
		ended(d, res);
	}
	return false;
}

/* Waits until nobody else waits for requests. Lock: held. */
static void rest(struct ring_desk *d)
{
	d->resting++;
	while (d->attended && !d->stop)
		pthread_cond_wait(&d->call, &d->lock);
	d->resting--;
}

/* NULL: it is to end. */
static struct ring_entry *take(struct ring_desk *d)
{
	struct ring_entry *e = NULL;
	bool come = false;
	int res = 0;

	pthread_mutex_lock(&d->lock);
	while (!come) {
		rest(d);
		if (d->stop)
			break;
		d->attended = true;
		pthread_mutex_unlock(&d->lock);
		e = await(d, &res);
		pthread_mutex_lock(&d->lock);
		d->attended = false;
		come = e != NULL && has_come(d, e, res);
	}
	pthread_mutex_unlock(&d->lock);
	return come ? e : NULL;
}

static void *clerk_main(void *arg)
{
	struct ring_desk *d = arg;
	struct ring_entry *e;

	while ((e = take(d)) != NULL)
		ring_entry_serve(e, d->ring->opts.se);
	return NULL;
}

static void *first_main(void *arg)
{
	struct ring_desk *d = arg;

	if (!ring_goes(d->ring))
		return NULL;
	pthread_mutex_lock(&d->lock);
	for (uint32_t i = 0; i < d->n; i++)
		prepare(d, &d->entry[i], RING_REGISTER);
	submit(d);
	pthread_mutex_unlock(&d->lock);
	return clerk_main(d);
}

/* --- who attends ---------------------------------------------------------- */

/* Without one more there will be another look. Lock: held. */
static void call_one(struct ring_desk *d)
{
	if (d->resting > 0)
		pthread_cond_signal(&d->call);
	else if (d->crew < d->n)
		d->crew +=
			fs_thread_start(&d->clerk[d->crew], clerk_main, d) == 0;
}

bool ring_desk_look(struct ring_desk *d)
{
	bool at_work;

	pthread_mutex_lock(&d->lock);
	at_work = !d->stop && d->crew > d->resting + d->attended;
	if (at_work && !d->attended && d->taken - d->seen < FEW &&
	    io_uring_cq_ready(&d->uring) > 0)
		call_one(d);
	d->seen = d->taken;
	pthread_mutex_unlock(&d->lock);
	return at_work;
}

/* --- life ----------------------------------------------------------------- */

static void close_entries(struct ring_desk *d)
{
	while (d->n > 0)
		ring_entry_close(&d->entry[--d->n]);
}

static int open_entries(struct ring_desk *d, uint32_t n)
{
	for (; d->n < n; d->n++) {
		int rc = ring_entry_open(&d->entry[d->n], d);

		if (rc != 0) {
			close_entries(d);
			return rc;
		}
	}
	return 0;
}

static void free_desk(struct ring_desk *d)
{
	pthread_cond_destroy(&d->call);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

/* Completions wait until a thread that they are for enters the kernel anyway,
 * or sleeps: nobody who is at work is interrupted. */
static int open_uring(struct ring_desk *d)
{
	struct io_uring_params p = {.flags = IORING_SETUP_SQE128 |
					     IORING_SETUP_COOP_TASKRUN};

	return io_uring_queue_init_params(d->n + 1, &d->uring, &p);
}

int ring_desk_open(struct ring *r, uint16_t queue, uint32_t n,
		   struct ring_desk **out)
{
	struct ring_desk *d = calloc(1, sizeof(*d) + n * sizeof(d->entry[0]));
	int rc;

	if (d == NULL)
		return -ENOMEM;
	d->ring = r;
	d->queue = queue;
	pthread_mutex_init(&d->lock, NULL);
	pthread_cond_init(&d->call, NULL);
	rc = open_entries(d, n);
	if (rc != 0)
		goto err_desk;
	rc = open_uring(d);
	if (rc != 0)
		goto err_entries;
	rc = fs_thread_start(&d->clerk[0], first_main, d);
	if (rc != 0)
		goto err_uring;
	d->crew = 1;
	*out = d;
	return 0;

err_uring:
	io_uring_queue_exit(&d->uring);
err_entries:
	close_entries(d);
err_desk:
	free_desk(d);
	return rc;
}

/* Who waits in the kernel is woken by a completion. */
void ring_desk_stop(struct ring_desk *d)
{
	struct io_uring_sqe *sqe;

	pthread_mutex_lock(&d->lock);
	d->stop = true;
	pthread_cond_broadcast(&d->call);
	sqe = io_uring_get_sqe(&d->uring);
	assert(sqe != NULL);
	memset(sqe, 0, 2 * sizeof(*sqe));
	sqe->opcode = IORING_OP_NOP; /* and no entry */
	submit(d);
	pthread_mutex_unlock(&d->lock);
}

void ring_desk_close(struct ring_desk *d)
{
	for (uint32_t i = 0; i < d->crew; i++)
		pthread_join(d->clerk[i], NULL);
	io_uring_queue_exit(&d->uring);
	close_entries(d);
	free_desk(d);
}
