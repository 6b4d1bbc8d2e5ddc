/* mount-helper/daemon.c - go to the background. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mount-helper/daemon.h"
#include "mount-helper/exitcode.h"
#include "mount-helper/say.h"

/* The child ended before it was ready; it has said why. */
static int code_of(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return EXIT_SYS;
	if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
		return WEXITSTATUS(status);
	say_err("ended unexpectedly (signal %d): see the system's log",
		WIFSIGNALED(status) ? WTERMSIG(status) : 0);
	return EXIT_SYS;
}

/* Look at the mount from outside: this waits for its first answer. */
static int check(const char *dir, unsigned long dev)
{
	struct stat st;

	if (stat(dir, &st) == 0 && st.st_dev != dev)
		return EXIT_OK;
	say_err("%s: mounted, but it does not answer: see the system's log",
		dir);
	return EXIT_MOUNT;
}

static void await(int fd, pid_t pid, const char *dir, unsigned long dev)
{
	char byte;
	ssize_t n;

	do
		n = read(fd, &byte, 1);
	while (n < 0 && errno == EINTR);
	_exit(n == 1 ? check(dir, dev) : code_of(pid));
}

int daemon_start(const char *dir, unsigned long dev, struct daemon_link *link)
{
	int pair[2];
	pid_t pid;

	/* Who waits for the end of a pipe must not wait for us. */
	close_range(3, ~0U, 0);
	if (pipe2(pair, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid < 0) {
		int rc = -errno;

		close(pair[0]);
		close(pair[1]);
		return rc;
	}
	if (pid > 0) {
		close(pair[1]);
		await(pair[0], pid, dir, dev);
	}
	close(pair[0]);
	link->fd = pair[1];
	return 0;
}

/* Standard files lead nowhere from now on. */
static void let_go(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0)
		return;
	for (int fd = 0; fd <= 2; fd++)
		dup2(null, fd);
	if (null > 2)
		close(null);
}

int daemon_ready(struct daemon_link *link)
{
	ssize_t n;

	if (link->fd < 0)
		return 0;
	setsid();
	n = write(link->fd, "", 1); /* SIGPIPE is ignored by now */
	close(link->fd);
	link->fd = -1;
	if (n != 1)
		return -ECANCELED;
	say_to_syslog();
	let_go();
	(void)!chdir("/");
	return 0;
}
