/* rdma/shm.c - the shared-memory net: its life. The nodes are processes of
 * this host; see shm_impl.h for the picture. */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "rdma/shm_impl.h"

static bool shm_up(struct fab_net *n, uint8_t id)
{
	return atomic_load(&shm_net(n)->node[id].state) == SHM_UP;
}

static uint64_t shm_size(struct fab_net *n, uint8_t id)
{
	struct shm_node *node = &shm_net(n)->node[id];
	uint64_t size;

	pthread_mutex_lock(&node->lock);
	size = node->size;
	pthread_mutex_unlock(&node->lock);
	return size;
}

static void shm_on_down(struct fab_net *n, void (*down)(void *arg, uint8_t id),
			void *arg)
{
	struct shm_net *net = shm_net(n);

	pthread_mutex_lock(&net->lock);
	net->down = down;
	net->down_arg = arg;
	pthread_mutex_unlock(&net->lock);
}

/* Not more at once: meanwhile nothing else can be mapped or unmapped. */
#define PREPARE_BYTES (256u << 10)

static bool prepare_piece(struct shm_node *node, uint64_t from, uint64_t to)
{
	bool inside;

	pthread_mutex_lock(&node->lock); /* the mapping stays */
	inside = node->base != NULL && from < to && to <= node->size;
#ifdef MADV_POPULATE_READ
	/* Reading maps a shared page as well, and many at a time. */
	if (inside)
		madvise(node->base + from, to - from, MADV_POPULATE_READ);
#endif
	pthread_mutex_unlock(&node->lock);
	return inside;
}

/* Faults taken one by one cost more than the writes that cause them. */
static void shm_prepare(struct fab_net *n, uint8_t id, uint64_t offset,
			uint64_t len)
{
	uint64_t end = offset + len, at, to;

	for (at = offset & ~UINT64_C(4095); at < end; at = to) {
		to = end - at < PREPARE_BYTES ? end : at + PREPARE_BYTES;
		if (!prepare_piece(&shm_net(n)->node[id], at, to))
			return;
	}
}

static void stop_monitor(struct shm_net *net)
{
	uint64_t one = 1;

	while (write(net->stopfd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	pthread_join(net->monitor, NULL);
}

static void shm_close(struct fab_net *n)
{
	struct shm_net *net = shm_net(n);

	stop_monitor(net);
	shm_nodes_close(net);
	close(net->stopfd);
	close(net->epfd);
	pthread_mutex_destroy(&net->lock);
	free(net);
}

static const struct fab_net_ops shm_net_ops = {
	.open = shm_fab_open,
	.attach = shm_attach,
	.cut = shm_cut,
	.up = shm_up,
	.size = shm_size,
	.on_down = shm_on_down,
	.prepare = shm_prepare,
	.close = shm_close,
};

static int open_monitor(struct shm_net *net)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = UINT64_MAX};
	int rc;

	net->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (net->epfd < 0)
		return -errno;
	net->stopfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (net->stopfd < 0)
		goto err_close_epfd;
	if (epoll_ctl(net->epfd, EPOLL_CTL_ADD, net->stopfd, &ev) != 0)
		goto err_close_stopfd;
	errno = -fab_thread_start(&net->monitor, shm_monitor, net);
	if (errno != 0)
		goto err_close_stopfd;
	return 0;

err_close_stopfd:
	rc = -errno;
	close(net->stopfd);
	close(net->epfd);
	return rc;
err_close_epfd:
	rc = -errno;
	close(net->epfd);
	return rc;
}

int fab_shm_open(struct fab_net **out)
{
	struct shm_net *net;
	int rc;

	net = calloc(1, sizeof(*net));
	if (net == NULL)
		return -ENOMEM;
	net->net.ops = &shm_net_ops;
	TAILQ_INIT(&net->fabs);
	pthread_mutex_init(&net->lock, NULL);
	shm_nodes_init(net);
	if (getrandom(net->token, sizeof(net->token), 0) !=
	    sizeof(net->token)) {
		rc = -EIO;
		goto err_free;
	}
	rc = open_monitor(net);
	if (rc != 0)
		goto err_free;
	*out = &net->net;
	return 0;

err_free:
	shm_nodes_close(net);
	pthread_mutex_destroy(&net->lock);
	free(net);
	return rc;
}
