/* fs/ring.c - all queues of a mount. */
#define FUSE_USE_VERSION 314
#include "fs/ring.h"

#include <errno.h>
#include <fuse3/fuse_lowlevel.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
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

/* --- for the threads ------------------------------------------------------ */

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

static struct ring_entry *find(struct ring_desk *d, uint64_t unique)
{
	for (uint32_t i = 0; i < d->n; i++)
		if (atomic_load(&d->entry[i].unique) == unique)
			return &d->entry[i];
	return NULL;
}

static struct ring_entry *entry_of(struct ring *r, uint64_t unique)
{
	struct ring_entry *e = ring_entry_here();

	if (e != NULL &&
	    atomic_load_explicit(&e->unique, memory_order_relaxed) == unique)
		return e;
	for (uint32_t i = 0; i < r->queues; i++)
		for (uint32_t j = 0; j < r->queue[i].n; j++) {
			e = find(r->queue[i].desk[j], unique);
			if (e != NULL)
				return e;
		}
	return NULL;
}

bool ring_reply(struct ring *r, const struct iovec *iov, int count)
{
	const struct fuse_out_header *out = iov[0].iov_base;
	struct ring_entry *e;

	if (out->unique == 0) /* a notification */
		return false;
	e = entry_of(r, out->unique);
	if (e == NULL)
		return false;
	ring_entry_reply(e, iov, count);
	return true;
}

/* --- life ----------------------------------------------------------------- */

/* @desks with @entries each. */
static int open_queue(struct ring *r, uint16_t queue, uint32_t desks,
		      uint32_t entries)
{
	struct ring_queue *q = &r->queue[queue];
	int rc = 0;

	while (rc == 0 && q->n < desks) {
		rc = ring_desk_open(r, queue, entries, &q->desk[q->n]);
		q->n += rc == 0;
	}
	return rc;
}

static int open_queues(struct ring *r)
{
	const struct ring_opts *o = &r->opts;
	long online = sysconf(_SC_NPROCESSORS_ONLN);
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < r->queues; i++)
		rc = i >= online ? open_queue(r, (uint16_t)i, 1, 1)
		     : o->far	 ? open_queue(r, (uint16_t)i, o->entries, 1)
				 : open_queue(r, (uint16_t)i, 1, o->entries);
	return rc;
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
	r->fd = fuse_session_fd(opts->se);
	r->queues = queues;
	if (r->opts.entries > RING_ENTRIES_MAX)
		r->opts.entries = RING_ENTRIES_MAX;
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->wake, NULL);
	rc = open_queues(r);
	if (rc == 0 && !opts->far)
		rc = ring_keeper_open(r);
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
	ring_keeper_close(r); /* then nobody starts a thread any more */
}

static void each_desk(struct ring *r, void (*call)(struct ring_desk *d))
{
	for (uint32_t i = 0; i < r->queues; i++)
		for (uint32_t j = 0; j < r->queue[i].n; j++)
			call(r->queue[i].desk[j]);
}

void ring_close(struct ring *r)
{
	if (r == NULL)
		return;
	stop(r);
	each_desk(r, ring_desk_stop);
	each_desk(r, ring_desk_close);
	pthread_cond_destroy(&r->wake);
	pthread_mutex_destroy(&r->lock);
	free(r);
}
