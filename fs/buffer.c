/* fs/buffer.c - see buffer.h. */
#include "fs/buffer.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "fs/chunk.h"
#include "kv/kv.h"

struct mine {
	struct fs_buffers *of;
	void *answers;	/* NULL: none yet */
	void *requests; /* NULL: not known */
	LIST_ENTRY(mine) in;
};

struct fs_buffers {
	struct kv *kv;
	pthread_key_t key;
	pthread_mutex_t lock;
	LIST_HEAD(, mine) all; /* under lock */
};

static void forget(struct mine *m, void *at)
{
	if (at != NULL)
		kv_deregister(m->of->kv, at);
}

/* The thread ends, or all does. */
static void drop(struct mine *m)
{
	forget(m, m->requests);
	forget(m, m->answers);
	free(m->answers);
	free(m);
}

static void leave(void *arg)
{
	struct mine *m = arg;
	struct fs_buffers *s = m->of;

	pthread_mutex_lock(&s->lock);
	LIST_REMOVE(m, in);
	pthread_mutex_unlock(&s->lock);
	drop(m);
}

static struct mine *of_thread(struct fs_buffers *s)
{
	struct mine *m = pthread_getspecific(s->key);

	if (m != NULL)
		return m;
	m = calloc(1, sizeof(*m));
	if (m == NULL || pthread_setspecific(s->key, m) != 0) {
		free(m);
		return NULL;
	}
	m->of = s;
	pthread_mutex_lock(&s->lock);
	LIST_INSERT_HEAD(&s->all, m, in);
	pthread_mutex_unlock(&s->lock);
	return m;
}

/* Without the store's knowing it is as good, only not as fast. */
void *fs_buffer_for_answers(struct fs_buffers *s)
{
	struct mine *m = of_thread(s);

	if (m == NULL || m->answers != NULL)
		return m != NULL ? m->answers : NULL;
	m->answers = aligned_alloc(FS_PAGE_BYTES, FS_BUFFER_BYTES);
	if (m->answers != NULL)
		(void)kv_register(s->kv, m->answers, FS_BUFFER_BYTES);
	return m->answers;
}

void fs_buffer_of_requests(struct fs_buffers *s, void *at, size_t bytes)
{
	struct mine *m = s != NULL ? of_thread(s) : NULL;

	if (m == NULL || m->requests == at)
		return;
	forget(m, m->requests);
	m->requests = at;
	(void)kv_register(s->kv, at, bytes);
}

int fs_buffers_new(struct kv *kv, struct fs_buffers **out)
{
	struct fs_buffers *s = calloc(1, sizeof(*s));
	int rc;

	if (s == NULL)
		return -ENOMEM;
	s->kv = kv;
	LIST_INIT(&s->all);
	rc = -pthread_key_create(&s->key, leave);
	if (rc != 0) {
		free(s);
		return rc;
	}
	pthread_mutex_init(&s->lock, NULL);
	*out = s;
	return 0;
}

void fs_buffers_free(struct fs_buffers *s)
{
	struct mine *m;

	if (s == NULL)
		return;
	pthread_key_delete(s->key);
	while ((m = LIST_FIRST(&s->all)) != NULL) {
		LIST_REMOVE(m, in);
		drop(m);
	}
	pthread_mutex_destroy(&s->lock);
	free(s);
}
