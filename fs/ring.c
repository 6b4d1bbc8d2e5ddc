/* fs/ring.c - all seats of a mount. */
#include "fs/ring.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fs/ring_impl.h"

#define QUEUES_MAX 4096u

/* The kernel has a queue for each CPU that there may ever be, and waits until
 * all of them have an entry. "0-3,8-11"; 0: unknown. */
static uint32_t possible_cpus(void)
{
	FILE *f = fopen("/sys/devices/system/cpu/possible", "re");
	uint32_t n = 0;
	unsigned a, b;
	char c;

	if (f == NULL)
		return 0;
	while (fscanf(f, "%u", &a) == 1) {
		b = a;
		if (fscanf(f, "%c", &c) == 1 && c == '-' &&
		    fscanf(f, "%u%c", &b, &c) < 1)
			break;
		n += b >= a && b < QUEUES_MAX ? b - a + 1 : 0;
	}
	fclose(f);
	return n <= QUEUES_MAX ? n : 0;
}

/* --- for the seats -------------------------------------------------------- */

bool ring_goes(struct ring *r)
{
	bool goes;

	pthread_mutex_lock(&r->lock);
	while (!r->going && !r->stop)
		pthread_cond_wait(&r->wake, &r->lock);
	goes = !r->stop;
	pthread_mutex_unlock(&r->lock);
	return goes;
}

/* --- answers -------------------------------------------------------------- */

static struct ring_seat *seat_of(struct ring *r, uint64_t unique)
{
	struct ring_seat *s = ring_seat_here();

	if (s != NULL &&
	    atomic_load_explicit(&s->unique, memory_order_relaxed) == unique)
		return s;
	for (uint32_t i = 0; i < r->queues; i++)
		for (uint32_t j = 0; j < r->queue[i].n; j++) {
			s = r->queue[i].seat[j];
			if (atomic_load(&s->unique) == unique)
				return s;
		}
	return NULL;
}

bool ring_reply(struct ring *r, const struct iovec *iov, int count)
{
	const struct fuse_out_header *out = iov[0].iov_base;
	struct ring_seat *s;

	if (out->unique == 0) /* a notification */
		return false;
	s = seat_of(r, out->unique);
	if (s == NULL)
		return false;
	ring_seat_reply(s, iov, count);
	return true;
}

/* --- life ----------------------------------------------------------------- */

static int add_seat(struct ring *r, uint16_t queue)
{
	struct ring_queue *q = &r->queue[queue];
	int rc = ring_seat_open(r, queue, &q->seat[q->n]);

	q->n += rc == 0;
	return rc;
}

static int open_seats(struct ring *r)
{
	long online = sysconf(_SC_NPROCESSORS_ONLN);
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < r->queues; i++) {
		uint32_t n = i < online ? r->opts.seats : 1;

		for (uint32_t j = 0; rc == 0 && j < n; j++)
			rc = add_seat(r, (uint16_t)i);
	}
	return rc;
}

static int open_parts(struct ring *r)
{
	r->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (r->stop_fd < 0)
		return -errno;
	return open_seats(r);
}

int ring_open(const struct ring_opts *opts, struct ring **out)
{
	uint32_t queues = possible_cpus();
	struct ring *r;
	int rc;

	if (queues == 0)
		return -ENOSYS;
	r = calloc(1, sizeof(*r) + queues * sizeof(r->queue[0]));
	if (r == NULL)
		return -ENOMEM;
	r->opts = *opts;
	r->queues = queues;
	if (r->opts.seats > RING_SEATS_MAX)
		r->opts.seats = RING_SEATS_MAX;
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->wake, NULL);
	rc = open_parts(r);
	if (rc != 0) {
		ring_close(r);
		return rc;
	}
	*out = r;
	return 0;
}

void ring_start(struct ring *r)
{
	pthread_mutex_lock(&r->lock);
	r->going = true;
	pthread_cond_broadcast(&r->wake);
	pthread_mutex_unlock(&r->lock);
}

static void stop(struct ring *r)
{
	pthread_mutex_lock(&r->lock);
	r->stop = true;
	pthread_cond_broadcast(&r->wake);
	pthread_mutex_unlock(&r->lock);
	if (r->stop_fd >= 0)
		(void)eventfd_write(r->stop_fd, 1);
}

void ring_close(struct ring *r)
{
	if (r == NULL)
		return;
	stop(r);
	for (uint32_t i = 0; i < r->queues; i++)
		for (uint32_t j = 0; j < r->queue[i].n; j++)
			ring_seat_close(r->queue[i].seat[j]);
	if (r->stop_fd >= 0)
		close(r->stop_fd);
	pthread_cond_destroy(&r->wake);
	pthread_mutex_destroy(&r->lock);
	free(r);
}
