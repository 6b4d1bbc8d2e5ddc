/* kv/node/viewstore_file.c - the view's store in a directory of one host. The
 * bytes have a CRC of their own; here only writing aside matters: after a crash
 * there are the old bytes or the new ones. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kv/node/viewstore.h"

#define NAME  "view"
#define ASIDE "view.new"
#define LOCK  "view.lock"

struct file_store {
	struct viewstore vs;
	int dir, lock;
};

static struct file_store *store_of(struct viewstore *vs)
{
	return (struct file_store *)vs;
}

/* --- reading -------------------------------------------------------------- */

static int read_all(int fd, uint8_t *buf, size_t cap, size_t *len)
{
	uint8_t more;
	ssize_t n;

	for (*len = 0; *len < cap; *len += (size_t)n) {
		n = read(fd, buf + *len, cap - *len);
		if (n < 0 && errno == EINTR)
			n = 0;
		else if (n < 0)
			return -errno;
		else if (n == 0)
			return 0;
	}
	return read(fd, &more, 1) == 0 ? 0 : -EMSGSIZE;
}

static int file_load(struct viewstore *vs, void *buf, size_t cap, size_t *len)
{
	int fd = openat(store_of(vs)->dir, NAME, O_RDONLY | O_CLOEXEC);
	int rc;

	*len = 0;
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	rc = read_all(fd, buf, cap, len);
	close(fd);
	/* Nothing was ever put as nothing. */
	return rc == 0 && *len == 0 ? -EBADMSG : rc;
}

/* --- writing -------------------------------------------------------------- */

static int write_all(int fd, const uint8_t *buf, size_t len)
{
	ssize_t n;

	for (; len > 0; buf += n, len -= (size_t)n) {
		n = write(fd, buf, len);
		if (n < 0 && errno == EINTR)
			n = 0;
		else if (n < 0)
			return -errno;
	}
	return fsync(fd) == 0 ? 0 : -errno;
}

static int write_aside(int dir, const void *buf, size_t len)
{
	int fd = openat(dir, ASIDE, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
			0600);
	int rc;

	if (fd < 0)
		return -errno;
	rc = write_all(fd, buf, len);
	if (close(fd) != 0 && rc == 0)
		rc = -errno;
	return rc;
}

static int file_put(struct viewstore *vs, const void *buf, size_t len)
{
	int dir = store_of(vs)->dir;
	int rc = write_aside(dir, buf, len);

	if (rc != 0)
		return rc;
	if (renameat(dir, ASIDE, dir, NAME) != 0)
		return -errno;
	return fsync(dir) == 0 ? 0 : -errno;
}

/* --- its life ------------------------------------------------------------- */

static bool file_sure(struct viewstore *vs)
{
	return true; /* nobody else gets the lock */
}

static bool file_lost(struct viewstore *vs)
{
	return false;
}

static void file_close(struct viewstore *vs)
{
	struct file_store *s = store_of(vs);

	close(s->lock);
	close(s->dir);
	free(s);
}

static const struct viewstore_ops file_ops = {
	.load = file_load,
	.put = file_put,
	.sure = file_sure,
	.lost = file_lost,
	.close = file_close,
};

static int lock_open(struct file_store *s)
{
	int rc;

	s->lock = openat(s->dir, LOCK, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (s->lock < 0)
		return -errno;
	if (flock(s->lock, LOCK_EX | LOCK_NB) == 0)
		return 0;
	rc = errno == EWOULDBLOCK ? -EBUSY : -errno;
	close(s->lock);
	return rc;
}

int viewstore_file_open(const char *dir, struct viewstore **out)
{
	struct file_store *s;
	int rc;

	if (mkdir(dir, 0700) != 0 && errno != EEXIST)
		return -errno;
	s = calloc(1, sizeof(*s));
	if (s == NULL)
		return -ENOMEM;
	s->vs.ops = &file_ops;
	s->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dir < 0) {
		rc = -errno;
		goto err_free;
	}
	rc = lock_open(s);
	if (rc != 0)
		goto err_close_dir;
	*out = &s->vs;
	return 0;

err_close_dir:
	close(s->dir);
err_free:
	free(s);
	return rc;
}
