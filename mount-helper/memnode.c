/* mount-helper/memnode.c - one memory node as a process. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ec/former.h"
#include "kv/node/disk.h"
#include "kv/node/node.h"
#include "mount-helper/exitcode.h"
#include "mount-helper/hostnode.h"
#include "mount-helper/memnode.h"
#include "mount-helper/pool.h"
#include "mount-helper/pool_key.h"
#include "mount-helper/program.h"
#include "mount-helper/say.h"
#include "mount-helper/signals.h"

/* Nodes are worth more than what uses them: the kernel takes others first. */
#define OOM_SCORE_ADJ "-500"

struct memnode {
	const struct memnode_opts *opts;
	struct pool_place place;
	char address[PROTO_ADDRESS_BYTES];
	struct layout_super head;
	void *region;
	int region_fd;
	struct disk_dir disk_dir; /* of a pool with a directory */
	struct disk disk;
	struct node *node;
	struct former *former; /* what its memory had when it was given up */
	struct fab_key key;    /* of a pool of this host */
	struct hostnode host;  /* of a pool over several hosts */
	struct come *come;
	char error[CONF_ERROR_BYTES_MAX];
	int sigfd;
	int stopfd; /* eventfd: asked to stop */
	int lonelyfd;
	int refusedfd; /* the pool has given this process up */
};

static int open_net(void *arg, struct fab_net **out)
{
	struct memnode *m = arg;

	return m->opts->hosts ? fab_any_open(&m->host.conf.key, out)
			      : fab_shm_open(&m->key, out);
}

static void on_lonely(void *arg)
{
	struct memnode *m = arg;

	eventfd_write(m->lonelyfd, 1);
}

static void on_stop(void *arg)
{
	struct memnode *m = arg;

	eventfd_write(m->stopfd, 1);
}

static void on_refused(void *arg)
{
	struct memnode *m = arg;

	eventfd_write(m->refusedfd, 1);
}

static void on_no_way(void *arg)
{
	struct memnode *m = arg;

	say_err("memory node %u ends: it cannot work with the others",
		m->opts->id);
	eventfd_write(m->stopfd, 1);
}

static void on_answer(void *arg, int rc, const struct proto_came *came)
{
	struct memnode *m = arg;

	if (rc == 0)
		say_info("memory node %u has reported to the coordinator",
			 m->opts->id);
	else if (rc != -ESTALE)
		say_err("memory node %u: no coordinator takes its report: %s",
			m->opts->id, strerror(-rc));
}

/* Only root may lower it; others go on without. */
static void shield(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	(void)!write(fd, OOM_SCORE_ADJ, sizeof(OOM_SCORE_ADJ) - 1);
	close(fd);
}

static int make_events(struct memnode *m)
{
	m->sigfd = signals_open();
	if (m->sigfd < 0)
		return m->sigfd;
	m->stopfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	m->lonelyfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	m->refusedfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return m->stopfd < 0 || m->lonelyfd < 0 || m->refusedfd < 0 ? -errno
								    : 0;
}

static int read_head(struct memnode *m)
{
	ssize_t n =
		recv(PROGRAM_LINK_FD, &m->head, sizeof(m->head), MSG_WAITALL);

	if (n < 0)
		return -errno;
	if (n != (ssize_t)sizeof(m->head) || m->head.magic != LAYOUT_MAGIC ||
	    m->head.version != LAYOUT_VERSION || m->head.node != m->opts->id)
		return -EPROTO;
	return 0;
}

/* Its memory is a file. */
static int open_file(struct memnode *m)
{
	struct disk_dir *d = &m->disk_dir;

	d->dirfd = open(m->opts->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d->dirfd < 0)
		return -errno;
	m->region_fd = openat(d->dirfd, m->opts->region, O_RDWR | O_CLOEXEC);
	if (m->region_fd < 0)
		return -errno;
	d->region_fd = m->region_fd;
	disk_of_dir(d, &m->disk);
	return fab_region_of_file(m->region_fd, m->head.layout.size,
				  &m->region);
}

/* All of it will be touched when it is registered. */
static int open_for_adapter(struct memnode *m, const char *name)
{
	struct proto_come *me = &m->host.come;
	size_t len = strlen(me->why);
	bool huge;
	int rc = fab_region_open_huge(name, m->head.layout.size, &m->region,
				      &m->region_fd, &huge);

	if (rc < 0)
		return rc;
	snprintf(me->why + len, sizeof(me->why) - len, "%s",
		 huge ? "; huge pages" : "; small pages");
	if (!huge)
		say_info("memory node %u: not enough huge pages are free "
			 "(vm.nr_hugepages): its memory has small ones",
			 m->opts->id);
	return 0;
}

static int open_region(struct memnode *m)
{
	char name[CONF_POOL_BYTES_MAX + 32];

	if (m->opts->dir != NULL)
		return open_file(m);
	snprintf(name, sizeof(name), "aceso-%s-%u", m->opts->pool, m->opts->id);
	if (m->host.verbs)
		return open_for_adapter(m, name);
	return fab_region_open(name, m->head.layout.size, &m->region,
			       &m->region_fd);
}

static int open_node(struct memnode *m)
{
	struct node_opts o = {
		.super = m->head,
		.region = m->region,
		.former = m->former,
		/* what an adapter knows by its pages must keep them */
		.region_fd = m->host.verbs ? -1 : m->region_fd,
		.keep = m->opts->keep,
		.disk = m->opts->dir != NULL ? &m->disk : NULL,
		.address = m->address,
		.net = open_net,
		.arg = m,
		.key = m->opts->hosts ? &m->host.conf.key : &m->key,
		.readers = m->opts->readers,
		.instance = m->host.come.instance,
		.on_lonely = on_lonely,
		.on_stop = on_stop,
		.on_no_way = on_no_way,
		.threads = true,
		.ckpt_ms = m->opts->hosts ? m->host.conf.ckpt_ms
					  : m->opts->ckpt_ms,
		.restore_bytes = m->opts->hosts ? m->host.conf.rebuild_rate
						: m->opts->rebuild_rate,
		.rest_ms = NODE_REST_MS,
	};

	return node_open(&o, &m->node);
}

/* The supervisor says what it is. */
static int brief_by_link(struct memnode *m, const char **what)
{
	int rc;

	*what = "its place cannot be named";
	rc = pool_place(m->opts->pool, &m->place);
	if (rc < 0)
		return rc;
	*what = "the pool's key cannot be read (an older aceso's supervisor "
		"makes none)";
	rc = pool_key_own(&m->place, &m->key);
	if (rc < 0)
		return rc;
	pool_node_sock(&m->place, m->opts->id, m->opts->life, m->address);
	*what = "no superblock on its link (it is started by the supervisor)";
	return read_head(m);
}

/* The pool's file does. */
static int brief_by_file(struct memnode *m, const char **what)
{
	int rc = hostnode_make(m->opts->pool, m->opts->id, &m->host, m->error);

	*what = m->error;
	m->head = m->host.super;
	strcpy(m->address, m->host.listen);
	return rc;
}

static int open_come(struct memnode *m)
{
	struct come_opts o = {
		.coords = m->host.coords,
		.me = m->host.come,
		.node = m->node,
		.threads = true,
		.net = open_net,
		.arg = m,
		.on_refused = on_refused,
		.on_answer = on_answer,
	};
	int rc = come_open(&o, &m->come);

	if (rc < 0) {
		node_close(m->node);
		m->node = NULL;
	}
	return rc;
}

/* On error *@what says what could not be done. */
static int start(struct memnode *m, const char **what)
{
	int rc;

	*what = "signals cannot be set up";
	rc = make_events(m);
	if (rc < 0)
		return rc;
	rc = m->opts->hosts ? brief_by_file(m, what) : brief_by_link(m, what);
	if (rc < 0)
		return rc;
	*what = "its memory cannot be had";
	rc = open_region(m);
	if (rc < 0)
		return rc;
	*what = "it cannot serve";
	rc = open_node(m);
	if (rc == 0 && m->opts->hosts)
		rc = open_come(m);
	if (rc < 0)
		fab_region_close(m->region, m->head.layout.size, m->region_fd);
	return rc;
}

/* Until it is told to end, or nobody needs it any more. */
static bool has_ended(struct memnode *m, bool kept, bool lonely)
{
	if (m->opts->hosts)
		return !kept;
	return node_lonely(m->node) && (lonely || !kept);
}

/* Returns true if it was given up. */
static bool run(struct memnode *m)
{
	struct pollfd p[] = {
		{m->sigfd, POLLIN, 0},
		{m->stopfd, POLLIN, 0},
		{m->lonelyfd, POLLIN, 0},
		{m->refusedfd, POLLIN, 0},
		{m->opts->linked ? PROGRAM_LINK_FD : -1, POLLIN, 0}};
	bool kept = true;
	eventfd_t ignored;

	for (;;) {
		if (poll(p, 5, -1) < 0)
			continue; /* EINTR */
		if (p[0].revents != 0 || p[1].revents != 0)
			return false;
		if (p[3].revents != 0)
			return true;
		if (p[2].revents != 0)
			eventfd_read(m->lonelyfd, &ignored);
		if (p[4].revents != 0)
			p[4].fd = -1; /* the supervisor is gone */
		kept = p[4].fd >= 0 || !m->opts->linked;
		if (has_ended(m, kept, p[2].revents != 0))
			return false;
	}
}

/* It has ended, but for its memory: what of that counts still? */
static int take_former(struct memnode *m)
{
	const struct layout *l = &m->head.layout;
	struct former *f;
	int rc = former_take(&l->group, m->opts->id, m->region, m->former, &f);

	if (rc < 0)
		return rc;
	former_close(m->former);
	m->former = f;
	former_clear(f, m->region, m->host.verbs ? -1 : m->region_fd, l->size);
	m->host.come.former = former_bytes(f) > 0;
	say_info("memory node %u comes back, with %" PRIu64
		 " MiB of what it had",
		 m->opts->id, former_bytes(f) >> 20);
	return 0;
}

/* As another process would, but for the memory. */
static int come_back(struct memnode *m)
{
	eventfd_t ignored;
	int rc;

	come_close(m->come);
	node_close(m->node);
	m->come = NULL;
	m->node = NULL;
	eventfd_read(m->refusedfd, &ignored);
	rc = take_former(m);
	if (rc == 0)
		rc = hostnode_again(&m->host, m->opts->id);
	if (rc == 0)
		rc = open_node(m);
	if (rc == 0)
		rc = open_come(m);
	return rc;
}

/* False: another is to begin in its place. Who is given up before a view has
 * spoken of it is not wanted: it may be another's place by now. */
static bool goes_on(struct memnode *m)
{
	bool known = node_epoch(m->node) != 0;
	int rc;

	say_err("memory node %u: the pool has given this process up%s",
		m->opts->id, known ? "" : ": it ends, and another begins");
	rc = known ? come_back(m) : -ESTALE;
	if (rc < 0 && known)
		say_err("memory node %u cannot come back: %s: it ends",
			m->opts->id, strerror(-rc));
	return rc == 0;
}

static void tell(const struct memnode *m, const char *word, const char *text)
{
	if (m->opts->linked)
		program_tell(PROGRAM_LINK_FD, word, text);
}

int memnode(const struct memnode_opts *opts)
{
	struct memnode m = {.opts = opts, .region_fd = -1};
	char text[CONF_ERROR_BYTES_MAX];
	const char *what = "";
	int rc;

	shield();
	rc = start(&m, &what);
	if (rc < 0) {
		if (what == m.error)
			snprintf(text, sizeof(text), "%s", what);
		else
			snprintf(text, sizeof(text), "%s: %s", what,
				 strerror(-rc));
		tell(&m, "error", text);
		say_err("%s", text);
		return EXIT_SYS;
	}
	tell(&m, "ready", m.address);
	while (run(&m) && goes_on(&m))
		;
	come_close(m.come);
	node_close(m.node);
	former_close(m.former);
	fab_region_close(m.region, m.head.layout.size, m.region_fd);
	if (!opts->hosts && program_hung_up(PROGRAM_LINK_FD))
		pool_sweep(&m.place); /* the supervisor cannot any more */
	return EXIT_OK;
}
