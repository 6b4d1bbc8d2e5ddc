/* A thread that reads requests as libfuse's loop does, from a socket in the
 * kernel's place: writes that wait are carried out together, are answered as
 * soon as nothing waits, and hold up nobody. */
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

#include "fs/answers.h"
#include "fs/door.h"
#include "fs/gather.h"
#include "fs/intake.h"
#include "tests/fsmodel/bytes.h"

#define CHUNKS	(2 * FS_OVERWRITES_MAX)
#define WAIT_MS 60000

static struct mnt m;
static uint64_t ino;
static int kernel, device; /* the two ends */
static uint64_t unique;

/* --- the session ---------------------------------------------------------- */

static ssize_t take_in(int fd, void *buf, size_t len, void *userdata)
{
	/* Not the session's own: a thread's, as with clone_fd. */
	return fs_intake_read(userdata, device, buf, len);
}

static ssize_t give_out(int fd, struct iovec *iov, int count, void *userdata)
{
	ssize_t len = 0;

	for (int i = 0; i < count; i++)
		len += (ssize_t)iov[i].iov_len;
	return fs_answers_take(device, iov, count) ? len
						   : writev(device, iov, count);
}

static void serve_one(void)
{
	static struct fuse_buf buf;

	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
	assert_true(fuse_session_receive_buf(m.fs->se, &buf) > 0);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	fuse_session_process_buf(m.fs->se, &buf);
}

static void *serve_main(void *arg)
{
	for (;;)
		serve_one();
	return NULL;
}

/* --- the kernel ----------------------------------------------------------- */

static void ask(uint32_t opcode, uint64_t node, const void *arg, size_t len,
		const void *data, size_t data_len)
{
	struct fuse_in_header h = {
		.opcode = opcode, .unique = ++unique, .nodeid = node};
	struct iovec iov[3] = {
		{&h, sizeof(h)}, {(void *)arg, len}, {(void *)data, data_len}};

	h.len = sizeof(h) + len + data_len;
	assert_int_equal(writev(kernel, iov, 3), h.len);
}

static void ask_write(uint32_t chunk, uint8_t byte)
{
	struct fuse_write_in w = {.offset = (uint64_t)chunk * FS_CHUNK_BYTES,
				  .size = PAGE};
	uint8_t page[PAGE];

	memset(page, byte, PAGE);
	ask(FUSE_WRITE, ino, &w, sizeof(w), page, PAGE);
}

static void ask_attr(void)
{
	struct fuse_getattr_in g = {0};

	ask(FUSE_GETATTR, ino, &g, sizeof(g), NULL, 0);
}

/* Whether there is an answer in @ms; *@bytes are what comes with it. */
static bool answered(int ms, uint32_t *bytes)
{
	struct pollfd p = {kernel, POLLIN, 0};
	union {
		struct fuse_out_header head;
		char all[8192];
	} got;

	if (poll(&p, 1, ms) == 0)
		return false;
	assert_true(read(kernel, &got, sizeof(got)) >=
		    (ssize_t)sizeof(got.head));
	assert_int_equal(got.head.error, 0);
	*bytes = got.head.len - sizeof(got.head);
	return true;
}

/* How many answers there are, now; all to writes. */
static unsigned answers(void)
{
	uint32_t bytes;
	unsigned n = 0;

	for (; answered(0, &bytes); n++)
		assert_int_equal(bytes, sizeof(struct fuse_write_out));
	return n;
}

static void assert_page(uint32_t chunk, uint8_t byte)
{
	uint8_t got[PAGE], want[PAGE];

	memset(want, byte, PAGE);
	assert_int_equal(
		file_read(&m, ino, got, PAGE, (uint64_t)chunk * FS_CHUNK_BYTES),
		PAGE);
	assert_memory_equal(got, want, PAGE);
}

/* --- life ----------------------------------------------------------------- */

static void begin_session(void)
{
	static const struct fuse_custom_io io = {.read = take_in,
						 .writev = give_out};
	struct fuse_init_in init = {.major = FUSE_KERNEL_VERSION,
				    .minor = 31,
				    .max_readahead = 1 << 17};
	char *argv[] = {"gather_test"};
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);
	struct fuse_session *se = fuse_session_new(
		&args, fs_ops(), sizeof(struct fuse_lowlevel_ops), m.fs);
	uint32_t bytes;

	assert_non_null(se);
	fuse_opt_free_args(&args);
	m.fs->se = se;
	assert_int_equal(fuse_session_custom_io(se, &io, dup(device)), 0);
	ask(FUSE_INIT, 0, &init, sizeof(init), NULL, 0);
	serve_one();
	assert_true(answered(WAIT_MS, &bytes));
}

static int setup(void **state)
{
	int ends[2];
	char *bytes = calloc(1, CHUNKS * FS_CHUNK_BYTES);

	mnt_open(&m);
	ino = file_new(&m);
	assert_int_equal(file_write(&m, ino, bytes, CHUNKS * FS_CHUNK_BYTES, 0),
			 CHUNKS * FS_CHUNK_BYTES);
	free(bytes);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
	kernel = ends[0];
	device = ends[1];
	assert_int_equal(door_open(1, &m.fs->door), 0);
	begin_session();
	return 0;
}

static int teardown(void **state)
{
	fuse_session_destroy(m.fs->se);
	m.fs->se = NULL;
	door_close(m.fs->door);
	m.fs->door = NULL;
	close(kernel);
	close(device);
	mnt_close(&m);
	return 0;
}

/* --- the tests ------------------------------------------------------------ */

/* None is answered before the last was read, and then all of them. */
static void together(void **state)
{
	for (uint32_t i = 0; i < 20; i++)
		ask_write(i, 'a' + i);
	ask_attr();
	for (uint32_t i = 0; i < 21; i++)
		serve_one();
	assert_int_equal(fs_gather_count(), 20);
	ask(FUSE_STATFS, 1, NULL, 0, NULL, 0); /* goes behind them */
	serve_one();
	assert_int_equal(fs_gather_count(), 0);
	for (uint32_t i = 0; i < 20; i++)
		assert_page(i, 'a' + i);
}

static void in_full_loads(void **state)
{
	for (uint32_t i = 0; i < FS_OVERWRITES_MAX + 1; i++) {
		ask_write(i, 'A');
		serve_one();
		assert_int_equal(answers(),
				 i == FS_OVERWRITES_MAX - 1 ? i + 1 : 0);
	}
	ask(FUSE_STATFS, 1, NULL, 0, NULL, 0);
	serve_one();
}

/* Two of one chunk: the second is done after the first, and answered. */
static void one_chunk(void **state)
{
	ask_write(3, 'x');
	ask_write(3, 'y');
	ask(FUSE_STATFS, 1, NULL, 0, NULL, 0);
	for (uint32_t i = 0; i < 3; i++)
		serve_one();
	assert_page(3, 'y');
}

/* Requests that keep coming do not keep a write back for ever. */
static void bounded(void **state)
{
	unsigned n = 0;
	uint32_t bytes;

	ask_write(0, 'z');
	serve_one();
	while (fs_gather_count() > 0) {
		ask_attr();
		serve_one();
		assert_true(answered(WAIT_MS, &bytes));
		assert_true(++n <= FS_OVERWRITES_MAX);
	}
	assert_page(0, 'z');
}

/* What is not whole pages is not kept back. */
static void others_go(void **state)
{
	struct fuse_write_in w = {.offset = 10, .size = 3};

	ask(FUSE_WRITE, ino, &w, sizeof(w), "abc", 3);
	serve_one();
	assert_int_equal(answers(), 1);
}

/* Nothing waits: so it is answered, and the thread waits for the next. */
static void at_once(void **state)
{
	pthread_t t;
	uint32_t bytes;

	assert_int_equal(pthread_create(&t, NULL, serve_main, NULL), 0);
	for (uint32_t i = 0; i < 100; i++) {
		ask_write(i % CHUNKS, '0' + i % 10);
		assert_true(answered(WAIT_MS, &bytes));
		assert_page(i % CHUNKS, '0' + i % 10);
	}
	pthread_cancel(t);
	pthread_join(t, NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(together), TEST(in_full_loads), TEST(one_chunk),
		TEST(bounded),	TEST(others_go),     TEST(at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
