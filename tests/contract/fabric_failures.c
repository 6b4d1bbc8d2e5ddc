/* tests/contract/fabric_failures.c - nodes that die, are cut off, hang up. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/contract/fabric_contract.h"

/* How often, and which, a net found dead. */
struct downs {
	int count;
	int last;
};

static void count_down(void *arg, uint8_t id)
{
	struct downs *d = arg;

	d->last = id;
	__atomic_fetch_add(&d->count, 1, __ATOMIC_SEQ_CST);
}

struct victim {
	struct fab_net *net;
	struct fab *f;
	char address[200];
	pid_t pid;
	struct downs downs;
};

static int victim_setup(void **state)
{
	struct victim *v = calloc(1, sizeof(*v));

	assert_non_null(v);
	v->pid = contract_node_spawn(v->address, sizeof(v->address));
	assert_int_equal(contract->net_open(&v->net), 0);
	fab_net_on_down(v->net, count_down, &v->downs);
	contract_attach(v->net, 4, v->address);
	assert_int_equal(fab_open(v->net, &v->f), 0);
	*state = v;
	return 0;
}

static int victim_teardown(void **state)
{
	struct victim *v = *state;

	fab_close(v->f);
	fab_net_close(v->net);
	if (v->pid > 0)
		contract_node_kill(v->pid);
	free(v);
	return 0;
}

static void kill_victim(struct victim *v)
{
	contract_node_kill(v->pid);
	v->pid = 0;
}

static int write_word(struct fab *f, uint64_t v)
{
	struct fab_op op;

	fab_write(&op, 4, 64, &v, 8);
	contract_ops(f, &op, 1);
	return op.status;
}

static void a_killed_node_is_found_dead_once(void **state)
{
	struct victim *v = *state;
	uint64_t t;

	assert_int_equal(write_word(v->f, 1), 0);
	t = contract_now();
	kill_victim(v);
	contract_wait(&v->downs.count, 1);
	assert_true(contract_now() - t < 1000 * MS);
	assert_int_equal(v->downs.last, 4);
	assert_false(fab_net_up(v->net, 4));
	assert_int_equal(write_word(v->f, 2), -EHOSTDOWN);
	assert_int_equal(
		fab_call_run(v->f, 4, CALL_ECHO, NULL, 0, NULL, 0, NULL, 0),
		-EHOSTDOWN);
	usleep(20000);
	assert_int_equal(contract_get(&v->downs.count), 1);
}

static void a_call_under_way_ends_when_the_node_dies(void **state)
{
	struct victim *v = *state;
	struct fab_op op[2];
	struct fab_batch b = {.ops = op, .n = 2}, *done;
	uint64_t t = contract_now();

	fab_call(&op[0], 4, CALL_HOLD, NULL, 0, NULL, 0);
	fab_faa(&op[1], 4, 8, 1);
	assert_int_equal(fab_post(v->f, &b), 0);
	assert_int_equal(fab_poll(v->f, &done, 1, 30 * MS), 0);
	kill_victim(v);
	assert_int_equal(fab_poll(v->f, &done, 1, 4000 * MS), 1);
	assert_int_equal(op[0].status, -EHOSTDOWN);
	assert_int_equal(op[1].status, 0);
	assert_true(contract_now() - t < 2000 * MS);
}

static void a_new_node_may_take_the_place(void **state)
{
	struct victim *v = *state;
	struct fab_op op;
	uint64_t word = 1;

	assert_int_equal(write_word(v->f, 77), 0);
	assert_int_equal(
		fab_call_run(v->f, 4, CALL_ECHO, NULL, 0, NULL, 0, NULL, 0), 0);
	kill_victim(v);
	contract_wait(&v->downs.count, 1);
	v->pid = contract_node_spawn(v->address, sizeof(v->address));
	contract_attach(v->net, 4, v->address);
	fab_read(&op, 4, 64, &word, 8);
	contract_ops(v->f, &op, 1);
	assert_int_equal(op.status, 0);
	assert_int_equal(word, 0); /* its own memory */
	assert_int_equal(
		fab_call_run(v->f, 4, CALL_ECHO, NULL, 0, NULL, 0, NULL, 0), 0);
	kill_victim(v);
	contract_wait(&v->downs.count, 2); /* once for each */
}

/* A call to the last process ends with the cut; it does not wait for, or reach,
 * the one that is attached to under the same id. */
static void a_call_to_the_last_node_does_not_reach_the_next(void **state)
{
	struct victim *v = *state;
	struct fab_op op;
	struct fab_batch b = {.ops = &op, .n = 1}, *done;
	pid_t last = v->pid;

	fab_call(&op, 4, CALL_HOLD, NULL, 0, NULL, 0);
	assert_int_equal(fab_post(v->f, &b), 0);
	assert_int_equal(fab_poll(v->f, &done, 1, 30 * MS), 0);
	fab_net_cut(v->net, 4);
	v->pid = contract_node_spawn(v->address, sizeof(v->address));
	contract_attach(v->net, 4, v->address);
	assert_int_equal(fab_poll(v->f, &done, 1, 4000 * MS), 1);
	assert_int_equal(op.status, -EHOSTDOWN);
	assert_int_equal(write_word(v->f, 5), 0);
	contract_node_kill(last); /* nobody minds */
	usleep(20000);
	assert_int_equal(write_word(v->f, 6), 0);
	assert_int_equal(contract_get(&v->downs.count), 0);
}

/* --- threads in the middle of it ------------------------------------------ */

#define HAMMER_BYTES (CONTRACT_CRAWLS ? 128u << 10 : 2u << 20)

struct hammer {
	pthread_t thread;
	struct fab_net *net;
	bool calls; /* between the writes */
	int ready, bad;
};

/* Write until the node is down. Whatever happens meanwhile, it is a status:
 * no signal, no hang. */
static void *hammer(void *arg)
{
	struct hammer *h = arg;
	uint8_t *buf = malloc(3 * HAMMER_BYTES);
	struct fab_op op[4];
	struct fab_batch b = {.ops = op, .n = h->calls ? 4 : 3};
	unsigned round = 0;
	struct fab *f;

	if (buf == NULL || fab_open(h->net, &f) != 0)
		abort();
	memset(buf, 0x11, HAMMER_BYTES);
	memset(buf + HAMMER_BYTES, 0xee, HAMMER_BYTES);
	do {
		fab_write(&op[0], 4, 4096, buf + ++round % 2 * HAMMER_BYTES,
			  HAMMER_BYTES);
		fab_faa(&op[1], 4, 8, 1);
		fab_read_loose(&op[2], 4, 4096, buf + 2 * HAMMER_BYTES,
			       64u << 10);
		fab_call(&op[3], 4, CALL_ECHO, NULL, 0, NULL, 0);
		h->bad |= fab_run(f, &b) != 0 || b.left != 0;
		for (uint32_t i = 0; i < b.n; i++)
			h->bad |= op[i].status != 0 &&
				  op[i].status != -EHOSTDOWN &&
				  op[i].status != -ECANCELED;
		__atomic_store_n(&h->ready, 1, __ATOMIC_SEQ_CST);
	} while (op[0].status == 0);
	fab_close(f);
	free(buf);
	return NULL;
}

static void hammers_start(struct hammer *h, int n, struct fab_net *net,
			  bool calls)
{
	for (int i = 0; i < n; i++) {
		h[i] = (struct hammer){.net = net, .calls = calls};
		assert_int_equal(
			pthread_create(&h[i].thread, NULL, hammer, &h[i]), 0);
	}
	for (int i = 0; i < n; i++)
		contract_wait(&h[i].ready, 1);
}

static void hammers_join(struct hammer *h, int n)
{
	for (int i = 0; i < n; i++) {
		pthread_join(h[i].thread, NULL);
		assert_int_equal(h[i].bad, 0);
	}
}

static void a_kill_in_the_middle_harms_no_thread(void **state)
{
	struct victim *v = *state;
	struct hammer h[3];

	hammers_start(h, 3, v->net, true);
	kill_victim(v);
	hammers_join(h, 3);
	contract_wait(&v->downs.count, 1);
}

/* [I6] After fab_net_cut() nothing of this process changes the memory, which
 * the test looks at from the node's own side. */
static void after_a_cut_nothing_touches_the_memory(void **state)
{
	struct test_node n;
	struct fab_net *net;
	struct hammer h[3];
	struct downs downs = {0};
	uint8_t *before = malloc(HAMMER_BYTES + 4096);

	contract_node_open(&n);
	for (int round = 0; round < 20; round++) {
		assert_int_equal(contract->net_open(&net), 0);
		fab_net_on_down(net, count_down, &downs);
		assert_int_equal(fab_net_attach(net, 4, n.address, "", 0), 0);
		hammers_start(h, 2, net, round % 4 == 0);
		usleep((unsigned)(round * 137));
		fab_net_cut(net, 4);
		/* from here on it is the node's alone */
		memcpy(before, n.region, HAMMER_BYTES + 4096);
		assert_false(fab_net_up(net, 4));
		assert_int_equal(fab_net_size(net, 4), 0);
		hammers_join(h, 2);
		assert_memory_equal(before, n.region, HAMMER_BYTES + 4096);
		fab_net_close(net);
	}
	assert_int_equal(contract_get(&downs.count),
			 0); /* cut, not found dead */
	contract_node_close(&n);
	free(before);
}

static void *cut_soon(void *arg)
{
	usleep(30000);
	fab_net_cut(arg, 1);
	return NULL;
}

static void a_cut_ends_calls_under_way(void **state)
{
	struct fixture *x = *state;
	pthread_t t;
	uint64_t start;

	assert_int_equal(/* so that the request leaves before the cut */
			 fab_call_run(x->f, 1, CALL_ECHO, NULL, 0, NULL, 0,
				      NULL, 0),
			 0);
	start = contract_now();
	assert_int_equal(pthread_create(&t, NULL, cut_soon, x->net), 0);
	assert_int_equal(
		fab_call_run(x->f, 1, CALL_HOLD, NULL, 0, NULL, 0, NULL, 0),
		-EHOSTDOWN);
	assert_true(contract_now() - start < 3000 * MS);
	pthread_join(t, NULL);
	contract_node_release(&x->node[1], 0, NULL, 0);
	contract_wait(&x->node[1].gones, 1); /* the node sees us gone */
	/* the other node goes on, and this one can be attached again */
	assert_int_equal(
		fab_call_run(x->f, 0, CALL_ECHO, NULL, 0, NULL, 0, NULL, 0), 0);
	assert_int_equal(fab_net_attach(x->net, 1, x->node[1].address, "", 0),
			 0);
	assert_int_equal(
		fab_call_run(x->f, 1, CALL_ECHO, NULL, 0, NULL, 0, NULL, 0), 0);
	fab_net_cut(x->net, 9); /* never attached: nothing to do */
}

/* On return it does not run any more. */
static void stop_victim(struct victim *v)
{
	int how;

	assert_int_equal(kill(v->pid, SIGSTOP), 0);
	assert_int_equal(waitpid(v->pid, &how, WUNTRACED), v->pid);
	assert_true(WIFSTOPPED(how));
}

static void *cut_4_soon(void *arg)
{
	usleep(30000);
	fab_net_cut(arg, 4);
	return NULL;
}

/* A node that hangs does not hang up: the cut itself must end the call. */
static void a_cut_ends_calls_to_a_node_that_hangs(void **state)
{
	struct victim *v = *state;
	uint64_t start = contract_now();
	pthread_t t;

	stop_victim(v);
	assert_int_equal(pthread_create(&t, NULL, cut_4_soon, v->net), 0);
	assert_int_equal(
		fab_call_run(v->f, 4, CALL_ECHO, NULL, 0, NULL, 0, NULL, 0),
		-EHOSTDOWN);
	assert_true(contract_now() - start < 3000 * MS);
	pthread_join(t, NULL);
	assert_int_equal(contract_get(&v->downs.count), 0);
}

/* Shared memory answers even so; what needs the node's processor ends at its
 * deadline, and goes on with it. */
static void a_node_that_hangs_delays_only_what_needs_it(void **state)
{
	struct victim *v = *state;
	struct fab_op op;
	struct fab_batch b = {.ops = &op, .n = 1};
	uint64_t five = 5;

	assert_int_equal(write_word(v->f, 4), 0);
	stop_victim(v);
	fab_write(&op, 4, 64, &five, 8);
	b.deadline_ns = fab_now(v->f) + 20 * MS;
	assert_int_equal(fab_run(v->f, &b), 0);
	assert_int_equal(op.status, contract->by_processor ? -ETIMEDOUT : 0);
	assert_int_equal(fab_call_run(v->f, 4, CALL_ECHO, NULL, 0, NULL, 0,
				      NULL, 20 * MS),
			 -ETIMEDOUT);
	assert_true(fab_net_up(v->net, 4));
	assert_int_equal(kill(v->pid, SIGCONT), 0);
	assert_int_equal(
		fab_call_run(v->f, 4, CALL_ECHO, NULL, 0, NULL, 0, NULL, 0), 0);
}

static void a_node_may_hang_up_on_a_peer(void **state)
{
	struct fixture *x = *state;
	struct downs downs = {0};

	fab_net_on_down(x->net, count_down, &downs);
	assert_int_equal(
		fab_call_run(x->f, 1, CALL_ECHO, NULL, 0, NULL, 0, NULL, 0), 0);
	fab_peer_cut(x->node[1].peer);
	contract_wait(&x->node[1].gones, 1);
	contract_wait(&downs.count, 1);
	assert_int_equal(downs.last, 1);
	assert_int_equal(
		fab_call_run(x->f, 1, CALL_ECHO, NULL, 0, NULL, 0, NULL, 0),
		-EHOSTDOWN);
	assert_true(fab_net_up(x->net, 0));
}

static void a_closed_server_is_found_dead(void **state)
{
	struct test_node n;
	struct downs downs = {0};
	struct fab_net *net;

	contract_node_open(&n);
	assert_int_equal(contract->net_open(&net), 0);
	fab_net_on_down(net, count_down, &downs);
	assert_int_equal(fab_net_attach(net, 2, n.address, "", 0), 0);
	contract_node_close(&n);
	contract_wait(&downs.count, 1);
	assert_int_equal(fab_net_attach(net, 2, n.address, "", 0),
			 contract->absent);
	fab_net_close(net);
}

struct cutter {
	struct fab_net *net;
	int cut;
};

static void cut_when_down(void *arg, uint8_t id)
{
	struct cutter *c = arg;

	fab_net_cut(c->net, id);
	__atomic_store_n(&c->cut, 1, __ATOMIC_SEQ_CST);
}

static void on_down_may_cut(void **state)
{
	struct victim *v = *state;
	struct cutter c = {.net = v->net};

	fab_net_on_down(v->net, cut_when_down, &c);
	kill_victim(v);
	contract_wait(&c.cut, 1);
	assert_int_equal(fab_net_size(v->net, 4), 0);
	assert_int_equal(write_word(v->f, 1), -EHOSTDOWN);
}

#define X(fn)                                                                  \
	cmocka_unit_test_setup_teardown(fn, contract_setup, contract_teardown)
#define V(fn) cmocka_unit_test_setup_teardown(fn, victim_setup, victim_teardown)

int contract_run_failures(void)
{
	const struct CMUnitTest tests[] = {
		V(a_killed_node_is_found_dead_once),
		V(a_call_under_way_ends_when_the_node_dies),
		V(a_new_node_may_take_the_place),
		V(a_call_to_the_last_node_does_not_reach_the_next),
		V(a_kill_in_the_middle_harms_no_thread),
		V(on_down_may_cut),
		V(a_cut_ends_calls_to_a_node_that_hangs),
		V(a_node_that_hangs_delays_only_what_needs_it),
		cmocka_unit_test(after_a_cut_nothing_touches_the_memory),
		X(a_cut_ends_calls_under_way),
		X(a_node_may_hang_up_on_a_peer),
		cmocka_unit_test(a_closed_server_is_found_dead),
	};

	return cmocka_run_group_tests_name(contract->name, tests, NULL, NULL);
}
