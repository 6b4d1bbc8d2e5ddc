/* kv/node/stats.c - what a node tells of itself. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kv/node/node_impl.h"
#include "kv/slot.h"

#define COUNT_EVERY_NS UINT64_C(1000000000)
#define COUNT_BYTES    (UINT64_C(16) << 20) /* at a time: some milliseconds */

/* --- the index ------------------------------------------------------------
 * Counted in passes. A pass over a large one takes long, and who asks may be
 * anybody: so it does a part of it, and is told of the last whole one.
 */

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

/* What was ever touched, from *@from on and before *@to; false: nothing. To
 * look at the rest would take memory for it. */
static bool touched(int fd, uint64_t *from, uint64_t *to)
{
	off_t data, hole;

	if (fd < 0)
		return *from < *to;
	data = lseek(fd, (off_t)*from, SEEK_DATA);
	if (data < 0 || (uint64_t)data >= *to)
		return false;
	hole = lseek(fd, data, SEEK_HOLE);
	*from = (uint64_t)data;
	if (hole >= 0 && (uint64_t)hole < *to)
		*to = (uint64_t)hole;
	return true;
}

/* The rest of @p's shard, or as much of it as *@most allows. */
static bool count_shard(const struct node *n, struct slot_pass *p,
			uint64_t *most)
{
	const struct layout *l = &n->super.layout;
	uint64_t off = layout_shard_off(l, p->shard, n->id);
	uint64_t end = off + slot_shard_bytes(l->index_groups);
	uint64_t from = off + p->at, to = end;

	while (*most > 0 && touched(n->opts.region_fd, &from, &to)) {
		if (to - from > *most)
			to = from + *most;
		count_range(n->opts.region, from, to, &p->c);
		*most -= to - from;
		from = to;
		to = end;
		p->at = from - off;
	}
	return *most > 0 || from == end;
}

bool stats_count(const struct node *n, struct slot_pass *p, uint64_t most)
{
	for (; p->shard < node_group(n)->nodes; p->shard++, p->at = 0)
		if (p->served >> p->shard & 1 && !count_shard(n, p, &most))
			return false;
	return true;
}

static uint64_t served(const struct view *v, uint32_t id)
{
	uint64_t bits = 0;

	for (uint32_t s = 0; s < v->nodes; s++)
		if (v->host[s] == id && v->shard[s] == VIEW_SHARD_SERVING)
			bits |= UINT64_C(1) << s;
	return bits;
}

/* Is the last pass still good? In a simulation it never is: nothing there may
 * follow from the system's clock. */
static bool is_fresh(const struct node *n, uint64_t now)
{
	return n->opts.threads && n->pass.served == 0 && n->count.at_ns != 0 &&
	       now - n->count.at_ns < COUNT_EVERY_NS;
}

/* Locked. False: there is nothing to be done now. */
static bool take_pass(struct node *n, uint64_t now, struct slot_pass *p)
{
	uint64_t bits = served(&n->view.view, n->id);

	if (n->pass.busy || is_fresh(n, now))
		return false;
	*p = n->pass;
	if (p->served != bits)
		*p = (struct slot_pass){.served = bits};
	n->pass.busy = true;
	return true;
}

/* Before the first pass is over, what it has found so far. */
static struct slot_count count_slots(struct node *n, uint64_t now)
{
	struct slot_count c;
	struct slot_pass p;
	bool whole;

	pthread_mutex_lock(&n->lock);
	if (!take_pass(n, now, &p)) {
		c = n->count;
		pthread_mutex_unlock(&n->lock);
		return c;
	}
	pthread_mutex_unlock(&n->lock);
	whole = stats_count(n, &p, COUNT_BYTES);
	pthread_mutex_lock(&n->lock);
	if (whole) {
		n->count = p.c;
		n->count.at_ns = now;
		p = (struct slot_pass){0};
	}
	n->pass = p;
	n->pass.busy = false;
	c = n->count.at_ns != 0 ? n->count : p.c;
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
	out->slots =
		(uint64_t)n->super.layout.index_groups * BUCKET_GROUP *
		BUCKET_SLOTS *
		(uint64_t)__builtin_popcountll(served(&n->view.view, n->id));
	out->rebuild_done = n->rebuild_done;
	out->rebuild_total = n->rebuild_total;
	pthread_mutex_unlock(&n->lock);
	out->slots_used = c.used;
	out->tombs = c.tombs;
	out->rss_beyond = rss_beyond();
}
