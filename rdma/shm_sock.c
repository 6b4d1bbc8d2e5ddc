/* rdma/shm_sock.c - Unix sockets of messages: names of any length, frames,
 * descriptors in passing. Knows nothing of nodes. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "rdma/shm_impl.h"

void shm_frame_init(struct shm_frame *fr, enum shm_frame_type type)
{
	memset(fr, 0, sizeof(*fr));
	fr->magic = SHM_MAGIC;
	fr->version = SHM_VERSION;
	fr->type = (uint16_t)type;
}

bool shm_frame_ok(const struct shm_frame *fr, size_t len)
{
	return len >= sizeof(*fr) && fr->magic == SHM_MAGIC &&
	       fr->version == SHM_VERSION;
}

/* --- names ---------------------------------------------------------------- */

/* A socket's name as bind() and connect() take it. sun_path is 108 bytes, a
 * path may be PATH_MAX: so go by a descriptor of its directory. */
struct sock_name {
	struct sockaddr_un sa;
	int dir;	  /* open on the directory */
	const char *base; /* the name in it */
};

static int name_set(struct sock_name *n, const char *base)
{
	int len;

	n->sa.sun_family = AF_UNIX;
	len = snprintf(n->sa.sun_path, sizeof(n->sa.sun_path),
		       "/proc/self/fd/%d/%s", n->dir, base);
	return len < (int)sizeof(n->sa.sun_path) ? 0 : -ENAMETOOLONG;
}

static int name_open(struct sock_name *n, const char *path)
{
	char dir[PATH_MAX];
	const char *slash = strrchr(path, '/');
	size_t len = slash != NULL ? (size_t)(slash - path) : 0;

	memset(n, 0, sizeof(*n));
	n->base = slash != NULL ? slash + 1 : path;
	if (n->base[0] == '\0')
		return -EINVAL;
	if (len >= sizeof(dir))
		return -ENAMETOOLONG;
	memcpy(dir, path, len);
	dir[len] = '\0';
	if (len == 0)
		strcpy(dir, slash != NULL ? "/" : ".");
	n->dir = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (n->dir < 0)
		return -errno;
	if (name_set(n, n->base) != 0) {
		close(n->dir);
		return -ENAMETOOLONG;
	}
	return 0;
}

static int new_socket(int *out)
{
	int size = SHM_SNDBUF;
	int s;

	s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s < 0)
		return -errno;
	/* The system may grant less; what counts is that one frame fits. */
	setsockopt(s, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	*out = s;
	return 0;
}

static int connect_at(const struct sock_name *n, int *out)
{
	int s, rc;

	rc = new_socket(&s);
	if (rc != 0)
		return rc;
	if (connect(s, (const struct sockaddr *)&n->sa, sizeof(n->sa)) != 0) {
		rc = -errno;
		close(s);
		return rc;
	}
	*out = s;
	return 0;
}

int shm_connect(const char *path, int *out)
{
	struct sock_name n;
	int rc;

	rc = name_open(&n, path);
	if (rc != 0)
		return rc;
	/* -EAGAIN: its queue of those who wait to be accepted is full */
	for (int i = 0; i < 1000; i++) {
		rc = connect_at(&n, out);
		if (rc != -EAGAIN)
			break;
		fab_clock_sleep(NULL, 1000000);
	}
	close(n.dir);
	return rc;
}

/* --- listening ------------------------------------------------------------ */

/* Somebody answers at @n; a socket file left by a dead process does not. */
static int name_is_free(const struct sock_name *n)
{
	int s, rc;

	rc = connect_at(n, &s);
	if (rc == 0) {
		close(s);
		return -EADDRINUSE;
	}
	if (rc == -ENOENT || rc == -ECONNREFUSED)
		return 0;
	return rc == -EAGAIN ? -EADDRINUSE : rc;
}

static int set_mode(const struct sock_name *n, const char *tmp,
		    uint32_t readers)
{
	if (readers == 0)
		return fchmodat(n->dir, tmp, 0600, 0);
	if (fchmodat(n->dir, tmp, 0, 0) != 0 ||
	    fchownat(n->dir, tmp, (uid_t)-1, readers, 0) != 0)
		return -1;
	return fchmodat(n->dir, tmp, 0660, 0);
}

/* Bound under a name of its own first, so that the right name never shows a
 * socket that does not listen yet or has too wide a mode. */
static int bind_hidden(struct sock_name *n, int sock, uint32_t readers,
		       char *tmp, size_t cap)
{
	static atomic_uint serial;
	int rc;

	snprintf(tmp, cap, ".aceso-%d-%u", (int)getpid(),
		 atomic_fetch_add(&serial, 1));
	rc = name_set(n, tmp);
	if (rc != 0)
		return rc;
	unlinkat(n->dir, tmp, 0);
	if (bind(sock, (struct sockaddr *)&n->sa, sizeof(n->sa)) != 0)
		return -errno;
	if (set_mode(n, tmp, readers) != 0 || listen(sock, 128) != 0) {
		rc = -errno;
		unlinkat(n->dir, tmp, 0);
	}
	return rc;
}

static int show(struct sock_name *n, const char *tmp, uint64_t *inode)
{
	struct stat st;
	int rc;

	if (fstatat(n->dir, tmp, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    renameat(n->dir, tmp, n->dir, n->base) == 0) {
		*inode = st.st_ino;
		return 0;
	}
	rc = -errno;
	unlinkat(n->dir, tmp, 0);
	return rc;
}

int shm_listen(const char *path, uint32_t readers, uint64_t *inode, int *out)
{
	struct sock_name n;
	char tmp[64];
	int sock, rc;

	rc = name_open(&n, path);
	if (rc != 0)
		return rc;
	rc = name_is_free(&n);
	if (rc != 0)
		goto out_close_dir;
	rc = new_socket(&sock);
	if (rc != 0)
		goto out_close_dir;
	rc = bind_hidden(&n, sock, readers, tmp, sizeof(tmp));
	if (rc == 0)
		rc = show(&n, tmp, inode);
	if (rc == 0)
		*out = sock;
	else
		close(sock);
out_close_dir:
	close(n.dir);
	return rc;
}

void shm_unlisten(const char *path, uint64_t inode)
{
	struct stat st;

	if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode) && st.st_ino == inode)
		unlink(path);
}

/* --- messages ------------------------------------------------------------- */

union fd_space {
	char bytes[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

int shm_send(int sock, const struct shm_frame *fr, const void *data, size_t len,
	     int fd_out)
{
	struct iovec iov[2] = {{(void *)fr, sizeof(*fr)}, {(void *)data, len}};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = len > 0 ? 2 : 1};
	union fd_space space;
	struct cmsghdr *c;

	if (fd_out >= 0) {
		memset(&space, 0, sizeof(space));
		msg.msg_control = space.bytes;
		msg.msg_controllen = sizeof(space.bytes);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd_out, sizeof(int));
	}
	while (sendmsg(sock, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

/* At most one descriptor is wanted; the space holds no more, and the system
 * drops what does not fit. */
static int take_fd(struct msghdr *msg)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(msg);
	int fd = -1;

	if (c != NULL && c->cmsg_level == SOL_SOCKET &&
	    c->cmsg_type == SCM_RIGHTS && c->cmsg_len >= CMSG_LEN(sizeof(int)))
		memcpy(&fd, CMSG_DATA(c), sizeof(int));
	return fd;
}

ssize_t shm_recv(int sock, void *buf, size_t cap, int *fd_in)
{
	struct iovec iov = {buf, cap};
	union fd_space space;
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = space.bytes,
			     .msg_controllen = CMSG_LEN(sizeof(int))};
	ssize_t n;
	int fd;

	do
		n = recvmsg(sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	fd = take_fd(&msg);
	if (fd_in != NULL)
		*fd_in = fd;
	else if (fd >= 0)
		close(fd); /* nobody asked for it */
	return (msg.msg_flags & MSG_TRUNC) != 0 ? -EMSGSIZE : n;
}

int shm_wait_readable(int sock, uint64_t timeout_ns)
{
	struct pollfd p = {.fd = sock, .events = POLLIN};
	uint64_t end = fab_clock_now(NULL) + timeout_ns, now;
	int rc;

	for (;;) {
		now = fab_clock_now(NULL);
		if (now >= end)
			return -ETIMEDOUT;
		rc = poll(&p, 1, (int)((end - now) / 1000000u) + 1);
		if (rc > 0)
			return 0;
		if (rc < 0 && errno != EINTR)
			return -errno;
	}
}
