/* mount-helper/files.c - aceso ls, get, put and rm on paths. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "mount-helper/cmd.h"
#include "mount-helper/files.h"
#include "mount-helper/say.h"

#define COPY_BYTES (256u * 1024)

const char *files_within(const char *path, const char *mountpoint)
{
	size_t n = strlen(mountpoint);

	if (strncmp(path, mountpoint, n) != 0)
		return path;
	if (path[n] == '\0')
		return "/";
	return path[n] == '/' ? path + n : path;
}

/* Where @path is in this process's name space. */
static int locate(const char *pool, const char *path, char *out)
{
	char dir[PATH_MAX];
	struct pool_place p;
	int rc = cmd_find(pool, &p);

	if (rc != 0)
		return rc;
	if (cmd_mountpoint(&p, dir) < 0) {
		say_err("pool %s is not mounted, so its paths cannot be "
			"reached: mount it with aceso-fuse -o pool=%s DIR",
			p.name, p.name);
		return CMD_FAIL;
	}
	if (snprintf(out, PATH_MAX, "%s%s", dir, cmd_within(&p, path)) >=
	    PATH_MAX) {
		say_err("%s: %s", path, strerror(ENAMETOOLONG));
		return CMD_FAIL;
	}
	return 0;
}

static int fail(const char *path)
{
	say_err("%s: %s", path, strerror(errno));
	return CMD_FAIL;
}

/* --- ls ------------------------------------------------------------- */

static void print_entry(const char *name, const struct stat *st, bool is_long)
{
	static const char kinds[] = "?pc?d?b?-?l?s???";
	char when[32] = "?";
	struct tm tm;

	if (is_long && localtime_r(&st->st_mtime, &tm) != NULL)
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M", &tm);
	if (is_long)
		printf("%c%04o %3u %5u %5u %12lld %s ",
		       kinds[st->st_mode >> 12 & 15], st->st_mode & 07777,
		       (unsigned)st->st_nlink, st->st_uid, st->st_gid,
		       (long long)st->st_size, when);
	printf("%s%s\n", name, S_ISDIR(st->st_mode) ? "/" : "");
}

static int ls_dir(const char *path, const char *shown, bool is_long)
{
	struct dirent **list;
	int n = scandir(path, &list, NULL, alphasort);
	char full[2 * PATH_MAX];
	struct stat st;

	if (n < 0)
		return fail(shown);
	for (int i = 0; i < n; i++) {
		const char *name = list[i]->d_name;

		snprintf(full, sizeof(full), "%s/%s", path, name);
		if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
		    lstat(full, &st) == 0)
			print_entry(name, &st, is_long);
		free(list[i]);
	}
	free(list);
	return CMD_OK;
}

int files_ls(const char *pool, const char *path, bool is_long)
{
	char full[PATH_MAX];
	struct stat st;
	int rc = locate(pool, path, full);

	if (rc != 0)
		return rc;
	if (lstat(full, &st) < 0)
		return fail(path);
	if (S_ISDIR(st.st_mode))
		return ls_dir(full, path, is_long);
	print_entry(path, &st, is_long);
	return CMD_OK;
}

/* --- get, put, rm --------------------------------------------------- */

static int write_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Copy all that is left in @from; errno tells why not. */
static int copy(int from, int to)
{
	char *buf = malloc(COPY_BYTES);
	ssize_t n;
	int rc = 0;

	if (buf == NULL)
		return -1;
	while (rc == 0 && (n = read(from, buf, COPY_BYTES)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		rc = n < 0 ? -1 : write_all(to, buf, (size_t)n);
	}
	free(buf);
	return rc;
}

int files_get(const char *pool, const char *path)
{
	char full[PATH_MAX];
	int fd, rc = locate(pool, path, full);

	if (rc != 0)
		return rc;
	fd = open(full, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return fail(path);
	if (copy(fd, STDOUT_FILENO) < 0)
		rc = fail(path);
	close(fd);
	return rc;
}

int files_put(const char *pool, const char *path, const char *value)
{
	bool from_stdin = value == NULL || strcmp(value, "-") == 0;
	char full[PATH_MAX];
	int fd, rc = locate(pool, path, full);

	if (rc != 0)
		return rc;
	fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0)
		return fail(path);
	if (from_stdin ? copy(STDIN_FILENO, fd) < 0
		       : write_all(fd, value, strlen(value)) < 0)
		rc = fail(path);
	if (close(fd) < 0 && rc == 0)
		rc = fail(path);
	return rc;
}

int files_rm(const char *pool, const char *path)
{
	char full[PATH_MAX];
	int rc = locate(pool, path, full);

	if (rc != 0)
		return rc;
	if (unlink(full) == 0)
		return CMD_OK;
	if (errno == EISDIR && rmdir(full) == 0)
		return CMD_OK;
	return fail(path);
}
