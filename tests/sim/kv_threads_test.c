/* Real threads on real shared memory: counters that threads of two clients
 * raise by put_if and by transactions, while a node dies. What was acknowledged
 * is counted, no more and no less. And threads of one client that is alone. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/cluster.h"

#define CLIENTS	     2u
#define THREADS	     6u /* of all clients */
#define ROUNDS	     300u
#define KEYS	     4u
#define MS	     UINT64_C(1000000)
#define LEAVERS	     8u /* as many as the pool has places for */
#define LEAVE_ROUNDS 20u

struct worker {
	struct kv *kv;
	unsigned seed;
	unsigned raised[KEYS], bad;
};

static size_t key_of(char key[16], unsigned i)
{
	return (size_t)sprintf(key, "counter%u", i);
}

static int read_counter(struct kv *kv, unsigned i, uint32_t *n, uint64_t *v)
{
	char key[16];
	size_t len;

	return kv_get(kv, key, key_of(key, i), n, sizeof(*n), &len, v);
}

/* 0, or -ESTALE: another was quicker. */
static int raise_one(struct worker *w, unsigned i)
{
	char key[16];
	uint32_t n;
	uint64_t v;
	int rc = read_counter(w->kv, i, &n, &v);

	if (rc != 0)
		return rc;
	n++;
	return kv_put_if(w->kv, key, key_of(key, i), &n, sizeof(n), v, NULL);
}

static int raise_two(struct worker *w, unsigned i, unsigned j)
{
	struct kv_req rq[2];
	unsigned at[2] = {i, j};
	char key[2][16];
	uint32_t n[2];
	int rc;

	for (unsigned k = 0; k < 2; k++) {
		rq[k] = (struct kv_req){.kind = KV_PUT_IF,
					.key = key[k],
					.val = &n[k],
					.len = sizeof(n[k])};
		rq[k].klen = (uint16_t)key_of(key[k], at[k]);
		rc = read_counter(w->kv, at[k], &n[k], &rq[k].expect);
		if (rc != 0)
			return rc;
		n[k]++;
	}
	return kv_txn(w->kv, rq, 2);
}

static void work(void *arg)
{
	struct worker *w = arg;

	for (unsigned r = 0; r < ROUNDS; r++) {
		unsigned i = (unsigned)rand_r(&w->seed) % KEYS;
		unsigned j = (i + 1) % KEYS;
		bool two = r % 5 == 0;
		int rc = two ? raise_two(w, i, j) : raise_one(w, i);

		if (rc == 0) {
			w->raised[i]++;
			w->raised[j] += two;
		} else if (rc != -ESTALE) {
			w->bad++;
		}
	}
}

static void body(struct cluster *c, void *arg)
{
	struct worker w[THREADS];
	struct kv *kv[CLIENTS];
	unsigned clients = *(unsigned *)arg;
	uint32_t zero = 0, n;
	unsigned sum, all = 0;
	uint64_t v;

	memset(w, 0, sizeof(w));
	for (unsigned i = 0; i < clients; i++)
		kv[i] = cluster_client(c);
	for (unsigned i = 0; i < KEYS; i++) {
		char key[16];

		assert_int_equal(kv_insert(kv[0], key, key_of(key, i), &zero,
					   sizeof(zero), NULL),
				 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		w[i].kv = kv[i % clients];
		w[i].seed = i;
		cluster_spawn(c, work, &w[i]);
	}
	cluster_sleep(c, 5 * MS);
	cluster_kill_node(c, 1);
	cluster_join(c);
	for (unsigned k = 0; k < KEYS; k++) {
		sum = 0;
		for (unsigned i = 0; i < THREADS; i++) {
			assert_int_equal(w[i].bad, 0);
			sum += w[i].raised[k];
		}
		for (unsigned i = 0; i < clients; i++) {
			assert_int_equal(read_counter(kv[i], k, &n, &v), 0);
			assert_int_equal(n, sum);
		}
		all += sum;
	}
	assert_true(all > ROUNDS);
}

static void nothing_acknowledged_is_lost_or_twice(void **state)
{
	struct cluster_opts o = {.mode = CLUSTER_SHM};

	for (unsigned i = 0; i < 4; i++) {
		unsigned clients = 1 + i % CLIENTS;

		cluster_run(&o, body, &clients);
	}
}

/* --- leaving while the view changes --------------------------------------- */

struct leaver {
	struct cluster *c;
	struct kv *kv;
	uint64_t after; /* ns */
};

static void leave(void *arg)
{
	struct leaver *l = arg;

	cluster_sleep(l->c, l->after);
	kv_close(l->kv);
}

/* Each leaves at another moment of what a death sets off in its watcher. */
static void leaving(struct cluster *c, void *arg)
{
	struct kv_opts o = {.pool = cluster_address(c), .lanes = 2};
	struct leaver l[LEAVERS];
	uint64_t step = *(uint64_t *)arg;

	for (unsigned i = 0; i < LEAVERS; i++) {
		l[i] = (struct leaver){.c = c, .after = i * step};
		assert_int_equal(kv_open(&o, &l[i].kv), 0);
		assert_int_equal(kv_put(l[i].kv, "key", 3, &i, sizeof(i), NULL),
				 0);
	}
	for (unsigned i = 0; i < LEAVERS; i++)
		cluster_spawn(c, leave, &l[i]);
	cluster_kill_node(c, 1);
	cluster_join(c);
}

/* The watcher adopts views until it has ended: what it walks through is still
 * there. Seen by the address sanitizer, or by a crash. */
static void who_leaves_while_the_view_changes_leaves_whole(void **state)
{
	struct cluster_opts o = {.mode = CLUSTER_SHM};

	for (uint64_t step = 0; step < LEAVE_ROUNDS; step++) {
		uint64_t ns = step * (MS / 20);

		cluster_run(&o, leaving, &ns);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_acknowledged_is_lost_or_twice),
		cmocka_unit_test(
			who_leaves_while_the_view_changes_leaves_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
