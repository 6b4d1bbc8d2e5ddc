/* tests/bench/netkv.c - the store over each transport: rates, CPU, and round
 * trips, counted by the client.
 *
 *     netkv MS [verbs]    so long for each row; prints JSON
 *
 * verbs: over the adapter at ACESO_RDMA_ADDRESS alone.
 *
 * Five nodes, the coordinator and the client are threads of this process, so
 * CPU is that of all of them. One client: put is the short way (SOLO). */
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "rdma/fabric.h"
#include "tests/lib/cluster.h"

#define KEYS  2000u
#define VALUE 1024u

static struct kv *kv;
static uint8_t bytes[KV_PAGES_MAX * KV_PAGE_BYTES];
static double row_s;
static json_t *rows;

static double clock_s(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static size_t key_of(char *buf, unsigned i)
{
	return (size_t)sprintf(buf, "netkv-%u", i);
}

/* --- one of each ---------------------------------------------------------- */

static void do_insert(unsigned i)
{
	char key[32];

	assert_int_equal(kv_insert(kv, key, key_of(key, i), bytes, VALUE, NULL),
			 0);
}

static void do_put(unsigned i)
{
	char key[32];

	assert_int_equal(
		kv_put(kv, key, key_of(key, i % KEYS), bytes, VALUE, NULL), 0);
}

static void do_get(unsigned i)
{
	char key[32];
	size_t len;

	assert_int_equal(kv_get(kv, key, key_of(key, i % KEYS), bytes, VALUE,
				&len, NULL),
			 0);
}

static void do_pages(size_t n)
{
	struct kv_page page[KV_PAGES_MAX];
	const void *data[KV_PAGES_MAX];

	for (size_t i = 0; i < n; i++)
		data[i] = bytes + i * KV_PAGE_BYTES;
	assert_int_equal(kv_pages_write(kv, data, n, page), 0);
	kv_pages_free(kv, page, n);
}

static void do_page(unsigned i)
{
	do_pages(1);
}

static void do_mebibyte(unsigned i)
{
	do_pages(KV_PAGES_MAX);
}

/* --- rows ----------------------------------------------------------------- */

struct work {
	const char *name;
	void (*one)(unsigned i);
	unsigned warm, count; /* count 0: as long as there is time */
	size_t stats;	      /* in struct kv_stats */
	double trips_max;     /* of each: a hundredth may go a longer way */
};

static const struct work works[] = {
	{"insert", do_insert, 0, KEYS, offsetof(struct kv_stats, insert), 3.1},
	{"put", do_put, KEYS, 0, offsetof(struct kv_stats, put), 2.1},
	{"get", do_get, KEYS, 0, offsetof(struct kv_stats, get), 1.1},
	{"write 4 KiB", do_page, 16, 0, offsetof(struct kv_stats, page_write),
	 1.1},
	{"write 1 MiB", do_mebibyte, 2, 0,
	 offsetof(struct kv_stats, page_write), 2.0},
};

static struct kv_op_stats stats_of(const struct work *w)
{
	struct kv_op_stats one;
	struct kv_stats all;

	kv_stats(kv, &all);
	memcpy(&one, (char *)&all + w->stats, sizeof(one));
	return one;
}

static void row(const char *transport, const struct work *w)
{
	struct kv_op_stats a, b;
	double begin, took, cpu, n;
	unsigned i;

	for (i = 0; i < w->warm; i++)
		w->one(i);
	a = stats_of(w);
	begin = clock_s(CLOCK_MONOTONIC);
	cpu = clock_s(CLOCK_PROCESS_CPUTIME_ID);
	for (i = 0, took = 0; w->count > 0 ? i < w->count : took < row_s; i++) {
		w->one(i);
		took = clock_s(CLOCK_MONOTONIC) - begin;
	}
	cpu = clock_s(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	b = stats_of(w);
	n = i;
	json_array_append_new(
		rows, json_pack("{s:s, s:s, s:f, s:f, s:f, s:f, s:f, s:f}",
				"transport", transport, "op", w->name,
				"per_second", n / took, "cpu_us", cpu * 1e6 / n,
				"trips", (double)(b.batches - a.batches) / n,
				"ops", (double)(b.ops - a.ops) / n, "bytes",
				(double)(b.bytes - a.bytes) / n, "trips_max",
				w->trips_max));
}

static void body(struct cluster *c, void *arg)
{
	kv = cluster_client(c);
	for (size_t i = 0; i < sizeof(works) / sizeof(works[0]); i++)
		row(arg, &works[i]);
	cluster_client_close(c, kv);
}

int main(int argc, char **argv)
{
	static const struct fab_key key = {.len = 32, .bytes = "netkv"};
	struct cluster_opts o = {.mode = CLUSTER_SHM,
				 .usable = 256u << 20,
				 .block_bytes = 2u << 20,
				 .slots = 16384};
	char shm[] = "shm", tls[] = "tcp+tls", verbs[] = "verbs";
	bool adapter = argc > 2 && strcmp(argv[2], verbs) == 0;

	row_s = (argc > 1 ? atof(argv[1]) : 1000) / 1000;
	rows = json_array();
	if (!adapter)
		cluster_run(&o, body, shm);
	o.key = &key;
	if (adapter)
		o.rdma = getenv("ACESO_RDMA_ADDRESS");
	cluster_run(&o, body, adapter ? verbs : tls);
	json_dumpf(json_pack("{s:o}", "rows", rows), stdout, 0);
	return 0;
}
