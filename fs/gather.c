/* fs/gather.c - see gather.h. */
#include "fs/gather.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "fs/answers.h"
#include "fs/reply.h"

/* After a look that found nobody behind, one request goes by without one, after
 * two such looks three, and so on up to so many. */
#define PASS_BY_MAX 63u

struct gather {
	struct fs_answers *answers; /* NULL: they go one by one */
	unsigned n;
	struct {
		fuse_req_t req;
		void (*alone)(fuse_req_t, const struct fs_overwrite *);
	} from[FS_OVERWRITES_MAX];
	struct fs_overwrite write[FS_OVERWRITES_MAX];
	char bytes[FS_OVERWRITES_MAX][FS_GATHER_BYTES_MAX];
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static bool key_made;
static __thread struct gather *mine;
static __thread bool more_to_come;
static __thread unsigned last; /* how many were done at once */
static __thread unsigned pass_by, passed_by;

/* The thread is ended: so is the session. */
static void drop(void *arg)
{
	struct gather *g = arg;

	for (unsigned i = 0; i < g->n; i++)
		fs_reply_err(g->from[i].req, -ENOTCONN);
	fs_answers_close(g->answers);
	free(g);
}

static void make_key(void)
{
	key_made = pthread_key_create(&key, drop) == 0;
}

static struct gather *gather_of_thread(void)
{
	struct gather *g = mine;

	if (g != NULL)
		return g;
	pthread_once(&once, make_key);
	g = key_made ? malloc(sizeof(*g)) : NULL;
	if (g == NULL)
		return NULL;
	g->n = 0;
	if (pthread_setspecific(key, g) != 0) {
		free(g);
		return NULL;
	}
	if (fs_answers_open(FS_OVERWRITES_MAX, &g->answers) != 0)
		g->answers = NULL;
	return mine = g;
}

void fs_gather_expect(bool more)
{
	more_to_come = more || last > 1;
}

unsigned fs_gather_count(void)
{
	return mine != NULL ? mine->n : 0;
}

static bool fits(const struct fs_overwrite *w)
{
	return w->size > 0 && w->size <= FS_GATHER_BYTES_MAX &&
	       (w->off | w->size) % FS_PAGE_BYTES == 0 &&
	       w->off / FS_CHUNK_BYTES ==
		       (w->off + w->size - 1) / FS_CHUNK_BYTES;
}

static bool worth_it(void)
{
	if (!more_to_come)
		return false;
	if (pass_by > 0) {
		pass_by--;
		return false;
	}
	return true;
}

bool fs_gather_take(fuse_req_t req, const struct fs_overwrite *write,
		    void (*alone)(fuse_req_t, const struct fs_overwrite *))
{
	struct gather *g;

	if (!fits(write) || (fs_gather_count() == 0 && !worth_it()))
		return false;
	g = gather_of_thread();
	if (g == NULL)
		return false;
	g->from[g->n].req = req;
	g->from[g->n].alone = alone;
	g->write[g->n] = *write;
	g->write[g->n].buf = g->bytes[g->n];
	memcpy(g->bytes[g->n], write->buf, write->size);
	if (++g->n == FS_OVERWRITES_MAX)
		fs_gather_flush();
	return true;
}

static void answer(struct gather *g, unsigned i)
{
	const struct fs_overwrite *w = &g->write[i];

	if (w->done < 0)
		fs_reply_ino_err(g->from[i].req, w->done);
	else
		fuse_reply_write(g->from[i].req, w->done);
}

/* Those first that are done: they do not wait for the others. */
static void answer_all(struct gather *g)
{
	fs_answers_hold(g->answers);
	for (unsigned i = 0; i < g->n; i++)
		if (g->write[i].done != -EAGAIN)
			answer(g, i);
	fs_answers_give();
	for (unsigned i = 0; i < g->n; i++)
		if (g->write[i].done == -EAGAIN)
			g->from[i].alone(g->from[i].req, &g->write[i]);
}

static void note_load(unsigned n)
{
	last = n;
	if (n > 1)
		passed_by = 0;
	else if (passed_by < PASS_BY_MAX)
		passed_by = 2 * passed_by + 1;
	if (n == 1)
		pass_by = passed_by;
}

/* libfuse ends its threads by pthread_cancel(3) while they read. */
void fs_gather_flush(void)
{
	struct gather *g = mine;
	int was;

	if (g == NULL || g->n == 0)
		return;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &was);
	note_load(g->n);
	if (g->n > 1)
		fs_file_overwrite_many(fs_of(g->from[0].req), g->write, g->n);
	else
		g->write[0].done = -EAGAIN;
	answer_all(g);
	g->n = 0;
	pthread_setcancelstate(was, NULL);
}
