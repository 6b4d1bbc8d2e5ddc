/* rdma/shm_node.c - a node as its client holds it: attach, notice its death,
 * cut it off.
 *
 * Fencing ([I6]). A queue is inside an operation while its counter is odd. It
 * makes the counter odd, then looks at the node's state; whoever cuts changes
 * the state, then looks at the counters; both in the one total order of
 * seq_cst. So either the queue sees the cut and stays out, or the cut sees the
 * queue and waits until the counter has moved. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rdma/shm_impl.h"

int shm_nodes_init(struct shm_net *net)
{
	for (int i = 0; i <= (int)FAB_NODE_COORD; i++) {
		net->node[i].sock = -1;
		net->node[i].fd = -1;
		pthread_mutex_init(&net->node[i].lock, NULL);
	}
	return 0;
}

/* --- cutting -------------------------------------------------------------- */

/* On return no queue is inside an operation it began before the call. */
static void wait_until_outside(struct shm_net *net)
{
	struct shm_fab *f;
	uint64_t seen;

	pthread_mutex_lock(&net->lock);
	TAILQ_FOREACH (f, &net->fabs, link) {
		seen = atomic_load(&f->inside);
		while ((seen & 1) != 0 && atomic_load(&f->inside) == seen)
			sched_yield();
	}
	pthread_mutex_unlock(&net->lock);
}

/* Under the node's lock, nobody inside. */
static void node_unmap(struct shm_node *node)
{
	if (node->base != NULL)
		munmap(node->base, node->size);
	node->base = NULL;
	node->size = 0;
	if (node->fd >= 0)
		close(node->fd);
	node->fd = -1;
	if (node->sock >= 0)
		close(node->sock);
	node->sock = -1;
	free(node->address);
	node->address = NULL;
}

void shm_cut(struct fab_net *n, uint8_t id)
{
	struct shm_net *net = shm_net(n);
	struct shm_node *node = &net->node[id];

	pthread_mutex_lock(&node->lock);
	if (atomic_exchange(&node->state, SHM_ABSENT) != SHM_ABSENT) {
		wait_until_outside(net);
		node_unmap(node);
		shm_wake_all(net);
	}
	pthread_mutex_unlock(&node->lock);
}

void shm_nodes_close(struct shm_net *net)
{
	for (int i = 0; i <= (int)FAB_NODE_COORD; i++) {
		node_unmap(&net->node[i]);
		pthread_mutex_destroy(&net->node[i].lock);
	}
}

/* --- attaching ------------------------------------------------------------ */

static int send_hello(struct shm_net *net, int sock, enum shm_frame_type type,
		      const void *hello, size_t len)
{
	struct shm_frame fr;
	int rc;

	shm_frame_init(&fr, type);
	memcpy(fr.token, net->token, sizeof(fr.token));
	rc = shm_send(sock, &fr, hello, len, -1);
	/* a fresh socket: anything but success means that it hung up */
	return rc == 0 ? 0 : -ECONNREFUSED;
}

static int recv_welcome(int sock, struct shm_frame *fr, int *fd)
{
	ssize_t n;
	int rc;

	*fd = -1;
	rc = shm_wait_readable(sock, SHM_HELLO_NS);
	if (rc != 0)
		return rc;
	n = shm_recv(sock, fr, sizeof(*fr), fd);
	if (n == 0 || n == -ECONNRESET)
		return -ECONNREFUSED;
	if (n < 0)
		rc = n == -EMSGSIZE ? -EPROTO : (int)n;
	else if (!shm_frame_ok(fr, (size_t)n) || fr->type != SHM_WELCOME)
		rc = -EPROTO;
	else if (fr->status != 0)
		rc = fr->status < 0 ? fr->status : -EPROTO;
	if (rc != 0 && *fd >= 0)
		close(*fd);
	return rc;
}

/* It can never shrink under us: a sealed memfd, or a file that only we, root
 * and who runs the node (whom we trust with the bytes anyway) may truncate. */
static bool stays(int fd, const struct stat *st)
{
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals >= 0 && (seals & F_SEAL_SHRINK) != 0)
		return true;
	return S_ISREG(st->st_mode) && (st->st_mode & 022) == 0 &&
	       (st->st_uid == geteuid() || st->st_uid == 0);
}

/* Map what the node handed over, if no access within @size can fault. */
static int map_region(int fd, uint64_t size, uint8_t **base)
{
	struct stat st;
	void *p;

	if (size == 0 || fstat(fd, &st) != 0 || !stays(fd, &st) ||
	    (uint64_t)st.st_size < size)
		return -EPROTO;
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	*base = p;
	return 0;
}

static int greet(struct shm_net *net, struct shm_node *node, bool region,
		 const void *hello, size_t len)
{
	struct shm_frame fr;
	int fd, rc;

	rc = send_hello(net, node->sock, SHM_HELLO, hello, len);
	if (rc != 0)
		return rc;
	rc = recv_welcome(node->sock, &fr, &fd);
	if (rc != 0)
		return rc;
	if (region != (fd >= 0)) {
		rc = -EPROTO;
	} else if (region) {
		rc = map_region(fd, fr.id, &node->base);
	}
	if (rc == 0 && region) {
		node->size = fr.id;
		node->fd = fd;
	} else if (fd >= 0) {
		close(fd);
	}
	return rc;
}

static int watch(struct shm_net *net, struct shm_node *node, uint8_t id)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLRDHUP};

	ev.data.u64 = (uint64_t)atomic_load(&node->generation) << 8 | id;
	if (epoll_ctl(net->epfd, EPOLL_CTL_ADD, node->sock, &ev) != 0)
		return -errno;
	return 0;
}

static int attach_locked(struct shm_net *net, uint8_t id, const char *address,
			 const void *hello, size_t len)
{
	struct shm_node *node = &net->node[id];
	int rc;

	node->address = strdup(address);
	if (node->address == NULL)
		return -ENOMEM;
	rc = shm_connect(address, &node->sock);
	if (rc != 0)
		goto err_unmap;
	rc = greet(net, node, id != FAB_NODE_COORD, hello, len);
	if (rc != 0)
		goto err_unmap;
	atomic_fetch_add(&node->generation, 1);
	atomic_store(&node->state, SHM_UP); /* before its death can be seen */
	rc = watch(net, node, id);
	if (rc != 0)
		goto err_down;
	return 0;

err_down:
	atomic_store(&node->state, SHM_ABSENT);
	wait_until_outside(net);
err_unmap:
	node_unmap(node);
	return rc;
}

int shm_attach(struct fab_net *n, uint8_t id, const char *address,
	       const void *hello, size_t len)
{
	struct shm_net *net = shm_net(n);
	struct shm_node *node = &net->node[id];
	int rc = -EALREADY;

	if (atomic_load(&node->state) == SHM_DOWN)
		shm_cut(n, id);
	pthread_mutex_lock(&node->lock);
	if (atomic_load(&node->state) == SHM_ABSENT)
		rc = attach_locked(net, id, address, hello, len);
	pthread_mutex_unlock(&node->lock);
	return rc;
}

int shm_call_socket(struct shm_net *net, uint8_t id, uint32_t *generation,
		    int *out)
{
	struct shm_node *node = &net->node[id];
	int sock, rc = -EHOSTDOWN;

	pthread_mutex_lock(&node->lock);
	if (atomic_load(&node->state) == SHM_UP) {
		*generation = atomic_load(&node->generation);
		rc = shm_connect(node->address, &sock);
	}
	pthread_mutex_unlock(&node->lock);
	if (rc != 0)
		return rc;
	rc = send_hello(net, sock, SHM_HELLO_CALLS, NULL, 0);
	if (rc != 0)
		close(sock);
	else
		*out = sock;
	return rc;
}

/* --- noticing its death --------------------------------------------------- */

/* A node says nothing on its primary socket once it has welcomed us: whatever
 * happens there is its end. */
static void found_dead(struct shm_net *net, uint8_t id, uint32_t generation)
{
	struct shm_node *node = &net->node[id];
	void (*down)(void *arg, uint8_t down_id) = NULL;
	void *arg = NULL;

	pthread_mutex_lock(&node->lock);
	if (atomic_load(&node->generation) == generation &&
	    atomic_load(&node->state) == SHM_UP) {
		atomic_store(&node->state, SHM_DOWN);
		close(node->sock);
		node->sock = -1;
		pthread_mutex_lock(&net->lock);
		down = net->down;
		arg = net->down_arg;
		pthread_mutex_unlock(&net->lock);
		shm_wake_all(net);
	}
	pthread_mutex_unlock(&node->lock);
	if (down != NULL)
		down(arg, id); /* no lock held: it may cut, or attach */
}

void *shm_monitor(void *arg)
{
	struct shm_net *net = arg;
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
