/* tests/fsmodel/session_test.c - what the kernel does as our answer to INIT
 * says more than libfuse's: a lookup that waits holds up nobody else in its
 * directory.
 *
 * The session is another process, with libfuse's loop. A name that begins with
 * 's' is looked up slowly: it says so on one pipe and waits for a byte on the
 * other. No name exists. */
#define FUSE_USE_VERSION 314
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fuse3/fuse_lowlevel.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/fs_impl.h"
#include "fs/session.h"

#define WAIT_MS 60000
#define SLOW	3 /* lookups that wait */

static char dir[] = "/tmp/fs_session.XXXXXX";
static int arrived[2], release[2], ready[2];
static pid_t child;

/* --- the session --------------------------------------------------------- */

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	char c;

	if (name[0] == 's' &&
	    (write(arrived[1], "s", 1) != 1 || read(release[0], &c, 1) != 1))
		abort();
	fuse_reply_err(req, ENOENT);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino,
		       struct fuse_file_info *fi)
{
	struct stat st = {
		.st_nlink = 2, .st_ino = ino, .st_mode = S_IFDIR | 0755};

	fuse_reply_attr(req, &st, 60);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	fuse_reply_buf(req, NULL, 0);
}

static const struct fuse_lowlevel_ops ops = {
	.lookup = op_lookup,
	.getattr = op_getattr,
	.readdir = op_readdir,
};

static int session(void)
{
	char *argv[] = {"session_test", "-ofsname=session"};
	struct fuse_args args = FUSE_ARGS_INIT(2, argv);
	struct fs fs = {0};
	struct fuse_session *se =
		fuse_session_new(&args, &ops, sizeof(ops), &fs);
	struct fuse_loop_config *cfg = fuse_loop_cfg_create();
	char c;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (se == NULL || cfg == NULL)
		return 1;
	c = fuse_session_mount(se, dir) == 0 ? 'y' : 'n';
	if (c == 'y' && fs_session_attach(&fs, se) != 0)
		abort();
	if (write(ready[1], &c, 1) != 1 || c == 'n')
		return 2;
	return fuse_session_loop_mt(se, cfg) == 0 ? 0 : 3;
}

/* --- the test ------------------------------------------------------------ */

static char byte_of(int fd)
{
	struct pollfd p = {fd, POLLIN, 0};
	char c;

	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	assert_int_equal(read(fd, &c, 1), 1);
	return c;
}

static int setup(void **state)
{
	assert_non_null(mkdtemp(dir));
	assert_int_equal(pipe(arrived) | pipe(release) | pipe(ready), 0);
	if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) != 0) {
		print_message("skipped: not root, or no /dev/fuse\n");
		return 0;
	}
	child = fork();
	assert_true(child >= 0);
	if (child == 0)
		_exit(session());
	if (byte_of(ready[0]) == 'y')
		return 0;
	print_message("skipped: nothing can be mounted here\n");
	waitpid(child, NULL, 0);
	child = 0;
	return 0;
}

/* Whoever still waits is told that the connection is gone. */
static int teardown(void **state)
{
	if (child > 0) {
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		umount2(dir, MNT_DETACH);
	}
	rmdir(dir);
	return 0;
}

static int look_up(const char *name, unsigned n)
{
	char path[100];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s%u", dir, name, n);
	return stat(path, &st) == 0 ? 0 : errno;
}

static void *look_up_slowly(void *n)
{
	return (void *)(intptr_t)look_up("s", (unsigned)(uintptr_t)n);
}

static void *list(void *arg)
{
	DIR *d = opendir(dir);
	intptr_t rc = -1;

	if (d != NULL) {
		errno = 0;
		rc = readdir(d) == NULL ? errno : -1;
		closedir(d);
	}
	if (write(arrived[1], "l", 1) != 1)
		abort();
	return (void *)rc;
}

static void begin(pthread_t *thread, void *(*f)(void *), intptr_t n, char says)
{
	assert_int_equal(pthread_create(thread, NULL, f, (void *)n), 0);
	assert_int_equal(byte_of(arrived[0]), says);
}

static void expect(pthread_t thread, int error)
{
	void *rc;

	assert_int_equal(pthread_join(thread, &rc), 0);
	assert_int_equal((intptr_t)rc, error);
}

/* Without FUSE_PARALLEL_DIROPS the second one would not come before the first
 * is answered, nor the listing. */
static void lookups_that_wait_hold_up_nobody(void **state)
{
	pthread_t slow[SLOW], listing;

	if (child <= 0)
		skip();
	for (int i = 0; i < SLOW; i++)
		begin(&slow[i], look_up_slowly, i, 's');
	begin(&listing, list, 0, 'l');
	assert_int_equal(look_up("q", 0), ENOENT);
	assert_int_equal(write(release[1], "ggg", SLOW), SLOW);
	for (int i = 0; i < SLOW; i++)
		expect(slow[i], ENOENT);
	expect(listing, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lookups_that_wait_hold_up_nobody),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
