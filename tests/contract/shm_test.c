/* tests/contract/shm_test.c - the contract over shared memory, and what only
 * this transport has: socket files, descriptors, frames. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/contract/fabric_contract.h"

#include "rdma/shm_impl.h"

static char dir[] = "/tmp/aceso-shm-XXXXXX";

static void address(unsigned n, char *out, size_t cap)
{
	snprintf(out, cap, "%s/node%u", dir, n);
}

static int net_open(struct fab_net **out)
{
	return fab_shm_open(NULL, out);
}

static const struct contract_transport shm_transport = {
	.name = "shm",
	.net_open = net_open,
	.address = address,
	.absent = -ENOENT,
};

static void nothing(void *arg, struct fab_request *rq, uint16_t type,
		    const void *req, size_t len)
{
	fab_reply(rq, 0, NULL, 0);
}

static int serve_at(const char *path, struct fab_server **s)
{
	struct fab_server_opts o = {
		.region_fd = -1, .address = path, .on_call = nothing};

	return fab_server_open(&o, s);
}

/* --- socket files --------------------------------------------------------- */

static void the_socket_is_the_owners_alone(void **state)
{
	struct fab_server *s;
	struct stat st;
	char path[200];

	snprintf(path, sizeof(path), "%s/own", dir);
	assert_int_equal(serve_at(path, &s), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	fab_server_close(s);
	assert_int_equal(stat(path, &st), -1); /* leaves nothing behind */
}

static void a_live_server_is_not_displaced(void **state)
{
	struct fab_server *s, *second = NULL;
	char path[200];

	snprintf(path, sizeof(path), "%s/live", dir);
	assert_int_equal(serve_at(path, &s), 0);
	assert_int_equal(serve_at(path, &second), -EADDRINUSE);
	assert_null(second);
	fab_server_close(s);
}

static void a_stale_socket_is_replaced(void **state)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct fab_server *s;
	struct fab_net *net;
	char path[200];
	int sock;

	snprintf(path, sizeof(path), "%s/stale", dir);
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/stale", dir);
	sock = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	assert_int_equal(bind(sock, (struct sockaddr *)&sa, sizeof(sa)), 0);
	close(sock);
	assert_int_equal(fab_shm_open(NULL, &net), 0);
	assert_int_equal(fab_net_attach(net, FAB_NODE_COORD, path, "", 0),
			 -ECONNREFUSED);
	assert_int_equal(serve_at(path, &s), 0);
	assert_int_equal(fab_net_attach(net, FAB_NODE_COORD, path, "", 0), 0);
	fab_net_close(net);
	fab_server_close(s);
}

static void closing_leaves_a_successors_socket(void **state)
{
	struct fab_server *first, *second;
	struct fab_net *net;
	char path[200];

	snprintf(path, sizeof(path), "%s/succ", dir);
	assert_int_equal(serve_at(path, &first), 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(serve_at(path, &second), 0);
	fab_server_close(first);
	assert_int_equal(fab_shm_open(NULL, &net), 0);
	assert_int_equal(fab_net_attach(net, FAB_NODE_COORD, path, "", 0), 0);
	fab_net_close(net);
	fab_server_close(second);
}

static void paths_longer_than_a_socket_address_work(void **state)
{
	char path[600], sub[101];
	struct fab_server *s;
	struct fab_net *net;

	memset(sub, 'd', 100);
	sub[100] = '\0';
	snprintf(path, sizeof(path), "%s/%s", dir, sub);
	assert_int_equal(mkdir(path, 0700), 0);
	strcat(path, "/");
	strcat(path, sub);
	assert_int_equal(mkdir(path, 0700), 0);
	strcat(path, "/sock");
	assert_int_equal(serve_at(path, &s), 0);
	assert_int_equal(fab_shm_open(NULL, &net), 0);
	assert_int_equal(fab_net_attach(net, FAB_NODE_COORD, path, "", 0), 0);
	fab_net_close(net);
	fab_server_close(s);
}

static void bad_addresses_are_told_apart(void **state)
{
	struct fab_server *s;
	struct fab_net *net;
	char path[400], name[256];

	assert_int_equal(fab_shm_open(NULL, &net), 0);
	snprintf(path, sizeof(path), "%s/none", dir);
	assert_int_equal(fab_net_attach(net, 0, path, "", 0), -ENOENT);
	snprintf(path, sizeof(path), "%s/none/none", dir);
	assert_int_equal(fab_net_attach(net, 0, path, "", 0), -ENOENT);
	assert_int_equal(serve_at(path, &s), -ENOENT);
	assert_int_equal(serve_at("", &s), -EINVAL);
	memset(name, 'n', 200);
	name[200] = '\0';
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(serve_at(path, &s), -ENAMETOOLONG);
	fab_net_close(net);
}

static void a_coordinator_has_no_region(void **state)
{
	struct fab_server *s;
	struct fab_net *net;
	struct fab *f;
	char path[200];

	snprintf(path, sizeof(path), "%s/coord", dir);
	assert_int_equal(serve_at(path, &s), 0);
	assert_int_equal(fab_shm_open(NULL, &net), 0);
	assert_int_equal(fab_net_attach(net, 0, path, "", 0), -EPROTO);
	assert_int_equal(fab_net_attach(net, FAB_NODE_COORD, path, "", 0), 0);
	assert_int_equal(fab_open(net, &f), 0);
	assert_int_equal(
		fab_call_run(f, FAB_NODE_COORD, 1, "x", 1, NULL, 0, NULL, 0),
		0);
	fab_close(f);
	fab_net_close(net);
	fab_server_close(s);
}

/* --- regions -------------------------------------------------------------- */

static void a_region_can_never_shrink(void **state)
{
	void *base;
	int fd;

	assert_int_equal(fab_region_open("r", 1 << 20, &base, &fd), 0);
	assert_int_equal(ftruncate(fd, 4096), -1);
	assert_int_equal(ftruncate(fd, 2 << 20), -1);
	assert_int_equal(((char *)base)[(1 << 20) - 1], 0);
	fab_region_close(base, 1 << 20, fd);
	assert_int_equal(fab_region_open("r", 0, &base, &fd), -EINVAL);
}

/* A node that hands over something that could shrink is not believed. */
/* As many huge pages as there are, or -1: they cannot be had here. */
static long huge_pages(long wanted)
{
	static const char path[] = "/proc/sys/vm/nr_hugepages";
	FILE *f = fopen(path, wanted >= 0 ? "w" : "r");
	long n = -1;

	if (f == NULL)
		return -1;
	if (wanted >= 0)
		fprintf(f, "%ld\n", wanted);
	else if (fscanf(f, "%ld", &n) != 1)
		n = -1;
	return fclose(f) == 0 ? n : -1;
}

/* One that does not fit into them has small pages; both are zeros, cannot
 * shrink, and go. */
static void a_region_may_have_huge_pages(void **state)
{
	const uint64_t size = (8 << 20) + 4096, most = UINT64_C(1) << 36;
	long was = huge_pages(-1);
	bool huge = false;
	void *base;
	int fd;

	if (was < 0)
		skip();
	huge_pages(was + 5);
	assert_int_equal(fab_region_open_huge("r", size, &base, &fd, &huge), 0);
	printf("huge pages: %s\n", huge ? "yes" : "none can be had here");
	assert_int_equal(((char *)base)[size - 1], 0);
	memset(base, 1, size);
	assert_int_equal(ftruncate(fd, 2 << 20), -1);
	fab_region_close(base, size, fd);
	assert_int_equal(fab_region_open_huge("r", most, &base, &fd, &huge), 0);
	assert_false(huge);
	assert_int_equal(((char *)base)[size], 0);
	fab_region_close(base, most, fd);
	huge_pages(was);
}

static void an_unsealed_region_is_refused(void **state)
{
	struct fab_server_opts o = {.size = 1 << 20, .on_call = nothing};
	struct fab_server *s;
	struct fab_net *net;
	char path[200];

	snprintf(path, sizeof(path), "%s/unsealed", dir);
	o.address = path;
	o.region_fd = memfd_create("unsealed", MFD_CLOEXEC);
	assert_int_equal(ftruncate(o.region_fd, 1 << 20), 0);
	o.region = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED,
			o.region_fd, 0);
	assert_ptr_not_equal(o.region, MAP_FAILED);
	assert_int_equal(fab_server_open(&o, &s), 0);
	assert_int_equal(fab_shm_open(NULL, &net), 0);
	assert_int_equal(fab_net_attach(net, 0, path, "", 0), -EPROTO);
	fab_net_close(net);
	fab_server_close(s);
	munmap(o.region, 1 << 20);
	close(o.region_fd);
}

#define MIB (1u << 20)

/* In whole pieces; what was given back is forgotten, at the next look. */
static void memory_that_is_there_is_mapped_ahead(void **state)
{
	struct fixture *x = *state;
	struct shm_node *node = shm_node((struct net *)x->net, 0);

	memset(x->node[0].region + MIB, 1, MIB);
	assert_false(shm_is_mapped(node, MIB, 4096));
	fab_net_prepare(x->net, 0, MIB, 2 * MIB, false);
	assert_true(shm_is_mapped(node, MIB, MIB));
	assert_false(shm_is_mapped(node, MIB - 4096, 8192));
	assert_false(shm_is_mapped(node, 2 * MIB, 4096)); /* none was there */
	fab_net_prepare(x->net, 0, 3 * MIB, MIB + 4096, true);
	assert_true(shm_is_mapped(node, 3 * MIB, MIB));
	assert_false(shm_is_mapped(node, 4 * MIB, 4096));
	fab_region_discard(x->node[0].region, x->node[0].fd, MIB, 4096);
	fab_net_prepare(x->net, 0, MIB, MIB, false);
	assert_false(shm_is_mapped(node, MIB, 4096));
	assert_true(shm_is_mapped(node, MIB + SHM_PIECE_BYTES,
				  MIB - SHM_PIECE_BYTES));
}

/* --- frames that break the rules ------------------------------------------ */

static int raw_connect(const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int s = socket(AF_UNIX, SOCK_SEQPACKET, 0);

	memcpy(sa.sun_path, path, strlen(path) + 1);
	assert_int_equal(connect(s, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return s;
}

/* What the node makes of @len bytes: it hangs up. */
static void expect_hang_up(const char *path, const void *bytes, size_t len)
{
	char answer[256];
	int s = raw_connect(path);
	ssize_t n;

	assert_int_equal(send(s, bytes, len, MSG_NOSIGNAL), len);
	do /* perhaps a welcome first */
		n = recv(s, answer, sizeof(answer), 0);
	while (n > 0);
	assert_true(n == 0 || errno == ECONNRESET);
	close(s);
}

static void frames_that_break_the_rules_cost_the_connection(void **state)
{
	struct fixture *x = *state;
	const char *path = x->node[0].address;
	uint64_t before = fab_server_malformed(x->node[0].server);
	struct shm_frame fr;
	char who[64];

	expect_hang_up(path, "x", 1);
	shm_frame_init(&fr, SHM_CALL); /* before hello */
	expect_hang_up(path, &fr, sizeof(fr));
	shm_frame_init(&fr, SHM_HELLO);
	fr.version++;
	expect_hang_up(path, &fr, sizeof(fr));
	shm_frame_init(&fr, SHM_WELCOME);
	expect_hang_up(path, &fr, sizeof(fr));
	shm_frame_init(&fr, SHM_HELLO_CALLS); /* whose? */
	expect_hang_up(path, &fr, sizeof(fr));
	/* the last is no offence: its peer may have been cut meanwhile */
	assert_int_equal(fab_server_malformed(x->node[0].server), before + 4);
	assert_int_equal(contract_get(&x->node[0].refused), 4);
	assert_int_equal(x->node[0].refused_why, -EPROTO);
	snprintf(who, sizeof(who), "process %d of user %u", getpid(), getuid());
	assert_string_equal(x->node[0].refused_from, who);
	assert_int_equal(
		fab_call_run(x->f, 0, CALL_ECHO, NULL, 0, NULL, 0, NULL, 0), 0);
}

static void a_call_on_the_primary_socket_breaks_the_rules(void **state)
{
	struct fixture *x = *state;
	struct shm_frame fr;
	char answer[256];
	int s = raw_connect(x->node[0].address);

	shm_frame_init(&fr, SHM_HELLO);
	assert_int_equal(send(s, &fr, sizeof(fr), 0), sizeof(fr));
	assert_int_equal(recv(s, answer, sizeof(answer), 0), sizeof(fr));
	shm_frame_init(&fr, SHM_CALL);
	assert_int_equal(send(s, &fr, sizeof(fr), 0), sizeof(fr));
	assert_int_equal(recv(s, answer, sizeof(answer), 0), 0);
	close(s);
	contract_wait(&x->node[0].gones, 1);
}

static void a_frame_too_long_breaks_the_rules(void **state)
{
	struct fixture *x = *state;
	size_t len = SHM_FRAME_MAX + 1;
	struct shm_frame *fr = calloc(1, len);

	shm_frame_init(fr, SHM_HELLO);
	expect_hang_up(x->node[0].address, fr, len);
	assert_int_equal(fab_server_malformed(x->node[0].server), 1);
	free(fr);
}

/* Random bytes, some with a right beginning. The seed makes a failure
 * come again. */
static void random_frames_never_harm_the_node(void **state)
{
	struct fixture *x = *state;
	struct {
		struct shm_frame fr;
		uint8_t more[300];
	} m;
	unsigned seed = 12345;
	char answer[512];
	int s;

	for (int i = 0; i < 2000; i++) {
		for (size_t k = 0; k < sizeof(m); k++)
			((uint8_t *)&m)[k] = (uint8_t)rand_r(&seed);
		if (i % 4 != 0) {
			m.fr.magic = SHM_MAGIC;
			m.fr.version = SHM_VERSION;
			m.fr.type = (uint16_t)(rand_r(&seed) % 7);
		}
		s = raw_connect(x->node[0].address);
		for (int k = 0; k < 3; k++)
			if (send(s, &m, (size_t)rand_r(&seed) % sizeof(m) + 1,
				 MSG_NOSIGNAL) < 0)
				break;
		if (i % 16 == 0)
			recv(s, answer, sizeof(answer), 0);
		close(s);
	}
	assert_true(fab_server_malformed(x->node[0].server) > 500);
	assert_int_equal(
		fab_call_run(x->f, 0, CALL_ECHO, NULL, 0, NULL, 0, NULL, 0), 0);
	assert_true(fab_net_up(x->net, 0));
}

/* Nobody else's token gets one in: it needs the same process, too. */
static void a_token_of_another_net_is_worth_nothing(void **state)
{
	struct fixture *x = *state;
	struct shm_frame fr;

	shm_frame_init(&fr, SHM_HELLO_CALLS);
	memcpy(fr.token, ((struct shm_net *)x->net)->net.token,
	       sizeof(fr.token));
	fr.token[3] ^= 1;
	expect_hang_up(x->node[0].address, &fr, sizeof(fr));
}

/* --- threads ------------------------------------------------------------- */

/* A signal to the process that this thread holds back stays pending: none of
 * the transport's threads takes it instead. */
static void no_thread_of_ours_takes_signals(void **state)
{
	sigset_t usr1, pending;
	int got;

	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &usr1, NULL);
	assert_int_equal(kill(getpid(), SIGUSR1), 0);
	usleep(10000);
	assert_int_equal(sigpending(&pending), 0);
	assert_true(sigismember(&pending, SIGUSR1));
	assert_int_equal(sigwait(&usr1, &got), 0);
	pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);
}

#define X(fn)                                                                  \
	cmocka_unit_test_setup_teardown(fn, contract_setup, contract_teardown)

static int run_own(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_socket_is_the_owners_alone),
		cmocka_unit_test(a_live_server_is_not_displaced),
		cmocka_unit_test(a_stale_socket_is_replaced),
		cmocka_unit_test(closing_leaves_a_successors_socket),
		cmocka_unit_test(paths_longer_than_a_socket_address_work),
		cmocka_unit_test(bad_addresses_are_told_apart),
		cmocka_unit_test(a_coordinator_has_no_region),
		cmocka_unit_test(a_region_can_never_shrink),
		cmocka_unit_test(a_region_may_have_huge_pages),
		cmocka_unit_test(an_unsealed_region_is_refused),
		cmocka_unit_test_setup_teardown(
			memory_that_is_there_is_mapped_ahead, contract_setup,
			contract_teardown),
		X(frames_that_break_the_rules_cost_the_connection),
		X(a_call_on_the_primary_socket_breaks_the_rules),
		X(a_frame_too_long_breaks_the_rules),
		X(random_frames_never_harm_the_node),
		X(no_thread_of_ours_takes_signals),
		X(a_token_of_another_net_is_worth_nothing),
	};

	return cmocka_run_group_tests_name("shm only", tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	return contract_main_in(dir, argc, argv, &shm_transport, run_own);
}
