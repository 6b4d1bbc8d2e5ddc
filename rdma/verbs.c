/* rdma/verbs.c - the net over RDMA: its life. See verbs_impl.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include "rdma/verbs_impl.h"

static bool verbs_up(struct fab_net *n, uint8_t id)
{
	return atomic_load(&verbs_net(n)->node[id].state) == VERBS_UP;
}

static uint64_t verbs_size(struct fab_net *n, uint8_t id)
{
	struct verbs_node *node = &verbs_net(n)->node[id];
	uint64_t size;

	pthread_mutex_lock(&node->lock);
	size = node->size;
	pthread_mutex_unlock(&node->lock);
	return size;
}

static void verbs_on_down(struct fab_net *n,
			  void (*down)(void *arg, uint8_t id), void *arg)
{
	struct verbs_net *net = verbs_net(n);

	pthread_mutex_lock(&net->lock);
	net->down = down;
	net->down_arg = arg;
	pthread_mutex_unlock(&net->lock);
}

static void net_free(struct verbs_net *net)
{
	verbs_nodes_close(net);
	if (net->wakefd >= 0)
		close(net->wakefd);
	pthread_mutex_destroy(&net->lock);
	memset(&net->key, 0, sizeof(net->key));
	free(net);
}

static void verbs_close(struct fab_net *n)
{
	struct verbs_net *net = verbs_net(n);
	uint64_t one = 1;

	atomic_store(&net->stop, true);
	while (write(net->wakefd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	pthread_join(net->monitor, NULL);
	net_free(net);
}

static const struct fab_net_ops verbs_net_ops = {
	.open = verbs_fab_open,
	.attach = verbs_attach,
	.cut = verbs_cut,
	.up = verbs_up,
	.size = verbs_size,
	.on_down = verbs_on_down,
	.close = verbs_close,
};

int fab_verbs_open(const struct fab_key *key, struct fab_net **out)
{
	struct verbs_net *net = calloc(1, sizeof(*net));
	int rc = 0;

	if (net == NULL)
		return -ENOMEM;
	net->net.ops = &verbs_net_ops;
	if (key != NULL)
		net->key = *key;
	TAILQ_INIT(&net->fabs);
	pthread_mutex_init(&net->lock, NULL);
	verbs_nodes_init(net);
	net->wakefd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (net->wakefd < 0)
		rc = -errno;
	if (rc == 0 &&
	    getrandom(net->token, sizeof(net->token), 0) != sizeof(net->token))
		rc = -EIO;
	if (rc == 0)
		rc = fab_thread_start(&net->monitor, verbs_monitor, net);
	if (rc != 0) {
		net_free(net);
		return rc;
	}
	*out = &net->net;
	return 0;
}
