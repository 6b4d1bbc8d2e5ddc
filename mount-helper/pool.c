/* mount-helper/pool.c - a pool's place on this host. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "mount-helper/pool.h"
#include "mount-helper/pool_hosts.h"
#include "mount-helper/pool_key.h"

#define BASE_BYTES 80
#define BASE_ROOT  "/run/aceso"

static int base(char out[BASE_BYTES])
{
	const char *dir = getenv("ACESO_RUNTIME_DIR");
	int n;

	if (dir != NULL && dir[0] == '/')
		n = snprintf(out, BASE_BYTES, "%s", dir);
	else if (geteuid() == 0)
		n = snprintf(out, BASE_BYTES, BASE_ROOT);
	else if ((dir = getenv("XDG_RUNTIME_DIR")) != NULL && dir[0] == '/')
		n = snprintf(out, BASE_BYTES, "%s/aceso", dir);
	else
		n = snprintf(out, BASE_BYTES, "/tmp/aceso-%u", geteuid());
	return n < BASE_BYTES ? 0 : -ENAMETOOLONG;
}

/* Ordinary users look at root's pools too. */
static bool sees_root(void)
{
	return geteuid() != 0 && getenv("ACESO_RUNTIME_DIR") == NULL;
}

/* @dir is there and only we can write to it: /tmp is everybody's. If we made
 * it, it has @mode whatever the umask. */
static int own_directory(const char *dir, mode_t mode)
{
	struct stat st;

	if (mkdir(dir, 0700) == 0) {
		if (chmod(dir, mode) < 0)
			return -errno;
	} else if (errno != EEXIST) {
		return -errno;
	}
	if (lstat(dir, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	if (st.st_uid != geteuid() || (st.st_mode & 022) != 0)
		return -EPERM;
	return 0;
}

/* Where pool @name would be, under @at. */
static int place_in(const char *at, const char *name, struct pool_place *out)
{
	int rc = conf_check_name(name);

	if (rc < 0)
		return rc;
	*out = (struct pool_place){0};
	strcpy(out->name, name);
	snprintf(out->dir, sizeof(out->dir), "%s/%s", at, name);
	if (strlen(out->dir) + sizeof("/mount.4294967295.sock") >
	    POOL_PATH_BYTES)
		return -ENAMETOOLONG;
	strcat(strcpy(out->sock, out->dir), "/pool.sock");
	return 0;
}

int pool_place(const char *name, struct pool_place *out)
{
	char at[BASE_BYTES];
	int rc = base(at);

	return rc < 0 ? rc : place_in(at, name, out);
}

int pool_find(const char *name, struct pool_place *out)
{
	struct pool_place roots;
	int rc = pool_place(name, out);

	if (rc == 0 && pool_supervisor(out) == 0 && sees_root() &&
	    place_in(BASE_ROOT, name, &roots) == 0 &&
	    pool_supervisor(&roots) != 0)
		*out = roots;
	return rc;
}

bool pool_is_ours(const struct pool_place *p)
{
	return p->hosts || access(p->dir, R_OK | W_OK) == 0;
}

bool pool_may_look(const struct pool_place *p)
{
	return pool_is_ours(p) || access(p->sock, W_OK) == 0;
}

void pool_look(struct pool_place *p)
{
	struct pool_place roots;

	if (pool_find(p->name, &roots) != 0 ||
	    strcmp(roots.sock, p->sock) == 0 || !pool_may_look(&roots))
		return;
	strcpy(p->sock, roots.sock);
	p->looked_at = true;
}

void pool_public_sock(const struct pool_place *p, char out[POOL_PATH_BYTES])
{
	snprintf(out, POOL_PATH_BYTES, "%.80s/public.sock", p->dir);
}

void pool_node_sock(const struct pool_place *p, uint32_t id, uint32_t life,
		    char out[POOL_PATH_BYTES])
{
	if (life != 0)
		snprintf(out, POOL_PATH_BYTES, "%.80s/node%u.%u.sock", p->dir,
			 id, life);
	else
		snprintf(out, POOL_PATH_BYTES, "%.80s/node%u.sock", p->dir, id);
}

void pool_mount_sock(const struct pool_place *p, pid_t pid,
		     char out[POOL_PATH_BYTES])
{
	snprintf(out, POOL_PATH_BYTES, "%.80s/mount.%d.sock", p->dir, (int)pid);
}

/* Connect to who listens at @path. */
static int knock(const char *path, int *out)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int sock;

	if (strlen(path) >= sizeof(sun.sun_path))
		return -ENAMETOOLONG;
	strcpy(sun.sun_path, path);
	sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK,
		      0);
	if (sock < 0)
		return -errno;
	if (connect(sock, (struct sockaddr *)&sun, sizeof(sun)) < 0) {
		int rc = -errno;

		close(sock);
		return rc;
	}
	*out = sock;
	return 0;
}

/* --- the lock ------------------------------------------------------- */

static void lock_path(const struct pool_place *p, char out[POOL_PATH_BYTES])
{
	snprintf(out, POOL_PATH_BYTES, "%.80s/lock", p->dir);
}

/* The file behind @fd is still the one at @path: its last holder may have
 * removed it between our open and our flock. */
static bool still_there(int fd, const char *path)
{
	struct stat by_fd, by_path;

	return fstat(fd, &by_fd) == 0 && stat(path, &by_path) == 0 &&
	       by_fd.st_ino == by_path.st_ino && by_fd.st_dev == by_path.st_dev;
}

static int lock_once(const struct pool_place *p, int *out)
{
	char path[POOL_PATH_BYTES];
	int fd, rc;

	rc = own_directory(p->dir, 0711);
	if (rc < 0)
		return rc;
	lock_path(p, path);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return errno == ENOENT ? -EAGAIN : -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		rc = errno == EWOULDBLOCK ? -EBUSY : -errno;
	else if (!still_there(fd, path))
		rc = -EAGAIN;
	if (rc < 0)
		close(fd);
	else
		*out = fd;
	return rc;
}

static int lock(const struct pool_place *p, int *out)
{
	int rc = -EAGAIN;

	for (int i = 0; i < 100 && rc == -EAGAIN; i++)
		rc = lock_once(p, out);
	return rc == -EAGAIN ? -EBUSY : rc;
}

/* Who listens for everybody: for those who may not look at the lock. */
static pid_t public_pid(const struct pool_place *p)
{
	char path[POOL_PATH_BYTES];
	struct ucred who = {0};
	socklen_t len = sizeof(who);
	int sock;

	pool_public_sock(p, path);
	if (knock(path, &sock) < 0)
		return 0;
	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0)
		who.pid = 0;
	close(sock);
	return who.pid;
}

pid_t pool_supervisor(const struct pool_place *p)
{
	char path[POOL_PATH_BYTES], text[16] = "";
	pid_t pid = 0;
	int fd;

	lock_path(p, path);
	fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == EACCES ? public_pid(p) : 0;
	if (flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK &&
	    read(fd, text, sizeof(text) - 1) > 0)
		pid = atoi(text);
	close(fd);
	return pid;
}

/* --- what is in the directory --------------------------------------- */

static bool is_socket_of(const char *file, const char *kind)
{
	size_t n = strlen(file);

	return strncmp(file, kind, strlen(kind)) == 0 && n > 5 &&
	       strcmp(file + n - 5, ".sock") == 0;
}

/* Somebody listens at @path. */
static bool answers(const char *path)
{
	int sock, rc = knock(path, &sock);

	if (rc == 0)
		close(sock);
	return rc == 0 || rc == -EAGAIN; /* its queue may be full */
}

bool pool_has_nodes(const struct pool_place *p)
{
	DIR *d = opendir(p->dir);
	struct dirent *e;
	bool found = false;

	if (d == NULL)
		return false;
	while (!found && (e = readdir(d)) != NULL) {
		char path[POOL_PATH_BYTES + 256];

		snprintf(path, sizeof(path), "%s/%s", p->dir, e->d_name);
		found = is_socket_of(e->d_name, "node") && answers(path);
	}
	closedir(d);
	return found;
}

bool pool_listens(const struct pool_place *p)
{
	return answers(p->sock);
}

static bool is_key(const char *file)
{
	return strncmp(file, POOL_KEY, strlen(POOL_KEY)) == 0 ||
	       strncmp(file, POOL_KEY_READERS, strlen(POOL_KEY_READERS)) == 0;
}

/* Unlink all sockets and keys: the caller has the lock and no node lives. */
static void clear(const struct pool_place *p)
{
	DIR *d = opendir(p->dir);
	struct dirent *e;

	if (d == NULL)
		return;
	while ((e = readdir(d)) != NULL)
		if (is_socket_of(e->d_name, "") || is_key(e->d_name))
			unlinkat(dirfd(d), e->d_name, 0);
	closedir(d);
}

static int write_pid(int fd)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%d\n", (int)getpid());

	if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)n, 0) != n)
		return -errno;
	return 0;
}

/* <base>, and what leads to it if it is ours to make (/run/aceso is). */
static int make_base(void)
{
	char at[BASE_BYTES];
	int rc = base(at);

	if (rc == 0)
		rc = own_directory(at, 0755);
	return rc;
}

int pool_take(const struct pool_place *p, int *out)
{
	int fd = -1, rc;

	rc = make_base();
	if (rc == 0)
		rc = lock(p, &fd);
	if (rc < 0)
		return rc;
	rc = pool_has_nodes(p) ? -EADDRINUSE : write_pid(fd);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	clear(p);
	*out = fd;
	return 0;
}

void pool_remove(const struct pool_place *p, int lock_fd)
{
	char path[POOL_PATH_BYTES];

	clear(p);
	lock_path(p, path);
	unlink(path);
	rmdir(p->dir);
	close(lock_fd); /* last: who waits for the lock then sees it gone */
}

void pool_sweep(const struct pool_place *p)
{
	int fd;

	if (pool_take(p, &fd) == 0)
		pool_remove(p, fd);
}

/* --- mounts of pools over several hosts ------------------------------ */

int pool_hosts_enter(const struct pool_place *p)
{
	int rc = make_base();

	return rc == 0 ? own_directory(p->dir, 0711) : rc;
}

/* Not if others are there. */
void pool_hosts_leave(const struct pool_place *p)
{
	rmdir(p->dir);
}

/* --- lists ---------------------------------------------------------- */

static int each_in(const char *at,
		   int (*each)(void *arg, const struct pool_place *p),
		   void *arg)
{
	struct pool_place p;
	struct dirent *e;
	int rc = 0;
	DIR *d;

	d = opendir(at);
	if (d == NULL)
		return errno == ENOENT ? 0 : -errno;
	while (rc == 0 && (e = readdir(d)) != NULL)
		if (place_in(at, e->d_name, &p) == 0)
			rc = each(arg, &p);
	closedir(d);
	return rc;
}

int pool_each(int (*each)(void *arg, const struct pool_place *p), void *arg)
{
	char at[BASE_BYTES];
	int rc = base(at);

	if (rc == 0)
		rc = each_in(at, each, arg);
	if (rc == 0 && sees_root())
		rc = each_in(BASE_ROOT, each, arg);
	return rc;
}

int pool_each_mount(const struct pool_place *p,
		    int (*each)(void *arg, pid_t pid, const char *sock),
		    void *arg)
{
	char path[POOL_PATH_BYTES];
	struct pool_place own;
	struct dirent *e;
	int rc = 0;
	DIR *d;

	if (!pool_is_ours(p) && pool_place(p->name, &own) == 0)
		p = &own;
	d = opendir(p->dir);
	if (d == NULL)
		return 0;
	while (rc == 0 && (e = readdir(d)) != NULL) {
		pid_t pid;

		if (!is_socket_of(e->d_name, "mount."))
			continue;
		pid = atoi(e->d_name + sizeof("mount.") - 1);
		pool_mount_sock(p, pid, path);
		rc = each(arg, pid, path);
	}
	closedir(d);
	return rc;
}
