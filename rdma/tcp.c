/* rdma/tcp.c - the net over TCP: its life. See tcp_impl.h for the picture. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include "rdma/tcp_impl.h"

static bool tcp_up(struct fab_net *n, uint8_t id)
{
	return atomic_load(&tcp_net(n)->node[id].state) == TCP_UP;
}

static uint64_t tcp_size(struct fab_net *n, uint8_t id)
{
	struct tcp_node *node = &tcp_net(n)->node[id];
	uint64_t size;

	pthread_mutex_lock(&node->lock);
	size = node->size;
	pthread_mutex_unlock(&node->lock);
	return size;
}

static void tcp_on_down(struct fab_net *n, void (*down)(void *arg, uint8_t id),
			void *arg)
{
	struct tcp_net *net = tcp_net(n);

	pthread_mutex_lock(&net->lock);
	net->down = down;
	net->down_arg = arg;
	pthread_mutex_unlock(&net->lock);
}

static void net_free(struct tcp_net *net)
{
	tcp_nodes_close(net);
	if (net->stopfd >= 0)
		close(net->stopfd);
	if (net->epfd >= 0)
		close(net->epfd);
	tcp_tls_close(net->tls);
	pthread_mutex_destroy(&net->lock);
	free(net);
}

static void tcp_close(struct fab_net *n)
{
	struct tcp_net *net = tcp_net(n);
	uint64_t one = 1;

	while (write(net->stopfd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	pthread_join(net->monitor, NULL);
	net_free(net);
}

static const struct fab_net_ops tcp_net_ops = {
	.open = tcp_fab_open,
	.attach = tcp_attach,
	.cut = tcp_cut,
	.up = tcp_up,
	.size = tcp_size,
	.on_down = tcp_on_down,
	.close = tcp_close,
};

static int open_monitor(struct tcp_net *net)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = UINT64_MAX};

	net->epfd = epoll_create1(EPOLL_CLOEXEC);
	net->stopfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (net->epfd < 0 || net->stopfd < 0 ||
	    epoll_ctl(net->epfd, EPOLL_CTL_ADD, net->stopfd, &ev) != 0)
		return -errno;
	return fab_thread_start(&net->monitor, tcp_monitor, net);
}

int fab_tcp_open(const struct fab_key *key, struct fab_net **out)
{
	struct tcp_net *net;
	int rc;

	net = calloc(1, sizeof(*net));
	if (net == NULL)
		return -ENOMEM;
	net->net.ops = &tcp_net_ops;
	net->epfd = net->stopfd = -1;
	TAILQ_INIT(&net->fabs);
	pthread_mutex_init(&net->lock, NULL);
	tcp_nodes_init(net);
	rc = tcp_tls_open(key, false, &net->tls);
	if (rc == 0 &&
	    getrandom(net->token, sizeof(net->token), 0) != sizeof(net->token))
		rc = -EIO;
	if (rc == 0)
		rc = open_monitor(net);
	if (rc != 0) {
		net_free(net);
		return rc;
	}
	*out = &net->net;
	return 0;
}
