/* mount-helper/mnt.c - mount points. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mount-helper/mnt.h"

int mnt_each(int (*each)(void *arg, const char *dir, const char *source),
	     void *arg)
{
	char text[PATH_MAX * 4];
	struct mntent e;
	FILE *f = setmntent("/proc/self/mounts", "re");
	int rc = 0;

	if (f == NULL)
		return -errno;
	while (rc == 0 && getmntent_r(f, &e, text, (int)sizeof(text)) != NULL)
		if (strcmp(e.mnt_type, MNT_TYPE) == 0)
			rc = each(arg, e.mnt_dir, e.mnt_fsname);
	endmntent(f);
	return rc;
}

static int same_dir(void *arg, const char *dir, const char *source)
{
	return strcmp(arg, dir) == 0;
}

bool mnt_is_ours(const char *dir)
{
	return mnt_each(same_dir, (void *)dir) == 1;
}

/* --- unmounting ----------------------------------------------------- */

static int fusermount(const char *dir, bool lazy)
{
	char *argv[] = {"fusermount3",
			"-q",
			"-u",
			lazy ? "-z" : "--",
			lazy ? "--" : (char *)dir,
			lazy ? (char *)dir : NULL,
			NULL};
	int status;
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid == 0) {
		execvp(argv[0], argv);
		_exit(127);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return mnt_is_ours(dir) ? -EBUSY : -EINVAL;
}

int mnt_unmount(const char *dir, bool lazy)
{
	if (umount2(dir, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) == 0)
		return 0;
	if (errno != EPERM)
		return -errno;
	return fusermount(dir, lazy);
}

/* --- may we mount here? --------------------------------------------- */

#define SAY(...)                                                               \
	do {                                                                   \
		snprintf(error, cap, __VA_ARGS__);                             \
	} while (0)

/* @dir's server is dead: take the mount away, if it is ours. realpath() does
 * not work on it; its parent's does. */
static int clear_stale(const char *dir, char *error, size_t cap)
{
	char *copy = strdup(dir), *base, *slash, *parent;
	char path[2 * PATH_MAX];
	int rc;

	if (copy == NULL)
		return -ENOMEM;
	for (size_t n = strlen(copy); n > 1 && copy[n - 1] == '/'; n--)
		copy[n - 1] = '\0';
	slash = strrchr(copy, '/');
	base = slash != NULL ? slash + 1 : copy;
	if (slash != NULL)
		*slash = '\0';
	parent = realpath(slash == NULL ? "." : copy[0] ? copy : "/", NULL);
	rc = parent == NULL ? -errno : 0;
	if (rc == 0) {
		snprintf(path, sizeof(path), "%s/%s",
			 strcmp(parent, "/") == 0 ? "" : parent, base);
		rc = mnt_is_ours(path) ? mnt_unmount(path, true) : -ENOTCONN;
	}
	if (rc < 0)
		SAY("%s: a dead file system is mounted here: umount -l %s "
		    "first",
		    dir, dir);
	free(parent);
	free(copy);
	return rc;
}

static int look(const char *dir, struct stat *st, char *error, size_t cap)
{
	int rc = stat(dir, st) < 0 ? -errno : 0;

	if (rc == -ENOTCONN) {
		rc = clear_stale(dir, error, cap);
		if (rc < 0)
			return rc;
		rc = stat(dir, st) < 0 ? -errno : 0;
	}
	if (rc == -ENOENT)
		SAY("%s: no such directory: mkdir -p %s first", dir, dir);
	else if (rc == -EACCES)
		SAY("%s: permission denied on the way to it", dir);
	else if (rc < 0)
		SAY("%s: cannot be mounted on: %s", dir, strerror(-rc));
	else if (!S_ISDIR(st->st_mode)) {
		SAY("%s: not a directory: name a directory to mount on", dir);
		rc = -ENOTDIR;
	}
	return rc;
}

int mnt_check(const char *dir, char **out, char *error, size_t cap)
{
	struct stat st;
	char *path;
	int rc = look(dir, &st, error, cap);

	if (rc < 0)
		return rc;
	path = realpath(dir, NULL);
	if (path == NULL) {
		rc = -errno;
		SAY("%s: cannot be named: %s", dir, strerror(-rc));
		return rc;
	}
	if (mnt_is_ours(path)) {
		SAY("%s: busy, aceso is mounted here already: umount it first, "
		    "or choose another directory",
		    dir);
		rc = -EBUSY;
	} else if (strcmp(path, "/") == 0) {
		SAY("/: busy: choose another directory");
		rc = -EBUSY;
	}
	if (rc < 0)
		free(path);
	else
		*out = path;
	return rc;
}

int mnt_check_fuse(char *error, size_t cap)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd >= 0) {
		close(fd);
		return 0;
	}
	switch (errno) {
	case ENOENT:
	case ENXIO:
	case ENODEV:
		SAY("no /dev/fuse: run modprobe fuse (in a container: give it "
		    "--device /dev/fuse)");
		return -ENODEV;
	case EACCES:
	case EPERM:
		SAY("/dev/fuse: not permitted: run as root, or in a container "
		    "give it --device /dev/fuse --cap-add SYS_ADMIN");
		return -EACCES;
	default:
		SAY("/dev/fuse: %s", strerror(errno));
		return -EIO;
	}
}

int mnt_check_allow_other(char *error, size_t cap)
{
	char line[256];
	bool found = geteuid() == 0;
	FILE *f = found ? NULL : fopen("/etc/fuse.conf", "re");

	while (f != NULL && !found && fgets(line, sizeof(line), f) != NULL) {
		line[strcspn(line, " \t\n")] = '\0';
		found = strcmp(line, "user_allow_other") == 0;
	}
	if (f != NULL)
		fclose(f);
	if (found)
		return 0;
	SAY("allow_other: not permitted: leave it out, or have root add "
	    "user_allow_other to /etc/fuse.conf");
	return -EACCES;
}
