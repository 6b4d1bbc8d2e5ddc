/* tests/contract/tcp_test.c - the contract over TCP on loopback, inside TLS,
 * and what only this has: keys, strangers. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/contract/fabric_contract.h"
#include "tests/contract/fabric_tcp.h"

/* --- keys ----------------------------------------------------------------- */

static int attach_with(const struct fab_key *k, const char *to)
{
	struct fab_net *net;
	int rc;

	assert_int_equal(fab_tcp_open(k, &net), 0);
	rc = fab_net_attach(net, 0, to, "hello", 5);
	fab_net_close(net);
	return rc;
}

static void another_key_is_refused_by_name(void **state)
{
	struct fixture *x = *state;
	struct fab_key other = contract_tcp_key;
	int hellos = contract_get(&x->node[0].hellos);

	other.bytes[7] ^= 1;
	assert_int_equal(attach_with(&other, x->node[0].address), -EACCES);
	other = contract_tcp_key;
	other.len = 31;
	assert_int_equal(attach_with(&other, x->node[0].address), -EACCES);
	assert_int_equal(contract_get(&x->node[0].hellos), hellos);
	contract_wait(&x->node[0].refused, 2);
	assert_int_equal(x->node[0].refused_why, -EACCES);
	assert_non_null(strstr(x->node[0].refused_from, "127.0.0.1:"));
	assert_int_equal(attach_with(&contract_tcp_key, x->node[0].address), 0);
	assert_int_equal(contract_get(&x->node[0].refused), 2);
}

static void no_key_is_refused(void **state)
{
	struct fixture *x = *state;
	int hellos = contract_get(&x->node[0].hellos);

	assert_int_not_equal(attach_with(NULL, x->node[0].address), 0);
	assert_int_equal(contract_get(&x->node[0].hellos), hellos);
	assert_true(fab_server_malformed(x->node[0].server) > 0);
}

static void a_short_key_is_no_key(void **state)
{
	struct fab_key small = {.len = FAB_KEY_BYTES_MIN - 1};
	struct fab_net *net;

	assert_int_equal(fab_tcp_open(&small, &net), -EINVAL);
	small.len = FAB_KEY_BYTES_MAX + 1;
	assert_int_equal(fab_tcp_open(&small, &net), -EINVAL);
}

/* --- strangers ------------------------------------------------------------ */

/* Whoever connects and says nothing does not stay. */
static void a_silent_stranger_is_sent_away(void **state)
{
	struct fixture *x = *state;
	int s = contract_tcp_raw(x->node[0].address);

	contract_tcp_expect_end(s);
	assert_int_equal(
		fab_call_run(x->f, 0, CALL_ECHO, NULL, 0, NULL, 0, NULL, 0), 0);
}

static void noise_never_harms_the_node(void **state)
{
	struct fixture *x = *state;
	unsigned seed = 4711;
	uint8_t noise[600];
	int s;

	for (int i = 0; i < 500; i++) {
		for (size_t k = 0; k < sizeof(noise); k++)
			noise[k] = (uint8_t)rand_r(&seed);
		if (i % 2 != 0) { /* a TLS record, says its head */
			noise[0] = 22;
			noise[1] = 3;
			noise[2] = 1;
		}
		s = contract_tcp_raw(x->node[0].address);
		send(s, noise, (size_t)rand_r(&seed) % sizeof(noise) + 1,
		     MSG_NOSIGNAL);
		close(s);
	}
	assert_int_equal(
		fab_call_run(x->f, 0, CALL_ECHO, NULL, 0, NULL, 0, NULL, 0), 0);
	assert_true(fab_net_up(x->net, 0));
}

/* --- connecting ----------------------------------------------------------- */

/* A node that hangs before this queue has connected to it: to post waits for
 * nothing, and the other node's answer comes at once. (stopped: by SIGSTOP) */
static void posting_waits_for_no_connection(void **state)
{
	struct fixture *x = *state;
	uint64_t in[2] = {0, 0}, begin;
	char address[200];
	struct fab_op ops[2];
	struct fab_batch b = {.ops = ops, .n = 2}, *done;
	struct fab *f;
	pid_t pid = contract_node_spawn(address, sizeof(address));

	contract_attach(x->net, 2, address);
	assert_int_equal(fab_open(x->net, &f), 0);
	assert_int_equal(kill(pid, SIGSTOP), 0);
	fab_read(&ops[0], 2, 0, &in[0], 8);
	fab_read(&ops[1], 0, 0, &in[1], 8);
	begin = fab_now(f);
	b.deadline_ns = begin + 5000 * MS;
	assert_int_equal(fab_post(f, &b), 0);
	assert_true(fab_now(f) - begin < 1000 * MS);
	while (ops[1].status == -EINPROGRESS)
		assert_int_equal(fab_poll(f, &done, 1, 100 * MS), 0);
	assert_int_equal(ops[1].status, 0);
	assert_int_equal(ops[0].status, -EINPROGRESS);
	assert_int_equal(fab_poll(f, &done, 1, 10000 * MS), 1);
	assert_true(ops[0].status == -EHOSTDOWN || ops[0].status == -ETIMEDOUT);
	contract_node_kill(pid);
	fab_close(f);
}

/* --- addresses ------------------------------------------------------------ */

static void bad_addresses_are_told_apart(void **state)
{
	static const char *const bad[] = {"tcp:", "tcp:host", "tcp::1",
					  "tcp:host:", "/a/path"};
	struct fab_net *net;

	assert_int_equal(fab_tcp_open(&contract_tcp_key, &net), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(fab_net_attach(net, 0, bad[i], "", 0),
				 -EINVAL);
	assert_int_equal(fab_net_attach(net, 0, "tcp:127.0.0.1:1", "", 0),
			 -ECONNREFUSED);
	fab_net_close(net);
}

#define X(fn)                                                                  \
	cmocka_unit_test_setup_teardown(fn, contract_setup, contract_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		X(another_key_is_refused_by_name),
		X(no_key_is_refused),
		X(contract_a_reader_only_looks),
		X(contract_keys_are_of_one_kind),
		cmocka_unit_test(a_short_key_is_no_key),
		X(a_silent_stranger_is_sent_away),
		X(noise_never_harms_the_node),
		X(posting_waits_for_no_connection),
		cmocka_unit_test(bad_addresses_are_told_apart),
	};
	int failed;

	failed = fabric_contract_main(argc, argv, contract_tcp_tls());
	failed += cmocka_run_group_tests_name("keys", tests, NULL, NULL);
	return failed != 0;
}
