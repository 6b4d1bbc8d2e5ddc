/* tests/sim/sim_self_test.c - the simulator keeps the fabric's promises, finds
 * the interleavings it is for, and repeats itself. */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/sim.h"

#define BYTES 65536u
#define US    UINT64_C(1000)
#define MS    UINT64_C(1000000)

enum { ECHO = 1, HOLD, SLOW };

struct world {
	struct sim *sim;
	uint64_t *region[2];
	struct fab_server *server[2];
	struct fab_net *own[2]; /* the nodes' own nets */
	struct fab *own_f[2];
	struct fab_net *net;
	struct fab *f;
	struct fab_request *held;
	struct fab_peer *peer;
	int hellos, gones, downs, in_call, overlaps;
	char hello[8];
};

struct node_arg {
	struct world *w;
	int id;
};

static struct node_arg node_arg[2];

static int on_hello(void *arg, struct fab_peer *peer, const void *hello,
		    size_t len)
{
	struct world *w = ((struct node_arg *)arg)->w;

	if (len == 2 && memcmp(hello, "no", 2) == 0)
		return -EACCES;
	memcpy(w->hello, hello, len < 8 ? len : 8);
	w->hellos++;
	w->peer = peer;
	return 0;
}

static void on_call(void *arg, struct fab_request *rq, uint16_t type,
		    const void *req, size_t len)
{
	struct node_arg *a = arg;

	if (a->w->in_call++ != 0)
		a->w->overlaps++;
	if (type == HOLD)
		a->w->held = rq;
	if (type == SLOW) /* a callback may wait */
		fab_sleep(a->w->own_f[a->id], 50 * US);
	if (type != HOLD)
		fab_reply(rq, 0, req, len);
	a->w->in_call--;
}

static void on_gone(void *arg, struct fab_peer *peer)
{
	((struct node_arg *)arg)->w->gones++;
}

static void on_down(void *arg, uint8_t id)
{
	((struct world *)arg)->downs++;
}

static void serve(struct world *w, int i)
{
	char address[16];
	struct fab_server_opts o = {.size = BYTES,
				    .region_fd = -1,
				    .address = address,
				    .arg = &node_arg[i],
				    .on_hello = on_hello,
				    .on_call = on_call,
				    .on_gone = on_gone};

	snprintf(address, sizeof(address), "sim:%d", i);
	node_arg[i] = (struct node_arg){w, i};
	w->region[i] = calloc(1, BYTES);
	o.region = w->region[i];
	assert_int_equal(fab_server_open(&o, &w->server[i]), 0);
	assert_int_equal(sim_net_open(w->sim, address, &w->own[i]), 0);
	assert_int_equal(fab_open(w->own[i], &w->own_f[i]), 0);
}

static void attach(struct world *w, struct fab_net *net)
{
	assert_int_equal(fab_net_attach(net, 0, "sim:0", "hi", 2), 0);
	assert_int_equal(fab_net_attach(net, 1, "sim:1", "hi", 2), 0);
}

static struct world *open_world(const struct sim_opts *o)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_int_equal(sim_open(o, &w->sim), 0);
	serve(w, 0);
	serve(w, 1);
	assert_int_equal(sim_net_open(w->sim, "client", &w->net), 0);
	fab_net_on_down(w->net, on_down, w);
	attach(w, w->net);
	assert_int_equal(fab_open(w->net, &w->f), 0);
	return w;
}

static void close_world(struct world *w)
{
	fab_close(w->f);
	fab_net_close(w->net);
	for (int i = 0; i < 2; i++) {
		fab_close(w->own_f[i]);
		fab_net_close(w->own[i]);
		fab_server_close(w->server[i]);
		free(w->region[i]);
	}
	sim_close(w->sim);
	free(w);
}

static int setup(void **state)
{
	*state = open_world(&(struct sim_opts){.seed = 1});
	return 0;
}

static int teardown(void **state)
{
	close_world(*state);
	return 0;
}

static void run_ops(struct fab *f, struct fab_op *ops, uint32_t n)
{
	struct fab_batch b = {.ops = ops, .n = n};

	assert_int_equal(fab_run(f, &b), 0);
}

/* --- the promises --------------------------------------------------------- */

static void operations_do_what_they_say(void **state)
{
	struct world *w = *state;
	uint64_t v[3] = {1, 2, 3}, got[3] = {0};
	uint64_t t = fab_now(w->f);
	struct fab_op op[4];

	fab_write(&op[0], 0, 8, v, 24);
	fab_faa(&op[1], 0, 16, 40);
	fab_cas(&op[2], 0, 24, 3, 30);
	fab_read(&op[3], 0, 8, got, 24);
	run_ops(w->f, op, 4);
	for (int i = 0; i < 4; i++)
		assert_int_equal(op[i].status, 0);
	assert_int_equal(op[1].old, 2);
	assert_int_equal(op[2].old, 3);
	assert_int_equal(got[0], 1);
	assert_int_equal(got[1], 42);
	assert_int_equal(got[2], 30);
	assert_true(fab_now(w->f) - t >= 2000); /* there and back */
	assert_true(fab_now(w->f) - t < 100 * US);
}

static void bounds_and_cancellation(void **state)
{
	struct world *w = *state;
	uint64_t v = 9;
	struct fab_op op[5];

	fab_write(&op[0], 0, BYTES - 4, &v, 8);
	fab_write(&op[1], 0, 0, &v, 8);
	fab_write(&op[2], 1, 0, &v, 8);
	fab_faa(&op[3], 1, 4, 1);
	fab_read(&op[4], 7, 0, &v, 8);
	run_ops(w->f, op, 5);
	assert_int_equal(op[0].status, -EREMOTEIO);
	assert_int_equal(op[1].status, -ECANCELED);
	assert_int_equal(op[2].status, 0);
	assert_int_equal(op[3].status, -EREMOTEIO);
	assert_int_equal(op[4].status, -EHOSTDOWN);
	assert_int_equal(w->region[0][0], 0);
	assert_int_equal(w->region[1][0], 9);
}

static void calls_and_deadlines(void **state)
{
	struct world *w = *state;
	char out[4] = "";
	uint64_t t;

	assert_int_equal(
		fab_call_run(w->f, 0, ECHO, "abcd", 4, out, 4, NULL, 0), 0);
	assert_memory_equal(out, "abcd", 4);
	assert_int_equal(
		fab_call_run(w->f, 1, SLOW, "abcd", 4, out, 3, NULL, 0),
		-EMSGSIZE);
	t = sim_now(w->sim);
	assert_int_equal(
		fab_call_run(w->f, 0, HOLD, NULL, 0, NULL, 0, NULL, 10 * MS),
		-ETIMEDOUT);
	assert_int_equal(sim_now(w->sim) - t, 10 * MS);
	fab_reply(w->held, 0, "late", 4); /* nobody's */
	assert_int_equal(
		fab_call_run(w->f, 0, ECHO, "mine", 4, out, 4, NULL, 0), 0);
	assert_memory_equal(out, "mine", 4);
}

static void hello_may_refuse(void **state)
{
	struct world *w = *state;
	struct fab_net *net;

	assert_int_equal(w->hellos, 2);
	assert_memory_equal(w->hello, "hi", 2);
	assert_int_equal(sim_net_open(w->sim, "other", &net), 0);
	assert_int_equal(fab_net_attach(net, 0, "sim:0", "no", 2), -EACCES);
	assert_int_equal(fab_net_attach(net, 0, "sim:9", "hi", 2), -ENOENT);
	assert_int_equal(fab_net_attach(w->net, 0, "sim:0", "hi", 2),
			 -EALREADY);
	fab_net_close(net);
	fab_sleep(w->f, MS);
	assert_int_equal(w->gones, 0);
}

static void a_closed_net_is_gone(void **state)
{
	struct world *w = *state;
	struct fab_net *net;

	assert_int_equal(sim_net_open(w->sim, "other", &net), 0);
	attach(w, net);
	fab_net_close(net);
	fab_sleep(w->f, MS);
	assert_int_equal(w->gones, 2);
}

static void a_peer_cut_off_finds_the_node_dead(void **state)
{
	struct world *w = *state;

	fab_peer_cut(w->peer); /* the last to say hello: at node 1 */
	fab_sleep(w->f, MS);
	assert_int_equal(w->gones, 1);
	assert_int_equal(w->downs, 1);
	assert_false(fab_net_up(w->net, 1));
	assert_true(fab_net_up(w->net, 0));
}

/* --- death --------------------------------------------------------------- */

static void a_killed_node_ends_what_is_under_way(void **state)
{
	struct world *w = *state;
	struct fab_op op[2];
	struct fab_batch b = {.ops = op, .n = 2}, *done;

	fab_call(&op[0], 0, HOLD, NULL, 0, NULL, 0);
	fab_faa(&op[1], 1, 0, 1);
	assert_int_equal(fab_post(w->f, &b), 0);
	assert_int_equal(fab_poll(w->f, &done, 1, MS), 0);
	assert_true(sim_server_kill(w->sim, "sim:0"));
	assert_false(sim_server_kill(w->sim, "sim:0"));
	assert_int_equal(fab_poll(w->f, &done, 1, 10 * MS), 1);
	assert_int_equal(op[0].status, -EHOSTDOWN);
	assert_int_equal(op[1].status, 0);
	assert_int_equal(w->downs, 1);
	run_ops(w->f, op, 1);
	assert_int_equal(op[0].status, -EHOSTDOWN);
	assert_int_equal(w->downs, 1);
	fab_reply(w->held, 0, NULL, 0);
	assert_int_equal(w->gones, 0); /* the dead notice nothing */
}

static void after_a_cut_nothing_arrives(void **state)
{
	struct world *w = *state;
	struct fab_op op;
	struct fab_batch b = {.ops = &op, .n = 1}, *done;
	uint64_t v = 7;

	fab_write(&op, 0, 0, &v, 8);
	assert_int_equal(fab_post(w->f, &b), 0);
	fab_net_cut(w->net, 0);
	assert_int_equal(fab_poll(w->f, &done, 1, 0), 1);
	assert_int_equal(op.status, -EHOSTDOWN);
	fab_sleep(w->f, MS);
	assert_int_equal(w->region[0][0], 0);
	assert_int_equal(w->gones, 1);
	assert_int_equal(w->downs, 0);
	assert_int_equal(fab_net_attach(w->net, 0, "sim:0", "hi", 2), 0);
}

static void a_late_write_may_still_arrive(void **state)
{
	struct world *w = *state;
	struct fab_op op;
	struct fab_batch b = {.ops = &op, .n = 1};
	uint64_t v = 7;

	sim_server_pause(w->sim, "sim:0");
	fab_write(&op, 0, 0, &v, 8);
	b.deadline_ns = fab_now(w->f) + MS;
	assert_int_equal(fab_run(w->f, &b), 0);
	assert_int_equal(op.status, -ETIMEDOUT);
	v = 8; /* the poster's memory again */
	assert_int_equal(w->region[0][0], 0);
	sim_server_resume(w->sim, "sim:0");
	assert_int_equal(w->region[0][0], 7);
}

static void a_killed_client_unwinds_at_once(void **state)
{
	struct world *w = *state;
	struct fab_op op[2];
	struct fab_batch b = {.ops = op, .n = 2}, *done;
	uint64_t v = 7, t;

	fab_write(&op[0], 0, 0, &v, 8);
	fab_write(&op[1], 1, 0, &v, 8);
	assert_int_equal(fab_post(w->f, &b), 0);
	sim_net_kill(w->sim, w->net);
	assert_true(sim_net_killed(w->net));
	t = sim_now(w->sim);
	assert_int_equal(fab_poll(w->f, &done, 1, 0), 1);
	assert_int_equal(op[0].status, -ECANCELED);
	run_ops(w->f, op, 2);
	assert_int_equal(op[1].status, -ECANCELED);
	assert_int_equal(sim_now(w->sim), t);
	fab_sleep(w->f, MS);
	assert_int_equal(w->region[0][0], 0);
	assert_int_equal(w->gones, 2);
}

/* --- fibers -------------------------------------------------------------- */

struct actor {
	struct world *w;
	struct fab *f;
	int rounds, *flag;
	uint64_t lost;
};

/* A read and a write back, not atomic on purpose. */
static void increment_badly(void *arg)
{
	struct actor *a = arg;
	struct fab_op op;
	uint64_t v;

	for (int i = 0; i < a->rounds; i++) {
		fab_read(&op, 0, 64, &v, 8);
		run_ops(a->f, &op, 1);
		v++;
		fab_write(&op, 0, 64, &v, 8);
		run_ops(a->f, &op, 1);
	}
}

static void increment_well(void *arg)
{
	struct actor *a = arg;
	struct fab_op op;
	uint64_t seen = 0;

	for (int i = 0; i < a->rounds; i++) {
		do {
			fab_cas(&op, 0, 64, seen, seen + 1);
			run_ops(a->f, &op, 1);
			a->lost += op.old != seen;
		} while (op.old != seen && (seen = op.old, true));
		seen++;
	}
}

static uint64_t two_actors(uint64_t seed, void (*fn)(void *arg), uint64_t *hash,
			   uint64_t *lost)
{
	struct world *w = open_world(&(struct sim_opts){.seed = seed});
	struct actor a[2];
	uint64_t v;

	for (int i = 0; i < 2; i++) {
		a[i] = (struct actor){.w = w, .rounds = 50};
		assert_int_equal(fab_open(w->net, &a[i].f), 0);
		assert_int_equal(sim_spawn(w->sim, i ? "b" : "a", fn, &a[i]),
				 0);
	}
	assert_int_equal(sim_run(w->sim, 0), 0);
	v = w->region[0][8];
	*hash = sim_hash(w->sim);
	*lost = a[0].lost + a[1].lost;
	fab_close(a[0].f);
	fab_close(a[1].f);
	close_world(w);
	return v;
}

static void clients_really_interleave(void **state)
{
	uint64_t hash, lost;

	for (uint64_t seed = 1; seed <= 20; seed++) {
		assert_true(two_actors(seed, increment_badly, &hash, &lost) <
			    100);
		assert_int_equal(two_actors(seed, increment_well, &hash, &lost),
				 100);
		assert_true(lost > 0);
	}
}

static void the_same_seed_gives_the_same_run(void **state)
{
	uint64_t h1, h2, h3, lost;

	two_actors(42, increment_well, &h1, &lost);
	two_actors(42, increment_well, &h2, &lost);
	two_actors(43, increment_well, &h3, &lost);
	assert_true(h1 == h2);
	assert_true(h1 != h3);
}

/* Within a batch in order, even when long operations are split. */
static void batch_writer(void *arg)
{
	struct actor *a = arg;
	uint64_t v[32];
	struct fab_op op[2];

	for (uint64_t i = 1; i <= (uint64_t)a->rounds; i++) {
		for (int k = 0; k < 32; k++)
			v[k] = i;
		fab_write(&op[0], 0, 1024, v, sizeof(v));
		fab_write(&op[1], 0, 4096, v, 8);
		run_ops(a->f, op, 2);
	}
	*a->flag = 1;
}

static void batch_reader(void *arg)
{
	struct actor *a = arg;
	uint64_t v[32], last;
	struct fab_op op[2];

	while (!*a->flag) {
		fab_read(&op[0], 0, 4096, &last, 8);
		fab_read(&op[1], 0, 1024, v, sizeof(v));
		run_ops(a->f, op, 2);
		for (int k = 0; k < 32; k++) {
			assert_true(v[k] >= last);
			a->lost += v[k] != v[0]; /* half of a write */
		}
	}
}

static void long_operations_are_seen_half_done_but_in_order(void **state)
{
	struct world *w = *state;
	int flag = 0;
	struct actor a[2] = {{.w = w, .rounds = 500, .flag = &flag},
			     {.w = w, .flag = &flag}};

	assert_int_equal(fab_open(w->net, &a[0].f), 0);
	assert_int_equal(fab_open(w->net, &a[1].f), 0);
	sim_spawn(w->sim, "writer", batch_writer, &a[0]);
	sim_spawn(w->sim, "reader", batch_reader, &a[1]);
	assert_int_equal(sim_run(w->sim, 0), 0);
	assert_true(a[1].lost > 0);
	fab_close(a[0].f);
	fab_close(a[1].f);
}

static void call_slow(void *arg)
{
	struct actor *a = arg;
	uint64_t got = 0, v = (uintptr_t)a;

	assert_int_equal(fab_call_run(a->f, 0, SLOW, &v, 8, &got, 8, NULL, 0),
			 0);
	assert_int_equal(got, v);
}

static void a_servers_callbacks_come_one_at_a_time(void **state)
{
	struct world *w = *state;
	struct actor a[8];

	for (int i = 0; i < 8; i++) {
		a[i] = (struct actor){.w = w};
		assert_int_equal(fab_open(w->net, &a[i].f), 0);
		sim_spawn(w->sim, "caller", call_slow, &a[i]);
	}
	assert_int_equal(sim_run(w->sim, 0), 0);
	assert_int_equal(w->overlaps, 0);
	for (int i = 0; i < 8; i++)
		fab_close(a[i].f);
}

static void wait_forever(void *arg)
{
	struct actor *a = arg;

	sim_wait(a->w->sim, a->flag);
}

static void set_flag(void *arg)
{
	struct actor *a = arg;

	*a->flag = 1;
	sim_poke(a->w->sim);
}

static void a_deadlock_is_reported(void **state)
{
	struct world *w = *state;
	int flag = 0;
	struct actor a = {.w = w, .flag = &flag};

	sim_spawn(w->sim, "stuck one", wait_forever, &a);
	assert_int_equal(sim_run(w->sim, 0), -EDEADLK);
	assert_string_equal(sim_stuck(w->sim), "stuck one");
	sim_at(w->sim, 5 * MS, set_flag, &a);
	assert_int_equal(sim_run(w->sim, MS), -ETIME);
	assert_int_equal(sim_run(w->sim, 0), 0);
}

/* --- step by step -------------------------------------------------------- */

static void a_test_may_step_by_itself(void **state)
{
	struct world *w = *state;
	struct fab_op op;
	struct fab_batch b = {.ops = &op, .n = 1}, *done;
	uint64_t before = sim_events(w->sim);
	int steps = 0;

	fab_faa(&op, 0, 0, 1);
	assert_int_equal(fab_post(w->f, &b), 0);
	while (fab_poll(w->f, &done, 1, 0) == 0) {
		assert_true(sim_step(w->sim));
		steps++;
	}
	assert_true(steps >= 2); /* there, and back */
	assert_int_equal(sim_events(w->sim) - before, steps);
	assert_int_equal(w->region[0][0], 1);
}

static void lost_calls_time_out(void **state)
{
	struct world *w =
		open_world(&(struct sim_opts){.seed = 5, .drop_permille = 300});
	int lost = 0, rc;

	for (int i = 0; i < 100; i++) {
		rc = fab_call_run(w->f, 0, ECHO, NULL, 0, NULL, 0, NULL, MS);
		assert_true(rc == 0 || rc == -ETIMEDOUT);
		lost += rc != 0;
	}
	assert_in_range(lost, 20, 80);
	close_world(w);
}

static void there_is_one_sim_at_a_time(void **state)
{
	struct sim *second;

	assert_int_equal(sim_open(&(struct sim_opts){.seed = 1}, &second),
			 -EBUSY);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(operations_do_what_they_say),
		T(bounds_and_cancellation),
		T(calls_and_deadlines),
		T(hello_may_refuse),
		T(a_closed_net_is_gone),
		T(a_peer_cut_off_finds_the_node_dead),
		T(a_killed_node_ends_what_is_under_way),
		T(after_a_cut_nothing_arrives),
		T(a_late_write_may_still_arrive),
		T(a_killed_client_unwinds_at_once),
		cmocka_unit_test(clients_really_interleave),
		cmocka_unit_test(the_same_seed_gives_the_same_run),
		T(long_operations_are_seen_half_done_but_in_order),
		T(a_servers_callbacks_come_one_at_a_time),
		T(a_deadlock_is_reported),
		T(a_test_may_step_by_itself),
		cmocka_unit_test(lost_calls_time_out),
		T(there_is_one_sim_at_a_time),
	};

	return cmocka_run_group_tests_name("sim", tests, NULL, NULL);
}
