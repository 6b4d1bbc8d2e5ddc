/* tests/unit/rdma_loopback_test.c - a name that leads to loopback and elsewhere
 * is met elsewhere. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "rdma/loopback.h"

static const struct sockaddr *at(const char *text)
{
	static struct sockaddr_storage sa;
	struct sockaddr_in *four = (struct sockaddr_in *)&sa;
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)&sa;

	memset(&sa, 0, sizeof(sa));
	sa.ss_family = strchr(text, ':') != NULL ? AF_INET6 : AF_INET;
	assert_int_equal(inet_pton(sa.ss_family, text,
				   sa.ss_family == AF_INET
					   ? (void *)&four->sin_addr
					   : (void *)&six->sin6_addr),
			 1);
	return (const struct sockaddr *)&sa;
}

static void loopback_is_told_from_others(void **state)
{
	assert_true(fab_loopback(at("127.0.0.1")));
	assert_true(fab_loopback(at("127.0.1.1")));
	assert_true(fab_loopback(at("127.255.255.254")));
	assert_true(fab_loopback(at("::1")));
	assert_true(fab_loopback(at("::ffff:127.0.1.1")));
	assert_false(fab_loopback(at("126.255.255.255")));
	assert_false(fab_loopback(at("128.0.0.127")));
	assert_false(fab_loopback(at("10.0.127.1")));
	assert_false(fab_loopback(at("0.0.0.0")));
	assert_false(fab_loopback(at("::")));
	assert_false(fab_loopback(at("fe80::1")));
	assert_false(fab_loopback(at("::ffff:10.0.0.1")));
	assert_false(fab_loopback(&(struct sockaddr){.sa_family = AF_UNIX}));
}

/* What is met of these addresses, in its order, as their numbers. */
static void meet(const char *const *text, const char *want)
{
	struct sockaddr_in sa[4];
	struct addrinfo all[4];
	const struct addrinfo *ai;
	char met[8] = "";
	size_t n = 0;

	for (; text[n] != NULL; n++) {
		memcpy(&sa[n], at(text[n]), sizeof(sa[n]));
		all[n] =
			(struct addrinfo){.ai_addr = (struct sockaddr *)&sa[n]};
		if (n > 0)
			all[n - 1].ai_next = &all[n];
	}
	for (ai = fab_meet(all, all); ai != NULL;
	     ai = fab_meet(all, ai->ai_next))
		met[strlen(met)] = (char)('0' + (ai - all));
	assert_string_equal(met, want);
}

static void loopback_is_met_only_if_alone(void **state)
{
	meet((const char *[]){"127.0.1.1", NULL}, "0");
	meet((const char *[]){"127.0.1.1", "127.0.0.1", NULL}, "01");
	meet((const char *[]){"10.0.0.5", NULL}, "0");
	meet((const char *[]){"127.0.1.1", "10.0.0.5", NULL}, "1");
	meet((const char *[]){"10.0.0.5", "127.0.1.1", NULL}, "0");
	meet((const char *[]){"10.0.0.5", "127.0.1.1", "10.0.0.6", NULL}, "02");
	assert_null(fab_meet(NULL, NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(loopback_is_told_from_others),
		cmocka_unit_test(loopback_is_met_only_if_alone),
	};

	return cmocka_run_group_tests_name("loopback", tests, NULL, NULL);
}
