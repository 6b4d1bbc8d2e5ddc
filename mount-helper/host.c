/* mount-helper/host.c - see host.h. */
#include "mount-helper/host.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "mount-helper/clock.h"
#include "mount-helper/cmd.h"
#include "mount-helper/host_names.h"
#include "mount-helper/poolconf.h"
#include "mount-helper/program.h"
#include "mount-helper/respawn.h"
#include "mount-helper/say.h"
#include "mount-helper/signals.h"

#define CHILDREN_MAX (FAB_NODES_MAX + POOLCONF_COORDS_MAX)
#define READY_MS     30000 /* a node maps and clears its memory first */
#define STOP_MS	     5000
#define KILL_MS	     5000

struct child {
	bool node; /* else a coordinator */
	uint32_t id;
	pid_t pid; /* 0: not running */
	int pidfd, link;
	bool ready;	     /* it said so */
	int64_t starting_ms; /* when it was started */
	struct respawn again;
};

struct host {
	const struct host_opts *opts;
	struct poolconf conf;
	struct host_names names;
	struct child child[CHILDREN_MAX];
	uint32_t children;
	char node_program[PATH_MAX], coord_program[PATH_MAX];
	int sigfd;
	uint64_t watchdog_us; /* 0: nobody watches */
	bool told_ready;
};

static const char *what(const struct child *c)
{
	return c->node ? "memory node" : "coordinator";
}

/* --- which are ours ------------------------------------------------------- */

static void add(struct host *h, bool node, uint32_t id)
{
	h->child[h->children++] = (struct child){.node = node, .id = id};
}

/* A host that nobody knows is none of ours, but its name may be wrong. */
static bool is_ours(const struct host *h, bool node, uint32_t id)
{
	const struct poolconf_place *at =
		node ? &h->conf.node[id] : &h->conf.coord[id];
	uint64_t only = node ? h->opts->nodes : h->opts->coords;
	enum host_where where;

	if (h->opts->only)
		return only >> id & 1;
	where = host_names_where(&h->names, at->host);
	if (where == HOST_NOWHERE)
		say_err("%s: host %s of %s %u cannot be found: see "
			"/etc/hosts, or the DNS",
			h->conf.path, at->host, node ? "node" : "coordinator",
			id);
	return where == HOST_LOOPBACK || where == HOST_HERE;
}

/* Where others would look for it in vain, it does not begin. */
static int check_names(const struct host *h)
{
	const struct host_name *shut = host_names_shut(&h->names);
	char found[HOST_NAMES_WORDS_MAX], mend[POOLCONF_PATH_BYTES + 160];

	if (shut == NULL)
		return 0;
	host_names_found(shut, found);
	host_names_mend(&h->names, shut, h->conf.path, mend, sizeof(mend));
	say_err("%s: %s", found, mend);
	return -EADDRNOTAVAIL;
}

static int choose(struct host *h)
{
	for (uint32_t i = 0; i < h->conf.coords; i++)
		if (is_ours(h, false, i))
			add(h, false, i);
	for (uint32_t i = 0; i < h->conf.nodes; i++)
		if (is_ours(h, true, i))
			add(h, true, i);
	if (h->children > 0)
		return 0;
	say_err("%s gives nothing to this host: none of its [nodes] and "
		"[coordinators] has an address of it; --only node:N chooses by "
		"hand",
		h->conf.path);
	return -ENOENT;
}

static int check_only(const struct host *h)
{
	const struct host_opts *o = h->opts;

	if (!o->only || (o->nodes >> h->conf.nodes == 0 &&
			 o->coords >> h->conf.coords == 0))
		return 0;
	say_err("%s has nodes 0 to %u and coordinators 0 to %u: --only names "
		"another",
		h->conf.path, h->conf.nodes - 1, h->conf.coords - 1);
	return -EINVAL;
}

/* --- children ------------------------------------------------------------- */

static void start(struct host *h, struct child *c)
{
	char id[16];
	char *argv[] = {c->node ? "aceso-node" : "aceso-coordinator",
			"--pool",
			h->conf.name,
			"--id",
			id,
			"--foreground",
			c->node ? "--hosts" : NULL,
			NULL};
	int rc;

	snprintf(id, sizeof(id), "%u", c->id);
	respawn_began(&c->again, now_ms());
	rc = program_start(c->node ? h->node_program : h->coord_program, argv,
			   true, &c->pid, &c->pidfd, &c->link);
	if (rc < 0) {
		c->pid = 0;
		say_err("%s %u cannot be started: %s", what(c), c->id,
			strerror(-rc));
		respawn_died(&c->again, now_ms());
		return;
	}
	c->ready = false;
	c->starting_ms = now_ms();
}

static void say_end(const struct child *c, int status)
{
	if (WIFSIGNALED(status))
		say_err("%s %u (pid %d) died of signal %d", what(c), c->id,
			(int)c->pid, WTERMSIG(status));
	else
		say_err("%s %u (pid %d) ended with code %d", what(c), c->id,
			(int)c->pid, WEXITSTATUS(status));
}

static void reap(struct child *c, bool expected)
{
	int status = 0;

	waitpid(c->pid, &status, 0);
	if (!expected)
		say_end(c, status);
	close(c->pidfd);
	close(c->link);
	c->pid = 0;
	c->ready = false;
}

/* Its one line; it says itself what went wrong, as it has our stderr. */
static void listen_to(struct child *c)
{
	char line[PROGRAM_LINE_BYTES_MAX];

	c->ready = program_line(c->link, line, 0) == 0 &&
		   strncmp(line, "ready", 5) == 0;
	if (!c->ready) /* it ends; its pidfd will tell */
		c->starting_ms = INT64_MAX;
}

/* Do what is due; how long until something else is, -1: for ever. */
static int64_t tend(struct host *h, struct child *c)
{
	int64_t now = now_ms(), waited;

	if (c->pid == 0 && respawn_in(&c->again, now) == 0)
		start(h, c);
	if (c->pid == 0)
		return respawn_in(&c->again, now);
	if (c->ready || c->starting_ms == INT64_MAX)
		return -1;
	waited = now - c->starting_ms;
	if (waited < READY_MS)
		return READY_MS - waited;
	say_err("%s %u hung while it started: killing it", what(c), c->id);
	c->starting_ms = INT64_MAX;
	kill(c->pid, SIGKILL);
	return -1;
}

static void stop_all(struct host *h)
{
	int64_t end = now_ms() + STOP_MS, left;

	for (uint32_t i = 0; i < h->children; i++)
		if (h->child[i].pid != 0)
			kill(h->child[i].pid, SIGTERM);
	for (uint32_t i = 0; i < h->children; i++) {
		struct child *c = &h->child[i];

		if (c->pid == 0)
			continue;
		left = end - now_ms();
		if (!program_ended(c->pidfd, left > 0 ? (int)left : 0)) {
			say_err("%s %u does not end: killing it", what(c),
				c->id);
			kill(c->pid, SIGKILL);
			program_ended(c->pidfd, KILL_MS);
		}
		reap(c, true);
	}
}

/* --- systemd -------------------------------------------------------------- */

static void tell_systemd(struct host *h)
{
	uint32_t ready = 0;

	for (uint32_t i = 0; i < h->children; i++)
		ready += h->child[i].ready;
	sd_notifyf(0, "STATUS=%u of %u processes serve", ready, h->children);
	if (ready < h->children || h->told_ready)
		return;
	h->told_ready = true;
	say_info("pool %s: %u processes of this host serve", h->conf.name,
		 ready);
	sd_notify(0, "READY=1");
}

static int watch_ms(const struct host *h)
{
	return h->watchdog_us == 0 ? -1 : (int)(h->watchdog_us / 3000);
}

/* --- its life ------------------------------------------------------------- */

static int64_t least(int64_t a, int64_t b)
{
	return a < 0 || (b >= 0 && b < a) ? b : a;
}

/* pollfd 0 is the signals'; then two for each child. */
static void gather(struct host *h, struct pollfd *p)
{
	p[0] = (struct pollfd){h->sigfd, POLLIN, 0};
	for (uint32_t i = 0; i < h->children; i++) {
		struct child *c = &h->child[i];
		bool speaks =
			c->pid != 0 && !c->ready && c->starting_ms != INT64_MAX;

		p[1 + 2 * i] =
			(struct pollfd){c->pid != 0 ? c->pidfd : -1, POLLIN, 0};
		p[2 + 2 * i] =
			(struct pollfd){speaks ? c->link : -1, POLLIN, 0};
	}
}

static void take_events(struct host *h, const struct pollfd *p)
{
	bool any = false;

	for (uint32_t i = 0; i < h->children; i++) {
		struct child *c = &h->child[i];

		any |= p[1 + 2 * i].revents != 0 || p[2 + 2 * i].revents != 0;
		if (p[2 + 2 * i].revents != 0)
			listen_to(c);
		if (p[1 + 2 * i].revents != 0) {
			reap(c, false);
			respawn_died(&c->again, now_ms());
		}
	}
	if (any)
		tell_systemd(h);
}

static void run(struct host *h)
{
	struct pollfd p[1 + 2 * CHILDREN_MAX];

	for (;;) {
		int64_t wait = watch_ms(h);

		if (h->watchdog_us != 0)
			sd_notify(0, "WATCHDOG=1");
		for (uint32_t i = 0; i < h->children; i++)
			wait = least(wait, tend(h, &h->child[i]));
		gather(h, p);
		if (poll(p, 1 + 2 * h->children, (int)wait) <= 0)
			continue;
		if (p[0].revents != 0)
			return;
		take_events(h, p);
	}
}

static int find_programs(struct host *h)
{
	int rc = program_find("aceso-node", h->node_program);

	if (rc == 0)
		rc = program_find("aceso-coordinator", h->coord_program);
	if (rc != 0)
		say_err("aceso-node and aceso-coordinator are not installed "
			"beside aceso: run make install");
	return rc;
}

static int begin(struct host *h)
{
	struct layout_super ignored;
	char error[CONF_ERROR_BYTES_MAX];
	int rc = poolconf_load(h->opts->pool, &h->conf, error);

	if (rc == 0)
		rc = poolconf_super(&h->conf, &ignored, error);
	if (rc != 0) {
		say_err("%s", error);
		return rc;
	}
	rc = check_only(h);
	if (rc == 0) {
		host_names_look(&h->conf, &h->names);
		rc = check_names(h);
	}
	if (rc == 0)
		rc = choose(h);
	if (rc == 0)
		rc = find_programs(h);
	if (rc < 0)
		return rc;
	h->sigfd = signals_open();
	return h->sigfd < 0 ? h->sigfd : 0;
}

int host_serve(const struct host_opts *opts)
{
	static struct host h;

	h = (struct host){.opts = opts};
	if (begin(&h) != 0)
		return CMD_FAIL;
	if (sd_watchdog_enabled(0, &h.watchdog_us) <= 0)
		h.watchdog_us = 0;
	program_raise_files();
	for (uint32_t i = 0; i < h.children; i++)
		start(&h, &h.child[i]);
	run(&h);
	sd_notify(0, "STOPPING=1");
	stop_all(&h);
	return CMD_OK;
}
