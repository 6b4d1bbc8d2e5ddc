/* mount-helper/pooldir.c - see pooldir.h. The files' contents are kv/node's. */
#include "mount-helper/pooldir.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kv/node/disk.h"
#include "mount-helper/pooldir_lock.h"
#include "mount-helper/say.h"
#include "mount-helper/size.h"

#define POOL_NAME "pool"

struct pooldir {
	char dir[CONF_DIR_BYTES_MAX];
	char name[CONF_POOL_BYTES_MAX + 1];
	int dirfd;
	int lock_fd;
	bool has_pool;
	struct poolfile file; /* its regions are those of the nodes now */
	pthread_mutex_t lock; /* of the regions' numbers */
	uint32_t cut[64];     /* they, when the last cut was made */
	uint32_t kept[64];    /* and as the pool file names them */
};

#define SAY(...)                                                               \
	do {                                                                   \
		snprintf(error, CONF_ERROR_BYTES_MAX, __VA_ARGS__);            \
	} while (0)

/* --- taking it ------------------------------------------------------------ */

static int open_dir(struct pooldir *d, char *error)
{
	int rc;

	if (mkdir(d->dir, 0700) != 0 && errno != EEXIST) {
		rc = -errno;
		SAY("%s: the pool's directory cannot be made (%s): give one "
		    "whose parent is there and may be written to",
		    d->dir, strerror(-rc));
		return rc;
	}
	d->dirfd = open(d->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d->dirfd >= 0)
		return 0;
	rc = -errno;
	SAY("%s: the pool's directory cannot be opened: %s", d->dir,
	    strerror(-rc));
	return rc;
}

static int lock_dir(struct pooldir *d, char *error)
{
	char who[POOLDIR_WHO_BYTES];
	int rc = pooldir_lock(d->dirfd, d->name, &d->lock_fd, who);

	if (rc == -EBUSY)
		SAY("%s is in use by %s: mount that with -o pool=NAME, or "
		    "unmount it first",
		    d->dir, who);
	else if (rc != 0)
		SAY("%s: nothing can be written there: %s", d->dir,
		    strerror(-rc));
	return rc;
}

/* --- what is in it -------------------------------------------------------- */

static int say_bad(const struct pooldir *d, int rc, uint32_t version,
		   char *error)
{
	if (rc == -EPROTO)
		SAY("%s holds a pool of format %u, this aceso knows %u: use "
		    "the version that made it, or another directory",
		    d->dir, version, POOLFILE_VERSION);
	else if (rc == -ENOTUNIQ)
		SAY("%s/pool is no pool's: name another directory", d->dir);
	else if (rc == -EBADMSG)
		SAY("%s/pool is damaged: restore it from a copy", d->dir);
	else
		SAY("%s/pool cannot be read: %s", d->dir, strerror(-rc));
	return rc;
}

/* False: it is not there. */
static bool drop_region(const struct pooldir *d, uint32_t id, uint32_t g)
{
	char name[64];

	snprintf(name, sizeof(name), "node-%u/region.%u", id, g);
	return unlinkat(d->dirfd, name, 0) == 0;
}

/* Regions of nodes that were replaced: all ended before a cut of the new one
 * was durable, or when it was, and the old ones had not been removed yet. For
 * these the pool file that was read must be on the disk. */
static int drop_stray(struct pooldir *d)
{
	uint32_t g;

	if (fsync(d->dirfd) != 0)
		return -errno;
	for (uint32_t id = 0; id < d->file.super.layout.group.nodes; id++) {
		for (g = d->file.region[id] + 1; drop_region(d, id, g);)
			g++;
		for (g = d->file.region[id];
		     g > 0 && drop_region(d, id, g - 1);)
			g--;
	}
	return 0;
}

static int read_pool(struct pooldir *d, char *error)
{
	struct disk_dir on = {.dirfd = d->dirfd, .region_fd = -1};
	uint32_t version = 0;
	struct disk disk;
	void *buf;
	size_t len;
	int rc;

	disk_of_dir(&on, &disk);
	rc = disk.read(&on, POOL_NAME, 4096, &buf, &len);
	if (rc == -ENOENT)
		return 0;
	if (rc == 0) {
		rc = poolfile_read(buf, len, &d->file, &version);
		free(buf);
	}
	if (rc != 0)
		return say_bad(d, rc == -EFBIG ? -ENOTUNIQ : rc, version,
			       error);
	memcpy(d->kept, d->file.region, sizeof(d->kept));
	d->has_pool = d->file.at.durable != 0;
	rc = drop_stray(d);
	return rc != 0 ? say_bad(d, rc, version, error) : 0;
}

/* What was asked for by name must be what is there. */
static int check_shape(const struct pooldir *d, const struct conf_pool *p,
		       char *error)
{
	const struct layout *have = &d->file.super.layout;
	struct layout_shape shape = {.nodes = have->group.nodes,
				     .k = have->group.k,
				     .m = have->group.m,
				     .usable = p->size};
	struct layout want = *have;

	if (!d->has_pool)
		return 0;
	if (p->size != 0 && layout_of(&shape, &want) != 0)
		want.size = 0;
	if ((p->k == 0 || (p->k == have->group.k && p->m == have->group.m)) &&
	    (p->nodes == 0 || p->nodes == have->group.nodes) &&
	    want.size == have->size)
		return 0;
	SAY("%s holds a pool of another shape (code %u+%u on %u nodes): leave "
	    "size=, code= and nodes= out to mount it as it is, or name "
	    "another directory",
	    d->dir, have->group.k, have->group.m, have->group.nodes);
	return -EINVAL;
}

int pooldir_open(const struct conf_pool *pool, struct pooldir **out,
		 char *error)
{
	struct pooldir *d = calloc(1, sizeof(*d));
	int rc;

	if (d == NULL)
		return -ENOMEM;
	d->dirfd = d->lock_fd = -1;
	strcpy(d->dir, pool->dir);
	snprintf(d->name, sizeof(d->name), "%s", pool->name);
	pthread_mutex_init(&d->lock, NULL);
	rc = open_dir(d, error);
	if (rc == 0)
		rc = lock_dir(d, error);
	if (rc == 0)
		rc = read_pool(d, error);
	if (rc == 0)
		rc = check_shape(d, pool, error);
	if (rc != 0)
		pooldir_close(d);
	else
		*out = d;
	return rc;
}

void pooldir_close(struct pooldir *d)
{
	if (d == NULL)
		return;
	if (d->lock_fd >= 0)
		close(d->lock_fd); /* and lets go of it */
	if (d->dirfd >= 0)
		close(d->dirfd);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

void pooldir_ending(const struct pooldir *d, bool ending)
{
	pooldir_lock_say(d->lock_fd, d->name, ending);
}

bool pooldir_has_pool(const struct pooldir *d)
{
	return d->has_pool;
}

const struct poolfile *pooldir_file(const struct pooldir *d)
{
	return &d->file;
}

bool pooldir_is_one(const char *dir)
{
	char path[POOLDIR_PATH_BYTES];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", dir, POOL_NAME);
	return stat(path, &st) == 0;
}

/* --- nodes ---------------------------------------------------------------- */

void pooldir_node(const struct pooldir *d, uint32_t id, char *dir,
		  char region[32])
{
	snprintf(dir, POOLDIR_PATH_BYTES, "%s/node-%u", d->dir, id);
	snprintf(region, 32, "region.%u", d->file.region[id]);
}

static int open_node(const struct pooldir *d, uint32_t id)
{
	char name[32];
	int fd;

	snprintf(name, sizeof(name), "node-%u", id);
	if (mkdirat(d->dirfd, name, 0700) != 0 && errno != EEXIST)
		return -errno;
	fd = openat(d->dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Zeroes, and all of its room taken at once: a write to memory that finds the
 * disk full would kill its writer. */
static int make_region(int dirfd, const char *name, uint64_t size)
{
	int fd = openat(dirfd, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC,
			0600);
	int rc = 0;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size) != 0 ||
	    (fallocate(fd, 0, 0, (off_t)size) != 0 && errno != EOPNOTSUPP))
		rc = -errno;
	if (rc == 0 && fsync(fd) != 0)
		rc = -errno;
	close(fd);
	if (rc == 0 && fsync(dirfd) != 0)
		rc = -errno;
	if (rc != 0)
		unlinkat(dirfd, name, 0);
	return rc;
}

static int make_node(const struct pooldir *d, uint32_t id, uint32_t region)
{
	int fd = open_node(d, id), rc;
	char name[32];

	if (fd < 0)
		return fd;
	snprintf(name, sizeof(name), "region.%u", region);
	rc = make_region(fd, name, d->file.super.layout.size);
	close(fd);
	return rc;
}

int pooldir_renew(struct pooldir *d, uint32_t id)
{
	int rc = make_node(d, id, d->file.region[id] + 1);

	pthread_mutex_lock(&d->lock);
	if (rc == 0)
		d->file.region[id]++;
	pthread_mutex_unlock(&d->lock);
	return rc;
}

/* Regions that no durable cut is about any more. */
static void drop_old(struct pooldir *d)
{
	for (uint32_t id = 0; id < d->file.super.layout.group.nodes; id++)
		for (; d->kept[id] < d->cut[id]; d->kept[id]++)
			drop_region(d, id, d->kept[id]);
}

static int write_pool(struct pooldir *d, const struct poolfile *f)
{
	struct disk_dir on = {.dirfd = d->dirfd, .region_fd = -1};
	char buf[POOLFILE_BYTES];
	struct disk disk;

	disk_of_dir(&on, &disk);
	poolfile_write(f, buf);
	return disk.write(&on, POOL_NAME, buf, sizeof(buf));
}

int pooldir_commit(void *arg, const struct coord_counters *at)
{
	struct pooldir *d = arg;
	struct poolfile f = {.super = d->file.super, .at = *at};
	int rc;

	pthread_mutex_lock(&d->lock);
	memcpy(f.region, d->cut, sizeof(f.region));
	pthread_mutex_unlock(&d->lock);
	rc = write_pool(d, &f);
	if (rc != 0) {
		say_err("%s/pool cannot be written: %s", d->dir, strerror(-rc));
		return rc;
	}
	drop_old(d);
	return 0;
}

void pooldir_cut(void *arg)
{
	struct pooldir *d = arg;

	pthread_mutex_lock(&d->lock);
	memcpy(d->cut, d->file.region, sizeof(d->cut));
	pthread_mutex_unlock(&d->lock);
}

static void say_create(const struct pooldir *d, int rc, char *error)
{
	char size[SIZE_TEXT_BYTES];
	const struct layout *l = &d->file.super.layout;

	size_text(l->size * l->group.nodes, size);
	if (rc == -ENOSPC || rc == -EFBIG || rc == -EDQUOT)
		SAY("%s has no room for a pool that takes %s on the disk: say "
		    "a smaller -o size=",
		    d->dir, size);
	else
		SAY("%s: the pool's files cannot be made: %s", d->dir,
		    strerror(-rc));
}

int pooldir_create(struct pooldir *d, const struct layout_super *super,
		   char *error)
{
	uint32_t nodes = super->layout.group.nodes;
	int rc = 0;

	d->file = (struct poolfile){.super = *super};
	memset(d->kept, 0, sizeof(d->kept));
	for (uint32_t id = 0; id < nodes && rc == 0; id++)
		rc = make_node(d, id, 0);
	if (rc != 0)
		say_create(d, rc, error);
	return rc;
}
