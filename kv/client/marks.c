/* kv/client/marks.c - the queue of notes; adjacent ones become one. */
#include "kv/client/marks.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "kv/client/marks_impl.h"

#define MERGE_BACK  8u /* so many of the newest are looked at */
#define MARKS_FIRST 1024u

int marks_open(struct kv *kv, struct marks **out)
{
	struct marks *m = calloc(1, sizeof(*m));

	if (m == NULL)
		return -ENOMEM;
	m->kv = kv;
	pthread_mutex_init(&m->lock, NULL);
	*out = m;
	return 0;
}

void marks_close(struct marks *m)
{
	if (m == NULL)
		return;
	pthread_mutex_destroy(&m->lock);
	free(m->queue);
	free(m);
}

static bool grow(struct marks *m)
{
	uint32_t cap = m->cap == 0 ? MARKS_FIRST : m->cap * 2;
	struct proto_mark_one *q;

	if (m->cap >= MARKS_MAX)
		return false;
	q = realloc(m->queue, cap * sizeof(*q));
	if (q == NULL)
		return false;
	m->queue = q;
	m->cap = cap;
	return true;
}

/* Make @old cover @mark too, if they are of one block and touch. */
static bool merge(struct proto_mark_one *old, const struct proto_mark_one *mark)
{
	if (old->stripe != mark->stripe || old->role != mark->role ||
	    old->life != mark->life)
		return false;
	if (old->at + old->len == mark->at) {
		old->len += mark->len;
		return true;
	}
	if (mark->at + mark->len == old->at) {
		old->at = mark->at;
		old->len += mark->len;
		return true;
	}
	return false;
}

static bool merge_any(struct marks *m, const struct proto_mark_one *mark)
{
	uint32_t n = m->n < MERGE_BACK ? m->n : MERGE_BACK;

	for (uint32_t i = 1; i <= n; i++)
		if (merge(&m->queue[m->n - i], mark))
			return true;
	return false;
}

static uint32_t push(struct marks *m, const struct proto_mark_one *mark)
{
	if (merge_any(m, mark))
		return 0;
	if (m->n == m->cap && !grow(m))
		m->dropped++;
	else
		m->queue[m->n++] = *mark;
	return m->n;
}

uint32_t marks_add(struct marks *m, const struct proto_mark_one *mark)
{
	uint32_t n;

	pthread_mutex_lock(&m->lock);
	n = push(m, mark);
	pthread_mutex_unlock(&m->lock);
	return n;
}

void marks_return(struct marks *m, const struct proto_mark_one *mark,
		  uint32_t n)
{
	pthread_mutex_lock(&m->lock);
	for (uint32_t i = 0; i < n; i++)
		push(m, &mark[i]);
	pthread_mutex_unlock(&m->lock);
}

uint32_t marks_fetch(struct marks *m, struct proto_mark_one *out, uint32_t max)
{
	uint32_t n = 0;

	pthread_mutex_lock(&m->lock);
	if (!m->sending) {
		n = m->n < max ? m->n : max;
		m->n -= n;
		/* The newest go first: the rest need not be moved. */
		if (n != 0)
			memcpy(out, m->queue + m->n, n * sizeof(*out));
		m->sending = n != 0;
	}
	pthread_mutex_unlock(&m->lock);
	return n;
}

void marks_sent(struct marks *m)
{
	pthread_mutex_lock(&m->lock);
	m->sending = false;
	pthread_mutex_unlock(&m->lock);
}

uint32_t marks_waiting(struct marks *m)
{
	uint32_t n;

	pthread_mutex_lock(&m->lock);
	n = m->n;
	pthread_mutex_unlock(&m->lock);
	return n;
}

uint64_t marks_dropped(struct marks *m)
{
	uint64_t n;

	pthread_mutex_lock(&m->lock);
	n = m->dropped;
	pthread_mutex_unlock(&m->lock);
	return n;
}
