/* tests/contract/shm_readers_test.c - a node over shared memory that lets a
 * group look, and a client of that group that does not keep to our library: it
 * speaks the frames itself and tries every way to change what it was handed. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/contract/fabric_contract.h"

#include "rdma/shm_impl.h"

#define SIZE	   (1u << 20)
#define READERS	   61234u
#define NOT_OF_IT  61235u
#define STRANGER   61236u /* the user */
#define ANSWER_NS  (60 * UINT64_C(1000000000))
#define CALL_PROBE 7

struct node {
	char dir[32], path[64];
	uint8_t *region;
	void *base;
	int fd;
	struct fab_server *server;
};

/* What a node asks of each CALL: whether a reader sent it. */
static void on_call(void *arg, struct fab_request *rq, uint16_t type,
		    const void *req, size_t len)
{
	bool reader = fab_peer_reader(fab_request_peer(rq));

	assert_int_equal(type, CALL_PROBE);
	fab_reply(rq, reader ? -EROFS : 0, NULL, 0);
}

static int node_open(void **state)
{
	static struct node n;

	n.server = NULL;
	strcpy(n.dir, "/tmp/aceso-look-XXXXXX");
	if (mkdtemp(n.dir) == NULL || chmod(n.dir, 0711) != 0)
		return -1;
	snprintf(n.path, sizeof(n.path), "%s/node", n.dir);
	if (fab_region_open("look", SIZE, &n.base, &n.fd) != 0)
		return -1;
	n.region = n.base;
	memcpy(n.region, "kept", 4);
	*state = &n;
	return 0;
}

static void serve(struct node *n)
{
	struct fab_server_opts o = {
		.region = n->base,
		.size = SIZE,
		.region_fd = n->fd,
		.address = n->path,
		.readers = READERS,
		.on_call = on_call,
	};

	assert_int_equal(fab_server_open(&o, &n->server), 0);
}

static int node_close(void **state)
{
	struct node *n = *state;

	fab_server_close(n->server);
	fab_region_close(n->base, SIZE, n->fd);
	return rmdir(n->dir);
}

static void need_root(void)
{
	if (geteuid() == 0)
		return;
	print_message("not root: cannot be another user\n");
	skip();
}

static int become_stranger(gid_t group)
{
	return setgroups(0, NULL) != 0 || setresgid(group, group, group) != 0 ||
	       setresuid(STRANGER, STRANGER, STRANGER) != 0;
}

/* @what(n) as user STRANGER of @group, in a process of its own: the number that
 * it returns, 0: all as it should be; else the step that was not. It is made
 * before the server's thread is: the thread sanitizer wants it so. */
static int as_stranger(struct node *n, gid_t group, int (*what)(struct node *))
{
	int status, go[2];
	pid_t pid;
	char c;

	assert_int_equal(pipe(go), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		alarm(120);
		if (read(go[0], &c, 1) != 1 || become_stranger(group))
			_exit(99);
		_exit(what(n));
	}
	serve(n);
	assert_int_equal(write(go[1], "", 1), 1);
	close(go[0]);
	close(go[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* The descriptor that the node hands to who says hello; < 0: none. */
static int handed(const char *path)
{
	struct shm_frame fr;
	int sock, fd = -1;

	if (shm_connect(path, &sock) != 0)
		return -1;
	shm_frame_init(&fr, SHM_HELLO);
	if (shm_send(sock, &fr, NULL, 0, -1) != 0 ||
	    shm_wait_readable(sock, ANSWER_NS) != 0 ||
	    shm_recv(sock, &fr, sizeof(fr), &fd) != sizeof(fr))
		return -1;
	return fd; /* @sock stays open: the node takes us for alive */
}

static bool refuses(long rc)
{
	return rc == -1 && errno != 0;
}

/* Anything that would change the memory through @fd: 0, or which one worked. */
static int by_descriptor(int fd)
{
	char name[40];
	int word = fcntl(fd, F_GETFL);

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	if (!refuses(pwrite(fd, "harm", 4, 0)))
		return 10;
	if (!refuses(ftruncate(fd, 4096)))
		return 11;
	if (!refuses(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       0, 4096)))
		return 12;
	if (!refuses(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE)))
		return 13;
	if (!refuses(fchmod(fd, 0666)) || !refuses(fchown(fd, STRANGER, -1)))
		return 14;
	if (!refuses(open(name, O_RDWR)) || !refuses(open(name, O_WRONLY)) ||
	    !refuses(open(name, O_RDWR | O_TRUNC)))
		return 15;
	if (!refuses(truncate(name, 4096)) || !refuses(chmod(name, 0666)))
		return 16;
	/* flags say it is for reading; to say otherwise changes nothing */
	if ((word & O_ACCMODE) != O_RDONLY ||
	    (fcntl(fd, F_SETFL, O_RDWR) == 0 &&
	     !refuses(pwrite(fd, "harm", 4, 0))))
		return 17;
	return 0;
}

static int by_mapping(int fd)
{
	char *p = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED || memcmp(p, "kept", 4) != 0)
		return 20;
	if (mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) !=
	    MAP_FAILED)
		return 21;
	if (!refuses(mprotect(p, SIZE, PROT_READ | PROT_WRITE)))
		return 22;
	if (!refuses(madvise(p, SIZE, MADV_REMOVE)))
		return 23;
	return 0;
}

static int tries_all(struct node *n)
{
	int fd = handed(n->path), rc;

	if (fd < 0)
		return 1;
	rc = by_descriptor(fd);
	return rc != 0 ? rc : by_mapping(fd);
}

static void what_a_reader_is_handed_cannot_be_written(void **state)
{
	struct node *n = *state;

	need_root();
	assert_int_equal(as_stranger(n, READERS, tries_all), 0);
	assert_memory_equal(n->region, "kept", 4);
}

/* The same tries, by who may: so they are tries. */
static void what_its_owner_is_handed_can_be(void **state)
{
	struct node *n = *state;
	int fd;

	need_root();
	serve(n);
	fd = handed(n->path);
	assert_true(fd >= 0);
	assert_int_equal(by_descriptor(fd), 10);
	assert_memory_equal(n->region, "harm", 4);
	assert_int_equal(by_mapping(fd), 20);
	memcpy(n->region, "kept", 4);
	assert_int_equal(by_mapping(fd), 21);
	close(fd);
}

/* --- our own library ------------------------------------------------------ */

static int op_status(struct fab *f, struct fab_op *op)
{
	contract_ops(f, op, 1);
	return op->status;
}

static int looks(struct node *n)
{
	uint64_t word = 0;
	struct fab_net *net;
	struct fab_op op;
	struct fab *f;

	if (fab_shm_open(NULL, &net) != 0 ||
	    fab_net_attach(net, 0, n->path, "", 0) != 0 ||
	    fab_open(net, &f) != 0)
		return 1;
	fab_read(&op, 0, 0, &word, sizeof(word));
	if (op_status(f, &op) != 0 || memcmp(&word, "kept", 4) != 0)
		return 2;
	fab_write(&op, 0, 0, &word, sizeof(word));
	if (op_status(f, &op) != -EREMOTEIO)
		return 3;
	fab_cas(&op, 0, 0, word, 9);
	if (op_status(f, &op) != -EREMOTEIO)
		return 4;
	fab_faa(&op, 0, 0, 1);
	if (op_status(f, &op) != -EREMOTEIO)
		return 5;
	if (fab_call_run(f, 0, CALL_PROBE, "", 0, NULL, 0, NULL, 0) != -EROFS)
		return 6;
	fab_close(f);
	fab_net_close(net);
	return 0;
}

static void the_library_reads_and_refuses_the_rest(void **state)
{
	struct node *n = *state;

	need_root();
	assert_int_equal(as_stranger(n, READERS, looks), 0);
	assert_memory_equal(n->region, "kept", 4);
}

static int is_not_let_in(struct node *n)
{
	int sock, rc = shm_connect(n->path, &sock);

	return rc == -EACCES ? 0 : 1;
}

static void who_is_not_of_the_group_is_not_let_in(void **state)
{
	struct node *n = *state;
	struct stat st;

	need_root();
	assert_int_equal(as_stranger(n, NOT_OF_IT, is_not_let_in), 0);
	assert_int_equal(stat(n->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0660);
	assert_int_equal(st.st_gid, READERS);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, node_open, node_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(what_a_reader_is_handed_cannot_be_written),
		T(what_its_owner_is_handed_can_be),
		T(the_library_reads_and_refuses_the_rest),
		T(who_is_not_of_the_group_is_not_let_in),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
