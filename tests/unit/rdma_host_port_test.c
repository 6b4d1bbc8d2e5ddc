/* Which host and port an address means. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>

#include "rdma/host_port.h"

#define CAP 16u

static void means(const char *address, const char *host, const char *port)
{
	char got[CAP];
	const char *at;

	assert_int_equal(fab_host_port(address, "verbs:", got, CAP, &at), 0);
	assert_string_equal(got, host);
	assert_string_equal(at, port);
}

static void hosts_by_name_and_number(void **state)
{
	(void)state;
	means("verbs:alpha:7601", "alpha", "7601");
	means("verbs:10.0.0.1:1", "10.0.0.1", "1");
	means("verbs:[fe80::1]:7601", "fe80::1", "7601");
	means("verbs:fe80::1:7601", "fe80::1", "7601");
	means("verbs:*:7601", "", "7601");
}

static void refused(const char *address)
{
	char got[CAP];
	const char *at;

	assert_int_equal(fab_host_port(address, "verbs:", got, CAP, &at),
			 -EINVAL);
}

static void what_is_no_address(void **state)
{
	(void)state;
	refused("tcp:alpha:7601");
	refused("verbs");
	refused("verbs:");
	refused("verbs:alpha");
	refused("verbs::7601");
	refused("verbs:alpha:");
	refused("verbs:a-name-of-sixteen:7601");
	means("verbs:[]:7601", "[]", "7601"); /* nobody's name */
	means("verbs:a-name-of-15-by:7601", "a-name-of-15-by", "7601");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hosts_by_name_and_number),
		cmocka_unit_test(what_is_no_address),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
