/* tests/bench/netbench.c - the fabric beside its transports' raw speed.
 *
 *     netbench [ROUNDS [MS [TRANSPORT]]]       prints JSON
 *
 * For each transport a node in a process of its own; READs and WRITEs of one
 * size after the other, in rounds that alternate with the same done by a plain
 * loop (netraw.h; for shared memory: memcpy). The READ of 1 MiB is a loose one,
 * as the file system's is; "words" is the other. Buffers are registered, as the
 * file system's are; "read copied" and "write copied", over verbs only, are
 * from and to memory that is not. Rates are medians of the rounds; CPU is that
 * of both processes. TRANSPORT: one of them alone; verbs, at
 * ACESO_RDMA_ADDRESS, has no raw loop here (net.py uses perftest). */
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "rdma/fabric.h"
#include "tests/bench/netraw.h"

#define REGION	   (8u << 20)
#define ROUNDS_MAX 99

static const struct fab_key key = {.len = 32, .bytes = "netbench"};

struct transport {
	const char *name;
	char address[128];
	const struct fab_key *key;
	int (*net_open)(const struct fab_key *key, struct fab_net **out);
	int raw; /* 0: memory, 1: socket, 2: TLS, 3: none */
};

struct pair {
	const struct transport *t;
	pid_t node;
	struct fab_net *net;
	struct fab *f;
	struct netraw *raw;
	uint8_t *buf; /* registered */
	uint8_t *mem; /* not; of the raw loop over memory, too */
};

static void must(int rc, const char *what)
{
	if (rc == 0)
		return;
	fprintf(stderr, "netbench: %s: %s\n", what, strerror(-rc));
	exit(1);
}

/* --- a node --------------------------------------------------------------- */

static void on_call(void *arg, struct fab_request *rq, uint16_t type,
		    const void *req, size_t len)
{
	fab_reply(rq, 0, req, len);
}

static void serve(const struct transport *t, int ready)
{
	struct fab_server_opts o = {.size = REGION,
				    .address = t->address,
				    .key = t->key,
				    .on_call = on_call};
	struct fab_server *s;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	must(fab_region_open("netbench", REGION, &o.region, &o.region_fd),
	     "region");
	memset(o.region, 1, REGION);
	if (strncmp(t->address, "verbs:", 6) == 0)
		o.region_fd = -1;
	must(fab_server_open(&o, &s), t->address);
	if (write(ready, "r", 1) != 1)
		exit(1);
	for (;;)
		pause();
}

static pid_t node_start(const struct transport *t)
{
	int ready[2];
	char byte;
	pid_t pid;

	must(pipe(ready), "pipe");
	pid = fork();
	if (pid == 0)
		serve(t, ready[1]);
	close(ready[1]);
	must(read(ready[0], &byte, 1) == 1 ? 0 : -1, "node");
	close(ready[0]);
	return pid;
}

static int shm_open_net(const struct fab_key *k, struct fab_net **out)
{
	return fab_shm_open(k, out);
}

/* --- work ----------------------------------------------------------------- */

/* What a row does. The store reads many bytes loosely, as it checks their sum;
 * few are read in whole words anyway. */
struct work {
	const char *op;
	bool reads, loose;
	uint32_t len;
	bool copied; /* from or to memory that is not registered */
};

static const struct work all_work[] = {
	{"read", true, false, 8, false},
	{"write", false, false, 8, false},
	{"read", true, false, 4096, false},
	{"write", false, false, 4096, false},
	{"read", true, true, 1u << 20, false},
	/* a READ that keeps them whole */
	{"words", true, false, 1u << 20, false},
	{"write", false, false, 1u << 20, false},
	{"read copied", true, true, 4096, true},
	{"write copied", false, false, 4096, true},
	{"read copied", true, true, 1u << 20, true},
	{"write copied", false, false, 1u << 20, true},
};

static void fabric_one(struct pair *p, const struct work *w)
{
	struct fab_op op;
	struct fab_batch b = {.ops = &op, .n = 1};
	uint8_t *buf = w->copied ? p->mem : p->buf;

	if (w->loose)
		fab_read_loose(&op, 0, 4096, buf, w->len);
	else if (w->reads)
		fab_read(&op, 0, 4096, buf, w->len);
	else
		fab_write(&op, 0, 4096, buf, w->len);
	must(fab_run(p->f, &b), "run");
	must(op.status, "operation");
}

static void raw_one(struct pair *p, const struct work *w)
{
	if (p->raw == NULL)
		memcpy(w->reads ? p->buf : p->mem, w->reads ? p->mem : p->buf,
		       w->len);
	else if (w->reads)
		netraw_read(p->raw, p->buf, w->len);
	else
		netraw_write(p->raw, p->buf, w->len);
}

static double clock_s(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Of another process and this one. */
static double cpu_s(pid_t other)
{
	double all = clock_s(CLOCK_PROCESS_CPUTIME_ID);
	clockid_t id;

	if (other > 0 && clock_getcpuclockid(other, &id) == 0)
		all += clock_s(id);
	return all;
}

struct rate {
	double per_s, cpu_us;
};

static struct rate measure(struct pair *p,
			   void (*one)(struct pair *, const struct work *),
			   pid_t other, const struct work *w, double ms)
{
	double begin = clock_s(CLOCK_MONOTONIC), cpu = cpu_s(other), now;
	long n = 0;

	do {
		for (int i = 0; i < 8; i++, n++)
			one(p, w);
		now = clock_s(CLOCK_MONOTONIC);
	} while (now - begin < ms / 1000);
	return (struct rate){.per_s = (double)n / (now - begin),
			     .cpu_us = (cpu_s(other) - cpu) * 1e6 / (double)n};
}

static int by_rate(const void *a, const void *b)
{
	const struct rate *x = a, *y = b;

	return (x->per_s > y->per_s) - (x->per_s < y->per_s);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static json_t *row(struct pair *p, const struct work *w, int rounds, double ms)
{
	struct rate fab[ROUNDS_MAX], raw[ROUNDS_MAX];
	double ratio[ROUNDS_MAX];
	json_t *out;

	fabric_one(p, w); /* it is connected, the memory is there */
	for (int i = 0; i < rounds; i++) {
		fab[i] = measure(p, fabric_one, p->node, w, ms);
		raw[i] = fab[i];
		if (p->t->raw != 3)
			raw[i] =
				measure(p, raw_one,
					p->raw ? netraw_pid(p->raw) : 0, w, ms);
		ratio[i] = fab[i].per_s / raw[i].per_s;
	}
	qsort(fab, (size_t)rounds, sizeof(fab[0]), by_rate);
	qsort(raw, (size_t)rounds, sizeof(raw[0]), by_rate);
	qsort(ratio, (size_t)rounds, sizeof(ratio[0]), by_value);
	out = json_pack("{s:s, s:s, s:i, s:f, s:f}", "transport", p->t->name,
			"op", w->op, "bytes", (int)w->len, "per_second",
			fab[rounds / 2].per_s, "cpu_us",
			fab[rounds / 2].cpu_us);
	if (p->t->raw != 3) {
		json_object_set_new(out, "raw_per_second",
				    json_real(raw[rounds / 2].per_s));
		json_object_set_new(out, "raw_cpu_us",
				    json_real(raw[rounds / 2].cpu_us));
		json_object_set_new(out, "ratio", json_real(ratio[rounds / 2]));
	}
	return out;
}

/* Whole words cost more only where a processor sends them, a copy only where
 * an adapter does. */
static bool is_done_by(const struct transport *t, const struct work *w)
{
	if (w->copied)
		return t->raw == 3;
	return t->raw == 1 || t->raw == 2 || strcmp(w->op, "words") != 0;
}

static void bench(const struct transport *t, json_t *rows, int rounds,
		  double ms)
{
	struct pair p = {.t = t, .node = node_start(t)};

	if (t->raw == 1 || t->raw == 2)
		p.raw = netraw_open(t->raw == 2);
	p.buf = aligned_alloc(4096, REGION);
	p.mem = aligned_alloc(4096, REGION);
	must(p.buf != NULL && p.mem != NULL ? 0 : -ENOMEM, "memory");
	memset(p.buf, 2, REGION);
	memset(p.mem, 3, REGION);
	must(t->net_open(t->key, &p.net), "net");
	must(fab_net_attach(p.net, 0, t->address, "", 0), t->address);
	must(fab_net_register(p.net, p.buf, REGION), "memory of the net");
	must(fab_open(p.net, &p.f), "queue");
	for (size_t i = 0; i < sizeof(all_work) / sizeof(all_work[0]); i++)
		if (is_done_by(t, &all_work[i]))
			json_array_append_new(
				rows, row(&p, &all_work[i], rounds, ms));
	fab_close(p.f);
	fab_net_close(p.net);
	kill(p.node, SIGKILL);
	waitpid(p.node, NULL, 0);
	if (p.raw != NULL)
		netraw_close(p.raw);
	free(p.buf);
	free(p.mem);
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 5;
	double ms = argc > 2 ? atof(argv[2]) : 200;
	const char *only = argc > 3 ? argv[3] : "";
	const char *rdma = getenv("ACESO_RDMA_ADDRESS");
	int port = 20000 + getpid() % 20000;
	struct transport t[] = {
		{"shm", "", NULL, shm_open_net, 0},
		{"tcp", "", NULL, fab_tcp_open, 1},
		{"tcp+tls", "", &key, fab_tcp_open, 2},
		{"verbs", "", &key, fab_verbs_open, 3},
	};
	json_t *rows = json_array();

	if (rounds < 1 || rounds > ROUNDS_MAX)
		rounds = 5;
	snprintf(t[0].address, sizeof(t[0].address), "/tmp/netbench-%d",
		 getpid());
	snprintf(t[1].address, sizeof(t[1].address), "tcp:127.0.0.1:%d", port);
	snprintf(t[2].address, sizeof(t[2].address), "tcp:127.0.0.1:%d",
		 port + 1);
	snprintf(t[3].address, sizeof(t[3].address), "verbs:%s:%d",
		 rdma != NULL ? rdma : "", port + 2);
	for (int i = 0; i < 4; i++)
		if (*only != '\0' ? strcmp(only, t[i].name) == 0
				  : t[i].raw != 3)
			bench(&t[i], rows, rounds, ms);
	unlink(t[0].address);
	json_dumpf(json_pack("{s:o}", "rows", rows), stdout, 0);
	return 0;
}
