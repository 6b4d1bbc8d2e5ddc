/* tests/contract/any_test.c - the contract over a net that takes each node's
 * transport from its address; here all are TCP. Over both: verbs_test.c. */
#include <errno.h>

#include "tests/contract/fabric_contract.h"
#include "tests/contract/fabric_tcp.h"

static const struct fab_key key = {.len = 32,
				   .bytes = "0123456789abcdef0123456789abcdef"};

static int net_open(struct fab_net **out)
{
	return fab_any_open(&key, out);
}

static const struct contract_transport any = {
	.name = "any",
	.net_open = net_open,
	.address = contract_tcp_address,
	.key = &key,
	.absent = -ECONNREFUSED,
	.by_processor = true,
	.no_pids = true,
	.slow = 50,
};

static void unknown_schemes_are_refused(void **state)
{
	struct fab_net *net;

	assert_int_equal(net_open(&net), 0);
	assert_int_equal(fab_net_attach(net, 0, "/a/path", "", 0), -EINVAL);
	assert_int_equal(fab_net_attach(net, 0, "udp:a:1", "", 0), -EINVAL);
	fab_net_close(net);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unknown_schemes_are_refused),
	};
	int failed;

	failed = fabric_contract_main(argc, argv, &any);
	failed += cmocka_run_group_tests_name("any only", tests, NULL, NULL);
	return failed != 0;
}
