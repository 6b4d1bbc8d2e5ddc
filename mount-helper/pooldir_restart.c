/* mount-helper/pooldir_restart.c - every node's region and cut, opened and
 * handed to kv/node/restart.c. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kv/node/disk.h"
#include "kv/node/restart.h"
#include "mount-helper/clock.h"
#include "mount-helper/pooldir.h"
#include "mount-helper/say.h"

#define CUT_BYTES_MAX ((size_t)1 << 36)
#define SAY_EVERY_S   1

struct load {
	struct pooldir *d;
	const struct poolfile *f;
	uint32_t nodes;
	void *region[FAB_NODES_MAX];
	int fd[FAB_NODES_MAX];
	struct cut cut[FAB_NODES_MAX];
	time_t said;
};

/* What can be done about it is the same whatever is wrong. */
static void say_node(uint32_t id, const char *dir, const char *name,
		     const char *why, char *error)
{
	snprintf(error, CONF_ERROR_BYTES_MAX,
		 "%.300s/%s: memory node %u cannot come back: %s. The pool "
		 "needs the files of all its nodes: put them back from a "
		 "copy, or make a new pool in another directory",
		 dir, name, id, why);
}

static int load_region(struct load *l, uint32_t id, const char *dir,
		       const char *name, char *error)
{
	char path[POOLDIR_PATH_BYTES + 32];
	int rc;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	l->fd[id] = open(path, O_RDWR | O_CLOEXEC);
	rc = l->fd[id] < 0
		     ? -errno
		     : fab_region_of_file(l->fd[id], l->f->super.layout.size,
					  &l->region[id]);
	if (rc != 0)
		say_node(id, dir, name,
			 rc == -EINVAL ? "the file is too short"
				       : strerror(-rc),
			 error);
	return rc;
}

static int load_cut(struct load *l, uint32_t id, const char *dir, char *error)
{
	const char *name = cut_name(l->f->at.slot);
	struct layout_super super = l->f->super;
	struct disk_dir on = {.region_fd = -1};
	struct disk disk;
	void *buf = NULL;
	size_t len;
	int rc;

	super.node = id;
	disk_of_dir(&on, &disk);
	on.dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rc = on.dirfd < 0 ? -errno
			  : disk.read(&on, name, CUT_BYTES_MAX, &buf, &len);
	if (rc == 0)
		rc = cut_unpack(buf, len, &super, l->f->at.durable,
				&l->cut[id]);
	free(buf);
	if (on.dirfd >= 0)
		close(on.dirfd);
	if (rc != 0)
		say_node(id, dir, name,
			 rc == -EBADMSG || rc == -EPROTO ? "it is damaged"
			 : rc == -ESTALE ? "it is another pool's, or an old one"
					 : strerror(-rc),
			 error);
	return rc;
}

static int load_node(struct load *l, uint32_t id, char *error)
{
	char dir[POOLDIR_PATH_BYTES], name[32];
	int rc;

	pooldir_node(l->d, id, dir, name);
	rc = load_region(l, id, dir, name, error);
	return rc != 0 ? rc : load_cut(l, id, dir, error);
}

static void unload(struct load *l)
{
	for (uint32_t id = 0; id < l->nodes; id++) {
		fab_region_close(l->region[id], l->f->super.layout.size,
				 l->fd[id]);
		cut_free(&l->cut[id]);
	}
}

static void on_progress(void *arg, uint64_t done, uint64_t total)
{
	struct load *l = arg;
	time_t now = now_s();

	if (now - l->said < SAY_EVERY_S)
		return;
	l->said = now;
	say_info("restoring the pool: %" PRIu64 " of %" PRIu64 " MiB",
		 done >> 20, total >> 20);
}

static void say_report(const struct load *l, const struct restart_report *r)
{
	say_info("restored the pool of durable checkpoint %" PRIu64 ": %" PRIu64
		 " keys in %" PRIu64 " blocks; %" PRIu64
		 " later records dropped",
		 l->f->at.durable, r->keys, r->blocks, r->lost);
	if (r->damaged != 0)
		say_err("%" PRIu64 " of %" PRIu64 " keys have no right record: "
			"they answer EIO",
			r->damaged, r->keys);
}

int pooldir_restart(struct pooldir *d, char *error)
{
	struct load l = {.d = d, .f = pooldir_file(d), .said = now_s()};
	struct restart_report report;
	struct restart_opts o = {
		.super = &l.f->super,
		.region = l.region,
		.region_fd = l.fd,
		.cut = l.cut,
		.index_version = l.f->at.index_version,
		.progress = on_progress,
		.arg = &l,
	};
	int rc = 0;

	l.nodes = l.f->super.layout.group.nodes;
	memset(l.fd, -1, sizeof(l.fd));
	for (uint32_t id = 0; id < l.nodes && rc == 0; id++)
		rc = load_node(&l, id, error);
	if (rc == 0) {
		rc = restart_run(&o, &report);
		if (rc == 0)
			say_report(&l, &report);
		else
			snprintf(error, CONF_ERROR_BYTES_MAX,
				 "the pool's durable checkpoint does not fit "
				 "together: %s",
				 strerror(-rc));
	}
	unload(&l);
	return rc;
}
