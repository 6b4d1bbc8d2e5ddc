/* tests/bench/kvbench.c - the store itself: one thread, 1 KiB values.
 *
 *     kvbench POOL-SOCKET COUNT [alone]     prints JSON
 *
 * alone: says "joined" first, and begins when all other clients have left.
 * Beside the rate, by the wall clock and by the CPU time of the thread, which
 * others on the machine disturb less, and what share of the clock it could have
 * run but others had the CPUs, it prints what each call cost, counted by the
 * client: round trips, one-sided operations, bytes over the fabric. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kv/kv.h"

#define KEYS  20000
#define KEY   15
#define VALUE 1024

static struct kv *kv;
static char value[VALUE], back[VALUE];
static char keys[KEYS][16]; /* made beforehand: it is the store that counts */
static long count;

static double now(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Seconds that this thread was ready to run and did not; 0 if the kernel does
 * not tell. */
static double held_up(void)
{
	FILE *f = fopen("/proc/thread-self/schedstat", "re");
	unsigned long long ran, waited = 0;

	if (f == NULL)
		return 0;
	if (fscanf(f, "%llu %llu", &ran, &waited) != 2)
		waited = 0;
	fclose(f);
	return (double)waited / 1e9;
}

static void must(int rc, const char *what)
{
	if (rc == 0)
		return;
	fprintf(stderr, "kvbench: %s: %s\n", what, strerror(-rc));
	exit(1);
}

static void make_keys(void)
{
	for (int i = 0; i < KEYS; i++)
		snprintf(keys[i], sizeof(keys[i]), "ubench-%08d", i);
}

static void do_insert(long i)
{
	must(kv_insert(kv, keys[i], KEY, value, VALUE, NULL), "insert");
}

static void do_put(long i)
{
	must(kv_put(kv, keys[random() % KEYS], KEY, value, VALUE, NULL), "put");
}

static void do_get(long i)
{
	size_t len;

	must(kv_get(kv, keys[random() % KEYS], KEY, back, VALUE, &len, NULL),
	     "get");
}

static void do_del(long i)
{
	must(kv_del(kv, keys[i], KEY, 0), "del");
}

static json_t *row(const char *name, void (*work)(long), long n, size_t offset)
{
	struct kv_stats stats;
	struct kv_op_stats a, b;
	double begin, took, cpu, held;

	kv_stats(kv, &stats);
	memcpy(&a, (char *)&stats + offset, sizeof(a));
	begin = now(CLOCK_MONOTONIC);
	cpu = now(CLOCK_THREAD_CPUTIME_ID);
	held = held_up();
	for (long i = 0; i < n; i++)
		work(i);
	took = now(CLOCK_MONOTONIC) - begin;
	cpu = now(CLOCK_THREAD_CPUTIME_ID) - cpu;
	held = held_up() - held;
	kv_stats(kv, &stats);
	memcpy(&b, (char *)&stats + offset, sizeof(b));
	return json_pack("{s:s, s:f, s:f, s:f, s:f, s:f, s:f}", "op", name,
			 "per_second", (double)n / took, "per_cpu_second",
			 (double)n / cpu, "held_up", held / took, "batches",
			 (double)(b.batches - a.batches) / (double)n, "ops",
			 (double)(b.ops - a.ops) / (double)n, "bytes",
			 (double)(b.bytes - a.bytes) / (double)n);
}

/* A mount that is unmounted now was the pool's other client. */
static int wait_alone(void)
{
	struct timespec nap = {.tv_nsec = 10000000};

	printf("joined\n");
	fflush(stdout);
	for (int i = 0; i < 1000; i++, nanosleep(&nap, NULL))
		if (kv_clients(kv) == 1)
			return 0;
	fprintf(stderr, "kvbench: other clients stay\n");
	return -1;
}

int main(int argc, char **argv)
{
	struct kv_opts opts = {.pool = argc > 1 ? argv[1] : ""};
	json_t *rows = json_array();
	int rc;

	if (argc != 3 && argc != 4) {
		fprintf(stderr, "usage: kvbench POOL-SOCKET COUNT [alone]\n");
		return 2;
	}
	count = atol(argv[2]);
	srandom(1);
	memset(value, 'v', VALUE);
	make_keys();
	rc = kv_open(&opts, &kv);
	if (rc != 0) {
		fprintf(stderr, "kvbench: %s\n", kv_error());
		return 1;
	}
	if (argc == 4 && wait_alone() != 0)
		return 1;
	json_array_append_new(rows, row("insert", do_insert, KEYS,
					offsetof(struct kv_stats, insert)));
	json_array_append_new(rows, row("put", do_put, count,
					offsetof(struct kv_stats, put)));
	json_array_append_new(rows, row("get", do_get, count,
					offsetof(struct kv_stats, get)));
	json_array_append_new(rows, row("delete", do_del, KEYS,
					offsetof(struct kv_stats, del)));
	kv_close(kv);
	json_dumpf(json_pack("{s:o}", "rows", rows), stdout, 0);
	return 0;
}
