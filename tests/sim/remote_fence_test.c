/* Pools over several hosts, where nobody can be ended by a signal [I6]: clients
 * and nodes that are cut off, clients that are held up, coordinators that die.
 * What a client was told is true, and what was acknowledged is found. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "kv/client/client_impl.h"
#include "kv/client/lease.h"
#include "kv/client/member.h"
#include "tests/lib/cluster_impl.h"
#include "tests/lib/effort.h"
#include "tests/lib/mem_store.h"
#include "tests/lib/sim.h"

#define MS    UINT64_C(1000000)
#define LEASE 400u

static struct mem_disk disk;

/* Two sides: whose name is in @far on one, all others on the other. */
struct cut {
	const char *far; /* names, each with a space behind */
	bool on;
};

static struct cut cut; /* outlives the bodies */

static bool is_far(const char *name)
{
	char word[32];

	snprintf(word, sizeof(word), "%s ", name);
	return strstr(cut.far, word) != NULL;
}

static bool passes(void *arg, const char *net, const char *server)
{
	return !cut.on || is_far(net) == is_far(server);
}

/* Who is on the other side, once it is cut. */
static void side(struct cluster *c, const char *far)
{
	cut = (struct cut){.far = far};
	sim_on_link(cluster_sim(c), passes, NULL);
}

static void run(void (*body)(struct cluster *c, void *arg), void *arg,
		uint64_t seed, uint32_t op_timeout_ms)
{
	struct cluster_opts o = {.mode = CLUSTER_SIM,
				 .seed = seed,
				 .remote = true,
				 .store = &disk,
				 .op_timeout_ms = op_timeout_ms,
				 .ckpt_ms = (uint32_t)seed % 2 * 20,
				 .lease_ms = LEASE};

	memset(&disk, 0, sizeof(disk));
	cluster_run(&o, body, arg);
}

static int put(struct kv *kv, char key, const char *val)
{
	return kv_put(kv, &key, 1, val, strlen(val), NULL);
}

static int get(struct kv *kv, char key, char val[16])
{
	size_t len = 0;
	int rc = kv_get(kv, &key, 1, val, 15, &len, NULL);

	val[rc == 0 ? len : 0] = '\0';
	return rc;
}

static void put_all(struct kv *kv, const char *val)
{
	for (char key = 'a'; key <= 'z'; key++) /* on every shard */
		assert_int_equal(put(kv, key, val), 0);
}

static void all_are(struct kv *kv, const char *want)
{
	char val[16];

	for (char key = 'a'; key <= 'z'; key++) {
		assert_int_equal(get(kv, key, val), 0);
		assert_string_equal(val, want);
	}
}

/* --- a pool of which more has gone than the code bears ------------------- */

/* Whoever leaves waits a while for what is out of reach, once and not for each
 * operation; who stays waits as ever. */
static void leave_what_is_gone(struct cluster *c, void *arg)
{
	struct kv *a = cluster_client(c);
	uint64_t begin, took;
	unsigned lost = 0;
	int rc;

	put_all(a, "1");
	for (uint32_t id = 0; id < 3; id++)
		cluster_kill_node(c, id);
	begin = sim_now(cluster_sim(c));
	for (char key = 'a'; key <= 'z' && lost == 0; key++)
		lost += put(a, key, "2") != 0;
	assert_int_equal(lost, 1);
	assert_true(sim_now(cluster_sim(c)) - begin >= 30000 * MS);
	kv_leaving(a);
	begin = sim_now(cluster_sim(c));
	for (char key = 'a'; key <= 'z'; key++) {
		rc = put(a, key, "3");
		assert_true(rc == 0 || rc == -ETIMEDOUT);
		lost += rc != 0;
	}
	took = sim_now(cluster_sim(c)) - begin;
	assert_true(lost > 2);
	assert_true(took < (KV_LEAVE_MS + 2000) * MS);
	begin = sim_now(cluster_sim(c));
	cluster_client_close(c, a);
	assert_true(sim_now(cluster_sim(c)) - begin < 5000 * MS);
}

static void test_leave_what_is_gone(void **state)
{
	run(leave_what_is_gone, NULL, 1, 30000);
}

/* The same if nobody says any more that this client is a member. */
static void leave_from_afar(struct cluster *c, void *arg)
{
	struct kv *a = cluster_client(c);
	unsigned lost = 0;
	uint64_t begin;

	side(c, arg);
	put_all(a, "1");
	cut.on = true;
	kv_leaving(a);
	begin = sim_now(cluster_sim(c));
	for (char key = 'a'; key <= 'z'; key++)
		lost += put(a, key, "2") != 0;
	assert_true(lost > 0); /* while the lease lasts, some go well */
	cluster_client_close(c, a);
	assert_true(sim_now(cluster_sim(c)) - begin <
		    (KV_LEAVE_MS + KV_LEAVE_LEASE_MS + 5000) * MS);
	cut.on = false;
}

static void test_leave_from_afar(void **state)
{
	run(leave_from_afar, "kv1 ", 1, 30000); /* everybody is out of reach */
	run(leave_from_afar, "coord sim:pool node0 sim:n0 ", 1, 30000);
	/* The coordinator answers, three nodes stand still. */
	run(leave_from_afar, "node0 sim:n0 node1 sim:n1 node2 sim:n2 ", 1,
	    30000);
}

/* As many as the code bears may be gone: all is said, as ever. */
static void leave_without_two(struct cluster *c, void *arg)
{
	struct kv *a = cluster_client(c), *b;

	side(c, arg);
	put_all(a, "1");
	cut.on = true;
	kv_leaving(a);
	cluster_sleep(c, 2 * KV_LEAVE_MS * MS);
	put_all(a, "2");
	cluster_client_close(c, a);
	b = cluster_client(c);
	all_are(b, "2");
	cut.on = false;
}

static void test_leave_without_two(void **state)
{
	run(leave_without_two, "node1 sim:n1 node2 sim:n2 ", 1, 30000);
}

/* They come again before it has gone: so it is as if nothing had been. */
static void leave_when_they_are_back(struct cluster *c, void *arg)
{
	struct kv *a = cluster_client(c);

	side(c, arg);
	put_all(a, "1");
	cut.on = true;
	kv_leaving(a);
	cluster_sleep(c, (KV_LEAVE_MS + 2000) * MS);
	assert_int_equal(put(a, 'a', "2"), -ETIMEDOUT);
	cut.on = false;
	cluster_sleep(c, 2 * LEASE * MS);
	put_all(a, "3");
	cluster_client_close(c, a);
}

static void test_leave_when_they_are_back(void **state)
{
	run(leave_when_they_are_back, "node0 sim:n0 node1 sim:n1 node2 sim:n2 ",
	    1, 30000);
}

/* --- a client that is cut off from everybody ----------------------------- */

static void cut_client(struct cluster *c, void *arg)
{
	struct kv *a = cluster_client(c), *b = cluster_client(c);
	char val[16];

	side(c, "kv2 ");
	put_all(a, "1");
	put_all(b, "2");
	cut.on = true;
	cluster_kill_node(c, 3);
	put_all(a, "3"); /* waits until b is fenced */
	assert_int_equal(coord_clients(cluster_coord(c)), 1);
	cut.on = false;
	/* It comes back, and is told; not a word of it counts. */
	assert_int_equal(put(b, 'a', "lost"), -ENOTCONN);
	assert_true(lease_is_dead(b->lease));
	assert_int_equal(get(b, 'a', val), -ENOTCONN);
	all_are(a, "3");
	cluster_client_close(c, b); /* ends */
	all_are(a, "3");
}

static void test_cut_client(void **state)
{
	for (uint64_t seed = 1; seed <= 3; seed++)
		run(cut_client, NULL, seed, 0);
}

/* --- a client that is held up (SIGSTOP) and goes on ---------------------- */

/* Nothing of it is on its way; it knows of nothing when it goes on. */
static void stopped_client(struct cluster *c, void *arg)
{
	struct kv *a = cluster_client(c), *b = cluster_client(c);
	char val[16];

	side(c, "kv2 ");
	put_all(b, "1");
	cut.on = true; /* nothing comes, nothing goes */
	cluster_kill_node(c, 1);
	put_all(a, "2");
	cut.on = false;
	/* It may have no more than what it had: an error, never "1". */
	for (char key = 'a'; key <= 'z'; key++)
		assert_int_equal(get(b, key, val), -ENOTCONN);
	all_are(a, "2");
}

static void test_stopped_client(void **state)
{
	run(stopped_client, NULL, 1, 0);
}

/* --- client and node together on the wrong side -------------------------- */

struct reader {
	struct cluster *c;
	struct kv *kv;
	uint64_t over; /* when the first put of the others was done */
	unsigned old, held, dead;
	bool stop;
};

/* Reads on, and notes when it still was told what was there before. */
static void reader_main(void *arg)
{
	struct reader *r = arg;
	uint64_t from;
	char val[16];
	int rc;

	while (!r->stop) {
		from = sim_now(cluster_sim(r->c));
		rc = get(r->kv, 'c', val);
		if (rc == 0 && strcmp(val, "1") == 0) {
			r->old++;
			/* Never after somebody else's put was over. */
			assert_true(r->over == 0 || from < r->over);
		} else if (rc == -ENOTCONN) {
			r->dead++;
		} else if (rc != 0) {
			r->held++;
		}
		cluster_sleep(r->c, MS / 2);
	}
}

static uint32_t host_of(struct kv *kv, char key)
{
	struct kv_where w;

	assert_int_equal(kv_where(kv, &key, 1, &w), 0);
	return w.host;
}

/* The reader and the node that has its key's slot are cut off together: all
 * that it asks is answered, by one whose place was taken over. */
static void cut_together(struct cluster *c, void *arg)
{
	struct kv *a = cluster_client(c), *b = cluster_client(c);
	struct reader r = {.c = c, .kv = b};
	static char far[64];
	char val[16];
	uint32_t host;

	put_all(a, "1");
	host = host_of(a, 'c');
	snprintf(far, sizeof(far), "kv2 node%u sim:n%u ", host, host);
	side(c, far);
	cluster_spawn(c, reader_main, &r);
	cluster_sleep(c, 20 * MS);
	assert_true(r.old > 0);
	cut.on = true;
	assert_int_equal(put(a, 'c', "2"), 0);
	r.over = sim_now(cluster_sim(c));
	cluster_sleep(c, 2 * LEASE * MS);
	r.stop = true;
	assert_int_equal(get(a, 'c', val), 0);
	assert_string_equal(val, "2");
	cluster_join(c);
}

static void test_cut_together(void **state)
{
	for (uint64_t seed = 1; seed <= 5; seed++)
		run(cut_together, NULL, seed, 2000);
}

/* --- the coordinator dies at each of its messages ------------------------ */

static struct {
	struct cluster *c;
	struct fab_net *net; /* the coordinator's */
	unsigned n;	     /* it dies at the n-th from now on */
	bool hit;
} strike;

static void on_effect(void *arg, struct fab_net *net)
{
	if (net != strike.net || strike.n == 0 || --strike.n > 0)
		return;
	strike.hit = true;
	sim_server_kill(cluster_sim(strike.c), strike.c->address);
	sim_net_kill(cluster_sim(strike.c), net);
}

static void replace_coord(void *arg)
{
	struct cluster *c = arg;

	while (!strike.hit && strike.n != 0)
		cluster_sleep(c, MS / 10);
	if (!strike.hit)
		return; /* it was over before */
	cluster_kill_coord(c);
	cluster_sleep(c, 20 * MS);
	cluster_start_coord(c);
}

/* A node dies, and a client is cut off: it has much to say. */
static void coord_dies(struct cluster *c, void *arg)
{
	struct kv *a = cluster_client(c), *b = cluster_client(c);

	put_all(b, "1");
	side(c, "kv2 ");
	strike.c = c;
	strike.net = c->coord_net;
	strike.n = *(unsigned *)arg;
	sim_on_effect(cluster_sim(c), on_effect, NULL);
	cluster_spawn(c, replace_coord, c);
	cut.on = true;
	cluster_kill_node(c, 2);
	put_all(a, "2"); /* once the shard is back */
	strike.n = 0;
	cluster_join(c);
	sim_on_effect(cluster_sim(c), NULL, NULL);
	cut.on = false;
	assert_int_equal(put(b, 'a', "lost"), -ENOTCONN);
	all_are(a, "2");
	while (coord_clients(cluster_coord(c)) != 1)
		cluster_sleep(c, MS);
}

static void test_coord_dies(void **state)
{
	unsigned n, hits = 0, step = effort_is_whole() ? 3 : 17;

	for (n = 1;; n += step) {
		strike.hit = false;
		run(coord_dies, &n, 1, 0);
		if (!strike.hit)
			break;
		hits++;
	}
	assert_true(hits >= (effort_is_whole() ? 10 : 2));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_leave_what_is_gone),
		cmocka_unit_test(test_leave_from_afar),
		cmocka_unit_test(test_leave_without_two),
		cmocka_unit_test(test_leave_when_they_are_back),
		cmocka_unit_test(test_cut_client),
		cmocka_unit_test(test_stopped_client),
		cmocka_unit_test(test_cut_together),
		cmocka_unit_test(test_coord_dies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
