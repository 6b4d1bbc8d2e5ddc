/* tests/crash/kv_fence_test.c - [I6]: a client that does not adopt a view is
 * ended before anything is taken over from it. Real processes, real signals. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "kv/client/client_impl.h"
#include "kv/client/member.h"
#include "kv/proto.h"
#include "tests/lib/cluster.h"

#define MS UINT64_C(1000000)

struct child {
	pid_t pid;
	int say, hear;	   /* pipes */
	atomic_int killed; /* how often; counted last */
	int status;	   /* as of waitpid() */
};

/* The child: told the address, it joins, says so, and stops for good. */
static void child_main(int hear, int say)
{
	struct proto_hello hello = {.magic = PROTO_MAGIC,
				    .version = PROTO_VERSION,
				    .role = PROTO_CLIENT};
	static struct proto_joined joined;
	struct proto_join rq = {.hello = hello, .what = "frozen"};
	char address[PROTO_ADDRESS_BYTES];
	struct fab_net *net;
	struct fab *f;

	if (read(hear, address, sizeof(address)) != sizeof(address) ||
	    fab_shm_open(NULL, &net) != 0 || fab_open(net, &f) != 0 ||
	    fab_net_attach(net, FAB_NODE_COORD, address, &hello,
			   sizeof(hello)) != 0 ||
	    fab_call_run(f, FAB_NODE_COORD, PROTO_JOIN, &rq, sizeof(rq),
			 &joined, sizeof(joined), NULL, 0) != 0 ||
	    write(say, "j", 1) != 1)
		_exit(1);
	raise(SIGSTOP);
	_exit(2); /* went on: nobody ended it */
}

static void child_start(struct child *ch)
{
	int to[2], from[2];

	assert_int_equal(pipe(to), 0);
	assert_int_equal(pipe(from), 0);
	ch->pid = fork();
	assert_true(ch->pid >= 0);
	if (ch->pid == 0)
		child_main(to[0], from[1]);
	close(to[0]);
	close(from[1]);
	ch->say = to[1];
	ch->hear = from[0];
}

/* What a supervisor does: kill, and wait until it is dead. */
static int kill_client(void *arg, int32_t pid)
{
	struct child *ch = arg;

	if (pid != ch->pid)
		return -EPERM; /* the test itself is a client too */
	if (kill(pid, SIGKILL) != 0 || waitpid(pid, &ch->status, 0) != pid)
		return -errno;
	atomic_fetch_add(&ch->killed, 1);
	return 0;
}

static void join_child(struct cluster *c, struct child *ch)
{
	char address[PROTO_ADDRESS_BYTES] = {0}, answer;

	strcpy(address, cluster_address(c));
	assert_int_equal(write(ch->say, address, sizeof(address)),
			 sizeof(address));
	assert_int_equal(read(ch->hear, &answer, 1), 1);
}

static void put_and_get(struct kv *kv, const char *val)
{
	char key[2] = "a", buf[16];
	uint64_t version;
	size_t len;

	for (; key[0] <= 'z'; key[0]++) { /* on every shard */
		assert_int_equal(kv_put(kv, key, 1, val, 1, NULL), 0);
		assert_int_equal(
			kv_get(kv, key, 1, buf, sizeof(buf), &len, &version),
			0);
		assert_int_equal(buf[0], val[0]);
	}
}

static void frozen_client_is_ended(struct cluster *c, void *arg)
{
	struct child *ch = arg;
	struct kv *kv = cluster_client(c);

	put_and_get(kv, "1");
	join_child(c, ch);
	cluster_sleep(c, 50 * MS);
	assert_int_equal(coord_clients(cluster_coord(c)), 2);
	assert_int_equal(atomic_load(&ch->killed),
			 0); /* being slow is no crime by itself */
	cluster_kill_node(c, 1);
	while (member_up(kv->member) & 1u << 1) /* it has not heard yet */
		cluster_sleep(c, MS);
	put_and_get(kv, "2"); /* waits for shard 1, for the lease at most */
	assert_int_equal(atomic_load(&ch->killed), 1);
	assert_true(WIFSIGNALED(ch->status));
	assert_int_equal(WTERMSIG(ch->status), SIGKILL);
	assert_int_equal(coord_clients(cluster_coord(c)), 1);
}

static void test_frozen(void **state)
{
	struct child ch = {0};
	struct cluster_opts o = {.mode = CLUSTER_SHM,
				 .lease_ms = 300,
				 .kill_client = kill_client,
				 .kill_arg = &ch};

	child_start(&ch); /* before there are threads */
	cluster_run(&o, frozen_client_is_ended, &ch);
	close(ch.say);
	close(ch.hear);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frozen),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
