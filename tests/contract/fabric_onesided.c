/* tests/contract/fabric_onesided.c - READ, WRITE, CAS, FAA: bounds, limits,
 * order, atomicity. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "tests/contract/fabric_contract.h"
#include "tests/lib/effort.h"

#define THREADS 4
#define LONG	(1u << 20)

static void put_word(struct fab *f, uint8_t node, uint64_t offset, uint64_t v)
{
	struct fab_op op;

	fab_write(&op, node, offset, &v, 8);
	contract_ops(f, &op, 1);
	assert_int_equal(op.status, 0);
}

static uint64_t get_word(struct fab *f, uint8_t node, uint64_t offset)
{
	struct fab_op op;
	uint64_t v;

	fab_read(&op, node, offset, &v, 8);
	contract_ops(f, &op, 1);
	assert_int_equal(op.status, 0);
	return v;
}

/* --- bytes ---------------------------------------------------------------- */

static void copy_there_and_back(struct fixture *x, uint8_t *src, uint8_t *dst,
				uint32_t len, uint64_t offset)
{
	struct fab_op op[2];
	uint8_t *region = x->node[0].region;

	memset(region + offset - 16, 0xee, len + 32);
	memset(dst, 0, len);
	fab_write(&op[0], 0, offset, src, len);
	fab_read(&op[1], 0, offset, dst, len);
	contract_ops(x->f, op, 2);
	assert_int_equal(op[0].status, 0);
	assert_int_equal(op[1].status, 0);
	assert_memory_equal(src, dst, len);
	assert_memory_equal(src, region + offset, len);
	for (int i = 0; i < 16; i++) {
		assert_int_equal(region[offset - 16 + i], 0xee);
		assert_int_equal(region[offset + len + i], 0xee);
	}
}

static void read_returns_what_write_wrote(void **state)
{
	static const uint32_t len[] = {0,  1,  7,  8,	9,    15,   16,	  17,
				       63, 64, 65, 127, 1000, 4096, 65536};
	struct fixture *x = *state;
	uint8_t *src = malloc(70000), *dst = malloc(70000);

	for (int i = 0; i < 70000; i++)
		src[i] = (uint8_t)(i * 7 + (i >> 8));
	for (size_t i = 0; i < sizeof(len) / sizeof(len[0]); i++)
		for (uint64_t off = 4096; off < 4096 + 17; off++)
			copy_there_and_back(x, src + off % 5, dst + off % 3,
					    len[i], off);
	free(src);
	free(dst);
}

static void the_largest_operation_works(void **state)
{
	struct fixture *x = *state;
	uint8_t *src = malloc(FAB_OP_BYTES_MAX);
	uint8_t *dst = malloc(FAB_OP_BYTES_MAX);

	for (uint32_t i = 0; i < FAB_OP_BYTES_MAX; i++)
		src[i] = (uint8_t)(i * 7 + (i >> 8) + (i >> 16));
	copy_there_and_back(x, src, dst, FAB_OP_BYTES_MAX, 4096);
	copy_there_and_back(x, src, dst, FAB_OP_BYTES_MAX - 5, 4099);
	free(src);
	free(dst);
}

/* Whole pages, many: written in another way where they were mapped ahead. */
static void prepared_memory_is_written_as_any(void **state)
{
	static const uint32_t len[] = {16384,  65536 - 4096, 65536,
				       352256, 1u << 20,     (1u << 20) + 8};
	struct fixture *x = *state;
	uint8_t *src = malloc(2u << 20), *dst = malloc(2u << 20);

	for (int map = 0; map < 2; map++) {
		fab_net_prepare(x->net, 0, 1u << 20, 4u << 20, map != 0);
		for (size_t i = 0; i < sizeof(len) / sizeof(len[0]); i++)
			for (uint32_t k = 0; k < 3; k++) {
				for (uint32_t j = 0; j < len[i] + 16; j++)
					src[j] = (uint8_t)(j * 7 + (j >> 8) +
							   i + k + map);
				copy_there_and_back(x, src + 8 * (k % 2), dst,
						    len[i],
						    (1u << 20) + k * 69632);
			}
	}
	free(src);
	free(dst);
}

/* Of all lengths about where they are sent in another way. */
static void loose_reads_return_the_same(void **state)
{
	static const uint32_t len[] = {
		0,     1,     8,      1000,   4096,	32767,		 32768,
		32769, 65536, 100001, 500003, 1u << 20, FAB_OP_BYTES_MAX};
	struct fixture *x = *state;
	uint8_t *got = malloc(FAB_OP_BYTES_MAX + 8);
	uint8_t *region = x->node[0].region;
	unsigned step = CONTRACT_CRAWLS ? 5 : 1;
	struct fab_op op[2];

	for (uint32_t i = 0; i < CONTRACT_REGION; i++)
		region[i] = (uint8_t)(i * 7 + (i >> 8) + (i >> 16));
	for (size_t i = 0; i < sizeof(len) / sizeof(len[0]); i++) {
		for (uint64_t off = 4096; off < 4096 + 9; off += step) {
			memset(got, 0, FAB_OP_BYTES_MAX + 8);
			fab_read_loose(&op[0], 0, off, got + off % 3, len[i]);
			fab_read(&op[1], 0, off, got + off % 3, 0);
			contract_ops(x->f, op, 2);
			assert_int_equal(op[0].status, 0);
			assert_int_equal(op[1].status, 0);
			assert_memory_equal(got + off % 3, region + off,
					    len[i]);
			assert_int_equal(got[off % 3 + len[i]], 0);
		}
	}
	free(got);
}

static void the_net_knows_sizes_and_states(void **state)
{
	struct fixture *x = *state;

	assert_int_equal(fab_net_size(x->net, 0), CONTRACT_REGION);
	assert_int_equal(fab_net_size(x->net, 5), 0);
	assert_true(fab_net_up(x->net, 1));
	assert_false(fab_net_up(x->net, 5));
	assert_int_equal(fab_net_attach(x->net, 1, x->node[1].address, "", 0),
			 -EALREADY);
}

/* --- what is refused ------------------------------------------------------ */

static void outside_the_region_is_refused(void **state)
{
	static const struct {
		uint64_t offset;
		uint32_t len;
		int status;
	} c[] = {
		{CONTRACT_REGION - 8, 8, 0},
		{CONTRACT_REGION, 0, 0},
		{CONTRACT_REGION - 7, 8, -EREMOTEIO},
		{CONTRACT_REGION, 1, -EREMOTEIO},
		{CONTRACT_REGION + 1, 0, -EREMOTEIO},
		{UINT64_MAX - 3, 8, -EREMOTEIO},
		{UINT64_MAX, 1, -EREMOTEIO},
	};
	struct fixture *x = *state;
	uint8_t buf[8] = {0}, *large = malloc(LONG);
	struct fab_op op;

	for (size_t i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
		fab_read(&op, 0, c[i].offset, buf, c[i].len);
		contract_ops(x->f, &op, 1);
		assert_int_equal(op.status, c[i].status);
		fab_read_loose(&op, 0, c[i].offset, buf, c[i].len);
		contract_ops(x->f, &op, 1);
		assert_int_equal(op.status, c[i].status);
		fab_write(&op, 0, c[i].offset, buf, c[i].len);
		contract_ops(x->f, &op, 1);
		assert_int_equal(op.status, c[i].status);
	}
	fab_read_loose(&op, 0, CONTRACT_REGION - LONG + 1, large, LONG);
	contract_ops(x->f, &op, 1);
	assert_int_equal(op.status, -EREMOTEIO);
	free(large);
	fab_cas(&op, 0, CONTRACT_REGION, 0, 1);
	contract_ops(x->f, &op, 1);
	assert_int_equal(op.status, -EREMOTEIO);
	fab_faa(&op, 0, CONTRACT_REGION, 1);
	contract_ops(x->f, &op, 1);
	assert_int_equal(op.status, -EREMOTEIO);
}

static void misaligned_atomics_are_refused(void **state)
{
	struct fixture *x = *state;
	struct fab_op op[2];

	for (uint64_t off = 1; off < 8; off++) {
		fab_cas(&op[0], 0, off, 0, 1);
		fab_faa(&op[1], 1, off, 1);
		contract_ops(x->f, op, 2);
		assert_int_equal(op[0].status, -EREMOTEIO);
		assert_int_equal(op[1].status, -EREMOTEIO);
	}
	assert_int_equal(get_word(x->f, 0, 0), 0);
	assert_int_equal(get_word(x->f, 1, 0), 0);
}

static void failure_cancels_what_follows_to_the_same_node(void **state)
{
	struct fixture *x = *state;
	uint64_t v = 7;
	struct fab_op op[6];

	fab_write(&op[0], 0, 0, &v, 8);
	fab_write(&op[1], 0, CONTRACT_REGION, &v, 8); /* refused */
	fab_write(&op[2], 1, 8, &v, 8);
	fab_write(&op[3], 0, 16, &v, 8); /* canceled */
	fab_faa(&op[4], 0, 24, 1);	 /* canceled */
	fab_faa(&op[5], 1, 24, 1);
	contract_ops(x->f, op, 6);
	assert_int_equal(op[0].status, 0);
	assert_int_equal(op[1].status, -EREMOTEIO);
	assert_int_equal(op[2].status, 0);
	assert_int_equal(op[3].status, -ECANCELED);
	assert_int_equal(op[4].status, -ECANCELED);
	assert_int_equal(op[5].status, 0);
	assert_int_equal(get_word(x->f, 0, 0), 7);
	assert_int_equal(get_word(x->f, 0, 16), 0);
	assert_int_equal(get_word(x->f, 0, 24), 0);
	assert_int_equal(get_word(x->f, 1, 8), 7);
	assert_int_equal(get_word(x->f, 1, 24), 1);
}

static void a_node_never_attached_is_down(void **state)
{
	struct fixture *x = *state;
	struct fab_op op[3];
	uint64_t v = 1;

	fab_read(&op[0], 9, 0, &v, 8);
	fab_read(&op[1], 0, 0, &v, 8);
	fab_call(&op[2], FAB_NODE_COORD, CALL_ECHO, NULL, 0, NULL, 0);
	contract_ops(x->f, op, 3);
	assert_int_equal(op[0].status, -EHOSTDOWN);
	assert_int_equal(op[1].status, 0);
	assert_int_equal(op[2].status, -EHOSTDOWN);
}

static void expect_einval(struct fab *f, struct fab_op op)
{
	struct fab_batch b = {.ops = &op, .n = 1};
	struct fab_batch *done;

	op.status = 77;
	assert_int_equal(fab_post(f, &b), -EINVAL);
	assert_int_equal(op.status, 77);
	assert_int_equal(fab_poll(f, &done, 1, 0), 0);
}

static void batches_beyond_the_limits_are_not_started(void **state)
{
	struct fixture *x = *state;
	struct fab_op op;
	uint8_t byte;

	fab_read(&op, 0, 0, &byte, FAB_OP_BYTES_MAX + 1);
	expect_einval(x->f, op);
	fab_call(&op, 0, 1, &byte, FAB_CALL_BYTES_MAX + 1, NULL, 0);
	expect_einval(x->f, op);
	fab_call(&op, 0, 1, NULL, 0, NULL, 1);
	expect_einval(x->f, op);
	fab_read(&op, 0, 0, NULL, 1);
	expect_einval(x->f, op);
	fab_read(&op, FAB_NODE_COORD, 0, &byte, 1);
	expect_einval(x->f, op);
	fab_cas(&op, FAB_NODE_COORD, 0, 0, 0);
	expect_einval(x->f, op);
	op.opcode = 0;
	expect_einval(x->f, op);
	op.opcode = FAB_CALL + 1;
	expect_einval(x->f, op);
}

static void a_batch_has_a_limit_and_that_many_work(void **state)
{
	struct fixture *x = *state;
	struct fab_op *ops = calloc(FAB_BATCH_OPS_MAX + 1, sizeof(*ops));
	struct fab_batch b = {.ops = ops, .n = FAB_BATCH_OPS_MAX + 1};

	for (uint32_t i = 0; i < b.n; i++)
		fab_faa(&ops[i], i % 2, 64, 1);
	assert_int_equal(fab_post(x->f, &b), -EINVAL);
	assert_int_equal(get_word(x->f, 0, 64), 0);
	b.n--;
	assert_int_equal(fab_run(x->f, &b), 0);
	assert_int_equal(get_word(x->f, 0, 64), FAB_BATCH_OPS_MAX / 2);
	assert_int_equal(get_word(x->f, 1, 64), FAB_BATCH_OPS_MAX / 2);
	free(ops);
}

static void an_empty_batch_is_complete_at_once(void **state)
{
	struct fixture *x = *state;
	struct fab_batch b = {.n = 0}, *done = NULL;

	assert_int_equal(fab_post(x->f, &b), 0);
	assert_int_equal(fab_poll(x->f, &done, 1, 0), 1);
	assert_ptr_equal(done, &b);
	assert_int_equal(fab_run(x->f, &b), 0);
	assert_int_equal(fab_poll(x->f, &done, 1, 0), 0);
}

static void run_leaves_other_batches_to_poll(void **state)
{
	struct fixture *x = *state;
	struct fab_op op[3];
	struct fab_batch b[3], *done[3];

	memset(b, 0, sizeof(b));
	for (int i = 0; i < 3; i++) {
		fab_faa(&op[i], 0, 8 * (uint64_t)i, 1);
		b[i].ops = &op[i];
		b[i].n = 1;
	}
	assert_int_equal(fab_post(x->f, &b[0]), 0);
	assert_int_equal(fab_post(x->f, &b[1]), 0);
	assert_int_equal(fab_run(x->f, &b[2]), 0);
	assert_int_equal(b[2].left, 0);
	assert_int_equal(fab_poll(x->f, done, 1, UINT64_MAX), 1);
	assert_int_equal(fab_poll(x->f, done + 1, 2, UINT64_MAX), 1);
	assert_true(done[0] != done[1] && done[0] != &b[2] && done[1] != &b[2]);
}

static void counters_count(void **state)
{
	struct fixture *x = *state;
	struct fab_counters before, c;
	uint8_t buf[100] = {0};
	struct fab_op op[3];

	fab_counters(x->f, &before);
	fab_write(&op[0], 0, 0, buf, 100);
	fab_read(&op[1], 1, 0, buf, 50);
	fab_cas(&op[2], 1, CONTRACT_REGION, 0, 0);
	contract_ops(x->f, op, 3);
	fab_counters(x->f, &c);
	assert_int_equal(c.batches - before.batches, 1);
	assert_int_equal(c.ops[FAB_WRITE] - before.ops[FAB_WRITE], 1);
	assert_int_equal(c.ops[FAB_READ] - before.ops[FAB_READ], 1);
	assert_int_equal(c.ops[FAB_CAS] - before.ops[FAB_CAS], 1);
	assert_int_equal(c.bytes_written - before.bytes_written, 100);
	assert_int_equal(c.bytes_read - before.bytes_read, 50);
	assert_int_equal(c.failed - before.failed, 1);
}

/* --- atomics -------------------------------------------------------------- */

static void cas_swaps_only_what_it_expects(void **state)
{
	struct fixture *x = *state;
	struct fab_op op;

	put_word(x->f, 0, 8, 5);
	fab_cas(&op, 0, 8, 4, 9);
	contract_ops(x->f, &op, 1);
	assert_int_equal(op.status, 0); /* done, and lost */
	assert_int_equal(op.old, 5);
	assert_int_equal(get_word(x->f, 0, 8), 5);
	fab_cas(&op, 0, 8, 5, 9);
	contract_ops(x->f, &op, 1);
	assert_int_equal(op.old, 5);
	assert_int_equal(get_word(x->f, 0, 8), 9);
}

struct worker {
	struct fab_net *net;
	pthread_t thread;
	int id;
	int rounds;
	uint32_t at, len; /* where it works, if that differs */
	int bad;	  /* what it saw that may not be */
};

/* Threads are quick, starting one is not: let them begin together. */
static pthread_barrier_t together;

static void start_at(struct worker *w, int n, struct fab_net *net, int rounds,
		     uint32_t at, uint32_t len, void *(*fn)(void *))
{
	for (int i = 0; i < n; i++) {
		w[i] = (struct worker){.net = net,
				       .id = i,
				       .rounds = rounds,
				       .at = at,
				       .len = len};
		assert_int_equal(pthread_create(&w[i].thread, NULL, fn, &w[i]),
				 0);
	}
}

static void start(struct worker *w, int n, struct fab_net *net, int rounds,
		  void *(*fn)(void *))
{
	start_at(w, n, net, rounds, 0, 0, fn);
}

static void join(struct worker *w, int n)
{
	for (int i = 0; i < n; i++) {
		pthread_join(w[i].thread, NULL);
		assert_int_equal(w[i].bad, 0);
	}
}

static struct fab *worker_fab(const struct worker *w)
{
	struct fab *f;

	if (fab_open(w->net, &f) != 0)
		abort();
	pthread_barrier_wait(&together);
	return f;
}

/* A round trip over a network costs hundreds of times what it does here; under
 * a sanitizer all costs more. */
static int rounds_of(int n)
{
	n = contract->slow > 0 ? n / contract->slow : n;
	return (int)effort((uint64_t)n);
}

/* Of operations of TORN_BYTES_MAX. */
static int long_rounds_of(int n)
{
	return contract->slow < 100 ? (int)effort((uint64_t)n) : 10;
}

/* The first thing that went wrong is kept: a test that fails names it. */
static void run_one(struct worker *w, struct fab *f, struct fab_batch *b)
{
	int rc = fab_run(f, b);

	if (w->bad == 0)
		w->bad = rc != 0 ? rc : b->ops[0].status;
}

/* Batches that hold both kinds, so that each is atomic against the other. */
static void *count_up(void *arg)
{
	struct worker *w = arg;
	struct fab *f = worker_fab(w);
	struct fab_op op;
	struct fab_batch b = {.ops = &op, .n = 1};
	uint64_t seen = 0;

	for (int i = 0; i < w->rounds; i++) {
		fab_faa(&op, 0, 128, 1);
		run_one(w, f, &b);
		do {
			fab_cas(&op, 0, 128, seen, seen + 1);
			run_one(w, f, &b);
		} while (op.old != seen && (seen = op.old, true));
	}
	fab_close(f);
	return NULL;
}

static void no_increment_is_lost_between_threads(void **state)
{
	struct fixture *x = *state;
	struct worker w[THREADS];
	int rounds = rounds_of(300000);

	pthread_barrier_init(&together, NULL, THREADS);
	start(w, THREADS, x->net, rounds, count_up);
	join(w, THREADS);
	pthread_barrier_destroy(&together);
	assert_int_equal(get_word(x->f, 0, 128), THREADS * rounds * 2);
}

/* --- words are never torn ------------------------------------------------- */

#define TORN_BYTES_MAX 400000u

static void *write_patterns(void *arg)
{
	struct worker *w = arg;
	struct fab *f = worker_fab(w);
	uint8_t *buf = malloc(TORN_BYTES_MAX + 8);
	struct fab_op op;
	struct fab_batch b = {.ops = &op, .n = 1};
	uint32_t len;

	for (int i = 0; i < w->rounds; i++) {
		memset(buf, i % 2 ? 0xff : 0, w->len + 8);
		len = i % 3 ? w->len : 8 + -w->at % 8; /* whole words */
		fab_write(&op, 0, w->at, buf + i % 8, len);
		w->bad |= fab_run(f, &b) != 0 || op.status != 0;
	}
	fab_close(f);
	free(buf);
	return NULL;
}

static bool words_are_whole(const struct worker *w, const uint8_t *got)
{
	uint64_t word;
	bool whole = true;

	for (size_t k = -w->at % 8; k + 8 <= w->len; k += 8) {
		memcpy(&word, got + k, 8);
		whole &= word == 0 || word == UINT64_MAX;
	}
	return whole;
}

/* Of a loose READ the bytes count, each by itself. */
static bool bytes_were_written(const struct worker *w, const uint8_t *got)
{
	bool written = true;

	for (size_t k = 0; k < w->len; k++)
		written &= got[k] == 0 || got[k] == 0xff;
	return written;
}

static void read_over(struct worker *w, bool loose,
		      bool (*good)(const struct worker *, const uint8_t *))
{
	struct fab *f = worker_fab(w);
	uint8_t *buf = malloc(TORN_BYTES_MAX + 8);
	struct fab_op op;
	struct fab_batch b = {.ops = &op, .n = 1};

	for (int i = 0; i < w->rounds; i++) {
		memset(buf, 0xee, TORN_BYTES_MAX + 8);
		fab_read(&op, 0, w->at, buf + i % 8, w->len);
		op.loose = loose;
		w->bad |= fab_run(f, &b) != 0 || op.status != 0;
		w->bad |= !good(w, buf + i % 8);
	}
	fab_close(f);
	free(buf);
}

static void *read_patterns(void *arg)
{
	read_over(arg, false, words_are_whole);
	return NULL;
}

static void *read_loose_patterns(void *arg)
{
	read_over(arg, true, bytes_were_written);
	return NULL;
}

static void tear(struct fixture *x, int rounds, uint32_t at, uint32_t len)
{
	struct worker wr[2], rd[2];

	pthread_barrier_init(&together, NULL, 4);
	start_at(wr, 2, x->net, rounds, at, len, write_patterns);
	start_at(rd, 2, x->net, rounds, at, len, read_patterns);
	join(wr, 2);
	join(rd, 2);
	pthread_barrier_destroy(&together);
}

static void aligned_words_are_never_torn(void **state)
{
	tear(*state, rounds_of(20000), 4096, 1024);
}

/* Those that travel in several pieces: words of the region count. An adapter
 * cuts where a packet is full, wherever that is: there they begin with a word.
 */
static uint32_t long_start(void)
{
	return contract->slow < 100 ? 4099 : 4096;
}

static void aligned_words_of_long_operations_are_never_torn(void **state)
{
	tear(*state, long_rounds_of(300), long_start(), TORN_BYTES_MAX);
}

static void bytes_of_loose_reads_are_old_or_new(void **state)
{
	struct fixture *x = *state;
	int rounds = long_rounds_of(100);
	struct worker wr[1], rd[3];

	pthread_barrier_init(&together, NULL, 4);
	start_at(wr, 1, x->net, rounds, long_start(), TORN_BYTES_MAX,
		 write_patterns);
	start_at(rd, 3, x->net, rounds, long_start(), TORN_BYTES_MAX,
		 read_loose_patterns);
	join(wr, 1);
	join(rd, 3);
	pthread_barrier_destroy(&together);
}

/* The node's own threads, and processes of its host, write there as well. */
struct local {
	uint64_t *words;
	size_t n;
	bool stop;
};

static void *write_at_the_node(void *arg)
{
	struct local *l = arg;
	uint64_t v = 0;

	while (!__atomic_load_n(&l->stop, __ATOMIC_RELAXED)) {
		v = ~v;
		for (size_t i = 0; i < l->n; i++)
			__atomic_store_n(&l->words[i], v, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void read_beside_the_node(struct fixture *x, int rounds,
				 void *(*fn)(void *))
{
	struct local l = {.words = (uint64_t *)(x->node[0].region + 4096),
			  .n = TORN_BYTES_MAX / 8};
	struct worker rd[1];
	pthread_t local;

	assert_int_equal(pthread_create(&local, NULL, write_at_the_node, &l),
			 0);
	pthread_barrier_init(&together, NULL, 1);
	start_at(rd, 1, x->net, long_rounds_of(rounds), long_start(),
		 TORN_BYTES_MAX - 8, fn);
	join(rd, 1);
	__atomic_store_n(&l.stop, true, __ATOMIC_RELAXED);
	pthread_join(local, NULL);
	pthread_barrier_destroy(&together);
}

static void words_that_the_node_writes_are_not_torn(void **state)
{
	read_beside_the_node(*state, 3000, read_patterns);
}

static void the_node_may_write_beside_loose_reads(void **state)
{
	read_beside_the_node(*state, 100, read_loose_patterns);
}

/* --- order within a batch ------------------------------------------------- */

#define ORDER_A 256u
#define ORDER_B 8192u

static void *write_a_then_b(void *arg)
{
	struct worker *w = arg;
	struct fab *f = worker_fab(w);
	struct fab_op op[2];
	struct fab_batch b = {.ops = op, .n = 2};
	uint64_t v;

	for (int i = 1; i <= w->rounds; i++) {
		v = (uint64_t)i;
		fab_write(&op[0], 0, ORDER_A, &v, 8);
		fab_write(&op[1], 0, ORDER_B, &v, 8);
		w->bad |= fab_run(f, &b) != 0 || op[1].status != 0;
	}
	fab_close(f);
	return NULL;
}

static void *read_b_then_a(void *arg)
{
	struct worker *w = arg;
	struct fab *f = worker_fab(w);
	struct fab_op op[2];
	struct fab_batch b = {.ops = op, .n = 2};
	uint64_t a, bb;

	do {
		fab_read(&op[0], 0, ORDER_B, &bb, 8);
		fab_read(&op[1], 0, ORDER_A, &a, 8);
		w->bad |= fab_run(f, &b) != 0 || op[1].status != 0;
		w->bad |= a < bb; /* b was written after a */
	} while (bb < (uint64_t)w->rounds);
	fab_close(f);
	return NULL;
}

static void operations_of_a_batch_take_effect_in_order(void **state)
{
	struct fixture *x = *state;
	struct worker wr, rd;

	pthread_barrier_init(&together, NULL, 2);
	start(&wr, 1, x->net, rounds_of(50000), write_a_then_b);
	start(&rd, 1, x->net, rounds_of(50000), read_b_then_a);
	join(&wr, 1);
	join(&rd, 1);
	pthread_barrier_destroy(&together);
}

/* Two threads each write their own word and read the other's: at least one
 * sees the other (Dekker). Half the time in one batch, half in two. */
struct dekker {
	struct worker w;
	int *arrived;  /* how many have, all rounds together */
	uint64_t *saw; /* by round */
};

/* Both begin a round within nanoseconds, if there are processors for both. */
static void meet(int *arrived, int wanted)
{
	__atomic_fetch_add(arrived, 1, __ATOMIC_SEQ_CST);
	for (int spins = 0; __atomic_load_n(arrived, __ATOMIC_SEQ_CST) < wanted;
	     spins++)
		if (spins > 1000)
			sched_yield();
}

static void *dekker(void *arg)
{
	struct dekker *d = arg;
	struct fab *f = worker_fab(&d->w);
	uint64_t mine = 512 + 64 * (uint64_t)d->w.id;
	uint64_t theirs = 512 + 64 * (uint64_t)(1 - d->w.id), one;
	struct fab_op op[2];
	struct fab_batch b = {.ops = op, .n = 2};
	struct fab_batch b1 = {.ops = op, .n = 1};
	struct fab_batch b2 = {.ops = op + 1, .n = 1};

	for (int i = 0; i < d->w.rounds; i++) {
		one = (uint64_t)i + 1;
		fab_write(&op[0], 0, mine, &one, 8);
		fab_read(&op[1], 0, theirs, &d->saw[i], 8);
		meet(d->arrived, 2 * (i + 1));
		if (i % 2 == 0) {
			d->w.bad |= fab_run(f, &b) != 0;
		} else {
			d->w.bad |= fab_run(f, &b1) != 0;
			d->w.bad |= fab_run(f, &b2) != 0;
		}
	}
	fab_close(f);
	return NULL;
}

static void a_read_does_not_pass_a_write(void **state)
{
	int rounds = rounds_of(40000);
	struct fixture *x = *state;
	struct dekker d[2];
	int arrived = 0;

	pthread_barrier_init(&together, NULL, 2);
	for (int i = 0; i < 2; i++) {
		d[i] = (struct dekker){
			.w = {.net = x->net, .id = i, .rounds = rounds},
			.arrived = &arrived,
			.saw = calloc((size_t)rounds, 8)};
		pthread_create(&d[i].w.thread, NULL, dekker, &d[i]);
	}
	for (int i = 0; i < 2; i++)
		pthread_join(d[i].w.thread, NULL);
	/* round r of one missed round r of the other, and the reverse */
	for (uint64_t r = 0; r < (uint64_t)rounds; r++)
		assert_true(d[0].saw[r] >= r + 1 || d[1].saw[r] >= r + 1);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(d[i].w.bad, 0);
		free(d[i].saw);
	}
	pthread_barrier_destroy(&together);
}

/* What a long READ returns was there before the WRITE behind it, whatever the
 * wire takes at a time. */
static void write_behind_read(struct fixture *x, bool loose)
{
	uint32_t len = FAB_OP_BYTES_MAX, half = 64;
	uint8_t *old = malloc(len), *new = malloc(len), *got = malloc(len);
	struct fab_op op[3];

	memset(old, 'o', len);
	memset(new, 'n', len);
	memcpy(x->node[0].region, old, len);
	fab_read(&op[0], 0, 0, got, len);
	op[0].loose = loose;
	fab_write(&op[1], 0, 0, new, len);
	fab_read(&op[2], 0, len - half, old, half);
	contract_ops(x->f, op, 3);
	for (int i = 0; i < 3; i++)
		assert_int_equal(op[i].status, 0);
	for (uint32_t i = 0; i < len; i++)
		assert_int_equal(got[i], 'o');
	assert_memory_equal(old, new, half);
	free(old);
	free(new);
	free(got);
}

static void a_write_does_not_pass_a_read(void **state)
{
	write_behind_read(*state, false);
	write_behind_read(*state, true);
}

/* --- memory -------------------------------------------------------------- */

static void discarded_bytes_read_as_zeros(void **state)
{
	struct fixture *x = *state;

	put_word(x->f, 0, 65536, 1);
	put_word(x->f, 0, 65536 + 4096, 2);
	put_word(x->f, 0, 65536 + 8192, 3);
	fab_net_prepare(x->net, 0, 65536, 8192, true);
	fab_net_prepare(x->net, 0, 65536, 8192, false);
	assert_int_equal(get_word(x->f, 0, 65536), 1);
	fab_region_discard(x->node[0].region,
			   contract->pinned ? -1 : x->node[0].fd, 65536, 8192);
	assert_int_equal(get_word(x->f, 0, 65536), 0);
	assert_int_equal(get_word(x->f, 0, 65536 + 4096), 0);
	assert_int_equal(get_word(x->f, 0, 65536 + 8192), 3);
	fab_net_prepare(x->net, 0, 65536, 8192, false);
	assert_int_equal(get_word(x->f, 0, 65536), 0);
	assert_int_equal(get_word(x->f, 0, 65536 + 8192), 3);
	put_word(x->f, 0, 65536, 4);
	fab_region_discard(x->node[0].region, -1, 65536, 4096);
	assert_int_equal(get_word(x->f, 0, 65536), 0);
}

static void time_passes_and_dice_differ(void **state)
{
	struct fixture *x = *state;
	uint64_t t = fab_now(x->f);
	uint64_t a = fab_random(x->f), b = fab_random(x->f);

	fab_sleep(x->f, 2000000);
	assert_true(fab_now(x->f) - t >= 2000000);
	assert_true(fab_wall(x->f) > UINT64_C(1600000000000000000));
	assert_int_not_equal(a, b);
}

#define T(fn)                                                                  \
	cmocka_unit_test_setup_teardown(fn, contract_setup, contract_teardown)

int contract_run_onesided(void)
{
	const struct CMUnitTest tests[] = {
		T(read_returns_what_write_wrote),
		T(prepared_memory_is_written_as_any),
		T(the_largest_operation_works),
		T(loose_reads_return_the_same),
		T(the_net_knows_sizes_and_states),
		T(outside_the_region_is_refused),
		T(misaligned_atomics_are_refused),
		T(failure_cancels_what_follows_to_the_same_node),
		T(a_node_never_attached_is_down),
		T(batches_beyond_the_limits_are_not_started),
		T(a_batch_has_a_limit_and_that_many_work),
		T(an_empty_batch_is_complete_at_once),
		T(run_leaves_other_batches_to_poll),
		T(counters_count),
		T(cas_swaps_only_what_it_expects),
		T(no_increment_is_lost_between_threads),
		T(aligned_words_are_never_torn),
		T(aligned_words_of_long_operations_are_never_torn),
		T(bytes_of_loose_reads_are_old_or_new),
		T(words_that_the_node_writes_are_not_torn),
		T(the_node_may_write_beside_loose_reads),
		T(operations_of_a_batch_take_effect_in_order),
		T(a_read_does_not_pass_a_write),
		T(a_write_does_not_pass_a_read),
		T(discarded_bytes_read_as_zeros),
		T(time_passes_and_dice_differ),
	};

	return cmocka_run_group_tests_name(contract->name, tests, NULL, NULL);
}
