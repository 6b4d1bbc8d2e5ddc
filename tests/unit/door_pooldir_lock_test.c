/* Two pools want one directory: who has it is waited for a while, for longer
 * if it is ending, and named if it stays. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "mount-helper/clock.h"
#include "mount-helper/pooldir_lock.h"

static char dir[] = "/tmp/aceso-lock-XXXXXX";
static int dirfd_;

static int setup(void **state)
{
	if (mkdtemp(dir) == NULL)
		return -1;
	dirfd_ = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dirfd_ < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	unlinkat(dirfd_, "lock", 0);
	close(dirfd_);
	return rmdir(dir);
}

static int take(const char *name, int *fd, char who[POOLDIR_WHO_BYTES])
{
	memset(who, 0, POOLDIR_WHO_BYTES);
	return pooldir_lock(dirfd_, name, fd, who);
}

struct holder {
	int fd;
	int ms; /* until it lets go */
};

static void *let_go(void *arg)
{
	struct holder *h = arg;

	usleep((useconds_t)h->ms * 1000);
	close(h->fd);
	return NULL;
}

/* "b" wants what "a" has for @ms more. */
static void b_gets_it_after(int ms, bool ending)
{
	struct holder h = {.ms = ms};
	char who[POOLDIR_WHO_BYTES];
	int64_t begun = now_ms();
	pthread_t t;
	int fd;

	assert_int_equal(take("a", &h.fd, who), 0);
	if (ending)
		pooldir_lock_say(h.fd, "a", true);
	assert_int_equal(pthread_create(&t, NULL, let_go, &h), 0);
	assert_int_equal(take("b", &fd, who), 0);
	assert_true(now_ms() - begun >= ms);
	pthread_join(t, NULL);
	close(fd);
}

static void one_that_leaves_is_waited_for(void **state)
{
	b_gets_it_after(300, false);
}

static void one_that_ends_is_waited_for_longer(void **state)
{
	b_gets_it_after(4000, true);
}

static void one_that_stays_is_named(void **state)
{
	char who[POOLDIR_WHO_BYTES], want[POOLDIR_WHO_BYTES];
	int fd, other = -1;

	assert_int_equal(take("a", &fd, who), 0);
	pooldir_lock_say(fd, "a", true); /* and then it is wanted again */
	pooldir_lock_say(fd, "a", false);
	assert_int_equal(take("b", &other, who), -EBUSY);
	assert_int_equal(other, -1);
	snprintf(want, sizeof(want), "pool a (pid %d)", getpid());
	assert_string_equal(who, want);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_that_leaves_is_waited_for),
		cmocka_unit_test(one_that_ends_is_waited_for_longer),
		cmocka_unit_test(one_that_stays_is_named),
	};

	return cmocka_run_group_tests_name("door pooldir_lock", tests, setup,
					   teardown);
}
