/* rdma/shm.c - the shared-memory net: its life. The nodes are processes of
 * this host; see shm_impl.h for the picture. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "rdma/shm_impl.h"

/* Not more at once: meanwhile nothing else can be mapped or unmapped. */
#define PREPARE_BYTES (256u << 10)

/* Memory that is only to be written through the file (shm_fab.c) need neither
 * be cleared nor mapped before: where there is none, the file is given some. */
static bool prepare_piece(struct shm_node *node, uint64_t from, uint64_t to,
			  bool map)
{
	bool inside;

	pthread_mutex_lock(&node->n.lock); /* the mapping stays */
	inside = node->base != NULL && from < to && to <= node->n.size;
	if (inside && !map)
		(void)fallocate(node->fd, 0, (off_t)from, (off_t)(to - from));
#ifdef MADV_POPULATE_READ
	/* Reading maps a shared page as well, and many at a time. */
	if (inside && map)
		madvise(node->base + from, to - from, MADV_POPULATE_READ);
#endif
	pthread_mutex_unlock(&node->n.lock);
	return inside;
}

/* Faults taken one by one cost more than the writes that cause them. */
static void shm_prepare(struct fab_net *n, uint8_t id, uint64_t offset,
			uint64_t len, bool map)
{
	uint64_t end = offset + len, at, to;

	for (at = offset & ~UINT64_C(4095); at < end; at = to) {
		to = end - at < PREPARE_BYTES ? end : at + PREPARE_BYTES;
		if (!prepare_piece(shm_node((struct net *)n, id), at, to, map))
			return;
	}
}

static void shm_close(struct fab_net *n)
{
	net_end((struct net *)n);
	free(n);
}

static const struct fab_net_ops shm_net_ops = {
	.open = shm_fab_open,
	.attach = net_attach,
	.cut = net_cut,
	.up = net_up,
	.size = net_size,
	.on_down = net_on_down,
	.prepare = shm_prepare,
	.close = shm_close,
};

int fab_shm_open(struct fab_net **out)
{
	struct shm_net *net;
	int rc;

	net = calloc(1, sizeof(*net));
	if (net == NULL)
		return -ENOMEM;
	for (int i = 0; i <= (int)FAB_NODE_COORD; i++) {
		net->node[i].sock = net->node[i].fd = -1;
		net->net.node[i] = &net->node[i].n;
	}
	rc = net_start(&net->net, &shm_net_ops, &shm_how);
	if (rc != 0) {
		free(net);
		return rc;
	}
	*out = &net->net.net;
	return 0;
}
