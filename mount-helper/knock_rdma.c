/* mount-helper/knock_rdma.c - by RDMA: see knock.h. A tool's hello names no
 * process, so that a node which serves refuses it (-ESTALE): that will do. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kv/hello.h"
#include "mount-helper/clock.h"
#include "mount-helper/knock.h"

/* What is said of node @id. */
struct word {
	int32_t id, rc;
};

/* --- in the process ------------------------------------------------------- */

struct visit {
	const struct poolconf *c;
	struct fab_net *net;
	uint32_t id;
	int fd;
	pthread_t thread;
};

/* Whoever refuses us listens. */
static int answer(int rc)
{
	switch (rc) {
	case -ESTALE:
	case -EACCES:
	case -EPROTO:
	case -EAGAIN:
		return 0;
	default:
		return rc;
	}
}

static void *visit(void *arg)
{
	struct visit *v = arg;
	struct word w = {.id = (int32_t)v->id};
	char address[PROTO_ADDRESS_BYTES];
	struct proto_hello hello;

	poolconf_address("verbs", &v->c->node[v->id], address, sizeof(address));
	hello_fill(&hello, PROTO_TOOL, v->c->uuid);
	w.rc = answer(hello_attach(v->net, (uint8_t)v->id, address, &hello));
	(void)!write(v->fd, &w, sizeof(w));
	return NULL;
}

static void visit_all(const struct poolconf *c, struct fab_net *net, int fd)
{
	static struct visit v[FAB_NODES_MAX];
	uint32_t n;

	for (n = 0; n < c->nodes; n++) {
		v[n] = (struct visit){.c = c, .net = net, .id = n, .fd = fd};
		if (pthread_create(&v[n].thread, NULL, visit, &v[n]) != 0)
			break;
	}
	while (n-- > 0)
		pthread_join(v[n].thread, NULL);
}

/* It closes nothing: that takes time, and its end does it. */
static void run(const struct poolconf *c, const struct fab_key *key, int fd)
{
	struct fab_net *net;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (fab_any_open(key, &net) == 0)
		visit_all(c, net, fd);
	_exit(0);
}

/* --- outside -------------------------------------------------------------- */

int knock_rdma_begin(const struct poolconf *c, const struct fab_key *key,
		     struct knock_rdma *out)
{
	int fd[2], rc;

	*out = (struct knock_rdma){.until_ms = now_ms() + KNOCK_MS};
	if (pipe2(fd, O_CLOEXEC) != 0)
		return -errno;
	out->pid = fork();
	if (out->pid == 0)
		run(c, key, fd[1]);
	rc = out->pid < 0 ? -errno : 0;
	close(fd[1]);
	if (rc != 0)
		close(fd[0]);
	out->fd = fd[0];
	return rc;
}

/* False: nothing more is to be heard in time. */
static bool hear(struct knock_rdma *k)
{
	struct pollfd p = {.fd = k->fd, .events = POLLIN};
	int64_t left = k->until_ms - now_ms();
	struct word w;

	if (left < 0)
		left = 0; /* what has been said by now counts */
	if (poll(&p, 1, (int)left) <= 0 ||
	    read(k->fd, &w, sizeof(w)) != sizeof(w))
		return false;
	k->rc[w.id] = w.rc;
	k->heard |= UINT64_C(1) << w.id;
	return true;
}

void knock_rdma_end(struct knock_rdma *k, uint64_t wanted)
{
	while ((k->heard & wanted) != wanted && hear(k))
		;
	for (uint32_t i = 0; i < FAB_NODES_MAX; i++)
		if (!(k->heard >> i & 1))
			k->rc[i] = -ETIMEDOUT;
	kill(k->pid, SIGKILL);
	waitpid(k->pid, NULL, 0);
	close(k->fd);
}
