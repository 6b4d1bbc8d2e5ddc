/* Short answers that go together, to sockets in the kernel's place: none before
 * it is said, each once and whole, and what fails keeps no other back. */
#include "fs/answers.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define ROOM	8u
#define WAIT_MS 60000

static struct fs_answers *a;
static int device, kernel; /* the two ends */

static int setup(void **state)
{
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
	device = ends[0];
	kernel = ends[1];
	assert_int_equal(fs_answers_open(ROOM, &a), 0);
	return 0;
}

static int teardown(void **state)
{
	fs_answers_close(a);
	close(device);
	close(kernel);
	return 0;
}

/* In two parts, as libfuse gives them. */
static bool take(int fd, char word, size_t len)
{
	char bytes[2 * FS_ANSWER_BYTES_MAX];
	struct iovec iov[2] = {{bytes, len / 2},
			       {bytes + len / 2, len - len / 2}};

	memset(bytes, word, sizeof(bytes));
	return fs_answers_take(fd, iov, 2);
}

/* The next answer is @len times @word. */
static void expect(char word, size_t len)
{
	struct pollfd p = {kernel, POLLIN, 0};
	char got[2 * FS_ANSWER_BYTES_MAX], want[2 * FS_ANSWER_BYTES_MAX];

	memset(want, word, sizeof(want));
	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	assert_int_equal(read(kernel, got, sizeof(got)), len);
	assert_memory_equal(got, want, len);
}

static void expect_none(void)
{
	struct pollfd p = {kernel, POLLIN, 0};

	assert_int_equal(poll(&p, 1, 0), 0);
}

/* More rounds than the ring has places. */
static void together(void **state)
{
	for (int round = 0; round < 5; round++) {
		fs_answers_hold(a);
		for (uint32_t i = 0; i < ROOM; i++)
			assert_true(take(device, (char)('a' + i), 24 + i % 2));
		expect_none();
		fs_answers_give();
		for (uint32_t i = 0; i < ROOM; i++)
			expect((char)('a' + i), 24 + i % 2);
		expect_none();
	}
}

static void not_held(void **state)
{
	assert_false(take(device, 'x', 24));
	fs_answers_hold(NULL);
	assert_false(take(device, 'x', 24));
	fs_answers_give();
	fs_answers_hold(a);
	fs_answers_give();
	assert_false(take(device, 'x', 24));
	expect_none();
}

/* The one that is too long leaves nothing behind. */
static void no_room(void **state)
{
	fs_answers_hold(a);
	assert_true(take(device, 'a', FS_ANSWER_BYTES_MAX));
	assert_false(take(device, 'b', FS_ANSWER_BYTES_MAX + 1));
	for (uint32_t i = 1; i < ROOM; i++)
		assert_true(take(device, 'c', 16));
	assert_false(take(device, 'd', 16));
	fs_answers_give();
	expect('a', FS_ANSWER_BYTES_MAX);
	for (uint32_t i = 1; i < ROOM; i++)
		expect('c', 16);
	expect_none();
}

/* A descriptor that is none, and one that is not for writing: the others go,
 * and so does the next load. */
static void one_fails(void **state)
{
	int one_way[2];

	assert_int_equal(pipe2(one_way, O_NONBLOCK), 0);
	fs_answers_hold(a);
	assert_true(take(device, 'a', 24));
	assert_true(take(-1, 'b', 24));
	assert_true(take(one_way[0], 'c', 24)); /* for reading */
	assert_true(take(device, 'd', 24));
	fs_answers_give();
	expect('a', 24);
	expect('d', 24);
	fs_answers_hold(a);
	assert_true(take(device, 'e', 24));
	fs_answers_give();
	expect('e', 24);
	expect_none();
	close(one_way[0]);
	close(one_way[1]);
}

/* Nobody may open a ring here: the caller is told, and goes on without. */
static void refused(void **state)
{
	struct fs_answers *none = NULL;
	struct rlimit was, few;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
	few = (struct rlimit){.rlim_cur = 0, .rlim_max = was.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	assert_int_equal(fs_answers_open(ROOM, &none), -EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
	assert_null(none);
	fs_answers_close(none);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(together),	 TEST(not_held), TEST(no_room),
		TEST(one_fails), TEST(refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
