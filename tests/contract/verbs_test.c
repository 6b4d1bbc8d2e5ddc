/* tests/contract/verbs_test.c - the contract over RDMA. Needs an RDMA device:
 * tests/rdma-vm.sh has one. ACESO_RDMA_ADDRESS is an address of it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rdma/verbs_impl.h"
#include "tests/contract/fabric_contract.h"

static const struct fab_key key = {.len = 32,
				   .bytes = "0123456789abcdef0123456789abcdef"};
static const char *host;

static int net_open(struct fab_net **out)
{
	return fab_verbs_open(&key, out);
}

static void address(unsigned n, char *out, size_t cap)
{
	snprintf(out, cap, "verbs:%s:%u", host, 20000 + n);
}

static const struct contract_transport verbs = {
	.name = "verbs",
	.net_open = net_open,
	.net_open_with = fab_verbs_open,
	.address = address,
	.key = &key,
	.absent = -ECONNREFUSED,
	.slow = 200,
	.pinned = true,
	.direct = true,
	.no_pids = true,
};

static void another_key_is_refused(void **state)
{
	struct fixture *x = *state;
	struct fab_key other = key;
	struct fab_net *net;

	other.bytes[3] ^= 1;
	assert_int_equal(fab_verbs_open(&other, &net), 0);
	assert_int_equal(fab_net_attach(net, 0, x->node[0].address, "", 0),
			 -EACCES);
	fab_net_close(net);
	assert_int_equal(contract_get(&x->node[0].hellos), 1);
	assert_int_equal(fab_server_malformed(x->node[0].server), 1);
	contract_wait(&x->node[0].refused, 1);
	assert_int_equal(x->node[0].refused_why, -EACCES);
	assert_non_null(strstr(x->node[0].refused_from, "10.77.0."));
}

#define X(fn)                                                                  \
	cmocka_unit_test_setup_teardown(fn, contract_setup, contract_teardown)

/* Whatever a reader's own library does: its adapter is told no. */
static void the_adapter_refuses_a_readers_write(void **state)
{
	struct fixture *x = *state;
	uint64_t seven = 7, word = 9;
	struct fab_key reader;
	struct fab_net *net;
	struct fab_op op;
	struct fab *f;

	memcpy(x->node[0].region + 64, &seven, sizeof(seven));
	assert_int_equal(fab_key_reader(&key, &reader), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(fab_verbs_open(&reader, &net), 0);
		assert_int_equal(
			fab_net_attach(net, 0, x->node[0].address, "", 0), 0);
		assert_int_equal(fab_open(net, &f), 0);
		fab_read(&op, 0, 64, &word, sizeof(word));
		contract_ops(f, &op, 1);
		assert_int_equal(op.status, 0);
		assert_int_equal(word, 7);
		word = 9;
		fab_write(&op, 0, 64, &word, sizeof(word));
		if (i == 1)
			fab_cas(&op, 0, 64, 7, 9);
		if (i == 2)
			fab_faa(&op, 0, 64, 1);
		((struct verbs_net *)net)->key.reader = false;
		contract_ops(f, &op, 1);
		assert_int_not_equal(op.status, 0);
		assert_memory_equal(x->node[0].region + 64, &seven, 8);
		fab_close(f);
		fab_net_close(net);
	}
}

static uint8_t area[8192];

/* Registered before there is a net for RDMA within it, and after. */
static void any_hands_memory_on(void **state)
{
	struct fixture *x = *state;
	struct fab_counters c;
	struct fab_net *net;
	struct fab_op op[2];
	struct fab *f;

	memset(x->node[0].region, 7, sizeof(area));
	assert_int_equal(fab_any_open(&key, &net), 0);
	assert_int_equal(fab_net_register(net, area, 4096), 0);
	assert_int_equal(fab_net_attach(net, 0, x->node[0].address, "", 0), 0);
	assert_int_equal(fab_net_register(net, area + 4096, 4096), 0);
	assert_int_equal(fab_net_register(net, area + 4095, 2), -EEXIST);
	assert_int_equal(fab_open(net, &f), 0);
	for (int i = 0; i < 3; i++) {
		memset(area, 0, sizeof(area));
		fab_read(&op[0], 0, 0, area, 4096);
		fab_read(&op[1], 0, 0, area + 4096, 4096);
		contract_ops(f, op, 2);
		assert_int_equal(op[0].status, 0);
		assert_int_equal(op[1].status, 0);
		assert_memory_equal(area, x->node[0].region, 4096);
		assert_memory_equal(area + 4096, x->node[0].region, 4096);
		fab_counters(f, &c);
		assert_int_equal(c.direct, i == 0 ? 2 : 3);
		fab_net_deregister(net, area + (i == 0 ? 4096 : 0));
	}
	fab_close(f);
	fab_net_close(net);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		X(another_key_is_refused),
		X(contract_a_reader_only_looks),
		X(contract_keys_are_of_one_kind),
		X(the_adapter_refuses_a_readers_write),
		X(any_hands_memory_on),
	};
	int failed;

	host = getenv("ACESO_RDMA_ADDRESS");
	if (host == NULL) {
		printf("verbs_test: skipped: ACESO_RDMA_ADDRESS is not set "
		       "(make check-rdma runs it in a guest that has RDMA)\n");
		return 0;
	}
	failed = fabric_contract_main(argc, argv, &verbs);
	failed += cmocka_run_group_tests_name("verbs only", tests, NULL, NULL);
	return failed != 0;
}
