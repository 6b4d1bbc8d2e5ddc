/* kv/node/stats.c - what a node tells of itself. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kv/node/node_impl.h"
#include "kv/slot.h"

#define COUNT_EVERY_NS UINT64_C(1000000000)

/* --- the index: counted in one pass --------------------------------------- */

static void count_range(const char *base, uint64_t from, uint64_t to,
			struct slot_count *c)
{
	uint64_t at, word;

	for (at = from; at < to; at += sizeof(struct slot)) {
		word = __atomic_load_n((const uint64_t *)(base + at),
				       __ATOMIC_RELAXED);
		if (!slot_taken(word))
			continue;
		c->used++;
		if (word & SLOT_TOMB)
			c->tombs++;
	}
}

/* Only what was ever touched: looking at the rest would take memory for it. */
static void count_shard(const struct node *n, uint64_t off, uint64_t len,
			struct slot_count *c)
{
	uint64_t end = off + len;
	int fd = n->opts.region_fd;
	off_t data, hole;

	if (fd < 0) {
		count_range(n->opts.region, off, end, c);
		return;
	}
	while (off < end) {
		data = lseek(fd, (off_t)off, SEEK_DATA);
		if (data < 0 || (uint64_t)data >= end)
			return;
		hole = lseek(fd, data, SEEK_HOLE);
		if (hole < 0 || (uint64_t)hole > end)
			hole = (off_t)end;
		count_range(n->opts.region, (uint64_t)data, (uint64_t)hole, c);
		off = (uint64_t)hole;
	}
}

static struct slot_count count_all(const struct node *n, const struct view *v)
{
	const struct layout *l = &n->super.layout;
	uint64_t bytes = slot_shard_bytes(l->index_groups);
	struct slot_count c = {0};
	uint32_t s;

	for (s = 0; s < v->nodes; s++)
		if (v->host[s] == n->id && v->shard[s] == VIEW_SHARD_SERVING)
			count_shard(n, layout_shard_off(l, s, n->id), bytes,
				    &c);
	return c;
}

static struct slot_count count_slots(struct node *n, uint64_t now)
{
	struct slot_count c;
	struct view v;

	pthread_mutex_lock(&n->lock);
	c = n->count;
	v = n->view.view;
	pthread_mutex_unlock(&n->lock);
	/* Memory that no one maps is a simulation's: nothing there may follow
	 * from the system's clock. */
	if (n->opts.region_fd >= 0 && c.at_ns != 0 &&
	    now - c.at_ns < COUNT_EVERY_NS)
		return c;
	c = count_all(n, &v);
	c.at_ns = now;
	pthread_mutex_lock(&n->lock);
	n->count = c;
	pthread_mutex_unlock(&n->lock);
	return c;
}

/* --- the rest ------------------------------------------------------------- */

/* Private resident bytes; the region is shared memory and not among them. */
static uint64_t rss_beyond(void)
{
	unsigned long size, resident, shared;
	FILE *f = fopen("/proc/self/statm", "re");
	int got = 0;

	if (f != NULL) {
		got = fscanf(f, "%lu %lu %lu", &size, &resident, &shared);
		fclose(f);
	}
	if (got != 3)
		return 0;
	return (uint64_t)(resident - shared) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint32_t shards_served(const struct view *v, uint32_t id)
{
	uint32_t s, n = 0;

	for (s = 0; s < v->nodes; s++)
		n += v->host[s] == id && v->shard[s] == VIEW_SHARD_SERVING;
	return n;
}

static void stats_blocks(const struct node *n, struct proto_stats *out)
{
	const struct group *g = node_group(n);
	uint64_t block = g->block_bytes;
	struct alloc_usage u;

	alloc_usage(n->alloc, &u);
	out->capacity = ((uint64_t)g->blocks + g->deltas) * block;
	out->used = (u.own_blocks + u.delta_used) * block;
	out->data_total = u.data_total;
	out->data_free = u.data_free;
	out->delta_total = g->deltas;
	out->delta_used = u.delta_used;
	out->dead_bytes = u.dead_bytes;
	out->folds = u.folds;
	out->retires = u.retires;
	out->fold_backlog = u.fold_backlog;
	out->open_blocks = (uint32_t)u.open_blocks;
	out->block_bytes = g->block_bytes;
}

/* The system's clock, as the server's thread has no queue to tell the time. */
static uint64_t stats_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void node_stats(struct node *n, struct proto_stats *out)
{
	uint64_t now = stats_now();
	struct slot_count c = count_slots(n, now);

	memset(out, 0, sizeof(*out));
	pthread_mutex_lock(&n->lock);
	stats_blocks(n, out);
	rounds_stats(n, now, &out->ckpt);
	out->reserve = n->reserve;
	out->slots = (uint64_t)n->super.layout.index_groups * BUCKET_GROUP *
		     BUCKET_SLOTS * shards_served(&n->view.view, n->id);
	out->rebuild_done = n->rebuild_done;
	out->rebuild_total = n->rebuild_total;
	pthread_mutex_unlock(&n->lock);
	out->slots_used = c.used;
	out->tombs = c.tombs;
	out->rss_beyond = rss_beyond();
}
