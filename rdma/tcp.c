/* rdma/tcp.c - the net over TCP: its life. See tcp_impl.h for the picture. */
#include <errno.h>
#include <stdlib.h>

#include "rdma/tcp_impl.h"

static void net_free(struct tcp_net *net)
{
	tcp_tls_close(net->tls);
	free(net);
}

static void tcp_close(struct fab_net *n)
{
	net_end((struct net *)n);
	net_free((struct tcp_net *)n);
}

static const struct fab_net_ops tcp_net_ops = {
	.open = tcp_fab_open,
	.attach = net_attach,
	.cut = net_cut,
	.up = net_up,
	.size = net_size,
	.on_down = net_on_down,
	.close = tcp_close,
};

int fab_tcp_open(const struct fab_key *key, struct fab_net **out)
{
	struct tcp_net *net;
	int rc;

	net = calloc(1, sizeof(*net));
	if (net == NULL)
		return -ENOMEM;
	for (int i = 0; i <= (int)FAB_NODE_COORD; i++)
		net->net.node[i] = &net->node[i].n;
	rc = tcp_tls_open(key, false, &net->tls);
	if (rc == 0)
		rc = net_start(&net->net, &tcp_net_ops, &tcp_how);
	if (rc != 0) {
		net_free(net);
		return rc;
	}
	*out = &net->net.net;
	return 0;
}
