/* mount-helper/cmd_pools.c - aceso pools, stop. */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mount-helper/ask.h"
#include "mount-helper/cmd.h"
#include "mount-helper/mnt.h"
#include "mount-helper/pool_hosts.h"
#include "mount-helper/say.h"

#define END_MS	15000 /* how long a pool may take to end */
#define STEP_MS 50

/* --- pools ---------------------------------------------------------- */

static int print_mount(void *arg, pid_t pid, const char *sock)
{
	json_t *o;

	if (ask_status(sock, &o) < 0)
		return 0;
	printf(" %s", cmd_text(o, "mountpoint"));
	json_decref(o);
	return 0;
}

/* Over several hosts, or root's. */
static bool is_elsewhere(const struct pool_place *p)
{
	struct pool_place found;

	return poolconf_exists(p->name) || (pool_find(p->name, &found) == 0 &&
					    pool_supervisor(&found) != 0);
}

static int print_pool(void *arg, const struct pool_place *p)
{
	pid_t pid = pool_supervisor(p);
	const char *state = "dead", *code = "-";
	json_t *o = NULL;

	if (pid == 0 && is_elsewhere(p))
		return 0; /* a directory of mounts alone */
	if (pid != 0 && ask_pool(p, &o) == 0) {
		state = cmd_text(o, "redundancy");
		code = cmd_text(o, "code");
	} else if (pid != 0) {
		state = "starting";
	} else if (pool_has_nodes(p)) {
		state = "orphaned"; /* ends with its last mount */
	}
	printf("%-24s %8d %-6s %-9s", p->name, (int)pid, code, state);
	pool_each_mount(p, print_mount, NULL);
	putchar('\n');
	json_decref(o);
	return 0;
}

/* A pool over several hosts: no process of this one has it. */
static int print_hosts(void *arg, const char *name)
{
	char error[CONF_ERROR_BYTES_MAX];
	const char *state = "away", *code = "-";
	struct pool_place p;
	json_t *o = NULL;

	if (pool_place(name, &p) < 0 || pool_supervisor(&p) != 0)
		return 0;
	if (pool_hosts(&p, error) < 0) {
		state = "unknown"; /* its file or key cannot be read */
	} else if (ask_pool(&p, &o) == 0) {
		state = cmd_text(o, "redundancy");
		code = cmd_text(o, "code");
	}
	printf("%-24s %8s %-6s %-9s", name, "hosts", code, state);
	pool_each_mount(&p, print_mount, NULL);
	putchar('\n');
	json_decref(o);
	return 0;
}

int cmd_pools(const char *pool, int argc, char **argv)
{
	if (argc > 1)
		return cmd_usage("pools");
	printf("%-24s %8s %-6s %-9s %s\n", "pool", "pid", "code", "state",
	       "mounts");
	if (pool_each(print_pool, NULL) < 0)
		return CMD_FAIL;
	pool_hosts_each(print_hosts, NULL);
	return CMD_OK;
}

/* --- unmounting ----------------------------------------------------- */

struct busy {
	const char *dir;
	unsigned holders; /* that we can see */
};

static int print_holder(void *arg, pid_t pid, const char *name,
			const char *what)
{
	struct busy *b = arg;

	if (b->holders++ == 0)
		say_err("%s: busy: end what uses it, or say --lazy:", b->dir);
	fprintf(stderr, "  %d (%s) uses %s\n", (int)pid, name, what);
	return 0;
}

int cmd_unmount(const char *dir, bool lazy)
{
	struct busy b = {.dir = dir};
	int rc = mnt_unmount(dir, lazy);

	if (rc == 0)
		return CMD_OK;
	if (rc == -EBUSY) {
		mnt_holders(dir, print_holder, &b);
		if (b.holders == 0)
			say_err("%s: busy, by what this user cannot see (other "
				"users' processes, mounts inside it): say "
				"--lazy to detach it",
				dir);
	} else {
		say_err("%s: cannot be unmounted: %s", dir, strerror(-rc));
	}
	return CMD_FAIL;
}

static void sleep_step(void)
{
	struct timespec ts = {0, STEP_MS * 1000000L};

	nanosleep(&ts, NULL);
}

/* --- stop ----------------------------------------------------------- */

struct stop {
	bool force;
	int failed;
};

static int stop_mount(void *arg, pid_t pid, const char *sock)
{
	struct stop *s = arg;
	json_t *o;

	if (ask_status(sock, &o) < 0)
		return 0; /* left by a mount that was killed */
	if (cmd_unmount(cmd_text(o, "mountpoint"), s->force) != CMD_OK)
		s->failed = CMD_FAIL;
	json_decref(o);
	return 0;
}

static bool ended(const struct pool_place *p, int ms)
{
	for (; ms > 0 && pool_supervisor(p) != 0; ms -= STEP_MS)
		sleep_step();
	return pool_supervisor(p) == 0;
}

/* The mounts are gone: the pool ends by itself, or else it is told to. */
static int end(const struct pool_place *p)
{
	pid_t pid;

	if (ended(p, END_MS / 3))
		return CMD_OK;
	pid = pool_supervisor(p);
	if (pid > 1)
		kill(pid, SIGTERM);
	if (ended(p, END_MS))
		return CMD_OK;
	say_err("pool %s does not end: its supervisor is pid %d", p->name,
		(int)pid);
	return CMD_FAIL;
}

int cmd_stop(const char *pool, int argc, char **argv)
{
	static const struct option longs[] = {
		{"force", no_argument, NULL, 'f'},
		{NULL, 0, NULL, 0},
	};
	struct stop s = {0};
	struct pool_place p;
	int letter, rc;

	while ((letter = getopt_long(argc, argv, "f", longs, NULL)) != -1) {
		if (letter == '?')
			return cmd_usage("stop");
		s.force = true;
	}
	if (argc - optind > 1)
		return cmd_usage("stop");
	rc = cmd_find(optind < argc ? argv[optind] : pool, &p);
	if (rc != 0)
		return rc;
	pool_each_mount(&p, stop_mount, &s);
	return s.failed != 0 ? s.failed : end(&p);
}
