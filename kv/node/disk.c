/* kv/node/disk.c - the disk that is a directory: write aside, sync, rename,
 * sync the directory. */
#include "kv/node/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_BYTES_MAX 64u

static int dir_sync(void *arg)
{
	struct disk_dir *d = arg;

	return fdatasync(d->region_fd) != 0 ? -errno : 0;
}

static int write_all(int fd, const char *buf, size_t len)
{
	ssize_t n;

	for (; len > 0; buf += n, len -= (size_t)n) {
		n = write(fd, buf, len);
		if (n < 0 && errno == EINTR)
			n = 0;
		if (n < 0)
			return -errno;
	}
	return 0;
}

static int write_aside(int dirfd, const char *name, const void *buf, size_t len)
{
	int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
			0600);
	int rc;

	if (fd < 0)
		return -errno;
	rc = write_all(fd, buf, len);
	if (rc == 0 && fsync(fd) != 0)
		rc = -errno;
	if (close(fd) != 0 && rc == 0)
		rc = -errno;
	return rc;
}

static int dir_write(void *arg, const char *name, const void *buf, size_t len)
{
	char aside[NAME_BYTES_MAX];
	struct disk_dir *d = arg;
	int rc;

	if ((size_t)snprintf(aside, sizeof(aside), "%s.new", name) >=
	    sizeof(aside))
		return -ENAMETOOLONG;
	rc = write_aside(d->dirfd, aside, buf, len);
	if (rc == 0 && renameat(d->dirfd, aside, d->dirfd, name) != 0)
		rc = -errno;
	if (rc != 0) {
		unlinkat(d->dirfd, aside, 0); /* its room is wanted */
		return rc;
	}
	return fsync(d->dirfd) != 0 ? -errno : 0;
}

static int read_all(int fd, char *buf, size_t len)
{
	ssize_t n;

	for (; len > 0; buf += n, len -= (size_t)n) {
		n = read(fd, buf, len);
		if (n < 0 && errno == EINTR)
			n = 0;
		else if (n <= 0)
			return n < 0 ? -errno : -EIO; /* it shrank */
	}
	return 0;
}

static int read_open(int fd, size_t max, void **buf, size_t *len)
{
	struct stat st;
	int rc;

	if (fstat(fd, &st) != 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > max)
		return -EFBIG;
	*len = (size_t)st.st_size;
	*buf = malloc(*len + 1);
	if (*buf == NULL)
		return -ENOMEM;
	rc = read_all(fd, *buf, *len);
	if (rc != 0)
		free(*buf);
	return rc;
}

static int dir_read(void *arg, const char *name, size_t max, void **buf,
		    size_t *len)
{
	struct disk_dir *d = arg;
	int fd = openat(d->dirfd, name, O_RDONLY | O_CLOEXEC), rc;

	if (fd < 0)
		return -errno;
	rc = read_open(fd, max, buf, len);
	close(fd);
	return rc;
}

void disk_of_dir(struct disk_dir *dir, struct disk *out)
{
	*out = (struct disk){
		.arg = dir,
		.sync = dir_sync,
		.write = dir_write,
		.read = dir_read,
	};
}
