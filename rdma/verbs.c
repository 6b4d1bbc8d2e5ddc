/* rdma/verbs.c - the net over RDMA: its life. See verbs_impl.h. */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>

#include "rdma/verbs_impl.h"

static void net_free(struct verbs_net *net)
{
	for (int i = 0; i <= (int)FAB_NODE_COORD; i++)
		pthread_mutex_destroy(&net->node[i].lanes_lock);
	OPENSSL_cleanse(&net->key, sizeof(net->key));
	free(net);
}

static void verbs_close(struct fab_net *n)
{
	net_end((struct net *)n);
	net_free((struct verbs_net *)n);
}

static const struct fab_net_ops verbs_net_ops = {
	.open = verbs_fab_open,
	.attach = net_attach,
	.cut = net_cut,
	.up = net_up,
	.size = net_size,
	.on_down = net_on_down,
	.area_add = verbs_area_add,
	.area_drop = verbs_area_drop,
	.close = verbs_close,
};

int fab_verbs_open(const struct fab_key *key, struct fab_net **out)
{
	struct verbs_net *net = calloc(1, sizeof(*net));
	int rc;

	if (net == NULL)
		return -ENOMEM;
	if (key != NULL)
		net->key = *key;
	atomic_store(&net->changes, 1);
	for (int i = 0; i <= (int)FAB_NODE_COORD; i++) {
		net->net.node[i] = &net->node[i].n;
		pthread_mutex_init(&net->node[i].lanes_lock, NULL);
		TAILQ_INIT(&net->node[i].lanes);
	}
	rc = net_start(&net->net, &verbs_net_ops, &verbs_how);
	if (rc != 0) {
		net_free(net);
		return rc;
	}
	*out = &net->net.net;
	return 0;
}
