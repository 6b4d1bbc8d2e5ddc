/* fs/intake.c - see intake.h. */
#include "fs/intake.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <string.h>
#include <unistd.h>

#include "fs/door.h"
#include "fs/fs_impl.h"
#include "fs/gather.h"
#include "fs/linger.h"

/* A thread has a file description of its own (clone_fd), and so its mode. */
static __thread int mode_fd = -1;
static __thread bool waits;
static __thread unsigned since; /* requests since the first was gathered */
static __thread struct linger linger;

/* False: as it was. */
static bool set_waits(int fd, bool want)
{
	if (mode_fd != fd) {
		mode_fd = fd;
		waits = true;
	}
	if (waits != want && fcntl(fd, F_SETFL, want ? 0 : O_NONBLOCK) == 0)
		waits = want;
	return waits == want;
}

/* Requests that may take long are not to hold up what was gathered. */
static bool is_short(const void *buf, size_t len)
{
	struct fuse_in_header head;

	if (len < sizeof(head))
		return false;
	memcpy(&head, buf, sizeof(head));
	return head.opcode == FUSE_WRITE || head.opcode == FUSE_READ ||
	       head.opcode == FUSE_GETATTR || head.opcode == FUSE_FORGET;
}

/* The next of those that wait already. -1: none. */
static ssize_t read_now(int fd, void *buf, size_t len)
{
	ssize_t rc = set_waits(fd, false) ? read(fd, buf, len) : -1;

	if (rc < 0 || !is_short(buf, rc))
		fs_gather_flush();
	return rc;
}

/* The next, whenever it comes. */
static ssize_t read_next(const struct fs *fs, int fd, void *buf, size_t len)
{
	ssize_t rc = -1;

	if (fs->door != NULL && fs_linger_begin(&linger) &&
	    set_waits(fd, false))
		rc = fs_linger_read(&linger, fd, buf, len);
	if (rc < 0 && set_waits(fd, true))
		rc = read(fd, buf, len);
	if (rc > 0)
		fs_linger_took(&linger);
	return rc;
}

ssize_t fs_intake_read(struct fs *fs, int fd, void *buf, size_t len)
{
	ssize_t rc;

	if (fs_gather_count() == 0) {
		since = 0;
	} else if (++since < FS_OVERWRITES_MAX) {
		rc = read_now(fd, buf, len);
		if (rc > 0)
			return rc;
	} else {
		fs_gather_flush();
	}
	door_wait(fs->door);
	rc = read_next(fs, fd, buf, len);
	if (rc > 0)
		fs_gather_expect(door_took(fs->door) &&
				 fd != fuse_session_fd(fs->se));
	return rc;
}
