/* Pools over several hosts: a coordinator that is asked while it does not lead.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "kv/hello.h"
#include "kv/proto.h"
#include "tests/lib/cluster.h"
#include "tests/lib/mem_store.h"
#include "tests/lib/sim.h"

#define MS    UINT64_C(1000000)
#define LEASE 400u

static struct mem_disk disk;

static void run(void (*body)(struct cluster *c, void *arg))
{
	struct cluster_opts o = {.mode = CLUSTER_SIM,
				 .seed = 1,
				 .remote = true,
				 .store = &disk,
				 .lease_ms = LEASE};

	memset(&disk, 0, sizeof(disk));
	cluster_run(&o, body, NULL);
}

/* --- a coordinator without a lead ------------------------------------------
 */

static int ask(struct cluster *c, uint32_t role, uint16_t type, const void *rq,
	       uint32_t len)
{
	static char answer[FAB_CALL_BYTES_MAX];
	uint64_t begin = sim_now(cluster_sim(c));
	struct proto_hello h;
	struct fab_net *net;
	struct fab *f;
	int rc;

	hello_fill(&h, role, NULL);
	assert_int_equal(sim_net_open(cluster_sim(c), "asks", &net), 0);
	assert_int_equal(fab_open(net, &f), 0);
	assert_int_equal(fab_net_attach(net, FAB_NODE_COORD, cluster_address(c),
					&h, sizeof(h)),
			 0);
	rc = fab_call_run(f, FAB_NODE_COORD, type, rq, len, answer,
			  sizeof(answer), NULL, 20000 * MS);
	fab_close(f);
	fab_net_close(net);
	assert_true(sim_now(cluster_sim(c)) - begin < 100 * MS);
	return rc;
}

static int ask_to_join(struct cluster *c)
{
	struct proto_join rq = {.what = "asks"};

	hello_fill(&rq.hello, PROTO_CLIENT, NULL);
	return ask(c, PROTO_CLIENT, PROTO_JOIN, &rq, sizeof(rq));
}

static int ask_for_scrub(struct cluster *c, uint32_t what)
{
	struct proto_scrub rq = {.what = what};

	return ask(c, PROTO_TOOL, PROTO_SCRUB, &rq, sizeof(rq));
}

/* Then another is asked at once: kv_open(), scrub_link_open(). */
static void no_lead(struct cluster *c, void *arg)
{
	assert_int_equal(ask_to_join(c), 0);
	assert_int_equal(ask_for_scrub(c, PROTO_SCRUB_ASK), 0);
	disk.away = true;
	assert_int_equal(ask_to_join(c), -EAGAIN);
	assert_int_equal(ask_for_scrub(c, PROTO_SCRUB_ASK), -EAGAIN);
	assert_int_equal(ask_for_scrub(c, PROTO_SCRUB_BEGIN), -EAGAIN);
	disk.away = false;
	assert_int_equal(ask_to_join(c), 0);
	assert_int_equal(ask_for_scrub(c, PROTO_SCRUB_BEGIN), 0);
}

static void test_no_lead(void **state)
{
	run(no_lead);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_lead),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
