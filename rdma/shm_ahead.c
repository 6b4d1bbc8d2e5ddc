/* rdma/shm_ahead.c - a node's memory before it is written to: got, mapped.
 * Faults taken one by one cost more than the writes that cause them. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "rdma/shm_impl.h"

/* Not more at once: meanwhile nothing else can be mapped or unmapped. */
#define PIECE_BYTES SHM_PIECE_BYTES
#define PAGE_BYTES  4096u

/* Only of memory: pages of a file on a disk are made read-only again whenever
 * they have been written back. */
int shm_ahead_open(struct shm_node *node, int fd, uint64_t size)
{
	size_t words = size / PIECE_BYTES / 64 + 1;

	if (fcntl(fd, F_GET_SEALS) < 0)
		return 0;
	node->mapped = calloc(words, sizeof(*node->mapped));
	return node->mapped != NULL ? 0 : -ENOMEM;
}

void shm_ahead_close(struct shm_node *node)
{
	free(node->mapped);
	node->mapped = NULL;
}

static bool is_resident(const struct shm_node *node, uint64_t from, uint64_t to)
{
	unsigned char page[PIECE_BYTES / PAGE_BYTES];
	size_t n = (to - from + PAGE_BYTES - 1) / PAGE_BYTES;

	if (node->mapped == NULL ||
	    mincore(node->base + from, to - from, page) != 0)
		return false;
	for (size_t i = 0; i < n; i++)
		if ((page[i] & 1) == 0)
			return false;
	return true;
}

static void note(struct shm_node *node, uint64_t at, bool mapped)
{
	uint64_t i = at / PIECE_BYTES, bit = UINT64_C(1) << i % 64;

	if (node->mapped == NULL)
		return;
	if (mapped)
		atomic_fetch_or(&node->mapped[i / 64], bit);
	else
		atomic_fetch_and(&node->mapped[i / 64], ~bit);
}

/* Reading maps a shared page as well, and many at a time. */
static bool map_piece(struct shm_node *node, uint64_t from, uint64_t to)
{
#ifdef MADV_POPULATE_READ
	return madvise(node->base + from, to - from, MADV_POPULATE_READ) == 0;
#else
	return false;
#endif
}

/* Memory that is only to be written through the file (shm_fab.c) need neither
 * be cleared nor mapped before: where there is none, the file is given some.
 * Where there is, mapping costs less than what a write through the file does
 * more than one by hand. */
static bool prepare_piece(struct shm_node *node, uint64_t from, uint64_t to,
			  bool map)
{
	bool inside, mapped = false;

	pthread_mutex_lock(&node->n.lock); /* the mapping stays */
	inside = node->base != NULL && from < to && to <= node->n.size;
	if (inside && (map || is_resident(node, from, to)))
		mapped = map_piece(node, from, to) && to - from == PIECE_BYTES;
	else if (inside)
		(void)fallocate(node->fd, 0, (off_t)from, (off_t)(to - from));
	if (inside)
		note(node, from, mapped);
	pthread_mutex_unlock(&node->n.lock);
	return inside;
}

void shm_prepare(struct fab_net *n, uint8_t id, uint64_t offset, uint64_t len,
		 bool map)
{
	struct shm_node *node = shm_node((struct net *)n, id);
	uint64_t end = offset + len, at, to;

	for (at = offset - offset % PAGE_BYTES; at < end; at = to) {
		to = at - at % PIECE_BYTES + PIECE_BYTES;
		if (to > end)
			to = end;
		if (!prepare_piece(node, at, to, map))
			return;
	}
}
