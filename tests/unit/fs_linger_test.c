/* When a thread stays awake for its next request, and when it goes to sleep. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "fs/linger.h"

#define LONG_NS UINT64_C(1000000) /* as a wait */
#define WAIT_S	60

struct line { /* of requests, here a pipe */
	struct linger linger;
	int in, out;
	char buf[8];
};

static int open_line(void **state)
{
	static struct line l;
	int fds[2];

	l = (struct line){0};
	if (pipe2(fds, O_NONBLOCK | O_CLOEXEC) != 0)
		return -1;
	l.out = fds[0];
	l.in = fds[1];
	*state = &l;
	return 0;
}

static int close_line(void **state)
{
	struct line *l = *state;

	close(l->in);
	close(l->out);
	return 0;
}

static ssize_t look(struct line *l)
{
	return fs_linger_read(&l->linger, l->out, l->buf, sizeof(l->buf));
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

static void what_is_there_is_taken(void **state)
{
	struct line *l = *state;

	assert_true(fs_linger_begin(&l->linger));
	assert_int_equal(write(l->in, "abc", 3), 3);
	assert_int_equal(look(l), 3);
	fs_linger_took(&l->linger);
	assert_memory_equal(l->buf, "abc", 3);
}

static void nothing_comes(void **state)
{
	struct line *l = *state;

	assert_true(fs_linger_begin(&l->linger));
	assert_int_equal(look(l), -1);
	assert_int_equal(errno, EAGAIN);
}

/* A wait as long as this tells that the next may be as long. */
static void after_a_long_wait_it_sleeps(void **state)
{
	const struct timespec pause = {.tv_nsec = LONG_NS};
	struct line *l = *state;

	assert_true(fs_linger_begin(&l->linger));
	nanosleep(&pause, NULL);
	fs_linger_took(&l->linger);
	assert_false(fs_linger_begin(&l->linger));
}

/* Until one was short again, though it slept for it. */
static void after_a_short_one_it_looks_again(void **state)
{
	uint64_t end = now_ns() + WAIT_S * UINT64_C(1000000000);
	struct line *l = *state;

	l->linger.gap = LONG_NS;
	do { /* our processor may be taken away in between */
		assert_false(fs_linger_begin(&l->linger));
		fs_linger_took(&l->linger);
	} while (l->linger.gap > LONG_NS / 20 && now_ns() < end);
	assert_true(fs_linger_begin(&l->linger));
}

static void a_device_that_fails_says_so(void **state)
{
	struct line *l = *state;

	assert_true(fs_linger_begin(&l->linger));
	assert_int_equal(fs_linger_read(&l->linger, -1, l->buf, 1), -1);
	assert_int_equal(errno, EBADF);
}

/* --- somebody else wants the processor ------------------------------------ */

static _Atomic bool enough;

static void *work(void *arg)
{
	(void)arg;
	while (!atomic_load(&enough))
		;
	return NULL;
}

static bool pin(int cpu)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	return sched_setaffinity(0, sizeof(one), &one) == 0;
}

static void a_processor_that_is_wanted_is_left(void **state)
{
	uint64_t end = now_ns() + WAIT_S * UINT64_C(1000000000);
	struct line *l = *state;
	cpu_set_t before;
	pthread_t other;

	assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
	assert_true(pin(sched_getcpu()));
	assert_int_equal(pthread_create(&other, NULL, work, NULL), 0);
	while (l->linger.shun == 0 && now_ns() < end) {
		assert_true(fs_linger_begin(&l->linger));
		assert_int_equal(look(l), -1);
	}
	assert_true(l->linger.shun > 0);
	l->linger.shun = now_ns() + LONG_NS * 10000; /* as if just now */
	assert_false(fs_linger_begin(&l->linger));
	atomic_store(&enough, true);
	pthread_join(other, NULL);
	l->linger.shun = now_ns();
	assert_true(fs_linger_begin(&l->linger));
	sched_setaffinity(0, sizeof(before), &before);
}

#define LINE_TEST(f) cmocka_unit_test_setup_teardown(f, open_line, close_line)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LINE_TEST(what_is_there_is_taken),
		LINE_TEST(nothing_comes),
		LINE_TEST(after_a_long_wait_it_sleeps),
		LINE_TEST(after_a_short_one_it_looks_again),
		LINE_TEST(a_device_that_fails_says_so),
		LINE_TEST(a_processor_that_is_wanted_is_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
