/* tests/unit/door_host_names_test.c - where a host's name leads, and which of a
 * pool's names must not lead there. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "mount-helper/host_names.h"

#define ADDRESSES 3u

struct list {
	struct sockaddr_in sa[ADDRESSES];
	struct addrinfo ai[ADDRESSES];
	struct ifaddrs here[ADDRESSES];
};

static void fill(struct list *l, const char *const *text)
{
	memset(l, 0, sizeof(*l));
	for (size_t i = 0; text[i] != NULL; i++) {
		l->sa[i].sin_family = AF_INET;
		assert_int_equal(
			inet_pton(AF_INET, text[i], &l->sa[i].sin_addr), 1);
		l->ai[i].ai_addr = (struct sockaddr *)&l->sa[i];
		l->here[i].ifa_addr = l->ai[i].ai_addr;
		if (i > 0) {
			l->ai[i - 1].ai_next = &l->ai[i];
			l->here[i - 1].ifa_next = &l->here[i];
		}
	}
}

/* On a host with 10.0.0.1. */
static enum host_where where(const char *a, const char *b)
{
	struct list name, host;

	fill(&host, (const char *[]){"127.0.0.1", "10.0.0.1", NULL});
	fill(&name, (const char *[]){a, b, NULL});
	return host_where(name.ai, host.here);
}

static void a_name_leads_where_others_meet_it(void **state)
{
	assert_int_equal(host_where(NULL, NULL), HOST_NOWHERE);
	assert_int_equal(where("127.0.1.1", NULL), HOST_LOOPBACK);
	assert_int_equal(where("127.0.1.1", "127.0.0.1"), HOST_LOOPBACK);
	assert_int_equal(where("10.0.0.1", NULL), HOST_HERE);
	assert_int_equal(where("127.0.1.1", "10.0.0.1"), HOST_HERE);
	assert_int_equal(where("10.0.0.1", "127.0.1.1"), HOST_HERE);
	assert_int_equal(where("10.0.0.2", NULL), HOST_AWAY);
	/* ours, though its network is not up yet */
	assert_int_equal(where("127.0.1.1", "10.0.0.2"), HOST_HERE);
}

static const char *shut_of(const enum host_where *w, uint32_t n)
{
	static const char *const names[] = {"alpha", "beta", "gamma"};
	struct host_names all = {.n = n};
	const struct host_name *shut;

	for (uint32_t i = 0; i < n; i++)
		all.host[i] =
			(struct host_name){.name = names[i], .where = w[i]};
	shut = host_names_shut(&all);
	return shut != NULL ? shut->name : "none";
}

#define SHUT(...)                                                              \
	shut_of((enum host_where[]){__VA_ARGS__},                              \
		sizeof((enum host_where[]){__VA_ARGS__}) /                     \
			sizeof(enum host_where))

static void loopback_shuts_a_host_of_many(void **state)
{
	assert_string_equal(SHUT(HOST_LOOPBACK, HOST_AWAY, HOST_AWAY), "alpha");
	assert_string_equal(SHUT(HOST_AWAY, HOST_LOOPBACK), "beta");
	assert_string_equal(SHUT(HOST_LOOPBACK, HOST_LOOPBACK, HOST_AWAY),
			    "alpha");
	/* another that nobody knows now is another */
	assert_string_equal(SHUT(HOST_LOOPBACK, HOST_NOWHERE), "alpha");
	assert_string_equal(SHUT(HOST_HERE, HOST_AWAY), "none");
	assert_string_equal(SHUT(HOST_AWAY, HOST_NOWHERE), "none");
}

static void a_pool_on_one_machine_may_use_loopback(void **state)
{
	assert_string_equal(SHUT(HOST_LOOPBACK), "none");
	assert_string_equal(SHUT(HOST_LOOPBACK, HOST_LOOPBACK), "none");
}

/* Numbers need no resolver. */
static void each_host_is_looked_up_once(void **state)
{
	static struct poolconf c = {.nodes = 3, .coords = 1};
	struct host_names n;
	char found[HOST_NAMES_WORDS_MAX], mend[HOST_NAMES_WORDS_MAX];

	strcpy(c.node[0].host, "127.0.1.1");
	strcpy(c.node[1].host, "127.0.1.1");
	strcpy(c.node[2].host, "127.9.9.9");
	strcpy(c.coord[0].host, "127.0.1.1");
	host_names_look(&c, &n);
	assert_int_equal(n.n, 2);
	assert_int_equal(host_names_where(&n, "127.9.9.9"), HOST_LOOPBACK);
	assert_int_equal(host_names_where(&n, "else"), HOST_NOWHERE);
	assert_null(host_names_shut(&n));
	strcpy(c.coord[0].host, "198.51.100.1"); /* nobody's: RFC 5737 */
	host_names_look(&c, &n);
	assert_int_equal(n.n, 3);
	assert_int_equal(host_names_where(&n, "198.51.100.1"), HOST_AWAY);
	assert_ptr_equal(host_names_shut(&n), &n.host[0]);
	/* there is no line of /etc/hosts against a number */
	host_names_found(&n.host[0], found);
	host_names_mend(&n, &n.host[0], "/p.conf", mend, sizeof(mend));
	assert_non_null(strstr(found, "127.0.1.1 leads every host to itself"));
	assert_non_null(strstr(mend, "into /p.conf, on each host"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_name_leads_where_others_meet_it),
		cmocka_unit_test(loopback_shuts_a_host_of_many),
		cmocka_unit_test(a_pool_on_one_machine_may_use_loopback),
		cmocka_unit_test(each_host_is_looked_up_once),
	};

	return cmocka_run_group_tests_name("host_names", tests, NULL, NULL);
}
