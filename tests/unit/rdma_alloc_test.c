/* tests/unit/rdma_alloc_test.c - each allocation fails in its turn: an error
 * comes back, nothing leaks (ASan sees), and what was there still works. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "rdma/fabric.h"
#include "tests/lib/fault_alloc.h"

static char dir[] = "/tmp/aceso-alloc-XXXXXX";
static char path[64];

static void on_call(void *arg, struct fab_request *rq, uint16_t type,
		    const void *req, size_t len)
{
	fab_reply(rq, 0, req, len);
}

static const struct fab_server_opts server_opts = {
	.region_fd = -1, .address = path, .on_call = on_call};

static void opening_a_net(void **state)
{
	struct fab_net *net = NULL;
	int failed = -1, rc;

	do {
		fault_alloc(++failed);
		rc = fab_shm_open(NULL, &net);
		assert_true(rc == 0 || (rc == -ENOMEM && net == NULL));
	} while (rc != 0);
	assert_false(fault_alloc_off());
	assert_int_equal(failed, 1);
	fab_net_close(net);
}

static void opening_a_queue(void **state)
{
	struct fab_net *net;
	struct fab *f = NULL;
	int failed = -1, rc;

	assert_int_equal(fab_shm_open(NULL, &net), 0);
	do {
		fault_alloc(++failed);
		rc = fab_open(net, &f);
		assert_true(rc == 0 || (rc == -ENOMEM && f == NULL));
	} while (rc != 0);
	assert_false(fault_alloc_off());
	assert_int_equal(failed, 2);
	fab_close(f);
	fab_net_close(net);
}

static void opening_a_server(void **state)
{
	struct fab_server *s = NULL;
	struct stat st;
	int failed = -1, rc;

	do {
		assert_int_equal(stat(path, &st), -1);
		fault_alloc(++failed);
		rc = fab_server_open(&server_opts, &s);
		assert_true(rc == 0 || (rc == -ENOMEM && s == NULL));
	} while (rc != 0);
	assert_false(fault_alloc_off());
	assert_int_equal(failed, 2);
	fab_server_close(s);
}

struct pair {
	struct fab_server *s;
	struct fab_net *net;
	struct fab *f;
};

static int setup(void **state)
{
	struct pair *p = calloc(1, sizeof(*p));

	assert_int_equal(fab_server_open(&server_opts, &p->s), 0);
	assert_int_equal(fab_shm_open(NULL, &p->net), 0);
	assert_int_equal(fab_open(p->net, &p->f), 0);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct pair *p = *state;

	fab_close(p->f);
	fab_net_close(p->net);
	fab_server_close(p->s);
	free(p);
	return 0;
}

static void attaching(void **state)
{
	struct pair *p = *state;
	int failed = -1, rc;

	do {
		fault_alloc(++failed);
		rc = fab_net_attach(p->net, FAB_NODE_COORD, path, "", 0);
		assert_true(rc == 0 || rc == -ENOMEM);
		assert_int_equal(fab_net_up(p->net, FAB_NODE_COORD), rc == 0);
	} while (rc != 0);
	assert_false(fault_alloc_off());
	assert_int_equal(failed, 1);
}

/* Three allocations are the batch's: ids (two), calls. The lane is the one
 * operation's, and fails it, not the batch. */
static void posting_a_call(void **state)
{
	struct pair *p = *state;
	struct fab_op op;
	struct fab_batch b = {.ops = &op, .n = 1};
	int failed = -1, refused = 0, rc;

	assert_int_equal(fab_net_attach(p->net, FAB_NODE_COORD, path, "", 0),
			 0);
	do {
		fab_call(&op, FAB_NODE_COORD, 1, "x", 1, NULL, 0);
		fault_alloc(++failed);
		rc = fab_run(p->f, &b);
		assert_true(rc == 0 || rc == -ENOMEM);
		refused += rc != 0;
	} while (fault_alloc_off());
	assert_int_equal(op.status, -EMSGSIZE); /* one byte, no room */
	assert_int_equal(refused, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(opening_a_net),
		cmocka_unit_test(opening_a_queue),
		cmocka_unit_test(opening_a_server),
		cmocka_unit_test_setup_teardown(attaching, setup, teardown),
		cmocka_unit_test_setup_teardown(posting_a_call, setup,
						teardown),
	};
	int failed;

	if (mkdtemp(dir) == NULL)
		return 1;
	snprintf(path, sizeof(path), "%s/s", dir);
	failed = cmocka_run_group_tests_name("allocations", tests, NULL, NULL);
	rmdir(dir);
	return failed;
}
