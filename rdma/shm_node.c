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
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rdma/shm_impl.h"

/* --- cutting -------------------------------------------------------------- */

/* On return no queue is inside an operation it began before the call. */
static void shm_stop(struct net *net, uint8_t id)
{
	struct queue *q;
	struct shm_fab *f;
	uint64_t seen;

	pthread_mutex_lock(&net->lock);
	TAILQ_FOREACH (q, &net->queues, link) {
		f = shm_fab(&q->fab);
		seen = atomic_load(&f->inside);
		while ((seen & 1) != 0 && atomic_load(&f->inside) == seen)
			sched_yield();
	}
	pthread_mutex_unlock(&net->lock);
}

static void hang_up(struct net *net, struct shm_node *node)
{
	if (node->sock >= 0) {
		net_hang_up(net, node->sock);
		close(node->sock);
	}
	node->sock = -1;
}

/* Nobody is inside. */
static void shm_forget(struct net *net, uint8_t id)
{
	struct shm_node *node = shm_node(net, id);

	if (node->base != NULL)
		munmap(node->base, node->n.size);
	node->base = NULL;
	shm_ahead_close(node);
	if (node->fd >= 0)
		close(node->fd);
	node->fd = -1;
	hang_up(net, node);
}

/* --- attaching ------------------------------------------------------------ */

static int send_hello(struct net *net, int sock, enum shm_frame_type type,
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

/* What comes next, a frame and at most @cap - its size more bytes. */
static ssize_t await(int sock, void *buf, size_t cap, uint64_t deadline,
		     int *fd)
{
	uint64_t now = fab_clock_now(NULL);
	ssize_t n;
	int rc;

	rc = shm_wait_readable(sock, deadline > now ? deadline - now : 0);
	if (rc != 0)
		return rc;
	n = shm_recv(sock, buf, cap, fd);
	if (n == 0 || n == -ECONNRESET)
		return -ECONNREFUSED;
	return n == -EMSGSIZE ? -EPROTO : n;
}

/* A fresh socket: anything but success means that the node hung up. */
static int prove(struct net *net, int sock, uint64_t deadline)
{
	struct {
		struct shm_frame fr;
		struct shm_challenge ch;
	} m;
	struct shm_auth a;
	ssize_t n;

	if (shm_auth_knock(&a, shm_key(net), net->token, sock) != 0)
		return -ECONNREFUSED;
	n = await(sock, &m, sizeof(m), deadline, NULL);
	if (n < 0)
		return (int)n;
	return shm_auth_answer(&a, shm_key(net), sock, &m.fr, (size_t)n);
}

static int recv_welcome(int sock, uint64_t deadline, struct shm_frame *fr,
			int *fd)
{
	ssize_t n;
	int rc = 0;

	*fd = -1;
	n = await(sock, fr, sizeof(*fr), deadline, fd);
	if (n < 0)
		rc = (int)n;
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
static int map_region(int fd, uint64_t size, struct shm_node *node)
{
	int mode = fcntl(fd, F_GETFL), prot = PROT_READ;
	struct stat st;
	void *p;

	if (size == 0 || fstat(fd, &st) != 0 || !stays(fd, &st) ||
	    (uint64_t)st.st_size < size)
		return -EPROTO;
	node->look = (mode & O_ACCMODE) != O_RDWR;
	if (!node->look)
		prot |= PROT_WRITE;
	if (shm_ahead_open(node, fd, size) != 0)
		return -ENOMEM; /* the caller forgets it */
	p = mmap(NULL, size, prot, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	node->base = p;
	return 0;
}

static int greet(struct net *net, struct shm_node *node, bool region,
		 const void *hello, size_t len)
{
	uint64_t deadline = fab_clock_now(NULL) + SHM_HELLO_NS;
	struct shm_frame fr;
	int fd, rc = 0;

	if (shm_key(net) != NULL)
		rc = prove(net, node->sock, deadline);
	if (rc == 0)
		rc = send_hello(net, node->sock, SHM_HELLO, hello, len);
	if (rc != 0)
		return rc;
	rc = recv_welcome(node->sock, deadline, &fr, &fd);
	if (rc != 0)
		return rc;
	if (region != (fd >= 0)) {
		rc = -EPROTO;
	} else if (region) {
		rc = map_region(fd, fr.id, node);
	}
	if (rc == 0 && region) {
		node->n.size = fr.id;
		node->fd = fd;
	} else if (fd >= 0) {
		close(fd);
	}
	return rc;
}

static int shm_attach(struct net *net, uint8_t id, const void *hello,
		      size_t len)
{
	struct shm_node *node = shm_node(net, id);
	int rc;

	rc = shm_connect(node->n.address, &node->sock);
	return rc == 0 ? greet(net, node, id != FAB_NODE_COORD, hello, len)
		       : rc;
}

int shm_call_socket(struct net *net, uint8_t id, struct shm_auth *a,
		    uint32_t *generation, int *out)
{
	struct net_node *node = net->node[id];
	int sock, rc = -EHOSTDOWN;

	pthread_mutex_lock(&node->lock);
	if (atomic_load(&node->state) == NET_UP) {
		*generation = atomic_load(&node->generation);
		rc = shm_connect(node->address, &sock);
	}
	pthread_mutex_unlock(&node->lock);
	if (rc != 0)
		return rc;
	if (shm_key(net) != NULL)
		rc = shm_auth_knock(a, shm_key(net), net->token, sock);
	else
		rc = send_hello(net, sock, SHM_HELLO_CALLS, NULL, 0);
	if (rc != 0)
		close(sock);
	else
		*out = sock;
	return rc;
}

int shm_call_proved(struct net *net, int sock, struct shm_auth *a,
		    const struct shm_frame *fr, size_t len)
{
	int rc = shm_auth_answer(a, shm_key(net), sock, fr, len);

	return rc == 0 ? send_hello(net, sock, SHM_HELLO_CALLS, NULL, 0) : rc;
}

/* --- noticing its death --------------------------------------------------- */

static int shm_watch(struct net *net, uint8_t id)
{
	return net_watch(net, id, shm_node(net, id)->sock);
}

/* A node says nothing on its primary socket once it has welcomed us: whatever
 * happens there is its end. */
static bool shm_lost(struct net *net, uint8_t id)
{
	hang_up(net, shm_node(net, id));
	return true;
}

const struct net_how shm_how = {
	.attach = shm_attach,
	.watch = shm_watch,
	.stop = shm_stop,
	.forget = shm_forget,
	.lost = shm_lost,
};
