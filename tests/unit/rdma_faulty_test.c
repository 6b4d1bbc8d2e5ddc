/* tests/unit/rdma_faulty_test.c - the faulty net bites where it is told to,
 * and nowhere else. Runs on the simulator. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/faulty.h"
#include "tests/lib/sim.h"

#define BYTES 4096u
#define MS    UINT64_C(1000000)

struct world {
	struct sim *sim;
	uint64_t *region[2];
	struct fab_server *server[2];
	struct fab_net *net;
	struct faulty *faulty;
	struct fab *f;
	int deaths, killed;
};

static void on_call(void *arg, struct fab_request *rq, uint16_t type,
		    const void *req, size_t len)
{
	++*(uint64_t *)arg; /* the region's first word: CALLs served */
	fab_reply(rq, 0, req, len);
}

static int setup(void **state)
{
	static const char *const address[] = {"sim:0", "sim:1"};
	struct world *w = calloc(1, sizeof(*w));
	struct fab_net *inner;

	assert_int_equal(sim_open(&(struct sim_opts){.seed = 3}, &w->sim), 0);
	assert_int_equal(sim_net_open(w->sim, "client", &inner), 0);
	for (uint8_t i = 0; i < 2; i++) {
		struct fab_server_opts o = {.size = BYTES,
					    .region_fd = -1,
					    .address = address[i],
					    .on_call = on_call};

		o.region = o.arg = w->region[i] = calloc(1, BYTES);
		assert_int_equal(fab_server_open(&o, &w->server[i]), 0);
		assert_int_equal(fab_net_attach(inner, i, address[i], "", 0),
				 0);
	}
	assert_int_equal(faulty_open(inner, 1, &w->net, &w->faulty), 0);
	assert_int_equal(fab_open(w->net, &w->f), 0);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	fab_close(w->f);
	fab_net_close(w->net);
	faulty_close(w->faulty);
	for (int i = 0; i < 2; i++) {
		fab_server_close(w->server[i]);
		free(w->region[i]);
	}
	sim_close(w->sim);
	free(w);
	return 0;
}

/* Six operations: 1 WRITE 0, 2 READ 0, 3 FAA 1, 4 WRITE 1, 5 CAS 0, 6 CALL 0.
 * Of these five are remote writes. */
struct six {
	struct fab_op op[6];
	uint64_t v[8], got;
};

static void six_run(struct world *w, struct six *s)
{
	struct fab_batch b = {.ops = s->op, .n = 6};

	for (int i = 0; i < 8; i++)
		s->v[i] = 7;
	fab_write(&s->op[0], 0, 8, s->v, 8);
	fab_read(&s->op[1], 0, 8, &s->got, 8);
	fab_faa(&s->op[2], 1, 8, 1);
	fab_write(&s->op[3], 1, 16, s->v, 8);
	fab_cas(&s->op[4], 0, 16, 0, 5);
	fab_call(&s->op[5], 0, 1, NULL, 0, NULL, 0);
	assert_int_equal(fab_run(w->f, &b), 0);
	assert_int_equal(b.left, 0);
}

/* Which of the five remote writes took effect, as bits. */
static unsigned effects(struct world *w)
{
	return (unsigned)((w->region[0][1] == 7) << 0 |
			  (w->region[1][1] == 1) << 1 |
			  (w->region[1][2] == 7) << 2 |
			  (w->region[0][2] == 5) << 3 |
			  (w->region[0][0] == 1) << 4);
}

static void expect_statuses(const struct six *s, int a, int b, int c, int d,
			    int e, int g)
{
	const int want[6] = {a, b, c, d, e, g};

	for (int i = 0; i < 6; i++)
		assert_int_equal(s->op[i].status, want[i]);
}

static void without_rules_nothing_changes(void **state)
{
	struct world *w = *state;
	struct six s;

	six_run(w, &s);
	expect_statuses(&s, 0, 0, 0, 0, 0, 0);
	assert_int_equal(s.got, 7);
	assert_int_equal(effects(w), 0x1f);
	assert_int_equal(faulty_ops(w->faulty), 6);
	assert_int_equal(faulty_writes(w->faulty), 5);
	assert_int_equal(faulty_bites(w->faulty), 0);
	assert_int_equal(fab_net_size(w->net, 0), BYTES);
	assert_true(fab_net_up(w->net, 1));
}

static void a_failed_operation_is_not_done(void **state)
{
	struct world *w = *state;
	struct six s;

	faulty_fail(w->faulty, 3, -EREMOTEIO);
	six_run(w, &s);
	expect_statuses(&s, 0, 0, -EREMOTEIO, -ECANCELED, 0, 0);
	assert_int_equal(effects(w), 0x19);
	assert_int_equal(faulty_bites(w->faulty), 1);
	memset(w->region[0], 0, BYTES);
	six_run(w, &s); /* once only */
	expect_statuses(&s, 0, 0, 0, 0, 0, 0);
	assert_int_equal(effects(w), 0x1f);
}

static void a_dropped_operation_times_out(void **state)
{
	struct world *w = *state;
	struct six s;

	faulty_drop(w->faulty, 5);
	six_run(w, &s);
	expect_statuses(&s, 0, 0, 0, 0, -ETIMEDOUT, -ECANCELED);
	assert_int_equal(effects(w), 0x07);
}

static void a_dropped_answer_leaves_the_effect(void **state)
{
	struct world *w = *state;
	struct six s;

	faulty_drop_answer(w->faulty, 5);
	six_run(w, &s);
	expect_statuses(&s, 0, 0, 0, 0, -ETIMEDOUT, -ECANCELED);
	assert_int_equal(effects(w), 0x0f);
}

static void a_delay_takes_time_and_nothing_else(void **state)
{
	struct world *w = *state;
	uint64_t t = fab_now(w->f);
	struct six s;

	faulty_delay(w->faulty, 4, 10 * MS);
	six_run(w, &s);
	expect_statuses(&s, 0, 0, 0, 0, 0, 0);
	assert_true(fab_now(w->f) - t >= 10 * MS);
	assert_true(fab_now(w->f) - t < 20 * MS);
}

/* --- death ---------------------------------------------------------------- */

static void killed(void *arg, uint8_t id)
{
	struct world *w = arg;

	w->killed++;
	sim_server_kill(w->sim, id == 0 ? "sim:0" : "sim:1");
}

static void a_node_dies_after_an_operation(void **state)
{
	struct world *w = *state;
	struct six s;

	faulty_kill_node(w->faulty, 1, 3, killed, w);
	six_run(w, &s);
	expect_statuses(&s, 0, 0, 0, -EHOSTDOWN, 0, 0);
	assert_int_equal(effects(w), 0x1b);
	assert_int_equal(w->killed, 1);
	assert_false(fab_net_up(w->net, 1));
	assert_true(fab_net_up(w->net, 0));
}

static void died(void *arg)
{
	((struct world *)arg)->deaths++;
}

/* The loop of a crash test: every remote write in its turn is the last. */
static void the_client_dies_after_each_write_in_turn(void **state)
{
	static const unsigned want[] = {0x00, 0x01, 0x03, 0x07, 0x0f, 0x1f};
	struct six s;

	for (uint64_t n = 0; n <= 5; n++) {
		struct world *w;

		setup(state);
		w = *state;
		faulty_on_death(w->faulty, died, w);
		faulty_kill_client(w->faulty, n);
		six_run(w, &s);
		assert_int_equal(effects(w), want[n]);
		assert_true(faulty_client_dead(w->faulty));
		assert_int_equal(faulty_writes(w->faulty), n);
		six_run(w, &s);
		for (int i = 0; i < 6; i++)
			assert_int_equal(s.op[i].status, -ECANCELED);
		assert_int_equal(effects(w), want[n]);
		assert_int_equal(w->deaths, 1);
		teardown(state);
	}
}

static void a_write_beyond_the_last_does_not_kill(void **state)
{
	struct world *w = *state;
	struct six s;

	faulty_kill_client(w->faulty, 6);
	six_run(w, &s);
	assert_false(faulty_client_dead(w->faulty));
	faulty_kill_client(w->faulty, 5); /* it has been: dead at once */
	assert_true(faulty_client_dead(w->faulty));
}

static void the_last_write_may_be_torn(void **state)
{
	struct world *w = *state;
	uint8_t buf[300], *at = (uint8_t *)w->region[0] + 64;
	struct fab_op op[2];
	struct fab_batch b = {.ops = op, .n = 2};

	memset(buf, 0xaa, sizeof(buf));
	fab_write(&op[0], 0, 64, buf, 300);
	fab_write(&op[1], 1, 64, buf, 300);
	faulty_tear_client(w->faulty, 1, 200);
	assert_int_equal(fab_run(w->f, &b), 0);
	assert_int_equal(op[0].status, -ECANCELED);
	assert_int_equal(op[1].status, -ECANCELED);
	assert_int_equal(op[0].len, 300);
	for (int i = 0; i < 300; i++)
		assert_int_equal(at[i], i < 192 ? 0xaa : 0);
	assert_int_equal(w->region[1][8], 0);
	assert_true(faulty_client_dead(w->faulty));
}

static void a_torn_cas_is_not_done(void **state)
{
	struct world *w = *state;
	struct fab_op op;
	struct fab_batch b = {.ops = &op, .n = 1};

	faulty_tear_client(w->faulty, 1, UINT32_MAX);
	fab_cas(&op, 0, 8, 0, 1);
	assert_int_equal(fab_run(w->f, &b), 0);
	assert_int_equal(op.status, -ECANCELED);
	assert_int_equal(w->region[0][1], 0);
}

/* --- chance -------------------------------------------------------------- */

static void a_lossy_net_loses_some(void **state)
{
	struct world *w = *state;
	int lost = 0;
	struct fab_op op;
	struct fab_batch b = {.ops = &op, .n = 1};

	faulty_lossy(w->faulty, 200);
	for (int i = 0; i < 500; i++) {
		fab_faa(&op, 0, 8, 1);
		assert_int_equal(fab_run(w->f, &b), 0);
		assert_true(op.status == 0 || op.status == -ETIMEDOUT);
		lost += op.status != 0;
	}
	assert_in_range(lost, 60, 140);
	/* some of the lost ones have been done, some not */
	assert_true(w->region[0][1] > 500 - (uint64_t)lost);
	assert_true(w->region[0][1] < 500);
	assert_int_equal(faulty_bites(w->faulty), lost);
}

/* A batch under way when a rule bites another is not disturbed. */
static void batches_under_way_come_home(void **state)
{
	struct world *w = *state;
	struct fab_op op;
	struct fab_batch b = {.ops = &op, .n = 1}, *done;
	struct six s;

	fab_faa(&op, 0, 64, 1);
	assert_int_equal(fab_post(w->f, &b), 0);
	faulty_fail(w->faulty, 3, -EHOSTDOWN);
	six_run(w, &s);
	assert_int_equal(fab_poll(w->f, &done, 1, MS), 1);
	assert_ptr_equal(done, &b);
	assert_int_equal(op.status, 0);
	assert_int_equal(w->region[0][8], 1);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(without_rules_nothing_changes),
		T(a_failed_operation_is_not_done),
		T(a_dropped_operation_times_out),
		T(a_dropped_answer_leaves_the_effect),
		T(a_delay_takes_time_and_nothing_else),
		T(a_node_dies_after_an_operation),
		cmocka_unit_test(the_client_dies_after_each_write_in_turn),
		T(a_write_beyond_the_last_does_not_kill),
		T(the_last_write_may_be_torn),
		T(a_torn_cas_is_not_done),
		T(a_lossy_net_loses_some),
		T(batches_under_way_come_home),
	};

	return cmocka_run_group_tests_name("faulty", tests, NULL, NULL);
}
