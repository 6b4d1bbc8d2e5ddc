/* tests/contract/fabric_calls.c - CALL: answers, deadlines, late answers,
 * many at once, who asks. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/contract/fabric_contract.h"

static void a_call_brings_bytes_there_and_back(void **state)
{
	struct fixture *x = *state;
	char out[16];
	uint32_t len = 99;

	assert_int_equal(fab_call_run(x->f, 1, CALL_ECHO, "hello", 5, out,
				      sizeof(out), &len, 0),
			 0);
	assert_int_equal(len, 5);
	assert_memory_equal(out, "hello", 5);
	assert_int_equal(
		fab_call_run(x->f, 1, CALL_ECHO, NULL, 0, NULL, 0, &len, 0), 0);
	assert_int_equal(len, 0);
}

static void the_nodes_status_is_the_operations(void **state)
{
	struct fixture *x = *state;
	int32_t st[] = {0, -ENOENT, -EHOSTDOWN, -ETIMEDOUT, -EACCES};
	uint32_t len;

	for (size_t i = 0; i < sizeof(st) / sizeof(st[0]); i++)
		assert_int_equal(fab_call_run(x->f, 0, CALL_FAIL, &st[i],
					      sizeof(st[i]), NULL, 0, &len, 0),
				 st[i]);
	assert_int_equal(fab_call_run(x->f, 0, 9999, NULL, 0, NULL, 0, NULL, 0),
			 -ENOSYS);
}

/* The status of an operation under way may be the node's word too: it has
 * ended all the same, and ends no second time with what follows it. */
static void a_call_may_end_with_einprogress(void **state)
{
	struct fixture *x = *state;
	int32_t status = -EINPROGRESS;
	struct fab_op ops[3];
	struct fab_batch b = {.ops = ops, .n = 3};

	fab_call(&ops[0], 0, CALL_FAIL, &status, sizeof(status), NULL, 0);
	fab_call(&ops[1], 0, CALL_HOLD, NULL, 0, NULL, 0);
	fab_call(&ops[2], 0, CALL_FAIL, &status, sizeof(status), NULL, 0);
	b.deadline_ns = fab_now(x->f) + 100 * MS;
	assert_int_equal(fab_run(x->f, &b), 0);
	assert_int_equal(ops[0].status, -EINPROGRESS);
	assert_int_equal(ops[1].status, -ETIMEDOUT);
	assert_int_equal(ops[2].status, -EINPROGRESS);
	contract_node_release(&x->node[0], 0, NULL, 0);
	assert_int_equal(
		fab_call_run(x->f, 0, CALL_ECHO, NULL, 0, NULL, 0, NULL, 0), 0);
}

static void an_answer_too_long_is_refused_whole(void **state)
{
	struct fixture *x = *state;
	char out[8] = "untouch";
	uint32_t len = 0;

	assert_int_equal(fab_call_run(x->f, 0, CALL_ECHO, "0123456789", 10, out,
				      4, &len, 0),
			 -EMSGSIZE);
	assert_int_equal(len, 10);
	assert_string_equal(out, "untouch");
}

static void the_largest_call_works(void **state)
{
	struct fixture *x = *state;
	uint8_t *req = malloc(FAB_CALL_BYTES_MAX);
	uint8_t *rep = malloc(FAB_CALL_BYTES_MAX);
	uint32_t len;

	for (uint32_t i = 0; i < FAB_CALL_BYTES_MAX; i++)
		req[i] = (uint8_t)(i ^ i >> 8);
	assert_int_equal(fab_call_run(x->f, 0, CALL_ECHO, req,
				      FAB_CALL_BYTES_MAX, rep,
				      FAB_CALL_BYTES_MAX, &len, 0),
			 0);
	assert_int_equal(len, FAB_CALL_BYTES_MAX);
	assert_memory_equal(req, rep, FAB_CALL_BYTES_MAX);
	free(req);
	free(rep);
}

static void calls_arrive_in_the_order_posted(void **state)
{
	enum { N = 200 };
	struct fixture *x = *state;
	struct fab_op op[N];
	uint64_t v[N];

	for (int i = 0; i < N; i++) {
		v[i] = (uint64_t)i + 1;
		fab_call(&op[i], 0, CALL_ORDER, &v[i], 8, NULL, 0);
	}
	contract_ops(x->f, op, N);
	for (int i = 0; i < N; i++)
		assert_int_equal(op[i].status, 0);
}

static void a_call_sees_the_writes_before_it(void **state)
{
	struct fixture *x = *state;
	uint64_t offset = 4096, v, got;
	struct fab_op op[2];

	for (v = 1; v < 500; v++) {
		fab_write(&op[0], 0, offset, &v, 8);
		fab_call(&op[1], 0, CALL_PEEK, &offset, 8, &got, 8);
		contract_ops(x->f, op, 2);
		assert_int_equal(op[1].status, 0);
		assert_int_equal(got, v);
	}
}

static void a_failed_operation_cancels_a_call(void **state)
{
	struct fixture *x = *state;
	struct fab_op op[3];
	char c;

	fab_read(&op[0], 0, CONTRACT_REGION, &c, 1);
	fab_call(&op[1], 0, CALL_HOLD, NULL, 0, NULL, 0);
	fab_call(&op[2], 1, CALL_ECHO, NULL, 0, NULL, 0);
	contract_ops(x->f, op, 3);
	assert_int_equal(op[0].status, -EREMOTEIO);
	assert_int_equal(op[1].status, -ECANCELED);
	assert_int_equal(op[2].status, 0);
	assert_int_equal(contract_get(&x->node[0].n_held), 0);
}

static void an_answer_may_come_later_from_another_thread(void **state)
{
	struct fixture *x = *state;
	char out[4];
	uint64_t t = contract_now();

	assert_int_equal(
		fab_call_run(x->f, 0, CALL_LATER, "abcd", 4, out, 4, NULL, 0),
		0);
	assert_memory_equal(out, "abcd", 4);
	assert_true(contract_now() - t >= 19 * UINT64_C(1000000));
}

/* --- deadlines ------------------------------------------------------------ */

static void no_answer_ends_at_the_deadline(void **state)
{
	struct fixture *x = *state;
	uint64_t t = contract_now();

	assert_int_equal(fab_call_run(x->f, 0, CALL_HOLD, NULL, 0, NULL, 0,
				      NULL, 50 * MS),
			 -ETIMEDOUT);
	assert_true(contract_now() - t >= 50 * MS);
	assert_true(contract_now() - t < 2000 * MS);
	contract_node_release(&x->node[0], 0, "late", 4);
	/* the node is well, and its late answer is nobody's */
	for (int i = 0; i < 10; i++) {
		char out[4] = "";

		assert_int_equal(fab_call_run(x->f, 0, CALL_ECHO, "mine", 4,
					      out, 4, NULL, 0),
				 0);
		assert_memory_equal(out, "mine", 4);
	}
	assert_true(fab_net_up(x->net, 0));
}

static void each_batch_has_its_own_deadline(void **state)
{
	struct fixture *x = *state;
	struct fab_op op[3];
	struct fab_batch b[3], *done[3];
	static const unsigned ms[3] = {90, 30, 60};
	uint64_t now;

	memset(b, 0, sizeof(b));
	assert_int_equal(/* so that no post waits for a connection */
			 fab_call_run(x->f, 0, CALL_ECHO, NULL, 0, NULL, 0,
				      NULL, 0),
			 0);
	now = fab_now(x->f);
	for (int i = 0; i < 3; i++) {
		fab_call(&op[i], 0, CALL_HOLD, NULL, 0, NULL, 0);
		b[i].ops = &op[i];
		b[i].n = 1;
		b[i].deadline_ns = now + ms[i] * MS;
		assert_int_equal(fab_post(x->f, &b[i]), 0);
	}
	assert_int_equal(op[0].status, -EINPROGRESS);
	for (int i = 0; i < 3; i++)
		assert_int_equal(fab_poll(x->f, &done[i], 1, 3000 * MS), 1);
	assert_ptr_equal(done[0], &b[1]);
	assert_ptr_equal(done[1], &b[2]);
	assert_ptr_equal(done[2], &b[0]);
	for (int i = 0; i < 3; i++)
		assert_int_equal(op[i].status, -ETIMEDOUT);
	assert_int_equal(b[0].deadline_ns, now + 90 * MS); /* the poster's */
	contract_node_wait_held(&x->node[0], 3);
	contract_node_release(&x->node[0], 0, NULL, 0);
}

static void poll_waits_no_longer_than_asked(void **state)
{
	struct fixture *x = *state;
	struct fab_op op;
	struct fab_batch b = {.ops = &op, .n = 1}, *done;
	uint64_t t = contract_now();

	fab_call(&op, 0, CALL_HOLD, NULL, 0, NULL, 0);
	assert_int_equal(fab_post(x->f, &b), 0);
	assert_int_equal(fab_poll(x->f, &done, 1, 0), 0);
	assert_int_equal(fab_poll(x->f, &done, 1, 30 * MS), 0);
	assert_true(contract_now() - t >= 30 * MS);
	assert_true(contract_now() - t < 2000 * MS);
	contract_node_release(&x->node[0], -EAGAIN, NULL, 0);
	assert_int_equal(fab_poll(x->f, &done, 1, 3000 * MS), 1);
	assert_ptr_equal(done, &b);
	assert_int_equal(op.status, -EAGAIN);
}

/* A batch that is complete and not taken is no reason to spin. */
static void run_waits_without_spinning(void **state)
{
	struct fixture *x = *state;
	struct fab_op op;
	struct fab_batch b = {.ops = &op, .n = 1}, *done;
	struct timespec t0, t1;

	fab_faa(&op, 0, 8, 1);
	assert_int_equal(fab_post(x->f, &b), 0);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t0);
	assert_int_equal(fab_call_run(x->f, 0, CALL_HOLD, NULL, 0, NULL, 0,
				      NULL, 100 * MS),
			 -ETIMEDOUT);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t1);
	assert_true((t1.tv_sec - t0.tv_sec) * 1000000000 + t1.tv_nsec -
			    t0.tv_nsec <
		    50000000);
	assert_int_equal(fab_poll(x->f, &done, 1, 0), 1);
	assert_ptr_equal(done, &b);
	contract_node_release(&x->node[0], 0, NULL, 0);
}

/* What one operation of a batch waits for does not keep the others. */
static void a_timeout_leaves_the_rest_of_the_batch(void **state)
{
	struct fixture *x = *state;
	struct fab_op op[4];
	struct fab_batch b = {.ops = op, .n = 4};
	uint64_t v = 3;

	fab_call(&op[0], 0, CALL_HOLD, NULL, 0, NULL, 0);
	fab_write(&op[1], 0, 8, &v, 8);
	fab_call(&op[2], 1, CALL_ECHO, NULL, 0, NULL, 0);
	fab_call(&op[3], 0, CALL_ECHO, NULL, 0, NULL, 0);
	b.deadline_ns = fab_now(x->f) + 60 * MS;
	assert_int_equal(fab_run(x->f, &b), 0);
	assert_int_equal(op[0].status, -ETIMEDOUT);
	assert_int_equal(op[1].status, 0);
	assert_int_equal(op[2].status, 0);
	assert_int_equal(op[3].status, 0);
	contract_node_release(&x->node[0], 0, NULL, 0);
}

/* --- many ---------------------------------------------------------------- */

#define MANY 1000

struct many {
	struct fab_op op[MANY];
	struct fab_batch b[MANY];
	uint8_t *req[MANY], *rep[MANY];
};

static uint32_t many_len(int i)
{
	return i % 50 == 0 ? FAB_CALL_BYTES_MAX : (uint32_t)(8 + i * 3);
}

static void many_start(struct fixture *x, struct many *m, int i)
{
	uint32_t len = many_len(i);

	m->req[i] = malloc(len);
	m->rep[i] = malloc(len);
	memset(m->req[i], i, len);
	fab_call(&m->op[i], i % 2, i % 100 == 7 ? CALL_LATER : CALL_ECHO,
		 m->req[i], len, m->rep[i], len);
	m->b[i].ops = &m->op[i];
	m->b[i].n = 1;
	assert_int_equal(fab_post(x->f, &m->b[i]), 0);
}

/* More than any socket buffer holds, both ways: nobody may wait for the other
 * to read first. */
static void a_thousand_calls_under_way_at_once(void **state)
{
	struct fixture *x = *state;
	struct many *m = calloc(1, sizeof(*m));
	struct fab_batch *done[64];
	size_t got = 0, n;

	for (int i = 0; i < MANY; i++)
		many_start(x, m, i);
	while (got < MANY) {
		n = fab_poll(x->f, done, 64, 5000 * MS);
		assert_true(n > 0);
		got += n;
	}
	for (int i = 0; i < MANY; i++) {
		assert_int_equal(m->op[i].status, 0);
		assert_int_equal(m->op[i].reply_len, many_len(i));
		assert_memory_equal(m->req[i], m->rep[i], many_len(i));
		free(m->req[i]);
		free(m->rep[i]);
	}
	free(m);
}

struct caller {
	pthread_t thread;
	struct fab_net *net;
	int id, bad;
};

static void *call_often(void *arg)
{
	struct caller *c = arg;
	uint64_t v, got;
	struct fab *f;

	if (fab_open(c->net, &f) != 0)
		abort();
	for (uint64_t i = 0; i < 500; i++) {
		v = (uint64_t)c->id << 32 | i;
		c->bad |= fab_call_run(f, i % 2, CALL_ECHO, &v, 8, &got, 8,
				       NULL, 0) != 0;
		c->bad |= got != v;
	}
	fab_close(f);
	return NULL;
}

static void threads_get_their_own_answers(void **state)
{
	struct fixture *x = *state;
	struct caller c[4];

	for (int i = 0; i < 4; i++) {
		c[i] = (struct caller){.net = x->net, .id = i};
		assert_int_equal(
			pthread_create(&c[i].thread, NULL, call_often, &c[i]),
			0);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(c[i].thread, NULL);
		assert_int_equal(c[i].bad, 0);
	}
	assert_int_equal(contract_get(&x->node[0].hellos),
			 1); /* one process, one peer */
}

/* --- who asks ------------------------------------------------------------ */

static void a_node_learns_who_asks(void **state)
{
	struct fixture *x = *state;
	struct test_node *n = &x->node[0];

	assert_int_equal(contract_get(&n->hellos), 1);
	assert_int_equal(n->hello_len, 5);
	assert_memory_equal(n->hello, "hello", 5);
	assert_int_equal(n->pid, contract->no_pids ? 0 : getpid());
	if (!contract->no_pids)
		assert_int_equal(n->uid, getuid());
}

static void on_hello_may_refuse(void **state)
{
	struct fixture *x = *state;
	struct fab_net *net;
	struct fab *f;

	x->node[1].refuse = -EACCES;
	assert_int_equal(contract->net_open(&net), 0);
	assert_int_equal(fab_open(net, &f), 0);
	assert_int_equal(fab_net_attach(net, 1, x->node[1].address, "no", 2),
			 -EACCES);
	assert_false(fab_net_up(net, 1));
	assert_int_equal(fab_net_size(net, 1), 0);
	assert_int_equal(
		fab_call_run(f, 1, CALL_ECHO, NULL, 0, NULL, 0, NULL, 0),
		-EHOSTDOWN);
	fab_close(f);
	fab_net_close(net);
	assert_int_equal(contract_get(&x->node[1].gones),
			 0);		    /* it never was a peer */
	assert_true(fab_net_up(x->net, 1)); /* others do not notice */
}

static void the_largest_hello_arrives(void **state)
{
	struct fixture *x = *state;
	struct fab_net *net;
	char *hello = calloc(1, FAB_CALL_BYTES_MAX + 1);

	assert_int_equal(contract->net_open(&net), 0);
	assert_int_equal(fab_net_attach(net, 0, x->node[0].address, hello,
					FAB_CALL_BYTES_MAX),
			 0);
	assert_int_equal(x->node[0].hello_len, FAB_CALL_BYTES_MAX);
	assert_int_equal(fab_net_attach(net, 1, x->node[1].address, hello,
					FAB_CALL_BYTES_MAX + 1),
			 -EINVAL);
	fab_net_close(net);
	free(hello);
}

static void on_gone_when_the_net_closes(void **state)
{
	struct fixture *x = *state;
	struct fab_net *net;
	struct fab *f;

	assert_int_equal(contract->net_open(&net), 0);
	assert_int_equal(fab_net_attach(net, 0, x->node[0].address, "", 0), 0);
	assert_int_equal(fab_open(net, &f), 0);
	assert_int_equal(
		fab_call_run(f, 0, CALL_ECHO, NULL, 0, NULL, 0, NULL, 0), 0);
	fab_close(f);
	assert_int_equal(contract_get(&x->node[0].gones), 0);
	fab_net_close(net);
	contract_wait(&x->node[0].gones, 1);
	assert_int_equal(contract_get(&x->node[0].words_kept), 1);
}

static void an_answer_after_the_asker_has_gone_is_fine(void **state)
{
	struct fixture *x = *state;
	struct fab_net *net;
	struct fab *f;

	assert_int_equal(contract->net_open(&net), 0);
	assert_int_equal(fab_net_attach(net, 0, x->node[0].address, "", 0), 0);
	assert_int_equal(fab_open(net, &f), 0);
	/* Connected: what comes next is on its way at once. */
	assert_int_equal(
		fab_call_run(f, 0, CALL_ECHO, NULL, 0, NULL, 0, NULL, 0), 0);
	assert_int_equal(
		fab_call_run(f, 0, CALL_HOLD, NULL, 0, NULL, 0, NULL, 10 * MS),
		-ETIMEDOUT);
	contract_node_wait_held(&x->node[0], 1);
	fab_close(f);
	fab_net_close(net);
	contract_wait(&x->node[0].gones, 1);
	/* the peer lives as long as its request */
	assert_ptr_equal(fab_peer_get(fab_request_peer(x->node[0].held[0])),
			 &x->node[0]);
	contract_node_release(&x->node[0], 0, "nobody", 6);
	assert_int_equal(
		fab_call_run(x->f, 0, CALL_ECHO, NULL, 0, NULL, 0, NULL, 0), 0);
}

static void an_answer_after_the_server_has_closed_is_fine(void **state)
{
	struct test_node n;
	struct fab_net *net;
	struct fab *f;

	contract_node_open(&n);
	assert_int_equal(contract->net_open(&net), 0);
	assert_int_equal(fab_net_attach(net, 3, n.address, "", 0), 0);
	assert_int_equal(fab_open(net, &f), 0);
	/* Connected: what comes next is on its way at once. */
	assert_int_equal(
		fab_call_run(f, 3, CALL_ECHO, NULL, 0, NULL, 0, NULL, 0), 0);
	assert_int_equal(
		fab_call_run(f, 3, CALL_HOLD, NULL, 0, NULL, 0, NULL, 10 * MS),
		-ETIMEDOUT);
	contract_node_wait_held(&n, 1);
	contract_node_close(&n);
	assert_int_equal(n.gones, 1); /* before close returned */
	contract_node_release(&n, 0, "nobody", 6);
	fab_close(f);
	fab_net_close(net);
}

#define T(fn)                                                                  \
	cmocka_unit_test_setup_teardown(fn, contract_setup, contract_teardown)

int contract_run_calls(void)
{
	const struct CMUnitTest tests[] = {
		T(a_call_brings_bytes_there_and_back),
		T(the_nodes_status_is_the_operations),
		T(a_call_may_end_with_einprogress),
		T(an_answer_too_long_is_refused_whole),
		T(the_largest_call_works),
		T(calls_arrive_in_the_order_posted),
		T(a_call_sees_the_writes_before_it),
		T(a_failed_operation_cancels_a_call),
		T(an_answer_may_come_later_from_another_thread),
		T(no_answer_ends_at_the_deadline),
		T(each_batch_has_its_own_deadline),
		T(poll_waits_no_longer_than_asked),
		T(run_waits_without_spinning),
		T(a_timeout_leaves_the_rest_of_the_batch),
		T(a_thousand_calls_under_way_at_once),
		T(threads_get_their_own_answers),
		T(a_node_learns_who_asks),
		T(on_hello_may_refuse),
		T(the_largest_hello_arrives),
		T(on_gone_when_the_net_closes),
		T(an_answer_after_the_asker_has_gone_is_fine),
		cmocka_unit_test(an_answer_after_the_server_has_closed_is_fine),
	};

	return cmocka_run_group_tests_name(contract->name, tests, NULL, NULL);
}
