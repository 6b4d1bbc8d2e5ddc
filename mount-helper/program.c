/* mount-helper/program.c - our programs as processes. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mount-helper/clock.h"
#include "mount-helper/program.h"

#define FILES_MIN 65536u /* what root gives itself if the limit is lower */

extern char **environ;

static int pidfd_of(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

int program_find(const char *name, char *out)
{
	static const char *const dirs[] = {"/usr/local/bin", "/usr/bin",
					   "/bin"};
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n > 0) {
		self[n] = '\0';
		*strrchr(self, '/') = '\0';
		if (snprintf(out, PATH_MAX, "%s/%s", self, name) < PATH_MAX &&
		    access(out, X_OK) == 0)
			return 0;
	}
	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		snprintf(out, PATH_MAX, "%s/%s", dirs[i], name);
		if (access(out, X_OK) == 0)
			return 0;
	}
	return -ENOENT;
}

/* What the new process has: the link, /dev/null, no blocked signals. */
static int prepare(posix_spawn_file_actions_t *fa, posix_spawnattr_t *attr,
		   int link, bool keep_stderr)
{
	sigset_t none;
	int rc;

	sigemptyset(&none);
	rc = posix_spawn_file_actions_addopen(fa, 0, "/dev/null", O_RDONLY, 0);
	if (rc == 0)
		rc = posix_spawn_file_actions_addopen(fa, 1, "/dev/null",
						      O_WRONLY, 0);
	if (rc == 0 && !keep_stderr)
		rc = posix_spawn_file_actions_adddup2(fa, 1, 2);
	if (rc == 0)
		rc = posix_spawn_file_actions_adddup2(fa, link,
						      PROGRAM_LINK_FD);
	if (rc == 0)
		rc = posix_spawn_file_actions_addclosefrom_np(
			fa, PROGRAM_LINK_FD + 1);
	if (rc == 0)
		rc = posix_spawnattr_setsigmask(attr, &none);
	if (rc == 0)
		rc = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK |
							    POSIX_SPAWN_SETSID);
	return -rc;
}

static int spawn(const char *path, char *const argv[], bool keep_stderr,
		 int link, pid_t *pid)
{
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t attr;
	int rc;

	rc = -posix_spawn_file_actions_init(&fa);
	if (rc < 0)
		return rc;
	rc = -posix_spawnattr_init(&attr);
	if (rc == 0) {
		rc = prepare(&fa, &attr, link, keep_stderr);
		if (rc == 0)
			rc = -posix_spawn(pid, path, &fa, &attr, argv, environ);
		posix_spawnattr_destroy(&attr);
	}
	posix_spawn_file_actions_destroy(&fa);
	return rc;
}

int program_start(const char *path, char *const argv[], bool keep_stderr,
		  pid_t *pid, int *pidfd, int *link)
{
	int pair[2], rc;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	rc = spawn(path, argv, keep_stderr, pair[1], pid);
	close(pair[1]);
	if (rc < 0)
		goto err_close;
	*pidfd = pidfd_of(*pid);
	if (*pidfd < 0) {
		rc = -errno;
		goto err_kill;
	}
	*link = pair[0];
	return 0;

err_kill:
	kill(*pid, SIGKILL);
err_close:
	close(pair[0]);
	return rc;
}

/* Wait for @fd to be readable or hung up. */
static bool readable(int fd, int64_t until)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int64_t left;
	int rc;

	do {
		left = until - now_ms();
		rc = poll(&p, 1, left > 0 ? (int)left : 0);
	} while (rc < 0 && errno == EINTR);
	return rc > 0;
}

int program_line(int link, char line[PROGRAM_LINE_BYTES_MAX], int timeout_ms)
{
	int64_t until = now_ms() + timeout_ms;
	size_t n = 0;

	while (n < PROGRAM_LINE_BYTES_MAX - 1) {
		ssize_t got;

		if (!readable(link, until))
			return -ETIMEDOUT;
		got = read(link, line + n, 1);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return -EPIPE;
		if (line[n] == '\n')
			break;
		n++;
	}
	line[n] = '\0';
	return 0;
}

void program_tell(int link, const char *word, const char *text)
{
	char line[PROGRAM_LINE_BYTES_MAX];

	snprintf(line, sizeof(line) - 1, "%s %s", word, text);
	line[strcspn(line, "\n")] = '\0';
	strcat(line, "\n");
	(void)!send(link, line, strlen(line), MSG_NOSIGNAL);
}

/* Whoever started it may have left something else open there. */
bool program_is_linked(void)
{
	struct stat st;

	return fstat(PROGRAM_LINK_FD, &st) == 0 && S_ISSOCK(st.st_mode) &&
	       fcntl(PROGRAM_LINK_FD, F_SETFD, FD_CLOEXEC) == 0;
}

bool program_hung_up(int link)
{
	struct pollfd p = {.fd = link, .events = POLLRDHUP};

	return poll(&p, 1, 0) > 0 &&
	       (p.revents & (POLLHUP | POLLRDHUP | POLLERR)) != 0;
}

bool program_ended(int pidfd, int timeout_ms)
{
	return readable(pidfd, now_ms() + timeout_ms);
}

int program_kill(pid_t pid, int timeout_ms)
{
	int fd, rc = 0;

	if (pid <= 1)
		return -EINVAL;
	fd = pidfd_of(pid);
	if (fd < 0)
		return errno == ESRCH ? 0 : -errno;
	if (syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0) < 0)
		rc = errno == ESRCH ? 0 : -errno;
	else if (!program_ended(fd, timeout_ms))
		rc = -ETIMEDOUT;
	close(fd);
	return rc;
}

bool program_stopped(pid_t pid)
{
	char path[32], text[256], *end;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	end = strrchr(text, ')'); /* its name may hold anything */
	return end != NULL && strncmp(end, ") T", 3) == 0;
}

bool program_killable(pid_t pid)
{
	return pid > 1 && kill(pid, 0) == 0;
}

void program_open_std(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= 2);
	if (fd > 2)
		close(fd);
}

void program_raise_files(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) < 0)
		return;
	if (r.rlim_max < FILES_MIN) {
		struct rlimit more = {FILES_MIN, FILES_MIN};

		if (setrlimit(RLIMIT_NOFILE, &more) == 0)
			return;
	}
	r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
}
