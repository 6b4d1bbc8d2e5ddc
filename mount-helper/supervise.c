/* mount-helper/supervise.c - the supervisor of an embedded pool. */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kv/log.h"
#include "kv/node/coord.h"
#include "mount-helper/clock.h"
#include "mount-helper/exitcode.h"
#include "mount-helper/lay_out.h"
#include "mount-helper/persist.h"
#include "mount-helper/pool.h"
#include "mount-helper/pool_key.h"
#include "mount-helper/pooldir.h"
#include "mount-helper/program.h"
#include "mount-helper/public.h"
#include "mount-helper/respawn.h"
#include "mount-helper/say.h"
#include "mount-helper/signals.h"
#include "mount-helper/supervise.h"

#define NODE_READY_MS 15000
#define NODE_STOP_MS  2000
#define KILL_MS	      5000
#define FENCE_MS      1000 /* the coordinator waits meanwhile, and tries again */

/* A memory node's process. */
struct child {
	pid_t pid; /* 0: not started, or reaped */
	int pidfd;
	int link;
	uint32_t life; /* of the next process: how many were started */
	char address[POOL_PATH_BYTES];
	bool starting;	     /* it has not said that it is ready, */
	int64_t starting_ms; /* when it was started; ended if it never does */
	struct respawn again;
};

struct super {
	const struct supervise_opts *opts;
	struct pool_place place;
	struct fab_key key;
	struct lay_out is;
	char program[PATH_MAX]; /* aceso-node */
	struct child child[FAB_NODES_MAX];
	uint32_t children;
	struct coord *coord;
	struct public *public;
	pthread_mutex_t lock; /* of child[].pid and .pidfd */
	int lock_fd;	      /* the pool's */
	int sigfd;
	int eventfd; /* the last client has gone */
	bool has_starter;
	bool signalled; /* to end, whoever is there */
	bool ending;	/* the last checkpoint is to be made */
};

/* --- what the coordinator asks -------------------------------------- */

static int open_net(void *arg, struct fab_net **out)
{
	struct super *s = arg;

	return fab_shm_open(&s->key, out);
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
		if (!program_ended(s->child[id].pidfd, FENCE_MS))
			rc = -ETIMEDOUT;
	}
	pthread_mutex_unlock(&s->lock);
	return rc;
}

static bool node_is_stopped(void *arg, uint32_t id)
{
	struct super *s = arg;
	bool stopped;

	pthread_mutex_lock(&s->lock);
	stopped = s->child[id].pid != 0 && program_stopped(s->child[id].pid);
	pthread_mutex_unlock(&s->lock);
	return stopped;
}

static bool client_is_stopped(void *arg, int32_t pid)
{
	return program_stopped(pid);
}

static bool may_end_client(void *arg, int32_t pid)
{
	bool may = program_killable(pid);

	if (!may)
		say_err("process %d wants to use the pool but could not be "
			"ended by its supervisor: refused",
			pid);
	return may;
}

static int kill_client(void *arg, int32_t pid)
{
	say_err("client %d did not follow the pool's view: killing it", pid);
	return program_kill(pid, FENCE_MS);
}

static int commit(void *arg, const struct coord_counters *at)
{
	struct super *s = arg;

	return pooldir_commit(s->is.dir, at);
}

static void on_cut(void *arg)
{
	struct super *s = arg;

	pooldir_cut(s->is.dir);
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
	struct layout_super head = s->is.head;

	head.node = id;
	if (send(s->child[id].link, &head, sizeof(head), MSG_NOSIGNAL) !=
	    (ssize_t)sizeof(head))
		return -EPIPE;
	return 0;
}

static int start_node(struct super *s, uint32_t id)
{
	struct child *c = &s->child[id];
	char number[16], life[16], dir[POOLDIR_PATH_BYTES], region[32];
	char ckpt[16], rate[24], readers[16];
	char *argv[24] = {
		"aceso-node", "--pool",		s->place.name, "--id",
		number,	      "--life",		life,	       "--ckpt-ms",
		ckpt,	      "--rebuild-rate", rate};
	int rc = 0, n = 11;

	snprintf(number, sizeof(number), "%u", id);
	snprintf(life, sizeof(life), "%u", c->life);
	snprintf(ckpt, sizeof(ckpt), "%u", s->opts->pool.ckpt_ms);
	snprintf(rate, sizeof(rate), "%" PRIu64, s->opts->pool.rebuild_rate);
	if (s->opts->foreground)
		argv[n++] = "--foreground";
	if (s->opts->pool.readers != 0) {
		snprintf(readers, sizeof(readers), "%u", s->opts->pool.readers);
		argv[n++] = "--readers";
		argv[n++] = readers;
	}
	if (s->is.dir != NULL) {
		if (c->life > 0)
			rc = pooldir_renew(s->is.dir, id);
		if (rc != 0)
			return rc;
		pooldir_node(s->is.dir, id, dir, region);
		argv[n++] = "--dir";
		argv[n++] = dir;
		argv[n++] = "--region";
		argv[n++] = region;
		if (s->is.restarted && c->life == 0)
			argv[n++] = "--keep";
	}
	pool_node_sock(&s->place, id, c->life++, c->address);
	pthread_mutex_lock(&s->lock);
	rc = program_start(s->program, argv, s->opts->foreground, &c->pid,
			   &c->pidfd, &c->link);
	if (rc < 0)
		c->pid = 0;
	pthread_mutex_unlock(&s->lock);
	if (rc < 0)
		return rc;
	if (s->children <= id)
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
	uint32_t n = s->is.head.layout.group.nodes;
	int rc;

	rc = program_find("aceso-node", s->program);
	for (uint32_t id = 0; rc == 0 && id < n; id++)
		rc = start_node(s, id);
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
	c->starting = false;
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

static int start_coord(struct super *s)
{
	const char *address[FAB_NODES_MAX];
	int32_t pid[FAB_NODES_MAX];
	struct coord_opts o = {
		.pool = s->place.name,
		.transport = "shm",
		.super = s->is.head,
		.address = s->place.sock,
		.node_address = address,
		.node_pid = pid,
		.threads = true,
		.key = &s->key,
		.net = open_net,
		.arg = s,
		.node_is_alive = node_is_alive,
		.kill_node = kill_node,
		.kill_client = kill_client,
		.node_is_stopped = node_is_stopped,
		.client_is_stopped = client_is_stopped,
		.may_end_client = may_end_client,
		.on_last_client_gone = on_last_client_gone,
		.readers = s->opts->pool.readers,
	};

	if (s->is.dir != NULL) {
		o.persistent = true;
		o.dir = s->opts->pool.dir; /* lives as long as we do */
		o.durable_ms = s->opts->pool.durable_ms;
		o.counters = pooldir_file(s->is.dir)->at;
		o.commit = commit;
		o.on_cut = on_cut;
	}
	for (uint32_t id = 0; id < s->children; id++) {
		address[id] = s->child[id].address;
		pid[id] = s->child[id].pid;
	}
	return coord_open(&o, &s->coord);
}

static int make_events(struct super *s)
{
	s->sigfd = signals_open();
	if (s->sigfd < 0)
		return s->sigfd;
	s->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return s->eventfd < 0 ? -errno : 0;
}

static int start(struct super *s, char *error)
{
	int rc = make_events(s);

	if (rc < 0) {
		snprintf(error, PROGRAM_LINE_BYTES_MAX,
			 "signals cannot be set up: %s", strerror(-rc));
		return rc;
	}
	rc = lay_out(&s->opts->pool, &s->is, error);
	if (rc < 0)
		return rc;
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

/* --- nodes that died are started again ------------------------------ */

static void node_died(struct super *s, uint32_t id)
{
	struct child *c = &s->child[id];

	reap(s, id, false);
	unlink(c->address);
	coord_node_died(s->coord, id);
	if (s->opts->pool.respawn || s->ending)
		respawn_died(&c->again, now_ms());
}

/* It says that it is ready, or why it is not (and then it ends). */
static void node_speaks(struct super *s, uint32_t id)
{
	char error[PROGRAM_LINE_BYTES_MAX];
	struct child *c = &s->child[id];

	c->starting = false;
	if (await_node(s, id, error) == 0)
		coord_node_came(s->coord, id, c->address, c->pid);
	else
		say_err("%s", error);
}

static void respawn(struct super *s, uint32_t id)
{
	struct child *c = &s->child[id];
	int rc = start_node(s, id);

	respawn_began(&c->again, now_ms());
	if (rc < 0 && c->pid == 0) {
		say_err("memory node %u cannot be started again: %s", id,
			strerror(-rc));
		respawn_died(&c->again, now_ms());
		return;
	}
	c->starting = true;
	c->starting_ms = now_ms();
}

/* It hangs before it has begun. Its pidfd tells when it is dead. */
static void give_up(struct super *s, uint32_t id)
{
	say_err("memory node %u hung while it started: killing it", id);
	s->child[id].starting = false;
	kill(s->child[id].pid, SIGKILL);
}

/* Do what is due; how long until something else is, -1: for ever. */
static int64_t tend_node(struct super *s, uint32_t id)
{
	struct child *c = &s->child[id];
	int64_t now = now_ms();

	if (c->pid == 0) {
		if (respawn_in(&c->again, now) == 0)
			respawn(s, id);
		return respawn_in(&c->again, now);
	}
	if (!c->starting)
		return -1;
	if (now - c->starting_ms < NODE_READY_MS)
		return NODE_READY_MS - (now - c->starting_ms);
	give_up(s, id);
	return -1;
}

static int64_t tend_nodes(struct super *s)
{
	int64_t first = -1;

	for (uint32_t id = 0; id < s->children; id++) {
		int64_t ms = tend_node(s, id);

		if (ms >= 0 && (first < 0 || ms < first))
			first = ms;
	}
	return first;
}

/* --- the life of the pool ------------------------------------------- */

/* pollfd 0, 1 and 2; those of the nodes follow: their pidfds, and the links of
 * those that start. */
enum { ON_SIGNAL, ON_GONE, ON_STARTER, ON_NODES };
#define POLLS_MAX (ON_NODES + 2 * FAB_NODES_MAX)

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
		if (!s->child[i].starting)
			continue;
		id[n] = i;
		p[n++] = (struct pollfd){s->child[i].link, POLLIN, 0};
	}
	return n;
}

/* A node that says something and dies has both in one round. */
static void node_event(struct super *s, uint32_t id, const struct pollfd *p)
{
	struct child *c = &s->child[id];

	if (p->revents == 0 || c->pid == 0)
		return;
	if (p->fd == c->pidfd)
		node_died(s, id);
	else if (c->starting)
		node_speaks(s, id);
}

/* For poll(2): until the pool's end may be due, or a node's start. */
static int patience(struct super *s, bool idle)
{
	int64_t ms = tend_nodes(s);

	if (idle && (ms < 0 || ms > s->opts->grace_ms))
		return (int)s->opts->grace_ms;
	return (int)ms;
}

/* A second signal is one more. */
static void take_signal(struct super *s)
{
	struct signalfd_siginfo ignored;

	s->signalled = true;
	(void)!read(s->sigfd, &ignored, sizeof(ignored));
}

/* Returns true when the pool is to end. Waits no longer than @most_ms (-1: as
 * long as nothing happens). */
static bool wait_once(struct super *s, int most_ms)
{
	struct pollfd p[POLLS_MAX];
	uint32_t id[POLLS_MAX];
	bool idle = !s->has_starter && coord_clients(s->coord) == 0;
	int ms = patience(s, idle); /* may start some: then gather */
	int n = gather(s, p, id);
	int rc = poll(p, (nfds_t)n,
		      most_ms >= 0 && (ms < 0 || ms > most_ms) ? most_ms : ms);
	eventfd_t ignored;

	if (rc < 0)
		return false; /* EINTR */
	if (rc == 0)
		return idle && ms == (int)s->opts->grace_ms &&
		       coord_clients(s->coord) == 0;
	if (p[ON_SIGNAL].revents != 0) {
		take_signal(s);
		return true;
	}
	if (p[ON_GONE].revents != 0)
		eventfd_read(s->eventfd, &ignored);
	if (p[ON_STARTER].revents != 0) {
		s->has_starter = false;
		close(PROGRAM_LINK_FD);
	}
	for (int i = ON_NODES; i < n; i++)
		node_event(s, id[i], &p[i]);
	return false;
}

/* Those that are away are needed at once, even if they were to stay away: there
 * is no checkpoint without them. */
static void recall_nodes(struct super *s)
{
	s->ending = true;
	for (uint32_t id = 0; id < s->children; id++)
		if (s->child[id].pid == 0)
			respawn_now(&s->child[id].again, now_ms());
}

/* Nobody has told it to end, and it is used again. */
static bool is_wanted(struct super *s)
{
	return !s->signalled && coord_clients(s->coord) != 0;
}

/* Make the last durable checkpoint. Nodes that die meanwhile are replaced. */
static int persist(struct super *s, struct persist *p)
{
	int rc;

	persist_begin(p, s->coord, s->opts->pool.dir);
	recall_nodes(s);
	do {
		rc = persist_step(p);
		wait_once(s, 0);
	} while (rc == -EINPROGRESS && !is_wanted(s));
	s->ending = false;
	return rc;
}

/* False: somebody came in the meantime, to whom the pool is still what it was.
 */
static bool settle(struct super *s)
{
	struct persist p;
	int rc;

	if (s->is.dir == NULL)
		return true;
	pooldir_ending(s->is.dir, true);
	rc = persist(s, &p);
	if (is_wanted(s)) {
		pooldir_ending(s->is.dir, false);
		return false;
	}
	if (rc != 0)
		persist_say_lost(&p, rc);
	return true;
}

static int run(struct super *s)
{
	char error[PROGRAM_LINE_BYTES_MAX] = "";
	int rc = start(s, error);

	if (rc == 0) {
		program_tell(PROGRAM_LINK_FD, "ready", s->place.sock);
		do
			while (!wait_once(s, -1))
				;
		while (!settle(s));
	}
	stop_nodes(s);
	pooldir_close(s->is.dir);
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

static void say_log(void *arg, enum log_level level, const char *line)
{
	say_err("%s", line);
}

int supervise(const struct supervise_opts *opts)
{
	struct super s = {.opts = opts, .has_starter = true};
	int rc;

	assert(opts->pool.nodes <= FAB_NODES_MAX);
	log_to(say_log, NULL); /* the coordinator's lines */
	pthread_mutex_init(&s.lock, NULL);
	rc = pool_place(opts->pool.name, &s.place);
	if (rc == 0)
		rc = pool_take(&s.place, &s.lock_fd);
	if (rc < 0)
		return refuse(&s.place, rc);
	rc = pool_key_make(&s.place, opts->pool.readers, &s.key);
	if (rc < 0) {
		pool_remove(&s.place, s.lock_fd);
		return refuse(&s.place, rc);
	}
	rc = run(&s);
	explicit_bzero(&s.key, sizeof(s.key));
	return rc;
}
