/* rdma/verbs_node.c - a node as its client holds it: attach, notice its death,
 * cut it off.
 *
 * Fencing ([I6]). A cut breaks every queue pair that this process has to the
 * node: what has not left yet never will. What is on the wire is past it in
 * microseconds; FENCE over the primary connection waits for that, as the node
 * then breaks its ends and answers. A node that does not answer within
 * VERBS_CUT_NS is stopped or out of reach, and out of the view. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rdma/verbs_impl.h"

#define VERBS_CUT_NS UINT64_C(250000000)
#define PING_NS	     (VERBS_ALIVE_MS * UINT64_C(1000000))

void verbs_nodes_init(struct verbs_net *net)
{
	for (int i = 0; i <= (int)FAB_NODE_COORD; i++) {
		pthread_mutex_init(&net->node[i].lock, NULL);
		pthread_mutex_init(&net->node[i].lanes_lock, NULL);
		TAILQ_INIT(&net->node[i].lanes);
	}
}

static void node_forget(struct verbs_node *node)
{
	verbs_link_close(node->link);
	node->link = NULL;
	free(node->address);
	node->address = NULL;
	node->size = 0;
}

/* --- attaching ------------------------------------------------------------ */

static void wake_monitor(struct verbs_net *net)
{
	uint64_t one = 1;

	while (write(net->wakefd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

static int attach_locked(struct verbs_net *net, uint8_t id, const char *address,
			 const void *hello, size_t len)
{
	struct verbs_node *node = &net->node[id];
	struct verbs_welcome w;
	int rc;

	node->address = strdup(address);
	if (node->address == NULL)
		return -ENOMEM;
	rc = verbs_link_open(net, address, VERBS_PRIMARY, hello, len, NULL, &w,
			     &node->link);
	if (rc != 0) {
		node->link = NULL;
		goto err_forget;
	}
	rc = -EPROTO;
	if ((id != FAB_NODE_COORD) != (w.size != 0))
		goto err_forget;
	node->size = w.size;
	node->addr = w.addr;
	node->rkey = w.rkey;
	node->pinging = false;
	atomic_fetch_add(&node->generation, 1);
	atomic_store(&node->state, VERBS_UP);
	return 0;

err_forget:
	node_forget(node);
	return rc;
}

int verbs_attach(struct fab_net *n, uint8_t id, const char *address,
		 const void *hello, size_t len)
{
	struct verbs_net *net = verbs_net(n);
	struct verbs_node *node = &net->node[id];
	int rc = -EALREADY;

	if (atomic_load(&node->state) == VERBS_DOWN)
		verbs_cut(n, id);
	pthread_mutex_lock(&node->lock);
	if (atomic_load(&node->state) == VERBS_ABSENT)
		rc = attach_locked(net, id, address, hello, len);
	pthread_mutex_unlock(&node->lock);
	if (rc == 0)
		wake_monitor(net); /* it passes over what is locked */
	return rc;
}

/* --- cutting -------------------------------------------------------------- */

static void fence(struct verbs_link *l)
{
	struct verbs_msg *m = (void *)(l->mem.base + l->mem.recv_bytes);
	unsigned slot;

	memset(m, 0, sizeof(*m));
	m->type = VERBS_FENCE;
	verbs_link_ask(l, m, sizeof(*m), VERBS_FENCED,
		       fab_clock_now(NULL) + VERBS_CUT_NS, &slot);
}

static void break_lanes(struct verbs_node *node)
{
	struct verbs_lane *l;

	pthread_mutex_lock(&node->lanes_lock);
	TAILQ_FOREACH (l, &node->lanes, on)
		verbs_conn_break(l->link->id->qp);
	pthread_mutex_unlock(&node->lanes_lock);
}

void verbs_cut(struct fab_net *n, uint8_t id)
{
	struct verbs_net *net = verbs_net(n);
	struct verbs_node *node = &net->node[id];
	int was;

	pthread_mutex_lock(&node->lock);
	was = atomic_exchange(&node->state, VERBS_ABSENT);
	if (was != VERBS_ABSENT) {
		break_lanes(node);
		verbs_wake_all(net); /* who waits, need not wait for us */
		if (was == VERBS_UP)
			fence(node->link);
		node_forget(node);
	}
	pthread_mutex_unlock(&node->lock);
}

void verbs_nodes_close(struct verbs_net *net)
{
	for (int i = 0; i <= (int)FAB_NODE_COORD; i++) {
		node_forget(&net->node[i]);
		pthread_mutex_destroy(&net->node[i].lanes_lock);
		pthread_mutex_destroy(&net->node[i].lock);
	}
}

/* --- noticing its death --------------------------------------------------- */

static bool node_is_dead(struct verbs_node *node, uint64_t now)
{
	bool ping = !node->pinging && now - node->pinged >= PING_NS, pong;

	if (verbs_link_check(node->link, ping, &pong) != 0)
		return true;
	if (pong)
		node->pinging = false;
	if (ping) {
		node->pinging = true;
		node->pinged = now;
	}
	return node->pinging && now - node->pinged > 4 * PING_NS;
}

static void look_at(struct verbs_net *net, uint8_t id)
{
	struct verbs_node *node = &net->node[id];
	void (*down)(void *arg, uint8_t down_id) = NULL;
	void *arg = NULL;

	if (pthread_mutex_trylock(&node->lock) != 0)
		return; /* being attached or cut */
	if (atomic_load(&node->state) == VERBS_UP &&
	    node_is_dead(node, fab_clock_now(NULL))) {
		atomic_store(&node->state, VERBS_DOWN);
		break_lanes(node);
		pthread_mutex_lock(&net->lock);
		down = net->down;
		arg = net->down_arg;
		pthread_mutex_unlock(&net->lock);
		verbs_wake_all(net);
	}
	pthread_mutex_unlock(&node->lock);
	if (down != NULL)
		down(arg, id); /* no lock held: it may cut, or attach */
}

static nfds_t watched(struct verbs_net *net, struct pollfd *p)
{
	struct verbs_node *node;
	nfds_t n = 1;

	p[0].fd = net->wakefd;
	p[0].events = POLLIN;
	for (int id = 0; id <= (int)FAB_NODE_COORD; id++) {
		node = &net->node[id];
		if (pthread_mutex_trylock(&node->lock) != 0)
			continue;
		if (atomic_load(&node->state) == VERBS_UP) {
			p[n].fd = node->link->channel->fd;
			p[n++].events = POLLIN;
		}
		pthread_mutex_unlock(&node->lock);
	}
	return n;
}

void *verbs_monitor(void *arg)
{
	struct pollfd p[FAB_NODE_COORD + 2];
	struct verbs_net *net = arg;
	uint64_t n;
	ssize_t rc;

	while (!atomic_load(&net->stop)) {
		nfds_t fds = watched(net, p);

		poll(p, fds, fds > 1 ? VERBS_ALIVE_MS / 2 : -1);
		if (p[0].revents != 0) {
			rc = read(net->wakefd, &n, sizeof(n));
			(void)rc; /* woken is woken */
		}
		for (int id = 0; id <= (int)FAB_NODE_COORD; id++)
			look_at(net, (uint8_t)id);
	}
	return NULL;
}
