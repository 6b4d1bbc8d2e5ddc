/* A client over an adapter that can do less than we would have it do: the
 * adapter is the one that is played in tests/fuzz/verbs_client.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/fuzz/verbs_client.c"

#define LONGEST 200u
#define AREA	8192u
#define MANY	100u
#define MS	UINT64_C(1000000)
#define SOON	(2500 * MS) /* a machine may stand still; without, 0.2 s */

/* Of node 0, whose adapter is our own. */
static struct fab *queue(void)
{
	struct fab *f;

	set_up();
	assert_int_equal(fab_open(net, &f), 0);
	return f;
}

static void end(struct fab *f)
{
	fab_close(f);
	fab_net_close(net);
}

static void run_to(struct fab *f, struct fab_op *op, int status)
{
	struct fab_batch *done;
	struct fab_batch b = {
		.ops = op, .n = 1, .deadline_ns = fab_now(f) + WIRE_DEADLINE};

	assert_int_equal(fab_post(f, &b), 0);
	while (b.left > 0)
		assert_int_equal(fab_poll(f, &done, 1, WIRE_PATIENCE_NS), 1);
	assert_int_equal(op->status, status);
}

static void run(struct fab *f, struct fab_op *op)
{
	run_to(f, op, 0);
}

static uint64_t direct(struct fab *f)
{
	struct fab_counters c;

	fab_counters(f, &c);
	return c.direct;
}

static void few_operations_under_way(void **state)
{
	uint64_t word = 0;
	struct fab_op op;
	struct fab *f;

	bears.reads = 4;
	f = queue();
	fab_read(&op, 0, 0, &word, sizeof(word));
	run(f, &op);
	assert_int_equal(word, UINT64_C(0x0707070707070707));
	end(f);
	bears.reads = 128;
}

/* As many WRITEs and READs in a batch, to nodes 0 to @nodes - 1 in turn. */
static void run_many(struct fab *f, unsigned n, unsigned nodes)
{
	static uint8_t bytes[MANY][LONGEST];
	struct fab_op op[MANY];
	struct fab_batch *done;
	struct fab_batch b = {
		.ops = op, .n = n, .deadline_ns = fab_now(f) + WIRE_DEADLINE};

	for (unsigned i = 0; i < n; i++)
		if (i % 3 == 0)
			fab_read(&op[i], (uint8_t)(i % nodes), 0, bytes[i],
				 LONGEST);
		else
			fab_write(&op[i], (uint8_t)(i % nodes), 0, bytes[i],
				  LONGEST);
	assert_int_equal(fab_post(f, &b), 0);
	while (b.left > 0)
		assert_int_equal(fab_poll(f, &done, 1, WIRE_PATIENCE_NS), 1);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(op[i].status, 0);
}

/* take_send() and what makes queues look at the limits. */
static void few_work_requests_at_a_time(void **state)
{
	static const struct {
		int wr, cqe;
	} t[] = {{40, 65536}, {16384, 64}, {101, 99}, {264, 288}};
	struct fab *f;

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		bears.wr = t[i].wr;
		bears.cqe = t[i].cqe;
		f = queue();
		run_many(f, MANY, 1);
		end(f);
	}
	bears.wr = 16384;
	bears.cqe = 65536;
}

/* A message of a CALL cannot be cut; a READ or WRITE is, at whole words. */
static void short_messages(void **state)
{
	static uint8_t bytes[300000];
	struct fab_op op;
	struct fab *f;

	node_size = sizeof(bytes);
	bears.msg = VERBS_MSG_MAX;
	f = queue();
	assert_int_equal(fab_net_register(net, bytes, sizeof(bytes)), 0);
	fab_read(&op, 0, 0, bytes, sizeof(bytes)); /* direct */
	run(f, &op);
	for (size_t i = 0; i < sizeof(bytes); i++)
		assert_int_equal(bytes[i], 7);
	fab_net_deregister(net, bytes);
	fab_write(&op, 0, 0, bytes, sizeof(bytes));
	rung.requests = 0;
	run(f, &op);
	assert_int_equal(rung.requests, 5); /* of 61440 each */
	end(f);
	bears.msg = 1u << 30;
	node_size = REGION;
}

/* The node's host asks itself; a client learns that this one is of no use. */
static void refuse_with(int probed)
{
	int attached = probed == -ENOBUFS ? -ENODEV : 0;

	assert_int_equal(fab_verbs_probe("verbs:127.0.0.1:1"), probed);
	assert_int_equal(fab_net_attach(net, OTHER, "verbs:127.0.0.1:2", "", 0),
			 attached);
	if (attached == 0)
		fab_net_cut(net, OTHER);
}

static void an_adapter_that_bears_too_little_is_refused(void **state)
{
	struct fab *f = queue();

	refuse_with(0);
	bears.wr = 39;
	refuse_with(-ENOBUFS);
	bears.wr = 16384;
	bears.cqe = 63;
	refuse_with(-ENOBUFS);
	bears.cqe = 65536;
	bears.sge = 0;
	refuse_with(-ENOBUFS);
	bears.sge = 30;
	bears.msg = VERBS_MSG_MAX - 1;
	refuse_with(-ENOBUFS);
	bears.msg = 0; /* it does not say */
	assert_int_equal(fab_verbs_probe("verbs:127.0.0.1:1"), 0);
	bears.msg = 1u << 30;
	bears.atomics = IBV_ATOMIC_NONE;
	refuse_with(-EOPNOTSUPP);
	bears.atomics = IBV_ATOMIC_GLOB;
	refuse_with(0);
	bears.atomics = IBV_ATOMIC_HCA;
	end(f);
}

static void attach_nodes(uint8_t upto)
{
	for (uint8_t id = 1; id < upto; id++)
		assert_int_equal(fab_net_attach(net, id, "verbs:node:1", "", 0),
				 0);
}

/* What a batch costs its poster and its adapter. */
static void a_node_costs_a_batch_one_doorbell_and_one_signal(void **state)
{
	struct fab *f = queue();

	attach_nodes(3);
	run_many(f, 3, 3); /* connects */
	memset(&rung, 0, sizeof(rung));
	run_many(f, 30, 3);
	assert_int_equal(rung.requests, 30);
	assert_int_equal(rung.connections, 3);
	assert_int_equal(rung.doorbells, 3);
	assert_int_equal(rung.signaled, 3);
	memset(&rung, 0, sizeof(rung));
	run_many(f, MANY, 1); /* more than fit a doorbell */
	assert_int_equal(rung.requests, MANY);
	assert_int_equal(rung.connections, 1);
	assert_int_equal(rung.doorbells,
			 (MANY + VERBS_SENDS_MIN - 1) / VERBS_SENDS_MIN);
	assert_int_equal(rung.signaled, rung.doorbells);
	end(f);
}

/* post_send() looks at each that says it is inline. */
static void few_bytes_in_a_work_request(void **state)
{
	static const unsigned room[] = {0, 32, 96, 101, 1024};
	uint8_t bytes[LONGEST] = {0};
	struct fab_op op;
	struct fab *f;

	for (size_t i = 0; i < sizeof(room) / sizeof(room[0]); i++) {
		bears.inlined = room[i];
		f = queue();
		for (uint32_t len = 0; len <= LONGEST; len++) {
			fab_write(&op, 0, 0, bytes, len);
			run(f, &op);
		}
		end(f);
	}
}

static uint8_t area[2][AREA];

/* A READ into @at; how many went there without a copy. */
static uint64_t read_to(struct fab *f, uint8_t *at)
{
	uint64_t was = direct(f);
	struct fab_op op;

	memset(at, 0, REGION);
	fab_read(&op, 0, 0, at, REGION);
	run(f, &op);
	for (unsigned i = 0; i < REGION; i++)
		assert_int_equal(at[i], 7);
	return direct(f) - was;
}

/* check_place() looks at the keys. */
static void memory_is_known_while_it_is_registered(void **state)
{
	struct fab *f = queue();
	unsigned own = known.n;

	assert_int_equal(read_to(f, area[0]), 0);
	assert_int_equal(fab_net_register(net, area[0], AREA), 0);
	assert_int_equal(fab_net_register(net, area[1], AREA), 0);
	assert_int_equal(known.n, own + 3); /* the queue has one of its own */
	assert_int_equal(read_to(f, area[0]), 1);
	assert_int_equal(read_to(f, area[1] + AREA - REGION), 1);
	fab_net_deregister(net, area[0]);
	assert_int_equal(read_to(f, area[0]), 0);
	assert_int_equal(read_to(f, area[1]), 1);
	end(f);
	assert_int_equal(known.n, 0);
}

/* Of memory, say: a process may pin so much of it. */
static void an_adapter_that_takes_no_more_is_done_without(void **state)
{
	struct fab *f = queue();

	assert_int_equal(read_to(f, area[1]), 0);
	bears.pieces = known.n + 1;
	assert_int_equal(fab_net_register(net, area[0], AREA), 0);
	assert_int_equal(fab_net_register(net, area[1], AREA), -ENOMEM);
	assert_int_equal(read_to(f, area[0]), 1);
	assert_int_equal(read_to(f, area[1]), 0);
	fab_net_deregister(net, area[1]); /* not there */
	fab_net_deregister(net, area[0]);
	assert_int_equal(fab_net_register(net, area[1], AREA), 0);
	assert_int_equal(read_to(f, area[1]), 1);
	end(f);
	bears.pieces = 600;
}

/* There before any adapter was; one that does not take all has some. */
static void an_adapter_that_comes_later_takes_what_it_can(void **state)
{
	struct fab_net *late_net;
	struct fab *f;

	end(queue()); /* the adapter is played */
	bears.pieces = 2;
	assert_int_equal(fab_verbs_open(NULL, &late_net), 0);
	assert_int_equal(fab_net_register(late_net, area[0], AREA), 0);
	assert_int_equal(fab_net_register(late_net, area[1], AREA), 0);
	assert_int_equal(fab_net_attach(late_net, 0, "verbs:node:1", "", 0), 0);
	assert_int_equal(fab_open(late_net, &f), 0);
	bears.pieces = 600;
	assert_int_equal(read_to(f, area[0]), 1);
	assert_int_equal(read_to(f, area[1]), 0);
	fab_close(f);
	fab_net_close(late_net);
	assert_int_equal(known.n, 0);
}

/* An adapter that is slow may not put bytes where somebody else is by then. */
static void what_is_late_is_taken_from_the_adapter(void **state)
{
	struct fab *f = queue();
	struct fab_op op;

	assert_int_equal(fab_net_register(net, area[0], AREA), 0);
	assert_int_equal(read_to(f, area[0]), 1);
	late.wanted = true;
	fab_read(&op, 0, 0, area[0], REGION);
	run_to(f, &op, -ETIMEDOUT);
	assert_int_equal(op.len, REGION);
	assert_int_equal(direct(f), 2);
	late.wanted = false;
	memset(area[0], 9, AREA);
	if (late.to.length > 0)
		read_some(&late.to); /* it goes on */
	for (unsigned i = 0; i < AREA; i++)
		assert_int_equal(area[0][i], 9);
	assert_int_equal(read_to(f, area[0]), 1); /* connected again */
	end(f);
}

static void no_way_is_told_from_no_answer(void **state)
{
	static const struct {
		enum rdma_cm_event_type instead_of, what;
		int status, rc;
	} t[] = {
		{RDMA_CM_EVENT_ADDR_RESOLVED, RDMA_CM_EVENT_ADDR_ERROR, -ENODEV,
		 -ENODEV},
		{RDMA_CM_EVENT_ADDR_RESOLVED, RDMA_CM_EVENT_ADDR_ERROR,
		 -ETIMEDOUT, -EHOSTUNREACH},
		{RDMA_CM_EVENT_ROUTE_RESOLVED, RDMA_CM_EVENT_ROUTE_ERROR,
		 -ENODEV, -ENODEV},
		{RDMA_CM_EVENT_ROUTE_RESOLVED, RDMA_CM_EVENT_ROUTE_ERROR,
		 -ETIMEDOUT, -EHOSTUNREACH},
		{RDMA_CM_EVENT_ESTABLISHED, RDMA_CM_EVENT_UNREACHABLE,
		 -ETIMEDOUT, -EHOSTUNREACH},
		{RDMA_CM_EVENT_ESTABLISHED, RDMA_CM_EVENT_REJECTED, 8,
		 -ECONNREFUSED},
	};
	struct fab *f = queue();

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		trouble.wanted = true;
		trouble.instead_of = t[i].instead_of;
		trouble.what = t[i].what;
		trouble.status = t[i].status;
		assert_int_equal(
			fab_net_attach(net, OTHER, "verbs:node:2", "", 0),
			t[i].rc);
	}
	trouble.wanted = false;
	assert_int_equal(fab_net_attach(net, OTHER, "verbs:node:2", "", 0), 0);
	end(f);
}

/* A READ of node 0, due in so much time, which fails: after how long? */
static uint64_t fails_after(struct fab *f, uint64_t due_ns, int status)
{
	uint64_t word, from = fab_now(f);
	struct fab_batch *done;
	struct fab_op op;
	struct fab_batch b = {.ops = &op, .n = 1, .deadline_ns = from + due_ns};

	fab_read(&op, 0, 0, &word, sizeof(word));
	assert_int_equal(fab_post(f, &b), 0);
	assert_int_equal(fab_poll(f, &done, 1, WIRE_PATIENCE_NS), 1);
	assert_int_equal(op.status, status);
	return fab_now(f) - from;
}

static void nothing_comes_of(enum rdma_cm_event_type event)
{
	memset(&life, 0, sizeof(life));
	memset(&trouble, 0, sizeof(trouble));
	trouble.wanted = trouble.silent = true;
	trouble.instead_of = event;
}

/* Its host has vanished since this process attached it: who has not been there
 * yet finds that as soon as others do, whenever his batch is due. */
static void a_new_lane_finds_that_its_node_is_dead(void **state)
{
	static const enum rdma_cm_event_type t[] = {
		RDMA_CM_EVENT_ADDR_RESOLVED, RDMA_CM_EVENT_ROUTE_RESOLVED,
		RDMA_CM_EVENT_ESTABLISHED};
	struct fab *f;

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		f = queue();
		nothing_comes_of(t[i]);
		life.dead = true;
		assert_in_range(fails_after(f, 30000 * MS, -EHOSTDOWN), 1,
				SOON);
		assert_true(life.asked > 0);
		assert_false(fab_net_up(net, 0));
		trouble.wanted = false;
		end(f);
	}
	memset(&life, 0, sizeof(life));
}

/* Nobody knows why it is slow; a batch waits no longer than it is due. */
static void a_new_lane_is_waited_for_until_its_batch_is_due(void **state)
{
	struct fab *f = queue();
	uint64_t took;

	nothing_comes_of(RDMA_CM_EVENT_ESTABLISHED);
	took = fails_after(f, 60 * MS, -EHOSTDOWN);
	assert_in_range(took, 60 * MS, SOON);
	assert_true(life.asked > 0); /* short as that was */
	/* If such batches are all there are, the node is reached all the same:
	 * each has more time to connect. */
	assert_true(fails_after(f, 60 * MS, -EHOSTDOWN) >= 2 * 60 * MS);
	assert_true(fails_after(f, 60 * MS, -EHOSTDOWN) >= 4 * 60 * MS);
	trouble.wanted = false;
	assert_int_equal(read_to(f, area[0]), 0);
	end(f);
}

struct reader {
	pthread_t thread;
	struct fab *f;
	uint8_t *at;
	bool bad;
};

static void *register_and_read(void *arg)
{
	struct reader *r = arg;
	struct fab_op op;
	struct fab_batch b = {.ops = &op, .n = 1};

	for (int i = 0; i < 200; i++) {
		r->bad |= fab_net_register(net, r->at, AREA) != 0;
		for (int k = 0; k < 3; k++) {
			fab_read(&op, 0, 0, r->at + k, REGION);
			r->bad |= fab_run(r->f, &b) != 0 || op.status != 0;
		}
		fab_net_deregister(net, r->at);
		memset(r->at, 0, AREA);
	}
	return NULL;
}

static void threads_register_their_own(void **state)
{
	struct reader r[2] = {{.f = queue(), .at = area[0]}};

	r[1] = (struct reader){.at = area[1]};
	assert_int_equal(fab_open(net, &r[1].f), 0);
	for (int i = 0; i < 2; i++) /* one connection at a time is made */
		assert_int_equal(read_to(r[i].f, r[i].at), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&r[i].thread, NULL,
						register_and_read, &r[i]),
				 0);
	for (int i = 0; i < 2; i++) {
		pthread_join(r[i].thread, NULL);
		assert_false(r[i].bad);
		assert_int_equal(direct(r[i].f), 600);
	}
	fab_close(r[1].f);
	end(r[0].f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(few_operations_under_way),
		cmocka_unit_test(few_work_requests_at_a_time),
		cmocka_unit_test(short_messages),
		cmocka_unit_test(an_adapter_that_bears_too_little_is_refused),
		cmocka_unit_test(
			a_node_costs_a_batch_one_doorbell_and_one_signal),
		cmocka_unit_test(few_bytes_in_a_work_request),
		cmocka_unit_test(memory_is_known_while_it_is_registered),
		cmocka_unit_test(an_adapter_that_takes_no_more_is_done_without),
		cmocka_unit_test(an_adapter_that_comes_later_takes_what_it_can),
		cmocka_unit_test(what_is_late_is_taken_from_the_adapter),
		cmocka_unit_test(no_way_is_told_from_no_answer),
		cmocka_unit_test(a_new_lane_finds_that_its_node_is_dead),
		cmocka_unit_test(
			a_new_lane_is_waited_for_until_its_batch_is_due),
		cmocka_unit_test(threads_register_their_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
