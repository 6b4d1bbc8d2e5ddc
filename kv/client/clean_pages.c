/* kv/client/clean_pages.c - blocks of pages, emptied for records: holes of
 * pages are of no use to those.
 *
 *   the leaders open again for us what is worth it (ec/again.h), and we write
 *   nothing to it -> who names its pages moves them (kv_on_vacate()) -> closed,
 *   it is wholly obsolete
 *
 * Nobody else opens it meanwhile, and it is an open block of a client as any
 * other: whatever happens to one of those may happen to it. */
#include <errno.h>
#include <string.h>

#include "kv/client/clean_impl.h"
#include "kv/client/client.h"
#include "kv/client/space_impl.h"

#define BLOCKS_MAX 16u

struct vacancy {
	uint32_t n;
	uint64_t bytes; /* of each */
	struct space_aside block[BLOCKS_MAX];
};

static bool is_in(const void *set, uint64_t addr)
{
	const struct vacancy *v = set;

	for (uint32_t i = 0; i < v->n; i++)
		if (addr - v->block[i].addr < v->bytes)
			return true;
	return false;
}

/* Until there is no more, or it is hardly worth it. */
static void open_some(struct space *sp, struct kv_thread *t, struct vacancy *v)
{
	while (v->n < sp->kv->clean->vacate_most) {
		struct space_aside a;

		if (lane_open_aside(sp, t, &a) != 0)
			return;
		if (a.room < sp->total / CLEAN_SHARE_LEAST) {
			lane_close_aside(sp, &a);
			return;
		}
		v->block[v->n++] = a;
	}
}

static void close_all(struct space *sp, struct kv_thread *t,
		      const struct vacancy *v)
{
	for (uint32_t i = 0; i < v->n; i++)
		lane_close_aside(sp, &v->block[i]);
	(void)space_background(sp, t, true);
}

/* What is held open has holes that others' pages could go to: no room for those
 * that were moved means that it was too much at once. */
static int judge(struct clean *c, int rc)
{
	uint32_t n = c->vacate_most;

	if (rc == 0 && n < BLOCKS_MAX)
		c->vacate_most = 2 * n;
	if (rc != -ENOSPC)
		return rc == 0 ? 1 : rc;
	c->vacate_most = n > 1 ? n / 2 : 1;
	return n > 1 ? 1 : rc;
}

int clean_pages(struct kv *kv, struct kv_thread *t)
{
	struct clean *c = kv->clean;
	struct vacancy v = {.bytes = kv->layout.group.block_bytes};
	int rc = 0;

	pthread_mutex_lock(&c->vacate_lock);
	if (c->vacate != NULL)
		open_some(kv->space, t, &v);
	if (v.n > 0)
		rc = c->vacate(c->vacate_arg, is_in, &v);
	pthread_mutex_unlock(&c->vacate_lock);
	if (v.n == 0)
		return 0;
	close_all(kv->space, t, &v);
	return judge(c, rc);
}

void kv_on_vacate(struct kv *kv, kv_vacate *fn, void *arg)
{
	struct clean *c = kv->clean;

	if (c == NULL)
		return;
	pthread_mutex_lock(&c->vacate_lock);
	c->vacate = fn;
	c->vacate_arg = arg;
	pthread_mutex_unlock(&c->vacate_lock);
}
