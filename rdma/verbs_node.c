/* rdma/verbs_node.c - a node as its client holds it: attach, notice its death,
 * cut it off.
 *
 * Fencing ([I6]). A cut breaks every queue pair that this process has to the
 * node: what has not left yet never will. What is on the wire is past it in
 * microseconds; FENCE over the primary connection waits for that, as the node
 * then breaks its ends and answers. A node that does not answer within
 * VERBS_CUT_NS is stopped or out of reach, and out of the view.
 *
 * Noticing. A process that ends closes its connections: an event. A host that
 * vanishes says nothing; who has work there sees it fail within a second, and
 * then the primary connection is asked for a life sign: the answer, or that
 * there is none, is an event too. So it is while a queue connects there, if
 * that takes long. So nothing is done while nothing happens. */
#include <errno.h>
#include <string.h>

#include "rdma/verbs_impl.h"

#define VERBS_CUT_NS UINT64_C(250000000)

static struct verbs_node *node_of(struct net *net, uint8_t id)
{
	return &verbs_net(net)->node[id];
}

static void verbs_forget(struct net *net, uint8_t id)
{
	struct verbs_node *node = node_of(net, id);

	verbs_link_close(node->link);
	node->link = NULL;
}

/* --- attaching ------------------------------------------------------------ */

static int verbs_attach(struct net *net, uint8_t id, const void *hello,
			size_t len)
{
	struct verbs_node *node = node_of(net, id);
	const struct verbs_to to = {.address = node->n.address,
				    .kind = VERBS_PRIMARY,
				    .hello = hello,
				    .len = len,
				    .node = -1,
				    .deadline = fab_clock_now(NULL) +
						VERBS_HELLO_NS};
	struct verbs_welcome w;
	int rc;

	rc = verbs_link_open(verbs_net(net), &to, &w, &node->link);
	if (rc != 0) {
		node->link = NULL;
		return rc;
	}
	node->n.size = w.size;
	node->addr = w.addr;
	node->rkey = w.rkey;
	node->pinging = false;
	return 0;
}

/* --- cutting -------------------------------------------------------------- */

static void break_lanes(struct net *net, uint8_t id)
{
	struct verbs_node *node = node_of(net, id);
	struct verbs_lane *l;

	pthread_mutex_lock(&node->lanes_lock);
	TAILQ_FOREACH (l, &node->lanes, on)
		verbs_conn_break(l->link->id->qp);
	pthread_mutex_unlock(&node->lanes_lock);
}

static void verbs_fence(struct net *net, uint8_t id)
{
	struct verbs_link *l = node_of(net, id)->link;
	struct verbs_msg *m = (void *)(l->mem.base + l->mem.recv_bytes);
	unsigned slot;

	memset(m, 0, sizeof(*m));
	m->type = VERBS_FENCE;
	verbs_link_ask(l, m, sizeof(*m), VERBS_FENCED,
		       fab_clock_now(NULL) + VERBS_CUT_NS, &slot);
}

/* --- noticing its death --------------------------------------------------- */

static int verbs_watch(struct net *net, uint8_t id)
{
	int fds[2], rc;

	verbs_link_fds(node_of(net, id)->link, fds);
	rc = net_watch(net, id, fds[0]);
	return rc == 0 ? net_watch(net, id, fds[1]) : rc;
}

/* Its descriptors stay readable, so the connection is let go of at once. */
static bool verbs_lost(struct net *net, uint8_t id)
{
	struct verbs_node *node = node_of(net, id);
	bool pong;

	if (verbs_link_check(node->link, &pong) == 0) {
		node->pinging &= !pong;
		return false;
	}
	break_lanes(net, id);
	verbs_forget(net, id);
	return true;
}

/* One that is locked is being attached, cut or looked at. */
void verbs_suspect(struct net *net, uint8_t id)
{
	struct verbs_node *node = node_of(net, id);

	if (pthread_mutex_trylock(&node->n.lock) != 0)
		return;
	if (atomic_load(&node->n.state) == NET_UP && !node->pinging)
		node->pinging = verbs_link_ping(node->link) == 0;
	pthread_mutex_unlock(&node->n.lock);
}

const struct net_how verbs_how = {
	.attach = verbs_attach,
	.watch = verbs_watch,
	.stop = break_lanes,
	.fence = verbs_fence,
	.forget = verbs_forget,
	.lost = verbs_lost,
};
