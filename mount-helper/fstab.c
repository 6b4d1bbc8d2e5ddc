/* mount-helper/fstab.c - one line of a file like /etc/fstab. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <mntent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mount-helper/fstab.h"

#define FILE_BYTES_MAX (1u << 20)
#define LOCK_TRIES     100

struct table {
	char path[PATH_MAX]; /* no link: the file itself */
	int fd;		     /* locked; -1: there is none yet */
	struct stat st;
	char *text;
	size_t len;
	size_t at, end; /* the line that is ours: [at, end); equal: none */
	char *error;
	size_t cap;
};

#define SAY(t, ...) snprintf((t)->error, (t)->cap, __VA_ARGS__)

/* --- reading -------------------------------------------------------- */

/* Lock what is at the path, also if another process has just put a new file
 * there. */
static int lock(struct table *t)
{
	struct stat now;

	for (int i = 0; i < LOCK_TRIES; i++) {
		t->fd = open(t->path, O_RDONLY | O_CLOEXEC);
		if (t->fd < 0)
			return errno == ENOENT ? 0 : -errno;
		if (flock(t->fd, LOCK_EX) < 0 || fstat(t->fd, &t->st) < 0)
			return -errno;
		if (stat(t->path, &now) == 0 && now.st_ino == t->st.st_ino &&
		    now.st_dev == t->st.st_dev)
			return S_ISREG(now.st_mode) ? 0 : -EINVAL;
		close(t->fd);
		t->fd = -1;
	}
	return -EAGAIN;
}

static int slurp(struct table *t)
{
	ssize_t n;

	t->text = malloc(FILE_BYTES_MAX + 1);
	if (t->text == NULL)
		return -ENOMEM;
	while (t->fd >= 0 && t->len < FILE_BYTES_MAX) {
		n = read(t->fd, t->text + t->len, FILE_BYTES_MAX - t->len);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			break;
		t->len += n > 0 ? (size_t)n : 0;
	}
	t->text[t->len] = '\0';
	return t->len < FILE_BYTES_MAX ? 0 : -EFBIG;
}

static int table_open(struct table *t, const char *path, char *error,
		      size_t cap)
{
	int rc;

	*t = (struct table){.fd = -1, .error = error, .cap = cap};
	if (realpath(path, t->path) == NULL) {
		if (errno != ENOENT || strlen(path) >= PATH_MAX)
			return -errno;
		strcpy(t->path, path);
	}
	rc = lock(t);
	if (rc == 0)
		rc = slurp(t);
	if (rc < 0)
		SAY(t, "%s: cannot be read: %s", path, strerror(-rc));
	return rc;
}

static void table_close(struct table *t)
{
	if (t->fd >= 0)
		close(t->fd);
	free(t->text);
}

/* --- finding -------------------------------------------------------- */

/* Is the line a mount at @dir, and of our type? The names in it are escaped,
 * which libc undoes. */
static bool is_for(const char *line, size_t len, const char *dir, bool *ours)
{
	FILE *f = len > 0 ? fmemopen((void *)line, len, "r") : NULL;
	char text[4 * PATH_MAX];
	struct mntent e;
	bool found;

	if (f == NULL)
		return false;
	found = getmntent_r(f, &e, text, (int)sizeof(text)) != NULL &&
		e.mnt_dir != NULL && strcmp(e.mnt_dir, dir) == 0;
	*ours = found && strcmp(e.mnt_type, FSTAB_TYPE) == 0;
	fclose(f);
	return found;
}

static int find(struct table *t, const char *dir)
{
	unsigned number = 1;
	bool ours;

	t->at = t->end = t->len;
	for (size_t at = 0, end; at < t->len; at = end, number++) {
		end = at + strcspn(t->text + at, "\n");
		end += end < t->len; /* with its newline, or to a 0 byte */
		if (!is_for(t->text + at, end - at, dir, &ours))
			continue;
		if (!ours) {
			SAY(t,
			    "%s:%u: another file system is for %s: take it "
			    "out first",
			    t->path, number, dir);
			return -EEXIST;
		}
		if (t->end != t->at) {
			SAY(t,
			    "%s:%u: a second line for %s: take one out "
			    "first",
			    t->path, number, dir);
			return -EEXIST;
		}
		t->at = at;
		t->end = end;
	}
	return 0;
}

/* --- writing -------------------------------------------------------- */

static int write_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t done = write(fd, p, n);

		if (done < 0 && errno != EINTR)
			return -errno;
		p += done > 0 ? done : 0;
		n -= done > 0 ? (size_t)done : 0;
	}
	return 0;
}

/* The new text into @fd, with the old one's mode and owner. */
static int fill(const struct table *t, int fd, const char *line)
{
	bool open_end = t->at > 0 && t->text[t->at - 1] != '\n';
	int rc = write_all(fd, t->text, t->at);

	if (rc == 0 && open_end && *line != '\0')
		rc = write_all(fd, "\n", 1);
	if (rc == 0)
		rc = write_all(fd, line, strlen(line));
	if (rc == 0)
		rc = write_all(fd, t->text + t->end, t->len - t->end);
	if (rc == 0 && fchmod(fd, t->fd < 0 ? 0644 : t->st.st_mode & 07777) < 0)
		rc = -errno;
	if (rc == 0 && t->fd >= 0 && fchown(fd, t->st.st_uid, t->st.st_gid) < 0)
		rc = -errno;
	if (rc == 0 && fsync(fd) < 0)
		rc = -errno;
	return rc;
}

/* An editor does not know our lock. */
static int unchanged(const struct table *t)
{
	struct stat now;

	if (stat(t->path, &now) < 0)
		return errno == ENOENT && t->fd < 0 ? 0 : -EAGAIN;
	if (t->fd < 0 || now.st_ino != t->st.st_ino ||
	    now.st_size != t->st.st_size ||
	    now.st_mtim.tv_sec != t->st.st_mtim.tv_sec ||
	    now.st_mtim.tv_nsec != t->st.st_mtim.tv_nsec)
		return -EAGAIN;
	return 0;
}

static void sync_dir(const char *path)
{
	char *copy = strdup(path);
	int fd = copy == NULL ? -1
			      : open(dirname(copy),
				     O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0) {
		(void)fsync(fd);
		close(fd);
	}
	free(copy);
}

/* Put @line ("" none) where the old one is. */
static int replace(struct table *t, const char *line)
{
	char aside[PATH_MAX + 16];
	int fd, rc;

	snprintf(aside, sizeof(aside), "%s.XXXXXX", t->path);
	fd = mkostemp(aside, O_CLOEXEC);
	if (fd < 0) {
		rc = -errno;
		goto err;
	}
	rc = fill(t, fd, line);
	close(fd);
	if (rc == 0)
		rc = unchanged(t);
	if (rc == 0 && rename(aside, t->path) < 0)
		rc = -errno;
	if (rc < 0)
		goto err_unlink;
	sync_dir(t->path);
	return 1;

err_unlink:
	unlink(aside);
err:
	SAY(t,
	    rc == -EAGAIN ? "%s: was changed by somebody else just now: try "
			    "again"
			  : "%s: cannot be written: %s",
	    t->path, strerror(-rc));
	return rc;
}

/* @word with blanks and the like as \ooo, into @out. */
static int escape(const char *word, char *out, size_t cap)
{
	size_t n = 0;

	if (*word == '\0')
		return -EINVAL;
	for (; *word != '\0'; word++) {
		bool plain = strchr(" \t\n\\", *word) == NULL;

		if (n + 5 > cap)
			return -EINVAL;
		n += (size_t)sprintf(out + n, plain ? "%c" : "\\%03o",
				     (unsigned char)*word);
	}
	return 0;
}

static int line_of(const char *spec, const char *dir, const char *options,
		   char *out, size_t cap)
{
	char words[3][2 * PATH_MAX];
	int n;

	if (escape(spec, words[0], sizeof(words[0])) < 0 ||
	    escape(dir, words[1], sizeof(words[1])) < 0 ||
	    escape(options, words[2], sizeof(words[2])) < 0)
		return -EINVAL;
	n = snprintf(out, cap, "%s %s " FSTAB_TYPE " %s 0 0\n", words[0],
		     words[1], words[2]);
	return n < (int)cap ? 0 : -EINVAL;
}

int fstab_put(const char *path, const char *spec, const char *dir,
	      const char *options, char *error, size_t cap)
{
	char line[6 * PATH_MAX + 32];
	struct table t;
	int rc = line_of(spec, dir, options, line, sizeof(line));

	if (rc < 0) {
		snprintf(error, cap, "%s: the names are too long for a line",
			 path);
		return rc;
	}
	rc = table_open(&t, path, error, cap);
	if (rc == 0)
		rc = find(&t, dir);
	if (rc == 0 && !(t.end - t.at == strlen(line) &&
			 memcmp(t.text + t.at, line, strlen(line)) == 0))
		rc = replace(&t, line);
	table_close(&t);
	return rc;
}

int fstab_drop(const char *path, const char *dir, char *error, size_t cap)
{
	struct table t;
	int rc = table_open(&t, path, error, cap);

	if (rc == 0)
		rc = find(&t, dir);
	if (rc == 0 && t.end != t.at)
		rc = replace(&t, "");
	table_close(&t);
	return rc;
}
