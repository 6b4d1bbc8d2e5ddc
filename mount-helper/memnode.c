/* mount-helper/memnode.c - one memory node as a process. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kv/node/disk.h"
#include "kv/node/node.h"
#include "mount-helper/exitcode.h"
#include "mount-helper/memnode.h"
#include "mount-helper/pool.h"
#include "mount-helper/program.h"
#include "mount-helper/say.h"

/* Nodes are worth more than what uses them: the kernel takes others first. */
#define OOM_SCORE_ADJ "-500"

struct memnode {
	const struct memnode_opts *opts;
	struct pool_place place;
	char address[POOL_PATH_BYTES];
	struct layout_super head;
	void *region;
	int region_fd;
	struct disk_dir disk_dir; /* of a pool with a directory */
	struct disk disk;
	struct node *node;
	int sigfd;
	int stopfd; /* eventfd: asked to stop */
	int lonelyfd;
};

static int open_net(void *arg, struct fab_net **out)
{
	return fab_shm_open(out);
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
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGPIPE);
	sigprocmask(SIG_BLOCK, &set, NULL); /* in all threads to come */
	sigdelset(&set, SIGPIPE);
	m->sigfd = signalfd(-1, &set, SFD_CLOEXEC);
	m->stopfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	m->lonelyfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (m->sigfd < 0 || m->stopfd < 0 || m->lonelyfd < 0)
		return -errno;
	return 0;
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

static int open_region(struct memnode *m)
{
	char name[CONF_POOL_BYTES_MAX + 32];

	if (m->opts->dir != NULL)
		return open_file(m);
	snprintf(name, sizeof(name), "aceso-%s-%u", m->opts->pool, m->opts->id);
	return fab_region_open(name, m->head.layout.size, &m->region,
			       &m->region_fd);
}

static int open_node(struct memnode *m)
{
	struct node_opts o = {
		.super = m->head,
		.region = m->region,
		.region_fd = m->region_fd,
		.keep = m->opts->keep,
		.disk = m->opts->dir != NULL ? &m->disk : NULL,
		.address = m->address,
		.net = open_net,
		.arg = m,
		.on_lonely = on_lonely,
		.on_stop = on_stop,
		.threads = true,
		.ckpt_ms = m->opts->ckpt_ms,
	};

	return node_open(&o, &m->node);
}

/* On error *@what says what could not be done. */
static int start(struct memnode *m, const char **what)
{
	int rc;

	*what = "its place cannot be named";
	rc = pool_place(m->opts->pool, &m->place);
	if (rc < 0)
		return rc;
	pool_node_sock(&m->place, m->opts->id, m->opts->life, m->address);
	*what = "signals cannot be set up";
	rc = make_events(m);
	if (rc < 0)
		return rc;
	*what = "no superblock on its link (it is started by the supervisor)";
	rc = read_head(m);
	if (rc < 0)
		return rc;
	*what = "its memory cannot be had";
	rc = open_region(m);
	if (rc < 0)
		return rc;
	*what = "it cannot serve";
	rc = open_node(m);
	if (rc < 0)
		fab_region_close(m->region, m->head.layout.size, m->region_fd);
	return rc;
}

/* Until it is told to end, or nobody needs it any more. */
static void run(struct memnode *m)
{
	struct pollfd p[] = {{m->sigfd, POLLIN, 0},
			     {m->stopfd, POLLIN, 0},
			     {m->lonelyfd, POLLIN, 0},
			     {PROGRAM_LINK_FD, POLLIN, 0}};
	eventfd_t ignored;

	for (;;) {
		if (poll(p, 4, -1) < 0)
			continue; /* EINTR */
		if (p[0].revents != 0 || p[1].revents != 0)
			return;
		if (p[2].revents != 0)
			eventfd_read(m->lonelyfd, &ignored);
		if (p[3].revents != 0)
			p[3].fd = -1; /* the supervisor is gone */
		if (node_lonely(m->node) && (p[2].revents != 0 || p[3].fd < 0))
			return;
	}
}

int memnode(const struct memnode_opts *opts)
{
	struct memnode m = {.opts = opts, .region_fd = -1};
	char text[PROGRAM_LINE_BYTES_MAX];
	const char *what;
	int rc;

	shield();
	rc = start(&m, &what);
	if (rc < 0) {
		snprintf(text, sizeof(text), "%s: %s", what, strerror(-rc));
		program_tell(PROGRAM_LINK_FD, "error", text);
		say_err("%s", text);
		return EXIT_SYS;
	}
	program_tell(PROGRAM_LINK_FD, "ready", m.address);
	run(&m);
	node_close(m.node);
	fab_region_close(m.region, m.head.layout.size, m.region_fd);
	if (program_hung_up(PROGRAM_LINK_FD))
		pool_sweep(&m.place); /* the supervisor cannot any more */
	return EXIT_OK;
}
