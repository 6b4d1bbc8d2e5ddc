/* tests/lib/disk_model.c - see disk_model.h. */
#include "tests/lib/disk_model.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <cmocka.h>

#include "kv/node/disk.h"
#include "rdma/fabric.h"

#define PAGE	4096u
#define SLOW_NS UINT64_C(400000)

struct file {
	void *buf;
	size_t len;
};

struct node_disk {
	struct disk_model *m;
	struct disk disk;
	char *live, *synced; /* the region, and what is surely on the disk */
	struct file meta[2];
};

struct disk_model {
	uint64_t dice, bytes;
	uint32_t nodes;
	struct cluster *c;
	uint64_t steps, lose_at;
	bool lost;
	struct coord_counters at;
	struct node_disk node[FAB_NODES_MAX];
};

static uint32_t dice(struct disk_model *m, uint32_t n)
{
	m->dice = m->dice * UINT64_C(6364136223846793005) + 1442695041;
	return (uint32_t)(m->dice >> 33) % n;
}

/* --- steps ---------------------------------------------------------------- */

/* What was written since is on the disk page by page, or not: some losses keep
 * nearly all of it, some nearly nothing. */
static void settle_pages(struct disk_model *m, struct node_disk *d,
			 uint32_t permille)
{
	for (uint64_t at = 0; at < m->bytes; at += PAGE)
		if (memcmp(d->synced + at, d->live + at, PAGE) != 0 &&
		    dice(m, 1000) < permille)
			memcpy(d->synced + at, d->live + at, PAGE);
}

static void lose_power(struct disk_model *m)
{
	static const uint32_t shares[] = {0, 30, 500, 970, 1000};

	m->lost = true;
	for (uint32_t i = 0; i < m->nodes; i++)
		settle_pages(m, &m->node[i], shares[dice(m, 5)]);
}

static int step(struct disk_model *m)
{
	if (!m->lost && ++m->steps == m->lose_at)
		lose_power(m);
	return m->lost ? -EIO : 0;
}

static void take_time(struct disk_model *m)
{
	if (m->c != NULL)
		cluster_sleep(m->c, SLOW_NS + dice(m, SLOW_NS));
}

/* --- the disk ------------------------------------------------------------- */

/* All that was there when it began, and perhaps more. */
static int model_sync(void *arg)
{
	struct node_disk *d = arg;
	struct disk_model *m = d->m;
	char *begun;
	int rc = step(m);

	if (rc != 0)
		return rc;
	begun = malloc(m->bytes);
	assert_non_null(begun);
	memcpy(begun, d->live, m->bytes);
	take_time(m);
	if (!m->lost) {
		memcpy(d->synced, begun, m->bytes);
		settle_pages(m, d, 100);
	}
	free(begun);
	return step(m);
}

static int model_write(void *arg, const char *name, const void *buf, size_t len)
{
	struct node_disk *d = arg;
	struct file *f = &d->meta[strcmp(name, cut_name(1)) == 0];
	int rc = step(d->m);

	if (rc != 0)
		return rc;
	take_time(d->m);
	if (d->m->lost)
		return -EIO;
	free(f->buf);
	f->buf = malloc(len);
	assert_non_null(f->buf);
	memcpy(f->buf, buf, len);
	f->len = len;
	return step(d->m);
}

static int model_read(void *arg, const char *name, size_t max, void **buf,
		      size_t *len)
{
	struct node_disk *d = arg;
	const struct file *f = &d->meta[strcmp(name, cut_name(1)) == 0];

	if (f->buf == NULL)
		return -ENOENT;
	assert_true(f->len <= max);
	*buf = malloc(f->len);
	assert_non_null(*buf);
	memcpy(*buf, f->buf, f->len);
	*len = f->len;
	return 0;
}

static int model_commit(void *arg, const struct coord_counters *at)
{
	struct disk_model *m = arg;
	int rc = step(m);

	if (rc != 0)
		return rc;
	m->at = *at;
	return step(m);
}

/* --- life ----------------------------------------------------------------- */

static char *memory(uint64_t bytes)
{
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert_true(p != MAP_FAILED);
	return p;
}

struct disk_model *disk_model_open(uint64_t seed, uint64_t region_bytes,
				   uint32_t nodes)
{
	struct disk_model *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	m->dice = seed;
	m->bytes = region_bytes;
	m->nodes = nodes;
	for (uint32_t i = 0; i < nodes; i++) {
		struct node_disk *d = &m->node[i];

		d->m = m;
		d->live = memory(region_bytes);
		d->synced = memory(region_bytes);
		d->disk = (struct disk){
			.arg = d,
			.sync = model_sync,
			.write = model_write,
			.read = model_read,
		};
	}
	return m;
}

void disk_model_close(struct disk_model *m)
{
	for (uint32_t i = 0; i < m->nodes; i++) {
		munmap(m->node[i].live, m->bytes);
		munmap(m->node[i].synced, m->bytes);
		free(m->node[i].meta[0].buf);
		free(m->node[i].meta[1].buf);
	}
	free(m);
}

static const struct disk *give_disk(void *arg, uint32_t id, void **region)
{
	struct disk_model *m = arg;

	*region = m->node[id].live;
	return &m->node[id].disk;
}

void disk_model_opts(struct disk_model *m, struct cluster_opts *o)
{
	o->disk = give_disk;
	o->commit = model_commit;
	o->disk_arg = m;
	o->keep = m->at.durable != 0;
	o->counters = m->at;
}

void disk_model_cluster(struct disk_model *m, struct cluster *c)
{
	m->c = c;
}

void disk_model_lose(struct disk_model *m, uint64_t n)
{
	m->lose_at = n == 0 ? 0 : m->steps + n;
}

bool disk_model_lost(const struct disk_model *m)
{
	return m->lost;
}

uint64_t disk_model_steps(const struct disk_model *m)
{
	return m->steps;
}

const struct coord_counters *disk_model_at(const struct disk_model *m)
{
	return &m->at;
}

static void load(struct disk_model *m, const struct layout_super *super,
		 uint32_t id, struct cut *out)
{
	struct node_disk *d = &m->node[id];
	const struct file *f = &d->meta[m->at.slot];
	struct layout_super s = *super;

	s.node = id;
	assert_int_equal(cut_unpack(f->buf, f->len, &s, m->at.durable, out), 0);
}

void disk_model_restart(struct disk_model *m, const struct layout_super *super,
			struct restart_report *out)
{
	void *region[FAB_NODES_MAX];
	int fd[FAB_NODES_MAX];
	struct cut cut[FAB_NODES_MAX];
	struct restart_opts o = {
		.super = super,
		.region = region,
		.region_fd = fd,
		.cut = cut,
		.index_version = m->at.index_version,
	};

	assert_true(m->at.durable != 0);
	if (!m->lost)
		lose_power(m);
	for (uint32_t i = 0; i < m->nodes; i++) {
		memcpy(m->node[i].live, m->node[i].synced, m->bytes);
		region[i] = m->node[i].live;
		fd[i] = -1;
		load(m, super, i, &cut[i]);
	}
	assert_int_equal(restart_run(&o, out), 0);
	for (uint32_t i = 0; i < m->nodes; i++)
		cut_free(&cut[i]);
	m->lost = false;
	m->lose_at = 0;
}
