/* rdma/net.c - a net and its nodes, whatever the transport: attach, notice
 * deaths, cut off. */
#include "rdma/net.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#define STOP UINT64_MAX /* no node's tag */

static struct net *net_of(struct fab_net *n)
{
	return (struct net *)n;
}

/* --- attaching ------------------------------------------------------------ */

static void forget(struct net *net, uint8_t id)
{
	struct net_node *node = net->node[id];

	net->how->forget(net, id);
	node->size = 0;
	free(node->address);
	node->address = NULL;
}

/* Its end may be seen at once: the monitor waits for the lock then. */
static int attach_locked(struct net *net, uint8_t id, const char *address,
			 const void *hello, size_t len)
{
	struct net_node *node = net->node[id];
	int rc;

	node->address = strdup(address);
	if (node->address == NULL)
		return -ENOMEM;
	rc = net->how->attach(net, id, hello, len);
	if (rc != 0)
		goto err_forget;
	rc = -EPROTO;
	if ((id != FAB_NODE_COORD) != (node->size != 0))
		goto err_forget;
	atomic_fetch_add(&node->generation, 1);
	rc = net->how->watch(net, id);
	if (rc != 0)
		goto err_forget;
	atomic_store(&node->state, NET_UP);
	return 0;

err_forget:
	forget(net, id);
	return rc;
}

int net_attach(struct fab_net *n, uint8_t id, const char *address,
	       const void *hello, size_t len)
{
	struct net *net = net_of(n);
	struct net_node *node = net->node[id];
	int rc = -EALREADY;

	if (atomic_load(&node->state) == NET_DOWN)
		net_cut(n, id);
	pthread_mutex_lock(&node->lock);
	if (atomic_load(&node->state) == NET_ABSENT)
		rc = attach_locked(net, id, address, hello, len);
	pthread_mutex_unlock(&node->lock);
	return rc;
}

/* --- cutting -------------------------------------------------------------- */

/* Who waits for the node need not wait for the fence. */
void net_cut(struct fab_net *n, uint8_t id)
{
	struct net *net = net_of(n);
	struct net_node *node = net->node[id];
	int was;

	pthread_mutex_lock(&node->lock);
	was = atomic_exchange(&node->state, NET_ABSENT);
	if (was != NET_ABSENT) {
		if (net->how->stop != NULL)
			net->how->stop(net, id);
		queues_wake(net);
		if (was == NET_UP && net->how->fence != NULL)
			net->how->fence(net, id);
		forget(net, id);
	}
	pthread_mutex_unlock(&node->lock);
}

/* --- noticing a death ----------------------------------------------------- */

int net_watch(struct net *net, uint8_t id, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLRDHUP};

	ev.data.u64 =
		(uint64_t)atomic_load(&net->node[id]->generation) << 8 | id;
	return epoll_ctl(net->epfd, EPOLL_CTL_ADD, fd, &ev) != 0 ? -errno : 0;
}

void net_hang_up(struct net *net, int fd)
{
	epoll_ctl(net->epfd, EPOLL_CTL_DEL, fd, NULL);
	shutdown(fd, SHUT_RDWR);
}

static void look_at(struct net *net, uint8_t id, uint32_t generation)
{
	struct net_node *node = net->node[id];
	void (*down)(void *arg, uint8_t down_id) = NULL;
	void *arg = NULL;

	pthread_mutex_lock(&node->lock);
	if (atomic_load(&node->generation) == generation &&
	    atomic_load(&node->state) == NET_UP && net->how->lost(net, id)) {
		atomic_store(&node->state, NET_DOWN);
		pthread_mutex_lock(&net->lock);
		down = net->down;
		arg = net->down_arg;
		pthread_mutex_unlock(&net->lock);
		queues_wake(net);
	}
	pthread_mutex_unlock(&node->lock);
	if (down != NULL)
		down(arg, id); /* no lock held: it may cut, or attach */
}

static void *monitor(void *arg)
{
	struct net *net = arg;
	struct epoll_event ev[16];
	int n;

	for (;;) {
		n = epoll_wait(net->epfd, ev, 16, -1);
		for (int i = 0; i < n; i++) {
			if (ev[i].data.u64 == STOP)
				return NULL;
			look_at(net, ev[i].data.u64 & 0xff,
				(uint32_t)(ev[i].data.u64 >> 8));
		}
	}
}

/* --- what it says --------------------------------------------------------- */

bool net_up(struct fab_net *n, uint8_t id)
{
	return atomic_load(&net_of(n)->node[id]->state) == NET_UP;
}

uint64_t net_size(struct fab_net *n, uint8_t id)
{
	struct net_node *node = net_of(n)->node[id];
	uint64_t size;

	pthread_mutex_lock(&node->lock);
	size = node->size;
	pthread_mutex_unlock(&node->lock);
	return size;
}

void net_on_down(struct fab_net *n, void (*down)(void *arg, uint8_t id),
		 void *arg)
{
	struct net *net = net_of(n);

	pthread_mutex_lock(&net->lock);
	net->down = down;
	net->down_arg = arg;
	pthread_mutex_unlock(&net->lock);
}

/* --- its life ------------------------------------------------------------- */

static void close_events(struct net *net)
{
	if (net->stopfd >= 0)
		close(net->stopfd);
	if (net->epfd >= 0)
		close(net->epfd);
}

static int open_events(struct net *net)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = STOP};

	net->epfd = epoll_create1(EPOLL_CLOEXEC);
	net->stopfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (net->epfd < 0 || net->stopfd < 0 ||
	    epoll_ctl(net->epfd, EPOLL_CTL_ADD, net->stopfd, &ev) != 0)
		return -errno;
	return 0;
}

static void destroy_locks(struct net *net)
{
	for (int i = 0; i <= (int)FAB_NODE_COORD; i++)
		pthread_mutex_destroy(&net->node[i]->lock);
	pthread_mutex_destroy(&net->lock);
}

int net_start(struct net *net, const struct fab_net_ops *ops,
	      const struct net_how *how)
{
	int rc;

	net->net.ops = ops;
	net->how = how;
	TAILQ_INIT(&net->queues);
	pthread_mutex_init(&net->lock, NULL);
	for (int i = 0; i <= (int)FAB_NODE_COORD; i++)
		pthread_mutex_init(&net->node[i]->lock, NULL);
	rc = open_events(net);
	if (rc == 0 &&
	    getrandom(net->token, sizeof(net->token), 0) != sizeof(net->token))
		rc = -EIO;
	if (rc == 0)
		rc = fab_thread_start(&net->monitor, monitor, net);
	if (rc != 0) {
		close_events(net);
		destroy_locks(net);
	}
	return rc;
}

void net_end(struct net *net)
{
	uint64_t one = 1;

	while (write(net->stopfd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	pthread_join(net->monitor, NULL);
	for (int i = 0; i <= (int)FAB_NODE_COORD; i++)
		forget(net, (uint8_t)i);
	close_events(net);
	destroy_locks(net);
}
