/* tests/contract/verbs_test.c - the contract over RDMA. Needs an RDMA device:
 * tests/rdma-vm.sh has one. ACESO_RDMA_ADDRESS is an address of it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
	.address = address,
	.key = &key,
	.absent = -ECONNREFUSED,
	.slow = 200,
	.pinned = true,
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
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(another_key_is_refused,
						contract_setup,
						contract_teardown),
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
