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
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "rdma/tcp_impl.h"

#define TCP_CUT_NS UINT64_C(250000000)

void tcp_nodes_init(struct tcp_net *net)
{
	for (int i = 0; i <= (int)FAB_NODE_COORD; i++)
		pthread_mutex_init(&net->node[i].lock, NULL);
}

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
		n = tcp_link_write(l, p, len);
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

	rc = tcp_connect(address, TCP_HELLO_NS, &sock);
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

static int send_hello(struct tcp_net *net, struct tcp_link *l,
		      enum tcp_type type, const void *more, size_t len,
		      uint64_t deadline)
{
	struct tcp_hello h = {.magic = TCP_MAGIC, .version = TCP_VERSION};
	struct tcp_frame fr = {.type = (uint8_t)type,
			       .len = (uint32_t)(sizeof(h) + len)};
	int rc;

	memcpy(h.token, net->token, sizeof(h.token));
	rc = send_some(l, &fr, sizeof(fr), deadline);
	if (rc == 0)
		rc = send_some(l, &h, sizeof(h), deadline);
	if (rc == 0)
		rc = send_some(l, more, len, deadline);
	return rc == 0 ? send_rest(l, deadline) : rc;
}

static int greet(struct tcp_net *net, struct tcp_node *node, bool region,
		 const void *hello, size_t len, uint64_t deadline)
{
	struct tcp_frame fr;
	int rc;

	rc = send_hello(net, node->link, TCP_HELLO, hello, len, deadline);
	if (rc != 0)
		return rc == -ETIMEDOUT ? rc : -ECONNREFUSED;
	rc = recv_frame(node->link, &fr, deadline);
	if (rc != 0)
		return rc;
	if (fr.type != TCP_WELCOME || fr.len != 0 || fr.status > 0)
		return -EPROTO;
	if (fr.status != 0)
		return fr.status;
	if (region != (fr.arg != 0))
		return -EPROTO;
	node->size = fr.arg;
	return 0;
}

/* --- attaching ------------------------------------------------------------ */

static void node_forget(struct tcp_node *node)
{
	tcp_link_close(node->link);
	node->link = NULL;
	free(node->address);
	node->address = NULL;
	node->size = 0;
}

static int watch(struct tcp_net *net, struct tcp_node *node, uint8_t id)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLRDHUP};

	ev.data.u64 = (uint64_t)atomic_load(&node->generation) << 8 | id;
	if (epoll_ctl(net->epfd, EPOLL_CTL_ADD, tcp_link_fd(node->link), &ev))
		return -errno;
	return 0;
}

static int attach_locked(struct tcp_net *net, uint8_t id, const char *address,
			 const void *hello, size_t len)
{
	uint64_t deadline = fab_clock_now(NULL) + TCP_HELLO_NS;
	struct tcp_node *node = &net->node[id];
	int rc;

	node->address = strdup(address);
	if (node->address == NULL)
		return -ENOMEM;
	rc = connect_link(net, address, deadline, &node->link);
	if (rc != 0) {
		node->link = NULL;
		goto err_forget;
	}
	rc = greet(net, node, id != FAB_NODE_COORD, hello, len, deadline);
	if (rc != 0)
		goto err_forget;
	atomic_fetch_add(&node->generation, 1);
	atomic_store(&node->state, TCP_UP); /* before its death can be seen */
	rc = watch(net, node, id);
	if (rc != 0)
		goto err_absent;
	return 0;

err_absent:
	atomic_store(&node->state, TCP_ABSENT);
err_forget:
	node_forget(node);
	return rc;
}

int tcp_attach(struct fab_net *n, uint8_t id, const char *address,
	       const void *hello, size_t len)
{
	struct tcp_net *net = tcp_net(n);
	struct tcp_node *node = &net->node[id];
	int rc = -EALREADY;

	if (atomic_load(&node->state) == TCP_DOWN)
		tcp_cut(n, id);
	pthread_mutex_lock(&node->lock);
	if (atomic_load(&node->state) == TCP_ABSENT)
		rc = attach_locked(net, id, address, hello, len);
	pthread_mutex_unlock(&node->lock);
	return rc;
}

/* The address is copied, so that no queue waits for another's connection. */
static char *address_of(struct tcp_node *node, uint32_t *generation)
{
	char *copy = NULL;

	pthread_mutex_lock(&node->lock);
	if (atomic_load(&node->state) == TCP_UP) {
		*generation = atomic_load(&node->generation);
		copy = strdup(node->address);
	}
	pthread_mutex_unlock(&node->lock);
	return copy;
}

int tcp_queue_link(struct tcp_net *net, uint8_t id, uint32_t *generation,
		   struct tcp_link **out)
{
	uint64_t deadline = fab_clock_now(NULL) + TCP_HELLO_NS;
	char *address = address_of(&net->node[id], generation);
	int rc;

	if (address == NULL)
		return -EHOSTDOWN;
	rc = connect_link(net, address, deadline, out);
	free(address);
	if (rc != 0)
		return rc;
	rc = send_hello(net, *out, TCP_HELLO_QUEUE, NULL, 0, deadline);
	if (rc != 0)
		tcp_link_close(*out);
	return rc;
}

/* --- cutting -------------------------------------------------------------- */

static void fence(struct tcp_link *l)
{
	uint64_t deadline = fab_clock_now(NULL) + TCP_CUT_NS;
	struct tcp_frame fr = {.type = TCP_FENCE};

	if (send_some(l, &fr, sizeof(fr), deadline) == 0 &&
	    send_rest(l, deadline) == 0)
		recv_frame(l, &fr, deadline); /* FENCED, or its end */
}

void tcp_cut(struct fab_net *n, uint8_t id)
{
	struct tcp_net *net = tcp_net(n);
	struct tcp_node *node = &net->node[id];
	int was;

	pthread_mutex_lock(&node->lock);
	was = atomic_exchange(&node->state, TCP_ABSENT);
	if (was != TCP_ABSENT) {
		tcp_wake_all(net);
		if (was == TCP_UP)
			fence(node->link);
		node_forget(node);
	}
	pthread_mutex_unlock(&node->lock);
}

void tcp_nodes_close(struct tcp_net *net)
{
	for (int i = 0; i <= (int)FAB_NODE_COORD; i++) {
		node_forget(&net->node[i]);
		pthread_mutex_destroy(&net->node[i].lock);
	}
}

/* --- noticing its death --------------------------------------------------- */

/* A node says nothing on its primary connection once it has welcomed us:
 * whatever comes is its end. (Inside TLS it may send records without bytes.) */
static bool has_ended(struct tcp_link *l)
{
	uint8_t byte;

	return tcp_link_read(l, &byte, 1) != -EAGAIN;
}

static void found_dead(struct tcp_net *net, uint8_t id, uint32_t generation)
{
	struct tcp_node *node = &net->node[id];
	void (*down)(void *arg, uint8_t down_id) = NULL;
	void *arg = NULL;

	pthread_mutex_lock(&node->lock);
	if (atomic_load(&node->generation) == generation &&
	    atomic_load(&node->state) == TCP_UP && has_ended(node->link)) {
		atomic_store(&node->state, TCP_DOWN);
		tcp_link_close(node->link);
		node->link = NULL;
		pthread_mutex_lock(&net->lock);
		down = net->down;
		arg = net->down_arg;
		pthread_mutex_unlock(&net->lock);
		tcp_wake_all(net);
	}
	pthread_mutex_unlock(&node->lock);
	if (down != NULL)
		down(arg, id); /* no lock held: it may cut, or attach */
}

void *tcp_monitor(void *arg)
{
	struct tcp_net *net = arg;
	struct epoll_event ev[16];
	int n;

	for (;;) {
		n = epoll_wait(net->epfd, ev, 16, -1);
		for (int i = 0; i < n; i++) {
			if (ev[i].data.u64 == UINT64_MAX)
				return NULL;
			found_dead(net, ev[i].data.u64 & 0xff,
				   (uint32_t)(ev[i].data.u64 >> 8));
		}
	}
}
