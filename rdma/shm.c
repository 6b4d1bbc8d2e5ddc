/* rdma/shm.c - the shared-memory net: its life. The nodes are processes of
 * this host; see shm_impl.h for the picture. */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>

#include "rdma/shm_impl.h"

static void shm_close(struct fab_net *n)
{
	net_end((struct net *)n);
	OPENSSL_cleanse(n, sizeof(struct shm_net));
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

static bool is_sound(const struct fab_key *key)
{
	return key == NULL || key->len == 0 ||
	       (key->len >= FAB_KEY_BYTES_MIN && key->len <= FAB_KEY_BYTES_MAX);
}

int fab_shm_open(const struct fab_key *key, struct fab_net **out)
{
	struct shm_net *net;
	int rc;

	if (!is_sound(key))
		return -EINVAL;
	net = calloc(1, sizeof(*net));
	if (net == NULL)
		return -ENOMEM;
	if (key != NULL)
		net->key = *key;
	for (int i = 0; i <= (int)FAB_NODE_COORD; i++) {
		net->node[i].sock = net->node[i].fd = -1;
		net->net.node[i] = &net->node[i].n;
	}
	rc = net_start(&net->net, &shm_net_ops, &shm_how);
	if (rc != 0) {
		OPENSSL_cleanse(net, sizeof(*net));
		free(net);
		return rc;
	}
	*out = &net->net.net;
	return 0;
}
