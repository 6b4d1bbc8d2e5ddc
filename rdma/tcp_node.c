/* rdma/tcp_node.c - a node as its client holds it: attach, notice its death,
 * cut it off.
 *
 * Fencing ([I6]). What this process has sent may lie in buffers on the way. A
 * cut asks the node, over the primary connection, to end all of this net's
 * connections and to drop what it has of theirs: FENCE, FENCED. A node that
 * does not answer within TCP_CUT_NS is stopped or out of reach. It may still
 * act on what lies in its buffers when it comes back; but it is out of the
 * view then, and nobody looks at its memory before it has joined anew. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "rdma/tcp_impl.h"

#define TCP_CUT_NS UINT64_C(250000000)
/* For a host to answer at all: who attaches may have others to look after. */
#define TCP_CONNECT_NS UINT64_C(500000000)

/* --- waiting, with a deadline, in one thread ------------------------------ */

static int wait_link(struct tcp_link *l, uint64_t deadline)
{
	struct pollfd p = {.fd = tcp_link_fd(l),
			   .events = POLLIN | tcp_link_wants(l)};
	uint64_t now = fab_clock_now(NULL);
	struct timespec ts;

	if (now >= deadline)
		return -ETIMEDOUT;
	ts.tv_sec = (time_t)((deadline - now) / 1000000000u);
	ts.tv_nsec = (long)((deadline - now) % 1000000000u);
	if (ppoll(&p, 1, &ts, NULL) < 0 && errno != EINTR)
		return -errno;
	return 0;
}

static int shake(struct tcp_link *l, uint64_t deadline)
{
	int rc = tcp_link_shake(l);

	while (rc == -EAGAIN) {
		rc = wait_link(l, deadline);
		if (rc == 0)
			rc = tcp_link_shake(l);
	}
	return rc;
}

static int send_some(struct tcp_link *l, const void *buf, size_t len,
		     uint64_t deadline)
{
	const uint8_t *p = buf;
	ssize_t n;
	int rc;

	while (len > 0) {
		n = tcp_link_write(l, p, len, false);
		if (n == -EAGAIN) {
			rc = wait_link(l, deadline);
			if (rc != 0)
				return rc;
			continue;
		}
		if (n < 0)
			return (int)n;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static int send_rest(struct tcp_link *l, uint64_t deadline)
{
	int rc = tcp_link_flush(l);

	while (rc == -EAGAIN) {
		rc = wait_link(l, deadline);
		if (rc == 0)
			rc = tcp_link_flush(l);
	}
	return rc;
}

static int recv_frame(struct tcp_link *l, struct tcp_frame *fr,
		      uint64_t deadline)
{
	size_t have = 0;
	ssize_t n;
	int rc;

	while (have < sizeof(*fr)) {
		n = tcp_link_read(l, (uint8_t *)fr + have, sizeof(*fr) - have);
		if (n == -EAGAIN) {
			rc = wait_link(l, deadline);
			if (rc != 0)
				return rc;
			continue;
		}
		if (n <= 0)
			return -ECONNREFUSED;
		have += (size_t)n;
	}
	return 0;
}

/* --- hello ---------------------------------------------------------------- */

static int connect_link(struct tcp_net *net, const char *address,
			uint64_t deadline, struct tcp_link **out)
{
	int sock, rc;

	rc = tcp_connect(address, TCP_CONNECT_NS, &sock);
	if (rc != 0)
		return rc;
	rc = tcp_link_open(sock, net->tls, out);
	if (rc != 0) {
		close(sock);
		return rc;
	}
	rc = shake(*out, deadline);
	if (rc != 0)
		tcp_link_close(*out);
	return rc;
}

/* A queue's connection that comes too late, after the node was cut and attached
 * again, must not pass for one of today. */
static struct tcp_hello hello_as_of(const struct net *net, uint32_t generation)
{
	struct tcp_hello h = {.magic = TCP_MAGIC, .version = TCP_VERSION};
	uint32_t mixed;

	memcpy(h.token, net->token, sizeof(h.token));
	memcpy(&mixed, h.token, sizeof(mixed));
	mixed ^= generation;
	memcpy(h.token, &mixed, sizeof(mixed));
	return h;
}

static int send_hello(struct net *net, uint8_t id, const void *more, size_t len,
		      uint64_t deadline)
{
	struct net_node *node = net->node[id];
	struct tcp_hello h =
		hello_as_of(net, atomic_load(&node->generation) + 1);
	struct tcp_frame fr = {.type = TCP_HELLO,
			       .len = (uint32_t)(sizeof(h) + len)};
	struct tcp_link *l = tcp_net(net)->node[id].link;
	int rc;

	rc = send_some(l, &fr, sizeof(fr), deadline);
	if (rc == 0)
		rc = send_some(l, &h, sizeof(h), deadline);
	if (rc == 0)
		rc = send_some(l, more, len, deadline);
	return rc == 0 ? send_rest(l, deadline) : rc;
}

static int greet(struct net *net, uint8_t id, const void *hello, size_t len,
		 uint64_t deadline)
{
	struct tcp_node *node = &tcp_net(net)->node[id];
	struct tcp_frame fr;
	int rc;

	rc = send_hello(net, id, hello, len, deadline);
	if (rc != 0)
		return rc == -ETIMEDOUT ? rc : -ECONNREFUSED;
	rc = recv_frame(node->link, &fr, deadline);
	if (rc != 0)
		return rc;
	if (fr.type != TCP_WELCOME || fr.len != 0 || fr.status > 0)
		return -EPROTO;
	node->n.size = fr.arg;
	return fr.status;
}

/* --- attaching ------------------------------------------------------------ */

static int tcp_attach(struct net *net, uint8_t id, const void *hello,
		      size_t len)
{
	uint64_t deadline = fab_clock_now(NULL) + TCP_HELLO_NS;
	struct tcp_node *node = &tcp_net(net)->node[id];
	int rc;

	rc = connect_link(tcp_net(net), node->n.address, deadline, &node->link);
	if (rc != 0) {
		node->link = NULL;
		return rc;
	}
	rc = tcp_peer_addr(tcp_link_fd(node->link), &node->addr);
	return rc == 0 ? greet(net, id, hello, len, deadline) : rc;
}

static void hang_up(struct net *net, struct tcp_node *node)
{
	if (node->link != NULL)
		net_hang_up(net, tcp_link_fd(node->link));
	tcp_link_close(node->link);
	node->link = NULL;
}

static void tcp_forget(struct net *net, uint8_t id)
{
	hang_up(net, &tcp_net(net)->node[id]);
}

/* Queues go where the primary connection leads: no name is looked up. The lock
 * is held while a node is attached or cut, which may take a while: then it is
 * not up. */
int tcp_queue_begin(struct net *net, uint8_t id, uint32_t *generation,
		    struct tcp_link **out)
{
	struct tcp_node *node = &tcp_net(net)->node[id];
	struct tcp_peer_addr addr = {.len = 0};
	int sock, rc;

	if (atomic_load(&node->n.state) != NET_UP)
		return -EHOSTDOWN;
	pthread_mutex_lock(&node->n.lock);
	if (atomic_load(&node->n.state) == NET_UP) {
		*generation = atomic_load(&node->n.generation);
		addr = node->addr;
	}
	pthread_mutex_unlock(&node->n.lock);
	if (addr.len == 0)
		return -EHOSTDOWN;
	rc = tcp_connect_begin(&addr, &sock);
	if (rc != 0)
		return rc;
	rc = tcp_link_open(sock, tcp_net(net)->tls, out);
	if (rc != 0)
		close(sock);
	return rc;
}

int tcp_queue_greet(struct net *net, uint32_t generation, struct tcp_link *l)
{
	struct {
		struct tcp_frame fr;
		struct tcp_hello h;
	} all = {.fr = {.type = TCP_HELLO_QUEUE, .len = sizeof(all.h)},
		 .h = hello_as_of(net, generation)};
	ssize_t n = tcp_link_write(l, &all, sizeof(all), false);

	return n == (ssize_t)sizeof(all) ? 0 : -EIO; /* the stage was empty */
}

/* --- cutting -------------------------------------------------------------- */

static void tcp_fence(struct net *net, uint8_t id)
{
	uint64_t deadline = fab_clock_now(NULL) + TCP_CUT_NS;
	struct tcp_link *l = tcp_net(net)->node[id].link;
	struct tcp_frame fr = {.type = TCP_FENCE};

	if (send_some(l, &fr, sizeof(fr), deadline) == 0 &&
	    send_rest(l, deadline) == 0)
		recv_frame(l, &fr, deadline); /* FENCED, or its end */
}

/* --- noticing its death --------------------------------------------------- */

static int tcp_watch(struct net *net, uint8_t id)
{
	return net_watch(net, id, tcp_link_fd(tcp_net(net)->node[id].link));
}

/* A node says nothing on its primary connection once it has welcomed us:
 * whatever comes is its end. (Inside TLS it may send records without bytes.) */
static bool tcp_lost(struct net *net, uint8_t id)
{
	struct tcp_node *node = &tcp_net(net)->node[id];
	uint8_t byte;

	if (tcp_link_read(node->link, &byte, 1) == -EAGAIN)
		return false;
	hang_up(net, node);
	return true;
}

const struct net_how tcp_how = {
	.attach = tcp_attach,
	.watch = tcp_watch,
	.fence = tcp_fence,
	.forget = tcp_forget,
	.lost = tcp_lost,
};
