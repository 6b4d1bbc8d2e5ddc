/* mount-helper/supervise.c - the supervisor of an embedded pool. */
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kv/node/coord.h"
#include "mount-helper/exitcode.h"
#include "mount-helper/pool.h"
#include "mount-helper/program.h"
#include "mount-helper/public.h"
#include "mount-helper/say.h"
#include "mount-helper/supervise.h"

#define NODE_READY_MS 15000
#define NODE_STOP_MS  2000
#define KILL_MS	      5000

/* A memory node's process. */
struct child {
	pid_t pid; /* 0: not started, or reaped */
	int pidfd;
	int link;
	char address[POOL_PATH_BYTES];
};

struct super {
	const struct supervise_opts *opts;
	struct pool_place place;
	struct layout_super head;
	struct child child[FAB_NODES_MAX];
	uint32_t children;
	struct coord *coord;
	struct public *public;
	pthread_mutex_t lock; /* of child[].pid and .pidfd */
	int lock_fd;	      /* the pool's */
	int sigfd;
	int eventfd; /* the last client has gone */
	bool has_starter;
};

/* --- what the coordinator asks -------------------------------------- */

static int open_net(void *arg, struct fab_net **out)
{
	return fab_shm_open(out);
}

static bool node_is_alive(void *arg, uint32_t id)
{
	struct super *s = arg;
	bool alive;

	pthread_mutex_lock(&s->lock);
	alive = s->child[id].pid != 0 && !program_ended(s->child[id].pidfd, 0);
	pthread_mutex_unlock(&s->lock);
	return alive;
}

static int kill_node(void *arg, uint32_t id)
{
	struct super *s = arg;
	int rc = 0;

	pthread_mutex_lock(&s->lock);
	if (s->child[id].pid != 0) {
		say_err("memory node %u does not answer: killing it", id);
		kill(s->child[id].pid, SIGKILL);
		if (!program_ended(s->child[id].pidfd, KILL_MS))
			rc = -ETIMEDOUT;
	}
	pthread_mutex_unlock(&s->lock);
	return rc;
}

static int kill_client(void *arg, int32_t pid)
{
	say_err("client %d did not follow the pool's view: killing it", pid);
	return program_kill(pid, KILL_MS);
}

static void on_last_client_gone(void *arg)
{
	struct super *s = arg;

	eventfd_write(s->eventfd, 1);
}

/* --- nodes ---------------------------------------------------------- */

/* Hand @c its superblock: it formats its region with that. */
static int brief(struct super *s, uint32_t id)
{
	struct layout_super head = s->head;

	head.node = id;
	if (send(s->child[id].link, &head, sizeof(head), MSG_NOSIGNAL) !=
	    (ssize_t)sizeof(head))
		return -EPIPE;
	return 0;
}

static int start_node(struct super *s, uint32_t id, const char *program)
{
	struct child *c = &s->child[id];
	char number[16];
	char *argv[] = {
		"aceso-node",  "--pool",
		s->place.name, "--id",
		number,	       s->opts->foreground ? "--foreground" : NULL,
		NULL};
	int rc;

	snprintf(number, sizeof(number), "%u", id);
	pool_node_sock(&s->place, id, c->address);
	rc = program_start(program, argv, s->opts->foreground, &c->pid,
			   &c->pidfd, &c->link);
	if (rc < 0) {
		c->pid = 0;
		return rc;
	}
	s->children = id + 1;
	return brief(s, id);
}

/* Wait for what node @id has to say; its cause of failure goes to @error. */
static int await_node(struct super *s, uint32_t id, char *error)
{
	char line[PROGRAM_LINE_BYTES_MAX];
	int rc;

	rc = program_line(s->child[id].link, line, NODE_READY_MS);
	if (rc == 0 && strncmp(line, "ready", 5) == 0)
		return 0;
	if (rc == 0)
		snprintf(error, PROGRAM_LINE_BYTES_MAX,
			 "memory node %u: %.400s", id,
			 strncmp(line, "error ", 6) == 0 ? line + 6 : line);
	else
		snprintf(error, PROGRAM_LINE_BYTES_MAX,
			 "memory node %u %s while it started", id,
			 rc == -EPIPE ? "died" : "hung");
	return -EIO;
}

static int start_nodes(struct super *s, char *error)
{
	char program[PATH_MAX];
	uint32_t n = s->opts->pool.nodes;
	int rc;

	rc = program_find("aceso-node", program);
	for (uint32_t id = 0; rc == 0 && id < n; id++)
		rc = start_node(s, id, program);
	if (rc < 0) {
		snprintf(error, PROGRAM_LINE_BYTES_MAX,
			 "memory nodes cannot be started: %s", strerror(-rc));
		return rc;
	}
	for (uint32_t id = 0; rc == 0 && id < n; id++)
		rc = await_node(s, id, error);
	return rc;
}

/* Node @id's pidfd says it is dead. */
static void reap(struct super *s, uint32_t id, bool expected)
{
	struct child *c = &s->child[id];
	pid_t pid = c->pid;
	int status = 0;

	pthread_mutex_lock(&s->lock);
	waitpid(pid, &status, 0);
	c->pid = 0;
	close(c->pidfd);
	pthread_mutex_unlock(&s->lock);
	close(c->link);
	if (expected)
		return;
	if (WIFSIGNALED(status))
		say_err("memory node %u (pid %d) died of signal %d", id, pid,
			WTERMSIG(status));
	else
		say_err("memory node %u (pid %d) ended with code %d", id, pid,
			WEXITSTATUS(status));
}

/* All nodes end: asked first, then told, then made to. */
static void stop_nodes(struct super *s)
{
	public_close(s->public);
	if (s->coord != NULL)
		coord_stop_nodes(s->coord, NODE_STOP_MS);
	coord_close(s->coord);
	s->coord = NULL;
	for (uint32_t id = 0; id < s->children; id++)
		if (s->child[id].pid != 0)
			kill(s->child[id].pid, SIGTERM);
	for (uint32_t id = 0; id < s->children; id++) {
		if (s->child[id].pid == 0)
			continue;
		if (!program_ended(s->child[id].pidfd, NODE_STOP_MS))
			kill(s->child[id].pid, SIGKILL);
		program_ended(s->child[id].pidfd, KILL_MS);
		reap(s, id, true);
	}
}

/* --- start and end -------------------------------------------------- */

static int lay_out(struct super *s)
{
	const struct conf_pool *p = &s->opts->pool;
	struct layout_shape shape = {
		.nodes = p->nodes, .k = p->k, .m = p->m, .usable = p->size};

	s->head.magic = LAYOUT_MAGIC;
	s->head.version = LAYOUT_VERSION;
	if (getrandom(s->head.uuid, sizeof(s->head.uuid), 0) < 0 ||
	    getrandom(&s->head.secret, sizeof(s->head.secret), 0) < 0)
		return -errno;
	return layout_of(&shape, &s->head.layout);
}

static int start_coord(struct super *s)
{
	const char *address[FAB_NODES_MAX];
	int32_t pid[FAB_NODES_MAX];
	struct coord_opts o = {
		.pool = s->place.name,
		.transport = "shm",
		.super = s->head,
		.address = s->place.sock,
		.node_address = address,
		.node_pid = pid,
		.threads = true,
		.net = open_net,
		.arg = s,
		.node_is_alive = node_is_alive,
		.kill_node = kill_node,
		.kill_client = kill_client,
		.on_last_client_gone = on_last_client_gone,
	};

	for (uint32_t id = 0; id < s->children; id++) {
		address[id] = s->child[id].address;
		pid[id] = s->child[id].pid;
	}
	return coord_open(&o, &s->coord);
}

static int make_events(struct super *s)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &set, NULL); /* in all threads to come */
	sigdelset(&set, SIGPIPE);
	s->sigfd = signalfd(-1, &set, SFD_CLOEXEC);
	if (s->sigfd < 0)
		return -errno;
	s->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return s->eventfd < 0 ? -errno : 0;
}

static int start(struct super *s, char *error)
{
	int rc = make_events(s);

	if (rc == 0)
		rc = lay_out(s);
	if (rc < 0) {
		snprintf(error, PROGRAM_LINE_BYTES_MAX,
			 "the pool cannot be laid out: %s", strerror(-rc));
		return rc;
	}
	rc = start_nodes(s, error);
	if (rc < 0)
		return rc;
	rc = start_coord(s);
	if (rc == 0)
		rc = public_open(&s->place, s->coord, &s->public);
	if (rc < 0)
		snprintf(error, PROGRAM_LINE_BYTES_MAX,
			 "the coordinator cannot be started: %s",
			 strerror(-rc));
	return rc;
}

/* --- the life of the pool ------------------------------------------- */

/* pollfd 0, 1 and 2; those of the nodes follow. */
enum { ON_SIGNAL, ON_GONE, ON_STARTER, ON_NODES };

static int gather(struct super *s, struct pollfd *p, uint32_t *id)
{
	int n = ON_NODES;

	p[ON_SIGNAL] = (struct pollfd){s->sigfd, POLLIN, 0};
	p[ON_GONE] = (struct pollfd){s->eventfd, POLLIN, 0};
	p[ON_STARTER] = (struct pollfd){s->has_starter ? PROGRAM_LINK_FD : -1,
					POLLIN, 0};
	for (uint32_t i = 0; i < s->children; i++) {
		if (s->child[i].pid == 0)
			continue;
		id[n] = i;
		p[n++] = (struct pollfd){s->child[i].pidfd, POLLIN, 0};
	}
	return n;
}

/* Returns true when the pool is to end. */
static bool wait_once(struct super *s)
{
	struct pollfd p[ON_NODES + FAB_NODES_MAX];
	uint32_t id[ON_NODES + FAB_NODES_MAX];
	bool idle = !s->has_starter && coord_clients(s->coord) == 0;
	int n = gather(s, p, id);
	int rc = poll(p, (nfds_t)n, idle ? (int)s->opts->grace_ms : -1);
	eventfd_t ignored;

	if (rc < 0)
		return false; /* EINTR */
	if (rc == 0)
		return idle && coord_clients(s->coord) == 0;
	if (p[ON_SIGNAL].revents != 0)
		return true;
	if (p[ON_GONE].revents != 0)
		eventfd_read(s->eventfd, &ignored);
	if (p[ON_STARTER].revents != 0) {
		s->has_starter = false;
		close(PROGRAM_LINK_FD);
	}
	for (int i = ON_NODES; i < n; i++) {
		if (p[i].revents == 0)
			continue;
		reap(s, id[i], false);
		coord_node_died(s->coord, id[i]);
	}
	return false;
}

static int run(struct super *s)
{
	char error[PROGRAM_LINE_BYTES_MAX] = "";
	int rc = start(s, error);

	if (rc == 0) {
		program_tell(PROGRAM_LINK_FD, "ready", s->place.sock);
		while (!wait_once(s))
			;
	}
	stop_nodes(s);
	pool_remove(&s->place, s->lock_fd);
	if (rc < 0) /* said last: nothing is left when it is read */
		program_tell(PROGRAM_LINK_FD, "error", error);
	return rc < 0 ? EXIT_SYS : EXIT_OK;
}

static int refuse(const struct pool_place *p, int why)
{
	char text[PROGRAM_LINE_BYTES_MAX];

	if (why == -EBUSY) {
		program_tell(PROGRAM_LINK_FD, "busy", p->dir);
		return EXIT_SYS;
	}
	if (why == -EADDRINUSE)
		snprintf(text, sizeof(text),
			 "pool %s has lost its supervisor "
			 "but is still mounted: unmount it first",
			 p->name);
	else
		snprintf(text, sizeof(text),
			 "the pool's directory %s cannot "
			 "be used: %s",
			 p->dir, strerror(-why));
	program_tell(PROGRAM_LINK_FD, "error", text);
	return EXIT_SYS;
}

int supervise(const struct supervise_opts *opts)
{
	struct super s = {.opts = opts, .has_starter = true};
	int rc;

	assert(opts->pool.nodes <= FAB_NODES_MAX);
	pthread_mutex_init(&s.lock, NULL);
	rc = pool_place(opts->pool.name, &s.place);
	if (rc == 0)
		rc = pool_take(&s.place, &s.lock_fd);
	if (rc < 0)
		return refuse(&s.place, rc);
	return run(&s);
}
