/* tests/unit/door_pool_test.c - a pool's place on this host: made, held,
 * cleared, removed. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "mount-helper/pool.h"

static char base[64];

static int make_base(void **state)
{
	strcpy(base, "/tmp/door_pool_XXXXXX");
	if (mkdtemp(base) == NULL)
		return -1;
	setenv("ACESO_RUNTIME_DIR", base, 1);
	return 0;
}

/* Fails if a test left anything in it. */
static int remove_base(void **state)
{
	return rmdir(base);
}

/* A socket at @path, listening or left by someone dead. */
static int bind_at(const char *path, bool listening)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);
	assert_int_equal(bind(sock, (struct sockaddr *)&sun, sizeof(sun)), 0);
	if (listening)
		assert_int_equal(listen(sock, 4), 0);
	return sock;
}

static void a_place_is_not_listed_and_goes_without_trace(void **state)
{
	mode_t mask = umask(077); /* which changes nothing */
	struct pool_place p;
	struct stat st;
	int lock;

	assert_int_equal(pool_place("p", &p), 0);
	assert_int_equal(pool_take(&p, &lock), 0);
	umask(mask);
	assert_true(pool_is_ours(&p));
	assert_int_equal(stat(p.dir, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0711);
	pool_remove(&p, lock);
	assert_int_equal(stat(p.dir, &st), -1);
}

static void only_one_process_holds_a_place(void **state)
{
	struct pool_place p;
	int lock, status;
	pid_t pid;

	assert_int_equal(pool_place("p", &p), 0);
	assert_int_equal(pool_take(&p, &lock), 0);
	pid = fork();
	if (pid == 0) {
		int mine;

		_exit(pool_take(&p, &mine) == -EBUSY &&
				      pool_supervisor(&p) == getppid()
			      ? 0
			      : 1);
	}
	waitpid(pid, &status, 0);
	assert_int_equal(status, 0);
	pool_remove(&p, lock);
	assert_int_equal(pool_supervisor(&p), 0);
}

static void what_a_dead_pool_left_is_cleared(void **state)
{
	char path[POOL_PATH_BYTES];
	struct pool_place p;
	int lock;

	assert_int_equal(pool_place("p", &p), 0);
	assert_int_equal(pool_take(&p, &lock), 0);
	close(lock); /* killed: everything stays */
	close(bind_at(p.sock, true));
	pool_node_sock(&p, 0, 0, path);
	close(bind_at(path, true));
	assert_int_equal(pool_supervisor(&p), 0);
	assert_false(pool_has_nodes(&p));

	assert_int_equal(pool_take(&p, &lock), 0);
	assert_int_equal(access(p.sock, F_OK), -1);
	assert_int_equal(access(path, F_OK), -1);
	pool_remove(&p, lock);
}

static void a_pool_whose_nodes_live_is_left_alone(void **state)
{
	char path[POOL_PATH_BYTES];
	struct pool_place p;
	int lock, sock;

	assert_int_equal(pool_place("p", &p), 0);
	assert_int_equal(pool_take(&p, &lock), 0);
	close(lock);
	pool_node_sock(&p, 3, 7, path);
	sock = bind_at(path, true);
	assert_int_equal(pool_take(&p, &lock), -EADDRINUSE);
	pool_sweep(&p);
	assert_int_equal(access(path, F_OK), 0);
	close(sock);
	pool_sweep(&p); /* now it is dead */
	assert_int_equal(access(p.dir, F_OK), -1);
}

static void an_unsafe_directory_is_refused(void **state)
{
	struct pool_place p;
	int lock;

	assert_int_equal(pool_place("p", &p), 0);
	assert_int_equal(mkdir(p.dir, 0777), 0);
	assert_int_equal(chmod(p.dir, 0777), 0);
	assert_int_equal(pool_take(&p, &lock), -EPERM);
	assert_int_equal(rmdir(p.dir), 0);
	assert_int_equal(symlink("/", p.dir), 0);
	assert_int_equal(pool_take(&p, &lock), -ENOTDIR);
	assert_int_equal(unlink(p.dir), 0);
}

static int count_mount(void *arg, pid_t pid, const char *sock)
{
	int *sum = arg;

	*sum += pid;
	return 0;
}

static int see_pool(void *arg, const struct pool_place *p)
{
	strcat(arg, p->name);
	return 0;
}

static void pools_and_mounts_are_listed(void **state)
{
	char path[POOL_PATH_BYTES], names[64] = "";
	struct pool_place p;
	int lock, sum = 0;

	assert_int_equal(pool_place("p1", &p), 0);
	assert_int_equal(pool_take(&p, &lock), 0);
	pool_mount_sock(&p, 40, path);
	close(bind_at(path, false));
	pool_mount_sock(&p, 2, path);
	close(bind_at(path, false));
	assert_int_equal(pool_each_mount(&p, count_mount, &sum), 0);
	assert_int_equal(sum, 42);
	assert_int_equal(pool_each(see_pool, names), 0);
	assert_string_equal(names, "p1");
	pool_remove(&p, lock);
}

static void names_that_lead_elsewhere_are_refused(void **state)
{
	struct pool_place p;

	assert_int_equal(pool_place("..", &p), -EINVAL);
	assert_int_equal(pool_place("a/b", &p), -EINVAL);
	assert_int_equal(pool_place("", &p), -EINVAL);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, make_base, remove_base)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_place_is_not_listed_and_goes_without_trace),
		TEST(only_one_process_holds_a_place),
		TEST(what_a_dead_pool_left_is_cleared),
		TEST(a_pool_whose_nodes_live_is_left_alone),
		TEST(an_unsafe_directory_is_refused),
		TEST(pools_and_mounts_are_listed),
		TEST(names_that_lead_elsewhere_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
