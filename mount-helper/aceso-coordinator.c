/* mount-helper/aceso-coordinator.c - the coordinator of a pool over several
 * hosts: aceso-coordinator(8). aceso pool serve starts it. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "kv/log.h"
#include "kv/node/coord.h"
#include "kv/node/viewstore.h"
#include "kv/proto.h"
#include "mount-helper/args.h"
#include "mount-helper/exitcode.h"
#include "mount-helper/poolconf.h"
#include "mount-helper/program.h"
#include "mount-helper/say.h"
#include "mount-helper/signals.h"
#include "mount-helper/size.h"
#include "mount-helper/zkstore.h"

#define LEAD_MS 500u /* looks after signals so often while it waits */

struct args {
	const char *pool;
	uint32_t id;
	bool foreground, linked;
};

struct seat {
	struct poolconf conf;
	struct coord *coord;
	struct viewstore *store;
	char address[PROTO_ADDRESS_BYTES];
	char coords[POOLCONF_LIST_BYTES];
	char error[CONF_ERROR_BYTES_MAX];
	int sigfd;
	int deposedfd; /* eventfd: another leads, or is to */
};

static const struct option longs[] = {
	{"pool", required_argument, NULL, 'p'},
	{"id", required_argument, NULL, 'i'},
	{"foreground", no_argument, NULL, 'f'},
	{"version", no_argument, NULL, 'V'},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

static void usage(FILE *f)
{
	fputs("usage: aceso-coordinator --pool NAME [--id N] [--foreground]\n"
	      "Coordinator N (0) of a pool over several hosts, as its file "
	      "says: pool.conf(5).\naceso pool serve starts it; see "
	      "aceso-coordinator(8).\n",
	      f);
}

static int take(void *arg, int letter, const char *value)
{
	struct args *a = arg;

	switch (letter) {
	case 'p':
		a->pool = value;
		return conf_check_name(value);
	case 'i':
		return size_parse_count(value, 0, POOLCONF_COORDS_MAX - 1,
					&a->id);
	case 'f':
		a->foreground = true;
		return 0;
	}
	return -EINVAL;
}

static int parse(struct args *a, int argc, char **argv)
{
	static const struct args_form form = {.program = "aceso-coordinator",
					      .longs = longs,
					      .usage = usage,
					      .take = take};
	int rc = args_parse(&form, a, argc, argv);

	return rc < 0 || a->pool != NULL ? rc : -EINVAL;
}

static int open_net(void *arg, struct fab_net **out)
{
	struct seat *s = arg;

	return fab_any_open(&s->conf.key, out);
}

static int make_events(struct seat *s)
{
	s->sigfd = signals_open();
	if (s->sigfd < 0)
		return s->sigfd;
	s->deposedfd = eventfd(0, EFD_CLOEXEC);
	return s->deposedfd < 0 ? -errno : 0;
}

static void on_deposed(void *arg)
{
	struct seat *s = arg;

	eventfd_write(s->deposedfd, 1);
}

static void tell(const struct args *a, const char *word, const char *text)
{
	if (a->linked)
		program_tell(PROGRAM_LINK_FD, word, text);
}

/* It was told to end: a signal, or who started it is gone. */
static bool is_ended(struct seat *s, const struct args *a)
{
	struct pollfd p[] = {{s->sigfd, POLLIN, 0},
			     {a->linked ? PROGRAM_LINK_FD : -1, POLLIN, 0}};

	return poll(p, 2, 0) > 0;
}

/* Until it leads, which is only when all before it are gone. */
static int wait_to_lead(struct seat *s, const struct args *a)
{
	int rc;

	do {
		if (is_ended(s, a))
			return -ECANCELED;
		rc = zkstore_lead(s->store, LEAD_MS);
	} while (rc == -ETIMEDOUT);
	if (rc == -EACCES)
		snprintf(s->error, sizeof(s->error),
			 "ZooKeeper (%.200s) keeps /aceso/%s for another key "
			 "than that of %.200s",
			 s->conf.zookeeper, s->conf.name, s->conf.path);
	else if (rc < 0)
		snprintf(s->error, sizeof(s->error),
			 "its session with ZooKeeper (%.200s) has ended: %s",
			 s->conf.zookeeper, strerror(-rc));
	return rc;
}

static int open_zookeeper(struct seat *s, const struct args *a)
{
	int rc = zkstore_open(s->conf.zookeeper, s->conf.name, &s->conf.key,
			      ZKSTORE_SESSION_MS, &s->store);

	if (rc < 0) {
		snprintf(s->error, sizeof(s->error),
			 "ZooKeeper's servers '%.200s' make no sense: %s",
			 s->conf.zookeeper, strerror(-rc));
		return rc;
	}
	tell(a, "ready", "it waits to lead");
	return wait_to_lead(s, a);
}

/* What it must not forget: $ACESO_STATE_DIR/NAME, /var/lib/aceso/NAME. */
static int open_file(struct seat *s)
{
	const char *base = getenv("ACESO_STATE_DIR");
	char dir[POOLCONF_PATH_BYTES];
	int rc = -ENAMETOOLONG;

	if (base == NULL || base[0] != '/')
		base = "/var/lib/aceso";
	if (snprintf(dir, sizeof(dir), "%s/%s", base, s->conf.name) <
	    (int)sizeof(dir))
		rc = viewstore_file_open(dir, &s->store);
	if (rc == -EBUSY)
		snprintf(s->error, sizeof(s->error),
			 "another coordinator of pool %s runs on this host",
			 s->conf.name);
	else if (rc < 0)
		snprintf(s->error, sizeof(s->error),
			 "its state cannot be kept in %.200s/%s: %s", base,
			 s->conf.name, strerror(-rc));
	return rc;
}

static int open_coord(struct seat *s, const struct args *a)
{
	struct coord_opts o = {
		.pool = s->conf.name,
		.transport = "tcp",
		.address = s->address,
		.coords = s->coords,
		.key = &s->conf.key,
		.lease_ms = s->conf.lease_ms,
		.threads = true,
		.remote = true,
		.store = s->store,
		.on_deposed = on_deposed,
		.on_no_way = on_deposed,
		.net = open_net,
		.arg = s,
	};
	int rc = poolconf_super(&s->conf, &o.super, s->error);

	if (rc < 0)
		return rc;
	poolconf_address("tcp", &s->conf.coord[a->id], s->address,
			 sizeof(s->address));
	poolconf_coords(&s->conf, s->coords);
	rc = coord_open(&o, &s->coord);
	if (rc < 0)
		snprintf(s->error, sizeof(s->error),
			 "it cannot serve at %s: %s", s->address,
			 strerror(-rc));
	return rc;
}

static int start(struct seat *s, const struct args *a)
{
	int rc = poolconf_load(a->pool, &s->conf, s->error);

	if (rc < 0)
		return rc;
	if (a->id >= s->conf.coords) {
		snprintf(s->error, sizeof(s->error),
			 "%.300s has no coordinator %u", s->conf.path, a->id);
		return -ENOENT;
	}
	rc = make_events(s);
	if (rc < 0) {
		snprintf(s->error, sizeof(s->error),
			 "signals cannot be set up: %s", strerror(-rc));
		return rc;
	}
	rc = s->conf.zookeeper[0] != '\0' ? open_zookeeper(s, a) : open_file(s);
	if (rc == 0)
		rc = open_coord(s, a);
	if (rc < 0)
		viewstore_close(s->store);
	return rc;
}

/* Until a signal comes, another leads, or who started it is gone. */
static void run(struct seat *s, const struct args *a)
{
	struct pollfd p[] = {{s->sigfd, POLLIN, 0},
			     {s->deposedfd, POLLIN, 0},
			     {a->linked ? PROGRAM_LINK_FD : -1, POLLIN, 0}};

	while (poll(p, 3, -1) < 0)
		; /* EINTR */
}

static void say_log(void *arg, enum log_level level, const char *line)
{
	if (level == LOG_ERROR)
		say_err("%s", line);
	else
		say_info("%s", line);
}

int main(int argc, char **argv)
{
	static struct seat s;
	struct args a = {0};
	int rc;

	program_open_std();
	say_init("aceso-coordinator");
	if (parse(&a, argc, argv) < 0) {
		usage(stderr);
		return EXIT_USAGE;
	}
	a.linked = program_is_linked();
	program_raise_files();
	if (!a.foreground && a.linked)
		say_to_syslog();
	log_to(say_log, NULL);
	rc = start(&s, &a);
	if (rc == -ECANCELED)
		return EXIT_OK; /* before it ever led */
	if (rc < 0) {
		tell(&a, "error", s.error);
		say_err("%s", s.error);
		return EXIT_SYS;
	}
	if (s.conf.zookeeper[0] == '\0')
		tell(&a, "ready", s.address);
	else
		say_info("coordinator %u leads pool %s", a.id, s.conf.name);
	run(&s, &a);
	coord_close(s.coord);
	viewstore_close(s.store);
	return EXIT_OK;
}
