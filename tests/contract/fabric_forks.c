/* tests/contract/fabric_forks.c - a process that forks: its child has copies of
 * all sockets, which so outlive close(2). Whoever watches them must not be told
 * of them any more (a supervisor met a connection that it had freed), and who
 * is at the other end must learn of the end even so. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/contract/fabric_contract.h"

#define ROUNDS 8u

static pid_t fork_holder(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	assert_true(pid > 0);
	return pid;
}

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Events for what is no more would come again and again. */
static void nothing_spins(void)
{
	uint64_t before = cpu_ns();

	usleep(200000);
	assert_true(cpu_ns() - before < 100000000);
}

static void count_down(void *arg, uint8_t id)
{
	__atomic_fetch_add((int *)arg, 1, __ATOMIC_SEQ_CST);
}

/* Each new connection may have the memory of one that is gone. */
static void a_server_forgets_whom_its_child_still_holds(void **state)
{
	pid_t client, holder[ROUNDS];
	struct test_node n;

	contract_node_open(&n);
	for (unsigned i = 0; i < ROUNDS; i++) {
		client = contract_client_spawn(n.address);
		contract_node_wait_held(&n, 1);
		holder[i] = fork_holder();
		contract_node_kill(client);
		contract_wait(&n.gones, (int)i + 1);
		contract_node_release(&n, 0, NULL, 0);
	}
	nothing_spins();
	for (unsigned i = 0; i < ROUNDS; i++)
		contract_node_kill(holder[i]);
	contract_node_close(&n);
}

static void a_net_forgets_whom_its_child_still_holds(void **state)
{
	int downs = 0;
	struct fab_net *net;
	char address[200];
	pid_t node, holder;

	assert_int_equal(contract->net_open(&net), 0);
	fab_net_on_down(net, count_down, &downs);
	node = contract_node_spawn(address, sizeof(address));
	contract_attach(net, 4, address);
	holder = fork_holder();
	contract_node_kill(node);
	contract_wait(&downs, 1);
	nothing_spins();
	fab_net_cut(net, 4);
	nothing_spins();
	assert_int_equal(contract_get(&downs), 1);
	contract_node_kill(holder);
	fab_net_close(net);
}

/* Both ends are of this process, and the child has both. */
static void the_other_end_learns_of_an_end(void **state)
{
	struct fixture *x = *state;
	int downs = 0;
	pid_t holder;

	fab_net_on_down(x->net, count_down, &downs);
	holder = fork_holder();
	fab_peer_cut(x->node[1].peer);
	contract_wait(&x->node[1].gones, 1);
	contract_wait(&downs, 1);
	fab_net_cut(x->net, 0);
	contract_wait(&x->node[0].gones, 1);
	contract_node_kill(holder);
}

int contract_run_forks(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_server_forgets_whom_its_child_still_holds),
		cmocka_unit_test(a_net_forgets_whom_its_child_still_holds),
		cmocka_unit_test_setup_teardown(the_other_end_learns_of_an_end,
						contract_setup,
						contract_teardown),
	};

	if (contract->pinned) /* an adapter's memory is not for children */
		return 0;
	return cmocka_run_group_tests_name("forks", tests, NULL, NULL);
}
